"""Population: a distribution over arrangements, drawn in towards the best of its samples.

Far from the answer the error is a rugged function of the arrangement, and descent ends in the
next hollow. Averaged over many arrangements it still falls towards the answer. The cross-entropy
method (Rubinstein 1999; de Boer, Kroese, Mannor & Rubinstein 2005) goes by that average: sample
arrangements, take the best tenth, fit the distribution to them, and repeat. An arrangement is the
sorting of the inp layers by places with Gaussian noise on them (a Thurstone model, 1927), with the
assignment of out layers that is best for log-probabilities with Gumbel noise on them
(perturb-and-MAP, Papandreou & Yuille 2011). The best count more than the others by the log-ranks
of evolution strategies (Hansen & Ostermeier 2001).

Each generation is judged on a few rows that it alone draws: what fits some rows by accident does
not fit the next ones, so the distribution does not overfit, however few they are.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.descent import Objective, descend
from unshuffle.ordering.journal import Errors, Numbers
from unshuffle.ordering.judge import Judge, Order, Run, Search
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.trace import Step

PREDICTIONS = 32
"""Predictions (rows times outputs) that a generation is judged on."""

SAMPLES = 40
"""Arrangements in a generation, for each block,"""
SAMPLES_OF_ORDERS = 12
"""and where there are hardly any doubts about the pairs."""

ELITE = 0.1
"""Share of a generation that the next distribution is fitted to."""

LEARNING = 0.25
"""Part of the new frequencies in the probabilities of pairs,"""
NARROWING = 0.5
"""and of the new spreads in the spreads of places."""

WIDE = 0.25
"""Spread of places to begin with, as a part of the number of blocks."""
NARROW = 0.3
"""The spread, in places, that always stays,"""
SETTLED = 0.5
"""and the mean spread at which the order is as good as decided."""

RARE = 1e-3
"""Probability that always stays for all other partners of a layer together."""

DOUBT = 0.1
"""Mean entropy of a layer's partners, in nats, below which there are hardly any doubts."""

WARM_UP = 10
"""Generations before the first descent from the centre of the distribution,"""
PAUSE = 5
"""and from one descent to the next."""

GENERATIONS = 40
"""Generations after which it is better to begin anew."""

AT_ONCE = 16384
"""Rows, over all arrangements of a batch, that pass through a block together."""

IMPOSSIBLE = -1e9


@dataclass(frozen=True, eq=False)
class Distribution:
    """A distribution over the arrangements of K inp and K out layers.

    Parameters
    ----------
    places, spreads
        Shape (K,): mean and standard deviation of the place of each inp layer.
    pairs
        Shape (K, K): for each inp layer, the probability of each out layer; 0 for what cannot be.
    """

    places: NDArray[np.float64]
    spreads: NDArray[np.float64]
    pairs: NDArray[np.float64]

    @property
    def doubt(self) -> float:
        """Mean entropy of an inp layer's partners, in nats."""
        logs = np.log(self.pairs, where=self.pairs > 0, out=np.zeros_like(self.pairs))
        return float(-(self.pairs * logs).sum(axis=1).mean())

    @property
    def centre(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The likeliest arrangement: inp layers in the order in which they run, their partners."""
        inp = np.argsort(self.places, kind="stable")
        return inp, _matched(self._logs)[inp]

    @property
    def _logs(self) -> NDArray[np.float64]:
        possible = self.pairs > 0
        return np.log(self.pairs, where=possible, out=np.full_like(self.pairs, IMPOSSIBLE))

    def sample(
        self, count: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Draw arrangements.

        Returns
        -------
        tuple
            Two arrays of shape (count, K): inp layers in the order in which they run, and the
            out layer of each.
        """
        length = len(self.places)
        noisy = self.places + self.spreads * rng.standard_normal((count, length))
        inp = np.argsort(noisy, axis=1, kind="stable")
        logs = self._logs
        noise = rng.gumbel(size=(count, length, length))
        partners = np.stack([_matched(logs + each) for each in noise])
        return inp, np.take_along_axis(partners, inp, axis=1)

    def fitted(self, inp: NDArray[np.intp], out: NDArray[np.intp]) -> "Distribution":
        """The distribution drawn in towards samples, of shape (n, K) each, the best first."""
        count = len(inp)
        weights = np.log(count + 0.5) - np.log(np.arange(1, count + 1))
        weights /= weights.sum()
        ranks = np.argsort(inp, axis=1)
        places = weights @ ranks
        spreads = np.sqrt(weights @ np.square(ranks - places))
        frequencies = np.zeros_like(self.pairs)
        np.add.at(frequencies, (inp, out), np.broadcast_to(weights[:, None], inp.shape))
        possible = self.pairs > 0
        pairs = (1 - LEARNING) * self.pairs + LEARNING * frequencies
        pairs = np.where(possible, np.maximum(pairs, RARE / len(pairs)), 0.0)
        return Distribution(
            places,
            (1 - NARROWING) * self.spreads + NARROWING * np.maximum(spreads, NARROW),
            pairs / pairs.sum(axis=1, keepdims=True),
        )


def population(
    problem: Problem,
    judge: Judge,
    seeds: Sequence[Order],
    rng: np.random.Generator,
    *,
    done: Callable[[Run], bool],
    near: Callable[[Run], bool],
) -> Search:
    """Draw a distribution in, and descend from its centre every few generations.

    Parameters
    ----------
    problem
        What is to be ordered; generations are judged on rows drawn from all that it knows.
    judge
        Judges the descents.
    seeds
        Orders of all blocks with the same pairs. The first generation lies around all of them: so
        far from the answer their own errors say little.
    rng
        Draws arrangements and rows.
    done
        Whether a run is as good as any can be.
    near
        Whether a run is so good that no more generations are needed.
    """
    outs = problem.log_odds.shape[1]
    inp, out = np.divmod(np.array(seeds[0], np.intp), outs)
    odds = problem.log_odds[np.ix_(inp, out)]
    number = {int(block): k for k, block in enumerate(seeds[0])}
    places = [np.argsort([number[block] for block in seed]) for seed in seeds]
    distributions = [around(odds, each, settled=problem.turns) for each in places]
    doubting = Objective(problem.log_odds).trusted(0.0)
    best = judge.run(seeds[0])
    for generation in range(1, GENERATIONS + 1):
        per_block = SAMPLES if distributions[0].doubt > DOUBT else SAMPLES_OF_ORDERS
        count = -(-per_block * len(inp) // len(distributions))
        samples = [each.sample(count, rng) for each in distributions]
        i, j = (np.concatenate(each) for each in zip(*samples, strict=True))
        errors = yield from _judged(problem, judge, inp[i] * outs + out[j], best, rng)
        elite = np.argsort(errors, kind="stable")[: max(8, int(ELITE * len(errors)))]
        distribution = distributions[0].fitted(i[elite], j[elite])
        distributions = [distribution]
        settled = float(distribution.spreads.mean()) < SETTLED
        if not settled and (generation < WARM_UP or generation % PAUSE):
            continue
        i, j = distribution.centre
        run = judge.run((inp[i] * outs + out[j]).tolist())
        run = yield from descend(judge, run, doubting, done=done, turns=problem.turns)
        best = min(best, run, key=lambda each: each.error)
        if settled or near(best) or done(best):
            break
    return best


def around(
    log_odds: NDArray[np.float64], places: NDArray[np.intp], *, settled: bool
) -> Distribution:
    """A wide distribution around an order of blocks.

    Parameters
    ----------
    log_odds
        Shape (K, K): of the inp and out layers of K blocks; −∞ for what cannot be.
    places
        Shape (K,): of these blocks in the order.
    settled
        Whether the blocks' own pairs are the only ones.
    """
    length = len(log_odds)
    if settled:
        pairs = np.eye(length)
    else:
        pairs = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
        pairs /= pairs.sum(axis=1, keepdims=True)
        pairs = np.where(np.isfinite(log_odds), np.maximum(pairs, RARE / length), 0.0)
    return Distribution(places.astype(np.float64), np.full(length, WIDE * length), pairs)


def _judged(
    problem: Problem,
    judge: Judge,
    orders: NDArray[np.intp],
    best: Run,
    rng: np.random.Generator,
) -> Generator[Step, None, Errors]:
    """Judge arrangements on rows of their own."""
    known = problem.known
    count = min(-(-PREDICTIONS // known.outputs), len(known))
    rows = known.take(np.sort(rng.choice(len(known), size=count, replace=False)))

    def work() -> Errors:
        few = Judge(problem.layers, problem.last, rows)
        return few.errors(few.run(()), orders, at_once=AT_ONCE)

    def unpack(_: Numbers, errors: Errors) -> Errors:
        if len(errors) != len(orders):
            raise ValueError("it judges another number of orders")
        return errors

    errors = judge.journal.result(work, lambda errors: ((), errors), unpack)
    yield Step("population", errors, False, best.order, best.error, len(judge.inputs))
    return errors


def _matched(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """The out layer of each inp layer in the matching with the largest sum of scores."""
    return optimal_matching(scores)[:, 1]
