import json
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace

import pytest

from unshuffle.errors import FileError
from unshuffle.lab.ledger import add_runs, code_version, newest, read_runs, run_key


def test_a_database_and_text_hold_the_same(tmp_path, make_run):
    runs = [make_run("a", pairs_right=1 / 3), make_run("b", failure="ValueError: 'é' | no")]
    assert add_runs(tmp_path / "in" / "l.sqlite", runs) == 2
    again = read_runs(tmp_path / "in" / "l.sqlite")
    assert again == runs
    assert add_runs(tmp_path / "l.jsonl", again[::-1]) == 2
    assert read_runs(tmp_path / "l.jsonl") == runs
    assert add_runs(tmp_path / "l.jsonl", [*runs, make_run("A")]) == 1
    assert [run.method for run in read_runs(tmp_path / "l.jsonl")] == ["A", "a", "b"]


def test_what_is_there_stays(tmp_path, make_run):
    ledger = tmp_path / "l.sqlite"
    add_runs(ledger, [make_run(pairs_right=1.0)])
    assert add_runs(ledger, [make_run(pairs_right=0.0), make_run("b")]) == 1
    assert [run.measurements for run in read_runs(ledger)] == [{}, {"pairs_right": 1.0}]


WRITER = """
import sys
from pathlib import Path
from unshuffle.lab.ledger import LedgerRun, add_runs
for seed in range(25):
    key = f"{sys.argv[2]}-{seed}"
    run = LedgerRun(key, "s", "m", seed, 5, "c", "1", "here", "2026", 0.1, {"error": 0.5}, "")
    add_runs(Path(sys.argv[1]), [run])
"""


def test_processes_may_write_at_once(tmp_path):
    ledger = tmp_path / "l.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(ledger), name]) for name in "abc"
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert len(read_runs(ledger)) == 75


def test_threads_may_write_at_once(tmp_path, make_run):
    ledger = tmp_path / "l.sqlite"
    with ThreadPoolExecutor(4) as threads:
        added = list(threads.map(lambda s: add_runs(ledger, [make_run(seed=s)]), [*range(8)] * 2))
    assert sum(added) == 8


@pytest.mark.parametrize("name", ["l.sqlite", "l.jsonl"])
def test_what_is_no_ledger_is_refused(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(FileError, match="there is no"):
        read_runs(path)
    path.write_text("this is no ledger at all, but a text of some length\n" * 40)
    with pytest.raises(FileError, match=name):
        read_runs(path)
    with pytest.raises(FileError, match="cannot be"):
        read_runs(tmp_path)


def test_another_database_is_left_as_it_was(tmp_path):
    path = tmp_path / "mine.sqlite"
    path.touch()
    assert read_runs(path) == []
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE mine (a INTEGER)")
    before = path.read_bytes()
    with pytest.raises(FileError, match="cannot be used as a ledger"):
        read_runs(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"seed": "1"},
        {"seed": True},
        {"measurements": {"error": "x"}},
        {"measurements": "[]"},
        {"key": 3},
        {"extra": 1},
    ],
)
def test_lines_that_are_no_runs_are_refused(tmp_path, make_run, change):
    path = tmp_path / "l.jsonl"
    add_runs(path, [make_run()])
    values = json.loads(path.read_text()) | change
    path.write_text(f"{path.read_text()}{json.dumps(values)}\n")
    with pytest.raises(FileError, match="line 2 is no run"):
        read_runs(path)


def test_the_last_run_counts(make_run):
    old, other = make_run(pairs_right=0.0), make_run(seed=1)
    new = replace(old, key="k", code="2", content="d", started="2026-02-01T00:00:00.000+00:00")
    assert {run.key for run in newest([new, old, other])} == {"k", other.key}


def test_keys_depend_on_configuration_and_code():
    known = {"content": "c", "method": "m", "seed": 0, "rows": 5, "code": code_version()}
    changes = [{}, {"content": "d"}, {"method": "n"}, {"seed": 1}, {"rows": 6}, {"code": "1"}]
    keys = [run_key(**known | change) for change in changes]
    assert len(set(keys)) == len(keys)
    assert run_key(**known) == keys[0]


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
COMPUTED = "text TEXT AS (hex(zeroblob(400000000)))"


@pytest.mark.parametrize(
    "change",
    [
        f"ALTER TABLE runs RENAME TO mine; CREATE VIEW runs AS {ENDLESS}",
        f"ALTER TABLE runs ADD COLUMN {COMPUTED}",
        "CREATE TRIGGER more AFTER INSERT ON runs BEGIN DELETE FROM runs; END",
        "CREATE TABLE mine (a)",
    ],
)
def test_a_database_that_computes_is_no_ledger(tmp_path, make_run, change):
    ledger = tmp_path / "l.sqlite"
    add_runs(ledger, [make_run()])
    with closing(sqlite3.connect(ledger)) as database:
        database.executescript(change)
    before = ledger.read_bytes()
    for use in (read_runs, lambda path: add_runs(path, [make_run("b")])):
        with pytest.raises(FileError, match="something else than runs"):
            use(ledger)
    assert ledger.read_bytes() == before


def test_what_a_database_says_of_itself_is_not_printed_raw(tmp_path, make_run):
    ledger = tmp_path / "l.sqlite"
    add_runs(ledger, [make_run()])
    sound = ledger.read_bytes()
    for name in (b"\x1b[2Jn", b"\xff\xfe\xfd\xfcn"):
        ledger.write_bytes(sound.replace(b"TABLE runs (", b"TABLE " + name[:4] + b" ("))
        with pytest.raises(FileError, match="cannot be used as a ledger") as caught:
            read_runs(ledger)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "line",
    [
        "[" * 5_000,
        "9" * 5_000,
        '{"key": "' + "k" * 70_000 + '"}',
        '{"measurements": {"a": ' + "[" * 5_000,
    ],
)
def test_lines_that_cannot_be_read_are_refused(tmp_path, line):
    (tmp_path / "l.jsonl").write_text(line)
    with pytest.raises(FileError, match=r"l\.jsonl: line 1 is no"):
        read_runs(tmp_path / "l.jsonl")


@pytest.mark.parametrize("suffix", ["jsonl", "sqlite"])
@pytest.mark.parametrize("name", ["\x1b[2J", "\u202e", "\ud800"])
def test_names_that_act_on_a_terminal_are_refused(tmp_path, make_run, suffix, name):
    ledger = tmp_path / f"l.{suffix}"
    run = replace(make_run(), subject=name)
    if suffix == "jsonl":
        ledger.write_text(json.dumps(asdict(run)))
    elif name.isascii():
        add_runs(ledger, [run])
    else:
        return
    with pytest.raises(FileError, match="is no run"):
        read_runs(ledger)


def test_what_went_wrong_is_told_without_control_characters(tmp_path, make_run):
    add_runs(tmp_path / "l.sqlite", [make_run(failure="Error: \x1b[2J\nand more")])
    (run,) = read_runs(tmp_path / "l.sqlite")
    assert run.failure == "Error:  [2J and more"
