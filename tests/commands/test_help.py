"""What `--help` and completion say of every command, and how arguments may be written."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from unshuffle.commands import build_parser, main
from unshuffle.commands.arguments import activation
from unshuffle.errors import UsageError
from unshuffle.pieces.clock import duration


def commands(parser, name="unshuffle"):
    """The parser of every command, by its name."""
    found = {name: parser}
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for word, under in action.choices.items():
                found |= commands(under, f"{name} {word}")
    return found


COMMANDS = commands(build_parser())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_groups_defaults_examples_and_exit_statuses(name):
    parser = COMMANDS[name]
    text = parser.format_help()
    examples = re.findall(r"^  unshuffle (.*)$", text.split("examples:")[1], re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        assert f"unshuffle {example} ".startswith(f"{name} ")
        build_parser().parse_args(shlex.split(example))
    assert re.search(r"exit status:\n  0 .*2 a mistake.*130 interrupted", text, re.DOTALL)
    assert max(map(len, text.splitlines())) <= 80
    for action in parser._actions:
        options = [option for option in action.option_strings if option.startswith("--")]
        if options and action.nargs != 0 and not action.required:
            assert "default" in action.help, options
    (general,) = [group for group in parser._action_groups if group.title == "options"]
    named = {option for one in general._group_actions for option in one.option_strings}
    assert named <= {"-h", "--help", "-V", "--version"}  # all others are in groups of their own


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_as_narrow_as_the_window(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    lines = COMMANDS[name].format_help().split("examples:")[1].splitlines()
    assert max(map(len, lines)) <= 50


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("10s", 10), ("1.5 m", 90), ("2min", 120), ("1H", 3600), ("1e-6", 1e-6)],
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "x", "1d", "0s", "-1m", "nan"])
def test_what_is_no_duration(text):
    with pytest.raises(UsageError, match="give one such as 10, 10s"):
        duration(text)


def test_names_may_be_written_in_any_case():
    words = "solve a b --strategy AUTO --signal Trace --activation ReLU --matching Greedy"
    args = build_parser().parse_args(words.split())
    named = (args.strategy, args.signal, args.activation, args.matching)
    assert named == ("auto", "trace", "relu", "greedy")
    assert activation("Auto") is None
    assert build_parser().parse_args(["oracle", "train", "Tiny-Adam", "--out", "x"]).recipe == (
        "tiny-adam"
    )


def test_the_shell_is_told_how_a_line_goes_on(tmp_path):
    pytest.importorskip("argcomplete")
    line = "unshuffle solve --str"
    told = tmp_path / "told"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(told), "_ARGCOMPLETE_IFS": "\n"}
    command = [sys.executable, "-m", "unshuffle"]
    subprocess.run(command, env=os.environ | asked, check=True)
    assert told.read_text().strip() == "--strategy"


@pytest.mark.parametrize(
    ("line", "missing", "example"),
    [
        ("", "COMMAND is missing: one of demo, inspect, pair", "unshuffle demo"),
        (
            "solve p",
            "RECORDS is missing: inputs and predictions",
            "unshuffle solve pieces record.csv",
        ),
        ("solve", "PIECES and RECORDS are missing: a folder", "unshuffle solve pieces record"),
        (
            "verify p r",
            "ANSWER is missing: ids in the order",
            "unshuffle verify pieces",
        ),
        ("assemble p a", "--to is missing: a .safetensors", "unshuffle assemble pieces solved"),
        (
            "drop n",
            "--out, --records and --seed are missing: write pieces/",
            "unshuffle drop oracle",
        ),
    ],
)
def test_what_is_missing_is_said_with_a_line_that_has_it(line, missing, example, capsys):
    with pytest.raises(SystemExit) as end:
        main(line.split())
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.startswith(f"unshuffle: {missing}")
    assert f"; for example: {example}" in error
