"""`unshuffle demo`: the small example that comes with the package."""

import re
import shlex
from importlib import resources

import pytest

from unshuffle import read_pile, read_solution
from unshuffle.commands import main


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A folder in which the demo was shown, and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["demo", "--quiet"]) == 0
    return folder / "unshuffle-demo"


def test_it_finds_the_network_whose_hash_ships(shown):
    published = (resources.files("unshuffle") / "example" / "answer.sha256").read_text().strip()
    assert read_solution(shown / "solved").sha256 == published
    assert (shown / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_what_it_says_fits_a_terminal_and_its_commands_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) < 24
    assert re.fullmatch(r"[\d,]+", told[-1])  # the answer, in sight on any terminal
    assert max(len(line) for line in told if line.startswith("  ")) <= 80
    words = [shlex.split(line) for line in told if line.startswith("  ")]
    assert words[0] == ["cd", "unshuffle-demo"]
    monkeypatch.chdir(tmp_path / words[0][1])
    assert len(words) == 5
    for command in words[1:]:
        assert command[0] == "unshuffle"
        assert main(command[1:]) == 0
    phases = {step.phase for step in read_solution("classic").trace.steps if step.kept}
    assert phases == {"greedy insertion", "2-opt", "or-opt"}


@pytest.mark.parametrize(
    ("columns", "lines", "kept"), [(80, 24, 3), (50, 20, 2), (40, 18, 0), (40, 16, 0)]
)
def test_it_fits_a_small_terminal(columns, lines, kept, *, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", columns), ("LINES", lines)):
        monkeypatch.setenv(name, str(value))
    assert main(["demo", "--quiet"]) == 0
    told = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().out).splitlines()
    rows = sum(max(1, -(-len(line) // columns)) for line in told)
    assert rows < max(lines, 18)  # the prompt takes one more
    assert told[0].startswith("unshuffle-demo: 21 pieces")
    assert re.fullmatch(r"[\d,]+", told[-1])
    facts = ("mean squared error", "max absolute error", "sha256")
    assert sum(line.startswith(facts) for line in told) == kept


def test_it_replaces_nothing_unless_told_to(shown, monkeypatch, capsys):
    monkeypatch.chdir(shown.parent)
    mine = shown / "mine.txt"
    mine.write_text("kept")
    assert main(["demo", "--quiet"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(["demo", "--quiet", "--force"]) == 0
    assert mine.read_text() == "kept"
    assert main(["demo", "--quiet", "--out", "deep/other"]) == 0
    assert len(read_pile("deep/other/pieces")) == 21


def test_the_example_is_small():
    folder = resources.files("unshuffle") / "example"
    files = [*(folder / "pieces").iterdir(), folder / "record.csv", folder / "answer.sha256"]
    assert sum(len(file.read_bytes()) for file in files) < 300_000
