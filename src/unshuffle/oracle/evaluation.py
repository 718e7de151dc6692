"""Every registered method on the same dropped oracles, scored the same way.

What is scored is read from the registries: whoever adds a signal to `unshuffle.grouping.SIGNALS`, a
matching to `MATCHINGS`, a seed to `unshuffle.ordering.seeds.SEEDS` or a strategy to
`unshuffle.solution.arranging.STRATEGIES` finds it in the table.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np

from unshuffle.blocks.activations import Activation
from unshuffle.blocks.assembly import last_layer, stack_blocks
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.grouping import SIGNALS, pair
from unshuffle.grouping.matching import MATCHINGS
from unshuffle.grouping.pairs import FUSED
from unshuffle.oracle.dropping import drop
from unshuffle.oracle.recipe import Recipe
from unshuffle.ordering.seeds import SEEDS
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import Outcome
from unshuffle.solution.options import STRATEGIES
from unshuffle.solver import solve


@dataclass(frozen=True, eq=False)
class Case:
    """A dropped oracle with its answer.

    Parameters
    ----------
    name, seed
        What tables call the network, and the seed that it was trained and dropped with.
    pile, records
        What is known to those who solve it.
    answer
        Ids of the pieces in the order in which they are applied.
    activation
        Of the hidden layers; told to signals and seeds, which are one step of a search. Strategies
        have to find it out.
    """

    name: str
    seed: int
    pile: Pile
    records: Records
    answer: tuple[PieceId, ...]
    activation: Activation

    @property
    def pairs(self) -> tuple[tuple[PieceId, PieceId], ...]:
        """Ids of the inp and out layer of each block, in the order in which the blocks run."""
        return tuple(zip(self.answer[:-1:2], self.answer[1::2], strict=True))


@dataclass(frozen=True)
class Finding:
    """What a method made of a case.

    Parameters
    ----------
    exact
        Whether it found all that was asked of it: every pair, the order, or a network that
        reproduces the record to rounding.
    remark
        How it ended.
    pairs
        How many of the true pairs it has; None for a seed, which is given them.
    inversions
        How many couples of blocks stand in the wrong order; None where pairs are wrong or are all
        that was asked for.
    error
        Mean squared error over the record; None for a method that predicts nothing.
    rows
        Rows of the record that it used.
    """

    exact: bool
    remark: str
    pairs: int | None = None
    inversions: int | None = None
    error: float | None = None
    rows: int = 0


@dataclass(frozen=True)
class Method:
    """Something that is registered, and how to try it.

    Parameters
    ----------
    kind
        "pairing", "seed" or "strategy".
    name
        Its name in the registry.
    attempt
        Tries it on a case.
    """

    kind: str
    name: str
    attempt: Callable[[Case], Finding]


@dataclass(frozen=True)
class Score:
    """A line of the table: one method on one case.

    Parameters
    ----------
    recipe, seed, blocks
        The oracle, and how many blocks (and pairs) it has.
    kind, method
        What was tried.
    pairs, inversions, exact, error, rows, remark
        As in `Finding`; where the method failed, the remark says why.
    seconds
        Wall time.
    """

    recipe: str
    seed: int
    blocks: int
    kind: str
    method: str
    pairs: int | None
    inversions: int | None
    exact: bool
    error: float | None
    rows: int
    seconds: float
    remark: str


def make_case(recipe: Recipe, network: MlpNetwork, data: Records, rows: int) -> Case:
    """Drop an oracle, with all its layers and predictions as they are.

    Parameters
    ----------
    recipe
        Its seed also drops.
    network, data
        As from `unshuffle.oracle.storage.read_oracle`.
    rows
        Rows of the record; all, if there are fewer.
    """
    rng = np.random.default_rng(recipe.seed)
    dropped = drop(network, data, rng=rng, rows=min(rows, len(data)))
    answer = tuple(number for number in dropped.answer if number is not None)  # none was lost
    pile, activation = dropped.pile(), network.blocks.activation
    return Case(recipe.name, recipe.seed, pile, dropped.records, answer, activation)


def methods(time_limit: float | None) -> list[Method]:
    """Everything that is registered.

    Parameters
    ----------
    time_limit
        Seconds that a strategy may search.
    """
    pairings = [
        Method("pairing", f"{signal}, {matching}", partial(_pair, signal, matching))
        for signal in (FUSED, *SIGNALS)
        for matching in MATCHINGS
    ]
    strategies = [
        Method("strategy", strategy, partial(_solve, strategy, time_limit))
        for strategy in STRATEGIES
    ]
    seeds = [Method("seed", seed, partial(_rank, seed)) for seed in SEEDS]
    return pairings + seeds + strategies


def evaluate(case: Case, tried: Sequence[Method]) -> Iterator[Score]:
    """Try methods on a case; yields a score for each, failures included."""
    for method in tried:
        started = perf_counter()
        try:
            found = method.attempt(case)
        except Exception as error:  # an idea that breaks is a result like any other
            found = Finding(False, f"failed: {type(error).__name__}: {error}")
        yield Score(
            recipe=case.name,
            seed=case.seed,
            blocks=len(case.answer) // 2,
            kind=method.kind,
            method=method.name,
            pairs=found.pairs,
            inversions=found.inversions,
            exact=found.exact,
            error=found.error,
            rows=found.rows,
            seconds=perf_counter() - started,
            remark=found.remark,
        )


def _pair(signal: str, matching: str, case: Case) -> Finding:
    pairing = pair(
        case.pile, case.records, signal=signal, matching=matching, activation=case.activation
    )
    pairs = len(set(case.pairs).intersection(pairing.pairs))
    exact = pairs == len(case.pairs)
    remark = "all pairs" if exact else "wrong pairs"
    looks_at_record = signal == FUSED or SIGNALS[signal].needs_record
    return Finding(exact, remark, pairs=pairs, rows=looks_at_record * len(case.records))


def _rank(seed: str, case: Case) -> Finding:
    """Rank the true blocks, and let the record choose the direction, as a search does."""
    # In the pile's own sequence, which knows nothing of the order.
    pairs = sorted(case.pairs, key=lambda ids: case.pile.index[ids[0]])
    blocks = stack_blocks(case.pile, pairs, case.activation)
    last = last_layer(case.pile, case.answer[-1])
    ranking = SEEDS[seed].rank(MlpNetwork(blocks, last), case.records.inputs).tolist()
    found = []
    for order in (ranking, ranking[::-1]):
        network = MlpNetwork(blocks.take(order), last)
        error = network.error(case.records.inputs, case.records.predictions)
        found.append((error, count_inversions([case.pairs.index(pairs[block]) for block in order])))
    error, inversions = min(found)
    rows = len(case.records)
    remark = "in order" if inversions == 0 else "out of order"
    return Finding(inversions == 0, remark, inversions=inversions, error=error, rows=rows)


def _solve(strategy: str, time_limit: float | None, case: Case) -> Finding:
    solution = solve(case.pile, case.records, strategy=strategy, time_limit=time_limit)
    if solution.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt  # which `solve` has turned into a result
    places = {pair: place for place, pair in enumerate(case.pairs)}
    ran = [places[inp, out] for inp, out in solution.blocks if (inp, out) in places]
    inversions = count_inversions(ran) if len(ran) == len(places) else None
    return Finding(
        solution.exact,
        str(solution.outcome),
        pairs=len(ran),
        inversions=inversions,
        error=solution.mse,
        rows=solution.trace.rows,
    )


def count_inversions(places: Sequence[int]) -> int:
    """Number of couples in the wrong order."""
    values = np.asarray(places)
    return int(np.triu(values[:, None] > values, 1).sum())
