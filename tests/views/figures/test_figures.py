"""What figures draw is what they were given."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Outcome, Piece, Pile, Records, solve
from unshuffle.blocks.mlp import as_mlp
from unshuffle.errors import RecordError, UsageError
from unshuffle.grouping.spectra import all_traces, eigenvalues, product, stream_norms
from unshuffle.lab.ledger import LedgerRun
from unshuffle.ordering.trace import Step, Trace
from unshuffle.views import figures
from unshuffle.views.animation import Film

pytest.importorskip("matplotlib")


@pytest.fixture
def solution(solved):
    return solved[1]


@pytest.fixture
def records(solved):
    return solved[0].records


def texts(ax):
    ax.figure.draw_without_rendering()
    labels = [*ax.get_xticklabels(), *ax.get_yticklabels(), *ax.texts]
    return "\n".join(label.get_text() for label in labels)


def line(ax, label):
    (found,) = [one for one in ax.lines if str(one.get_label()).startswith(label)]
    return found.get_xydata()


def test_every_figure_is_drawn_on_the_axis_given_and_labels_its_axes(solution, records):
    from matplotlib.figure import Figure

    for name, kind in figures.FIGURES.items():
        ax = kind.draw(solution, records)
        assert ax.get_xlabel() or name in ("products", "contrast", "scores")
        assert ax.get_ylabel() or name in ("products", "contrast", "scores")
        assert len(ax.figure.get_suptitle()) > 10
        assert figures.picture(ax, "png").startswith(b"\x89PNG")
    given = Figure().add_subplot()
    assert figures.search(solution.trace, given) is given
    assert figures.spectrum(solution.network, ax=given) is given


def test_no_figure_cuts_its_words(solution, records):
    for kind in figures.FIGURES.values():
        figure = kind.draw(solution, records).figure
        figure.draw_without_rendering()
        drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(drawn.x0, drawn.y0) > -0.01, kind.name
        assert max(drawn.x1 - width, drawn.y1 - height) < 0.01, kind.name


def test_words_cover_no_data(solution, records):
    from matplotlib.figure import Figure

    ax = figures.norms(solution.network, records.inputs)
    ax.figure.draw_without_rendering()
    words = ax.get_legend().get_window_extent()
    assert not any(words.overlaps(band.get_window_extent()) for band in ax.collections)
    trace, done = search_trace(), np.array([[0, 2]])
    trace.add(Step("more", np.array([0.01, *[1.0] * 60]), True, done, 0.01, 10), 0.5)
    ax = figures.search(trace)
    ax.figure.draw_without_rendering()
    words = ax.get_legend().get_window_extent()
    path = ax.transData.transform_path(ax.lines[1].get_path())
    assert not path.intersects_bbox(words, filled=False)
    matches = [replace(one, margin=9 + k / 99) for k, one in enumerate(solution.pairing.matches)]
    close = replace(solution, pairing=replace(solution.pairing, matches=matches))
    ax = figures.margins(close, Figure(figsize=(2, 2)).add_subplot())
    ax.figure.draw_without_rendering()
    words = ax.texts[0].get_window_extent()
    assert not words.count_contains(ax.transData.transform(ax.lines[0].get_xydata()))


def test_the_same_figure_is_the_same_file(solution):
    for form in figures.FORMATS:
        once, twice = (figures.picture(figures.margins(solution), form) for _ in range(2))
        assert once == twice


def test_formats_and_figures_that_do_not_exist(solution):
    with pytest.raises(UsageError, match="png, svg, pdf"):
        figures.picture(figures.margins(solution), "jpg")
    with pytest.raises(UsageError, match="there are: inputs, features"):
        figures.find_figure("serach")


def test_inputs_shows_a_histogram_of_each_column():
    values = np.array([[0.0, 10.0], [0.0, 10.0], [10.0, 0.0], [0.0, 5.1]])
    ax = figures.inputs(Records(values, np.zeros((4, 1))))
    shares = ax.images[0].get_array()
    assert shares.shape == (50, 2)
    np.testing.assert_allclose(shares.sum(axis=0), 100)
    assert shares[0].tolist() == [75, 25]
    assert shares[-1].tolist() == [25, 50]
    assert shares[25].tolist() == [0, 25]
    medians = [segment[0][1] for segment in ax.collections[0].get_segments()]
    assert medians == [0, 7.55]


def test_outputs_shows_predictions_and_targets():
    predictions, targets = np.array([[0.0], [1.0], [np.nan]]), np.array([[0.0], [0.0], [0.0]])
    ax = figures.outputs(Records(np.zeros((3, 2)), predictions, targets))
    filled, stepped = ax.patches
    heights = filled.get_xy()[:, 1]
    assert heights.max() == 50  # half of those that are known
    assert stepped.get_xy()[:, 1].max() == 100
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["predictions", "targets"]


def test_outputs_of_a_record_without_any_says_so():
    ax = figures.outputs(Records(np.zeros((3, 2)), np.empty((3, 0))))
    assert "no predictions" in texts(ax)


def test_products_are_those_of_the_pair_and_of_its_best_rival(solution):
    match = max(solution.pairing.matches, key=lambda match: match.margin)
    ax = figures.products(solution, [match])
    place_of = {}
    for place, block in enumerate(solution.blocks):
        place_of |= dict.fromkeys(block, place)
    true, wrong = (image.get_array() for image in ax.images)
    blocks = as_mlp(solution.network).blocks
    np.testing.assert_array_equal(true, product(blocks, place_of[match.inp], place_of[match.out]))
    outs = [out for _, out in solution.blocks]
    inp, out = (match.inp, match.rival) if match.rival in outs else (match.rival, match.out)
    np.testing.assert_array_equal(wrong, product(blocks, place_of[inp], place_of[out]))
    assert f"{match.inp} with {match.out}\nmargin {match.margin:.1f}" in texts(ax)
    assert f"{inp} with {out}" in texts(ax)
    low, high = ax.images[0].get_clim()
    assert low == -high  # zero is in the middle of the colours


def test_products_shows_the_weakest_the_middle_and_the_surest_pair(solution):
    names = [f"{m.inp} with {m.out}\n" for m in solution.pairing.matches]
    margins = [m.margin for m in solution.pairing.matches]
    shown = texts(figures.products(solution))
    ranked = np.argsort(margins)
    assert [name in shown for name in np.array(names)[ranked]] == [True, False, True, False, True]


def test_scores_before_are_the_pairing_and_after_have_the_pairs_on_the_diagonal(solution):
    before, after = (image.get_array() for image in figures.scores(solution).images)
    np.testing.assert_array_equal(before, solution.pairing.scores)
    by_pair = {(match.inp, match.out): match.score for match in solution.pairing.matches}
    in_order = [by_pair[block] for block in solution.blocks]
    np.testing.assert_array_equal(np.diag(after), in_order)
    assert sorted(after.ravel()) == sorted(before.ravel())


def test_rivals_shows_each_pair_against_those_that_share_a_layer(solution):
    ax = figures.rivals(solution)
    own = line(ax, "the pair itself")[:, 1]
    scores = solution.pairing.scores
    assert sorted(own) == sorted(match.score for match in solution.pairing.matches)
    assert (np.diff(np.abs(own)) <= 0).all()
    i, j = np.argwhere(scores == own[0])[0]
    others = np.concatenate([np.delete(scores[i], j), np.delete(scores[:, j], i)])
    ranges, bounds = (collection.get_segments() for collection in ax.collections)
    np.testing.assert_allclose(ranges[0][:, 1], [others.min(), others.max()])
    low, high = others.mean() - 2 * others.std(), others.mean() + 2 * others.std()
    np.testing.assert_allclose(bounds[0][:, 1], [low, high])
    assert "nats" in ax.get_ylabel()


def test_traces_shows_the_traces_of_the_true_blocks(solution):
    own = line(figures.traces(solution.network), "the pair itself")[:, 1]
    expected = np.diag(all_traces(solution.network.blocks))
    np.testing.assert_array_equal(own, expected[np.argsort(-np.abs(expected))])


def test_ranks_show_sorted_traces_of_wrong_pairs_and_the_true_ones_far_right(solution):
    ax = figures.ranks(solution.network)
    traces = all_traces(solution.network.blocks)
    rows = [np.delete(row, k) for k, row in enumerate(traces)]
    wrong, true = (container.lines[0].get_xydata() for container in ax.containers)
    means = np.mean([np.sort(row)[::-1] for row in rows], axis=0)
    np.testing.assert_allclose(wrong, np.stack([np.arange(1, 5), means], axis=-1))
    np.testing.assert_allclose(true, [[5, np.diag(traces).mean()]])


def test_contrast_shows_the_block_with_the_largest_trace_beside_a_wrong_pair(solution):
    blocks = as_mlp(solution.network).blocks
    true, wrong = (image.get_array() for image in figures.contrast(solution).images)
    traces = all_traces(blocks)
    assert np.trace(true) == pytest.approx(np.diag(traces)[np.abs(np.diag(traces)).argmax()])
    at = int(np.abs(np.diag(traces)).argmax())
    products = [product(blocks, at, other) for other in range(5) if other != at]
    assert any(np.array_equal(wrong, one) for one in products)


def test_signed_entries_are_white_at_zero(solution):
    image = figures.products(solution).images[0]
    assert image.cmap(image.norm(0.0))[:3] == pytest.approx((1, 1, 1), abs=0.05)


def test_features_has_a_histogram_of_each_column():
    values = np.array([[0.0, 1.0, 5.0], [0.0, 2.0, 5.0], [1.0, 3.0, 5.0]])
    ax = figures.features(Records(values, np.zeros((3, 1))))
    assert [text.get_text() for text in ax.texts] == ["0", "1", "2"]
    heights = [patch.get_data().values - patch.get_data().baseline for patch in ax.patches]
    assert [sorted({*np.round(one, 6)}) for one in heights] == [[0, 0.5, 1], [0, 1], [0, 1]]


def test_a_single_block_has_no_rivals(dropped):
    case = dropped(blocks=1, width=8, hidden=12)
    solution = solve(case.pile, case.records)
    for name in ("rivals", "traces", "ranks", "contrast", "search"):
        figures.picture(figures.find_figure(name).draw(solution, None), "png")
    for name in ("margins", "certificate"):
        with pytest.raises(UsageError, match="single"):
            figures.find_figure(name).draw(solution, None)
    assert "no rival" in texts(figures.products(solution))
    ax = figures.scores(solution)
    figures.picture(ax, "png")
    before, after = (image.to_rgba(image.get_array()) for image in ax.images)
    np.testing.assert_array_equal(before, after)
    ax = figures.norms(solution.network, case.records.inputs)
    assert line(ax, "step").shape == (1, 2)
    assert [one.get_marker() for one in ax.lines] == ["None", "o"]
    assert all(tick == round(tick) for tick in ax.get_xticks())


def test_layers_of_one_shape(dropped):
    case = dropped(blocks=4, width=8, hidden=8)
    solution = solve(case.pile, case.records)
    for kind in figures.FIGURES.values():
        if kind.name != "certificate" or solution.certificate is not None:
            figures.picture(kind.draw(solution, case.records), "png")


def test_margins_are_drawn_the_weakest_first_and_named(solution):
    ax = figures.margins(solution)
    ranked = sorted(solution.margins.items(), key=lambda item: item[1])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [margin for _, margin in ranked])
    (inp, out), _ = ranked[0]
    assert texts(ax).endswith(f"{inp} with {out}")


def test_a_pair_that_the_search_formed_has_no_margin(solution):
    others = solution.pairing.matches[1:]
    pairing = replace(solution.pairing, matches=others)
    ax = figures.margins(replace(solution, pairing=pairing))
    np.testing.assert_array_equal(line(ax, "formed by the search"), [[1, 0]])
    assert len(ax.lines[0].get_ydata()) == len(others)


def test_spectrum_shows_all_eigenvalues_and_the_disc(solution):
    ax = figures.spectrum(solution.network)
    values = eigenvalues(solution.network.blocks)
    (dots,) = ax.collections
    np.testing.assert_array_equal(
        dots.get_offsets(), np.stack([values.real, values.imag], axis=-1).reshape(-1, 2)
    )
    np.testing.assert_array_equal(dots.get_array(), np.repeat(np.arange(1, 6), 16))
    (disc,) = ax.patches
    assert (disc.center, disc.radius) == ((-1, 0), 1)
    assert ax.get_aspect() == 1


def test_norms_shows_medians_along_the_depth(solution, records):
    ax = figures.norms(solution.network, records.inputs)
    states, steps = stream_norms(solution.network, records.inputs)
    along = np.stack([np.arange(6), np.median(states, axis=1)], axis=-1)
    np.testing.assert_allclose(line(ax, "state"), along)
    along = np.stack([np.arange(1, 6), np.median(steps, axis=1)], axis=-1)
    np.testing.assert_allclose(line(ax, "step"), along)
    assert ax.get_yscale() == "log"


def search_trace():
    trace, two = Trace(range(4)), np.array([[0, 2], [1, 3]])
    trace.add(Step("build", np.array([9.0, 4.0]), True, two[:1], 4.0, 10), 0.1)
    trace.add(Step("build", np.array([np.inf, 2.0, 3.0]), True, two, 2.0, 10), 0.2)
    trace.add(Step("mend $x$", np.array([5.0, 7.0]), False, two, 2.0, 10), 0.3)
    trace.add(Step("mend $x$", np.array([0.5, 6.0]), True, two[::-1], 0.5, 10), 0.4)
    return trace


def test_search_shows_every_candidate_and_the_error_that_stands():
    ax = figures.search(search_trace())
    errors = [9, 4, np.nan, 2, 3, 5, 7, 0.5, 6]
    np.testing.assert_array_equal(line(ax, "candidate"), [*zip(range(1, 10), errors, strict=True)])
    # Each order where it was tested, and the last one up to the end.
    np.testing.assert_array_equal(line(ax, "order"), [(2, 4), (4, 2), (8, 0.5), (9, 0.5)])
    assert ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.texts] == ["build", "mend $x$"]
    assert [text.xy[0] for text in ax.texts] == [2.5, 7]
    (change,) = [one for one in ax.lines if str(one.get_label()).startswith("_")]
    assert change.get_xdata() == [5, 5]


def test_an_order_whose_error_overflowed_stands_where_it_was_tested():
    trace = Trace(range(4))
    one = np.array([[0, 2]])
    trace.add(Step("build", np.array([np.inf, np.inf]), True, one, np.inf, 10), 0.1)
    trace.add(Step("build", np.array([5.0, 3.0]), True, one, 3.0, 10), 0.2)
    np.testing.assert_array_equal(
        line(figures.search(trace), "order"), [(1, np.nan), (4, 3), (4, 3)]
    )


def test_empty_decades_are_left_out_of_the_axis_of_errors():
    trace = search_trace()
    assert figures.search(trace).get_yscale() == "log"
    done = trace.steps[-1].arrangement
    trace.add(Step("mend $x$", np.array([1e-14]), True, done, 1e-14, 10), 0.5)
    ax = figures.search(trace)
    shown = [
        ax.transAxes.inverted().transform(ax.transData.transform((1, error)))[1]
        for error in (1e-14, 0.5, 2, 9)
    ]
    assert (np.diff(shown) > 0.1).all()  # the fall before the last step takes most of the axis
    assert 0 < shown[0] < 0.13
    assert shown[1] > 0.2
    back = ax.yaxis.get_transform().inverted().transform(ax.yaxis.get_transform().transform([2.0]))
    np.testing.assert_allclose(back, 2.0)
    ticks = [label.get_text() for label in ax.get_yticklabels()]
    assert "$10^{-14}$" in ticks
    assert "$2\\times10^{0}$" in ticks
    assert not [tick for tick in ax.get_yticks() if 1e-13 < tick < 0.3]


def test_an_axis_of_a_single_error_has_an_extent():
    trace, order = Trace(range(2)), np.array([[0, 1]])
    trace.add(Step("given", np.array([2.0371130e-4]), True, order, 2.0371131e-4, 10), 0.1)
    low, high = figures.search(trace).get_ylim()
    assert low < 1e-4
    assert high > 4e-4


def test_an_error_of_nothing_is_drawn_below_the_break():
    trace = search_trace()
    done = trace.steps[-1].arrangement
    trace.add(Step("mend $x$", np.array([3.0, 0.0]), True, done, 0.0, 10), 0.5)
    ax = figures.search(trace)
    places, errors = line(ax, "order").T
    assert places[-1] == 11
    assert ax.transLimits.transform(ax.transScale.transform((11, errors[-1])))[1] < 0.13
    assert "0" in [label.get_text() for label in ax.get_yticklabels()]
    assert "10^{-300}" not in texts(ax)


def test_a_search_that_took_no_step_is_drawn_empty():
    figures.picture(figures.search(Trace()), "png")


def test_certificate_shows_errors_place_by_place_and_what_is_undecided(solution):
    proof = solution.certificate
    ax = figures.certificate(proof)
    np.testing.assert_array_equal(
        line(ax, "two neighbouring"), [(k + 1.5, one.mse) for k, one in enumerate(proof.neighbours)]
    )
    np.testing.assert_array_equal(
        line(ax, "a layer"), [(k + 1, one.mse) for k, one in enumerate(proof.pairs)]
    )
    assert line(ax, "explained")[0, 1] == proof.floor
    assert line(ax, "this")[0, 1] == proof.mse
    doubtful = replace(proof.neighbours[0], log_odds=0.0)
    ax = figures.certificate(replace(proof, neighbours=(doubtful, *proof.neighbours[1:])))
    (hollow,) = [one for one in ax.lines if "undecided" in str(one.get_label())]
    assert hollow.get_fillstyle() == "none"
    np.testing.assert_array_equal(hollow.get_xydata(), [(1.5, doubtful.mse)])


def test_what_a_figure_lacks_is_said(solution):
    for name in ("inputs", "outputs", "norms"):
        with pytest.raises(RecordError, match="name its file"):
            figures.find_figure(name).draw(solution, None)
    without = replace(solution, outcome=Outcome.LOCAL_OPTIMUM, certificate=None)
    with pytest.raises(UsageError, match="no certificate"):
        figures.find_figure("certificate").draw(without, None)
    for name in ("products", "scores", "rivals", "margins"):
        with pytest.raises(UsageError, match="weights say nothing"):
            figures.find_figure(name).draw(replace(solution, pairing=None), None)


def test_an_estimate_has_no_errors_to_draw(dropped):
    case = dropped(blocks=3, width=8, hidden=12)
    nothing = Records(case.records.inputs, np.empty((len(case.records), 0), np.float32))
    solution = solve(case.pile, nothing)
    with pytest.raises(UsageError, match="no candidate"):
        figures.find_figure("search").draw(solution, None)
    with pytest.raises(UsageError, match="no candidate"):
        Film(solution.trace)


@pytest.mark.parametrize("name", ["rivals", "traces", "margins", "norms", "certificate"])
def test_places_are_whole_numbers(dropped, name):
    case = dropped(blocks=3, width=8, hidden=12)
    ax = figures.find_figure(name).draw(solve(case.pile, case.records), case.records)
    assert all(tick == round(tick) for tick in ax.get_xticks())


def test_names_with_markup_appear_as_text(dropped):
    case = dropped(blocks=3, width=8, hidden=12)
    names = {"$x^2$": "$x^2$", "$\\frac$": "$\\frac$", "<b>c</b>": "&lt;b&gt;c&lt;/b&gt;"}
    names |= {"&amp;": "&amp;amp;", "[red]e": "[red]e", "%d{}": "%d{}"}
    # The last layer is not in the figure; its name is in letters that no font here has.
    called = dict(zip(case.permutation, [*names, "\u1980" * 30], strict=True))
    pieces = [Piece.linear(called[piece.id], piece.weight, piece.bias) for piece in case.pile]
    solution = solve(Pile(pieces), case.records)
    svg = figures.picture(figures.products(solution, solution.pairing.matches), "svg").decode()
    for name in names.values():
        assert name in svg
    assert "<b>" not in svg
    figures.picture(figures.margins(solution), "png")


def test_a_name_in_letters_that_no_font_has_is_no_warning():
    ax = figures.search(search_trace())
    ax.text(0, 1, "\u1980")
    figures.picture(ax, "png")


def test_importing_the_package_imports_no_plotting_library():
    program = """
import sys, unshuffle, unshuffle.views.figures, unshuffle.views.animation, unshuffle.commands
from unshuffle.commands import build_parser
from unshuffle import Solution, solve
print(*sys.modules)"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "unshuffle" in loaded
    assert loaded.isdisjoint({"matplotlib", "PIL"})


def test_many_dots_do_not_make_a_vector_file_grow():
    trace = search_trace()
    few = len(figures.picture(figures.search(trace), "svg"))
    standing = trace.steps[-1].arrangement
    trace.add(Step("more", np.full(30_000, 2.0), False, standing, 0.5, 10), 0.5)
    assert len(figures.picture(figures.search(trace), "svg")) < 3 * few


def run_of(method, seed, **measurements):
    """A run of a ledger, made up."""
    texts = dict.fromkeys(("content", "code", "environment", "started", "failure"), "")
    return LedgerRun(
        key=f"{method}-{seed}",
        subject="made",
        method=method,
        seed=seed,
        rows=10,
        seconds=1.0,
        measurements=measurements,
        **texts,
    )


def test_solved_within_rises_by_a_run_at_each_cost():
    runs = [run_of("good", k, solved=1.0, passes=cost) for k, cost in enumerate([30, 10, 20])]
    runs += [run_of("good", 3, solved=0.0, passes=5.0), run_of("bad", 0, solved=0.0, passes=5.0)]
    good, bad = figures.solved_within(runs, ["good", "bad"], "passes").lines
    np.testing.assert_array_equal(good.get_xdata(), [10, 10, 20, 30])
    np.testing.assert_array_equal(good.get_ydata(), [0, 0.25, 0.5, 0.75])
    assert not len(bad.get_xdata())
    assert (good.get_label(), bad.get_label()) == ("good: 3 of 4", "bad: 0 of 1")
    with pytest.raises(UsageError, match="no run of ugly"):
        figures.solved_within(runs, ["ugly"], "passes")
