"""Insertions: exact moves of whole blocks on few rows, the best order that was met first.

Where wrong orders explode, first-order effects say nothing. Errors on a few rows still tell better
orders from worse ones by orders of magnitude. All orders at one shift or exchange are judged on a
few new rows, and the best on more. The search continues from the best order that it has met and not
used (best-first search; Pearl 1984). So no order is tried twice, and a bad move is taken back.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.ordering.judge import Doubles, Indices
from unshuffle.ordering.linearization import shifts
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import Arrangement, key


@dataclass(frozen=True)
class InsertionParameters:
    """Numbers that steer insertions.

    Parameters
    ----------
    screened, judged
        Predictions (rows times outputs) on which all orders, and the best of these, are judged.
    finalists
        Orders of a round that are judged on the second number of predictions.
    most
        Moves of a round. Where there are more, some are drawn.
    starts
        Orders that a problem's searches begin with; groupings share them.
    turn, turns
        Rounds in a turn, and turns of each search.
    explosive
        Share of the predictions' variance: where the best seed is worse, first-order effects say
        nothing. It is 14 where weights start orthogonal, and 48 where exact moves are needed.
    """

    screened: int = 4
    judged: int = 32
    finalists: int = 8
    most: int = 4096
    starts: int = 12
    turn: int = 3
    turns: int = 3
    explosive: float = 25.0


@dataclass(frozen=True, eq=False)
class Insertions:
    """A best-first search over orders of the same blocks, between two rounds."""

    alternative: int  # number of the problem
    rows: Indices  # of the record, on which orders are met: shape (rows,)
    met: Indices  # all orders that were met: shape (orders, blocks, roles)
    errors: Doubles  # their mean squared errors on these rows: shape (orders,)
    left: NDArray[np.bool_]  # which of them the search has gone on from: shape (orders,)

    @classmethod
    def begun(
        cls,
        alternative: int,
        arrangement: Arrangement,
        problem: Problem,
        rng: np.random.Generator,
        by: InsertionParameters,
    ) -> "Insertions":
        """A search that has met one order."""
        rows = problem.drawn_rows(by.judged, rng)
        run = problem.judge(problem.known.take(rows)).run(arrangement)
        errors, left = np.array([run.error]), np.zeros(1, bool)
        return cls(alternative, rows, run.arrangement[None], errors, left)

    @property
    def best(self) -> Arrangement:
        """The order with the lowest error."""
        best: Arrangement = self.met[int(self.errors.argmin())]
        return best

    @property
    def rounds(self) -> int:
        """Rounds that were taken."""
        return int(self.left.sum())

    @property
    def over(self) -> bool:
        """Whether the search has gone on from all orders that it has met."""
        return bool(self.left.all())

    def advance(
        self, problem: Problem, rng: np.random.Generator, by: InsertionParameters
    ) -> tuple["Insertions", Doubles]:
        """Go on from the best order that is left. Return the errors of all judged orders too."""
        waiting = np.flatnonzero(~self.left)
        at = int(waiting[self.errors[waiting].argmin()])
        known, order = {key(each) for each in self.met}, self.met[at]
        made = order[_one_move(len(order), by.most, rng)]
        made = made[[key(each) not in known for each in made]]
        few = problem.judge(problem.drawn(by.screened, rng))
        screened = few.errors(few.run(order), made)
        finalists = made[np.argsort(screened, kind="stable")[: by.finalists]]
        judge = problem.judge(problem.known.take(self.rows))
        errors = judge.errors(judge.run(order), finalists)
        after = replace(
            self,
            met=np.concatenate([self.met, finalists]),
            errors=np.concatenate([self.errors, errors]),
            left=np.concatenate([self.left, np.zeros(len(errors), bool)]),
        )
        after.left[at] = True
        return after, np.concatenate([screened, errors])

    def check(self, rows: int) -> None:
        """Raise `ValueError` for other rows, or where it lacks what is known of an order."""
        if not len(self.rows) or not 0 <= self.rows.min() <= self.rows.max() < rows:
            raise ValueError(f"it judges on other rows than {rows}")
        sizes = {self.errors.shape, self.left.shape, self.met.shape[:1]}
        if len(sizes) > 1 or not len(self.met):
            raise ValueError("it says of other orders what is known of them")


def _one_move(length: int, most: int, rng: np.random.Generator) -> Indices:
    """Orders of so many blocks after one shift, or one exchange, of each: shape (moves, blocks).

    Where there are more than so many, some are drawn at random.
    """
    moves = shifts(length, length)
    apart = np.column_stack(np.triu_indices(length, 2)).astype(np.intp)
    some = np.sort(rng.permutation(len(moves) + len(apart))[:most])
    orders = np.tile(np.arange(length), (len(some), 1))
    for order, move in zip(orders, some.tolist(), strict=True):
        if move < len(moves):
            source, target = moves[move]
            order[:] = np.insert(np.delete(order, source), target, source)
        else:
            pair = apart[move - len(moves)]
            order[pair] = pair[::-1]
    return orders
