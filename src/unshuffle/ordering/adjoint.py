"""First-order effects of moves, from one forward and one backward pass.

With the states x_t of an order and the sensitivities g_t = ∂ŷ/∂x_t, replacing the state after some
place by x_t + δ moves the prediction by about g_t · δ. The local change δ is computed exactly, by
running the few blocks that a move touches; only what lies behind them is linearized. One forward
and one backward pass thus serve every candidate move. Scoring adjacent swaps in this way is the
idea of cezarc1/droppedaneuralnet-puzzle.

Effects are vectors of one number for each output and row, outputs first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.ordering.judge import FEW_ROWS, Judge, Run
from unshuffle.pieces.pile import Floats


@dataclass(frozen=True, eq=False)
class Linearization:
    """An order with its states and sensitivities.

    Parameters
    ----------
    run
        The order, its states and its error.
    sensitivities
        Shape (length + 1, outputs, rows, width): derivatives of each output by each state.
    residual
        Shape (outputs * rows,): predictions of the order minus those of the record.
    """

    run: Run
    sensitivities: Floats
    residual: Floats

    def first_rows(self, rows: int) -> "Linearization":
        """The same on the first rows only."""
        run = Run(self.run.order, self.run.states[:, :rows], self.run.error)
        sensitivities = self.sensitivities[:, :, :rows]
        residual = self.residual.reshape(sensitivities.shape[1], -1)[:, :rows].reshape(-1)
        return Linearization(run, sensitivities, residual)


def linearize(judge: Judge, run: Run) -> Linearization:
    """Pull the last layer back through an order."""
    length, rows, width = run.states[1:].shape
    outputs = len(judge.last.weight)
    sensitivities = np.empty((length + 1, outputs, rows, width), run.states.dtype)

    def pull_back(rows: slice) -> None:
        sensitivities[length, :, rows] = judge.last.weight[:, None]
        for t in range(length - 1, -1, -1):
            sensitivities[t, :, rows] = judge.blocks.pullback(
                run.order[t], run.states[t, rows], sensitivities[t + 1, :, rows]
            )

    judge.by_rows(pull_back, few=FEW_ROWS)
    residual = judge.last(run.states[-1]) - judge.predictions
    return Linearization(run, sensitivities, residual.T.reshape(-1))


def shifts(length: int, window: int) -> NDArray[np.intp]:
    """All moves of a block by up to `window` places, as (from, to); adjacent swaps come first.

    Moving a block one place back is the swap that moves its neighbour one place forward, and is
    left out.
    """
    window = min(window, length - 1)
    forward = [(s, s + by) for by in range(1, window + 1) for s in range(length - by)]
    backward = [(s, s - by) for by in range(2, window + 1) for s in range(by, length)]
    return np.array(forward + backward, np.intp).reshape(-1, 2)


def shift_effects(judge: Judge, at: Linearization, window: int) -> Floats:
    """Effects of `shifts`, shape (shifts, outputs * rows).

    Moves forward are run exactly. Moves back would have to be run from every start anew, so there
    the blocks that are passed are linearized too. All moves by one distance are run together.
    """
    blocks = judge.blocks.take(at.run.order)
    length = len(blocks)
    window = min(window, length - 1)
    outputs, rows = at.sensitivities.shape[1:3]
    effects = np.empty((len(shifts(length, window)), outputs, rows), at.sensitivities.dtype)

    def work(part: slice) -> None:
        states, sensitivities = at.run.states[:, part], at.sensitivities[:, :, part]
        done = 0
        passed = states[:length]
        for by in range(1, window + 1):
            passed = blocks[by:].apply_each(passed[: length - by])
            moved = blocks[: length - by].apply_each(passed)
            moved -= states[by + 1 :]
            effects[done : done + len(moved), :, part] = _project(sensitivities[by + 1 :], moved)
            done += len(moved)

        if window < 2:
            return
        sensitivity = sensitivities[1:]
        here = _project(sensitivity, states[1:] - states[:-1])
        for by in range(1, window + 1):
            before = states[: length - by]
            sensitivity = blocks[: length - by].pullback_each(before, sensitivity[-(length - by) :])
            if by == 1:
                continue
            step = blocks[by:].apply_each(before)
            step -= before
            effects[done : done + len(step), :, part] = _project(sensitivity, step) - here[by:]
            done += len(step)

    judge.by_rows(work)
    return effects.reshape(len(effects), outputs * rows)


def replacement_effects(judge: Judge, at: Linearization, replacements: NDArray[np.intp]) -> Floats:
    """Effects of putting other blocks in single places.

    Parameters
    ----------
    judge, at
        The judge and the linearized order.
    replacements
        Shape (replacements, 2): a place and the block to put there.

    Returns
    -------
    Floats
        Shape (replacements, outputs * rows).
    """
    run, adjoints = at.run, at.sensitivities
    shape = (len(replacements), adjoints.shape[1], adjoints.shape[2])
    effects = np.empty(shape, adjoints.dtype)

    def work(rows: slice) -> None:
        for k, (place, block) in enumerate(replacements.tolist()):
            change = judge.blocks.apply(block, run.states[place, rows])
            change -= run.states[place + 1, rows]
            effects[k, :, rows] = _project(adjoints[place + 1, :, rows], change)

    judge.by_rows(work)
    return effects.reshape(len(effects), shape[1] * shape[2])


def exchange_effects(judge: Judge, at: Linearization) -> tuple[Floats, Floats]:
    """Effects of giving each place the out layer, or the inp layer, of each other place.

    Returns
    -------
    tuple
        Two arrays of shape (length, length, outputs * rows): entry (t, u) puts the out layer (the
        inp layer) of place u in place t.
    """
    blocks = judge.blocks.take(at.run.order)
    states, adjoints = at.run.states, at.sensitivities
    length, outputs, rows = len(blocks), *adjoints.shape[1:3]
    other_out = np.empty((length, length, outputs * rows), states.dtype)
    other_inp = np.empty_like(other_out)
    for t in range(length):
        x, g = states[t], adjoints[t + 1]
        here = _project(g, states[t + 1] - x).T[:, None]  # (rows, 1, outputs)
        # (rows, places, width) @ (rows, width, outputs)
        out = blocks.steps_with_each_out(t, x) @ g.transpose(1, 2, 0)
        inp = blocks.pulled_steps_with_each_inp(t, x, g)
        for effects, steps in ((other_out, out), (other_inp, inp)):
            effects[t] = (steps - here).transpose(1, 2, 0).reshape(length, -1)
    return other_out, other_inp


def _project(sensitivity: Floats, change: Floats) -> Floats:
    """Effect of changes of state, (…, rows, width), on each output: shape (…, outputs, rows)."""
    effect: Floats = np.einsum("...ond,...nd->...on", sensitivity, change)
    return effect
