"""Mean-field search: a soft arrangement that regressions on all moves at once make sharp.

Each block has a mean place, and each slot a probability for each piece. Two antithetic orders are
drawn around the places and run with mixed pieces. One regression of their residual on the effects
of all exchanges of two blocks, and of all pieces in all slots, says how likely each is. The spread
of the places falls from step to step.

Pieces are updated by extrinsic messages, as in turbo decoding (Berrou, Glavieux & Thitimajshima
1993): what the regression says without its prior. Places are Borda's scores (1781) of the pairwise
probabilities.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network, mean_square
from unshuffle.files.schema import OrInfinite
from unshuffle.ordering.brackets import borda, bracket_effects, pairs, sides
from unshuffle.ordering.judge import Doubles, Judge
from unshuffle.ordering.population import IMPOSSIBLE, Distribution, slot_odds
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.regression import Fit, RidgeParameters, fit
from unshuffle.pieces.pile import Floats

# Standard deviation of a Gaussian, in median absolute deviations.
SPREAD = 1.4826


@dataclass(frozen=True)
class MeanFieldParameters:
    """Numbers that steer a mean-field search.

    Parameters
    ----------
    equations
        Predictions (rows times outputs) of a step, drawn anew for each.
    wide, narrow
        First spread of the places as a part of the number of blocks, and the last, in places.
    narrowing
        Factor on the spread from step to step.
    searches
        Searches of one problem in a stage, before its populations.
    steps
        Steps of one search.
    hopeless
        Error of a step's networks, as a part of the variance, above which no search gets anywhere.
    trust
        Factor on the spreads that the pairwise probabilities give the coefficients.
    least
        Variance of a coefficient of two blocks that always stays.
    rare
        Variance of a piece in a slot that always stays, times the number of blocks.
    impossible
        Probability of a piece in a slot up to which it is left out of the regression.
    learning
        Part of the new probabilities of pieces.
    normalisations
        Normalisations of rows, each followed by one of columns.
    ridge
        What steers the regression.
    """

    equations: int = 1024
    wide: float = 1 / 3
    narrow: float = 0.5
    narrowing: float = 0.9
    searches: int = 1
    steps: int = 25
    hopeless: float = 4.0
    trust: float = 0.8
    least: float = 0.004
    rare: float = 0.02
    impossible: float = 1e-3
    learning: float = 0.7
    normalisations: int = 20
    ridge: RidgeParameters = field(default_factory=RidgeParameters)


@dataclass(frozen=True, eq=False)
class MeanField:
    """A mean-field search between two steps; all blocks have the same spread."""

    belief: Distribution
    steps: int = 0  # how many there have been
    error: OrInfinite = np.inf  # mean squared error of the last step's two mixed networks

    @classmethod
    def around(cls, belief: Distribution, problem: Problem, by: MeanFieldParameters) -> "MeanField":
        """The beginning, around the places of a distribution, with a wide spread."""
        spreads = np.full(len(belief.places), by.wide * len(belief.places))
        partners = tuple(
            balanced(_impossible(each, odds), by.normalisations)
            for each, odds in zip(belief.partners, _odds(belief, problem), strict=True)
        )
        return cls(replace(belief, spreads=spreads, partners=partners))

    def advance(
        self, problem: Problem, rng: np.random.Generator, by: MeanFieldParameters
    ) -> "MeanField":
        """Take one step, on rows that are drawn for it."""
        known, belief = problem.known, self.belief
        rows = min(-(-by.equations // known.outputs), len(known))
        judge = problem.judge(known.take(np.sort(rng.choice(len(known), size=rows, replace=False))))
        noise = belief.spreads * rng.standard_normal(len(belief.places))
        looks = [_Look.at(problem, judge, belief, each, by) for each in (noise, -noise)]
        before = (looks[0].sides + looks[1].sides) / 2
        mean = _expected_sides(belief)
        residual, orders, slots = (
            (one + other) / 2 for one, other in zip(looks[0].parts, looks[1].parts, strict=True)
        )
        residual = residual + orders @ (mean - before).astype(orders.dtype)
        widths = by.trust * np.sqrt(np.maximum(0.25 - np.square(mean), by.least))
        chances = np.concatenate([np.empty(0), *(p[mask] for *_, p, mask in _slots(belief, by))])
        doubts = np.sqrt(np.maximum(chances * (1 - chances), by.rare / len(belief.places)))
        effects = np.concatenate([orders, slots], axis=1)
        effects *= np.concatenate([widths, doubts]).astype(effects.dtype)
        found = fit(effects, -residual, by.ridge)
        after = mean + widths * found.coefficients[: len(mean)]
        belief = replace(
            belief,
            places=borda(after, len(belief.places)),
            spreads=np.maximum(by.narrow, by.narrowing * belief.spreads),
            partners=_informed(belief, problem, _messages(found, chances, doubts, len(mean)), by),
        )
        return MeanField(belief, self.steps + 1, (looks[0].error + looks[1].error) / 2)


@dataclass(frozen=True, eq=False)
class _Look:
    """What a network of mixed pieces in one order shows."""

    # The residual, shape (equations,); effects of exchanges of blocks, shape (equations, pairs);
    # effects of whole pieces in slots, shape (equations, slots).
    parts: tuple[Floats, Floats, Floats]
    sides: Doubles  # of the order; see `sides`
    error: float

    @classmethod
    def at(
        cls,
        problem: Problem,
        judge: Judge,
        belief: Distribution,
        noise: Doubles,
        by: MeanFieldParameters,
    ) -> "_Look":
        order = np.argsort(belief.places + noise, kind="stable")
        places = np.argsort(order)
        centre = belief.likeliest(order)
        network = Network(problem.bank.mixed(centre, belief.mixtures(order)), problem.ends)
        residual = np.empty(judge.predictions.shape[::-1], judge.inputs.dtype)
        count = sum(int(mask.sum()) for *_, mask in _slots(belief, by))
        orders = np.empty((*residual.shape, len(order) * (len(order) - 1) // 2), residual.dtype)
        slots = np.empty((*residual.shape, count), residual.dtype)

        def work(part: slice) -> None:
            states = network.states(judge.records.inputs[part])
            adjoints = network.adjoints(states)
            residual[:, part] = (problem.ends.leave(states[-1]) - judge.predictions[part]).T
            orders[:, part] = bracket_effects(states, adjoints, places)
            done = 0
            for role, pieces, _, mask in _slots(belief, by):
                lent = centre.copy()
                lent[:, role] = pieces
                others = problem.bank.take(lent)
                for block in np.flatnonzero(mask.any(axis=1)):
                    t = places[block]
                    steps = network.blocks.replaced(t, role, others, states[t], adjoints[t + 1])
                    steps = steps[:, mask[block]].transpose(2, 0, 1)
                    slots[:, part, done : done + steps.shape[2]] = steps
                    done += steps.shape[2]

        judge.by_rows(work)
        flat = residual.reshape(-1)
        parts = flat, orders.reshape(flat.size, -1), slots.reshape(flat.size, -1)
        return cls(parts, sides(places), mean_square(flat))


def balanced(logs: Doubles, normalisations: int) -> Doubles:
    """The doubly stochastic matrix that Sinkhorn's iteration (1967) makes of logarithms."""
    for step in range(2 * normalisations):
        axis = 1 - step % 2
        highest = logs.max(axis=axis, keepdims=True)
        logs = logs - (highest + np.log(np.exp(logs - highest).sum(axis=axis, keepdims=True)))
    return np.exp(logs)


def _part(role: int, source: int, length: int) -> tuple[slice, slice]:
    """Where the pieces of a role stand, by number in its set, in the slots of another."""
    return slice(role * length, (role + 1) * length), slice(source * length, (source + 1) * length)


def _slots(
    belief: Distribution, by: MeanFieldParameters
) -> Iterator[tuple[int, NDArray[np.intp], Doubles, NDArray[np.bool_]]]:
    """Roles, pieces for them, the chance of each piece in each block, and whether it matters."""
    length = len(belief.places)
    for roles, partners in zip(belief.sets, belief.partners, strict=True):
        for r, role in enumerate(roles):
            for s, source in enumerate(roles):
                rows, columns = (
                    slice(r * length, (r + 1) * length),
                    slice(s * length, (s + 1) * length),
                )
                chances = partners[rows, columns]
                yield role, belief.pieces[:, source], chances, chances > by.impossible


def _expected_sides(belief: Distribution) -> Doubles:
    """The mean of `sides` under a distribution: of each two blocks, shape (pairs,)."""
    first, second = pairs(len(belief.places))
    apart = belief.places[second] - belief.places[first]
    apart /= np.sqrt(np.square(belief.spreads[first]) + np.square(belief.spreads[second]))
    return np.array([erf(each / sqrt(2)) / 2 for each in apart.tolist()])


def extrinsic(
    resolution: Doubles, coefficients: Doubles, means: Doubles, spreads: Doubles
) -> tuple[Doubles, Doubles]:
    """What equations say of each unknown without its own prior: a mean and a variance.

    Unknowns have prior means and spreads; coefficients are what a `Fit` adds to the means, in
    spreads. The variance is that of a fit whose noise is as large as its ridge.
    """
    told = np.clip(resolution, 1e-9, 1 - 1e-9)
    return means + spreads * coefficients / told, np.square(spreads) * (1 - told) / told


def _messages(found: Fit, chances: Doubles, doubts: Doubles, orders: int) -> Doubles:
    """Log-odds of each piece in its slot by the equations alone, without its prior."""
    seen, variance = extrinsic(
        found.resolution[orders:], found.coefficients[orders:], chances, doubts
    )
    if len(seen):  # most pieces are in other slots, so most of these are noise around nothing
        scores = seen / np.sqrt(variance)
        variance *= np.square(SPREAD * np.median(np.abs(scores - np.median(scores))))
    messages: Doubles = (seen - 0.5) / np.maximum(variance, 1e-12)
    return messages


def _informed(
    belief: Distribution, problem: Problem, messages: Doubles, by: MeanFieldParameters
) -> tuple[Doubles, ...]:
    """Probabilities of pieces after messages about those that matter, set by set."""
    length, done = len(belief.places), 0
    informed = []
    odds = _odds(belief, problem)
    slots = _slots(belief, by)
    for roles, partners, known in zip(belief.sets, belief.partners, odds, strict=True):
        logs = np.log(np.maximum(partners, 1e-300))  # what is left out of the regression stays
        for r in range(len(roles)):
            for s in range(len(roles)):
                *_, mask = next(slots)
                count = int(mask.sum())
                rows, columns = (
                    slice(r * length, (r + 1) * length),
                    slice(s * length, (s + 1) * length),
                )
                part = logs[rows, columns]
                part[mask] = messages[done : done + count] + known[rows, columns][mask]
                done += count
        new = balanced(_impossible(partners, logs), by.normalisations)
        informed.append((1 - by.learning) * partners + by.learning * new)
    return tuple(informed)


def _odds(belief: Distribution, problem: Problem) -> list[Doubles]:
    return [slot_odds(belief.pieces, roles, problem.evidence) for roles in belief.sets]


def _impossible(partners: Doubles, logs: Doubles) -> Doubles:
    """Logarithms with those of what cannot be so low that nothing is left of them."""
    return np.where(partners > 0, np.maximum(logs, IMPOSSIBLE), IMPOSSIBLE)
