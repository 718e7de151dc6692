"""The goal of a search: to reproduce the record."""

from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from unshuffle.blocks.network import mean_square, mean_squares
from unshuffle.ordering.judge import Judge, Run
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.pieces.records import Records
from unshuffle.proof.certificate import certify
from unshuffle.proof.decimals import cut_of, uncut
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.tolerance import Tolerance, rounding_tolerance
from unshuffle.proof.verification import judge_network


@dataclass(frozen=True)
class GoalParameters:
    """Numbers that steer when a search takes its record for reproduced.

    Parameters
    ----------
    tolerance_rows
        Rows on which it measures rounding. The final word takes more.
    promising
        Part of the predictions' scale below which errors may be rounding.
    """

    tolerance_rows: int = 16
    promising: float = 1e-3


@dataclass(frozen=True)
class Reproduction:
    """The goal of a search: to reproduce the record to rounding, or up to its noise."""

    arithmetic: str  # the dtype that the record was computed in
    blocks: int  # of a complete arrangement, at least
    clock: Clock
    stored_as: tuple[str, ...] | None = None  # None where noise is never an explanation
    by: GoalParameters = field(default_factory=GoalParameters)

    def reproduces(self, judge: Judge, run: Run) -> bool:
        """Whether a run reproduces a judge's rows to rounding."""
        scale = mean_square(judge.predictions)
        if len(run) < self.blocks or run.error > self.by.promising**2 * scale:
            return False
        some = judge.records.first(self.by.tolerance_rows)
        network = judge.network(run.arrangement)
        tolerance = rounding_tolerance(network, some.inputs, some.predictions, self.arithmetic)
        if not run.error <= tolerance.mse:  # the mean over the columns
            return False
        squares = mean_squares(judge.ends.leave(run.states[-1]) - judge.predictions)
        return bool((squares <= np.square(tolerance.rms)).all())

    def explains(self, problem: Problem, arrangement: Arrangement) -> bool:
        """Whether noise, or coarsely stored numbers, explain what is left of the record.

        All outputs are asked. Decimals, for one, are not seen in mixtures of outputs.
        """
        if self.stored_as is None:
            return False
        problem = problem.whole or problem
        network, known = problem.network(arrangement), problem.known
        found = judge_network(network, known, self.stored_as, self.clock)
        return found.outcome is Outcome.APPROXIMATE

    def decides(self, problem: Problem, arrangement: Arrangement, rows: Records) -> bool:
        """Whether rows tell such an arrangement from all that it could be mistaken for."""
        own, kept = problem.network(arrangement).predict(rows.inputs), rows.predictions
        cut = cut_of(own, kept, Tolerance(*np.zeros((2, rows.outputs))))
        some = replace(problem, records=uncut(rows, cut))
        with suppress(OutOfTimeError):
            return certify(some, arrangement, rounding=0.0, clock=self.clock).decided
        return False
