"""What the documents say is true: their commands run, their session is real, their names exist."""

import ast
import doctest
import re
import shlex
import tomllib
from argparse import _SubParsersAction
from importlib import import_module
from pathlib import Path

import pytest

import unshuffle
from unshuffle.commands import build_parser, main
from unshuffle.grouping import SIGNALS
from unshuffle.ordering.seeds import SEEDS
from unshuffle.proof.outcome import Outcome

PROJECT = Path(__file__).parent.parent
SOURCE = PROJECT / "src" / "unshuffle"
README = (PROJECT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (PROJECT / "ARCHITECTURE.md").read_text(encoding="utf-8")
DOCUMENTS = [
    path.relative_to(PROJECT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docs/tutorials/*.md", "examples/*.md")
    for path in sorted(PROJECT.glob(pattern))
]
ADDRESSES = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
DATA = "".join(path.read_text("utf-8") for path in (PROJECT / "docs" / "data").glob("*.csv"))

PRINTED = re.compile("^```.*?^```", re.DOTALL | re.MULTILINE)  # what a command said

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


@pytest.fixture
def folder_of_a_user(tmp_path, monkeypatch):
    """A folder with pieces and a record of one's own, and what the documents name."""
    for name in ("examples", "experiments"):
        (tmp_path / name).symlink_to(PROJECT / name)
    for name in ("pieces", "record.csv"):
        (tmp_path / name).symlink_to(PROJECT / "examples" / "dropped" / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder_of_a_user")
def test_the_session_is_real():
    (session,) = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(session, {}, "README.md", "README.md", 0)
    report = []
    results = doctest.DocTestRunner(VaryingNumbers()).run(examples, out=report.append)
    assert results.attempted > 5
    assert results.failed == 0, "".join(report)


@pytest.mark.usefixtures("folder_of_a_user")
@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "examples/README.md",
        "docs/commands.md",
        "docs/laboratory.md",
        "docs/oracles.md",
        "docs/pictures.md",
        "docs/trouble.md",
    ],
)
def test_the_commands_run(document, capsys):
    commands = [words for words in shell_lines(document) if words[0] == "unshuffle"]
    assert commands
    for words in commands:
        assert main(words[1:]) == 0, (words, capsys.readouterr().err)


def test_the_readme_is_short():
    assert len(README) <= 6000


def test_addresses_in_the_readme_lead_into_the_repository():
    addresses = re.findall(r"\]\((.*?)\)", README)
    assert len(addresses) > 10
    name = ADDRESSES["Source"].removeprefix("https://github.com/")
    bases = f"https://github.com/{name}/blob/main/|https://raw.githubusercontent.com/{name}/main/"
    for address in [*addresses, ADDRESSES["Documentation"], ADDRESSES["Changelog"]]:
        path = re.sub(f"^({bases})", "", address)
        assert path != address, address
        path, _, anchor = path.partition("#")
        assert (PROJECT / path).exists(), address
        if anchor:
            heads = re.findall("^#+ (.*)", (PROJECT / path).read_text("utf-8"), re.MULTILINE)
            assert anchor in {head.lower().replace(" ", "-") for head in heads}, address


def test_every_table_is_that_of_its_data_file(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "docs")
    tables = import_module("tables")
    pages = [path.read_text("utf-8") for path in (PROJECT / "docs").glob("*.md")]
    assert [page[:30] for page in pages if tables.filled(page) != page] == []
    placed = [name for page in pages for _, name, _ in tables.PLACE.findall(page)]
    linked = {name for page in pages for name in re.findall(r"\]\(data/([a-z-]+)\.csv\)", page)}
    kept = [path.stem for path in (PROJECT / "docs" / "data").glob("*.csv")]
    assert sorted([*placed, *linked]) == sorted(kept)


@pytest.mark.parametrize("document", [one for one in DOCUMENTS if "plan" not in one])
def test_counts_are_those_of_a_data_file(document):
    text = (PROJECT / document).read_text("utf-8")
    counts = re.findall(r"\b\d[\d,]* of \d[\d,]*\b", PRINTED.sub("", text))
    assert [count for count in counts if count not in DATA] == []
    assert counts or document != "README.md"


def test_the_commands_of_the_results_exist():
    page = (PROJECT / "docs" / "results.md").read_text(encoding="utf-8")
    commands = re.findall(r"\| `unshuffle (.*?)` \|", page)
    assert len(commands) > 3
    for command in commands:
        build_parser().parse_args(shlex.split(command))


def test_the_threat_model_names_tests_that_exist():
    page = (PROJECT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    names = re.findall(r"`((?:\w+/)*test_\w+\.py)`", page)
    assert len(names) > 20
    assert [name for name in names if not (PROJECT / "tests" / name).exists()] == []


def test_the_versions_agree():
    citation = (PROJECT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [unshuffle.__version__]
    assert ADDRESSES["Source"] in citation


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
    page = (PROJECT / "docs" / "outcomes.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| ([a-z ]+) \| \d", page, re.MULTILINE)
    assert sorted(explained) == sorted(map(str, Outcome))


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
