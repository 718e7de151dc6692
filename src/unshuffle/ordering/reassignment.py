"""Reassignment: give many places other pieces in one role, all at once.

Swaps two at a time cannot mend a grouping of which a third is wrong. To first order the prediction
is linear in which piece stands in which place. One ridge regression of the residual on the effects
of all pieces in all places gives each a coefficient. It is near 1 for a piece that the place lacks.
The assignment with the largest sum of coefficients and log-odds (Kuhn 1955) is proposed. Several
ridges, and degrees of trust in the pieces that stand, are tried.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unshuffle.grouping.evidence import Evidence
from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.judge import Doubles, Indices, Judge
from unshuffle.ordering.linearization import Linearization, exchange_effects
from unshuffle.pieces.blueprint import Arrangement, key, places_with
from unshuffle.pieces.pile import Floats


@dataclass(frozen=True)
class ReassignmentParameters:
    """Numbers that steer reassignment.

    Parameters
    ----------
    ridges
        Ridges that are tried, relative to the mean squared norm of an effect.
    staying
        Coefficients of the pieces that stand: 1 if the regression were exact, less to move more.
    trust
        Factors on the log-odds.
    most_effects
        Places squared times equations up to which this is done.
    """

    ridges: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    staying: tuple[float, ...] = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
    trust: tuple[float, ...] = (0.0, 1.0)
    most_effects: int = 5_000_000


def reassignments(
    judge: Judge, at: Linearization, evidence: Evidence, by: ReassignmentParameters
) -> list[Arrangement]:
    """Different arrangements with other pieces in many places, in one role or unit each."""
    arrangement = at.run.arrangement
    length, roles = arrangement.shape
    if length < 2 or length**2 * len(at.residual) > by.most_effects:
        return []
    tied = [each for each in evidence.tied(roles) if len(places_with(arrangement, each)) > 1]
    places = [places_with(arrangement, each) for each in tied]
    odds = [
        evidence.crossed(arrangement, each, each)[np.ix_(here, here)]
        for each, here in zip(tied, places, strict=True)
    ]
    if all(np.isfinite(each).sum() <= length for each in odds):
        return []
    found: dict[bytes, Arrangement] = {}
    for each, here, log_odds in reversed([*zip(tied, places, odds, strict=True)]):
        effects = exchange_effects(judge, at, each, each)[np.ix_(here, here)]
        for sources in _assignments(effects, at.residual, log_odds, by):
            other = arrangement.copy()
            other[here[:, None], each] = arrangement[here[sources][:, None], each]
            found[key(other)] = other
    found.pop(key(arrangement), None)
    return list(found.values())


def _assignments(
    effects: Floats, residual: Floats, log_odds: Doubles, by: ReassignmentParameters
) -> Iterator[Indices]:
    """For each place, the place whose piece it gets: one proposal for each choice of trust."""
    length = len(effects)
    flat = effects.reshape(length**2, -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    wanted = (residual.mean() - residual).astype(np.float64)
    possible = np.isfinite(log_odds)
    odds = np.where(possible, log_odds, 0.0)
    if not wanted.any():
        return
    for (values,) in ridge_regressions([flat], wanted, by.ridges):
        coefficients = values.reshape(length, length)
        variance = float(np.var(coefficients))
        for staying in by.staying:
            estimates = coefficients + staying * np.eye(length)
            for trust in by.trust:
                scores = estimates / variance + trust * odds
                scores[~possible] = -1e12
                yield optimal_matching(scores)[:, 1]


def ridge_regressions(
    effects: Sequence[Floats], wanted: Doubles, ridges: Sequence[float]
) -> Iterator[list[Doubles]]:
    """Coefficients of all effects in one ridge regression, for each of several ridges.

    Arrays of shape (effects, equations) together explain what is wanted, shape (equations,). There
    are more effects than equations. So the regression is solved for the equations. Ridges are
    relative to the mean squared norm of an effect. Without any effect there is no result.
    """
    kernel = sum((each.T @ each).astype(np.float64) for each in effects)
    scale = np.trace(kernel) / sum(map(len, effects))
    for ridge in ridges if 0 < scale < np.inf else ():
        dual = np.linalg.solve(kernel + ridge * scale * np.eye(len(wanted)), wanted)
        yield [(each @ dual.astype(each.dtype)).astype(np.float64) for each in effects]
