"""When a search comes to nothing: whether its record is of these pieces, its columns in sequence.

The controls that tell the one are made in `unshuffle.repair.trial`, and other sequences are tried
in `unshuffle.repair.shuffled_columns`, once a search is far from its record; most never are.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.ordering.auto import FEW_BLOCKS, over_all_rows
from unshuffle.ordering.journal import Journal
from unshuffle.ordering.judge import Judge, Run
from unshuffle.ordering.trace import Step
from unshuffle.proof.noise import find_pattern, foretold, noise_at_most
from unshuffle.proof.outcome import Outcome
from unshuffle.solution.arranging import Cases, Options
from unshuffle.solution.findings import Findings
from unshuffle.solution.solution import Solution

if TYPE_CHECKING:
    from unshuffle.repair.trial import Trial

FAR = 0.1
"""Controls are tried while more than this share of the predictions' variance is unexplained, and
less than all of it."""

SHARE = 2
"""All controls together take at most so many times the work that the search has done,"""

SHARE_BEFORE = 0.25
"""and less before so much work,"""
HARD = 8192
"""as right records that are hard to reproduce take for each block,"""
HARDEST = 200_000
"""and in all: they would take longer beside controls."""

AT_A_TIME = 4
"""Work on controls after a step, as a multiple of that of the step: then time may be up."""

LEAST = 10_000
"""Work in vain before controls are begun: those of few blocks are solved with next to none."""

VAIN = 2048
"""Work in vain after which it is asked whether the predictions follow from the inputs at all."""

FORETOLD = 12.0
"""Predictions of these pieces follow from the inputs at least as clearly as this,"""
UNRELATED = 2.0
"""where those of a record that do so less clearly than this are no network's (see `foretold`): of
35 recipes and the puzzle, where all arrangements passed the one, no record was below 9.6."""

HIDDEN = 0.8
"""Part of the error that an arrangement that was hidden by noise leaves at most."""

ARRANGEMENTS = 4
"""Random ones that are looked at for that."""

PATIENCE = 32
"""Steps of a search after which other sequences of the columns are tried, and work in vain,"""
NOWHERE = 0.25
"""if it leaves so much of the predictions' variance."""


def work_in_vain(cases: Cases) -> int:
    """Work up to which a right record may be hard to reproduce; with few blocks none is."""
    blocks = len(cases.problems[0].pairs)
    return 0 if blocks <= FEW_BLOCKS else min(HARD * blocks, HARDEST)


class OtherColumns:
    """Watches a search, and tries other sequences of the record's columns once it is nowhere near.

    Parameters
    ----------
    cases
        What the search orders.
    options
        How it does.
    """

    def __init__(self, cases: Cases, options: Options) -> None:
        self.cases, self.options = cases, options
        # Without predictions nothing tells that a search is nowhere near.
        self._tried = not len(cases.problems[0].known)
        self._found: Solution | None = None
        self._started = options.clock()

    def watch(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Take the steps of a search until they end or another sequence is found."""
        work, least = 0, work_in_vain(self.cases)
        for number, step in enumerate(steps, start=1):
            yield step
            work += step.rows
            if self._tried or number < PATIENCE or work < least:
                continue
            far = step.error > NOWHERE * self.cases.records.variance
            if far and self.attempt() is not None:
                return

    def attempt(self) -> Solution | None:
        """What came of other sequences, which are tried once; None if nothing."""
        # Of how inputs and layers correspond nothing is known where the roles of pieces are open.
        anatomy = self.cases.anatomy
        if not self._tried and not anatomy.interchangeable and len(anatomy.last) == 1:
            from unshuffle.repair.shuffled_columns import solve_shuffled

            self._tried = True
            # Where it is cut off, the other search takes a step more; so it writes nothing down.
            options = replace(self.options.with_time_left(self._started), journal=None)
            self._found = solve_shuffled(self.cases.pile, self.cases.records, options)
        return self._found


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
        self.journal = cases.options.journal or Journal()
        self.trial: Trial | None = None
        """The controls, once there is reason for them."""
        self.hidden = False
        """Whether an arrangement that fits better was hidden by noise."""
        self.unrelated = False
        """Whether the predictions do not follow from the inputs, and those of the pieces would."""
        known = cases.problems[0].known
        self._variance = float(np.var(known.predictions)) if len(known) else np.inf

    def watch(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Take the steps of a search until they end or the record is known to be wrong."""
        work, asked, telling = 0, False, True
        for step in steps:
            yield step
            work += step.rows
            if not asked and work > VAIN and step.error > FAR * self._variance:
                asked = True
                self.unrelated = self._is_unrelated()
                if self.unrelated:
                    return
            if work > LEAST and telling and FAR * self._variance < step.error < self._variance:
                if self.trial is None:
                    telling = self._sees_through_noise()
                    if not telling:
                        continue
                    from unshuffle.repair.trial import Trial

                    self.trial = Trial(self.cases)
                most = int(work * (SHARE if work > work_in_vain(self.cases) else SHARE_BEFORE))
                self.trial.advance(step.order, min(most, self.trial.spent + AT_A_TIME * step.rows))
                if self.trial.passed:
                    yield from self._last_look(step)
                    return

    def refutes(self, solution: Solution) -> bool:
        """Whether the record that a search has ended on is of no arrangement of these pieces.

        Noise is no such sign: what is left must follow from the inputs.
        """
        return self.unrelated or (
            self.trial is not None
            and self.trial.passed
            and not self.hidden
            and FAR * self._variance < solution.mse < self._variance
            and find_pattern(solution.network, self.cases.problems[0].known).significant
        )

    def _sees_through_noise(self) -> bool:
        """Whether noise could not have kept the search from an arrangement.

        With many blocks the last look sees through it. With few, whose pairs are less sure, it does
        not always, and regression must leave no room for noise.
        """
        known = self.cases.problems[0].known
        if len(self.cases.problems[0].pairs) > FEW_BLOCKS:
            return True
        return noise_at_most(known.inputs, known.predictions) < FAR

    def refuted(self, solution: Solution) -> Solution:
        """The solution of a record that is of no arrangement, with the evidence."""
        unexplained = solution.mse / self.cases.records.variance
        if self.unrelated:
            note = (
                "the predictions do not follow from the inputs: a regression on half of the rows "
                "foretells nothing of the others, yet it does so clearly where these pieces "
                "predict, in any arrangement that was tried"
            )
        else:
            assert self.trial is not None
            note = self.trial.evidence(unexplained)
        findings = Findings(unexplained=unexplained, notes=(note,))
        return replace(solution, outcome=Outcome.NO_FIT, findings=findings)

    def _last_look(self, best: Step) -> Iterator[Step]:
        """Search with all rows, as noise may ask for; the steps report what fits best."""
        rng = np.random.default_rng(self.cases.options.seed)
        found: list[Run] = []
        for problem in self.cases:
            judge = Judge(problem.layers, problem.last, problem.known)
            found.append(judge.run(best.order))
            run = yield from over_all_rows(problem, best.order, rng, self.journal)
            found.append(judge.run(run.order))
        least = min(found[::2], key=lambda run: run.error)
        run = min(found, key=lambda run: run.error)
        self.hidden = run.error < HIDDEN * least.error
        errors = np.array([run.error])
        yield Step("all rows", errors, True, run.order, run.error, len(judge.inputs))

    def _is_unrelated(self) -> bool:
        """Whether predictions do not follow from the inputs, as any of these pieces would."""
        problem = self.cases.problems[0]
        known = problem.known
        if foretold(known.inputs, known.predictions) > UNRELATED:
            return False
        rng = np.random.default_rng(self.cases.options.seed)
        inputs = known.inputs.astype(problem.last.weight.dtype)
        orders = (tuple(rng.permutation(problem.blocks).tolist()) for _ in range(ARRANGEMENTS))
        return all(
            foretold(inputs, problem.network(order).predict(inputs)) > FORETOLD for order in orders
        )
