"""Wrong records end in a clear statement, and right ones never do."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from unshuffle import Outcome, Records, read_solution, solve, write_solution
from unshuffle.ordering.search import Ending, InVain
from unshuffle.ordering.trace import Step, Trace
from unshuffle.proof.noise import foretold
from unshuffle.repair import repair, wrong_record
from unshuffle.repair.controls import ControlParameters, disagreement, strayed
from unshuffle.repair.repair import pauses
from unshuffle.repair.wrong_record import WrongRecord
from unshuffle.solution.arranging import Searching
from unshuffle.solution.options import Options

SHAPE = {"blocks": 4, "width": 12, "hidden": 20}
BY = wrong_record.STANDARD


def with_predictions(records, predictions):
    return Records(records.inputs, predictions)


def in_vain(case, records, error, *, rows=1000, steps=20, arrangement=None):
    """A search that has taken so many steps and ended with an error."""
    searching = Searching.of(case.pile, records, Options())
    problem = searching.alternatives.problems[0]
    standing = problem.grouped if arrangement is None else arrangement
    step = Step("in vain", np.array([error]), False, standing, error, rows)
    for _ in range(steps):
        searching.trace.add(step, 0.0)
    return searching


def test_a_wrong_record_is_said_to_be_wrong_within_bounded_work(dropped, tmp_path):
    case, other = dropped(**SHAPE, rows=800), dropped(**SHAPE)
    # Networks of one task predict alike; these do for a half.
    predictions, others = (
        net.predict(case.records.inputs) for net in (case.network, other.network)
    )
    blend = predictions / predictions.std() + others / others.std()
    record = with_predictions(case.records, predictions.std() * blend)
    searching = Searching.of(case.pile, record, Options())
    wrong = WrongRecord(searching)
    looks = wrong.looks()
    judged = next(due for _ in pauses(searching) if (due := next(looks)) is not None)
    solution = judged()
    assert solution.outcome is Outcome.NO_FIT
    (note,) = solution.findings.notes
    assert "of the variance stays unexplained" in note
    assert solution.findings.unexplained > 0.1
    # The controls were given their share, and nothing but a last look came after them.
    assert 0 < wrong.controls.spent <= BY.share * searching.row_steps
    phases = [step.phase for step in solution.trace.steps]
    assert phases.index("all rows") == len(phases) - 1
    assert searching.row_steps < 200_000
    write_solution(solution, tmp_path / "kept")
    again = read_solution(tmp_path / "kept")
    assert (again.outcome, again.findings) == (solution.outcome, solution.findings)


def test_a_right_record_that_is_mostly_noise_is_not_called_wrong(dropped, rng):
    case = dropped(**{**SHAPE, "blocks": 2}, rows=250)
    predictions = case.records.predictions
    noise = predictions.std() * rng.normal(size=predictions.shape)
    solution = solve(case.pile, with_predictions(case.records, predictions + noise))
    assert solution.permutation == case.permutation
    assert solution.outcome is Outcome.LOCAL_OPTIMUM


def test_predictions_that_do_not_follow_from_the_inputs_are_told_at_once(dropped, rng):
    case = dropped(**SHAPE | {"blocks": 9}, rows=2000)  # with more arrangements than are all judged
    solution = solve(
        case.pile, with_predictions(case.records, rng.permutation(case.records.predictions))
    )
    assert solution.outcome is Outcome.NO_FIT
    note, *_ = solution.findings.notes
    assert note.startswith("the predictions do not follow from the inputs")
    assert sum(step.rows for step in solution.trace.steps) < 3 * repair.STANDARD.vain


def test_nothing_is_said_of_too_few_rows_with_mixed_up_predictions(dropped, rng):
    case = dropped(**SHAPE, rows=100)
    mixed = with_predictions(case.records, rng.permutation(case.records.predictions))
    assert foretold(mixed.inputs, mixed.predictions) < BY.unrelated
    assert foretold(case.records.inputs, case.records.predictions) < BY.foretold
    searching = in_vain(case, mixed, 2 * case.records.variance)
    # No look ever comes to anything, and controls are begun instead.
    wrong = WrongRecord(searching)
    assert next(wrong.looks(), None) is None
    assert wrong.controls is None


@pytest.mark.parametrize("controls", [ControlParameters(), ControlParameters(needed=6)])
def test_where_the_pieces_own_records_are_not_solved_nothing_is_said(dropped, controls):
    """They are not within a hundredth of the work; and six of five never are."""
    case = dropped(**SHAPE, rows=300)
    searching = in_vain(case, case.records, 0.5 * case.records.variance)
    by = replace(BY, share=0.01, controls=controls)
    wrong = WrongRecord(searching, by)
    assert next(wrong.looks()) is None
    assert not wrong.controls.passed
    assert 0 < wrong.controls.spent <= by.share * searching.row_steps + 300 or controls.needed == 6


def test_a_search_that_comes_near_is_left_alone(dropped):
    case = dropped(**SHAPE, rows=300)
    far = 0.1 * case.records.variance
    stop = InVain(repair.STANDARD.vain, far)
    trace = Trace(case.pile.ids)
    step = Step("near", np.empty(0), True, np.empty((0, 2), np.intp), 0.5 * far, 1000)
    for _ in range(20):
        trace.add(step, 0.0)
        assert stop(trace) is None
    trace.add(replace(step, error=2 * far), 0.0)
    assert stop(trace) is Ending.STOPPED


def test_disagreement_counts_couples_and_is_blind_to_the_direction():
    ranking = np.array([2, 0, 3, 1])
    assert disagreement(ranking, ranking) == disagreement(ranking, ranking[::-1]) == 0
    assert disagreement(ranking, np.array([0, 2, 3, 1])) == pytest.approx(1 / 6)
    for other in permutations(range(4)):
        assert disagreement(ranking, np.array(other)) <= 0.5
        assert disagreement(ranking, np.array(other)) == disagreement(np.array(other), ranking)


@pytest.mark.parametrize("distance", [0.0, 0.1, 0.3, 0.49])
def test_a_ranking_strays_as_far_as_it_is_told_to(distance, rng):
    ranking = rng.permutation(30)
    drawn = strayed(ranking, distance, rng, BY.controls)
    assert sorted(drawn) == sorted(ranking)
    assert distance <= disagreement(drawn, ranking) <= distance + 0.2


def test_an_arrangement_that_noise_hid_from_few_rows_is_found_with_all(dropped, rng):
    case = dropped(**SHAPE, rows=600)
    predictions = case.records.predictions
    noise = 0.4 * predictions.std() * rng.normal(size=predictions.shape)
    noisy = with_predictions(case.records, predictions + noise)
    searching = in_vain(case, noisy, 0.9 * noisy.variance)
    misled = searching.alternatives.problems[0].grouped[::-1]
    searching = in_vain(case, noisy, 0.9 * noisy.variance, arrangement=misled)
    assert next(WrongRecord(searching).looks(), None) is None
    by = replace(BY, noise=1.0, controls=ControlParameters(needed=0))
    solution = next(WrongRecord(searching, by).looks())()
    assert solution.outcome is not Outcome.NO_FIT
    last = searching.trace.steps[-1]
    assert last.phase == "all rows"
    assert last.error < 0.25 * noisy.variance
