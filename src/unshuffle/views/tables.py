"""Plain tables of text on a terminal."""

from collections.abc import Container, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

# So wide that no line of a table is broken.
ROOMY = 10_000


class Terminal(Console):
    """A console whose reader may leave early, which is an error as of any other stream."""

    def on_broken_pipe(self) -> None:
        """Rich would end the process with a status of its own."""
        raise BrokenPipeError


def print_table(rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print rows, the first of which is the head. What cannot be printed is escaped."""
    head, *body = rows
    table = empty_table(head)
    table.title, table.title_justify = title, "left"
    for cells in body:
        table.add_row(*(Text(cell if cell.isprintable() else repr(cell)) for cell in cells))
    show_table(table)


def empty_table(head: Sequence[str], words: Container[str] | None = None) -> Table:
    """A table without lines. All columns but the named ones of words stand right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in head:
        left = words is None or column in words
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    return table


def show_table(table: Table, console: Console | None = None, *, whole: bool = False) -> None:
    """Print a table. In a file or pipe it is as wide as it needs.

    A whole one is so wide on a terminal too, since a long line is better than cut cells.
    """
    console = console or Terminal(highlight=False)
    if whole or not console.is_terminal:
        roomy = console.options.update(max_width=ROOMY)
        console.width = max(console.width, console.measure(table, options=roomy).maximum)
    console.print(table)
