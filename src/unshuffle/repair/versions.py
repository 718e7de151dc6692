"""Several versions of one layer, nearly equal, of which one belongs: find the order, then which.

A network in which some layers are a little off errs a little, so its order comes out about right
with any of the versions. With the order known the versions are judged in their places; with better
ones the order is searched again, and so on in turn.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from math import inf, log

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.assembly import build_network
from unshuffle.errors import PileError
from unshuffle.ordering.trace import Step
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import SETTLED, Outcome
from unshuffle.solution.arranging import Options, arrange
from unshuffle.solution.findings import Findings, Leftover
from unshuffle.solution.solution import Solution

STEPS = 32
"""Of each search for the order."""

ROUNDS = 8
"""Searches for the order, at most."""

EQUATIONS = 2048
"""Predictions by which versions are compared while the order is not certain."""

SURE = log(100)
"""Log-likelihood by which the version that is named has to lead each other one."""


def solve_versions(
    pile: Pile, records: Records, options: Options, copies: Iterable[tuple[int, int, float]]
) -> Solution | None:
    """Find the order with one version of each layer, the best versions in it, and so on in turn.

    Parameters
    ----------
    pile, records, options
        As for `arrange`; the record has predictions.
    copies
        As from `near_copies`.

    Returns
    -------
    Solution or None
        The one with the lowest error, the versions that do not belong among its leftovers; it is
        ambiguous where the record does not tell two versions apart. None where the pile with one
        version of each layer is no whole network.
    """
    started, known = options.clock(), records.predicted()
    some = known.take(np.arange(min(len(known), -(-EQUATIONS // known.outputs))))
    versions = _versions(pile, copies)
    chosen = {names[0] for names in versions}
    best = None
    for _ in range(ROUNDS):
        spare = {name for names in versions for name in names} - chosen
        used = Pile(piece for piece in pile if piece.id not in spare)
        try:
            read_anatomy(used, records)
        except PileError:
            return None
        timed = options.with_time_left(started)
        solution = arrange(used, records, timed, watch=_first_steps)
        best = solution if best is None else min(best, solution, key=lambda each: each.mse)
        if solution.outcome in (Outcome.EXACT, Outcome.INTERRUPTED, Outcome.BUDGET_SPENT):
            break
        names = _best_versions(pile, some, solution, versions)
        if chosen == chosen.intersection(names):
            break
        chosen = {name for name in names if name in spare | chosen}
    assert best is not None
    return _judged(pile, known, replace(best, outcome=solution.outcome), versions)


def _first_steps(steps: Iterator[Step]) -> Iterator[Step]:
    return islice(steps, STEPS)


def _versions(pile: Pile, copies: Iterable[tuple[int, int, float]]) -> list[tuple[PieceId, ...]]:
    """The names of all versions of each layer of which there are several."""
    group: dict[int, set[int]] = {}
    for first, second, _ in copies:
        merged = group.get(first, {first}) | group.get(second, {second})
        group.update(dict.fromkeys(merged, merged))
    members = {min(positions): sorted(positions) for positions in group.values()}
    return [tuple(pile[k].id for k in members[first]) for first in sorted(members)]


def _best_versions(
    pile: Pile, known: Records, solution: Solution, versions: Sequence[tuple[PieceId, ...]]
) -> list[PieceId]:
    """The solution's layers, each in the version that fits best beside the others.

    What versions change is small, so their effects on the predictions nearly add up: one
    regression tells those that belong together. Single ones are then judged exactly.
    """
    names = [*solution.permutation]
    regressed = _regressed(pile, known, solution, versions)
    names = min(names, regressed, key=lambda each: _error(pile, known, solution, each))
    least, changed = _error(pile, known, solution, names), True
    while changed:
        changed = False
        for place, rival in _rivals(names, versions):
            others = _replaced(names, place, rival)
            error = _error(pile, known, solution, others)
            if error < least:
                names, least, changed = others, error, True
    return names


def _regressed(
    pile: Pile, known: Records, solution: Solution, versions: Sequence[tuple[PieceId, ...]]
) -> list[PieceId]:
    """The versions to which least squares gives most weight, those of one layer adding up to 1."""
    names = [*solution.permutation]
    rivals = [*_rivals(names, versions)]
    residual = _residuals(pile, known, solution, names)
    effects = [
        _residuals(pile, known, solution, _replaced(names, place, rival)) - residual
        for place, rival in rivals
    ]
    weights = np.linalg.lstsq(np.stack(effects, axis=1), -residual, rcond=None)[0].tolist()
    share = dict.fromkeys(names, 1.0)
    for (place, rival), weight in zip(rivals, weights, strict=True):
        share[names[place]] -= weight
        share[rival] = weight
    for group in versions:
        (place,) = (names.index(name) for name in group if name in names)
        names[place] = max(group, key=lambda name: share[name])
    return names


def _judged(
    pile: Pile, known: Records, solution: Solution, versions: Sequence[tuple[PieceId, ...]]
) -> Solution:
    """The solution with the versions that have no place, and whether the record decides that."""
    names = [*solution.permutation]
    leftovers, outcome = [], solution.outcome
    least = _error(pile, known, solution, names)
    for place, rival in _rivals(names, versions):
        reason = "stands in its place"
        if solution.outcome in SETTLED:
            error = _error(pile, known, solution, _replaced(names, place, rival))
            lead = _log_ratio(error, least)
            decided = known.predictions.size / 2 * lead > SURE
            reason = "fits better" if decided else "the record does not tell from it"
            outcome = outcome if decided else Outcome.AMBIGUOUS
        leftovers.append(Leftover(rival, f"nearly piece {names[place]}, which {reason}"))
    findings = Findings(tuple(leftovers), unexplained=solution.mse / known.variance)
    return replace(solution, outcome=outcome, findings=findings)


def _rivals(
    names: Sequence[PieceId], versions: Sequence[tuple[PieceId, ...]]
) -> Iterator[tuple[int, PieceId]]:
    """Each place of a layer that has other versions, with each of these."""
    for group in versions:
        (place,) = (names.index(name) for name in group if name in names)
        yield from ((place, name) for name in group if name != names[place])


def _replaced(names: Sequence[PieceId], place: int, rival: PieceId) -> list[PieceId]:
    return [*names[:place], rival, *names[place + 1 :]]


def _log_ratio(error: float, least: float) -> float:
    return log(error / least) if least else inf if error else 0.0


def _error(pile: Pile, known: Records, solution: Solution, names: Sequence[PieceId]) -> float:
    """Mean squared error with these layers."""
    return float(np.mean(np.square(_residuals(pile, known, solution, names))))


def _residuals(
    pile: Pile, known: Records, solution: Solution, names: Sequence[PieceId]
) -> NDArray[np.float64]:
    """What the network with these layers predicts too much, for each output of each row."""
    network = build_network(pile, names, solution.network.blocks.activation)
    found = network.predict(known.inputs).astype(np.float64)
    return (found - known.predictions).ravel()
