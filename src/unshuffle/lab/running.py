"""Running experiments: what the ledger lacks is measured, in processes or on a Dask cluster."""

import platform
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import numpy as np

from unshuffle.blocks.threads import cores, single_threaded_blas
from unshuffle.errors import FileError, MissingExtraError
from unshuffle.lab.approaches import find_approach
from unshuffle.lab.ledger import LedgerRun, add_runs, begin_ledger, code_version, read_runs, run_key
from unshuffle.lab.metrics import Measurements
from unshuffle.lab.own import use
from unshuffle.lab.subjects import Subject
from unshuffle.oracle.workers import in_processes, on_cluster


@dataclass(frozen=True)
class Trial:
    """A method to try on a subject."""

    subject: Subject
    method: str
    own: tuple[Path, ...] = ()  # files of own approaches, which other processes have not read

    def key(self) -> str:
        """The key of the run that this code makes of it."""
        one = self.subject
        return run_key(one.content, self.method, one.seed, one.rows, code_version())


def lacking(trials: Sequence[Trial], ledger: Path) -> list[Trial]:
    """The trials that a ledger does not have from this code, each once."""
    known = {run.key for run in read_runs(ledger)} if ledger.exists() else set()
    keys = {trial.key(): trial for trial in trials}
    return [trial for key, trial in keys.items() if key not in known]


def run_trials(
    trials: Sequence[Trial],
    ledger: Path,
    *,
    processes: int,
    scheduler: str | None,
    on_end: Callable[[Trial, LedgerRun | BaseException], None],
) -> None:
    """Measure, and add each run to the ledger as soon as it is there.

    So many processes work, or the Dask cluster of a scheduler's address. `on_end` is called with
    each run, or with what prevented it, such as a worker that died. It is made next time.
    `FileError` says, before anything is measured, that the ledger cannot be written.
    `MissingExtraError` or `UsageError` says that Dask is not installed or nobody answers.
    """
    if not trials:
        return
    begin_ledger(ledger)
    if scheduler is None:
        results = in_processes(run_trial, trials, processes)
    else:
        results = on_cluster(run_trial, trials, scheduler)
    with closing(results):
        for at, result in results:
            if isinstance(result, LedgerRun):
                add_runs(ledger, [result])
            on_end(trials[at], result)


def run_trial(trial: Trial) -> LedgerRun:
    """Try a method on a subject. What it raises is a result like any other.

    But what this machine lacks says nothing about the method: `FileError`, `MemoryError` and
    `MissingExtraError` are raised.
    """
    for path in trial.own:
        use(path)
    started, watch = datetime.now(UTC), perf_counter()
    measurements: Measurements = {}
    failure = ""
    try:
        # Many small products, several workers side by side, and the same rounding everywhere.
        with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore"):
            found = find_approach(trial.method).measure(trial.subject)
        measurements = {name: float(value) for name, value in found.items()}
    except (FileError, MemoryError, MissingExtraError):
        raise
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    seconds = perf_counter() - watch
    return LedgerRun(
        key=trial.key(),
        subject=trial.subject.name,
        method=trial.method,
        seed=trial.subject.seed,
        rows=trial.subject.rows,
        content=trial.subject.content,
        code=code_version(),
        environment=environment(),
        started=started.isoformat(timespec="milliseconds"),
        seconds=seconds,
        measurements=measurements,
        failure=failure,
    )


def environment() -> str:
    """The machine and the versions, in one line."""
    libraries = [f"{name} {found}" for name in ("numpy", "torch") if (found := _version(name))]
    count = cores()
    return (
        f"{platform.system()} {platform.machine()}, {count} core{'s' if count != 1 else ''}, "
        f"Python {platform.python_version()}, {', '.join(libraries)}"
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
