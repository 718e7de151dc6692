"""A search in vain: whether its record is of these pieces, and its columns in sequence.

A search that stays far from its record stops now and then, and is doubted. The doubts are asked in
turn: whether the predictions follow from the inputs at all, whether the columns stand in another
sequence, and whether records that the pieces make themselves are easier. Where nothing comes of
them the search goes on.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unshuffle.ordering.descent import Search, descend
from unshuffle.ordering.judge import Run
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Ending, InVain, OnState, run_search
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import rank_seeds
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.proof.alterations import standardised
from unshuffle.proof.noise import find_pattern, foretold, noise_at_most
from unshuffle.proof.outcome import CONVERGED, Outcome
from unshuffle.repair.controls import Controls
from unshuffle.repair.registry import FAR, VAIN
from unshuffle.repair.shuffled_columns import solve_shuffled
from unshuffle.solution.arranging import Searching
from unshuffle.solution.findings import Findings
from unshuffle.solution.solution import Solution

UNRELATED = (
    "the predictions do not follow from the inputs: a regression on half of the rows foretells "
    "nothing of the others, yet it does so clearly where these pieces predict, in any arrangement "
    "that was tried"
)


@dataclass(frozen=True)
class DoubtParameters:
    """Numbers that say when a search is doubted. Work is counted in rows of all steps, added up."""

    far: float = FAR  # Share of the predictions' variance from which on a search is far.
    nowhere: float = 0.25  # The same, from which on other sequences of the columns are tried.
    patience: int = 32  # Steps before these are tried.
    vain: int = VAIN  # Work after which it is asked whether predictions follow from inputs at all.
    least: int = 10_000  # Work before controls begin: few blocks are solved with next to none.
    share: float = 2.0  # All controls take at most so many times the work that the search has done.
    share_before: float = 0.25  # The same while a right record may still be hard.
    hard: int = 8192  # Work for each block that right records which are hard to reproduce take.
    hardest: int = 200_000  # The same in all.
    pause: float = 1.5  # Factor by which the work grows from one doubt to the next.
    # How clearly predictions of these pieces follow from inputs at least, in standard deviations.
    # Of 35 recipes and the puzzle none was below 9.6.
    foretold: float = 12.0
    unrelated: float = 2.0  # The same of a record, below which it is no network's.
    hidden: float = 0.8  # Part of the error that an arrangement hidden by noise leaves at most.
    arrangements: int = 4  # Random ones that tell whether predictions follow from inputs.
    equations: int = 4096  # Predictions that are as good as all of them, for the last look.


STANDARD = DoubtParameters()


class Doubt(ABC):
    """Something that may keep a search from its record; right ones may take up to `hard` work."""

    def __init__(self, searching: Searching) -> None:
        self.alternatives, by = searching.alternatives, STANDARD
        self.problem, self.options = self.alternatives.problems[0], self.alternatives.options
        blocks, self.few = len(self.problem.grouped), self.options.parameters.few_blocks
        self.hard = 0 if blocks <= self.few else min(by.hard * blocks, by.hardest)

    @abstractmethod
    def ask(self, searching: Searching, work: int) -> Solution | None:
        """What comes of this doubt after so much work; None if nothing, or nothing yet."""


def search_with_doubts(
    searching: Searching,
    doubts: Sequence[Doubt],
    *,
    most: float = np.inf,
    on_state: OnState | None = None,
) -> Solution | None:
    """Go on with a search, and stop now and then to ask the doubts, the cheapest first.

    It returns what a doubt came to; None where the search has ended, or paused after `most` work.
    """
    stop = InVain(STANDARD.vain, STANDARD.far * searching.alternatives.records.variance)
    while searching.go_on((stop,), on_state) is Ending.STOPPED:
        for doubt in doubts:
            found = doubt.ask(searching, stop.done)
            if found is not None:
                return found
        if stop.done >= most:
            return None
        stop.work = min(STANDARD.pause * stop.done, max(most, stop.done + 1))
    return None


class WrongRecord(Doubt):
    """The record may be of no arrangement of these pieces, or even `unrelated` to its inputs."""

    def __init__(self, searching: Searching) -> None:
        super().__init__(searching)
        self.controls: Controls | None = None
        self.unrelated = False
        self._asked, self._telling, self._hidden = False, True, False
        self._variance = self.problem.known.variance

    def ask(self, searching: Searching, work: int) -> Solution | None:
        """Whether the predictions follow from the inputs, and whether controls are easier."""
        best = searching.trace.steps[-1]
        if not self._asked:
            self._asked, self.unrelated = True, self._is_unrelated()
            if self.unrelated:
                return self._refuted(searching.solution())
        if work < STANDARD.least or not self._telling or not best.error < self._variance:
            return None
        if self.controls is None:
            self._telling = self._sees_through_noise()
            if not self._telling:
                return None
            self.controls = Controls(self.alternatives)
        share = STANDARD.share if work > self.hard else STANDARD.share_before
        self.controls.advance(best.arrangement, int(share * work))
        if not self.controls.passed:
            return None
        self._telling = False
        ending = self._last_look(searching)
        solution = searching.solution()
        if ending is Ending.CONVERGED and self._refutes(solution):
            return self._refuted(solution)
        return solution

    def _refutes(self, solution: Solution) -> bool:
        """Whether what is left follows from the inputs, so that it is no noise."""
        return (
            solution.outcome in CONVERGED
            and not self._hidden
            # Standardised inputs keep a right record from being reproduced just as well.
            and not standardised(self.alternatives.records)
            and STANDARD.far * self._variance < solution.mse < self._variance
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
        return many or noise_at_most(known.inputs, known.predictions) < STANDARD.far

    def _last_look(self, searching: Searching) -> Ending:
        """Search with all rows, as noise may ask for; the steps report what fits best."""
        options, best, found = self.options, searching.trace.steps[-1].arrangement, []

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

        ending = run_search(steps(), searching.trace, stops=options.stops, on_step=options.on_step)
        least = min((run.error for run in found[::2]), default=np.inf)
        self._hidden = min(run.error for run in found) < STANDARD.hidden * least
        return ending

    def _over_all_rows(
        self, problem: Problem, best: Arrangement, rng: np.random.Generator
    ) -> Search:
        """Descend from seeds on all rows, where noise hides nothing; shortly if blocks are many."""
        by = self.options.parameters
        known = problem.known.take(rng.permutation(len(problem.known)))
        rows = min(-(-STANDARD.equations // known.outputs), len(known))
        judge = problem.judge(known.take(np.arange(rows)))
        large = len(problem.grouped) > by.few_blocks
        inputs = problem.records.inputs[rng.permutation(len(problem.records))[: by.seed_rows]]
        clock = self.options.clock
        seeds, _ = rank_seeds(problem, judge, inputs, by.ranked_rows, quick=False, clock=clock)
        lowest: Run = judge.run(best)
        for seed in seeds[: 1 if large else by.starts]:
            start, evidence = judge.run(seed), problem.evidence
            run = yield from descend(judge, start, evidence, done=lambda _: False, short=large)
            lowest = min(lowest, run, key=lambda one: one.error)
        return lowest

    def _is_unrelated(self) -> bool:
        """Whether predictions do not follow from the inputs, as any of these pieces would."""
        problem, known, by = self.problem, self.problem.known, STANDARD
        if foretold(known.inputs, known.predictions) > by.unrelated:
            return False
        rng = np.random.default_rng(self.options.seed)
        blocks = (rng.permutation(problem.grouped) for _ in range(by.arrangements))
        return all(
            foretold(known.inputs, problem.network(each).predict(known.inputs)) > by.foretold
            for each in blocks
        )


class OtherColumns(Doubt):
    """The record's input columns may stand in another sequence."""

    def __init__(self, searching: Searching) -> None:
        super().__init__(searching)
        self.tried = not len(self.problem.known)
        self.found: Solution | None = None

    def ask(self, searching: Searching, work: int) -> Solution | None:
        """What other sequences come to, once the search is nowhere near."""
        steps = searching.trace.steps
        nowhere = steps[-1].error > STANDARD.nowhere * self.alternatives.records.variance
        due = len(steps) >= STANDARD.patience and work >= self.hard and nowhere
        return self.attempt() if due else None

    def attempt(self) -> Solution | None:
        """What came of other sequences, which are tried once; None if nothing."""
        # Of how inputs and layers correspond nothing is known where the roles of pieces are open.
        one, anatomy = self.alternatives, self.alternatives.anatomy
        decided = anatomy is not None and not anatomy.interchangeable and len(anatomy.last) == 1
        if not self.tried and decided:
            self.tried = True
            self.found = solve_shuffled(one.pile, one.records, one.options)
        return self.found
