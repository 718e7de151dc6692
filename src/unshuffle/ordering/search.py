"""Drive a search step by step until it ends, is good enough, or has to stop."""

from collections.abc import Callable, Generator
from enum import Enum, auto
from time import perf_counter
from typing import Any

from threadpoolctl import threadpool_limits

from unshuffle.trace import OnStep, Step, Trace


class Ending(Enum):
    """Why a search stopped."""

    CONVERGED = auto()
    SATISFIED = auto()
    OUT_OF_TIME = auto()
    INTERRUPTED = auto()


def run_search(
    steps: Generator[Step, None, Any],
    *,
    satisfied: Callable[[Step], bool],
    time_limit: float | None = None,
    on_step: OnStep | None = None,
) -> tuple[Trace, Ending]:
    """Take steps until the search ends by itself, satisfies, runs out of time or is interrupted.

    Parameters
    ----------
    steps
        The search; its last step holds the best order so far.
    satisfied
        Whether a step's order is as good as any can be.
    time_limit
        Seconds after which no further step is begun.
    on_step
        Called after every step.

    Notes
    -----
    Meanwhile the BLAS runs single-threaded: a search multiplies many small matrices, which is
    faster with whole batches in parallel, and its rounding then does not depend on the number of
    cores.
    """
    trace = Trace()
    started = perf_counter()
    try:
        with threadpool_limits(1, "blas"):
            for step in steps:
                seconds = perf_counter() - started
                trace.add(step, seconds)
                if on_step is not None:
                    on_step(trace)
                if step.kept and satisfied(step):
                    return trace, Ending.SATISFIED
                if time_limit is not None and seconds >= time_limit:
                    return trace, Ending.OUT_OF_TIME
    except KeyboardInterrupt:
        return trace, Ending.INTERRUPTED
    return trace, Ending.CONVERGED
