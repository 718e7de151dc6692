"""Several versions of one layer, nearly equal, of which one belongs: find the order, then which.

A network in which some layers are a little off errs a little. So its order comes out about right
with any of the versions. With the order known the versions are judged in their places. With better
ones the order is searched again, in turn.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, log

import numpy as np

from unshuffle.blocks.activations import find_activation
from unshuffle.blocks.assembly import build_network
from unshuffle.blocks.network import mean_square
from unshuffle.errors import PileError
from unshuffle.ordering.search import Steps
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats, PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import SETTLED, Outcome
from unshuffle.repair.case import Case
from unshuffle.repair.repair import Repair, leaving_out, looks_once, needs_predictions
from unshuffle.solution.arranging import arrange
from unshuffle.solution.findings import Findings, Leftover
from unshuffle.solution.solution import Solution

Names = Sequence[PieceId]


@dataclass(frozen=True)
class VersionParameters:
    """Numbers that steer the choice of versions."""

    rounds: int = 8  # Searches for the order, at most.
    steps: int = 32  # Steps of each, at most.
    equations: int = 2048  # Predictions that compare versions while the order is not certain.
    sure: float = log(100)  # Log-likelihood by which the named version has to lead each other one.


STANDARD = VersionParameters()


def _run(
    case: Case, solution: Solution | None, by: VersionParameters = STANDARD
) -> Solution | None:
    """Find the order with one version of each layer, the best versions in it, and so on in turn.

    It is ambiguous where the record does not tell two versions apart. None where the pile with one
    version of each layer is no whole network.
    """
    pile, records, options = case.pile, case.records, case.options
    known, versions = records.predicted(), _versions(pile, case.near_copies)
    some = known.first(known.rows_for(by.equations))
    chosen = {names[0] for names in versions}
    best = None
    for _ in range(by.rounds):
        spare = {name for names in versions for name in names} - chosen
        used = Pile(piece for piece in pile if piece.id not in spare)
        try:
            read_anatomy(used, records)
        except PileError:
            return None
        solution = arrange(used, records, options, stops=(Steps(by.steps),))
        best = solution if best is None else min(best, solution, key=lambda each: each.mse)
        if solution.outcome in (Outcome.EXACT, Outcome.INTERRUPTED, Outcome.BUDGET_SPENT):
            break
        contest = _Comparison(pile, some, solution.activation, versions, solution.layers)
        names = contest.winner(options.clock).names
        if chosen == chosen.intersection(names):
            break
        chosen = {name for name in names if name in spare | chosen}
    assert best is not None
    assert solution is not None
    contest = _Comparison(pile, known, best.activation, versions, best.layers)
    return _judged(contest, best.ended(solution.outcome), by)


def _versions(pile: Pile, copies: Iterable[tuple[int, int, float]]) -> list[Names]:
    """The names of all versions of each layer of which there are several."""
    group: dict[int, set[int]] = {}
    for first, second, _ in copies:
        merged = group.get(first, {first}) | group.get(second, {second})
        group.update(dict.fromkeys(merged, merged))
    groups = sorted({tuple(sorted(positions)) for positions in group.values()})
    return [tuple(pile[k].id for k in positions) for positions in groups]


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Layers in an order, of some of which there are other versions, compared on some rows."""

    pile: Pile
    known: Records
    activation: str
    versions: Sequence[Names]
    names: Names

    @cached_property
    def residuals(self) -> Floats:
        """What the network with these layers predicts too much, for each output of each row."""
        network = build_network(self.pile, self.names, find_activation(self.activation))
        found = network.predict(self.known.inputs).astype(np.float64)
        return (found - self.known.predictions).ravel()

    @cached_property
    def error(self) -> float:
        return mean_square(self.residuals)

    def rivals(self) -> Iterator[tuple[int, PieceId]]:
        """Each place of a layer that has other versions, with each of these."""
        for group in self.versions:
            (place,) = (self.names.index(name) for name in group if name in self.names)
            yield from ((place, name) for name in group if name != self.names[place])

    def replaced(self, place: int, rival: PieceId) -> "_Comparison":
        return replace(self, names=(*self.names[:place], rival, *self.names[place + 1 :]))

    def winner(self, clock: Clock) -> "_Comparison":
        """Each layer in the version that fits best beside the others.

        What versions change is small, so their effects on the predictions nearly add up: one
        regression tells those that belong together. Single ones are then judged exactly.
        """
        best, before = min(self, self._regressed(), key=lambda each: each.error), None
        while best is not before and not clock.out:
            before = best
            for rival in before.rivals():
                other = best.replaced(*rival)
                best = other if other.error < best.error else best
        return best

    def _regressed(self) -> "_Comparison":
        """The versions to which least squares gives most weight; those of a layer add up to 1."""
        rivals, best = [*self.rivals()], self
        effects = [self.replaced(*rival).residuals - self.residuals for rival in rivals]
        weights = np.linalg.lstsq(np.stack(effects, axis=1), -self.residuals, rcond=None)[0]
        share = dict.fromkeys(self.names, 1.0)
        for (place, rival), weight in zip(rivals, weights.tolist(), strict=True):
            share[self.names[place]] -= weight
            share[rival] = weight
        for place, rival in rivals:
            best = best.replaced(place, rival) if share[rival] > share[best.names[place]] else best
        return best


def _judged(contest: _Comparison, solution: Solution, by: VersionParameters) -> Solution:
    """The solution with the versions that have no place, and whether the record decides that."""
    leftovers, outcome, least = [], solution.outcome, contest.error
    equations = contest.known.predictions.size
    for place, rival in contest.rivals():
        reason = "stands in its place"
        if solution.outcome in SETTLED:
            error = contest.replaced(place, rival).error
            lead = log(error / least) if least else inf if error else 0.0
            decided = equations / 2 * lead > by.sure
            reason = "fits better" if decided else "the record does not tell from it"
            outcome = outcome if decided else Outcome.AMBIGUOUS
        leftovers.append(Leftover(rival, f"nearly piece {contest.names[place]}, which {reason}"))
    findings = Findings(tuple(leftovers), unexplained=solution.mse / contest.known.variance)
    return solution.ended(outcome, findings)


def _suspected(case: Case) -> bool:
    return not case.identical_copies and bool(case.near_copies)


NEAR_COPIES = Repair(
    "near copies",
    suspects=lambda case, solution: 0.97 * (_suspected(case) and leaving_out(case, solution)),
    run=_run,
    requires=needs_predictions,
    looks=lambda case, _: looks_once(_suspected(case), lambda: _run(case, None)),
    near=True,
)
