import numpy as np
import pytest

from unshuffle.ordering.search import Ending, run_search, until
from unshuffle.ordering.trace import Step, Trace


def steps(count, interrupt_at=None):
    for k in range(count):
        if k == interrupt_at:
            raise KeyboardInterrupt
        yield Step("count", np.array([1.0, 2.0]), k % 2 == 0, tuple(range(k)), 10.0 - k, 5)


def run(search, **options):
    trace = Trace()
    return trace, run_search(search, trace, **options)


def test_a_search_may_end_by_itself():
    trace, ending = run(steps(4))
    assert ending is Ending.CONVERGED
    assert (len(trace), trace.tested, trace.kept) == (4, 8, 2)
    assert trace.seconds == sorted(trace.seconds)


def test_a_search_stops_when_satisfied_with_what_it_kept():
    trace, ending = run(until(steps(9), lambda step: step.error <= 7))
    assert ending is Ending.CONVERGED
    assert trace.steps[-1].error == 6  # the step with 7 kept nothing


def test_a_search_stops_at_its_time_limit():
    trace, ending = run(steps(9), time_limit=1e-9)
    assert ending is Ending.OUT_OF_TIME
    assert len(trace) == 1


def test_an_interrupt_keeps_the_best_so_far():
    trace, ending = run(steps(9, interrupt_at=3))
    assert ending is Ending.INTERRUPTED
    assert trace.steps[-1].order == (0, 1)


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
    assert arrays["order"].tolist() == [0, 1]  # of the kept steps: (), (0, 1)
    assert "8 candidates tested" in repr(trace)
