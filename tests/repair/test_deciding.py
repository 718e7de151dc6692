"""Numbers outside of proof that decide a claim: each is right to within a factor of two."""

from math import exp
from types import SimpleNamespace

import numpy as np
import pytest

from unshuffle import Outcome, Piece, Pile, Records, solve
from unshuffle.blocks.mlp import OUT
from unshuffle.grouping.fusion import _beyond_doubt, _by_ratio_alone, _separations
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.parameters import GroupingParameters
from unshuffle.ordering.trace import Step
from unshuffle.pieces.clock import Clock
from unshuffle.repair import controls, in_turn, incomplete, versions, wrong_record
from unshuffle.repair.case import near_copies
from unshuffle.repair.controls import Controls
from unshuffle.repair.estimation import Unknown, estimate_layers
from unshuffle.repair.in_turn import _other_orders
from unshuffle.repair.repair import far_from
from unshuffle.repair.scaled_inputs import fit_scaling
from unshuffle.repair.versions import _judged
from unshuffle.repair.wrong_record import WrongRecord
from unshuffle.solution.arranging import Searching
from unshuffle.solution.findings import Findings
from unshuffle.solution.options import Options

SHAPE = {"blocks": 4, "width": 8, "hidden": 12}


def searching_for(case, records=None):
    return Searching.of(case.pile, records or case.records, Options())


@pytest.mark.parametrize(("lead", "outcome"), [(2.5, Outcome.AMBIGUOUS), (9.0, Outcome.EXACT)])
def test_a_version_is_decided_by_odds_of_a_hundred(dropped, lead, outcome):
    case = dropped(**SHAPE, rows=100)
    rival = SimpleNamespace(error=exp(2 * lead / case.records.predictions.size))
    contest = SimpleNamespace(
        error=1.0,
        known=case.records,
        names=case.permutation,
        rivals=lambda: [(0, 99)],
        replaced=lambda place, name: rival,
    )
    assert _judged(contest, solve(case.pile, case.records), versions.STANDARD).outcome is outcome


@pytest.mark.parametrize(("share", "found"), [(0.03, 1), (0.1, 0)])
def test_versions_of_a_layer_differ_by_a_twentieth(rng, share, found):
    weight, change = (rng.normal(size=(6, 8)).astype(np.float32) for _ in range(2))
    change *= share * np.linalg.norm(weight) / np.linalg.norm(change)
    none = np.zeros(6, np.float32)
    pile = Pile([Piece.linear(0, weight, none), Piece.linear(1, weight + change, none)])
    assert len(near_copies(pile)) == found


@pytest.mark.parametrize(("equations", "determined"), [(1.0, False), (1.5, True)])
def test_rows_determine_a_layer_with_a_fifth_more_equations(dropped, equations, determined):
    case = dropped(**SHAPE, rows=round(equations * 8 * 13 / 0.9))
    estimate = estimate_layers(case.network, [Unknown(2, OUT)], case.records, Clock(), rough=True)
    assert (estimate.inflation < np.inf) is determined


@pytest.mark.parametrize(("rows", "fitted"), [(20, False), (30, True)])
def test_scales_need_half_as_many_predictions_more_than_numbers(dropped, rows, fitted):
    case = dropped(**SHAPE, rows=rows)
    assert (fit_scaling(case.network, case.records, Clock()) is not None) is fitted


def test_fitted_numbers_are_held_against_the_reverse_and_the_three_weakest(dropped):
    case = dropped(**SHAPE | {"blocks": 8}, rows=300)
    solution = solve(case.pile, case.records)
    odds = sorted(one.log_odds for one in solution.certificate.neighbours)
    reverse, *others = (order.tolist() for order in _other_orders(solution, in_turn.STANDARD))
    assert reverse == [*range(8)][::-1]
    exchanged = [next(k for k in range(8) if order[k] != k) for order in others]
    found = [solution.certificate.neighbours[k].log_odds for k in exchanged]
    assert found == odds[:3]


@pytest.mark.parametrize(
    ("left", "rest", "gaps"),
    [(0.06, 0.3, 1), (0.06, 0.7, 0), (0.2, 0.3, 0), (2e-4, 0.3, 1), (0.6e-4, 0.3, 0)],
)
def test_a_block_is_called_missing_where_it_explains_half(dropped, monkeypatch, left, rest, gaps):
    case = dropped(**SHAPE, rows=50)
    monkeypatch.setattr(incomplete, "unexplained", lambda traces: np.array([0.9, rest, 0.95]))
    found = incomplete._block_gaps(case.network, case.records, left, Clock(), incomplete.STANDARD)
    assert [one.place for one in found] == [1] * gaps


@pytest.mark.parametrize(("logit", "compared"), [(3.0, True), (6.0, False)])
def test_a_sigmoid_has_lost_digits_from_a_logit_of_four_on(logit, compared):
    records = Records(np.zeros((1, 2)), 1 / (1 + np.exp(-np.full((1, 1), logit))))
    assert np.isfinite(Findings(sigmoid=True).undone(records).predictions).all() == compared


def test_a_search_is_far_above_a_tenth_of_the_variance(dropped):
    records = dropped(**SHAPE, rows=100).records
    assert 0.05 < far_from(records) / records.variance < 0.2


@pytest.mark.parametrize(
    ("record", "pieces", "unrelated"),
    [(1.0, 20.0, True), (1.0, 8.0, False), (4.0, 20.0, False)],
)
def test_predictions_follow_from_inputs_or_not(dropped, monkeypatch, record, pieces, unrelated):
    case = dropped(**SHAPE, rows=50)
    wrong, scores = WrongRecord(searching_for(case)), iter([record, *[pieces] * 4])
    monkeypatch.setattr(wrong_record, "foretold", lambda inputs, predictions: next(scores))
    assert wrong._is_unrelated() is unrelated


@pytest.mark.parametrize(("share", "seen"), [(0.06, True), (0.2, False)])
def test_noise_of_a_tenth_may_hide_few_blocks(dropped, monkeypatch, share, seen):
    case = dropped(**SHAPE, rows=50)
    monkeypatch.setattr(wrong_record, "noise_at_most", lambda inputs, predictions: share)
    assert WrongRecord(searching_for(case))._sees_through_noise() is seen


@pytest.mark.parametrize(("left", "hidden"), [(0.5, True), (0.93, False)])
def test_noise_has_hidden_what_leaves_four_fifths(dropped, rng, monkeypatch, left, hidden):
    """All rows lead to the right arrangement, where noise is so much of what stood before."""
    case = dropped(**SHAPE, rows=2000)
    options = Options(activation="relu")
    right = np.array([case.pile.index[name] for name in case.permutation[:-1]]).reshape(-1, 2)
    problem = Searching.of(case.pile, case.records, options).alternatives.problems[0]
    misfit = problem.judge(case.records).run(right[::-1]).error
    noise = np.sqrt(misfit * left / (1 - left)) * rng.normal(size=(2000, 1))
    records = Records(case.records.inputs, case.records.predictions + noise)
    searching = Searching.of(case.pile, records, options)
    searching.trace.add(Step("stood", np.empty(0), True, right[::-1], misfit, 0), 0.0)
    wrong = WrongRecord(searching)

    def over_all_rows(problem, best, rng):
        yield Step("all rows", np.empty(0), True, right, misfit, 0)
        return problem.judge(records).run(right)

    monkeypatch.setattr(wrong, "_over_all_rows", over_all_rows)
    wrong._last_look()
    assert wrong._hidden is hidden


def test_four_controls_have_to_be_solved(dropped):
    case = dropped(**SHAPE, rows=50)
    made = Controls(searching_for(case).alternatives, wrong_record.STANDARD.controls)
    passed = []
    for made.solved in range(6):
        passed.append(made.passed)
    assert passed.index(True) in (3, 4, 5)


@pytest.mark.parametrize(("blocks", "disagreed", "strays"), [(12, 0.2, 0.4), (40, 0.0, 0.05)])
def test_a_control_strays_twice_as_far_as_seeds_disagree(
    dropped, monkeypatch, blocks, disagreed, strays
):
    case, asked = dropped(**SHAPE | {"blocks": blocks}, rows=50), []
    made = Controls(searching_for(case).alternatives, wrong_record.STANDARD.controls)

    def strayed(ranking, distance, rng, by):
        asked.append(distance)
        return ranking

    monkeypatch.setattr(controls, "strayed", strayed)
    monkeypatch.setattr(controls, "disagreement", lambda one, other: disagreed)
    made._record(case.network.blocks.activation, np.random.default_rng(0))
    assert strays / 1.7 < asked[0] < strays * 1.7


def test_pairs_of_a_control_are_drawn_by_half_their_log_odds(dropped, rng, monkeypatch):
    case, drawn = dropped(**SHAPE | {"blocks": 12}, rows=50), []
    made = Controls(searching_for(case).alternatives, wrong_record.STANDARD.controls)

    def matched(scores):
        drawn.append(scores)
        return optimal_matching(scores)

    monkeypatch.setattr(controls, "optimal_matching", matched)
    made._record(case.network.blocks.activation, rng)
    (edge,) = made.alternatives.problems[0].evidence.edges
    gumbel = np.pi / np.sqrt(6)  # the standard deviation of its distribution
    assert 1.4 < np.std(drawn[0] - edge.log_odds) / gumbel < 2.8


@pytest.mark.parametrize(("blocks", "share"), [(40, 0.25), (4, 2.0)])
def test_controls_have_half_of_the_work_each_and_less_where_a_record_may_be_hard(
    dropped, monkeypatch, blocks, share
):
    wrong = WrongRecord(searching_for(dropped(**SHAPE | {"blocks": blocks}, rows=50)))
    monkeypatch.setattr(WrongRecord, "_is_between", True)
    wrong.searching.trace.add(Step("stood", np.empty(0), True, np.zeros(0), 1.0, 20_000), 0.0)
    budgets = []
    made = SimpleNamespace(advance=lambda best, budget: budgets.append(budget), passed=False)
    wrong._passed_by(made)
    assert share / 1.7 < budgets[0] / wrong.searching.row_steps < share * 1.7


@pytest.mark.parametrize(("votes", "count", "agreed"), [(2, 8, 0), (4, 8, 1), (4, 4, 0)])
def test_so_many_witnesses_that_agree_on_so_many_pairs_leave_no_doubt(votes, count, agreed):
    pairs = np.zeros((count, 2), np.intp)
    found = _beyond_doubt([(votes, pairs)], (count, count), GroupingParameters())
    assert (found is not None) == agreed


@pytest.mark.parametrize(("spreads", "decisive"), [(2.0, False), (5.0, True)])
def test_ratios_far_beyond_the_spread_of_wrong_ones_decide(rng, spreads, decisive):
    scores = rng.uniform(-1, 1, size=(12, 12))
    others = scores[~np.eye(12, dtype=bool)]
    np.fill_diagonal(scores, others.max() + spreads * others.std())
    found = _by_ratio_alone(scores, GroupingParameters())
    assert (found is not None) is decisive


def test_signals_of_few_pairs_are_drawn_to_the_prior():
    white = np.stack([np.eye(24), np.eye(24)])
    clues = SimpleNamespace(clock=Clock(), by=GroupingParameters())
    ones = np.ones(2)
    (one, _) = _separations(clues, white, ones, lambda scores: np.argwhere(scores > 0), 0 * ones)
    assert 0.33 < one < 0.67
