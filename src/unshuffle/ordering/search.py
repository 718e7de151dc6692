"""Drive a search step by step until it ends or has to stop."""

from collections.abc import Callable, Iterator
from enum import Enum, auto
from time import perf_counter

from unshuffle.ordering.trace import OnStep, Step, Trace


class Ending(Enum):
    """Why a search stopped."""

    CONVERGED = auto()
    OUT_OF_TIME = auto()
    INTERRUPTED = auto()


def until(steps: Iterator[Step], satisfied: Callable[[Step], bool]) -> Iterator[Step]:
    """Take steps until one keeps an order that satisfies."""
    for step in steps:
        yield step
        if step.kept and satisfied(step):
            return


def while_kept(steps: Iterator[Step], most: int) -> Iterator[Step]:
    """Take steps, at most so many, until one keeps nothing."""
    for count, step in enumerate(steps, start=1):
        yield step
        if count == most or not step.kept:
            return


def run_search(
    steps: Iterator[Step],
    trace: Trace,
    *,
    time_limit: float | None = None,
    on_step: OnStep | None = None,
    clock: Callable[[], float] = perf_counter,
) -> Ending:
    """Take steps until the search ends by itself, runs out of time or is interrupted.

    Parameters
    ----------
    steps
        The search; its last step holds the best order so far.
    trace
        Where the steps are added; the search goes on where an earlier one ended.
    time_limit
        Seconds after which no further step is begun, those of the earlier search included.
    on_step
        Called after every step.
    clock
        Says what second it is.
    """
    started = clock() - (trace.seconds[-1] if trace.seconds else 0.0)
    try:
        for step in steps:
            seconds = clock() - started
            trace.add(step, seconds)
            if on_step is not None:
                on_step(trace)
            if time_limit is not None and seconds >= time_limit:
                return Ending.OUT_OF_TIME
    except KeyboardInterrupt:
        return Ending.INTERRUPTED
    return Ending.CONVERGED
