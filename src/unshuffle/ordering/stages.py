"""The stages of the strategy `auto`, each of which advances a state by one round.

A stage is wanted where its turn has come. Most stages make attempts, one after the other.
"""

from dataclasses import replace
from typing import Protocol

import numpy as np

from unshuffle.ordering.attempts import Attempts, on_rows
from unshuffle.ordering.enumeration import Enumeration
from unshuffle.ordering.exact_moves import ExactMoves
from unshuffle.ordering.race import FirstMeanFields, MeanFields, Populations
from unshuffle.ordering.restarts import disturbed
from unshuffle.ordering.state import Attempt, Descent, State
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench

# Stages that are not begun again when there are more rows.
ONCE = ("quick", "insertions", "polish", "seeds", "first mean field", Enumeration.name)


class Stage(Protocol):
    """A part of a search."""

    @property
    def name(self) -> str:
        """What states call it."""

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Whether its turn has come, where no stage is under way."""

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round, or find that there is nothing left to do and end."""


def _from_best(state: State) -> State:
    """Descend wholly from the best."""
    best = state.best
    attempt = Attempt(best.alternative, descent=Descent(best.arrangement), best=best)
    return replace(state, attempt=attempt)


def _from_seeds(state: State, starts: int) -> State:
    """Descend from several seeds of the likeliest problem."""
    return replace(state, attempt=Attempt(state.best.alternative, seeds="all", starts=starts))


class QuickDescents(Attempts):
    """Descend from the best quick seed of each problem until one leads near the record.

    A short descent tells the problems apart where there are predictions enough for that.
    """

    name = "quick"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """At the beginning, unless the rows are given."""
        return self.name not in state.ended and bench.asked_rows is None

    def _begin(self, state: State, bench: Workbench) -> State | None:
        if state.attempts and bench.explodes(state.best.error):
            return None  # no activation can be told from another there
        number = state.attempts
        if (number and bench.near(state.best.error)) or not bench.is_likely(number):
            return None
        short, accept = bench.large(state.rows), "convincing" if number else "lower"
        return replace(
            state, attempt=Attempt(number, seeds="quick", starts=1, short=short, accept=accept)
        )


class Polish(Attempts):
    """Descend wholly from where the short descents have led."""

    name = "polish"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once, where the first descents were short."""
        first = "quick" in state.ended and not {self.name, "seeds"} & {*state.ended}
        return first and bench.large(state.rows) and not bench.done(state.best, state.rows)

    def _begin(self, state: State, bench: Workbench) -> State | None:
        return None if state.attempts else _from_best(state)


class SeedDescents(Attempts):
    """Descend from several seeds of the likeliest problem, on more rows."""

    name = "seeds"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once, unless the answer is so far that distributions have been drawn in."""
        return not {self.name, "first mean field"} & {*state.ended}

    def _begin(self, state: State, bench: Workbench) -> State | None:
        if state.attempts:
            return None
        rows = bench.rows_to_begin(bench.by.equations)
        return _from_seeds(on_rows(state, bench, rows), bench.by.starts)


class OtherProblems(Attempts):
    """See whether another problem fits better: another activation, or another last layer."""

    name = "other problems"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """After the descents from seeds, and after populations."""
        first = not {self.name, "first mean field", "rows"} & {*state.ended}
        again = state.ended[-1:] == ("populations",)
        return (first or again) and not bench.done(state.best, state.rows)

    def _begin(self, state: State, bench: Workbench) -> State | None:
        number, short = state.attempts, bench.large(state.rows)
        if not bench.has(number) or bench.done(state.best, state.rows):
            return None
        if number == state.best.alternative:
            return state
        if "populations" in state.ended or bench.near(state.best.error):
            return _looked_at(state, bench, number)
        attempt = Attempt(number, seeds="all", starts=1, short=short, accept="convincing")
        return replace(state, attempt=attempt)


def _looked_at(state: State, bench: Workbench, alternative: int) -> State:
    """See what another problem makes of the best arrangement; descend from it if that fits better.

    Close to the answer the right one fits better at once, so that no search is needed to tell.
    """
    arrangement, rows = state.best.arrangement, state.rows
    if not bench.problem(alternative).evidence.admits(arrangement):
        return state
    found, attempt = bench.judged(alternative, rows, arrangement), None
    if found.error < state.best.error:
        descent = Descent(arrangement)
        attempt = Attempt(alternative, descent=descent, best=found, accept="convincing")
    step = Step("rivals", np.array([found.error]), False, arrangement, state.best.error, rows)
    return replace(state, step=step, attempt=attempt)


class Noise:
    """Ask whether noise, or coarsely stored numbers, explain what the best leaves of the record."""

    name = "noise"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Before anything long is begun on these rows."""
        return self.name not in state.ended

    def advance(self, state: State, bench: Workbench) -> State:
        """Ask."""
        best, problem = state.best, bench.problem(state.best.alternative)
        noisy = not bench.done(best, state.rows) and bench.goal.explains(problem, best.arrangement)
        decided = False
        if noisy and state.rows < len(bench.known):
            rows = bench.judge(best.alternative, state.rows).records
            decided = bench.goal.decides(problem, best.arrangement, rows)
        return replace(state.after(self.name), noisy=noisy, decided=decided)


class Restarts(Attempts):
    """Disturb the best and descend again, until many restarts in a row have not helped.

    The trust in the evidence varies from restart to restart. So a wrong block that the weights
    favour is not fatal.
    """

    name = "restarts"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once for these rows."""
        return self.name not in state.ended and bench.goes_on(state)

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round; count the restarts that have not helped."""
        after = super().advance(state, bench)
        if state.attempt is not None and after.attempt is None and after.stage:
            helped = after.best.error < state.before
            after = replace(after, failures=0 if helped else state.failures + 1)
        return after

    def _begin(self, state: State, bench: Workbench) -> State | None:
        by, best = bench.by.restarts, state.best
        last = state.rows == len(bench.known)
        patience = by.patience if last else by.patience_before
        if state.failures >= patience or bench.done(best, state.rows):
            return None
        problem, rng = bench.problem(best.alternative), state.generator()
        trust = by.trust[state.failures % len(by.trust)]
        evidence, kind = problem.evidence.trusted(trust), problem.bank.kind
        start = disturbed(best.arrangement, evidence, kind, rng, by)
        errors = np.array([bench.run(best.alternative, state.rows, start).error])
        step = Step("restart", errors, False, best.arrangement, best.error, state.rows)
        attempt = Attempt(best.alternative, descent=Descent(start, trust=trust))
        return replace(state.drawn(rng), step=step, attempt=attempt, before=best.error)


class MoreRows(Attempts):
    """Take more rows, and descend from the best on them."""

    name = "rows"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Where nothing else is, as long as there are more rows."""
        return state.rows < len(bench.known)

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round; afterwards most stages are wanted again."""
        after = super().advance(state, bench)
        if after.stage:
            return after
        return replace(after, ended=(*(name for name in after.ended if name in ONCE), self.name))

    def _begin(self, state: State, bench: Workbench) -> State | None:
        if state.attempts > 1 or (state.attempts and bench.near(state.best.error)):
            return None
        if state.attempts:
            return _from_seeds(state, 1)
        state = on_rows(state, bench, min(bench.by.growth * state.rows, len(bench.known)))
        best, errors = state.best, np.array([state.best.error])
        step = Step("more rows", errors, True, best.arrangement, best.error, state.rows)
        return _from_best(replace(state, step=step))


# In the sequence in which they are asked.
STAGES: tuple[Stage, ...] = (
    QuickDescents(),
    ExactMoves(),
    Polish(),
    FirstMeanFields(),
    SeedDescents(),
    OtherProblems(),
    Noise(),
    Enumeration(),
    Populations(),
    MeanFields(),
    Restarts(),
    MoreRows(),
)

# Enough to come near an arrangement that cannot reproduce the record, because pieces are missing
# or do not belong.
FIRST_STAGES = (QuickDescents(), Polish(), SeedDescents(), OtherProblems())
