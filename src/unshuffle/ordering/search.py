"""Drive a search round by round until it ends or a criterion stops it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from time import perf_counter
from typing import Protocol

from unshuffle.ordering.state import State
from unshuffle.ordering.trace import OnStep, Step, Trace
from unshuffle.pieces.clock import Clock


class Ending(Enum):
    """Why a search stopped."""

    CONVERGED = auto()
    STOPPED = auto()
    OUT_OF_TIME = auto()
    INTERRUPTED = auto()


class Stop(Protocol):
    """A criterion that stops a search."""

    def __call__(self, trace: Trace) -> Ending | None:
        """Why the search stops after the last step; None where it goes on."""


@dataclass(frozen=True)
class Steps:
    """Stop after so many steps of this search."""

    most: int
    before: int = 0  # steps of earlier searches in the same trace

    def __call__(self, trace: Trace) -> Ending | None:
        """Whether there have been so many."""
        return Ending.STOPPED if len(trace) - self.before >= self.most else None


@dataclass(frozen=True)
class Deadline:
    """Stop when no time of the whole solve is left."""

    clock: Clock

    def __call__(self, trace: Trace) -> Ending | None:
        """Whether none is."""
        return Ending.OUT_OF_TIME if self.clock.out else None


@dataclass(eq=False)
class InVain:
    """Stop once a search has taken so many row steps and is still far from its record."""

    row_steps: float  # rows of all steps, added up
    error: float  # mean squared error from which on it is far
    done: int = 0
    _steps: int = 0

    def __call__(self, trace: Trace) -> Ending | None:
        """Whether it has."""
        self.done += sum(step.rows for step in trace.steps[self._steps :])
        self._steps = len(trace)
        far = trace.steps[-1].error > self.error
        return Ending.STOPPED if far and self.done >= self.row_steps else None


# Called with the state after each round of a search: something that keeps it.
OnState = Callable[[State], None]


def run_states(
    start: State,
    states: Iterator[State],
    trace: Trace,
    *,
    stops: Sequence[Stop] = (),
    on_step: OnStep | None = None,
    on_state: OnState | None = None,
) -> tuple[State, Ending]:
    """Take all rounds of a search. Return the last state, and why it stopped.

    The states are those of `unshuffle.ordering.auto.advance`. Steps are taken as by `run_search`.
    """
    last = [start]

    def steps() -> Iterator[Step]:
        for state in states:
            told = state.step is last[0].step  # a round may do nothing but decide what comes next
            last[:] = [state]
            if not told:
                yield state.step
            if on_state is not None:
                on_state(state)

    ending = run_search(steps(), trace, stops=stops, on_step=on_step)
    return last[0], ending


def run_search(
    steps: Iterator[Step],
    trace: Trace,
    *,
    stops: Sequence[Stop] = (),
    on_step: OnStep | None = None,
) -> Ending:
    """Take steps until the search ends by itself, any criterion stops it, or it is interrupted.

    Steps are added to the trace, which may hold those of an earlier search.
    """
    started = perf_counter() - (trace.seconds[-1] if trace.seconds else 0.0)
    try:
        for step in steps:
            trace.add(step, perf_counter() - started)
            if on_step is not None:
                on_step(trace)
            for stop in stops:
                ending = stop(trace)
                if ending is not None:
                    return ending
    except KeyboardInterrupt:
        return Ending.INTERRUPTED
    return Ending.CONVERGED
