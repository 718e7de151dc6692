"""How commands are declared, the arguments that several share, and what becomes of them."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from unshuffle import files
from unshuffle.errors import AnswerError

if TYPE_CHECKING:
    from pathlib import Path

    from unshuffle import Pile, Records
    from unshuffle.pieces.pile import PieceId

Declare = Callable[[argparse.ArgumentParser], None]
Number = Callable[[str], float]
Run = Callable[[argparse.Namespace], int]  # what a command does; returns the exit status


def number(
    kind: Number, minimum: float, maximum: float = inf, *, exclusive: bool = False
) -> Number:
    """An argument type: a number that is at least, or more than, a minimum, and not too large."""

    def parse(text: str) -> float:
        value = kind(text)
        if not (value > minimum or (value == minimum and not exclusive)):
            bound = "more than" if exclusive else "at least"
            raise argparse.ArgumentTypeError(f"{text} must be {bound} {minimum:g}")
        if value > maximum:
            raise argparse.ArgumentTypeError(f"{text} must be at most {maximum:g}")
        return value

    parse.__name__ = "whole number" if kind is int else "number"  # argparse names it in errors
    return parse


def seeds(text: str) -> list[float]:
    """An argument type: whole numbers from 0 on, separated by commas."""
    return [number(int, 0)(part) for part in text.split(",")]


def folder(text: str) -> "Path":
    """An argument type: a folder's path; `--help` need not wait for the import."""
    from pathlib import Path

    return Path(text)


# By metavar, the type of an argument; all others are text.
TYPES: dict[str, Callable[[str], object]] = {
    "DIR": folder,
    "N": number(int, 1),
    "NAME[,NAME…]": lambda text: [part.strip() for part in text.split(",")],
    "PART": number(float, 0),
    "PERCENT": number(float, 0, 100),
    "S": number(int, 0),
    "S[,S…]": seeds,
    "SDS": number(float, 0, exclusive=True),
    "SECONDS": number(float, 0, exclusive=True),
    "SIGMA": number(float, 0),
}

# What may stand behind a comma in the usage of an argument, beside `from 0` and `default 1`.
NOTES: dict[str, dict[str, Any]] = {
    "required": {"required": True},
    "optional": {"nargs": "?"},
    "one or more": {"nargs": "+"},
    "any number": {"nargs": "*"},
    "repeatable": {"action": "append"},
}


def add_arguments(parser: argparse._ActionsContainer, text: str) -> None:
    """Declare arguments by a text: for each its usage, and indented what it is for.

    A usage is `name METAVAR`, `--option METAVAR`, `--option {one,other}` or `--flag`, and notes.
    """
    for one in re.split(r"\n(?=\S)", dedent(text).strip()):
        usage, purpose = one.split("\n", 1)
        name_and_metavar, *notes = usage.split(", ")
        name, _, metavar = name_and_metavar.partition(" ")
        options: dict[str, Any] = {"help": " ".join(purpose.split())}
        if metavar.startswith("{"):
            options["choices"] = metavar[1:-1].split(",")
        elif metavar:
            options |= {"metavar": metavar, "type": TYPES.get(metavar)}
        else:
            options["action"] = "store_true"
        for note in notes:
            match note.split(maxsplit=1):
                case ["from", minimum]:
                    options["type"] = number(int, int(minimum))
                case ["default", value]:
                    options["default"] = [value] if "nargs" in options else value
                case _:
                    options |= NOTES[note]
        parser.add_argument(name, **options)


def command(*declarations: str | Declare) -> Callable[[Run], Declare]:
    """Declare what the function below reads; the parsed arguments have the function as `run`."""

    def declare(run: Run, parser: argparse.ArgumentParser) -> None:
        for one in declarations:
            if isinstance(one, str):
                add_arguments(parser, one)
            else:
                one(parser)
        parser.set_defaults(run=run)

    return lambda run: partial(declare, run)


def add_commands(
    parser: argparse.ArgumentParser, commands: Mapping[str, tuple[str, Declare]]
) -> None:
    """Declare commands, one of which has to be chosen, by name, summary and declaration."""
    chosen = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (summary, declare) in commands.items():
        sentence = f"{summary[0].upper()}{summary[1:]}."
        declare(chosen.add_parser(name, help=summary, description=sentence))


PIECES = """
pieces PIECES
    a folder or zip of files of torch, safetensors or NumPy, or one such file that holds all
    pieces; FILE::NAME is one of several networks in it
"""

RECORD = """
records RECORDS{}
    inputs and predictions: .csv, .csv.gz, .parquet or .npz{}
--inputs NAME[,NAME…]
    columns that hold inputs (default: all the others, in file order)
--predictions NAME[,NAME…]
    columns that hold predictions (default: pred, pred_0, …, prediction…)
--targets NAME[,NAME…]
    columns that hold targets (default: true, true_0, …, target…; not used to solve)
"""
ONE_RECORD, OPTIONAL_RECORD = RECORD.format("", ""), RECORD.format(", optional", "")

PAIRING = """
--signal NAME
    what tells true pairs from wrong ones: fused (all signals together), trace, ratio, log-norm,
    squared-cosine, magnitude, hidden-gram, bias, first-order, first-order-regression or
    first-order-slope (default: {})
--matching NAME, default optimal
    optimal (linear assignment) or greedy (default: optimal)
"""

ACTIVATION = """
--activation NAME
    what the hidden layers apply: relu, gelu, silu, tanh, gelu_tanh, elu, sigmoid, softplus,
    hardswish, leaky_relu, or leaky_relu_0.2 for that slope (default: {})
"""

ANSWER = "answer ANSWER\n  a file, or ids separated by commas"
KEPT = "folder RUN\n  a folder that solve --out kept"
FORCE = "--force\n  overwrite files that exist"
JSON = "--json\n  print one JSON object"
QUIET = "--quiet\n  show no progress"


def records_of(args: argparse.Namespace, path: str) -> "Records":
    """Read a record with the columns that were named."""
    return files.read_records(
        path, inputs=args.inputs, predictions=args.predictions, targets=args.targets
    )


def answer_of(args: argparse.Namespace, pile: "Pile") -> "tuple[PieceId, ...]":
    """Read the answer from a file, or from the argument itself."""
    from unshuffle.pieces.answer import parse_answer

    # os.path.exists says no where Path.exists fails: a hundred ids are longer than a file's name.
    if os.path.exists(args.answer):
        return parse_answer(files.read_text(args.answer), pile)
    if "," not in args.answer:
        raise AnswerError(
            f"the answer {files.shown(args.answer)} is neither a file that exists nor ids "
            "separated by commas; check the path"
        )
    return parse_answer(args.answer, pile)


def interrupted(what_now: str) -> int:
    """Say that Ctrl-C ended the work, and what is left of it; returns the exit status."""
    print(f"unshuffle: interrupted{what_now}", file=sys.stderr)
    return 130
