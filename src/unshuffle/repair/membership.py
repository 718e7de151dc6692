"""Which blocks belong: take out those that do harm, put in those that help, exchange layers.

A piece of another network does harm wherever it stands, and a missing one would help. One forward
and one backward pass score moves to first order. They put any block at any place, and replace any
layer by another. Proposals are judged exactly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import INP, MlpBank, as_mlp_bank
from unshuffle.blocks.network import mean_squares
from unshuffle.blocks.threads import pool
from unshuffle.grouping.evidence import Evidence
from unshuffle.ordering.descent import DescentSteps, descend
from unshuffle.ordering.judge import Judge, Run
from unshuffle.ordering.linearization import Linearization, linearize, project, replacement_effects
from unshuffle.ordering.trace import Step
from unshuffle.pieces.blueprint import Arrangement, Parts


@dataclass(frozen=True)
class MembershipParameters:
    """Numbers that steer the choice of blocks."""

    gain: float = 0.1  # Part of the error that a change takes away at least, as true pieces do.
    help: float = 0.01  # The same of a block that is put in while building from nothing.
    inserted: int = 48  # Blocks of spare layers that are scored: the likeliest by weights.
    replaced: int = 600  # Replacements of layers that are scored, chosen alike.
    judged: int = 8  # Proposals of each kind that are judged exactly.
    screened_rows: int = 128  # Rows on which replacements are scored.


STANDARD = MembershipParameters()


def settle_membership(
    judge: Judge,
    run: Run,
    evidence: Evidence,
    *,
    done: Callable[[Run], bool],
    by: MembershipParameters = STANDARD,
) -> DescentSteps:
    """Change which blocks stand until no change helps. The evidence may rule out blocks."""
    run = yield from descend(judge, run, evidence, done=done)
    while not done(run):
        changes = _changes(judge, run, evidence, by)
        better, step = _tried("membership", judge, run, changes, by.gain)
        yield step
        if better is run:
            break
        run = yield from descend(judge, better, evidence, done=done)
    return run


def without_blocks(
    judge: Judge, run: Run, most: int, by: MembershipParameters = STANDARD
) -> list[Run]:
    """Runs without one block, at most so many, the lowest error first; then without all harmful.

    The last is there where several do harm: the worst is taken out in turn, while that helps.
    """
    shorter = sorted(judge.runs(_shorter(run), after=run), key=lambda one: one.error)
    rest, before = run, None
    while rest is not before:
        before, (rest, _) = rest, _tried("", judge, rest, _shorter(rest), by.gain)
    return [*shorter[:most], *[rest] * (len(run) - len(rest) > 1)]


def grow(judge: Judge, blocks: Arrangement, by: MembershipParameters = STANDARD) -> DescentSteps:
    """Build an arrangement from nothing, out of given blocks, as long as some block helps.

    Where many blocks are of another network, taking them out one by one does not help. Each does
    little harm beside the others.
    """
    run = judge.run(blocks[:0])
    while len(run) < len(blocks):
        placed = {*run.arrangement[:, INP].tolist()}
        spare = blocks[[block[INP] not in placed for block in blocks.tolist()]]
        better, step = _tried("growth", judge, run, _insertions(judge, run, spare, by), by.help)
        yield step
        if better is run:
            break
        run = better
    return run


def _tried(
    phase: str, judge: Judge, run: Run, arrangements: Sequence[Arrangement], gain: float
) -> tuple[Run, Step]:
    """Try arrangements; come to the best, or to what stands where none helps enough."""
    runs = judge.runs(arrangements, after=run)
    best = min(runs, key=lambda one: one.error, default=run)
    kept = best.error < (1 - gain) * run.error
    best = best if kept else run
    tested, rows = np.array([one.error for one in runs]), len(judge.inputs)
    return best, Step(phase, tested, kept, best.arrangement, best.error, rows)


def _changes(
    judge: Judge, run: Run, evidence: Evidence, by: MembershipParameters
) -> list[Arrangement]:
    """Arrangements with one block taken out, one put in, or one layer replaced by a spare one."""
    standing, bank = run.arrangement, as_mlp_bank(judge.bank)
    spare = spare_layers(bank, standing)
    blocks = np.array([*product(*spare)], np.intp).reshape(-1, 2)
    likeliest = _lowest(-evidence.of(blocks), by.inserted)
    longer = _insertions(judge, run, blocks[likeliest], by)
    return [*_shorter(run), *longer, *_replacements(judge, run, spare, evidence, by)]


def _shorter(run: Run) -> list[Arrangement]:
    """Arrangements with one block taken out, if there are several."""
    return [np.delete(run.arrangement, k, axis=0) for k in range(len(run)) if len(run) > 1]


def spare_layers(bank: MlpBank, arrangement: Arrangement) -> list[list[int]]:
    """Positions of the inp and of the out layers that do not stand in an arrangement."""
    used = {*arrangement.ravel().tolist()}
    positions = bank.inp_positions, bank.out_positions
    return [[each for each in role if each not in used] for role in positions]


def _lowest(values: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    lowest = np.argsort(values, kind="stable")[:most]
    return lowest[values[lowest] < np.inf]


def _insertions(
    judge: Judge, run: Run, blocks: Arrangement, by: MembershipParameters
) -> list[Arrangement]:
    """Arrangements with one more block, where it promises most."""
    if not len(blocks):
        return []
    errors = insertion_errors(judge, linearize(judge, run), blocks)
    likeliest = _lowest(errors.ravel(), by.judged)
    which = zip(*np.divmod(likeliest, errors.shape[1]), strict=True)
    return [np.insert(run.arrangement, place, blocks[k], axis=0) for k, place in which]


def _replacements(
    judge: Judge, run: Run, spare: list[list[int]], evidence: Evidence, by: MembershipParameters
) -> list[Arrangement]:
    """Arrangements with a spare layer in place of another, where that promises most."""
    standing = run.arrangement
    crossed = [np.repeat(standing[:, None], len(each), axis=1) for each in spare]
    for role, others in enumerate(spare):
        crossed[role][:, :, role] = others
    blocks = np.concatenate(crossed, axis=1)
    places = np.repeat(np.arange(len(run)), blocks.shape[1])
    blocks = blocks.reshape(-1, 2)
    likeliest = _lowest(evidence.of(standing)[places] - evidence.of(blocks), by.replaced)
    few = judge.records.first(by.screened_rows)
    judge = Judge(judge.bank, judge.ends, few)
    at = linearize(judge, judge.run(standing))
    effects = replacement_effects(judge, at, places[likeliest].tolist(), blocks[likeliest])
    errors = mean_squares(effects + at.residual, axis=1)
    made = []
    for k in likeliest[_lowest(errors, by.judged)].tolist():
        made.append(standing.copy())
        made[-1][places[k]] = blocks[k]
    return made


def insertion_errors(judge: Judge, at: Linearization, blocks: Arrangement) -> NDArray[np.float64]:
    """Errors to first order with each block right before each place: shape (blocks, length + 1)."""
    states, residual = at.run.states, at.residual.reshape(at.adjoints.shape[1], -1)

    def errors(block: Parts) -> NDArray[np.float64]:
        with np.errstate(over="ignore", invalid="ignore"):  # each thread has a state of its own
            steps = judge.bank.apply(block, states.reshape(-1, states.shape[2]))
            after = project(at.adjoints, steps.reshape(states.shape) - states) + residual
            return mean_squares(after, axis=(1, 2))

    return np.stack([*pool().map(errors, blocks)])
