"""Piles that are no whole network: what belongs is found, what is missing is estimated or named."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

from unshuffle import (
    Outcome,
    Piece,
    Pile,
    Records,
    read_solution,
    solve,
    write_solution,
)
from unshuffle.blocks.activations import ACTIVATIONS
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpBank, MlpNetwork, MlpStack
from unshuffle.errors import PileError
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.search import Steps
from unshuffle.ordering.trace import Step
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.proof.verification import judge_network
from unshuffle.repair import gaps, missing_pieces, repair
from unshuffle.repair.case import Case, identical_copies, near_copies, partial_anatomy
from unshuffle.repair.estimation import Unknown, estimate_layers, fit_all_rows
from unshuffle.repair.gaps import Traces, Unmatched, fill, locate, order_around, unexplained
from unshuffle.repair.incomplete import solve_incomplete
from unshuffle.repair.missing_pieces import MissingParameters
from unshuffle.repair.rebuilding import Rebuilding
from unshuffle.repair.repair import hard_row_steps
from unshuffle.solution.alternatives import Problems
from unshuffle.solution.arranging import Reproduction, arrange
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution
from unshuffle.solver import _repaired
from unshuffle.views.terminal import print_solution

SHAPE = {"blocks": 5, "width": 12, "hidden": 20}


def without(pile: Pile, names: Sequence[object]) -> Pile:
    return Pile(piece for piece in pile if piece.id not in names)


def renamed(pieces: Sequence[Piece], first: int) -> list[Piece]:
    return [replace(piece, id=number) for number, piece in enumerate(pieces, start=first)]


def with_zeros(network: MlpNetwork, unknown: Unknown) -> MlpNetwork:
    network = network.astype(np.float64)
    arrays = [array.copy() for array in (*network.blocks.inp, *network.blocks.out)]
    for array in arrays[:2] if unknown.role == INP else arrays[2:]:
        array[unknown.place] = 0
    return MlpNetwork(MlpStack(*arrays, network.blocks.activation), network.last)


def lacking(network: MlpNetwork, place: int) -> MlpNetwork:
    others = [k for k in range(len(network.blocks)) if k != place]
    return MlpNetwork(network.blocks.take(others), network.last)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_missing_out_layer_is_estimated_exactly(dropped, place):
    case = dropped(**SHAPE, rows=900)
    unknown = Unknown(place, OUT)
    guess = with_zeros(case.network, unknown)
    estimate = estimate_layers(guess, [unknown], case.records, Clock())
    assert estimate.inflation == pytest.approx(810 / (810 - 12 * 21))
    assert estimate.unseen < 1e-11 * case.records.predictions.var()


def test_an_inp_layer_is_estimated_from_a_guess_that_is_near(dropped, rng):
    case = dropped(**SHAPE, rows=600)
    network = case.network.astype(np.float64)
    network.blocks.inp_weight[2] += 0.1 * rng.normal(size=network.blocks.inp_weight[2].shape)
    estimate = estimate_layers(network, [Unknown(2, INP)], case.records, Clock())
    assert estimate.unseen < 1e-10 * case.records.variance


def test_few_rows_do_not_determine_a_layer(dropped):
    case = dropped(**SHAPE, rows=60)
    unknown = Unknown(2, OUT)
    before = with_zeros(case.network, unknown)
    inputs, predictions = case.records.inputs, case.records.predictions
    estimate = estimate_layers(before, [unknown], case.records, Clock())
    assert estimate.inflation == np.inf
    left = np.mean(np.square(before.predict(inputs[9::10]) - predictions[9::10]))
    assert 1e-8 < estimate.unseen < left


@pytest.mark.parametrize("place", range(5))
def test_the_gap_is_where_the_layer_at_hand_explains_most(dropped, place):
    case = dropped(**SHAPE, rows=600)
    blocks = case.network.astype(np.float64).blocks
    traces = Traces.of(lacking(case.network, place), case.records, Clock())
    inp = Linear(blocks.inp_weight[place], blocks.inp_bias[place])
    out = Linear(blocks.out_weight[place], blocks.out_bias[place])
    assert unexplained(traces, Unmatched(OUT, inp)).argmin() == place
    assert abs(int(unexplained(traces, Unmatched(INP, out)).argmin()) - place) <= 1
    guess = fill(traces, place, inp)
    filled = with_zeros(case.network, Unknown(place, OUT))
    filled.blocks.out_weight[place], filled.blocks.out_bias[place] = guess.weight, guess.bias
    left = case.records.predictions - filled.predict(case.records.inputs)
    assert np.mean(np.square(left)) < 0.2 * np.mean(np.square(traces.residual))


def lone(network: MlpNetwork, place: int, role: int) -> Unmatched:
    """The layer at hand of a block whose layer of a role is missing."""
    inp, out = network.astype(np.float64).layers()[2 * place : 2 * place + 2]
    return Unmatched(role, out if role == INP else inp)


@pytest.mark.parametrize("place", range(5))
def test_the_likeliest_gap_is_where_the_block_ran(dropped, place):
    case = dropped(**SHAPE, rows=600)
    traces = Traces.of(lacking(case.network, place), case.records, Clock())
    assert locate(traces, [lone(case.network, place, OUT)]) == [place]
    (gap,) = locate(traces, [lone(case.network, place, INP)])
    assert abs(gap - place) <= 1
    (near,) = locate(traces, [lone(case.network, place, OUT)], near=[0])
    assert near == min(place, gaps.STANDARD.near)


def test_two_gaps_are_located_together(dropped):
    case = dropped(**SHAPE, rows=600)
    network = lacking(lacking(case.network, 3), 1)
    traces = Traces.of(network, case.records, Clock())
    unmatched = [lone(case.network, place, OUT) for place in (1, 3)]
    assert locate(traces, unmatched) == [1, 2]


def test_blocks_are_ordered_around_a_gap(dropped):
    case = dropped(**SHAPE, rows=600)
    blocks = case.network.blocks
    judge = Judge(MlpBank(*blocks.inp, *blocks.out), case.network.last, case.records)
    blocks = np.array([(k, 5 + k) for k in (0, 3, 1, 4)])  # the third is missing, two are wrong
    unmatched = [lone(case.network, 2, OUT)]
    *_, (run, located) = order_around(judge, judge.run(blocks), unmatched, case.records, Clock())
    assert run.arrangement[:, INP].tolist() == [0, 1, 3, 4]
    assert located == [2]


def test_whole_blocks_that_do_not_belong_make_no_wrong_record(dropped):
    """What controls say is said of all pieces together; fewer may reproduce the record."""
    case, other = dropped(**SHAPE, rows=600), dropped(**SHAPE)
    block = [other.pile[other.pile.index[name]] for name in other.permutation[:2]]
    pile = Pile([*case.pile, *renamed(block, 50)])
    refuted = arrange(pile, case.records, Options(), stops=(Steps(3),)).ended(Outcome.NO_FIT)

    def repaired(clock: Clock) -> Solution:
        one = Case(pile, case.records, Options(activation="relu", clock=clock), solve=None)
        return _repaired(one, refuted, refuted, {"shuffled columns": "", "scaled inputs": ""})

    solution = repaired(Clock())
    assert solution.exact
    assert {one.id for one in solution.findings.leftovers} == {50, 51}
    # Where the time is up amid that, what is known stands.
    solution = repaired(CountedLooks(5))
    assert solution.outcome is Outcome.NO_FIT
    assert any("a part of the pieces may still fit" in note for note in solution.findings.notes)


@pytest.mark.parametrize("decoys", [1, 4])
def test_pieces_of_another_network_are_left_over(dropped, decoys):
    case, other = dropped(**SHAPE, rows=600), dropped(**SHAPE)
    strangers = renamed([p for p in other.pile if p.shape != (1, 12)][:decoys], 50)
    solution = solve(Pile([*case.pile, *strangers]), case.records)
    assert solution.exact
    assert solution.permutation == case.permutation
    assert {one.id for one in solution.findings.leftovers} == {piece.id for piece in strangers}
    assert all("without it" in one.reason for one in solution.findings.leftovers)


def test_a_stranger_whose_partner_would_explain_something_is_left_over(make_dropped):
    rng = np.random.default_rng(1)
    case, other = make_dropped(rng, **SHAPE, rows=600), make_dropped(rng, **SHAPE, rows=10)
    stranger = renamed([p for p in other.pile if p.shape != (1, 12)][:1], 50)
    solution = solve(Pile([*case.pile, *stranger]), case.records)
    assert solution.exact
    assert solution.permutation == case.permutation
    assert [one.id for one in solution.findings.leftovers] == [50]


def test_two_whole_networks_in_one_pile_are_told_apart_by_the_record(dropped):
    shape = {**SHAPE, "blocks": 3}
    case, other = dropped(**shape, rows=500), dropped(**shape)
    strangers = renamed(list(other.pile), 50)
    solution = solve(Pile([*case.pile, *strangers]), case.records)
    assert solution.exact
    assert solution.permutation == case.permutation
    assert {one.id for one in solution.findings.leftovers} == {piece.id for piece in strangers}


def test_a_single_block_with_two_last_layers_needs_no_division(dropped):
    case = dropped(**{**SHAPE, "blocks": 1}, rows=300)
    last = next(p for p in case.pile if p.shape == (1, 12))
    stranger = Piece.linear(50, -last.weight, last.bias)
    solution = solve(Pile([*case.pile, stranger]), case.records)
    assert solution.exact
    assert [one.id for one in solution.findings.leftovers] == [50]


def test_copies_are_told_apart_by_whether_they_are_equal(dropped, rng):
    case = dropped(**SHAPE, rows=600)
    first, second = case.pile[0], case.pile[3]
    noise = (0.02 * second.weight.std() * rng.normal(size=second.shape)).astype(np.float32)
    copies = [
        Piece.linear(50, first.weight.copy(), first.bias.copy()),
        Piece.linear(51, second.weight + noise, second.bias),
    ]
    pile = Pile([*case.pile, *copies])
    assert [(pile[a].id, pile[b].id) for a, b in identical_copies(pile).items()] == [(50, first.id)]
    near = {frozenset((pile[a].id, pile[b].id)) for a, b, _ in near_copies(pile)}
    assert near == {frozenset((50, first.id)), frozenset((51, second.id))}
    solution = solve(pile, case.records)
    assert solution.exact
    assert solution.permutation == case.permutation
    reasons = {one.id: one.reason for one in solution.findings.leftovers}
    assert reasons == {
        50: f"equals piece {first.id} to the last bit",
        51: f"nearly piece {second.id}, which fits better",
    }


def test_a_pile_with_one_layer_lost_is_solved_with_an_estimate(dropped, tmp_path):
    case = dropped(**SHAPE, rows=600)
    lost = case.permutation[5]  # the out layer of the third block
    solution = solve(without(case.pile, [lost]), case.records)
    assert solution.outcome is Outcome.APPROXIMATE
    expected = ["?" if name == lost else str(name) for name in case.permutation]
    assert solution.answer == ",".join(expected)
    (gap,) = solution.findings.gaps
    assert (gap.place, gap.missing) == (2, "out")
    inputs = np.random.default_rng(5).normal(size=(100, 12)).astype(np.float32)
    expected_predictions = case.network.predict(inputs)
    np.testing.assert_allclose(solution.network.predict(inputs), expected_predictions, atol=1e-3)

    write_solution(solution, tmp_path / "kept")
    with safe_open(tmp_path / "kept" / "network.safetensors", "np") as kept:
        assert kept.metadata() == {"estimated": "blocks.2.out.weight,blocks.2.out.bias"}
    again = read_solution(tmp_path / "kept")
    assert again.findings == solution.findings
    assert again.answer == solution.answer


def with_few_large_rows(case) -> Records:
    """A record in which a hundredth of the rows say most about half of the columns."""
    inputs = case.records.inputs.copy()
    large = np.arange(len(inputs)) % 100 == 49
    inputs[~large, 6:] *= 0.3
    inputs[large] *= 1.5
    return Records(inputs, case.network.predict(inputs))


def test_rounding_of_the_record_is_no_error_of_an_estimate(dropped):
    case = dropped(**SHAPE, rows=340)
    records, unknown = with_few_large_rows(case), Unknown(0, OUT)
    guess = with_zeros(case.network, unknown)
    estimate = estimate_layers(guess, [unknown], records, Clock())
    network = fit_all_rows(estimate.network, [unknown], records, Clock())
    before, after = (
        judge_network(each.astype(np.float32), records, ("float32",), Clock())
        for each in (estimate.network, network)
    )
    assert before.outcome is Outcome.MISFIT
    assert before.mse < before.tolerance.rms**2
    assert after.outcome is Outcome.EXACT

    lost = case.permutation[1]
    solution = solve(without(case.pile, [lost]), records, seed=4)  # large rows are kept apart
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.answer == ",".join("?" if n == lost else str(n) for n in case.permutation)
    assert [(gap.place, gap.missing) for gap in solution.findings.gaps] == [(0, "out")]


def test_a_lost_layer_that_rows_do_not_determine_is_never_claimed(dropped, capsys):
    case = dropped(**SHAPE, rows=60)
    solution = solve(without(case.pile, [case.permutation[5]]), case.records)
    assert solution.outcome is Outcome.INCOMPLETE
    print_solution(solution)
    (missing,) = re.findall(r"^missing +(.*)", capsys.readouterr().out, re.MULTILINE)
    assert missing.startswith("probably out layer of block")


def test_what_an_estimate_leaves_is_not_called_noise(dropped):
    """The layer that was estimated took up the pattern, so that what is left shows none."""
    case = dropped(**SHAPE, rows=300)
    solution = solve(without(case.pile, [case.permutation[0]]), case.records)
    assert solution.outcome is Outcome.INCOMPLETE
    assert solution.explanation is None
    assert not any("noise" in note for note in solution.findings.notes)


def test_near_copies_of_few_rows_do_not_determine_a_layer(dropped, rng):
    """What a layer was fitted to is no check of it, with another digit in the tenth place."""
    case = dropped(**SHAPE, rows=30)
    inputs = np.repeat(case.records.inputs.astype(np.float64), 40, axis=0)
    inputs *= 1 + 1e-10 * rng.normal(size=inputs.shape)
    records = Records(inputs, np.repeat(case.records.predictions, 40, axis=0))
    estimate = estimate_layers(case.network, [Unknown(2, OUT)], records, Clock())
    assert estimate.inflation == np.inf


def test_the_last_layer_is_estimated_where_it_is_lost(dropped):
    case = dropped(**SHAPE, rows=600)
    solution = solve(without(case.pile, [case.permutation[-1]]), case.records)
    assert solution.outcome in (Outcome.APPROXIMATE, Outcome.INCOMPLETE)
    assert solution.findings.gaps[-1].missing == "last"
    if solution.outcome is Outcome.APPROXIMATE:
        assert solution.permutation[:-1] == case.permutation[:-1]


def test_a_lost_block_is_never_claimed_to_be_there(dropped):
    case = dropped(**{**SHAPE, "blocks": 3}, rows=300)
    solution = solve(without(case.pile, case.permutation[2:4]), case.records)
    assert solution.outcome in (Outcome.LOCAL_OPTIMUM, Outcome.INCOMPLETE)


def test_pieces_that_fit_nowhere_are_left_over(dropped):
    case = dropped(**SHAPE, rows=600)
    stranger = Piece.linear(50, np.ones((3, 4), np.float32), np.ones(3, np.float32))
    solution = solve(Pile([*case.pile, stranger]), case.records)
    assert solution.exact
    assert [one.reason for one in solution.findings.leftovers] == [
        "fits nowhere with its shape 3 × 4"
    ]


def test_square_piles_and_piles_without_predictions_are_refused_as_before(dropped):
    square = dropped(blocks=3, width=6, hidden=6)
    pile = without(square.pile, [square.permutation[0]])
    assert partial_anatomy(pile, square.records) is None
    with pytest.raises(PileError, match="without a partner"):
        solve(pile, square.records)
    case = dropped(**SHAPE)
    unpredicted = Records(case.records.inputs, np.empty((len(case.records), 0)))
    with pytest.raises(PileError, match="missing"):
        solve(without(case.pile, [case.permutation[0]]), unpredicted)


def test_a_whole_network_is_looked_for_before_pieces_are_left_out(dropped):
    """What the weights call impossible is often two wrong pairs, and nothing is missing."""
    case = dropped(blocks=9, width=12, hidden=20, rows=400)
    one = Case(case.pile, case.records, Options(), solve=None)
    searching = one.searching()
    looks = missing_pieces.looks(one, searching, MissingParameters(impossible=np.inf))
    hard = hard_row_steps(searching)
    assert hard == 9 * repair.STANDARD.hard
    step = Step("in vain", np.empty(0), True, np.empty((0, 2), np.intp), np.inf, hard // 8)
    for due in (True, False, True, False, False, False, False, True):
        searching.trace.add(step, 0.0)
        assert (next(looks) is not None) is due
    # Of pairs that nothing is wrong with, nothing is left out before the search has ended.
    assert [*missing_pieces.looks(one, searching)] == []


def test_each_column_of_predictions_is_judged_in_its_own_unit(dropped, rng):
    case = dropped(rows=200, blocks=2, outputs=2)
    unit, offset = np.array([1, 1e3], np.float32), np.array([0, 1e4], np.float32)
    pieces = [
        Piece.linear(p.id, p.weight * unit[:, None], p.bias * unit + offset)
        if p.shape == (2, 6)
        else p
        for p in case.pile
    ]
    predictions = case.records.predictions * unit + offset
    mixed = predictions.copy()
    mixed[:, 0] = rng.permutation(mixed[:, 0])
    order = np.array([case.pile.index[name] for name in case.permutation[:-1]]).reshape(-1, 2)
    for each, wrong in ((predictions, False), (mixed, True)):
        record = Records(case.records.inputs, each)
        problem = Problems(Pile(pieces), record, Options()).problems[0]
        goal = Reproduction("float32", 2, Clock())
        rebuilding = Rebuilding(iter([replace(problem, grouped=order)]), 5, Options(), goal)
        assert rebuilding._leaves(rebuilding.standing, 0.5) is wrong


def test_alternatives_can_be_gone_through_again(dropped):
    case = dropped()
    alternatives = Problems(case.pile, case.records, Options())
    first = [*alternatives]
    assert len(first) == len(ACTIVATIONS)
    assert [*map(id, alternatives)] == [*map(id, first)]


def test_regressions_end_with_the_time(dropped):
    """Where no time is left an estimate is what it was, and nothing else is begun."""
    case, clock = dropped(**SHAPE, rows=600), Clock(1e-9)
    unknown = Unknown(2, OUT)
    guess = with_zeros(case.network, unknown)
    estimate = estimate_layers(guess, [unknown], case.records, clock)
    np.testing.assert_array_equal(estimate.network.blocks.out_weight[2], 0)
    assert fit_all_rows(guess, [unknown], case.records, clock) is guess
    traces = Traces.of(guess, case.records, clock)
    with pytest.raises(OutOfTimeError):
        unexplained(traces)


class CountedLooks(Clock):
    """A clock whose time is over after `limit` looks at it: no machine is too fast for it."""

    looks = 0

    @property
    def left(self) -> float:
        self.looks += 1
        return self.limit - self.looks


@pytest.mark.parametrize("looks", [1, 30, 100])
def test_what_is_cut_off_is_a_whole_network_that_is_not_claimed(dropped, looks):
    case = dropped(**SHAPE, rows=60)
    pile = without(case.pile, [case.permutation[4]])
    anatomy = partial_anatomy(pile, case.records)
    solution = solve_incomplete(pile, case.records, Options(clock=CountedLooks(looks)), anatomy)
    assert solution.outcome is Outcome.BUDGET_SPENT
    assert len(solution.layers) == len({*solution.layers})
    assert np.isfinite(solution.mse)
