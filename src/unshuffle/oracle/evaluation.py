"""Every registered method on the same dropped oracles, scored the same way.

The registries `SIGNALS`, `MATCHINGS`, `SEEDS` and `STRATEGIES` say what is scored. Whoever adds to
one of them finds it in the table.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from inspect import signature
from itertools import groupby
from statistics import fmean, median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from unshuffle.blocks.activations import Activation
from unshuffle.blocks.assembly import last_layer, stack_blocks
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import UsageError
from unshuffle.files.schema import encode
from unshuffle.grouping import SIGNALS, pair
from unshuffle.grouping.matching import MATCHINGS
from unshuffle.grouping.signals import FUSED, signal_names
from unshuffle.oracle.dropping import drop
from unshuffle.oracle.recipe import Recipe
from unshuffle.ordering.seeds import SEEDS
from unshuffle.pieces.pile import Floats, PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import Outcome
from unshuffle.solution.options import STRATEGIES
from unshuffle.solution.solution import Solution
from unshuffle.solver import solve

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False)
class DroppedOracle:
    """A dropped oracle with its answer: ids of the pieces in the order in which they are applied.

    The seed is that with which it was trained and dropped. Signals and seeds are steps of a search,
    and know the activation. Strategies have to find it out.
    """

    name: str
    seed: int
    pile: Pile
    records: Records
    answer: tuple[PieceId, ...]
    activation: Activation

    @property
    def blocks(self) -> int:
        """Number of its blocks."""
        return len(self.answer) // 2

    @property
    def pairs(self) -> tuple[tuple[PieceId, PieceId], ...]:
        """Ids of the inp and out layer of each block, in the order in which the blocks run."""
        return tuple(zip(self.answer[:-1:2], self.answer[1::2], strict=True))


@dataclass(frozen=True, eq=False)
class WholeModule:
    """A module that strategies drop at a level, and the rows that its record has."""

    name: str
    seed: int
    module: "nn.Module"
    inputs: Floats
    blocks: int


Task = DroppedOracle | WholeModule


@dataclass(frozen=True)
class MethodResult:
    """What a method made of a case.

    `exact` says whether it found all that was asked of it: every pair, the order, or a network that
    reproduces the record to rounding. `pairs` counts its true pairs. A seed is given them and has
    None. `inversions` counts couples of blocks in the wrong order. It is None where pairs are wrong
    or are all that was asked for. The mean squared error over the record is None for a method that
    predicts nothing. `rows` is how many rows of the record it used.
    """

    exact: bool
    remark: str
    pairs: int | None = None
    inversions: int | None = None
    error: float | None = None
    rows: int = 0


@dataclass(frozen=True)
class Method:
    """A registered pairing, seed or strategy, and how to try it on cases of a type."""

    kind: str
    name: str
    attempt: Callable[[Any], MethodResult]
    serves: type = DroppedOracle


@dataclass(frozen=True)
class Score:
    """A line of the table: one method on one oracle of so many blocks, and its wall time.

    The rest is as in `MethodResult`. Where the method failed, the remark says why.
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


def make_case(recipe: Recipe, network: MlpNetwork, data: Records, rows: int) -> DroppedOracle:
    """Drop an oracle, with all its layers and predictions as they are.

    Network and data are as from `read_oracle`. The record has so many rows, or all of fewer. The
    recipe's seed also drops. Raises `UsageError` for a module.
    """
    if not isinstance(network, MlpNetwork):
        raise UsageError(
            f"recipe {recipe.name} is of a module, and this serves blocks x + out(a(inp(x))) "
            "alone; leave it out"
        )
    rng = np.random.default_rng(recipe.seed)
    dropped = drop(network, data, rng=rng, rows=min(rows, len(data)))
    answer = tuple(number for number in dropped.answer if number is not None)  # none was lost
    pile, activation = dropped.pile(), network.blocks.activation
    return DroppedOracle(recipe.name, recipe.seed, pile, dropped.records, answer, activation)


def methods(time_limit: float | None) -> list[Method]:
    """Everything that is registered. The limit is of the seconds that a strategy may search."""
    pairings = [
        Method("pairing", f"{signal}, {matching}", partial(_pair, signal, matching))
        for signal in signal_names()
        for matching in MATCHINGS
    ]
    seeds = [Method("seed", seed, partial(_rank, seed)) for seed in SEEDS]
    strategies = [Method("strategy", one, partial(_solve, one, time_limit)) for one in STRATEGIES]
    of_modules = [
        Method("strategy", f"auto, {level}", partial(_solve_module, level, time_limit), WholeModule)
        for level in ("blocks", "layers")
    ]
    return pairings + seeds + strategies + of_modules


def serving(case: type, tried: Sequence[Method]) -> list[Method]:
    """Those of some methods that serve cases of a type."""
    return [method for method in tried if method.serves is case]


def evaluate(case: Task, tried: Sequence[Method]) -> Iterator[Score]:
    """Try the methods that serve a case; yields a score for each, failures included."""
    for method in serving(type(case), tried):
        started = perf_counter()
        try:
            found = method.attempt(case)
        except Exception as error:  # an idea that breaks is a result like any other
            found = MethodResult(False, f"failed: {type(error).__name__}: {error}")
        yield Score(
            recipe=case.name,
            seed=case.seed,
            blocks=case.blocks,
            kind=method.kind,
            method=method.name,
            seconds=perf_counter() - started,
            **vars(found),
        )


def _pair(signal: str, matching: str, case: DroppedOracle) -> MethodResult:
    pairing = pair(
        case.pile, case.records, signal=signal, matching=matching, activation=case.activation
    )
    pairs = len(set(case.pairs).intersection(pairing.pairs))
    exact = pairs == len(case.pairs)
    remark = "all pairs" if exact else "wrong pairs"
    looks_at_record = signal == FUSED or SIGNALS[signal].needs_record
    return MethodResult(exact, remark, pairs=pairs, rows=looks_at_record * len(case.records))


def _rank(seed: str, case: DroppedOracle) -> MethodResult:
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
    return MethodResult(inversions == 0, remark, inversions=inversions, error=error, rows=rows)


def _solve(strategy: str, time_limit: float | None, case: DroppedOracle) -> MethodResult:
    solution = solve(case.pile, case.records, strategy=strategy, time_limit=time_limit)
    if solution.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt  # which `solve` has turned into a result
    return result_of(solution, case.pairs)


def _solve_module(level: str, time_limit: float | None, case: WholeModule) -> MethodResult:
    from unshuffle.blocks.module_blueprint import blueprint
    from unshuffle.oracle.module_dropping import drop_module, emptied

    rng = np.random.default_rng(case.seed)
    (reads,) = signature(case.module.forward).parameters
    dropped = drop_module(case.module, {reads: case.inputs}, level=level, rng=rng)
    given = blueprint(emptied(case.module, rng))
    solution = solve(dropped.pile(), dropped.records, blueprint=given, time_limit=time_limit)
    if solution.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt  # which `solve` has turned into a result
    return result_of(solution, dropped.answer)


def result_of(solution: Solution, blocks: Sequence[tuple[PieceId, ...]]) -> MethodResult:
    """What a solution comes to, by the true blocks in the order in which they run."""
    places = {ids: place for place, ids in enumerate(blocks)}
    ran = [places[ids] for ids in solution.blocks if ids in places]
    inversions = count_inversions(ran) if len(ran) == len(places) else None
    remark, rows = str(solution.outcome), solution.trace.rows
    return MethodResult(solution.exact, remark, len(ran), inversions, solution.mse, rows)


def count_inversions(places: Sequence[int]) -> int:
    """Number of couples in the wrong order."""
    values = np.asarray(places)
    return int(np.triu(values[:, None] > values, 1).sum())


@dataclass(frozen=True)
class Summary:
    """One method on all seeds of a recipe: recovered pairs, couples in the wrong order.

    A mean or median is None where every `Score` has None. `exact` counts the seeds on which
    everything was found. The remarks are the distinct ends, the most frequent first, then in the
    sequence of the seeds.
    """

    recipe: str
    blocks: int
    kind: str
    method: str
    seeds: int
    pairs_mean: float | None
    pairs_least: int | None
    pairs_most: int | None
    inversions_mean: float | None
    inversions_least: int | None
    inversions_most: int | None
    exact: int
    error_median: float | None
    error_least: float | None
    error_most: float | None
    rows: int
    seconds_mean: float
    remarks: tuple[str, ...]


def summarise(scores: Sequence[Score]) -> list[Summary]:
    """Gather the scores of each recipe and method, in the sequence of their first appearance."""

    def place(score: Score) -> tuple[str, str, str]:
        return score.recipe, score.kind, score.method

    first = {place(score): at for at, score in reversed(list(enumerate(scores)))}
    ordered = sorted(scores, key=lambda score: first[place(score)])
    return [_summary(list(group)) for _, group in groupby(ordered, key=place)]


def _summary(scores: Sequence[Score]) -> Summary:
    """The summary of scores of one recipe and method."""

    def spread(name: str, middle: str, of: Callable[[list[Any]], float]) -> dict[str, Any]:
        values = [value for s in scores if (value := getattr(s, name)) is not None]
        return {
            f"{name}_{middle}": of(values) if values else None,
            f"{name}_least": min(values, default=None),
            f"{name}_most": max(values, default=None),
        }

    first, remarks = scores[0], [score.remark for score in scores]
    return Summary(
        **{name: getattr(first, name) for name in ("recipe", "blocks", "kind", "method")},
        seeds=len(scores),
        **spread("pairs", "mean", fmean),
        **spread("inversions", "mean", fmean),
        exact=sum(score.exact for score in scores),
        **spread("error", "median", median),
        rows=max(score.rows for score in scores),
        seconds_mean=fmean(score.seconds for score in scores),
        remarks=tuple(sorted(dict.fromkeys(remarks), key=remarks.count, reverse=True)),
    )


def scores_csv(scores: Iterable[Score]) -> str:
    """The scores as CSV with a header. An empty cell stands for None."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Score)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(score) for score in scores)
    return text.getvalue()


def scores_json(scores: Sequence[Score], conditions: dict[str, Any]) -> dict[str, Any]:
    """Conditions, summaries and scores, ready for JSON. An infinite error becomes None."""
    return {
        "conditions": conditions,
        "summaries": [encode(summary) for summary in summarise(scores)],
        "scores": [encode(score) for score in scores],
    }
