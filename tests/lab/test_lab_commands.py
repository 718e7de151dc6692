"""The laboratory from the command line."""

import pytest

from unshuffle.commands import main
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


def numbers(ledger):
    return {(run.method, run.seed): run.measurements for run in read_runs(ledger)}


def test_a_run_resumes_and_repeats(lab, sheet, tmp_path):
    first, second = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    path = sheet()
    status, out, err = lab("run", path, "--ledger", first, "--processes", 1)
    assert status == 0
    assert "4 trials, of which the ledger lacks 4" in err
    assert "confirmed" in out
    assert lab("run", sheet("some", seeds="[1]"), "--ledger", second, "--processes", 1)[0] == 0
    _, _, err = lab("run", path, "--ledger", second, "--processes", 1)
    assert "4 trials, of which the ledger lacks 2" in err
    assert numbers(first) == numbers(second)
    assert len(numbers(first)) == 4
    assert numbers(first)["trace", 0]["pairs_right"] == 1
    assert 0 < numbers(first)["inp-norm", 1]["inversions"] < 1


def test_the_same_ledger_as_text_is_the_same_plan(lab, sheet, tmp_path):
    ledger, text = tmp_path / "l.sqlite", tmp_path / "l.jsonl"
    path = sheet()
    lab("run", path, "--ledger", ledger, "--quiet", "--processes", 1)
    assert lab("export", ledger, text)[1].startswith("4 of 4 runs added")
    assert lab("export", ledger, text)[1].startswith("0 of 4 runs added")
    out = tmp_path / "plan.md"
    assert lab("plan", path, "--ledger", text, "--out", out)[0] == 0
    assert "**confirmed**" in out.read_text()
    assert (
        lab("plan", path, "--ledger", ledger)[1].split("## The")[1]
        == (out.read_text().split("## The")[1])
    )
    assert lab("plan", path, "--ledger", text, "--out", out)[0] == 2
    status, shown, _ = lab("show", path, "--ledger", text, "--results")
    assert status == 0
    assert "inp-norm" in shown
    status, shown, _ = lab("compare", "trace", "bias", "--metric", "pairs_right", "--ledger", text)
    assert shown.splitlines()[-1].split() == ["example", "1", "–"]


def test_subjects_that_nobody_named_are_left_out(lab, sheet, tmp_path):
    path = sheet(subjects='["puzzle", "example"]', seeds="[0]", methods='["trace"]')
    status, out, err = lab("run", path, "--ledger", tmp_path / "l.sqlite", "--processes", 1)
    assert status == 0
    assert "1 trials" in err
    assert "open" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "no.toml", "--ledger", "l.sqlite"], "no.toml"),
        (["run", "experiments", "--ledger", "l.jsonl"], "kept in a database"),
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
