"""Progress: a live display or a bar on a terminal, plain lines elsewhere, silence if asked."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import TYPE_CHECKING

from unshuffle.ordering.trace import OnStep, Trace
from unshuffle.pieces.clock import Clock
from unshuffle.views.sparkline import log_sparkline

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

FIRST = "reading and pairing"  # what is shown before the first step
SECONDS_BETWEEN_LINES = 5.0  # at least
LONGER = 1.5  # Factor by which the seconds grow from one line to the next.
REFRESHES_PER_SECOND = 8

Report = Callable[[int, str], None]  # called with how much is done and a remark on it


@contextmanager
def show_progress(*, quiet: bool, clock: Clock) -> Iterator[OnStep | None]:
    """Show a search on stderr while it runs. It yields what is called after each step.

    The seconds shown are those of the clock, which counts the whole command.
    """
    if quiet:
        yield None
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console
        from rich.live import Live

        display, console = Display(clock), Console(stderr=True, highlight=False)
        rate = REFRESHES_PER_SECOND
        with Live(display, console=console, refresh_per_second=rate, transient=True):
            yield display.show
    else:
        yield _step_lines(clock)


@contextmanager
def show_work(*, quiet: bool, unit: str, total: int) -> Iterator[Report]:
    """Show so many units of work on stderr. It yields what is called when more are done."""

    def text(done: int, remark: str) -> str:
        return f"{unit} {done} of {total}: {remark}"

    if quiet:
        yield lambda done, remark: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"{unit} 0 of {total}", total=total)
            yield lambda done, remark: bar.update(
                task, description=escape(text(done, remark)), completed=done
            )
    else:
        started, due = perf_counter(), 0.0

        def report(done: int, remark: str) -> None:
            """Print the first and the last, and ever fewer lines in between."""
            nonlocal due
            seconds = perf_counter() - started
            if seconds >= due or done == total:
                print(f"{seconds:7.1f} s  {text(done, remark)}", file=sys.stderr, flush=True)
                due = _due_after(seconds)

        yield report


def _step_lines(clock: Clock) -> OnStep:
    """A line before the first step, one for each new phase, and ever fewer in between."""
    phases, due = set[str](), 0.0

    def say(text: str) -> None:
        with suppress(OSError):  # a search is worth more than its progress
            print(f"{clock.total:7.1f} s  {text}", file=sys.stderr, flush=True)

    def on_step(trace: Trace) -> None:
        nonlocal due
        if not trace.steps:
            say(FIRST)
            return
        step = trace.steps[-1]
        if step.phase not in phases or clock.total >= due:
            parts = [*facts(trace), f"mse {step.error:.3g}", *time_left(clock)]
            say(f"{step.phase}: {', '.join(parts)}")
            phases.add(step.phase)
            due = _due_after(clock.total)

    return on_step


def _due_after(seconds: float) -> float:
    """The second of the next line, as a log has it: a long search says little more than a short."""
    return max(seconds + SECONDS_BETWEEN_LINES, LONGER * seconds)


def facts(trace: Trace) -> list[str]:
    """How far a search is, in words that belong together."""
    step = trace.steps[-1]
    return [
        f"{len(step.arrangement)} blocks placed",
        f"{trace.tested} tested",
        f"{trace.kept} kept",
        f"{step.rows} rows",
    ]


def time_left(clock: Clock) -> list[str]:
    """The seconds that a limit leaves, if there is one."""
    return [] if clock.limit is None else [f"{max(clock.left, 0.0):.0f} s left"]


class Display:
    """A few lines on the state of a search, as wide as the terminal at most."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.trace = Trace()

    def show(self, trace: Trace) -> None:
        """Take note of where the trace is. It is drawn at the next refresh."""
        self.trace = trace

    def lines(self, width: int) -> list[str]:
        """What is to be read: the phase first, then the error, then the counts."""
        seconds = f"{self.clock.total:.1f} s"
        if not self.trace.steps:
            return fill([FIRST, seconds], width)
        step = self.trace.steps[-1]
        times = [seconds, *time_left(self.clock)]
        error = f"error {step.error:.2e} "
        errors = [each.error for each in self.trace.steps]
        return [
            *fill([step.phase, *times], width),
            error + log_sparkline(errors, width - len(error)),
            *fill(facts(self.trace), width),
        ]

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.text import Text

        first, *rest = self.lines(options.max_width)
        yield Text(first, "bold")
        yield from map(Text, rest)


def fill(parts: Sequence[str], width: int) -> list[str]:
    """Lines of parts, separated by dots, as many on each as the width allows."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]} · {part}"
        if len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines
