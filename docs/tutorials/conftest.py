"""Runs the tutorials: every block of a page, from its top to its end, in a folder of its own.

Blocks of `sh` are run by a shell, with the real command line. A block of `text` is what the block
before it printed. Blocks of `python` are run in one session; after `>>>` stands what comes out.
"""

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.evaluators.doctest import NUMBER, OutputChecker
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from unshuffle.grouping import SIGNALS

PROJECT = Path(__file__).parent.parent.parent
OPTIONS = doctest.ELLIPSIS | NUMBER

VARYING = re.compile(
    r"\d+\.\d+ s\b|(import|read|pair|order|verify|other) [\d.]+|[\d.]+e-\d+"
    r"|\d+ (candidates tested|moves kept)|[\d.]+ forward passes"
)
"""What differs from run to run, or as the search gets better: seconds, rounding, its effort."""


def run(example: Example) -> None:
    """Run a block of commands; the first that fails ends it."""
    commands = Path(sys.executable).parent
    result = subprocess.run(
        ["sh", "-e", "-c", example.parsed],
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"ended with {result.returncode}: {result.stderr}"
    example.namespace["printed"] = result.stdout


def compare(example: Example) -> str | None:
    """Compare a block with what the commands before it printed."""
    printed = example.namespace.pop("printed")
    want, got = (
        "".join(f"{line.rstrip()}\n" for line in VARYING.sub("#", text).splitlines())
        for text in (example.parsed, printed)
    )
    if OutputChecker().check_output(want, got, OPTIONS):
        return None
    return f"expected:\n{example.parsed}\nbut it printed:\n{printed}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Work in a folder that has the examples, and take back what a page registers."""
    registered = SIGNALS.copy()
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "examples").symlink_to(PROJECT / "examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)  # as in a session that is begun there
        yield
    SIGNALS.clear()
    SIGNALS.update(registered)


pytest_collect_file = Sybil(
    parsers=[
        CodeBlockParser("sh", run),
        CodeBlockParser("text", compare),
        PythonCodeBlockParser(doctest_optionflags=OPTIONS),
    ],
    pattern="*.md",
    fixtures=["workplace"],
).pytest()
