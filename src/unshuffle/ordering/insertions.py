"""Insertions: exact moves of whole blocks on a few fresh rows, with a list of what is tabu.

Where wrong orders explode, first-order effects say nothing. The errors of a few rows still do: they
tell a better order from a worse one by orders of magnitude. Each round draws rows of its own, so
nothing is fitted to them, and takes the best move of a block that has not moved lately, if it
helps or not (tabu search, Glover 1989).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.ordering.judge import Doubles, Indices
from unshuffle.ordering.linearization import shifts
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import Arrangement


@dataclass(frozen=True)
class InsertionParameters:
    """Numbers that steer insertions.

    Parameters
    ----------
    screened, judged
        Predictions (rows times outputs) on which all moves, and the best of these, are judged.
    finalists
        Moves that are judged on the second number of predictions.
    most
        Shifts, and exchanges, of a round; where there are more, some are drawn.
    tenure
        Rounds for which a block that has moved stays where it is.
    starts
        Seeds that take turns.
    turn, turns
        Rounds in a turn, and turns of each start.
    explosive
        Share of the predictions' variance: where the best seed is worse, first-order effects say
        nothing.
    """

    screened: int = 4
    judged: int = 32
    finalists: int = 8
    most: int = 4096
    tenure: int = 3
    starts: int = 6
    turn: int = 6
    turns: int = 4
    explosive: float = 10.0


@dataclass(frozen=True, eq=False)
class Insertions:
    """A tabu search between two rounds."""

    arrangement: Arrangement
    waits: NDArray[np.intp]  # rounds for which each block stays where it is, by its place

    @classmethod
    def of(cls, arrangement: Arrangement) -> "Insertions":
        """A search that has not begun."""
        return cls(arrangement, np.zeros(len(arrangement), np.intp))

    def advance(
        self, problem: Problem, rng: np.random.Generator, by: InsertionParameters
    ) -> tuple["Insertions", Doubles]:
        """Take the best move, on rows that are drawn for it; and the errors of all moves."""
        known = problem.known
        rows = min(-(-by.judged // known.outputs), len(known))
        few = min(-(-by.screened // known.outputs), rows)
        sample = known.take(rng.choice(len(known), size=rows, replace=False))
        orders, moved = _neighbours(self.waits == 0, by.most, rng)
        waits = np.maximum(self.waits - 1, 0)
        if not len(orders):
            return Insertions(self.arrangement, waits), np.empty(0)
        screen, judge = (problem.judge(sample.take(np.arange(count))) for count in (few, rows))
        errors = screen.errors(screen.run(self.arrangement), self.arrangement[orders])
        finalists = np.argsort(errors, kind="stable")[: by.finalists]
        judged = judge.errors(judge.run(self.arrangement), self.arrangement[orders[finalists]])
        best = finalists[judged.argmin()]
        waits[moved[best]] = by.tenure
        order = orders[best]
        return Insertions(self.arrangement[order], waits[order]), np.concatenate([errors, judged])

    def check(self) -> None:
        """Raise `ValueError` where it does not say of each block how long it stays."""
        if self.waits.shape != self.arrangement.shape[:1]:
            raise ValueError("it says of other blocks how long they stay")


def _neighbours(
    free: NDArray[np.bool_], most: int, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """Orders after one shift, or exchange, of free blocks, and the one or two that moved.

    There are at most so many of each, drawn at random: shape (moves, blocks) and (moves, 2).
    """
    length = len(free)
    moves = shifts(length, length)
    moves = moves[free[moves[:, 0]]]
    moves = moves[np.sort(rng.permutation(len(moves))[:most])]
    shifted = np.empty((len(moves), length), np.intp)
    for made, (source, target) in zip(shifted, moves.tolist(), strict=True):
        made[:] = np.insert(np.delete(np.arange(length), source), target, source)
    pairs = np.column_stack(np.triu_indices(length, 2)).astype(np.intp)
    pairs = pairs[free[pairs].all(axis=1)]
    pairs = pairs[np.sort(rng.permutation(len(pairs))[:most])]
    exchanged = np.tile(np.arange(length), (len(pairs), 1))
    rows = np.arange(len(pairs))[:, None]
    exchanged[rows, pairs] = pairs[:, ::-1]
    moved = np.concatenate([np.repeat(moves[:, :1], 2, axis=1), pairs])
    return np.concatenate([shifted, exchanged]), moved
