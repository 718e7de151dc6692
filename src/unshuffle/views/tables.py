"""Plain tables of text on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print rows, the first of which is the head.

    Names in them may come from files: whatever cannot be printed is escaped.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    head, *body = rows
    for column in head:
        table.add_column(column, overflow="fold")
    for cells in body:
        table.add_row(*(Text(cell if cell.isprintable() else repr(cell)) for cell in cells))
    console = Console(highlight=False)
    if not console.is_terminal:  # a program reads it: no line is broken
        console.width = 10_000
        console.width = console.measure(table).maximum
    console.print(table)
