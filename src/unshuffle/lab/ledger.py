"""The ledger: every run ever made, in an SQLite database or as lines of text.

The key of a run is the hash of its configuration and of the code that measured it. Rows are only
added, each in a transaction of its own. So several processes may write at once. The text holds the
same rows as sorted lines of JSON, which a repository can compare.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import unshuffle
from unshuffle.errors import FileError, shown
from unshuffle.files import limits, make_folder, read_text, write_text
from unshuffle.lab.metrics import Measurements

SECONDS_TO_WAIT = 60.0  # for another process that is writing
TEXT = ".jsonl"  # the ending of a ledger that is kept as text


@dataclass(frozen=True)
class LedgerRun:
    """One method on one subject, and what was measured.

    The key hashes configuration and code, the content what the subject consists of. It started at a
    universal time in ISO 8601 and took seconds of wall time. A failure is empty if nothing failed.
    """

    key: str
    subject: str
    method: str
    seed: int
    rows: int
    content: str
    code: str
    environment: str
    started: str
    seconds: float
    measurements: Measurements
    failure: str


COLUMNS = tuple(field.name for field in fields(LedgerRun))
_TEXTS = tuple(field.name for field in fields(LedgerRun) if field.type is str)
_SCHEMA = """
CREATE TABLE runs (
    key TEXT PRIMARY KEY, subject TEXT NOT NULL, method TEXT NOT NULL, seed INTEGER NOT NULL,
    rows INTEGER NOT NULL, content TEXT NOT NULL, code TEXT NOT NULL, environment TEXT NOT NULL,
    started TEXT NOT NULL, seconds REAL NOT NULL, measurements TEXT NOT NULL, failure TEXT NOT NULL
) STRICT
""".strip()

# What a database that holds a ledger says of itself. Views, triggers and columns that are computed
# would run whatever somebody else wrote into the file.
_STORED = {("table", "runs", _SCHEMA), ("index", "sqlite_autoindex_runs_1", None)}


def run_key(content: str, method: str, seed: int, rows: int, code: str) -> str:
    """The key of a run: hash of its configuration and of the code that measures it."""
    return hashlib.sha256(json.dumps([content, method, seed, rows, code]).encode()).hexdigest()[:24]


OWN: list[Path] = []  # files of own approaches, which are code that measures too


@lru_cache(1)
def code_version() -> str:
    """Version of the package, and a hash of all code but what only shows results."""
    root = Path(unshuffle.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        room = path.relative_to(root).parts[0]
        if room not in ("views", "commands"):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    for path in OWN:
        digest.update(path.name.encode() + path.read_bytes())
    return f"{unshuffle.__version__}+{digest.hexdigest()[:12]}"


def begin_ledger(path: Path) -> None:
    """Make a database ready for runs. `FileError`, before they are made, if it cannot take any."""
    make_folder(path.parent)
    with _database(path) as database, database:
        database.execute("BEGIN IMMEDIATE")  # the table may be there, but not be writable
        if not _holds_runs(database, path):
            database.execute(_SCHEMA)


def add_runs(path: Path, runs: Iterable[LedgerRun]) -> int:
    """Add the runs that a ledger lacks; returns how many. `FileError` if it cannot be used."""
    if path.suffix == TEXT:
        known = read_runs(path) if path.exists() else []
        keys = {run.key for run in known}
        new = [run for run in runs if run.key not in keys]
        write_text(path, ledger_text([*known, *new]), force=True)
        return len(new)
    begin_ledger(path)
    with _database(path) as database, database:
        texts = [vars(run) | {"measurements": json.dumps(run.measurements)} for run in runs]
        marks = ", ".join(f":{name}" for name in COLUMNS)
        before = database.total_changes
        database.executemany(f"INSERT OR IGNORE INTO runs VALUES ({marks})", texts)
        return database.total_changes - before


def read_runs(path: Path) -> list[LedgerRun]:
    """All runs of a ledger, in a database or as text. `FileError` if it is missing or damaged."""
    if path.suffix == TEXT:
        return [*_runs_of_text(path)]
    if not path.exists():
        raise FileError(f"{shown(path)}: there is no ledger; `unshuffle lab run` begins one")
    with _database(path) as database:
        if not _holds_runs(database, path):
            return []  # somebody is about to write the first run
        rows = database.execute(f"SELECT {', '.join(COLUMNS)} FROM runs ORDER BY key")
        return [*_checked(rows, path)]


def ledger_text(runs: Iterable[LedgerRun]) -> str:
    """Runs as sorted lines of JSON: the same runs are always the same text."""
    ordered = sorted(runs, key=lambda run: (run.subject, run.method, run.seed, run.rows, run.key))
    return "".join(f"{json.dumps(asdict(run))}\n" for run in ordered)


def newest(runs: Iterable[LedgerRun]) -> list[LedgerRun]:
    """The last run of each method on each subject with a seed, by any code."""
    ordered = sorted(runs, key=lambda run: run.started)
    return list({(run.subject, run.method, run.seed, run.rows): run for run in ordered}.values())


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=SECONDS_TO_WAIT)) as database:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits.LEDGER_RUN)
            yield database
    except (sqlite3.Error, UnicodeDecodeError) as error:  # a message may quote any bytes
        raise _no_ledger(path, shown(str(error))) from error


def _no_ledger(path: Path, why: str) -> FileError:
    return FileError(
        f"{shown(path)}: cannot be used as a ledger ({why}); name another file, or one that "
        "`unshuffle lab run` began"
    )


def _holds_runs(database: sqlite3.Connection, path: Path) -> bool:
    """Whether there is the table of runs; an empty database has nothing."""
    stored = database.execute("SELECT type, name, sql FROM sqlite_master")
    found = set(stored.fetchmany(len(_STORED) + 1))
    if found and found != _STORED:
        raise _no_ledger(path, "it holds something else than runs")
    return bool(found)


def _checked(rows: Iterable[tuple[Any, ...]], path: Path) -> Iterator[LedgerRun]:
    """The runs in rows of a database, as long as they take no more than a ledger may."""
    size = 0
    for row in rows:
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if size > limits.LEDGER_BYTES:
            raise _no_ledger(path, f"its runs take more than {limits.LEDGER_BYTES} bytes")
        yield _run_of(dict(zip(COLUMNS, row, strict=True)), path)


def _runs_of_text(path: Path) -> Iterator[LedgerRun]:
    text = read_text(path, max_bytes=limits.LEDGER_BYTES)
    for at, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            values = _object(line) if len(line) <= limits.LEDGER_RUN else None
            if values is None:
                raise FileError(f"{shown(path)}: line {at} is no JSON of a run; restore the file")
            yield _run_of(values, path, f"line {at}")


def _run_of(values: object, path: Path, where: str = "a row") -> LedgerRun:
    """Check what stands in a ledger, which may come from anywhere."""
    if isinstance(values, dict) and isinstance(values.get("measurements"), str):
        values = values | {"measurements": _object(values["measurements"])}
    if not (
        isinstance(values, dict)
        and set(values) == set(COLUMNS)
        and all(isinstance(values[name], str) for name in _TEXTS)
        and all(values[name].isprintable() for name in _TEXTS if name != "failure")
        and all(type(values[name]) is int for name in ("seed", "rows"))
        and isinstance(values["seconds"], float | int)
        and isinstance(values["measurements"], Mapping)
        and all(isinstance(value, float | int) for value in values["measurements"].values())
        and "".join(values["measurements"]).isprintable()
    ):
        raise FileError(
            f"{shown(path)}: {where} is no run; restore the file from where it was kept"
        )
    # What went wrong may have been said in any characters.
    said = "".join(c if c.isprintable() else " " for c in values["failure"])
    return LedgerRun(**values | {"failure": said})


def _object(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists
        return None
