"""What the documents say is true: their commands run, their session is real, their names exist."""

import ast
import doctest
import re
import shlex
from argparse import _SubParsersAction
from pathlib import Path

import pytest

from unshuffle.commands import build_parser, main
from unshuffle.grouping import SIGNALS
from unshuffle.ordering.seeds import SEEDS
from unshuffle.proof.outcome import Outcome

PROJECT = Path(__file__).parent.parent
SOURCE = PROJECT / "src" / "unshuffle"
README = (PROJECT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (PROJECT / "ARCHITECTURE.md").read_text(encoding="utf-8")
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "examples/README.md"]
DOCUMENTS += ["docs/method.md", "docs/oracles.md", "docs/pictures.md", "docs/report.md"]
DOCUMENTS += ["docs/strategies.md", "docs/zoo.md", "docs/laboratory.md", "docs/plan.md"]
DOCUMENTS += ["docs/why.md"]
DOCUMENTS += [f"docs/tutorials/{name}.md" for name in ("solve", "own", "signal", "certificate")]

# What differs from run to run and from machine to machine: seconds, and errors in their rounding.
VARYING = re.compile(r"\d+\.\d+ s\b|(mse|max abs error) [\d.]+e-\d+")


def shell_lines(document):
    """Commands of a document's shell blocks, without comments."""
    text = (PROJECT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [words for b in blocks for line in b.splitlines() if (words := shlex.split(line, True))]


def parsers_of(parser):
    """A parser and those of all commands under it."""
    under = [a for a in parser._actions if isinstance(a, _SubParsersAction)]
    return [parser, *(p for a in under for c in a.choices.values() for p in parsers_of(c))]


class VaryingNumbers(doctest.OutputChecker):
    def check_output(self, want, got, flags):
        return super().check_output(VARYING.sub("#", want), VARYING.sub("#", got), flags)


def test_the_session_is_real(monkeypatch):
    monkeypatch.chdir(PROJECT)
    (session,) = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(session, {}, "README.md", "README.md", 0)
    report = []
    results = doctest.DocTestRunner(VaryingNumbers()).run(examples, out=report.append)
    assert results.attempted > 5
    assert results.failed == 0, "".join(report)


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "examples/README.md",
        "docs/laboratory.md",
        "docs/oracles.md",
        "docs/pictures.md",
        "docs/report.md",
        "docs/strategies.md",
    ],
)
def test_the_commands_run(document, monkeypatch, tmp_path, capsys):
    for folder in ("examples", "experiments"):
        (tmp_path / folder).symlink_to(PROJECT / folder)
    monkeypatch.chdir(tmp_path)
    commands = [words for words in shell_lines(document) if words[0] == "unshuffle"]
    assert commands
    for words in commands:
        assert main(words[1:]) == 0, (words, capsys.readouterr().err)


def test_the_commands_of_the_table_exist():
    commands = re.findall(r"\| `unshuffle (.*?)` \|", README)
    assert len(commands) > 3
    for command in commands:
        build_parser().parse_args(shlex.split(command))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_names_exist(document):
    text = (PROJECT / document).read_text(encoding="utf-8")
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)) <= targets
    options = {option for p in parsers_of(build_parser()) for option in p._option_string_actions}
    assert set(re.findall(r"(?<=[`| ])--[a-z][a-z-]*", re.sub("python .*", "", text))) <= options


@pytest.mark.parametrize("registry", [SIGNALS, SEEDS], ids=["signals", "seeds"])
def test_the_method_page_has_every_idea_with_its_source(registry):
    page = (PROJECT / "docs" / "method.md").read_text(encoding="utf-8")
    for name, idea in registry.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
        assert row.endswith(f"| {idea.sees} | {idea.source} |")


def test_every_outcome_is_explained():
    page = (PROJECT / "docs" / "strategies.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| ([a-z ]+) \| \d", page, re.MULTILINE)
    assert sorted(explained) == sorted(map(str, Outcome))


def test_the_picture_requests_nothing():
    picture = (PROJECT / "docs" / "solve.svg").read_text(encoding="utf-8")
    loaded = re.findall(r"(?:url\(|href=|src=|@import)\s*[\"']?(?!#)[^\s)]*", picture)
    assert not loaded


def test_imports_go_the_way_that_the_architecture_says():
    rooms = re.findall(r"^\| `([a-z]+)(?:/|\.py)` \|", ARCHITECTURE, re.MULTILINE)
    number = {room: place for place, room in enumerate(rooms)}
    modules = [path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py")]
    loose = {module.parts[0] for module in modules} - {*rooms}
    assert loose == {"__init__", "__main__"}
    for module in modules:
        if module.parts[0] in loose:
            continue
        code = (SOURCE / module).with_suffix(".py").read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unshuffle."):
                imported = (node.module or "").split(".")[1]
                assert number[imported] <= number[module.parts[0]], f"{module}: {node.module}"
