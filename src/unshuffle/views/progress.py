"""Progress: a live display or a bar on a terminal, plain lines elsewhere, silence if asked."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import TYPE_CHECKING

from unshuffle.ordering.trace import OnStep, Trace
from unshuffle.views.sparkline import log_sparkline

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

SECONDS_BETWEEN_LINES = 5.0
REFRESHES_PER_SECOND = 8

Report = Callable[[int, str], None]  # called with how much is done and a remark on it


@contextmanager
def show_progress(*, quiet: bool, time_limit: float | None) -> Iterator[OnStep | None]:
    """Show a search on stderr while it runs; yields what is to be called after each step."""
    if quiet:
        yield None
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console
        from rich.live import Live

        display, console = Display(time_limit), Console(stderr=True, highlight=False)
        rate = REFRESHES_PER_SECOND
        with Live(display, console=console, refresh_per_second=rate, transient=True):
            yield display.show
    else:
        yield _step_lines(time_limit)


@contextmanager
def show_work(*, quiet: bool, unit: str, total: int) -> Iterator[Report]:
    """Show so many units of work on stderr; yields what is to be called when more are done."""

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
        started, printed = perf_counter(), -SECONDS_BETWEEN_LINES

        def report(done: int, remark: str) -> None:
            """Print the first and the last, and a line every few seconds in between."""
            nonlocal printed
            seconds = perf_counter() - started
            if seconds - printed >= SECONDS_BETWEEN_LINES or done == total:
                print(f"{seconds:7.1f} s  {text(done, remark)}", file=sys.stderr, flush=True)
                printed = seconds

        yield report


def _step_lines(time_limit: float | None) -> OnStep:
    """A line whenever the phase changes, and every few seconds in between."""
    phase, printed = "", 0.0

    def on_step(trace: Trace) -> None:
        nonlocal phase, printed
        step, seconds = trace.steps[-1], trace.seconds[-1]
        if step.phase != phase or seconds - printed >= SECONDS_BETWEEN_LINES:
            parts = [*facts(trace), f"mse {step.error:.3g}", *time_left(seconds, time_limit)]
            line = f"{seconds:7.1f} s  {step.phase}: {', '.join(parts)}"
            with suppress(OSError):  # a search is worth more than its progress
                print(line, file=sys.stderr, flush=True)
            phase, printed = step.phase, seconds

    return on_step


def facts(trace: Trace) -> list[str]:
    """How far a search is, in words that belong together."""
    step = trace.steps[-1]
    return [
        f"{len(step.arrangement)} blocks placed",
        f"{trace.tested} tested",
        f"{trace.kept} kept",
        f"{step.rows} rows",
    ]


def time_left(seconds: float, time_limit: float | None) -> list[str]:
    """The seconds that a limit leaves, if there is one."""
    return [] if time_limit is None else [f"{max(time_limit - seconds, 0.0):.0f} s left"]


class Display:
    """A few lines on the state of a search, as wide as the terminal at most."""

    def __init__(self, time_limit: float | None) -> None:
        self.time_limit = time_limit
        self.started = perf_counter()
        self.trace = Trace()

    def show(self, trace: Trace) -> None:
        """Take note of where the trace is; it is drawn at the next refresh."""
        self.trace = trace

    def lines(self, width: int) -> list[str]:
        """What is to be read: the phase first, then the error, then the counts."""
        seconds = perf_counter() - self.started
        if not self.trace.steps:
            return fill(["reading and pairing", f"{seconds:.1f} s"], width)
        step = self.trace.steps[-1]
        times = [f"{seconds:.1f} s", *time_left(seconds, self.time_limit)]
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
