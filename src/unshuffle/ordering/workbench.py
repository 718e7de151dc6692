"""What a search works on: the problems, the rows, and judges of them. It does not change."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

import numpy as np

from unshuffle.blocks.network import mean_squares
from unshuffle.ordering.groupings import groupings
from unshuffle.ordering.judge import Doubles, Judge, Run
from unshuffle.ordering.local_record import recorded_arrangements
from unshuffle.ordering.parameters import SearchParameters
from unshuffle.ordering.paths import path_arrangements
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.seeds import SEEDS, STANDARD, SeedParameters
from unshuffle.ordering.state import Found, State
from unshuffle.pieces.blueprint import Arrangement, key
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records


class Goal(Protocol):
    """What is asked of an arrangement."""

    def reproduces(self, judge: Judge, run: Run) -> bool:
        """Whether a run reproduces a judge's rows to rounding."""

    def explains(self, problem: Problem, arrangement: Arrangement) -> bool:
        """Whether noise, or coarsely stored numbers, explain what is left of the record."""

    def decides(self, problem: Problem, arrangement: Arrangement, rows: Records) -> bool:
        """Whether rows tell such an arrangement from all that it could be mistaken for."""


class Workbench:
    """The problems, one of which is right, and the record in the sequence of its use.

    The likeliest problem comes first, and each is made only when it is needed. A generator shuffles
    the rows. Without a first number of rows, the search takes as many as it needs. The workbench
    decides nothing: what it remembers could be worked out anew.
    """

    def __init__(
        self,
        problems: Iterable[Problem],
        rng: np.random.Generator,
        goal: Goal,
        by: SearchParameters | None = None,
        rows: int | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._unmade = iter(problems)
        self._made = [first := next(self._unmade)]
        self._before = {first.bank.work: first.bank.work.halves}
        known = self._made[0].known
        self.known = known.take(rng.permutation(len(known)))
        self.variance = self.known.variance
        self.goal, self.by, self.asked_rows = goal, by or SearchParameters(), rows
        self.clock = clock or Clock()
        # Judges by problem and rows; the last runs, and what was found of them, by arrangement too.
        self._judges: dict[tuple[int, int], Judge] = {}
        self._runs: dict[tuple[int, int, bytes], Run] = {}
        self._done: dict[tuple[int, int, bytes], bool] = {}
        self._groupings: dict[tuple[int, int], list[Arrangement]] = {}

    def problem(self, alternative: int) -> Problem:
        """The problem of a number, which is there."""
        self.has(alternative)  # and made by that
        return self._made[alternative]

    def has(self, alternative: int) -> bool:
        """Whether there is a problem of a number."""
        while len(self._made) <= alternative:
            made = next(self._unmade, None)
            if made is None:
                return False
            self._made.append(made)
            self._before.setdefault(made.bank.work, made.bank.work.halves)
        return True

    def is_likely(self, alternative: int) -> bool:
        """Whether there is a problem of a number, which is tried before anything long."""
        return alternative < self.by.likely and self.has(alternative)

    def groupings(self, alternative: int, most: int) -> list[Arrangement]:
        """All ways to group the pieces of a problem, or one more than so many of them."""
        name = alternative, most
        if name not in self._groupings:
            every = groupings(self.problem(alternative), self.by.enumeration)
            _remember(self._groupings, name, list(islice(every, most + 1)), most=2)
        return self._groupings[name]

    @property
    def work(self) -> int:
        """What has passed through blocks of all problems since the workbench has them."""
        return sum(each.halves - before for each, before in self._before.items())

    @property
    def blocks(self) -> int:
        """Number of blocks in a complete arrangement."""
        return len(self._made[0].grouped)

    def rows_for(self, equations: int) -> int:
        """Rows that make so many predictions, as far as there are any."""
        return self.known.rows_for(equations)

    def rows_to_begin(self, equations: int) -> int:
        """Rows to begin with: those asked for, else as many as make so many predictions."""
        return min(self.asked_rows or self.rows_for(equations), len(self.known))

    def equations(self, rows: int) -> int:
        """Predictions that so many rows make."""
        return rows * self.known.outputs

    def large(self, rows: int) -> bool:
        """Whether whole descents take long, and short ones have predictions enough to go by."""
        return self.equations(rows) >= self.by.quick and self.blocks > self.by.few_blocks

    @property
    def of_one_form(self) -> bool:
        """Whether all blocks have the same roles, so that any of them can run in any place."""
        return not self.problem(0).bank.kind.variants

    @property
    def coupled(self) -> bool:
        """Whether shapes do not tell the two roles of a block."""
        return self.problem(0).bank.kind.coupled

    def near(self, error: float) -> bool:
        """Whether an error is so small that more rows promise more than another beginning."""
        return error < self.by.near * self.variance

    def far(self, error: float) -> bool:
        """Whether an error is so large that only a search on many rows can get anywhere."""
        return error > self.by.far * self.variance

    def explodes(self, error: float) -> bool:
        """Whether an error is so large that first-order effects say nothing."""
        return error > self.by.insertions.explosive * self.variance

    def judge(self, alternative: int, rows: int) -> Judge:
        """A judge of one problem on the first rows."""
        name = alternative, rows
        if name not in self._judges:
            sample = self.known.take(np.arange(rows))
            self._judges[name] = self.problem(alternative).judge(sample, self.by.judge)
        return self._judges[name]

    def run(self, alternative: int, rows: int, arrangement: Arrangement) -> Run:
        """The run of an arrangement on the first rows. The last few are remembered."""
        name = alternative, rows, key(arrangement)
        if name not in self._runs:
            self.found(alternative, rows, self.judge(alternative, rows).run(arrangement))
        return self._runs[name]

    def found(self, alternative: int, rows: int, run: Run) -> Found:
        """A run as something that was found. It is kept, since its states are asked for again."""
        _remember(self._runs, (alternative, rows, key(run.arrangement)), run, most=2)
        return Found(alternative, run.arrangement, run.error)

    def judged(self, alternative: int, rows: int, arrangement: Arrangement) -> Found:
        """An arrangement as something that was found, judged on the first rows."""
        return self.found(alternative, rows, self.run(alternative, rows, arrangement))

    def done(self, found: Found, rows: int) -> bool:
        """Whether what was found reproduces the rows in use."""
        blocks = len(self.problem(found.alternative).grouped)
        if len(found.arrangement) < blocks or not np.isfinite(found.error):
            return False
        name = found.alternative, rows, key(found.arrangement)
        if name not in self._done:
            run = self.run(found.alternative, rows, found.arrangement)
            done = self.goal.reproduces(self.judge(found.alternative, rows), run)
            _remember(self._done, name, done, most=8)
        return self._done[name]

    def confirmed(self, state: State) -> bool:
        """Whether the best also reproduces rows that the search has not seen, if there are any."""
        if not self.done(state.best, state.rows):
            return False
        unseen = np.arange(state.rows, min(2 * state.rows, len(self.known)))
        if not len(unseen):
            return True
        problem = self.problem(state.best.alternative)
        check = problem.judge(self.known.take(unseen), self.by.judge)
        return self.goal.reproduces(check, check.run(state.best.arrangement))

    def goes_on(self, state: State) -> bool:
        """Whether a search goes on with the rows in use although that takes long."""
        enough = state.rows == len(self.known) or self.equations(state.rows) >= self.by.many
        return enough and not state.noisy and not self.done(state.best, state.rows)

    def some_inputs(self, alternative: int, most: int, rng: np.random.Generator) -> Floats:
        """Inputs drawn from all rows, those without predictions too."""
        inputs = self.problem(alternative).records.inputs
        return inputs[rng.permutation(len(inputs))[:most]]

    def ranked_seeds(
        self,
        alternative: int,
        rows: int,
        rng: np.random.Generator,
        *,
        quick: bool,
        grouped: Arrangement | None = None,
    ) -> tuple[list[Arrangement], Doubles]:
        """All seeds, forwards and backwards, by their errors on a few rows; see `rank_seeds`.

        They are of the pieces as the problem groups them, or as they are grouped otherwise.
        """
        problem, judge = self.problem(alternative), self.judge(alternative, rows)
        enough = judge.predictions.size >= self.by.quick
        if grouped is not None:
            problem = replace(problem, grouped=grouped)
        by = self.by.seeds
        inputs = self.some_inputs(alternative, by.rows if enough else by.many_rows, rng)
        few = by.quick_ranked_rows if quick else by.ranked_rows
        return rank_seeds(problem, judge, inputs, few, quick=quick, clock=self.clock, by=by)


def _remember(kept: dict[Any, Any], name: object, value: object, *, most: int) -> None:
    """Keep a value, and forget the oldest ones."""
    kept[name] = value
    while len(kept) > most:
        del kept[next(iter(kept))]


def rank_seeds(
    problem: Problem,
    judge: Judge,
    inputs: Floats,
    rows: int,
    *,
    quick: bool,
    clock: Clock,
    by: SeedParameters = STANDARD,
) -> tuple[list[Arrangement], Doubles]:
    """All seeds of a problem, or the quick ones, forwards and backwards, the lowest error first.

    The errors of all stand in the sequence in which they were tested.
    Seeds look at the inputs, and are compared on so many of the judge's first rows. The start of
    the problem is a seed too. Without time on the clock, the blocks stay as they were grouped.
    """
    grouped, network = problem.grouped, problem.network(problem.grouped)
    starts = [] if problem.start is None else [problem.start]
    starts += recorded_arrangements(problem, clock)
    starts += path_arrangements(problem, clock, by.paths)
    with np.errstate(over="ignore", invalid="ignore"):
        # Seeds rank blocks of one form.
        for seed in () if problem.bank.kind.variants else SEEDS.values():
            if clock.out:
                break
            if seed.serves(network) and (seed.quick or not quick):
                ranking = seed.rank(network, inputs, by)
                starts += [grouped[ranking], grouped[ranking[::-1]]]
        starts = starts or [grouped]
        states = np.stack([judge.inputs[:rows]] * len(starts))
        for blocks in np.stack(starts, axis=1):
            states = problem.bank.take(blocks).apply_each(states)
        predicted = np.stack([problem.ends.leave(state) for state in states])
        residuals = predicted - judge.predictions[:rows]
        squares = mean_squares(residuals.reshape(len(starts), -1), axis=1)
    errors = np.nan_to_num(squares, nan=np.inf)
    return [starts[k] for k in np.argsort(errors, kind="stable")], errors
