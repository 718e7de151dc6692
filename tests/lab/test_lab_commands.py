"""The laboratory from the command line."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from unshuffle.commands import main
from unshuffle.errors import MissingExtraError
from unshuffle.lab import ledger, running
from unshuffle.lab.ledger import read_runs


@pytest.fixture
def lab(example, capsys, monkeypatch):
    """Run a command of the laboratory: status, output and messages."""
    monkeypatch.chdir(example.parent.parent)

    def call(*words):
        status = main(["lab", *map(str, words)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def here(function, trials, processes):
    """Measure in this process: another one loads everything anew."""
    for at, trial in enumerate(trials):
        try:
            yield at, function(trial)
        except MissingExtraError as error:
            yield at, error


@pytest.fixture
def one_process(monkeypatch):
    monkeypatch.setattr(running, "in_processes", here)


def numbers(ledger):
    return {(run.method, run.seed): run.measurements for run in read_runs(ledger)}


def test_a_run_resumes_and_repeats(lab, sheet, tmp_path, monkeypatch):
    first, second = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    path = sheet()
    status, out, err = lab("run", path, "--ledger", first, "--processes", 1)
    assert status == 0
    assert "4 trials, of which the ledger lacks 4" in err
    assert "confirmed" in out
    monkeypatch.setattr(running, "in_processes", here)
    assert lab("run", sheet("some", seeds="[1]"), "--ledger", second, "--processes", 1)[0] == 0
    _, _, err = lab("run", path, "--ledger", second, "--processes", 1)
    assert "4 trials, of which the ledger lacks 2" in err
    assert numbers(first) == numbers(second)
    assert len(numbers(first)) == 4
    assert numbers(first)["trace", 0]["pairs_right"] == 1
    assert 0 < numbers(first)["inp-norm", 1]["inversions"] < 1


def test_a_subject_that_is_nowhere_is_told(lab, sheet, tmp_path, monkeypatch):
    path = sheet()
    monkeypatch.chdir(tmp_path)
    status, out, err = lab("run", path, "--ledger", tmp_path / "l.sqlite")
    assert status == 0
    assert "the example is left out; name its folder with --example" in err
    assert "open" in out


@pytest.mark.usefixtures("one_process")
def test_the_same_ledger_as_text_is_the_same_plan(lab, sheet, tmp_path):
    ledger, text = tmp_path / "l.sqlite", tmp_path / "l.jsonl"
    path = sheet()
    lab("run", path, "--ledger", ledger, "--quiet", "--processes", 1)
    assert lab("export", ledger, text)[1].startswith("4 of 4 runs added")
    assert lab("export", ledger, text)[1].startswith("0 of 4 runs added")
    out = tmp_path / "plan.md"
    assert lab("plan", path, "--ledger", text, "--out", out)[0] == 0
    assert ": confirmed**" in out.read_text()
    assert (
        lab("plan", path, "--ledger", ledger)[1].split("## Verdicts")[1]
        == (out.read_text().split("## Verdicts")[1])
    )
    assert lab("plan", path, "--ledger", text, "--out", out)[0] == 2
    status, shown, _ = lab("show", path, "--ledger", text, "--results")
    assert status == 0
    assert "inp-norm" in shown
    status, shown, _ = lab("compare", "trace", "bias", "--metric", "pairs_right", "--ledger", text)
    assert shown.splitlines()[-1].split() == ["example", "1", "–"]
    picture = tmp_path / "solved.svg"
    words = ("compare", "trace", "--metric", "pairs_right", "--ledger", text, "--picture", picture)
    status, _, err = lab(*words)
    assert (status, picture.exists()) == (2, False)
    assert "no run of trace that measures solved" in err


@pytest.mark.usefixtures("one_process")
def test_subjects_that_nobody_named_are_left_out(lab, sheet, tmp_path):
    path = sheet(subjects='["puzzle", "example"]', seeds="[0]", methods='["trace"]')
    status, out, err = lab("run", path, "--ledger", tmp_path / "l.sqlite", "--processes", 1)
    assert status == 0
    assert "1 trial," in err
    assert "open" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["try", "magic"], "no approach"),
        (["try", "trace", "--on", "moon"], "no subject 'moon'"),
        (["try", "trace", "--on", "puzzle"], "--puzzle"),
        (["run", "no.toml", "--ledger", "l.sqlite"], "no.toml"),
        (["run", "experiments", "--ledger", "l.jsonl"], "kept in a database"),
        (["run", "experiments/bits.toml", "--ledger", "l.sqlite", "--example", "no"], "no such"),
        (["plan", "experiments", "--ledger", "no.sqlite"], "there is no ledger"),
        (["compare", "magic", "--metric", "error", "--ledger", "l.jsonl"], "no approach"),
        (["compare", "trace", "--metric", "beauty", "--ledger", "l.jsonl"], "no metric"),
    ],
)
def test_mistakes_are_told_in_a_line(lab, words, said):
    status, _, err = lab(*words)
    assert status == 2
    assert said in err
    assert len(err.splitlines()) == 1


def test_the_registry_is_listed(lab):
    status, out, _ = lab("list")
    assert status == 0
    assert "trace-greedy" in out
    assert lab("list", "--markdown")[1].startswith("| approach |")


def test_approaches_are_tried_by_name(lab, example):
    status, out, _ = lab("try", "trace", "growth", "--seeds", "0,1", "--rows", 60)
    assert status == 0
    head, *lines = [line.split() for line in out.splitlines()]
    assert head == ["subject", "seed", "approach", "outcome", "seconds"]
    assert [line[:3] for line in lines[::2]] == [["example", s, "trace"] for s in "01"]
    assert lines[0][3:5] == ["pairs_right", "1,"]
    assert lines[1][3:7] == ["UsageError:", "example", "is", "no"]
    status, again, _ = lab("try", "trace", "--on", "puzzle", "--puzzle", example, "--rows", 60)
    assert status == 0
    assert "pairs_right 1" in again


@pytest.mark.usefixtures("one_process")
def test_a_cluster_of_processes_measures_the_same(lab, sheet, tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    here, there = tmp_path / "here.sqlite", tmp_path / "there.sqlite"
    path = sheet(methods='["trace", "bubble-from-random", "bradley-terry"]')
    options = {"processes": True, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster:
        address = cluster.scheduler_address
        assert lab("run", path, "--ledger", there, "--scheduler", address, "--quiet")[0] == 0
    assert lab("run", path, "--ledger", here, "--processes", 1, "--quiet")[0] == 0
    assert numbers(here) == numbers(there)
    assert len(numbers(there)) == 6


KILLED = """
import os, signal, sys
from unshuffle.commands import main
from unshuffle.lab import running

add, added = running.add_runs, []

def add_and_die(ledger, runs):
    add(ledger, runs)
    added.append(runs)
    if len(added) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

running.add_runs = add_and_die
main(sys.argv[1:])
"""


@pytest.mark.usefixtures("one_process")
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="there are no process groups")
def test_a_killed_run_goes_on_and_ends_the_same(lab, sheet, tmp_path):
    killed, whole = tmp_path / "killed.sqlite", tmp_path / "whole.sqlite"
    path = sheet(methods='["trace", "bubble", "bradley-terry"]')
    words = ["lab", "run", str(path), "--ledger", str(killed), "--processes", "1", "--quiet"]
    run = subprocess.Popen([sys.executable, "-c", KILLED, *words], start_new_session=True)
    assert run.wait(300) == -signal.SIGKILL
    with suppress(ProcessLookupError):  # its worker
        os.killpg(run.pid, signal.SIGKILL)
    before = numbers(killed)
    assert len(before) == 3
    assert lab("run", path, "--ledger", killed, "--quiet", "--processes", 1)[0] == 0
    assert lab("run", path, "--ledger", whole, "--quiet", "--processes", 1)[0] == 0
    assert numbers(killed) == numbers(whole)
    assert len(numbers(killed)) == 6
    assert before.items() <= numbers(killed).items()


@pytest.mark.usefixtures("one_process")
def test_two_runs_at_once_share_a_ledger(lab, sheet, tmp_path):
    both, alone = tmp_path / "both.sqlite", tmp_path / "alone.sqlite"
    path = sheet(methods='["trace", "bubble", "bradley-terry"]')
    words = ["lab", "run", str(path), "--ledger", str(both), "--processes", "1"]
    runs = [
        subprocess.Popen([sys.executable, "-m", "unshuffle", *words], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [run.communicate(timeout=300)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    with closing(sqlite3.connect(both)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert lab("run", path, "--ledger", alone, "--quiet", "--processes", 1)[0] == 0
    assert len(read_runs(both)) == 6
    assert numbers(both) == numbers(alone)


def test_a_ledger_that_cannot_be_written_is_told_before_anything_is_measured(
    lab, sheet, tmp_path, monkeypatch
):
    monkeypatch.setattr(running, "in_processes", None)  # nothing may come so far
    (tmp_path / "file").touch()
    status, _, err = lab("run", sheet(), "--ledger", tmp_path / "file" / "l.sqlite")
    assert status == 2
    assert "is a file, not a folder" in err
    monkeypatch.setattr(ledger, "SECONDS_TO_WAIT", 0.01)
    ledger.begin_ledger(tmp_path / "l.sqlite")
    with closing(sqlite3.connect(tmp_path / "l.sqlite")) as database:
        database.execute("BEGIN IMMEDIATE")
        status, _, err = lab("run", sheet(), "--ledger", tmp_path / "l.sqlite")
    assert status == 2
    assert "database is locked" in err


def test_what_this_machine_lacks_is_not_kept(lab, sheet, tmp_path, monkeypatch):
    """A missing extra says nothing about a method: the trial is made when it is there."""

    def lacks(trial):
        raise MissingExtraError("PyTorch", "torch", "training an oracle network")

    monkeypatch.setattr(running, "in_processes", here)
    monkeypatch.setattr(running, "find_approach", lacks)
    status, _, err = lab("run", sheet(), "--ledger", tmp_path / "l.sqlite", "--quiet")
    assert status == 3
    assert err.count("not run: ") == 4
    assert "pip install 'unshuffle[torch]'" in err
    assert read_runs(tmp_path / "l.sqlite") == []


@pytest.mark.usefixtures("one_process")
def test_a_method_that_breaks_is_a_result(lab, sheet, tmp_path):
    ledger = tmp_path / "l.sqlite"
    path = sheet(methods='["growth"]', seeds="[0]", metrics='["trace_end"]', refuted_if=None)
    path.write_text(path.read_text().replace("pairs_right of trace", "trace_end"))
    assert lab("run", path, "--ledger", ledger, "--quiet", "--processes", 1)[0] == 0
    (run,) = read_runs(ledger)
    assert run.failure.startswith("UsageError: example is no oracle")
