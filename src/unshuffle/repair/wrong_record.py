"""A record that is of no arrangement of the pieces: whether a search in vain shows one.

Two questions are asked while such a search pauses. Do the predictions follow from the inputs at
all? Are records that the pieces make themselves easier? Where the answers say nothing, the search
goes on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from unshuffle.ordering.descent import DescentSteps, descend
from unshuffle.ordering.judge import Run
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Ending, run_search
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import rank_seeds
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.proof.alterations import standardised
from unshuffle.proof.noise import find_pattern, foretold, noise_at_most
from unshuffle.proof.outcome import CONVERGED, Outcome
from unshuffle.repair.controls import ControlParameters, Controls
from unshuffle.repair.repair import (
    Looks,
    Repair,
    far_from,
    hard_row_steps,
    is_far,
    needs_predictions,
)
from unshuffle.solution.arranging import Searching
from unshuffle.solution.findings import Findings
from unshuffle.solution.solution import Solution

UNRELATED = (
    "the predictions do not follow from the inputs: a regression on half of the rows predicts "
    "nothing of the others. For what these pieces predict, in any arrangement that was tried, it "
    "does so clearly"
)


@dataclass(frozen=True)
class WrongRecordParameters:
    """Numbers that say when a record is called wrong. Row steps are rows of all steps."""

    least: int = 10_000  # Row steps before controls begin: few blocks are solved with next to none.
    share: float = 2.0  # All controls take at most so many times the row steps of the search.
    share_before: float = 0.25  # The same while a right record may still be hard.
    # How clearly predictions of these pieces follow from inputs at least, in standard deviations.
    # Of 35 recipes and the puzzle none was below 9.6.
    foretold: float = 12.0
    unrelated: float = 2.0  # The same of a record, below which it is no network's.
    noise: float = 0.1  # Share of the variance that noise makes up at most where blocks are few.
    hidden: float = 0.8  # Part of the error that an arrangement hidden by noise leaves at most.
    arrangements: int = 4  # Random ones that tell whether predictions follow from inputs.
    equations: int = 4096  # Predictions that are as good as all of them, for the last look.
    controls: ControlParameters = field(default_factory=ControlParameters)  # What steers these.


STANDARD = WrongRecordParameters()


class WrongRecord:
    """A search in vain, and the evidence that its record is of no arrangement of its pieces."""

    def __init__(self, searching: Searching, by: WrongRecordParameters = STANDARD) -> None:
        self.searching, self.by, self.alternatives = searching, by, searching.alternatives
        self.problem, self.options = self.alternatives.problems[0], self.alternatives.options
        self.few = self.options.parameters.few_blocks
        self.controls: Controls | None = None
        self._hidden = False
        self._variance = self.problem.known.variance

    def looks(self) -> Looks:
        """Whether the predictions follow from the inputs; then whether controls are easier."""
        if self._is_unrelated():
            yield lambda: self._refuted(self.searching.solution())
        while self.searching.row_steps < self.by.least or not self._is_between:
            yield None
        if self._sees_through_noise():
            self.controls = Controls(self.alternatives, self.by.controls)
            while not self._passed_by(self.controls):
                yield None
            yield self._judged

    @property
    def _is_between(self) -> bool:
        """Whether the search explains something of the record, and is far from it all the same."""
        return is_far(self.searching) and self._best.error < self._variance

    @property
    def _best(self) -> Step:
        return self.searching.trace.steps[-1]

    def _passed_by(self, controls: Controls) -> bool:
        """Whether enough controls are solved, with their share of the row steps so far."""
        row_steps, best = self.searching.row_steps, self._best
        if self._is_between:
            hard = row_steps <= hard_row_steps(self.searching)
            share = self.by.share_before if hard else self.by.share
            controls.advance(best.arrangement, int(share * row_steps))
        return controls.passed

    def _judged(self) -> Solution:
        """What the search has come to after a last look; a wrong record if that is still far."""
        ending = self._last_look()
        if ending is not Ending.CONVERGED:
            self.searching.ending = ending
        solution = self.searching.solution()
        return self._refuted(solution) if self._refutes(solution) else solution

    def _refutes(self, solution: Solution) -> bool:
        """Whether what is left follows from the inputs, so that it is no noise."""
        return (
            solution.outcome in CONVERGED
            and not self._hidden
            # Standardised inputs keep a right record from being reproduced just as well.
            and not standardised(self.alternatives.records)
            and far_from(self.problem.known) < solution.mse < self._variance
            and find_pattern(solution.network, self.problem.known).significant
        )

    def _refuted(self, solution: Solution) -> Solution:
        """The solution of a record that is of no arrangement, with the evidence."""
        unexplained = solution.mse / self.alternatives.records.variance
        note = UNRELATED if self.controls is None else self.controls.told(unexplained)
        return solution.ended(Outcome.NO_FIT, Findings(unexplained=unexplained, notes=(note,)))

    def _sees_through_noise(self) -> bool:
        """Whether noise could not have kept the search from an arrangement.

        With many blocks the last look sees through it. With few, whose pairs are less sure, it does
        not always, and regression must leave no room for noise.
        """
        known = self.problem.known
        many = len(self.problem.grouped) > self.few
        return many or noise_at_most(known.inputs, known.predictions) < self.by.noise

    def _last_look(self) -> Ending:
        """Search with all rows, as noise may ask for; the steps report what fits best."""
        options, best, found = self.options, self._best.arrangement, []

        def steps() -> Iterator[Step]:
            rng = np.random.default_rng(options.seed)
            for problem in self.alternatives:
                judge = problem.judge(problem.known)
                found.append(judge.run(best))
                run = yield from self._over_all_rows(problem, best, rng)
                found.append(judge.run(run.arrangement))
            run = min(found, key=lambda one: one.error)
            errors, rows = np.array([run.error]), len(problem.known)
            yield Step("all rows", errors, True, run.arrangement, run.error, rows)

        trace, stops = self.searching.trace, options.stops
        ending = run_search(steps(), trace, stops=stops, on_step=options.on_step)
        least = min((run.error for run in found[::2]), default=np.inf)
        self._hidden = min(run.error for run in found) < self.by.hidden * least
        return ending

    def _over_all_rows(
        self, problem: Problem, best: Arrangement, rng: np.random.Generator
    ) -> DescentSteps:
        """Descend from seeds on all rows, where noise hides nothing; shortly if blocks are many."""
        by = self.options.parameters
        known = problem.known.take(rng.permutation(len(problem.known)))
        judge = problem.judge(known.first(known.rows_for(self.by.equations)))
        large = len(problem.grouped) > by.few_blocks
        inputs = problem.records.inputs[rng.permutation(len(problem.records))[: by.seeds.rows]]
        rows, clock = by.seeds.ranked_rows, self.options.clock
        seeds, _ = rank_seeds(problem, judge, inputs, rows, quick=False, clock=clock, by=by.seeds)
        lowest: Run = judge.run(best)
        for seed in seeds[: 1 if large else by.starts]:
            start, evidence = judge.run(seed), problem.evidence
            run = yield from descend(judge, start, evidence, done=lambda _: False, short=large)
            lowest = min(lowest, run, key=lambda one: one.error)
        return lowest

    def _is_unrelated(self) -> bool:
        """Whether predictions do not follow from the inputs, as any of these pieces would."""
        problem, known, by = self.problem, self.problem.known, self.by
        if foretold(known.inputs, known.predictions) > by.unrelated:
            return False
        rng = np.random.default_rng(self.options.seed)
        blocks = (rng.permutation(problem.grouped) for _ in range(by.arrangements))
        return all(
            foretold(known.inputs, problem.network(each).predict(known.inputs)) > by.foretold
            for each in blocks
        )


WRONG_RECORD = Repair(
    "wrong record",
    requires=needs_predictions,
    looks=lambda case, searching: WrongRecord(searching).looks(),
)
