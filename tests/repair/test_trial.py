"""Wrong records end in a clear statement, and right ones never do."""

from itertools import permutations

import numpy as np
import pytest

from unshuffle import Outcome, Records, read_solution, solve, write_solution
from unshuffle.ordering.trace import Step
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.proof.noise import foretold
from unshuffle.repair.doubt import FORETOLD, LEAST, SHARE, UNRELATED, VAIN, Doubt
from unshuffle.repair.trial import Trial, disagreement, strayed
from unshuffle.solution.arranging import Cases, Options

SHAPE = {"blocks": 4, "width": 12, "hidden": 20}


def with_predictions(records, predictions):
    return Records(records.inputs, predictions)


@pytest.fixture
def trials(monkeypatch):
    """The trials that are made meanwhile."""
    made = []
    begin = Trial.__init__

    def kept(self, cases):
        begin(self, cases)
        made.append(self)

    monkeypatch.setattr(Trial, "__init__", kept)
    return made


def test_a_wrong_record_is_said_to_be_wrong_within_bounded_work(dropped, trials, tmp_path):
    case, other = dropped(**SHAPE, rows=800), dropped(**SHAPE)
    # Networks of one task predict alike; these do for a half.
    predictions, others = (
        net.predict(case.records.inputs) for net in (case.network, other.network)
    )
    blend = predictions / predictions.std() + others / others.std()
    solution = solve(case.pile, with_predictions(case.records, predictions.std() * blend))
    assert solution.outcome is Outcome.NO_FIT
    (note,) = solution.findings.notes
    assert "of the variance stays unexplained" in note
    assert solution.findings.unexplained > 0.1
    (trial,) = trials
    work = sum(step.rows for step in solution.trace.steps)
    # The controls were given their share, and nothing but a last look came after them.
    assert 0 < trial.spent <= SHARE * work
    phases = [step.phase for step in solution.trace.steps]
    assert phases.index("all rows") == len(phases) - 1
    assert work < 200_000
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
    case = dropped(**SHAPE, rows=2000)
    solution = solve(
        case.pile, with_predictions(case.records, rng.permutation(case.records.predictions))
    )
    assert solution.outcome is Outcome.NO_FIT
    (note,) = solution.findings.notes
    assert note.startswith("the predictions do not follow from the inputs")
    assert sum(step.rows for step in solution.trace.steps) < 3 * VAIN


def test_nothing_is_said_of_too_few_rows_with_mixed_up_predictions(dropped, rng):
    case = dropped(**SHAPE, rows=100)
    mixed = with_predictions(case.records, rng.permutation(case.records.predictions))
    doubt = Doubt(Cases(case.pile, mixed, read_anatomy(case.pile), Options()))
    assert foretold(mixed.inputs, mixed.predictions) < UNRELATED
    assert foretold(case.records.inputs, case.records.predictions) < FORETOLD
    error = 2 * float(np.var(case.records.predictions))
    assert [*doubt.watch(iter([Step("", np.array([error]), False, (), error, 3 * VAIN)]))]
    assert not doubt.unrelated


def test_where_the_pieces_own_records_are_not_solved_nothing_is_said(dropped, monkeypatch):
    monkeypatch.setattr("unshuffle.repair.trial.reproduces_rows", lambda *_, **__: False)
    case = dropped(**SHAPE, rows=300)
    doubt = Doubt(Cases(case.pile, case.records, read_anatomy(case.pile), Options()))
    error = 0.5 * float(np.var(case.records.predictions))
    far = [Step("in vain", np.array([error]), False, (), error, 1000)] * 20
    assert len([*doubt.watch(iter(far))]) == len(far)
    assert not doubt.trial.passed
    assert 0 < doubt.trial.spent <= SHARE * 20 * 1000 + 300


def test_a_search_that_comes_near_is_left_alone(dropped):
    case = dropped(**SHAPE, rows=300)
    doubt = Doubt(Cases(case.pile, case.records, read_anatomy(case.pile), Options()))
    error = 0.05 * float(np.var(case.records.predictions))
    near = [Step("near", np.array([error]), True, (), error, 1000)] * 20
    assert len([*doubt.watch(iter(near))]) == len(near)
    assert doubt.trial is None


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
    drawn = strayed(ranking, distance, rng)
    assert sorted(drawn) == sorted(ranking)
    assert distance <= disagreement(drawn, ranking) <= distance + 0.2


def test_an_arrangement_that_noise_hid_from_few_rows_is_found_with_all(dropped, rng, monkeypatch):
    case = dropped(**SHAPE, rows=600)
    predictions = case.records.predictions
    noise = 0.4 * predictions.std() * rng.normal(size=predictions.shape)
    noisy = with_predictions(case.records, predictions + noise)
    doubt = Doubt(Cases(case.pile, noisy, read_anatomy(case.pile), Options()))
    problem = doubt.cases.problems[0]
    misled = tuple(problem.blocks[::-1].tolist())
    error = 0.9 * float(np.var(noisy.predictions))
    assert not doubt._sees_through_noise()
    monkeypatch.setattr(Doubt, "_sees_through_noise", lambda _: True)
    monkeypatch.setattr("unshuffle.repair.trial.Trial.passed", True)
    step = Step("in vain", np.array([error]), False, misled, error, 2 * LEAST)
    (_, *_, last) = doubt.watch(iter([step] * 3))
    assert doubt.hidden
    assert last.phase == "all rows"
    assert last.error < 0.2 * error
