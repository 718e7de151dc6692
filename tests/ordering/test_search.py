from types import SimpleNamespace

import numpy as np
import pytest

from unshuffle.errors import UsageError
from unshuffle.ordering.search import Deadline, Ending, Steps, run_search, run_states
from unshuffle.ordering.trace import Step, Trace
from unshuffle.pieces.blueprint import NO_PIECE
from unshuffle.pieces.clock import Clock

IDS = tuple("abcdefgh")


def steps(count, interrupt_at=None):
    """Of arrangements that grow from no block on."""
    for k in range(count):
        if k == interrupt_at:
            raise KeyboardInterrupt
        arrangement = np.arange(2 * k).reshape(k, 2)
        yield Step("count", np.array([1.0, 2.0]), k % 2 == 0, arrangement, 10.0 - k, 5)


def run(search, **options):
    trace = Trace(IDS)
    return trace, run_search(search, trace, **options)


def test_a_search_may_end_by_itself():
    trace, ending = run(steps(4))
    assert ending is Ending.CONVERGED
    assert (len(trace), trace.tested, trace.kept, trace.rows) == (4, 8, 2, 5)
    assert trace.seconds == sorted(trace.seconds)
    assert trace.errors.tolist() == [1, 2] * 4


def test_a_search_stops_after_so_many_steps_of_its_own():
    trace, ending = run(steps(9), stops=(Steps(3),))
    assert (ending, len(trace)) == (Ending.STOPPED, 3)
    assert run_search(steps(9), trace, stops=(Steps(2, before=len(trace)),)) is Ending.STOPPED
    assert len(trace) == 5
    assert trace.seconds == sorted(trace.seconds)
    assert run_search(steps(1), trace, stops=(Steps(2, before=len(trace)),)) is Ending.CONVERGED


def test_a_search_stops_when_no_time_is_left():
    trace, ending = run(steps(9), stops=(Deadline(Clock(1e-9)),))
    assert ending is Ending.OUT_OF_TIME
    assert len(trace) == 1
    for clock in (Clock(), Clock(1e9)):
        assert run(steps(9), stops=(Deadline(clock),))[1] is Ending.CONVERGED
    # What was used before an interruption counts.
    assert run(steps(9), stops=(Deadline(Clock(100.0, used=101.0)),))[1] is Ending.OUT_OF_TIME


def test_the_first_criterion_that_is_met_says_why():
    stops = (Steps(2), Deadline(Clock(1e-9)))
    assert run(steps(9), stops=stops)[1] is Ending.OUT_OF_TIME
    assert run(steps(9), stops=(Steps(1), Deadline(Clock(1e-9))))[1] is Ending.STOPPED


def test_an_interrupt_keeps_the_best_so_far():
    trace, ending = run(steps(9, interrupt_at=3))
    assert ending is Ending.INTERRUPTED
    assert trace.names(trace.steps[-1].arrangement) == (("a", "b"), ("c", "d"))


def test_an_interrupt_while_reporting_keeps_the_best_so_far():
    def report(_):
        raise KeyboardInterrupt

    trace, ending = run(steps(9), on_step=report)
    assert ending is Ending.INTERRUPTED
    assert len(trace) == 1


def test_errors_are_not_swallowed():
    def broken():
        yield from steps(2)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run(broken())


def test_the_last_state_is_returned_and_each_is_told(scripted):
    start, states = scripted(5)
    told, trace = [], Trace(IDS)
    last, ending = run_states(start, iter(states), trace, on_state=told.append)
    assert ending is Ending.CONVERGED
    assert last is states[-1]
    assert told == states
    assert trace.steps == [state.step for state in states]


def test_a_round_that_decides_only_what_comes_next_is_no_step(scripted):
    start, (one, two, three) = scripted(3)
    silent = SimpleNamespace(step=one.step)
    told, trace = [], Trace(IDS)
    run_states(start, iter([one, silent, two, three]), trace, on_state=told.append)
    assert trace.steps == [one.step, two.step, three.step]
    assert told == [one, silent, two, three]


def test_the_state_at_which_a_search_was_stopped_is_returned(scripted):
    start, states = scripted(5)
    for most in (1, 2, 4):
        last, ending = run_states(start, iter(states), Trace(IDS), stops=(Steps(most),))
        assert (last, ending) == (states[most - 1], Ending.STOPPED)
    last, ending = run_states(start, iter(()), Trace(IDS))
    assert (last, ending) == (start, Ending.CONVERGED)


@pytest.fixture
def scripted():
    """Make a state before the first round, and those after so many rounds."""

    def make(count):
        first, *others = (SimpleNamespace(step=step) for step in steps(count + 1))
        return first, others

    return make


def test_a_trace_is_stored_in_full():
    trace, _ = run(steps(4))
    arrays = trace.arrays()
    assert arrays["phase"].tolist() == ["count"] * 4
    assert arrays["kept"].tolist() == [True, False, True, False]
    assert arrays["error"].tolist() == [10, 9, 8, 7]
    assert arrays["candidates"].tolist() == [2] * 4
    assert arrays["tested"].tolist() == [1, 2] * 4
    assert arrays["blocks"].tolist() == [0, 1, 2, 3]
    assert arrays["rows"].tolist() == [5] * 4
    assert arrays["arrangement"].tolist() == [[0, 1], [2, 3]]  # of the kept steps: no block, two
    assert arrays["ids"].tolist() == [*IDS]
    assert "8 candidates tested, 2 moves kept" in repr(trace)
    assert trace.first(1).told == "2 candidates tested, 1 move kept"


def grown(count):
    """Steps whose arrangement is new exactly where it was kept, as a trace can store it."""
    standing = np.empty((0, 2), np.intp)
    for step in steps(count):
        standing = step.arrangement if step.kept else standing
        yield Step(step.phase, step.tested, step.kept, standing, step.error, step.rows)


def test_a_stored_trace_is_read_as_it_was():
    trace, _ = run(grown(6))
    again = Trace.from_arrays(trace.arrays(), IDS)
    assert again.ids == IDS
    assert again.seconds == trace.seconds
    for one, other in zip(trace.steps, again.steps, strict=True):
        assert (one.phase, one.kept, one.error, one.rows) == (
            other.phase,
            other.kept,
            other.error,
            other.rows,
        )
        np.testing.assert_array_equal(one.arrangement, other.arrangement)
        np.testing.assert_array_equal(one.tested, other.tested)


def test_a_trace_of_blocks_of_several_forms_is_read():
    trace = Trace(IDS)
    trace.add(Step("try", np.ones(1), True, np.array([[0, NO_PIECE], [1, 2]]), 1.0, 5), 0.1)
    again = Trace.from_arrays(trace.arrays(), IDS)
    assert again.names(again.steps[0].arrangement) == ((IDS[0],), (IDS[1], IDS[2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrangement": np.zeros(4, np.intp)}, "needs an array 'arrangement' of 2 axes"),
        ({"kept": np.zeros(6)}, "needs an array 'kept' of 1 axes"),
        ({"arrangement": np.full((6, 2), 8)}, "positions outside 0 … 7"),
        ({"arrangement": np.zeros((5, 2), np.intp)}, "contradict each other"),
        ({"rows": np.full(6, -1)}, "less than 0 or more than"),
        ({"seconds": np.zeros(5)}, "contradict each other"),
        ({"blocks": np.array([0, 0, 2, 3, 4, 4])}, "contradict each other"),  # nothing was kept
    ],
)
def test_arrays_that_make_no_trace_are_refused(change, message):
    trace, _ = run(grown(6))
    with pytest.raises(UsageError, match=message):
        Trace.from_arrays(trace.arrays() | change, IDS)
