"""A search in vain: whether its record is of these pieces, and its columns in sequence.

A search that stays far from its record stops now and then, and is doubted. The doubts are asked in
turn: whether the predictions follow from the inputs at all, whether the columns stand in another
sequence, and whether records that the pieces make themselves are easier. Where nothing comes of
them the search goes on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

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
from unshuffle.proof.outcome import Outcome
from unshuffle.repair.controls import ControlParameters, Controls
from unshuffle.solution.arranging import Searching
from unshuffle.solution.findings import Findings
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class DoubtParameters:
    """Numbers that say when a search is doubted. Work is counted in rows of all steps, added up.

    Parameters
    ----------
    far
        Share of the predictions' variance: a search that leaves more is far from its record.
    nowhere
        The same, from which on other sequences of the columns are tried.
    patience
        Steps before these are tried.
    vain
        Work after which it is asked whether the predictions follow from the inputs at all.
    least
        Work before controls are begun: those of few blocks are solved with next to none.
    share, share_before
        All controls together take at most so many times the work that the search has done; the
        second while a right record may still be hard.
    hard, hardest
        Work that right records which are hard to reproduce take for each block, and in all.
    pause
        Factor by which the work grows from one doubt to the next.
    foretold, unrelated
        How clearly predictions follow from inputs, in standard deviations: those of these pieces do
        so at least as clearly as the first; a record that does so less clearly than the second is
        no network's. Of 35 recipes and the puzzle none was below 9.6.
    hidden
        Part of the error that an arrangement that was hidden by noise leaves at most.
    arrangements
        Random ones that are looked at to tell whether predictions follow from the inputs.
    equations
        Predictions that are as good as all of them, for the last look.
    controls
        What steers the controls.
    """

    far: float = 0.1
    nowhere: float = 0.25
    patience: int = 32
    vain: int = 2048
    least: int = 10_000
    share: float = 2.0
    share_before: float = 0.25
    hard: int = 8192
    hardest: int = 200_000
    pause: float = 1.5
    foretold: float = 12.0
    unrelated: float = 2.0
    hidden: float = 0.8
    arrangements: int = 4
    equations: int = 4096
    controls: ControlParameters = field(default_factory=ControlParameters)


class Doubt(Protocol):
    """Something that may keep a search from its record."""

    def ask(self, searching: Searching, work: int) -> Solution | None:
        """What comes of this doubt after so much work; None if nothing, or nothing yet."""
        ...


def search_with_doubts(
    searching: Searching,
    doubts: Sequence[Doubt],
    by: DoubtParameters,
    *,
    most: float = np.inf,
    on_state: OnState | None = None,
) -> Solution | None:
    """Search, and stop now and then to doubt the record.

    Parameters
    ----------
    searching
        The search; it goes on where it stands.
    doubts
        What is asked, the cheapest first.
    by
        What steers it.
    most
        Work after which the search pauses.
    on_state
        Called after every round.

    Returns
    -------
    Solution or None
        What a doubt came to; None where the search has ended or paused.
    """
    variance = searching.alternatives.records.variance
    stop = InVain(by.vain, by.far * variance)
    while searching.go_on((stop,), on_state) is Ending.STOPPED:
        for doubt in doubts:
            found = doubt.ask(searching, stop.done)
            if found is not None:
                return found
        if stop.done >= most:
            return None
        stop.work = min(by.pause * stop.done, max(most, stop.done + 1))
    return None


def work_in_vain(blocks: int, few: int, by: DoubtParameters) -> int:
    """Work up to which a right record may be hard to reproduce; with few blocks none is."""
    return 0 if blocks <= few else min(by.hard * blocks, by.hardest)


class WrongRecord:
    """The record may be of no arrangement of these pieces.

    Parameters
    ----------
    searching
        The search that is doubted.
    by
        What steers it.
    """

    def __init__(self, searching: Searching, by: DoubtParameters) -> None:
        self.alternatives, self.by = searching.alternatives, by
        problem, options = self.alternatives.problems[0], self.alternatives.options
        self.few = options.parameters.few_blocks
        self.hard = work_in_vain(len(problem.grouped), self.few, by)
        self.controls: Controls | None = None
        self.unrelated = False
        """Whether the predictions do not follow from the inputs, and those of the pieces would."""
        self._asked, self._telling, self._hidden = False, True, False
        self._variance = problem.known.variance

    def ask(self, searching: Searching, work: int) -> Solution | None:
        """Whether the predictions follow from the inputs, and whether controls are easier."""
        best = searching.trace.steps[-1]
        if not self._asked:
            self._asked = True
            if self._is_unrelated():
                self.unrelated = True
                return self._refuted(searching.solution())
        if work < self.by.least or not self._telling or not best.error < self._variance:
            return None
        if self.controls is None:
            self._telling = self._sees_through_noise()
            if not self._telling:
                return None
            self.controls = Controls(self.alternatives, self.by.controls)
        share = self.by.share if work > self.hard else self.by.share_before
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
        known = self.alternatives.problems[0].known
        return (
            solution.outcome is Outcome.LOCAL_OPTIMUM
            and not self._hidden
            # Standardised inputs keep a right record from being reproduced just as well.
            and not standardised(self.alternatives.records)
            and self.by.far * self._variance < solution.mse < self._variance
            and find_pattern(solution.network, known).significant
        )

    def _refuted(self, solution: Solution) -> Solution:
        """The solution of a record that is of no arrangement, with the evidence."""
        unexplained = solution.mse / self.alternatives.records.variance
        if self.unrelated:
            note = (
                "the predictions do not follow from the inputs: a regression on half of the rows "
                "foretells nothing of the others, yet it does so clearly where these pieces "
                "predict, in any arrangement that was tried"
            )
        else:
            assert self.controls is not None
            note = self.controls.told(unexplained)
        return solution.ended(Outcome.NO_FIT, Findings(unexplained=unexplained, notes=(note,)))

    def _sees_through_noise(self) -> bool:
        """Whether noise could not have kept the search from an arrangement.

        With many blocks the last look sees through it. With few, whose pairs are less sure, it does
        not always, and regression must leave no room for noise.
        """
        problem = self.alternatives.problems[0]
        if len(problem.grouped) > self.few:
            return True
        return noise_at_most(problem.known.inputs, problem.known.predictions) < self.by.far

    def _last_look(self, searching: Searching) -> Ending:
        """Search with all rows, as noise may ask for; the steps report what fits best."""
        options = self.alternatives.options
        best, found = searching.trace.steps[-1].arrangement, []

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
        self._hidden = min(run.error for run in found) < self.by.hidden * least
        return ending

    def _over_all_rows(
        self, problem: Problem, best: Arrangement, rng: np.random.Generator
    ) -> Search:
        """Descend from seeds on all rows: of many blocks shortly, and from the best seed alone.

        Noise that hides an arrangement from a search on few rows does not hide it here.
        """
        by = self.alternatives.options.parameters
        known = problem.known.take(rng.permutation(len(problem.known)))
        rows = min(-(-self.by.equations // known.outputs), len(known))
        judge = problem.judge(known.take(np.arange(rows)))
        large = len(problem.grouped) > by.few_blocks
        inputs = problem.records.inputs[rng.permutation(len(problem.records))[: by.seed_rows]]
        seeds, _ = rank_seeds(problem, judge, inputs, by.ranked_rows, quick=False)
        lowest: Run = judge.run(best)
        for seed in seeds[: 1 if large else by.starts]:
            search = descend(
                judge, judge.run(seed), problem.evidence, done=lambda _: False, short=large
            )
            run = yield from search
            lowest = min(lowest, run, key=lambda one: one.error)
        return lowest

    def _is_unrelated(self) -> bool:
        """Whether predictions do not follow from the inputs, as any of these pieces would."""
        problem = self.alternatives.problems[0]
        known, by = problem.known, self.by
        if foretold(known.inputs, known.predictions) > by.unrelated:
            return False
        rng = np.random.default_rng(self.alternatives.options.seed)
        blocks = (rng.permutation(problem.grouped) for _ in range(by.arrangements))
        return all(
            foretold(known.inputs, problem.network(each).predict(known.inputs)) > by.foretold
            for each in blocks
        )


class OtherColumns:
    """The record's input columns may stand in another sequence.

    Parameters
    ----------
    searching
        The search that is doubted.
    by
        What steers it.
    """

    def __init__(self, searching: Searching, by: DoubtParameters) -> None:
        self.alternatives, self.by = searching.alternatives, by
        problem, options = self.alternatives.problems[0], self.alternatives.options
        few = options.parameters.few_blocks
        self.hard = work_in_vain(len(problem.grouped), few, by)
        self.tried = not len(problem.known)
        self.found: Solution | None = None

    def ask(self, searching: Searching, work: int) -> Solution | None:
        """What other sequences come to, once the search is nowhere near."""
        steps = searching.trace.steps
        nowhere = steps[-1].error > self.by.nowhere * self.alternatives.records.variance
        due = len(steps) >= self.by.patience and work >= self.hard and nowhere
        return self.attempt() if due else None

    def attempt(self) -> Solution | None:
        """What came of other sequences, which are tried once; None if nothing."""
        # Of how inputs and layers correspond nothing is known where the roles of pieces are open.
        anatomy = self.alternatives.anatomy
        decided = anatomy is not None and not anatomy.interchangeable and len(anatomy.last) == 1
        if not self.tried and decided:
            from unshuffle.repair.shuffled_columns import solve_shuffled

            self.tried = True
            one = self.alternatives
            self.found = solve_shuffled(one.pile, one.records, one.options)
        return self.found
