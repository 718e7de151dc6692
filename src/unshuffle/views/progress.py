"""Progress of a search: a bar on a terminal, plain lines elsewhere, silence if asked."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from unshuffle.trace import OnStep, Trace

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def show_progress(*, quiet: bool, time_limit: float | None) -> Iterator[OnStep | None]:
    """Show a search on stderr while it runs; yields what is to be called after each step."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar(time_limit) as on_step:
            yield on_step
    else:
        yield _Lines()


def _status(trace: Trace) -> str:
    step = trace.steps[-1]
    return (
        f"{step.phase}: {len(step.order)} blocks placed, {trace.tested} tested, "
        f"{trace.kept} kept, mse {step.error:.3g}"
    )


class _Lines:
    """A line whenever the phase changes, and every few seconds in between."""

    def __init__(self) -> None:
        self.phase = ""
        self.printed = 0.0

    def __call__(self, trace: Trace) -> None:
        phase, seconds = trace.steps[-1].phase, trace.seconds[-1]
        if phase != self.phase or seconds - self.printed >= SECONDS_BETWEEN_LINES:
            print(f"{seconds:7.1f} s  {_status(trace)}", file=sys.stderr, flush=True)
            self.phase, self.printed = phase, seconds


@contextmanager
def _bar(time_limit: float | None) -> Iterator[OnStep]:
    """A spinner with the phase and the error; with a time limit, a bar that fills up."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = [SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}")]
    if time_limit is not None:
        columns.insert(1, BarColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("pairing", total=time_limit)

        def on_step(trace: Trace) -> None:
            progress.update(task, description=_status(trace), completed=trace.seconds[-1])

        yield on_step
