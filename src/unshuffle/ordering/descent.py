"""Descent: rounds of many moves at once, each proposed to first order and judged exactly.

A descent lowers ``K / 2 * log(mean squared error) − Σ log-odds of the blocks``. It weighs the
record and the evidence on shared blocks. Far from the answer a change against the evidence must
explain much of the error. Close to it the error decides alone.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from unshuffle.grouping.evidence import Evidence
from unshuffle.ordering.judge import Indices, Judge, Run
from unshuffle.ordering.linearization import Linearization, linearize
from unshuffle.ordering.moves import (
    Moves,
    all_swaps,
    neighbours,
    resequenced,
    shift_moves,
    turn_moves,
    with_swap_effects,
)
from unshuffle.ordering.reassignment import ReassignmentParameters, reassignments
from unshuffle.ordering.replacement import reassigned
from unshuffle.ordering.selection import SelectionParameters, promising, pursuit, regression
from unshuffle.ordering.trace import Step
from unshuffle.pieces.blueprint import Arrangement, key

# A search yields what it does, step by step, and returns the run that it ends with.
DescentSteps = Generator[Step, None, Run]


@dataclass(frozen=True)
class DescentParameters:
    """Numbers that steer a descent.

    Parameters
    ----------
    efforts
        Efforts of a whole and of a short descent: adjacent swaps; wider shifts; swaps of pieces.
    window
        Places by which a block is moved where adjacent swaps no longer help.
    screened_rows
        Rows on which all swaps of pieces are scored first.
    swaps
        Swaps of pieces that are scored on all rows.
    singles
        Single moves that are judged where no set of moves helps.
    neighbours
        Single moves up to which all are judged, where a kind has no edges. Far from the answer,
        first-order effects say little of such blocks.
    slow
        After a round that lowers the error by a smaller part, a wider one follows.
    selection, reassignment
        What steers the choice of moves, and reassignments.
    """

    efforts: tuple[int, int] = (3, 1)
    window: int = 4
    screened_rows: int = 48
    swaps: int = 64
    singles: int = 24
    neighbours: int = 2000
    slow: float = 1e-3
    selection: SelectionParameters = field(default_factory=SelectionParameters)
    reassignment: ReassignmentParameters = field(default_factory=ReassignmentParameters)


@dataclass(frozen=True, eq=False)
class Round:
    """What one round of a descent came to."""

    run: Run  # that stands now
    tested: list[float]  # mean squared errors of all arrangements that were judged
    kept: bool  # whether one of them replaced the run that stood
    effort: int  # of the next round; one more than the last where nothing helps any more


def objective(run: Run, evidence: Evidence) -> float:
    """What a search lowers: half the log of the error for each block, minus evidence."""
    error = max(run.error, np.finfo(float).tiny)
    return len(run) / 2 * float(np.log(error)) - evidence.value(run.arrangement)


def descent_round(
    judge: Judge, run: Run, evidence: Evidence, effort: int, by: DescentParameters
) -> Round:
    """Linearize an arrangement once, propose sets of moves, and keep the best on the judge's word.

    A set that fails is halved. The effort is 0 for adjacent swaps of blocks, 1 with wider shifts, 2
    with swaps of pieces.
    """
    best, tested = run, list[float]()
    if effort == 1 and not judge.bank.kind.edges:
        best, tested = _best_neighbour(judge, run, evidence, by.neighbours)
        # Small pieces last: where large ones are wrong, they are put where they make up for that.
        lowers = partial(objective, evidence=evidence)
        best, errors = reassigned(judge, best, evidence, by.neighbours, lowers)
        tested += errors
    # Whether adjacent swaps are to be asked again: where neighbours were, these are among them.
    anew = best is run
    if best is run:
        for arrangements in _proposed(judge, linearize(judge, run), evidence, effort, by):
            best, errors = lowest(judge, run, arrangements, evidence)
            tested += errors
            if best is not run:
                break
    before, after = objective(run, evidence), objective(best, evidence)
    slow = not after < before + len(run) / 2 * np.log1p(-by.slow)
    following = 0 if anew else effort
    return Round(best, tested, best is not run, effort + 1 if slow else following)


def descend(
    judge: Judge,
    run: Run,
    evidence: Evidence,
    *,
    done: Callable[[Run], bool],
    by: DescentParameters | None = None,
    rounds: int | None = None,
    short: bool = False,
) -> DescentSteps:
    """Move blocks, and swap pieces where the evidence admits it, until nothing improves.

    It ends with a run that is done. With a limit of rounds it ends after so many, or the first that
    keeps nothing. A short one ends where adjacent swaps do not help.
    """
    effort, count, by = 0, 0, by or DescentParameters()
    while effort < by.efforts[short] and not done(run):
        made = descent_round(judge, run, evidence, effort, by)
        run = made.run
        yield step_of(made, effort, len(judge.inputs))
        effort, count = made.effort, count + 1
        if rounds is not None and (count == rounds or not made.kept):
            break
    return run


def step_of(made: Round, effort: int, rows: int) -> Step:
    """A round of some effort as a step of a search."""
    run, phase = made.run, "repair" if effort == 2 else "descent"
    return Step(phase, np.array(made.tested), made.kept, run.arrangement, run.error, rows)


def lowest(
    judge: Judge, run: Run, arrangements: Sequence[Arrangement], evidence: Evidence
) -> tuple[Run, list[float]]:
    """Judge arrangements exactly; return the best of them, or what stands, and all errors."""
    candidates = judge.runs(arrangements, after=run)
    best = min([run, *candidates], key=lambda each: objective(each, evidence))
    return best, [candidate.error for candidate in candidates]


def _best_neighbour(
    judge: Judge, run: Run, evidence: Evidence, most: int
) -> tuple[Run, list[float]]:
    """Judge all single moves that the evidence admits; return the best, or what stands.

    Those that lower the objective alone, and concern slots of their own, are tried together too.
    """
    candidates = neighbours(run.arrangement, evidence, judge.bank.kind.turns())
    if not 0 < len(candidates) <= most:
        return run, []
    moved = resequenced(run.arrangement, evidence)
    if len(candidates) + len(moved) <= most:
        candidates = np.concatenate([candidates, moved])
    errors = judge.errors(run, candidates)
    lowered = np.maximum(errors, np.finfo(float).tiny)
    objectives = len(run) / 2 * np.log(lowered) - evidence.of(candidates).sum(axis=1)
    ranked = np.argsort(objectives, kind="stable")
    better = ranked[objectives[ranked] < objective(run, evidence)]
    made = _together(run.arrangement, candidates[better])
    best, joint = lowest(judge, run, [candidates[ranked[0]], *made], evidence)
    return best, [*errors.tolist(), *joint[1:]]


def _together(arrangement: Arrangement, candidates: Indices) -> list[Arrangement]:
    """The first candidates that change no slot twice, all at once, then the first half of them."""
    taken = np.zeros(arrangement.shape, bool)
    chosen: list[Indices] = []
    for other in candidates:
        changed = other != arrangement
        if not (taken & changed).any():
            taken |= changed
            chosen.append(other)
    made = []
    while len(chosen) > 1:
        joint = arrangement.copy()
        for other in chosen:
            joint = np.where(other != arrangement, other, joint)
        made.append(joint)
        chosen = chosen[: len(chosen) // 2]
    return made


def _proposed(
    judge: Judge, at: Linearization, evidence: Evidence, effort: int, by: DescentParameters
) -> Iterator[list[Arrangement]]:
    """Arrangements to judge together, and others in case that none of them is better."""
    arrangement, strength = at.run.arrangement, len(at.run)
    moves = shift_moves(judge, at, by.window if effort else 1)
    if effort == 2:
        moves += _swaps(judge, at, evidence, by)
        moves += turn_moves(judge, at, evidence)
    linear = [regression(moves, at.residual, by.selection)]
    if not effort:
        yield from _halved(moves, linear, arrangement)
        # As long as adjacent swaps help, their regression nearly always chooses best, so the
        # pursuit is asked only where that fails.
        chosen = pursuit(moves, at.residual, strength, by.selection)
        yield from _halved(moves, [chosen], arrangement)
        return
    linear.append(pursuit(moves, at.residual, strength, by.selection))
    yield from _halved(moves, linear, arrangement)
    singles = promising(moves, at.residual, strength)[: by.singles, None]
    yield from _halved(moves, [*singles], arrangement)
    if effort == 2:
        yield reassignments(judge, at, evidence, by.reassignment)


def _halved(
    moves: Moves, proposals: Sequence[Indices], arrangement: Arrangement
) -> Iterator[list[Arrangement]]:
    """What sets of moves make of an arrangement, then their first halves, down to single moves."""
    while proposals:
        made = {}
        for chosen in proposals:
            other = moves.apply(chosen, arrangement)
            made[key(other)] = other, chosen
        made.pop(key(arrangement), None)
        yield [other for other, _ in made.values()]
        proposals = [chosen[: len(chosen) // 2] for _, chosen in made.values() if len(chosen) > 1]


def _swaps(judge: Judge, at: Linearization, evidence: Evidence, by: DescentParameters) -> Moves:
    """The swaps of pieces that the evidence admits and that promise most on a few rows."""
    length = len(at.run)
    few = at.first_rows(by.screened_rows)
    # One swap can be expected to explain much of the error, but not nearly all of it.
    rough = all_swaps(judge, few, evidence, least_gain=-length)
    best = promising(rough, few.residual, length)[: by.swaps]
    return with_swap_effects(judge, at, rough.take(best))
