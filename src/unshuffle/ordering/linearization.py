"""First-order effects of moves, from one forward and one backward pass.

Let an arrangement have states x_t and adjoints g_t = ∂ŷ/∂x_t. Replacing the state after some place
by x_t + δ moves the prediction by about g_t · δ. The few blocks that a move touches give δ exactly.
Only what lies behind them is linearized. Scoring adjacent swaps in this way is the idea of
cezarc1/droppedaneuralnet-puzzle.

Effects are vectors of one number for each output and row, outputs first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unshuffle.blocks.network import pull_back
from unshuffle.ordering.judge import Indices, Judge, Run
from unshuffle.pieces.blueprint import Arrangement, places_with
from unshuffle.pieces.pile import Floats


@dataclass(frozen=True, eq=False)
class Linearization:
    """An arrangement with its states and adjoints."""

    run: Run
    adjoints: Floats  # of outputs to states: shape (blocks + 1, outputs, rows, width)
    residual: Floats  # its predictions minus those of the record: shape (outputs * rows,)

    def first_rows(self, rows: int) -> "Linearization":
        """The same on the first rows only."""
        run = Run(self.run.arrangement, self.run.states[:, :rows], self.run.error)
        adjoints = self.adjoints[:, :, :rows]
        residual = self.residual.reshape(adjoints.shape[1], -1)[:, :rows].reshape(-1)
        return Linearization(run, adjoints, residual)

    def within(self, places: slice) -> "Linearization":
        """The same of some places in a row."""
        states = slice(places.start, places.stop + 1)
        run = Run(self.run.arrangement[places], self.run.states[states], self.run.error)
        return Linearization(run, self.adjoints[states], self.residual)


def linearize(judge: Judge, run: Run) -> Linearization:
    """Pull the adjoints of the outputs back through an arrangement."""
    length, rows, width = run.states[1:].shape
    outputs = judge.predictions.shape[1]
    adjoints = np.empty((length + 1, outputs, rows, width), run.states.dtype)

    def pulled(part: slice) -> None:
        states = run.states[:, part]
        last = judge.ends.pull(states[-1])
        gradients = pull_back(judge.bank.pullback, [*run.arrangement], states, last)
        for t, gradient in zip(range(length, -1, -1), gradients, strict=True):
            adjoints[t, :, part] = gradient

    judge.by_rows(pulled, few=judge.by.few_rows)
    residual = judge.ends.leave(run.states[-1]) - judge.predictions
    return Linearization(run, adjoints, residual.T.reshape(-1))


def shifts(length: int, window: int) -> Indices:
    """All moves of a block by up to `window` places, as (from, to), adjacent swaps first.

    Moving a block one place back equals moving its neighbour one place forward, and is left out.
    """
    window = min(window, length - 1)
    forward = [(s, s + by) for by in range(1, window + 1) for s in range(length - by)]
    backward = [(s, s - by) for by in range(2, window + 1) for s in range(by, length)]
    return np.array(forward + backward, np.intp).reshape(-1, 2)


def shift_effects(judge: Judge, at: Linearization, window: int) -> Floats:
    """Effects of `shifts`, shape (shifts, outputs * rows).

    Moves forward are run exactly. Moves back would have to be run anew from every start. So the
    blocks that they pass are linearized too. All moves by one distance are run together.
    """
    blocks = judge.bank.take(at.run.arrangement)
    length = len(blocks)
    window = min(window, length - 1)
    outputs, rows = at.adjoints.shape[1:3]
    effects = np.empty((len(shifts(length, window)), outputs, rows), at.adjoints.dtype)

    def work(part: slice) -> None:
        states, adjoints = at.run.states[:, part], at.adjoints[:, :, part]
        done = 0
        passed = states[:length]
        for by in range(1, window + 1):
            passed = blocks[by:].apply_each(passed[: length - by])
            moved = blocks[: length - by].apply_each(passed)
            moved -= states[by + 1 :]
            effects[done : done + len(moved), :, part] = project(adjoints[by + 1 :], moved)
            done += len(moved)

        if window < 2:
            return
        adjoint = adjoints[1:]
        here = project(adjoint, states[1:] - states[:-1])
        for by in range(1, window + 1):
            before = states[: length - by]
            adjoint = blocks[: length - by].pullback_each(before, adjoint[-(length - by) :])
            if by == 1:
                continue
            step = blocks[by:].apply_each(before)
            step -= before
            effects[done : done + len(step), :, part] = project(adjoint, step) - here[by:]
            done += len(step)

    judge.by_rows(work)
    return effects.reshape(len(effects), len(at.residual))


def replacement_effects(
    judge: Judge, at: Linearization, places: Sequence[int], blocks: Arrangement
) -> Floats:
    """Effects of putting each block in its place: shape (replacements, outputs * rows)."""
    run, adjoints = at.run, at.adjoints
    effects = np.empty((len(blocks), *adjoints.shape[1:3]), adjoints.dtype)

    def work(rows: slice) -> None:
        for k, (place, parts) in enumerate(zip(places, blocks, strict=True)):
            change = judge.bank.apply(parts, run.states[place, rows])
            change -= run.states[place + 1, rows]
            effects[k, :, rows] = project(adjoints[place + 1, :, rows], change)

    judge.by_rows(work)
    return effects.reshape(len(effects), len(at.residual))


def exchange_effects(
    judge: Judge, at: Linearization, roles: Sequence[int], sources: Sequence[int]
) -> Floats:
    """Effects of giving each place, in some roles, the pieces of each place in source roles.

    Entry (t, u), of shape (places, places, outputs * rows), puts the pieces of place u in place t.
    It is 0 where one of them has no such slots.
    """
    arrangement = at.run.arrangement
    here, there = places_with(arrangement, roles), places_with(arrangement, sources)
    length, outputs, rows = len(arrangement), *at.adjoints.shape[1:3]
    effects = np.zeros((length, length, outputs * rows), at.run.states.dtype)
    if len(roles) > 1:
        changed = np.repeat(arrangement[here, None], len(there), axis=1)
        changed[:, :, roles] = arrangement[None, there][:, :, sources]
        places = np.repeat(here, len(there)).tolist()
        each = replacement_effects(judge, at, places, changed.reshape(len(places), -1))
        effects[np.ix_(here, there)] = each.reshape(len(here), len(there), -1)
        return effects
    blocks = judge.bank.take(arrangement)
    donors = arrangement[there]
    donors[:, roles] = donors[:, sources]  # nothing else of them is looked at
    # Where all places give what they have, the stack is there already.
    others = blocks if np.array_equal(donors, arrangement) else judge.bank.take(donors)
    states, adjoints = at.run.states, at.adjoints
    for t in here.tolist():
        x, g = states[t], adjoints[t + 1]
        stays = project(g, states[t + 1] - x).T[:, None]  # (rows, 1, outputs)
        steps = blocks.replaced(t, roles[0], others, x, g)
        effects[t, there] = (steps - stays).transpose(1, 2, 0).reshape(len(there), -1)
    return effects


def project(adjoint: Floats, change: Floats) -> Floats:
    """Effect of changes of state, (…, rows, width), on each output: shape (…, outputs, rows)."""
    effect: Floats = np.einsum("...ond,...nd->...on", adjoint, change)
    return effect
