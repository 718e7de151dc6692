"""Strategy `auto`, from the pile to the answer."""

from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import unshuffle.solution.arranging
from unshuffle import Outcome, Piece, Pile, Records, solve, verify
from unshuffle.blocks.activations import ACTIVATIONS
from unshuffle.ordering.auto import _reporting
from unshuffle.ordering.seeds import SEEDS, smallest_step
from unshuffle.ordering.trace import Step

SMALL = {"blocks": 4, "width": 12, "hidden": 20}


def assert_same_search(one, other):
    assert one.permutation == other.permutation
    assert (one.mse, one.max_abs_error) == (other.mse, other.max_abs_error)
    for mine, theirs in zip(one.trace.steps, other.trace.steps, strict=True):
        assert (mine.phase, mine.kept, mine.order) == (theirs.phase, theirs.kept, theirs.order)
        assert mine.error == theirs.error
        np.testing.assert_array_equal(mine.tested, theirs.tested)


def with_predictions(records, predictions):
    return Records(records.inputs, predictions)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_activation_is_found_out(dropped, activation, outputs):
    case = dropped(**SMALL, activation=activation, outputs=outputs)
    solution = solve(case.pile, case.records)
    assert solution.exact
    assert solution.activation == activation
    assert solution.permutation == case.permutation


def test_a_named_activation_is_the_only_one_tried(dropped):
    case = dropped(**SMALL, activation="tanh")
    solution = solve(case.pile, case.records, activation="relu")
    assert not solution.exact
    assert solution.activation == "relu"


@pytest.mark.parametrize("outputs", [20, 12])
@pytest.mark.parametrize("blocks", [1, 3])
def test_the_last_layer_is_found_among_layers_of_its_shape(dropped, blocks, outputs):
    case = dropped(blocks=blocks, width=12, hidden=outputs, outputs=outputs)
    solution = solve(case.pile, case.records)
    assert solution.exact
    assert solution.permutation == case.permutation


def test_wrong_pairs_at_the_start_are_repaired(dropped, monkeypatch, rng):
    case = dropped(**SMALL, rows=400)
    right = unshuffle.solution.arranging.pair

    def random_pairs(*args, **options):
        pairing = right(*args, **options)
        outs = rng.permutation([match.out for match in pairing.matches]).tolist()
        matches = [
            replace(match, out=out) for match, out in zip(pairing.matches, outs, strict=True)
        ]
        zeros = np.zeros_like(pairing.scores)
        evidence = replace(pairing.evidence, log_odds=zeros)
        return replace(pairing, matches=tuple(matches), scores=zeros, evidence=evidence)

    monkeypatch.setattr(unshuffle.solution.arranging, "pair", random_pairs)
    repaired = 0
    for _ in range(4):
        solution = solve(case.pile, case.records)
        repaired += set(solution.pairing.pairs) != case.pairs
        assert solution.exact
        assert solution.permutation == case.permutation
        assert {pair for pair, margin in solution.margins.items() if np.isnan(margin)} == (
            case.pairs - set(solution.pairing.pairs)
        )
    assert repaired > 0


@pytest.mark.parametrize("rows", [1, 4])
def test_very_few_rows_are_enough_to_begin_with(dropped, rows):
    case = dropped(**SMALL, rows=400)
    solution = solve(case.pile, case.records, rows=rows)
    assert solution.exact
    assert solution.permutation == case.permutation


def test_an_activation_that_fits_few_rows_by_chance_is_given_up(make_dropped):
    """On two rows another activation fits better; once there are more, the right one does."""
    rng = np.random.default_rng(3)
    case = make_dropped(rng, rows=400, blocks=6, width=4, hidden=8)
    solution = solve(case.pile, case.records, rows=2)
    assert solution.exact
    assert solution.activation == "relu"
    assert len(solution.trace) < 1000


def test_what_only_fits_the_rows_of_the_search_is_not_the_end(dropped, monkeypatch):
    """Rows that the search has not seen must agree, or else more rows are taken."""
    case = dropped(**SMALL, rows=400)
    asked = []

    def easily_satisfied(judge, run, *_):
        asked.append(len(judge.inputs))
        return len(asked) == 1 or run.error < 1e-10

    monkeypatch.setattr(unshuffle.solution.arranging, "reproduces_rows", easily_satisfied)
    solution = solve(case.pile, case.records, rows=1)
    assert "more rows" in {step.phase for step in solution.trace.steps}
    assert solution.permutation == case.permutation


def test_inputs_without_predictions_still_guide_the_seeds(dropped, monkeypatch):
    case = dropped(**SMALL, rows=400)
    seen = []

    def rank(network, inputs):
        seen.append(len(inputs))
        return smallest_step(network, inputs)

    monkeypatch.setitem(SEEDS, "smallest-step", replace(SEEDS["smallest-step"], rank=rank))
    predictions = case.records.predictions.copy()
    predictions[60:] = np.nan
    solution = solve(case.pile, with_predictions(case.records, predictions))
    assert solution.exact
    assert solution.permutation == case.permutation
    assert solution.rows == 60
    assert seen[0] == 400


@pytest.mark.parametrize("rows", [0, 300])
def test_without_predictions_there_is_an_estimate(dropped, rows):
    case = dropped(**SMALL, rows=rows)
    for nothing in (np.zeros((rows, 0)), np.full((rows, 1), np.nan)):
        solution = solve(case.pile, with_predictions(case.records, nothing))
        assert solution.outcome is Outcome.ESTIMATE
        assert not solution.exact
        assert set(solution.pairs) == case.pairs
        assert sorted(solution.permutation) == sorted(case.permutation)
        assert (solution.rows, solution.summary()["mse"]) == (0, None)
        if rows:
            ranking = smallest_step(case.network, case.records.inputs)
            names = np.reshape(case.permutation[:-1], (-1, 2))[ranking]
            assert solution.permutation[:-1] == tuple(names.ravel())


@pytest.mark.parametrize("noise", ["rounded", "Gaussian"])
def test_noise_gives_the_right_order_and_is_called_approximate(dropped, rng, noise):
    case = dropped(blocks=4, width=8, hidden=12, rows=3000)
    predictions = case.records.predictions
    if noise == "rounded":
        predictions = np.round(predictions, 3)
    else:
        predictions = predictions + 1e-3 * predictions.std() * rng.normal(size=predictions.shape)
    records = with_predictions(case.records, predictions)
    solution = solve(case.pile, records)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    assert len(solution.trace) < 100  # noise is recognised, and not searched against
    assert verify(case.pile, records, case.permutation).outcome is Outcome.APPROXIMATE
    inp, out, inp2, out2, *rest = case.permutation
    wrong = (inp2, out2, inp, out, *rest)
    assert verify(case.pile, records, wrong).outcome is Outcome.MISFIT


def test_the_best_of_a_search_is_reported_and_returned(loose, finish):
    net = loose(blocks=3)
    runs = [net.judge.run(order) for order in permutations(net.right)]
    low, middle, high = sorted(runs, key=lambda run: run.error)[:3]
    short = replace(low, order=low.order[:2], error=0.0)

    def there_and_back():
        for run in (high, short, low, high):
            yield Step("there and back", np.array([run.error]), True, run.order, run.error, 1)
        return high

    steps, (end, best) = finish(_reporting(there_and_back(), middle, net.judge))
    assert end is high
    assert (best.order, best.error) == (low.order, low.error)
    assert [step.order for step in steps] == [middle.order, middle.order, low.order, low.order]
    assert [step.kept for step in steps] == [False, False, True, False]


def test_a_wrong_record_is_refused_after_a_bounded_search(dropped):
    case, other = dropped(blocks=3, rows=300), dropped(blocks=3, rows=300)
    records = with_predictions(case.records, other.records.predictions)
    solution = solve(case.pile, records)
    assert solution.outcome is Outcome.LOCAL_OPTIMUM
    assert len(solution.trace) < 3000
    # The best so far stands in every step; its error rises only where more rows are judged.
    judged = {"seeds", "rivals", "more rows"}
    for before, after in pairwise(solution.trace.steps):
        assert after.error <= before.error or after.phase in judged
        if not after.kept and after.phase not in judged:
            assert after.order == before.order
    applied = solution.trace.pairs(solution.trace.steps[-1].order)
    assert solution.permutation[:-1] == tuple(name for pair in applied for name in pair)


@pytest.mark.parametrize("hidden", [20, 12])
def test_names_and_file_order_do_not_matter(dropped, rng, hidden):
    """Not even where the search is long: with few rows, several outputs, tanh."""
    shape = {"blocks": 4, "width": 12, "hidden": hidden, "outputs": 2, "activation": "tanh"}
    case = dropped(**shape)
    expected = solve(case.pile, case.records, rows=6)
    mix = rng.permutation(len(case.pile))
    renamed = Pile(Piece(int(mix[p.id]), p.weight, p.bias) for p in reversed(case.pile.pieces))
    actual = solve(renamed, case.records, rows=6)
    back = {int(new): old for old, new in enumerate(mix)}
    assert_same_search(
        replace_ids(actual, back),
        expected,
    )


def replace_ids(solution, names):
    pairs = [tuple(names[name] for name in pair) for pair in solution.pairs]
    return replace(
        solution,
        pairs=tuple(pairs),
        last=names[solution.last],
    )


def test_neither_cores_nor_threads_change_the_search(dropped, monkeypatch):
    case = dropped(**SMALL, outputs=2, activation="silu", rows=300)
    searches, threads = [], set()

    def watch(trace):
        threads.update(
            library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
        )

    for cores in (1, 2, 5):
        monkeypatch.setattr("unshuffle.blocks.network.cores", lambda cores=cores: cores)
        monkeypatch.setattr("unshuffle.ordering.judge.cores", lambda cores=cores: cores)
        with threadpool_limits(cores, "blas"):
            searches.append(solve(case.pile, case.records, rows=10, on_step=watch))
    assert threads == {1}
    assert len(searches[0].trace) > 10
    for other in searches[1:]:
        assert_same_search(searches[0], other)


@pytest.mark.parametrize("steps", [1, 5, 12, 20])
def test_the_best_so_far_is_kept_wherever_a_search_is_cut_off(dropped, steps):
    case = dropped(**SMALL, activation="tanh")  # ReLU is tried first, in vain
    best = []

    def interrupt(trace):
        best.append(trace.steps[-1].order)
        if len(trace) == steps:
            raise KeyboardInterrupt

    solution = solve(case.pile, case.records, rows=4, on_step=interrupt)
    assert solution.outcome is Outcome.INTERRUPTED
    assert len(solution.trace) == steps
    assert sorted(solution.permutation) == sorted(case.permutation)
    applied = solution.trace.pairs(best[-1])
    assert solution.permutation[:-1] == tuple(name for pair in applied for name in pair)


def test_a_single_block_is_solved_whatever_its_record(dropped, rng):
    case = dropped(blocks=1, rows=300)
    assert solve(case.pile, case.records).permutation == case.permutation
    noise = rng.normal(size=case.records.predictions.shape)
    off = with_predictions(case.records, case.records.predictions + noise)
    solution = solve(case.pile, off)
    assert solution.outcome is Outcome.LOCAL_OPTIMUM
    assert solution.permutation == case.permutation


def test_a_row_that_is_repeated_is_one_row(dropped):
    case = dropped(**SMALL, rows=300)
    repeated = case.records.take(np.zeros(300, np.intp))
    assert solve(case.pile, repeated).rows == 1
    # What tells nothing of the predictions ends in no exact answer, and it is said why.
    unlike = replace(repeated, predictions=repeated.predictions + 1)
    solution = solve(case.pile, unlike, time_limit=5)
    assert not solution.exact
    assert "299 of 300 rows repeat another one" in solution.findings.notes[-1]
