"""Beam search over moves, for records with so few predictions that descent goes astray.

With few predictions the error has many low places near the answer. A descent ends in the first. A
beam keeps the likeliest orders so far, by the error and by the steps of the blocks. It moves on
from each once. First-order effects choose moves, which are judged exactly.

The neighbours of one wrong order that fits by accident can fill a beam. So a second, wider beam
counts all errors alike that are smaller than a typical wrong swap would make. Only an exact fit
tells the answer for certain.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import mean_squares
from unshuffle.files.schema import OrInfinite
from unshuffle.ordering.judge import NOTHING, Doubles, Indices, Judge, Run
from unshuffle.ordering.linearization import linearize, shift_effects, shifts
from unshuffle.ordering.moves import shifted
from unshuffle.ordering.precedence import Precedence
from unshuffle.pieces.blueprint import key


@dataclass(frozen=True)
class BeamParameters:
    """Numbers that steer a beam search.

    Parameters
    ----------
    widths
        Orders in the first beam, and in the second.
    window
        Places by which a block is moved.
    judged
        Moves from each order that are judged, the most promising ones.
    precedence_rows
        Inputs on which the steps of blocks are compared.
    """

    widths: tuple[int, int] = (60, 240)
    window: int = 2
    judged: int = 12
    precedence_rows: int = 512


@dataclass(frozen=True, eq=False)
class Beam:
    """A beam search between two rounds: all M orders met so far.

    An order costs ``E / 2 * log(mean squared error)`` plus the log-odds that its moves have lost. E
    is the number of predictions, or of blocks if that is smaller.
    """

    met: Indices  # shape (M, blocks, roles)
    errors: Doubles  # mean squared errors, shape (M,)
    lost: Doubles  # log-odds that moves have lost, shape (M,)
    expanded: NDArray[np.bool_]  # whether it has been moved on from, shape (M,)
    wide: int  # which of the two beams this is
    floor: OrInfinite  # errors far below this count alike in the second beam
    known: Precedence  # what is known of the blocks without predictions

    @classmethod
    def begun(cls, judge: Judge, start: Run, known: Precedence) -> "Beam":
        """A beam that has met one order."""
        met, expanded, floor = start.arrangement[None], np.zeros(1, bool), NOTHING
        if len(start) > 1:  # the error that one swap of neighbours makes in the median
            effects = shift_effects(judge, linearize(judge, start), 1)
            typical = np.median(mean_squares(effects, axis=1))
            floor = max(float(typical), NOTHING)
        return cls(met, np.array([start.error]), np.zeros(1), expanded, 0, floor, known)

    def check(self) -> None:
        """Raise `ValueError` for a beam that is not over orders of the blocks that it knows."""
        count, blocks = len(self.met), {*map(tuple, self.known.arrangement.tolist())}
        sizes = {len(self.errors), len(self.lost), len(self.expanded)}
        same = all({*map(tuple, each)} == blocks for each in self.met.tolist())
        same &= self.met.shape[1:] == self.known.arrangement.shape
        if not same or sizes != {count} or self.wide not in (0, 1) or not count:
            raise ValueError("it has a beam over other blocks")

    @property
    def best(self) -> int:
        """Number of the order with the lowest error."""
        return int(self.errors.argmin())

    def ahead(self, judge: Judge, by: BeamParameters) -> "Beam | None":
        """The same, or its second beam, if there is an order to move on from; else None."""
        if len(self._front(judge, by)):
            return self
        return None if self.wide else replace(self, wide=1).ahead(judge, by)

    def advance(self, judge: Judge, by: BeamParameters) -> "Beam":
        """Move on from each of the likeliest orders that has not been moved on from."""
        front, near = self._front(judge, by), judge.run(self.met[self.best])
        names = {key(each) for each in self.met}
        found = [self._children(judge, number, near, names, by) for number in front]
        before = (self.met, self.errors, self.lost)
        met, errors, lost = map(np.concatenate, zip(before, *found, strict=True))
        expanded = np.zeros(len(met), bool)
        expanded[: len(self.met)] = self.expanded
        expanded[front] = True
        return replace(self, met=met, errors=errors, lost=lost, expanded=expanded)

    def _costs(self, judge: Judge, errors: Doubles, lost: Doubles) -> Doubles:
        """What orders cost, in nats; all predictions count, but no more than there are blocks."""
        strength = min(judge.predictions.size, self.met.shape[1])
        floor = self.floor if self.wide else NOTHING
        costs: Doubles = strength / 2 * np.log(errors + floor) + lost
        return costs

    def _front(self, judge: Judge, by: BeamParameters) -> Indices:
        """Numbers of the likeliest orders that have not been moved on from."""
        costs = self._costs(judge, self.errors, self.lost)
        likeliest = np.argsort(costs, kind="stable")[: by.widths[self.wide]]
        return likeliest[~self.expanded[likeliest]]

    def _children(
        self, judge: Judge, number: int, near: Run, names: set[bytes], by: BeamParameters
    ) -> tuple[Indices, Doubles, Doubles]:
        """The most promising shifts of an order to others not met: `met`, `errors` and `lost`."""
        arrangement = self.met[number]
        run = judge.run(arrangement, after=near)
        at = linearize(judge, run)
        after = shift_effects(judge, at, by.window)
        after += at.residual
        lost = self.lost[number] + self.known.lost(arrangement, by.window)
        costs = self._costs(judge, mean_squares(after, axis=1), lost)
        moves, children, chosen = shifts(len(arrangement), by.window), [], []
        for move in np.argsort(costs, kind="stable").tolist():
            child = shifted(arrangement, *moves[move].tolist())
            if key(child) not in names:
                names.add(key(child))
                children.append(child)
                chosen.append(move)
            if len(children) == by.judged:
                break
        met = np.array(children, np.intp).reshape(-1, *arrangement.shape)
        return met, judge.errors(run, met), lost[chosen]
