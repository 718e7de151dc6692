"""The stage for networks of few blocks: every arrangement there is is judged.

Where few are possible, no search that can end in a wrong one is needed.
"""

from dataclasses import replace
from itertools import permutations
from math import factorial

import numpy as np

from unshuffle.ordering.attempts import reported
from unshuffle.ordering.judge import Indices
from unshuffle.ordering.state import State
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.blueprint import Arrangement


class Enumeration:
    """Judge every arrangement of one problem after the other, in rounds."""

    name = "every arrangement"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once, where there are few, and nothing explains what the best leaves of the record."""
        asked = self.name in state.ended or state.noisy or bench.done(state.best, state.rows)
        return not asked and bool(_few(bench, state.best.alternative, 1))

    def advance(self, state: State, bench: Workbench) -> State:
        """Judge the arrangements of the next groupings; the problem of the best comes first."""
        first, turn, done = state.cursor or (state.best.alternative, 0, 0)
        number = first if not turn else turn - (turn <= first)
        if not bench.has(number) or bench.done(state.best, state.rows):
            return state.after(self.name)
        at_once = max(1, bench.by.enumeration.at_once // factorial(bench.blocks))
        some = _few(bench, number, turn + 1)[done : done + at_once]
        cursor = (first, turn, done + at_once) if some else (first, turn + 1, 0)
        state = replace(state, stage=self.name, cursor=cursor)
        return _judged(state, bench, number, np.array(some)) if some else state


def _few(bench: Workbench, number: int, problems: int) -> list[Arrangement]:
    """All groupings of a problem, where so many problems like it have few arrangements; else none.

    Neither are there any where blocks differ in their roles.
    """
    by, blocks = bench.by.enumeration, bench.blocks
    if blocks > by.most_blocks or not bench.of_one_form:
        return []
    judge = bench.judge(number, bench.rows_for(by.equations))
    most = by.numbers // (problems * factorial(blocks) * blocks * judge.inputs.size)
    some = bench.groupings(number, most)
    return some if len(some) <= most else []


def _judged(state: State, bench: Workbench, number: int, grouped: Indices) -> State:
    """Judge all orders of some groupings: on few rows, and the best of them on all in use."""
    by = bench.by.enumeration
    orders = np.array([*permutations(range(bench.blocks))])
    candidates = grouped[:, orders].reshape(-1, *grouped.shape[1:])
    few = bench.judge(number, bench.rows_for(by.equations))
    few = replace(few, by=replace(few.by, at_once=few.by.numbers))
    errors = few.errors(few.run(candidates[0]), candidates)
    likeliest = candidates[np.argsort(errors, kind="stable")[: by.kept]]
    judge = bench.judge(number, state.rows)
    tested = judge.errors(judge.run(likeliest[0]), likeliest)
    found = bench.judged(number, state.rows, likeliest[int(tested.argmin())])
    step = Step(Enumeration.name, tested, False, state.best.arrangement, np.inf, state.rows)
    return reported(state, step, found)
