"""Strategy `auto`: named stages that take turns until the record is reproduced.

Descents from the best seeds solve most networks within a few rounds. Far from the answer,
mean-field searches and populations are drawn in. Near it a few random moves are followed by another
descent, kept if it ends lower (iterated local search, Lourenço, Martin & Stützle 2003). When such
restarts stop helping, rows are added.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from unshuffle.ordering.stages import STAGES, Stage
from unshuffle.ordering.state import Found, State
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench


def begin(bench: Workbench, rng: np.random.Generator) -> State:
    """The state before the first round."""
    grouped = bench.problem(0).grouped
    best = Found(0, grouped, np.inf)
    rows = bench.rows_to_begin(bench.by.quick)
    step = Step("", np.empty(0), False, grouped, np.inf, rows)
    return State(best, rows, rng.bit_generator.state, step)


def next_stage(stages: Sequence[Stage], state: State, bench: Workbench) -> Stage | None:
    """The stage that is under way, else the first that is wanted. None where none is."""
    under_way = (stage for stage in stages if stage.name == state.stage)
    wanted = (stage for stage in stages if stage.wanted(state, bench))
    return next(under_way if state.stage else wanted, None)


def advance(
    state: State,
    bench: Workbench,
    stages: Sequence[Stage] = STAGES,
    met: Callable[[State], bool] | None = None,
) -> Iterator[State]:
    """Yield the state after each round, until the goal is met or no stage is wanted.

    The search begins with the state of `begin`, or with any that was yielded. By default the goal
    is met where the best reproduces rows that the search has not seen.
    """
    met = met or bench.confirmed
    before = state.work - bench.work
    while not (state.decided or met(state)):
        stage = next_stage(stages, state, bench)
        if stage is None:
            return
        after, work = stage.advance(state, bench), before + bench.work
        told = after.step is not state.step  # a round may do nothing but decide what comes next
        step = replace(after.step, work=work) if told else after.step
        state = replace(after, step=step, work=work)
        yield state
