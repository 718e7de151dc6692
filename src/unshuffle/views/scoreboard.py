"""The tables of an evaluation: for people on a terminal, and as Markdown for documents."""

import re
from collections.abc import Callable, Sequence
from html import escape
from statistics import fmean

from rich.text import Text

from unshuffle.errors import shown
from unshuffle.oracle.evaluation import Summary
from unshuffle.views.tables import empty_table, show_table

Rows = list[tuple[str, ...]]  # the first one is the head

WORDS = ("recipe", "strategy", "how it ended")
NUMBERS = ("exact", "pairs", "inversions", "error", "rows", "seconds")
STRATEGY_HEAD = (*WORDS[:2], *NUMBERS, WORDS[2])


def print_scores(summaries: Sequence[Summary]) -> None:
    """Print the pairs that each signal recovers, and what each strategy comes to."""
    for title, (head, *body) in tables(summaries).items():
        table = empty_table(head, WORDS)
        table.title = title
        for cells in body:
            table.add_row(*(Text(_shown(cell)) for cell in cells))
        show_table(table, whole=True)


def markdown(summaries: Sequence[Summary]) -> str:
    """The same tables in Markdown."""
    parts = []
    for title, (head, *body) in tables(summaries).items():
        parts += [f"**{title}**", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
        parts += [*(f"| {' | '.join(map(_as_text, row))} |" for row in body), ""]
    return "\n".join(parts)


def _as_text(cell: str) -> str:
    """A cell in which nothing is markup: recipes may be called anything."""
    return re.sub(r"([\\`*\[\]])", r"\\\1", escape(_shown(cell))).replace("|", "¦")


def _shown(cell: str) -> str:
    return shown(cell) if cell else ""


def tables(summaries: Sequence[Summary]) -> dict[str, Rows]:
    """The tables by title, in words."""
    pairings, seeds, strategies = (
        [summary for summary in summaries if summary.kind == kind]
        for kind in ("pairing", "seed", "strategy")
    )
    found = {}
    for matching in dict.fromkeys(_parts(summary)[1] for summary in pairings):
        some = [summary for summary in pairings if _parts(summary)[1] == matching]
        title = f"Pairs recovered, {matching} matching"
        found[title] = _matrix(some, lambda one: _parts(one)[0], _pairs, "all pairs")
    if seeds:
        title = "Couples of blocks that a seed puts in the wrong order, the true pairs given"
        found[title] = _matrix(seeds, lambda one: one.method, _inversions, "in order")
    if strategies:
        found["Networks put back together"] = [STRATEGY_HEAD, *map(_strategy_row, strategies)]
    return found


def _matrix(
    summaries: Sequence[Summary],
    column: Callable[[Summary], str],
    cell: Callable[[Summary], str],
    total: str,
) -> Rows:
    """A row for each recipe with a column for each method, then totals."""
    methods = list(dict.fromkeys(map(column, summaries)))
    at = {(summary.recipe, column(summary)): summary for summary in summaries}
    rows: Rows = [("recipe", "blocks", "seeds", *methods)]
    for recipe in dict.fromkeys(summary.recipe for summary in summaries):
        line = [at.get((recipe, method)) for method in methods]
        blocks, seeds = next((s.blocks, s.seeds) for s in line if s is not None)
        cells = ["–" if summary is None else cell(summary) for summary in line]
        rows.append((recipe, str(blocks), str(seeds), *cells))
    by_method = [[s for s in summaries if column(s) == method] for method in methods]
    exact = [f"{sum(s.exact for s in ss)} of {sum(s.seeds for s in ss)}" for ss in by_method]
    seconds = [f"{fmean(s.seconds_mean for s in ss):.2g}" for ss in by_method]
    return [*rows, (total, "", "", *exact), ("seconds", "", "", *seconds)]


def _parts(summary: Summary) -> tuple[str, str]:
    """The signal and the matching of a pairing."""
    signal, _, matching = summary.method.rpartition(", ")
    return signal, matching


def _pairs(summary: Summary) -> str:
    return _spread(summary.pairs_mean, summary.pairs_least, summary.pairs_most)


def _inversions(summary: Summary) -> str:
    return _spread(summary.inversions_mean, summary.inversions_least, summary.inversions_most)


def _spread(mean: float | None, least: int | None, most: int | None) -> str:
    """A mean, with least and most in brackets where seeds differ; a failure is none."""
    if mean is None:
        return "failed"
    return f"{mean:.3g}" if least == most else f"{mean:.3g} ({least}–{most})"


def _strategy_row(summary: Summary) -> tuple[str, ...]:
    error = "–"
    if summary.error_median is not None:
        error = f"{summary.error_median:.2g}"
        if summary.error_least != summary.error_most:
            error += f" ({summary.error_least:.2g}–{summary.error_most:.2g})"
    return (
        summary.recipe,
        summary.method,
        f"{summary.exact} of {summary.seeds}",
        _pairs(summary) + f" of {summary.blocks}" * (summary.pairs_mean is not None),
        "–" if summary.inversions_mean is None else _inversions(summary),
        error,
        str(summary.rows) if summary.rows else "–",
        f"{summary.seconds_mean:.3g}",
        "; ".join(summary.remarks),
    )
