"""Mean-field search: a soft arrangement that regressions on all moves at once make sharp.

Each block has a mean place, and each slot a probability for each piece. Two antithetic orders
around the places are run with mixed pieces. One regression of their residual uses the effects of
all exchanges of blocks, and of all pieces in all slots. It tells how likely each is. The spread of
the places falls from step to step.

Extrinsic messages update the pieces, as in turbo decoding (Berrou, Glavieux & Thitimajshima 1993).
They are what the regression says without its prior. Places are Borda's scores (1781) of the
pairwise probabilities.

Where shapes do not tell the roles, each piece reads for a block of its own. Whether another one
writes for it is one probability for each two pieces. All that a piece reads or writes for add up to
one block.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network, mean_square
from unshuffle.blocks.normal import normal_cdf, robust_spread
from unshuffle.files.schema import OrInfinite
from unshuffle.grouping.matching import normalised
from unshuffle.ordering.brackets import borda, bracket_effects, pairs, sides
from unshuffle.ordering.judge import Doubles, Judge
from unshuffle.ordering.population import IMPOSSIBLE, Distribution, slot_odds
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.regression import Regression, RidgeParameters, fit
from unshuffle.pieces.pile import ROUNDING, Floats


@dataclass(frozen=True)
class MeanFieldParameters:
    """Numbers that steer a mean-field search.

    Parameters
    ----------
    equations, each
        Predictions (rows times outputs) of a step at least, and for each piece in a slot. Each step
        draws new ones.
    wide, narrow
        First spread of the places, as a part of the number of blocks; last one, in places.
    narrowing
        Factor on the spread from step to step.
    cycle, tempering
        Steps after which the spread is wide again. Probabilities of pieces are then raised to this
        power, so that wrong ones are doubted.
    problems
        Problems that are searched far from the answer before anything long.
    searches
        Searches of one problem in a stage, before its populations.
    steps
        Steps of one search.
    hopeless
        Error of a step's networks, in variances, above which the search is given up.
    trust
        Factor on the spreads that the pairwise probabilities give the coefficients.
    least
        Variance of a coefficient of two blocks that always stays.
    rare
        Variance of a piece in a slot that always stays, times the number of blocks.
    impossible
        Probability of a piece in a slot, times the number of blocks, up to which it is left out of
        the regression. Columns cost most of a step, and unlikely pieces gain little.
    learning
        Part of the new probabilities of pieces.
    normalisations
        Normalisations of rows, each followed by one of columns.
    ridge
        What steers the regression.
    """

    equations: int = 1024
    each: float = 2.5
    wide: float = 1 / 3
    narrow: float = 0.5
    narrowing: float = 0.8
    cycle: int = 12
    tempering: float = 0.5
    problems: int = 2
    searches: int = 1
    steps: int = 48
    hopeless: float = 8.0
    trust: float = 0.8
    least: float = 0.004
    rare: float = 0.02
    impossible: float = 0.2
    learning: float = 0.7
    normalisations: int = 20
    ridge: RidgeParameters = field(default_factory=RidgeParameters)


@dataclass(frozen=True, eq=False)
class MeanField:
    """A mean-field search between two steps. All blocks have the same spread."""

    belief: Distribution
    steps: int = 0  # how many there have been
    error: OrInfinite = np.inf  # mean squared error of the last step's two mixed networks

    @classmethod
    def around(cls, belief: Distribution, problem: Problem, by: MeanFieldParameters) -> "MeanField":
        """The beginning, around the places of a distribution, with a wide spread."""
        spreads = np.full(len(belief.places), by.wide * len(belief.places))
        partners = tuple(
            _balanced(belief, each, odds, by)
            for each, odds in zip(belief.partners, _odds(belief, problem), strict=True)
        )
        return cls(replace(belief, spreads=spreads, partners=partners))

    def advance(
        self, problem: Problem, rng: np.random.Generator, by: MeanFieldParameters
    ) -> "MeanField":
        """Take one step, on rows that are drawn for it."""
        belief = self.belief
        chances = np.concatenate([np.empty(0), *(lot.chances for lot in _lots(belief, by))])
        # The more pieces are in doubt, the more predictions a step needs.
        equations = max(by.equations, round(by.each * len(chances)))
        judge = problem.judge(problem.drawn(equations, rng))
        noise = belief.spreads * rng.standard_normal(len(belief.places))
        looks = [_Look.at(problem, judge, belief, each, by) for each in (noise, -noise)]
        before = (looks[0].sides + looks[1].sides) / 2
        mean = _expected_sides(belief)
        residual, orders, slots = (
            (one + other) / 2 for one, other in zip(looks[0].parts, looks[1].parts, strict=True)
        )
        residual = residual + orders @ (mean - before).astype(orders.dtype)
        widths = by.trust * np.sqrt(np.maximum(0.25 - np.square(mean), by.least))
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
        if (self.steps + 1) % by.cycle == 0:
            belief = _reheated(belief, by)
        return MeanField(belief, self.steps + 1, (looks[0].error + looks[1].error) / 2)


def _reheated(belief: Distribution, by: MeanFieldParameters) -> Distribution:
    """The belief with wide spreads again, and pieces less sure."""
    length = len(belief.places)
    doubted = (by.tempering * np.log(np.maximum(each, ROUNDING)) for each in belief.partners)
    each = zip(belief.partners, doubted, strict=True)
    partners = tuple(_balanced(belief, chances, logs, by) for chances, logs in each)
    return replace(belief, spreads=np.full(length, by.wide * length), partners=partners)


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
        lots = [*_lots(belief, by)]
        count = sum(len(lot.chances) for lot in lots)
        orders = np.empty((*residual.shape, len(order) * (len(order) - 1) // 2), residual.dtype)
        slots = np.empty((*residual.shape, count), residual.dtype)

        def work(part: slice) -> None:
            states = network.states(judge.records.inputs[part])
            adjoints = network.adjoints(states)
            residual[:, part] = (problem.ends.leave(states[-1]) - judge.predictions[part]).T
            orders[:, part] = bracket_effects(states, adjoints, places)
            done = 0
            for lot in lots:
                for block in np.flatnonzero(lot.matters.any(axis=1)):
                    t, pieces = places[block], lot.pieces[lot.matters[block]]
                    lent = np.repeat(centre[t, None], len(pieces), axis=0)
                    lent[:, lot.role] = pieces
                    others = problem.bank.take(lent)
                    steps = network.blocks.replaced(t, lot.role, others, states[t], adjoints[t + 1])
                    slots[:, part, done : done + len(pieces)] = steps.transpose(2, 0, 1)
                    done += len(pieces)

        judge.by_rows(work)
        flat = residual.reshape(-1)
        parts = flat, orders.reshape(flat.size, -1), slots.reshape(flat.size, -1)
        return cls(parts, sides(places), mean_square(flat))


@dataclass(frozen=True, eq=False)
class _Lot:
    """All pieces that lay in one role of a set, in the slots of all blocks of one of its roles."""

    number: int  # of the set
    role: int
    pieces: NDArray[np.intp]  # shape (K,)
    part: tuple[slice, slice]  # where they stand in the probabilities of the set
    chances: Doubles  # of those that matter
    matters: NDArray[np.bool_]  # shape (K, K): by block and piece, whether a regression looks at it


def _lots(belief: Distribution, by: MeanFieldParameters) -> Iterator[_Lot]:
    """What lies in which slots, set by set."""
    length = len(belief.places)
    at = [slice(first, first + length) for first in range(0, belief.pieces.size, length)]
    for number, (roles, partners) in enumerate(zip(belief.sets, belief.partners, strict=True)):
        for (r, role), (s, source) in product(enumerate(roles), repeat=2):
            chances = partners[at[r], at[s]]
            matters = chances > by.impossible / length
            pieces = belief.pieces[:, source]
            yield _Lot(number, role, pieces, (at[r], at[s]), chances[matters], matters)


def _expected_sides(belief: Distribution) -> Doubles:
    """The mean of `sides` under a distribution: of each two blocks, shape (pairs,)."""
    first, second = pairs(len(belief.places))
    apart = belief.places[second] - belief.places[first]
    apart /= np.sqrt(np.square(belief.spreads[first]) + np.square(belief.spreads[second]))
    return (normal_cdf(apart) - 0.5).astype(np.float64)


def extrinsic(
    resolution: Doubles, coefficients: Doubles, means: Doubles, spreads: Doubles
) -> tuple[Doubles, Doubles]:
    """What equations say of each unknown without its own prior: a mean and a variance.

    Unknowns have prior means and spreads. Coefficients are what a `Regression` adds to the means,
    in spreads. The variance is that of a fit whose noise is as large as its ridge.
    """
    told = np.clip(resolution, 1e-9, 1 - 1e-9)
    return means + spreads * coefficients / told, np.square(spreads) * (1 - told) / told


def _messages(found: Regression, chances: Doubles, doubts: Doubles, orders: int) -> Doubles:
    """Log-odds of each piece in its slot by the equations alone, without its prior."""
    seen, variance = extrinsic(
        found.resolution[orders:], found.coefficients[orders:], chances, doubts
    )
    if len(seen):  # most pieces are in other slots, so most of these are noise around nothing
        scores = seen / np.sqrt(variance)
        variance *= np.square(robust_spread(scores))
    messages: Doubles = (seen - 0.5) / np.maximum(variance, 1e-12)
    return messages


def _informed(
    belief: Distribution, problem: Problem, messages: Doubles, by: MeanFieldParameters
) -> tuple[Doubles, ...]:
    """Probabilities of pieces after messages about those that matter, set by set."""
    done, odds = 0, _odds(belief, problem)
    logs = [np.log(np.maximum(each, 1e-300)) for each in belief.partners]
    for lot in _lots(belief, by):  # what is left out of the regression stays
        told = messages[done : done + len(lot.chances)]
        done += len(told)
        logs[lot.number][lot.part][lot.matters] = told + odds[lot.number][lot.part][lot.matters]
    return tuple(
        (1 - by.learning) * partners + by.learning * _balanced(belief, partners, each, by)
        for partners, each in zip(belief.partners, logs, strict=True)
    )


def _odds(belief: Distribution, problem: Problem) -> list[Doubles]:
    return [slot_odds(belief.pieces, roles, problem.evidence) for roles in belief.sets]


def _balanced(
    belief: Distribution, partners: Doubles, logs: Doubles, by: MeanFieldParameters
) -> Doubles:
    """The doubly stochastic matrix of logarithms, in which nothing is left of what cannot be.

    Of couples it is that of both ways to make a block of two pieces, shared out between the ways.
    So each piece is in one block, in one of the two roles.
    """
    possible = np.where(partners > 0, np.maximum(logs, IMPOSSIBLE), IMPOSSIBLE)
    either = np.logaddexp(possible, possible.T) if belief.coupled else possible
    balanced: Doubles = np.exp(normalised(either, by.normalisations)[-1])
    if belief.coupled:
        balanced = (balanced + balanced.T) / 2 * np.exp(possible - either)
    return balanced
