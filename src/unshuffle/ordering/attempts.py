"""Attempts: rank seeds, descend from the best of them, one round at a time."""

from dataclasses import replace

import numpy as np

from unshuffle.ordering.beam import Beam
from unshuffle.ordering.descent import EFFORTS, descent_round, step_of
from unshuffle.ordering.precedence import precedence
from unshuffle.ordering.state import Attempt, Descent, Found, State
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench


def advance_attempt(state: State, bench: Workbench) -> State:
    """Take one round of the attempt that is under way, and end it where nothing is left of it."""
    attempt = state.attempt
    assert attempt is not None
    if attempt.seeds:
        state = _rank_seeds(state, attempt, bench)
    elif attempt.beam is not None:
        state = _widen(state, attempt, attempt.beam, bench)
    elif attempt.descent is not None:
        state = _descend(state, attempt, attempt.descent, bench)
    return _settled(state, bench)


def descended(
    descent: Descent, alternative: int, rows: int, bench: Workbench
) -> tuple[Descent | None, Found, Step]:
    """Take one round of a descent.

    Returns
    -------
    tuple
        The descent after it, None where it has ended; what stands; and what was done.
    """
    judge, problem = bench.judge(alternative, rows), bench.problem(alternative)
    run = bench.run(alternative, rows, descent.arrangement)
    evidence = problem.evidence
    if descent.trust != 1:
        evidence = evidence.trusted(descent.trust)
    made = descent_round(judge, run, evidence, descent.effort, bench.by.descent)
    found = bench.found(alternative, rows, made.run)
    step = step_of(made, descent.effort, rows)
    ended = made.effort >= (1 if descent.short else EFFORTS) or bench.done(found, rows)
    after = replace(descent, arrangement=found.arrangement, effort=made.effort)
    return None if ended else after, found, step


def better(found: Found, best: Found | None) -> Found:
    """The one with the lower error; the second where they tie."""
    return found if best is None or found.error < best.error else best


def _rank_seeds(state: State, attempt: Attempt, bench: Workbench) -> State:
    """Rank seeds and make descents of the best."""
    rows, alternative = state.rows, attempt.alternative
    rng = state.generator()
    seeds, errors = bench.ranked_seeds(alternative, rows, rng, quick=attempt.seeds == "quick")
    run = bench.run(alternative, rows, seeds[0])
    found = bench.found(alternative, rows, run)
    beam = None
    if bench.equations(rows) < bench.by.quick:
        problem, judge = bench.problem(alternative), bench.judge(alternative, rows)
        inputs = bench.some_inputs(alternative, bench.by.precedence_rows, rng)
        known = precedence(problem.bank, run.arrangement, problem.ends.enter(inputs))
        beam = Beam.begun(judge, run, known)
    waiting = tuple(Descent(seed, short=attempt.short) for seed in seeds[: attempt.starts])
    attempt = replace(
        attempt,
        seeds="",
        waiting=waiting,
        beam=beam,
        best=better(found, attempt.best),
    )
    step = Step("seeds", errors, True, found.arrangement, found.error, rows)
    return reported(replace(state.drawn(rng), attempt=attempt), step)


def _widen(state: State, attempt: Attempt, beam: Beam, bench: Workbench) -> State:
    """Move on from the likeliest orders of a beam."""
    rows, alternative = state.rows, attempt.alternative
    judge = bench.judge(alternative, rows)
    ahead = beam.ahead(judge, bench.by.beam)
    if ahead is None:
        return replace(state, attempt=replace(attempt, beam=None))
    after = ahead.advance(judge, bench.by.beam)
    found = Found(alternative, after.met[after.best], float(after.errors[after.best]))
    attempt = replace(attempt, beam=after, best=better(found, attempt.best))
    tested = after.errors[len(ahead.errors) :]
    step = Step("beam", tested, True, found.arrangement, found.error, rows)
    return reported(replace(state, attempt=attempt), step)


def _descend(state: State, attempt: Attempt, descent: Descent, bench: Workbench) -> State:
    """Take one round of a descent."""
    after, found, step = descended(descent, attempt.alternative, state.rows, bench)
    attempt = replace(attempt, descent=after, best=better(found, attempt.best))
    return reported(replace(state, attempt=attempt), step)


def reported(state: State, step: Step) -> State:
    """The state with what a round did; the best of all rounds stands in every step."""
    attempt, best = state.attempt, state.best
    kept = False
    if attempt is not None and attempt.best is not None and attempt.accept == "lower":
        kept = attempt.best.error < best.error
        best = attempt.best if kept else best
    step = replace(step, kept=kept, arrangement=best.arrangement, error=best.error)
    return replace(state, best=best, step=step)


def _settled(state: State, bench: Workbench) -> State:
    """Begin the next descent of the attempt, or end the attempt where there is none."""
    attempt = state.attempt
    assert attempt is not None
    done = attempt.best is not None and bench.done(attempt.best, state.rows)
    if not done and (attempt.seeds or attempt.beam is not None or attempt.descent is not None):
        return state
    if not done and attempt.waiting:
        first, *rest = attempt.waiting
        return replace(state, attempt=replace(attempt, descent=first, waiting=tuple(rest)))
    found, best = attempt.best, state.best
    if found is not None and _accepted(attempt, found, state, bench):
        best = found
    if best is state.best:
        return replace(state, attempt=None)
    step = replace(state.step, kept=True, arrangement=best.arrangement, error=best.error)
    return replace(state, attempt=None, best=best, step=step)


def _accepted(attempt: Attempt, found: Found, state: State, bench: Workbench) -> bool:
    """Whether what an attempt has found replaces the best of the search."""
    if attempt.accept == "lower":
        return found.error < state.best.error
    if bench.done(found, state.rows):
        return True
    if attempt.accept == "near":
        return bench.near(found.error)
    # A short descent that ends far from the record says nothing.
    convincing = found.error < bench.by.convincing * state.best.error
    return convincing and not (bench.large(state.rows) and bench.far(found.error))


def looked_at(state: State, bench: Workbench, alternative: int) -> State:
    """See what another problem makes of the best arrangement; descend from it if that fits better.

    Close to the answer the right one fits better at once, so that no search is needed to tell.
    """
    arrangement, rows = state.best.arrangement, state.rows
    if not bench.problem(alternative).evidence.admits(arrangement):
        return state
    run = bench.run(alternative, rows, arrangement)
    step = Step("rivals", np.array([run.error]), False, arrangement, state.best.error, rows)
    attempt = None
    if run.error < state.best.error:
        found = bench.found(alternative, rows, run)
        descent = Descent(arrangement)
        attempt = Attempt(alternative, descent=descent, best=found, accept="convincing")
    return replace(state, step=step, attempt=attempt)
