"""When a search comes to nothing: whether its record is of these pieces at all.

The controls that tell it are made in `unshuffle.recovery.trial`, once a search is far from its
record; most searches never are.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.arrangement import Cases
from unshuffle.findings import Findings
from unshuffle.noise import find_pattern
from unshuffle.outcome import Outcome
from unshuffle.solution import Solution
from unshuffle.trace import Step

if TYPE_CHECKING:
    from unshuffle.recovery.trial import Trial

FAR = 0.1
"""Controls are tried while more than this share of the predictions' variance is unexplained, and
less than all of it."""

SHARE = 4
"""All controls together take at most the work that the search has done, divided by this: on average
each takes a sixteenth."""


class Doubt:
    """Watches a search, and ends it when its record cannot be of these pieces.

    Work is counted in rows, those of every step added up, since a step takes about as long as it
    has rows; so it does not depend on the machine.

    Parameters
    ----------
    cases
        What the search orders.
    """

    def __init__(self, cases: Cases) -> None:
        self.cases = cases
        self.trial: Trial | None = None
        """The controls, once there is reason for them."""
        known = cases.problems[0].known
        self._variance = float(np.var(known.predictions)) if len(known) else np.inf

    def watch(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Take the steps of a search until they end or all controls are solved."""
        work = 0
        for step in steps:
            yield step
            work += step.rows
            if FAR * self._variance < step.error < self._variance:
                if self.trial is None:
                    from unshuffle.recovery.trial import Trial

                    self.trial = Trial(self.cases)
                self.trial.advance(work // SHARE)
                if self.trial.passed:
                    return

    def refutes(self, solution: Solution) -> bool:
        """Whether the record that a search has ended on is of no arrangement of these pieces.

        Noise is no such sign: what is left must follow from the inputs.
        """
        return (
            self.trial is not None
            and self.trial.passed
            and FAR * self._variance < solution.mse < self._variance
            and find_pattern(solution.network, self.cases.problems[0].known).significant
        )

    def refuted(self, solution: Solution) -> Solution:
        """The solution of a record that is of no arrangement, with the evidence."""
        assert self.trial is not None
        unexplained = solution.mse / self.cases.records.variance
        findings = Findings(unexplained=unexplained, notes=(self.trial.evidence(unexplained),))
        return replace(solution, outcome=Outcome.NO_FIT, findings=findings)
