"""The tables of an evaluation: for people on a terminal, and as Markdown for documents."""

from collections.abc import Sequence
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unshuffle.oracle.scoreboard import Summary

Rows = list[tuple[str, ...]]
"""The first one is the head."""

STRATEGY_HEAD = ("recipe", "strategy", "exact", "pairs", "error", "rows", "seconds", "how it ended")


def print_scores(summaries: Sequence[Summary]) -> None:
    """Print the pairs that each signal recovers, and what each strategy comes to."""
    for title, rows in tables(summaries).items():
        table = Table(box=None, pad_edge=False, header_style="bold", title=title)
        head, *body = rows
        for column in head:
            words = column in ("recipe", "strategy", "how it ended")
            table.add_column(column, justify="left" if words else "right", no_wrap=True)
        for cells in body:
            table.add_row(*map(Text, cells))
        console = Console(highlight=False)
        # A line that is too long for the terminal is still better than a cell cut in pieces.
        roomy = console.options.update(max_width=10_000)
        console.width = max(console.width, console.measure(table, options=roomy).maximum)
        console.print(table)


def markdown(summaries: Sequence[Summary]) -> str:
    """The same tables in Markdown."""
    parts = []
    for title, (head, *body) in tables(summaries).items():
        lines = [f"| {' | '.join(cell.replace('|', '¦') for cell in row)} |" for row in body]
        parts += [f"**{title}**", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
        parts += [*lines, ""]
    return "\n".join(parts)


def tables(summaries: Sequence[Summary]) -> dict[str, Rows]:
    """The tables by title, in words."""
    pairings = [summary for summary in summaries if summary.kind == "pairing"]
    strategies = [summary for summary in summaries if summary.kind == "strategy"]
    found = {}
    if pairings:
        found["Pairs recovered by weights alone"] = _pairing_rows(pairings)
    if strategies:
        found["Networks put back together"] = [STRATEGY_HEAD, *map(_strategy_row, strategies)]
    return found


def _pairing_rows(summaries: Sequence[Summary]) -> Rows:
    """A row for each recipe with a column for each method, then totals."""
    methods = list(dict.fromkeys(summary.method for summary in summaries))
    recipes = list(dict.fromkeys(summary.recipe for summary in summaries))
    cells = {(summary.recipe, summary.method): summary for summary in summaries}

    def row(recipe: str) -> tuple[str, ...]:
        line = [cells.get((recipe, method)) for method in methods]
        blocks, seeds = next((s.blocks, s.seeds) for s in line if s is not None)
        pairs = ["–" if s is None else _spread(s) for s in line]
        return recipe, str(blocks), str(seeds), *pairs

    def total(name: str, texts: list[str]) -> tuple[str, ...]:
        return name, "", "", *texts

    by_method = [[s for s in summaries if s.method == method] for method in methods]
    exact = [f"{sum(s.exact for s in ss)} of {sum(s.seeds for s in ss)}" for ss in by_method]
    seconds = [f"{fmean(s.seconds_mean for s in ss):.2g}" for ss in by_method]
    return [
        ("recipe", "blocks", "seeds", *methods),
        *map(row, recipes),
        total("all pairs", exact),
        total("seconds", seconds),
    ]


def _spread(summary: Summary) -> str:
    """Mean of the pairs, with least and most in brackets where seeds differ."""
    mean = f"{summary.pairs_mean:.3g}"
    if summary.pairs_least == summary.pairs_most:
        return mean
    return f"{mean} ({summary.pairs_least}–{summary.pairs_most})"


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
        f"{_spread(summary)} of {summary.blocks}",
        error,
        str(summary.rows) if summary.rows else "–",
        f"{summary.seconds_mean:.3g}",
        "; ".join(summary.remarks),
    )
