"""Strategy `classic`: greedy insertion, then 2-opt and or-opt, each candidate judged exactly.

The recipe of the puzzle's write-up ("dropped", gardberg.xyz). 2-opt is due to Croes (1958), or-opt
to Or (1976). On an order of blocks direction matters. So 2-opt exchanges two blocks, and reverses
nothing between them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from unshuffle.ordering.auto import advance
from unshuffle.ordering.judge import Doubles, Run
from unshuffle.ordering.stages import Stage
from unshuffle.ordering.state import State
from unshuffle.ordering.sweeps import (
    STANDARD,
    ClassicParameters,
    exchanged,
    inserted,
    moved,
    turned,
)
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench

# Exchange two blocks, move one anywhere, turn one around.
SWEEPS = ("2-opt", "or-opt", "roles")


@dataclass(frozen=True)
class Insertion:
    """Start from the single block of lowest error; insert the block that lowers it most."""

    placement: str = "anywhere"  # one of `PLACEMENTS`
    name: str = "greedy insertion"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """At the beginning."""
        return self.name not in state.ended

    def advance(self, state: State, bench: Workbench) -> State:
        """Insert one block."""
        grouped = bench.problem(0).grouped
        run = bench.run(0, state.rows, state.best.arrangement if state.stage else grouped[:0])
        placed = {*map(tuple, run.arrangement.tolist())}
        left = grouped[[tuple(block) not in placed for block in grouped.tolist()]]
        run, errors = inserted(bench.judge(0, state.rows), run, left, self.placement)
        after = _taken(replace(state, stage=self.name), bench, run, errors, kept=True)
        return after.after(self.name) if len(run) == bench.blocks else after


@dataclass(frozen=True)
class Sweep:
    """Try all moves of one kind once, in one sequence; keep those that lower the error."""

    name: str
    by: ClassicParameters = STANDARD

    def wanted(self, state: State, bench: Workbench) -> bool:
        """In turn; all of them again as long as one has lowered the error."""
        return self.name not in state.ended

    def advance(self, state: State, bench: Workbench) -> State:
        """Try one batch of moves."""
        if not state.stage:
            before = state.best.error if self.name == SWEEPS[0] else state.before
            sweep = state.best.arrangement
            state = replace(state, stage=self.name, sweep=sweep, cursor=(0, 1), before=before)
        at, to = state.cursor
        assert state.sweep is not None
        judge, run = bench.judge(0, state.rows), bench.run(0, state.rows, state.best.arrangement)
        last = len(run) - 1
        over = at > (last - 1 if self.name == "2-opt" else last)
        if over or (self.name == "or-opt" and last < 1):
            return self._ended(state, bench)
        if self.name == "2-opt":
            better, errors, first = exchanged(judge, run, at, to, self.by)
            to += first + 1
            cursor = (at, to) if to <= last else (at + 1, at + 2)
        elif self.name == "or-opt":
            better, errors = moved(judge, run, state.sweep[at])
            cursor = (at + 1, 0)
        else:
            better, errors, first = turned(judge, run, at, self.by)
            cursor = (at + first + 1, 0)
        return _taken(replace(state, cursor=cursor), bench, better, errors, kept=better is not run)

    def _ended(self, state: State, bench: Workbench) -> State:
        after = state.after(self.name)
        if self.name == _sweeps(bench, self.by)[-1].name and state.best.error < state.before:
            return replace(after, ended=(Insertion.name,))
        return after


def _sweeps(bench: Workbench, by: ClassicParameters) -> list[Sweep]:
    """The sweeps for the kind of blocks: roles are turned only where they are uncertain."""
    bank = bench.problem(0).bank
    turns = [
        (one, other)
        for one, other in bank.kind.turns()
        if {*bank.positions(one)} == {*bank.positions(other)}
    ]
    return [Sweep(name, by) for name in SWEEPS if turns or name != "roles"]


def _taken(state: State, bench: Workbench, run: Run, errors: Doubles, *, kept: bool) -> State:
    """The state after a batch of candidates."""
    found = bench.found(0, state.rows, run) if kept else state.best
    step = Step(state.stage, errors, kept, found.arrangement, found.error, state.rows)
    return replace(state, best=found, step=step)


def classic(
    state: State, bench: Workbench, placement: str, by: ClassicParameters = STANDARD
) -> Iterator[State]:
    """Build an order greedily, blocks placed as in `PLACEMENTS`; improve it as long as that helps.

    States and workbench are those of `unshuffle.ordering.auto.advance`.
    """
    stages: list[Stage] = [Insertion(placement), *_sweeps(bench, by)]
    return advance(state, bench, stages, lambda state: bench.done(state.best, state.rows))
