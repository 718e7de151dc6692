"""From scores to a table: one line for each recipe and method, with the spread over seeds."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from math import isfinite
from statistics import fmean, median
from typing import Any

from unshuffle.oracle.evaluation import Score


@dataclass(frozen=True)
class Summary:
    """One method on all seeds of a recipe.

    Parameters
    ----------
    recipe, blocks, kind, method
        As in `Score`.
    seeds
        How many.
    pairs_mean, pairs_least, pairs_most
        Pairs recovered; None for a seed, and for a method that failed on every seed of the recipe.
    inversions_mean, inversions_least, inversions_most
        Couples of blocks in the wrong order; None where nothing was ordered.
    exact
        On how many seeds everything was found.
    error_median, error_least, error_most
        Mean squared errors; None for a method that predicts nothing, or failed on every seed.
    rows
        Rows of the record that it used.
    seconds_mean
        Wall time of a seed.
    remarks
        The distinct ends, the most frequent first, then in the sequence of the seeds.
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
    """Gather the scores of each recipe and method, in the sequence in which they first appear."""

    def place(score: Score) -> tuple[str, str, str]:
        return score.recipe, score.kind, score.method

    first = {place(score): at for at, score in reversed(list(enumerate(scores)))}
    ordered = sorted(scores, key=lambda score: first[place(score)])
    return [_summary(list(group)) for _, group in groupby(ordered, key=place)]


def _summary(scores: Sequence[Score]) -> Summary:
    pairs = [score.pairs for score in scores if score.pairs is not None]
    inversions = [score.inversions for score in scores if score.inversions is not None]
    errors = [score.error for score in scores if score.error is not None]
    remarks = [score.remark for score in scores]
    return Summary(
        recipe=scores[0].recipe,
        blocks=scores[0].blocks,
        kind=scores[0].kind,
        method=scores[0].method,
        seeds=len(scores),
        pairs_mean=fmean(pairs) if pairs else None,
        pairs_least=min(pairs, default=None),
        pairs_most=max(pairs, default=None),
        inversions_mean=fmean(inversions) if inversions else None,
        inversions_least=min(inversions, default=None),
        inversions_most=max(inversions, default=None),
        exact=sum(score.exact for score in scores),
        error_median=median(errors) if errors else None,
        error_least=min(errors, default=None),
        error_most=max(errors, default=None),
        rows=max(score.rows for score in scores),
        seconds_mean=fmean(score.seconds for score in scores),
        remarks=tuple(sorted(dict.fromkeys(remarks), key=remarks.count, reverse=True)),
    )


def scores_csv(scores: Iterable[Score]) -> str:
    """The scores as CSV with a header; an empty cell stands for None."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Score)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(score) for score in scores)
    return text.getvalue()


def scores_json(scores: Sequence[Score], conditions: dict[str, Any]) -> dict[str, Any]:
    """Conditions, summaries and scores, ready for JSON; an infinite error becomes None."""
    return {
        "conditions": conditions,
        "summaries": [_finite(asdict(summary)) for summary in summarise(scores)],
        "scores": [_finite(asdict(score)) for score in scores],
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in values.items()
    }
