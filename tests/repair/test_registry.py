"""When repairs are asked, and what is said of those that were."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from unshuffle import Outcome, Records, solve
from unshuffle.ordering.search import Steps
from unshuffle.ordering.trace import Step
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.repair.case import Case
from unshuffle.repair.in_turn import repair_by
from unshuffle.repair.registry import REPAIRS, suspected
from unshuffle.repair.repair import NOT_TRIED, AskingParameters, Repair, hard_row_steps, pauses
from unshuffle.solution.arranging import arrange
from unshuffle.solution.options import Options
from unshuffle.solver import NO_TIME, _asked, _confirmed, _remarks

NOTHING = "nothing came of it"


@pytest.fixture
def case(dropped):
    one, other = dropped(rows=100, blocks=2), dropped(rows=100, blocks=2)
    return Case(one.pile, Records(one.records.inputs, other.records.predictions), Options(), None)


@pytest.fixture
def failed(case):
    solution = arrange(case.pile, case.records, case.options, stops=(Steps(1),))
    return solution.ended(Outcome.LOCAL_OPTIMUM)


def test_the_likeliest_repair_is_asked_first_and_none_before_something_speaks_for_it(case, failed):
    assert [*suspected(case, None)] == []
    asked = [*suspected(case, failed)]
    suspicions = [repair.suspects(case, failed) for repair in asked]
    assert suspicions == sorted(suspicions, reverse=True)
    assert 1 < len(asked) < len(REPAIRS)
    assert len({repair.name for repair in REPAIRS}) == len(REPAIRS)


@pytest.mark.parametrize(
    ("raised", "outcome", "said"),
    [
        (None, Outcome.LOCAL_OPTIMUM, {"this": NOTHING}),
        (OutOfTimeError, Outcome.LOCAL_OPTIMUM, {"this": "cut off: no time was left"}),
        (KeyboardInterrupt, Outcome.INTERRUPTED, {}),
    ],
)
def test_a_repair_that_comes_to_nothing_leaves_what_stood_before(
    case, failed, raised, outcome, said
):
    def run(*_):
        if raised is not None:
            raise raised

    asked = {}
    found = _asked(Repair("this", run=run), case, failed, asked)
    assert (found.outcome, asked) == (outcome, said)
    assert found.arrangement is failed.arrangement


def test_without_time_nothing_is_asked(case, failed):
    late = Case(case.pile, case.records, Options(clock=Clock(1e-9)), None)
    asked = {}
    assert _asked(Repair("this", run=None), late, failed, asked) is failed
    assert asked == {"this": "not tried: no time was left"}


def test_a_search_in_vain_pauses_more_and_more_rarely_and_where_hard_records_are_solved(dropped):
    one, other = (dropped(rows=60, blocks=9, width=4, hidden=6) for _ in range(2))
    wrong = Records(one.records.inputs, other.records.predictions)
    case, by = Case(one.pile, wrong, Options(), None), AskingParameters(vain=300, hard=200)
    searching = case.searching()
    hard = hard_row_steps(searching, by)
    assert hard == 1800
    works = [searching.row_steps for _ in islice(pauses(searching, by=by), 7)]
    most = max(step.rows for step in searching.trace.steps)
    due = sorted({hard, *(by.vain * by.pause**power for power in range(12))})
    passed = [max(one for one in due if one <= work) for work in works]
    assert passed == sorted({*passed})
    assert all(work < at + most for work, at in zip(works, passed, strict=True))
    assert hard in passed
    # A search that goes on after an interruption pauses where it would have paused.
    resumed = case.searching()
    next(islice(pauses(resumed, by=by), 2, None))
    again = [resumed.row_steps for _ in islice(pauses(resumed, by=by), 5)]
    assert again[1:] == works[3:7]


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        ({}, Outcome.BUDGET_SPENT),
        ({"another activation": "cut off: no time was left"}, Outcome.BUDGET_SPENT),
        ({"another activation": NOTHING}, Outcome.NO_FIT),
    ],
)
def test_no_arrangement_is_said_to_fit_before_other_activations_were_tried(dropped, asked, outcome):
    case = dropped(rows=50, blocks=2)
    whole = Case(case.pile, case.records, Options(), None)
    refuted = solve(case.pile, case.records).ended(Outcome.NO_FIT)
    assert _confirmed(refuted, whole, asked).outcome is outcome
    settled = refuted.ended(Outcome.AMBIGUOUS)
    assert _confirmed(settled, whole, {}) is settled


def test_what_was_cut_off_is_not_said_to_be_untried(dropped):
    case = dropped(rows=50, blocks=2)
    whole = Case(case.pile, case.records, Options(), None)
    late = {"other units": f"cut off: {NO_TIME}", "wrong record": f"{NOT_TRIED}{NO_TIME}"}
    solution = replace(solve(case.pile, case.records).ended(Outcome.BUDGET_SPENT), repairs=late)
    assert _remarks(solution, whole)[-2:] == [
        "cut off for lack of time: other units",
        "not tried for lack of time: wrong record",
    ]


@pytest.mark.parametrize("rows", [200, 1024])
def test_what_takes_long_waits_for_few_blocks_where_there_are_rows_enough(dropped, rows):
    one, other = dropped(rows=rows, blocks=2), dropped(rows=rows, blocks=2)
    wrong = Records(one.records.inputs, other.records.predictions)
    case = Case(one.pile, wrong, Options(), None)
    searching = case.searching()
    looks = repair_by("this", 0.5, lambda _: ()).looks(case, searching)
    step = Step("in vain", np.empty(0), True, np.empty((0, 2), np.intp), np.inf, 100_000)
    waits = [False, False] if rows == 1024 else []
    for due in (*waits, True):
        assert (next(looks) is not None) is due
        searching.trace.add(step, 0.0)
