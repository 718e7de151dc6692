"""Python: paths, tensors and lists are taken; whatever cannot work is an `UnshuffleError`."""

from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from unshuffle import (
    Outcome,
    Piece,
    Pile,
    Records,
    Trace,
    UnshuffleError,
    checkpoint,
    pair,
    read_pile,
    read_records,
    read_solution,
    solve,
    verify,
    write_solution,
)
from unshuffle.errors import PileError, UsageError
from unshuffle.files import read_network, write_network, write_records
from unshuffle.grouping import SIGNALS
from unshuffle.grouping.signals import Signal
from unshuffle.pieces.pile import GIVE_CODE, as_floats
from unshuffle.views.figures import find_figure
from unshuffle.views.report import report_page


@pytest.fixture(scope="module")
def case(make_dropped):
    return make_dropped(np.random.default_rng(3), blocks=3, width=8, hidden=12)


@pytest.fixture(scope="module")
def solution(case):
    return solve(case.pile, case.records)


def test_paths_are_taken_where_piles_and_records_are(case, tmp_path):
    (tmp_path / "pieces").mkdir()
    for piece in case.pile:
        write_network(tmp_path / "pieces" / f"piece_{piece.id}.npz", piece.tensors)
    write_records(tmp_path / "record.csv", case.records)
    pieces, record = str(tmp_path / "pieces"), tmp_path / "record.csv"
    assert solve(pieces, record).permutation == case.permutation
    assert verify(pieces, record, case.permutation).outcome is Outcome.EXACT
    assert {*pair(pieces, record, activation="relu").pairs} == case.pairs


def test_lists_are_taken(case):
    pile = Pile([Piece.linear(p.id, p.weight.tolist(), p.bias.tolist()) for p in case.pile])
    records = Records(case.records.inputs.tolist(), case.records.predictions.tolist())
    assert solve(pile, records).permutation == case.permutation


@pytest.mark.parametrize("form", ["pairs", "mappings", "modules"])
def test_lists_of_layers_and_pairs_of_arrays_are_taken(case, form):
    def layer(piece):
        held = {"weight": piece.weight, "bias": piece.bias}
        made = {"pairs": (piece.weight, piece.bias), "mappings": held}
        return made.get(form) or SimpleNamespace(state_dict=lambda: held)

    pieces = [layer(case.pile[str(name)]) for name in range(len(case.pile))]
    record = case.records.inputs, case.records.predictions[:, 0].tolist()
    assert solve(pieces, record).permutation == case.permutation
    assert verify(pieces, record, case.permutation).outcome is Outcome.EXACT
    assert {*pair(pieces, record, activation="relu").pairs} == case.pairs


@pytest.mark.parametrize("half", [False, True])
def test_tensors_are_taken(case, half):
    torch = pytest.importorskip("torch")

    def tensor(values):
        kept = torch.tensor(values, requires_grad=True)
        return kept.bfloat16() if half else kept

    pile = Pile([Piece.linear(p.id, tensor(p.weight), tensor(p.bias)) for p in case.pile])
    assert all(piece.weight.dtype == np.float32 for piece in pile)
    records = Records(torch.tensor(case.records.inputs), tensor(case.records.predictions))
    if not half:
        assert solve(pile, records).permutation == case.permutation
    with pytest.raises(UnshuffleError, match=r"Piece\.linear\(0, weight, bias\)"):
        Piece(0, tensor([[1.0]]), tensor([1.0]))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([1, 2], np.float64), (np.float16([1]), np.float32), (np.array([1], ">f8"), np.float64)],
)
def test_numbers_become_floats_of_a_size_that_holds_them(values, dtype):
    assert as_floats(values, "it").dtype == np.dtype(dtype)


def test_a_piece_is_found_by_its_id_as_text(case):
    assert case.pile["0"].id == 0
    assert case.pile[0] is case.pile.pieces[0]
    with pytest.raises(UnshuffleError, match=r"no piece '3.pth'; .* are 0, 1, 2, 3, 4, 5 and 6$"):
        case.pile["3.pth"]
    with pytest.raises(UnshuffleError, match=r"no piece at position 99; positions go from 0 to 6"):
        case.pile[99]


MISUSES = {
    "no pile": lambda pile, records: solve(None, records),
    "pieces that are numbers": lambda pile, records: solve([1, 2], records),
    "pieces of three": lambda pile, records: solve([(1, 2, 3)], records),
    "predictions without rows": lambda pile, records: solve(pile, ([[1.0]], 3)),
    "no record": lambda pile, records: solve(pile, [1, 2]),
    "a number as pieces": lambda pile, records: solve(3, records),
    "a number as strategy": lambda pile, records: solve(pile, records, strategy=3),
    "a list as signal": lambda pile, records: solve(pile, records, signal=["trace"]),
    "a number as activation": lambda pile, records: solve(pile, records, activation=1),
    "no matching": lambda pile, records: solve(pile, records, matching=None),
    "text as rows": lambda pile, records: solve(pile, records, rows="many"),
    "a fraction as seed": lambda pile, records: solve(pile, records, seed=0.5),
    "text as time limit": lambda pile, records: solve(pile, records, time_limit="10x"),
    "text as time limit of reading": lambda pile, records: solve("p", "r", time_limit="0m"),
    "no time": lambda pile, records: solve(pile, records, time_limit=float("nan")),
    "a number to be called": lambda pile, records: solve(pile, records, on_step=1),
    "a path as checkpoint": lambda pile, records: solve(pile, records, checkpoint="c.npz"),
    "a name as blueprint": lambda pile, records: solve(pile, records, blueprint="mlp"),
    "pairs by a number": lambda pile, records: pair(pile, signal=3),
    "pairs by an unknown activation": lambda pile, records: pair(pile, activation="rellu"),
    "an activation that is none": lambda pile, records: pair(pile, activation=3),
    "a fraction as answer": lambda pile, records: verify(pile, records, 0.5),
    "an empty answer": lambda pile, records: verify(pile, records, []),
    "a number as path": lambda pile, records: read_pile(3),
    "bytes as path": lambda pile, records: read_records(b"record.csv"),
    "nothing as path": lambda pile, records: read_solution(None),
    "pieces that are none": lambda pile, records: Pile([1, 2]),
    "ragged lists": lambda pile, records: Piece.linear(0, [[1, 2], [3]], [1]),
    "text as weight": lambda pile, records: Piece.linear(0, "weight", [1]),
    "complex weights": lambda pile, records: Piece.linear(0, [[1j]], [0]),
    "text as inputs": lambda pile, records: Records([["a"]], [[1]]),
    "no predictions": lambda pile, records: Records([[1.0]], None),
    "an array as signal": lambda pile, records: solve(pile, records, signal=np.eye(3)),
    "an array as matching": lambda pile, records: solve(pile, records, matching=np.eye(3)),
    "text as a truth": lambda pile, records: solve(pile, records, permuted_units="yes"),
    "no path of a network": lambda pile, records: read_network(None),
    "nowhere to write": lambda pile, records: write_network(None, {}),
    "no checkpoint": lambda pile, records: checkpoint(None).__enter__(),
    "an empty path": lambda pile, records: read_pile(""),
    "no tensors": lambda pile, records: Piece(0, {}),
    "tensors by number": lambda pile, records: Piece(0, {3: np.eye(2)}),
    "no inputs by name": lambda pile, records: Records.named(None),
    "text as inputs by name": lambda pile, records: Records.named({"x": ["a"]}),
    "ragged inputs by name": lambda pile, records: Records.named({"x": [[1], [1, 2]]}),
    "no solution to draw": lambda pile, records: find_figure("path").draw(None),
    "no solution to report": lambda pile, records: report_page(None),
    "a signal without a function": lambda pile, records: pair(pile, signal=Signal("a", 3, "", "")),
    "predictions in a row": lambda pile, records: solve(pile, records).network.error(
        records.inputs, records.predictions[:, 0]
    ),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_is_an_error_of_ours(case, name):
    with pytest.raises(UnshuffleError, match=r".*[;:,] .*"):
        MISUSES[name](case.pile, case.records)


@pytest.mark.parametrize(
    "name",
    ["a\n", "nul\0", "", "\x1b[2J", "\u202e", "a,b", "x" * 1001, -1, 10**18, 1.5, True, None, [1]],
)
def test_what_no_answer_can_hold_is_no_id(name):
    with pytest.raises(PileError, match="cannot be the id of a piece; give it a whole number"):
        Piece.linear(name, np.eye(2), [0, 0])


def test_numbers_of_numpy_are_ids():
    assert type(Piece.linear(np.int64(3), np.eye(2), [0, 0]).id) is int


@pytest.mark.parametrize("function", [solve, pair, verify])
@pytest.mark.parametrize("record", ["records", "r.csv", "r.txt"])
def test_swapped_arguments_are_said(case, tmp_path, function, record):
    given = case.records if record == "records" else tmp_path / record
    last = [case.permutation] if function is verify else []
    for pieces in (case.pile, tmp_path, str(tmp_path)):
        with pytest.raises(UsageError, match="the pieces come first, then the record"):
            function(given, pieces, *last)


def test_names_in_any_case_and_durations_are_taken(case):
    solution = solve(
        case.pile,
        case.records,
        strategy="Auto",
        signal="Fused",
        matching="OPTIMAL",
        activation="ReLU",
        placement="Ends",
        time_limit="10s",
    )
    assert solution.permutation == case.permutation
    assert solution.activation == "relu"
    assert solve(case.pile, case.records, activation="Auto").permutation == case.permutation
    found = pair(case.pile, signal="Log-Norm", matching="Greedy", activation="AUTO")
    assert (found.signal, found.matching) == ("log-norm", "greedy")
    for name in ("Relu", "AUTO"):
        found = verify(case.pile, case.records, case.permutation, activation=name)
        assert found.outcome is Outcome.EXACT


@pytest.mark.parametrize(
    ("options", "near"),
    [
        ({"signal": "fusde"}, "fused"),
        ({"activation": "Gleu"}, "gelu"),
        ({"matching": "gready"}, "greedy"),
        ({"strategy": "clasic"}, "classic"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_read(options, near, tmp_path):
    with pytest.raises(UsageError, match=rf"did you mean {near}\?\); there are: .*{near}"):
        solve(tmp_path / "pieces", tmp_path / "record.csv", **options)


def test_writing_to_what_is_no_path(solution):
    with pytest.raises(UnshuffleError, match="no path"):
        write_solution(solution, 7)


def test_keeping_what_is_no_solution(tmp_path):
    with pytest.raises(
        UnshuffleError, match="a solution is needed, but 3 is given; give what solve"
    ):
        write_solution(3, tmp_path)


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        (np.zeros((2, 2)), r"of shape \(2, 2\)"),
        (np.full((3, 3), np.nan), "not finite"),
        (np.array([["a"] * 3] * 3), "array of <U1"),
        (None, "array of object"),
    ],
)
def test_own_signals_are_checked(case, monkeypatch, scores, found):
    monkeypatch.setitem(SIGNALS, "own", Signal("own", lambda _: scores, "nothing", "this test"))
    with pytest.raises(UnshuffleError, match=rf"'own' gives .*{found}.*shape \(3, 3\)"):
        pair(case.pile, signal="own")


def test_a_notebook_is_shown_a_table_that_names_cannot_break(solution, case):
    for shown, fact in [
        (solution, solution.answer),
        (solution.network, "3 × ["),
        (case.pile, "3 of 12×8"),
        (case.records, "with predictions"),
        (case.pile[0], "tensors</th>"),
        (solution.pairing, "3 pairs by fused, optimal"),
        (solution.pairing.anatomy, "3 blocks 8 → 12 → 8"),
        (solution.trace, "candidates tested"),
        (Trace(), "<td style='text-align:left'>0</td>"),
        (solution.certificate, "nearest rival"),
        (verify(case.pile, case.records, case.permutation), "explained by</th>"),
        (Outcome.NO_FIT, "no arrangement fits"),
    ]:
        text = shown._repr_html_()
        HTMLParser().feed(text)
        assert fact in text
        assert "http" not in text
        assert len(text) < 1500
    assert "<b>" not in Piece("<b>", {"<b>": np.ones(3)})._repr_html_()
    named = [Piece(f"<b>{k}&", piece.tensors) for k, piece in enumerate(case.pile)]
    assert "&lt;b&gt;0&amp;" in Pile(named)._repr_html_()
    assert "<b>" not in Pile(named)._repr_html_()
    assert "<i>" not in replace(case.records, name="<i>")._repr_html_()
    ids = tuple(f"<b>{name}&" for name in solution.trace.ids)
    trace = solution.trace.first(len(solution.trace))
    trace.ids = ids
    forged = replace(solution, trace=trace, last="<script>")
    assert "<b>" not in forged._repr_html_()
    assert "<script>" not in forged._repr_html_()
    assert "&lt;b&gt;" in forged._repr_html_()


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": np.ones(8), "bias": np.zeros(8)},
        {"weight": np.ones(8)},
        {"weight": np.ones((4, 4, 3, 3))},
        {"up.weight": np.ones((12, 8)), "down.weight": np.ones((8, 12))},
        {"weight": np.ones((12, 8)), "scale": np.ones(12)},
    ],
)
@pytest.mark.parametrize("with_biases", [True, False])
def test_a_forgotten_blueprint_is_said(case, tensors, with_biases):
    layers = [Piece.linear(p.id, p.weight, p.bias if with_biases else None) for p in case.pile]
    pile = Pile([*layers, Piece(99, tensors)])
    for ask in (
        lambda: solve(pile, case.records),
        lambda: solve(pile, case.records, permuted_units=True),
        lambda: pair(pile),
        lambda: verify(pile, case.records, pile.ids),
    ):
        with pytest.raises(PileError, match=rf"piece 99 \(.*weight \(.*; {GIVE_CODE}$"):
            ask()
