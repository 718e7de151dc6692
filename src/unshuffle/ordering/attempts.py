"""Attempts: rank seeds, descend from the best of them, one round at a time."""

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from unshuffle.ordering.beam import Beam
from unshuffle.ordering.descent import descent_round, step_of
from unshuffle.ordering.precedence import precedence
from unshuffle.ordering.state import Attempt, Descent, Found, State
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench


class Attempts(ABC):
    """A stage that makes attempts, one after the other."""

    name: str

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round of the attempt that is under way, or begin the next."""
        if state.attempt is not None:
            return _advanced(state.attempt, state, bench)
        begun = self._begin(replace(state, stage=self.name), bench)
        if begun is None:
            return state.after(self.name)
        return replace(begun, attempts=state.attempts + 1)

    @abstractmethod
    def _begin(self, state: State, bench: Workbench) -> State | None:
        """Begin the next attempt; None where there is none."""


def _advanced(attempt: Attempt, state: State, bench: Workbench) -> State:
    """Take one round of an attempt, and end it where nothing is left of it."""
    if attempt.seeds:
        state = _rank_seeds(attempt, state, bench)
    elif attempt.beam is not None:
        state = _widen(attempt, attempt.beam, state, bench)
    elif attempt.descent is not None:
        descent, found, step = descended(attempt.descent, attempt.alternative, state.rows, bench)
        state = _found(replace(attempt, descent=descent), found, step, state)
    return _settled(state, bench)


def descended(
    descent: Descent, alternative: int, rows: int, bench: Workbench
) -> tuple[Descent | None, Found, Step]:
    """Take one round of a descent. Return the descent or None if it ended, what stands, the step.

    Where a kind names no edges, its evidence rests on links that may be wrong. So a descent that is
    stuck goes on without trust in them: the record decides alone.
    """
    judge, problem = bench.judge(alternative, rows), bench.problem(alternative)
    run = bench.run(alternative, rows, descent.arrangement)
    evidence = problem.evidence.trusted(descent.trust)
    made = descent_round(judge, run, evidence, descent.effort, bench.by.descent)
    found = bench.found(alternative, rows, made.run)
    step = step_of(made, descent.effort, rows)
    if bench.done(found, rows):
        return None, found, step
    after = replace(descent, arrangement=found.arrangement, effort=made.effort)
    if descent.trust and made.effort > 1 and not problem.bank.kind.edges and not descent.short:
        after = replace(after, effort=1, trust=0.0)
    ended = after.effort >= bench.by.descent.efforts[descent.short]
    return None if ended else after, found, step


def on_rows(state: State, bench: Workbench, rows: int) -> State:
    """The state with other rows in use. The best is judged anew."""
    best = state.best
    if rows == state.rows:
        return state
    if np.isfinite(best.error):
        best = bench.judged(best.alternative, rows, best.arrangement)
    return replace(state, best=best, rows=rows)


def better(found: Found, best: Found | None) -> Found:
    """The one with the lower error; the second where they tie."""
    return found if best is None or found.error < best.error else best


def convincing(found: Found, best: Found, rows: int, bench: Workbench) -> bool:
    """Whether another problem fits so much better that it is believed in.

    A short descent that ends far from the record says nothing.
    """
    lower = found.error < bench.by.convincing * best.error
    return lower and not (bench.large(rows) and bench.far(found.error))


def reported(state: State, step: Step, found: Found | None) -> State:
    """The state after a step, with its possible best, which stands in every step."""
    best = state.best if found is None else better(found, state.best)
    kept = best is not state.best
    step = replace(step, kept=kept, arrangement=best.arrangement, error=best.error)
    return replace(state, best=best, step=step)


def _rank_seeds(attempt: Attempt, state: State, bench: Workbench) -> State:
    """Rank seeds and make descents of the best; begin a beam where there are few predictions."""
    rows, alternative, rng = state.rows, attempt.alternative, state.generator()
    seeds, errors = bench.ranked_seeds(alternative, rows, rng, quick=attempt.seeds == "quick")
    run = bench.run(alternative, rows, seeds[0])
    errors[errors.argmin()] = run.error  # the best stands with its error on all rows
    beam = None
    problem = bench.problem(alternative)
    few = bench.equations(rows) < bench.by.quick
    # A beam moves whole blocks, and those of a kind without edges are grouped by links alone.
    if few and bench.of_one_form and problem.bank.kind.edges:
        judge = bench.judge(alternative, rows)
        inputs = bench.some_inputs(alternative, bench.by.beam.precedence_rows, rng)
        known = precedence(problem.bank, run.arrangement, problem.ends.enter(inputs))
        beam = Beam.begun(judge, run, known)
    starts = 0 if attempt.seeds == "quick" and bench.explodes(run.error) else attempt.starts
    waiting = tuple(Descent(seed, short=attempt.short) for seed in seeds[:starts])
    attempt = replace(attempt, seeds="", waiting=waiting, beam=beam)
    step = Step("seeds", errors, True, run.arrangement, run.error, rows)
    return _found(attempt, bench.found(alternative, rows, run), step, state.drawn(rng))


def _widen(attempt: Attempt, beam: Beam, state: State, bench: Workbench) -> State:
    """Move on from the likeliest orders of a beam."""
    judge = bench.judge(attempt.alternative, state.rows)
    ahead = beam.ahead(judge, bench.by.beam)
    if ahead is None:
        return replace(state, attempt=replace(attempt, beam=None))
    after = ahead.advance(judge, bench.by.beam)
    found = Found(attempt.alternative, after.met[after.best], float(after.errors[after.best]))
    tested = after.errors[len(ahead.errors) :]
    step = Step("beam", tested, True, found.arrangement, found.error, state.rows)
    return _found(replace(attempt, beam=after), found, step, state)


def _found(attempt: Attempt, found: Found, step: Step, state: State) -> State:
    """The state after a step of an attempt that has found something."""
    attempt = replace(attempt, best=better(found, attempt.best))
    accepted = attempt.best if attempt.accept == "lower" else None
    return reported(replace(state, attempt=attempt), step, accepted)


def _settled(state: State, bench: Workbench) -> State:
    """Begin the next descent of the attempt, or end the attempt where there is none."""
    attempt = state.attempt
    assert attempt is not None
    found = attempt.best
    done = found is not None and bench.done(found, state.rows)
    if not done and (attempt.seeds or attempt.beam is not None or attempt.descent is not None):
        return state
    if not done and attempt.waiting:
        first, *rest = attempt.waiting
        return replace(state, attempt=replace(attempt, descent=first, waiting=tuple(rest)))
    if found is None or found is state.best or not _accepted(attempt, found, state, bench):
        return replace(state, attempt=None)
    step = replace(state.step, kept=True, arrangement=found.arrangement, error=found.error)
    return replace(state, attempt=None, best=found, step=step)


def _accepted(attempt: Attempt, found: Found, state: State, bench: Workbench) -> bool:
    """Whether what an attempt has found replaces the best of the search."""
    if attempt.accept == "lower":
        return found.error < state.best.error
    if bench.done(found, state.rows):
        return True
    return convincing(found, state.best, state.rows, bench)
