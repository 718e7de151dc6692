"""Population: a distribution over arrangements, drawn in towards the best of its samples.

Far from the answer the error is a rugged function of the arrangement, and descent ends early. Its
mean over many arrangements still falls towards the answer. The cross-entropy method (Rubinstein
1999; de Boer, Kroese, Mannor & Rubinstein 2005) samples arrangements, fits the distribution to the
best tenth, and repeats. Places with Gaussian noise sort the blocks (Thurstone 1927). An assignment
of log-probabilities with Gumbel noise places the pieces of each further role (perturb-and-MAP,
Papandreou & Yuille 2011). The best count more by the log-ranks of evolution strategies (Hansen &
Ostermeier 2001).

Each generation is judged on a few rows of its own. What fits some rows by accident does not fit the
next ones. So the distribution does not overfit.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from unshuffle.grouping.evidence import Evidence
from unshuffle.grouping.matching import directed_couples, optimal_couples, optimal_matching
from unshuffle.ordering.judge import Doubles, Indices, JudgeParameters
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import Arrangement, Kind
from unshuffle.pieces.pile import TINY

# Stands for the logarithm of a probability of 0 in an assignment.
IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class PopulationParameters:
    """Numbers that steer populations.

    Parameters
    ----------
    populations
        Populations of one problem.
    head_start
        Generations of a population before that of the next problem begins.
    turn
        Steps in a turn of the first population; the n-th takes one n-th as many.
    predictions
        Predictions (rows times outputs) that a generation is judged on.
    samples, samples_of_orders
        Arrangements in a generation, for each block; the second where shared blocks are hardly in
        doubt.
    elite, least_elite
        Share, and least number, of arrangements that the next distribution is fitted to.
    learning
        Part of the new frequencies in the probabilities of partners.
    narrowing
        Part of the new spreads in the spreads of places.
    wide
        Spread of places to begin with, as a part of the number of blocks.
    narrow, settled
        The least spread, in places. The mean spread at which the order counts as decided.
    rare
        Probability that always stays for all other partners of a piece together.
    doubt
        Mean entropy of a piece's partners, in nats, below which there are hardly any doubts.
    warm_up, pause
        Generations before the first descent from the centre, and from one descent to the next.
    generations
        Generations after which it is better to begin anew.
    judge
        How its judge divides the work: samples share little, so more rows pass at once.
    """

    populations: int = 2
    head_start: int = 25
    turn: int = 16
    predictions: int = 32
    samples: int = 40
    samples_of_orders: int = 12
    elite: float = 0.1
    least_elite: int = 8
    learning: float = 0.25
    narrowing: float = 0.5
    wide: float = 0.25
    narrow: float = 0.3
    settled: float = 0.5
    rare: float = 1e-3
    doubt: float = 0.1
    warm_up: int = 10
    pause: int = 5
    generations: int = 40
    judge: JudgeParameters = field(default_factory=partial(JudgeParameters, at_once=16384))


@dataclass(frozen=True, eq=False)
class Distribution:
    """A distribution over the arrangements of K blocks."""

    pieces: Arrangement  # of the blocks that it began with
    anchor: int  # number of the role whose piece stands for its block
    sets: tuple[tuple[int, ...], ...]  # of other roles; their pieces can lie in all their slots
    places: Doubles  # mean place of each block, shape (K,)
    spreads: Doubles  # standard deviation of that, shape (K,)
    # For each set of n roles, shape (n K, n K): for each slot, role by role, the probability of
    # each piece of the set, role by role too; 0 for what cannot be.
    partners: tuple[Doubles, ...]

    @classmethod
    def of_couples(cls, blocks: Arrangement) -> "Distribution":
        """Over all ways to make blocks of two pieces of one class; places are those of blocks.

        Each piece has a block of its own, which it reads for as far as it is in that role at all.
        """
        pieces, count = blocks.ravel(), blocks.size
        places, spreads = np.arange(count, dtype=np.float64), np.zeros(count)
        return cls(
            np.column_stack([pieces, pieces]), 0, ((1,),), places, spreads, (1 - np.eye(count),)
        )

    @property
    def coupled(self) -> bool:
        """Whether each piece has a block of its own, and may be the other piece of others."""
        return len(self.sets) == 1 and np.array_equal(self.pieces[:, 0], self.pieces[:, -1])

    @property
    def placed(self) -> Arrangement:
        """An arrangement that has each piece once."""
        return self.pieces[:, 0].reshape(-1, 2) if self.coupled else self.pieces

    @property
    def doubt(self) -> float:
        """Mean entropy of the piece in a slot, in nats."""
        chances = np.concatenate([np.ones(1), *(each.ravel() for each in self.partners)])
        logs = np.log(chances, where=chances > 0, out=np.zeros_like(chances))
        return float(-(chances * logs).sum()) / max(sum(map(len, self.partners)), 1)

    @property
    def centre(self) -> Arrangement:
        """The likeliest arrangement."""
        if not self.coupled:
            return self.likeliest(np.argsort(self.places, kind="stable"))
        (chances,) = self.partners
        either = np.log(np.maximum(chances + chances.T, TINY))
        couples = directed_couples(optimal_couples, chances, either)
        order = np.argsort(self.places[couples[:, 0]], kind="stable")
        centre: Arrangement = self.pieces[couples[order], 0]
        return centre

    def likeliest(self, order: Indices) -> Arrangement:
        """The likeliest pieces, with the blocks in an order: shape (K,) of their numbers."""
        chosen = [optimal_matching(each)[None, :, 1] for each in self._logs]
        return self.arranged(self._by_role(order[None], chosen)[0])

    def mixtures(self, order: Indices) -> dict[int, tuple[Indices, Doubles]]:
        """By role: all pieces, and the share of each in the blocks of an order."""
        length = len(order)
        return {
            role: (self.pieces[:, list(roles)].T.ravel(), partners[number * length + order])
            for roles, partners in zip(self.sets, self.partners, strict=True)
            for number, role in enumerate(roles)
        }

    @property
    def _logs(self) -> list[Doubles]:
        return [
            np.log(each, where=each > 0, out=np.full_like(each, IMPOSSIBLE))
            for each in self.partners
        ]

    def sample(self, count: int, rng: np.random.Generator) -> Indices:
        """Draw arrangements, as indices of pieces: shape (count, K, roles)."""
        length = len(self.places)
        noisy = self.places + self.spreads * rng.standard_normal((count, length))
        order = np.argsort(noisy, axis=1, kind="stable")
        chosen = []
        for logs in self._logs:
            noise = rng.gumbel(size=(count, *logs.shape))
            chosen.append(np.stack([optimal_matching(logs + each)[:, 1] for each in noise]))
        return self._by_role(order, chosen)

    def _by_role(self, order: Indices, chosen: list[Indices]) -> Indices:
        """Indices of pieces by place and role: of blocks for the anchor, else among their set."""
        count, length = order.shape
        indices = np.empty((count, length, self.pieces.shape[1]), np.intp)
        indices[:, :, self.anchor] = order
        for roles, slots in zip(self.sets, chosen, strict=True):
            for role, partners in zip(roles, np.split(slots, len(roles), axis=1), strict=True):
                indices[:, :, role] = np.take_along_axis(partners, order, axis=1)
        return indices

    def arranged(self, indices: Indices) -> Indices:
        """Indices, shape (…, K, roles), as pieces."""
        made = np.empty_like(indices)
        for roles in ((self.anchor,), *self.sets):
            members = self.pieces[:, list(roles)].T.ravel()
            made[..., list(roles)] = members[indices[..., list(roles)]]
        return made

    def fitted(self, samples: Indices, by: PopulationParameters) -> "Distribution":
        """The distribution drawn in towards samples, shape (n, K, roles), the best first."""
        count = len(samples)
        weights = np.log(count + 0.5) - np.log(np.arange(1, count + 1))
        weights /= weights.sum()
        order = samples[:, :, self.anchor]
        ranks = np.argsort(order, axis=1)
        places = weights @ ranks
        spreads = np.sqrt(weights @ np.square(ranks - places))
        partners = []
        for roles, chances in zip(self.sets, self.partners, strict=True):
            frequencies = np.zeros_like(chances)
            for number, role in enumerate(roles):
                slots = number * len(places) + order, samples[:, :, role]
                np.add.at(frequencies, slots, np.broadcast_to(weights[:, None], order.shape))
            mixed = (1 - by.learning) * chances + by.learning * frequencies
            mixed = np.where(chances > 0, np.maximum(mixed, by.rare / len(chances)), 0.0)
            partners.append(mixed / mixed.sum(axis=1, keepdims=True))
        narrowed = (1 - by.narrowing) * self.spreads
        narrowed += by.narrowing * np.maximum(spreads, by.narrow)
        return replace(self, places=places, spreads=narrowed, partners=tuple(partners))

    def check(self, blocks: int, roles: int) -> None:
        """Raise `ValueError` where it is over other blocks."""
        others = [role for each in self.sets for role in each]
        whole = sorted([self.anchor, *others]) == [*range(roles)]
        blocks *= 1 + self.coupled
        sizes = [(len(each) * blocks,) * 2 for each in self.sets]
        shapes = self.pieces.shape, self.places.shape, self.spreads.shape
        whole &= shapes == ((blocks, roles), (blocks,), (blocks,))
        if not whole or [each.shape for each in self.partners] != sizes:
            raise ValueError("it has a distribution over other blocks")
        if not all((each >= 0).all() for each in self.partners):
            raise ValueError("it has a distribution that is none")


@dataclass(frozen=True, eq=False)
class Population:
    """A population between two generations."""

    distributions: tuple[Distribution, ...]  # the next generation is drawn from all in equal parts
    generation: int = 0  # how many there have been

    @classmethod
    def around(
        cls, seeds: list[Arrangement], evidence: Evidence, kind: Kind, by: PopulationParameters
    ) -> "Population":
        """A wide population around orders of the same blocks.

        Errors of seeds say little far from the answer. So the first generation lies around all of
        them. Pieces that could be a block by themselves stay in place.
        """
        pieces = seeds[0]
        length, roles = pieces.shape
        anchor = max(range(roles), key=lambda role: (kind.edges_of(role), -role))
        alike = next(each for each in kind.classes if anchor in each)
        beside = [(role,) for role in alike if role != anchor]
        sets = (*beside, *(each for each in kind.classes if anchor not in each))
        number = {block: k for k, block in enumerate(map(tuple, pieces.tolist()))}
        partners = tuple(
            np.eye(length) if each[0] in alike else _chances(pieces, each, evidence, by)
            for each in sets
        )
        spreads = np.full(length, by.wide * length)
        orders = ([number[block] for block in map(tuple, seed.tolist())] for seed in seeds)
        places = (np.argsort(order).astype(float) for order in orders)
        return cls(
            tuple(Distribution(pieces, anchor, sets, each, spreads, partners) for each in places)
        )

    def next_generation(
        self, problem: Problem, rng: np.random.Generator, by: PopulationParameters
    ) -> tuple["Population", Doubles]:
        """Draw a generation, judge it on rows of its own, and draw the distribution in.

        With the population after it comes the mean squared error of each sample.
        """
        first = self.distributions[0]
        per_block = by.samples if first.doubt > by.doubt else by.samples_of_orders
        count = -(-per_block * len(first.places) // len(self.distributions))
        samples = np.concatenate([each.sample(count, rng) for each in self.distributions])
        few = problem.judge(problem.drawn(by.predictions, rng), by.judge)
        none = few.run(first.pieces[:0])
        errors = few.errors(none, first.arranged(samples))
        elite = np.argsort(errors, kind="stable")[
            : max(by.least_elite, int(by.elite * len(errors)))
        ]
        fitted = first.fitted(samples[elite], by)
        return Population((fitted,), self.generation + 1), errors

    def check(self, blocks: int, roles: int) -> None:
        """Raise `ValueError` where a distribution is over other blocks."""
        for one in self.distributions:
            one.check(blocks, roles)
        if not self.distributions:
            raise ValueError("it has a population without a distribution")

    def settled(self, by: PopulationParameters) -> bool:
        """Whether the order is as good as decided."""
        return float(self.distributions[0].spreads.mean()) < by.settled

    def pauses(self, by: PopulationParameters) -> bool:
        """Whether it is time for a descent from the centre."""
        due = self.generation >= by.warm_up and self.generation % by.pause == 0
        return self.settled(by) or due


def _chances(
    pieces: Arrangement, roles: tuple[int, ...], evidence: Evidence, by: PopulationParameters
) -> Doubles:
    """Probabilities of all pieces of a set of roles in all of its slots."""
    log_odds = slot_odds(pieces, roles, evidence)
    chances = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return np.where(np.isfinite(log_odds), np.maximum(chances, by.rare / len(chances)), 0.0)


def slot_odds(pieces: Arrangement, roles: tuple[int, ...], evidence: Evidence) -> Doubles:
    """Log-odds of all pieces of a set of roles in all its slots, role by role."""
    members = pieces[:, list(roles)].T.ravel()
    blocks = np.repeat(pieces[:, None], len(members), axis=1)
    odds = []
    for role in roles:
        crossed = blocks.copy()
        crossed[:, :, role] = members
        odds.append(evidence.of(crossed))
    return np.concatenate(odds)
