"""How commands are declared, the arguments that several share, and what becomes of them."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from math import inf
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import unshuffle
from unshuffle import files
from unshuffle.errors import AnswerError, UsageError, shown

if TYPE_CHECKING:
    from pathlib import Path

    from unshuffle import Pile, Records
    from unshuffle.blocks.module_blueprint import ModuleBlueprint
    from unshuffle.pieces.clock import Clock
    from unshuffle.pieces.pile import PieceId

Declare = Callable[[argparse.ArgumentParser], None]
Number = Callable[[str], float]
Command = Callable[[argparse.Namespace], int]  # what a command does; returns the exit status

# Exit statuses: of what does its work, of what judges an answer, of what looks for one.
DONE = "0 done, 2 a mistake, 130 interrupted"
PARTLY = "0 done, 3 some of it could not be done, 2 a mistake, 130 interrupted"
JUDGED = "0 exact, 3 not exact, 2 a mistake, 130 interrupted"
SOLVED = (
    "0 exact, 3 finished but not exact, 4 no arrangement fits,\n"
    "2 a mistake, 130 interrupted, 143 terminated"
)


def number(
    kind: Number, minimum: float, maximum: float = inf, *, exclusive: bool = False
) -> Number:
    """An argument type: a number at least, or above, a minimum, and not too large."""

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


def seconds(text: str) -> float:
    """An argument type: a duration, such as 10, 10s, 1.5m or 2h."""
    from unshuffle.pieces.clock import duration

    try:
        return duration(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def activation(text: str) -> str | None:
    """An argument type: a name in any case. `auto` is what happens without it."""
    return None if text.lower() == "auto" else text.lower()


def name_or_file(text: str) -> str:
    """An argument type: a name in any case, or the path of a .toml file."""
    return text if text.endswith(".toml") else text.lower()


# By metavar, the type of an argument; all others are text.
TYPES: dict[str, Callable[[str], object]] = {
    "ACTIVATION": activation,
    "APPROACH": str.lower,
    "DIR": folder,
    "FIGURE": str.lower,
    "N": number(int, 1),
    "NAME": str.lower,
    "NAME[,NAME…]": lambda text: [part.strip() for part in text.split(",")],
    "PART": number(float, 0),
    "PATTERN": str.lower,
    "PERCENT": number(float, 0, 100),
    "RECIPE": name_or_file,
    "S": number(int, 0),
    "S[,S…]": seeds,
    "SDS": number(float, 0, exclusive=True),
    "SECONDS": seconds,
    "SIGMA": number(float, 0),
    "SUBJECT": name_or_file,
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
    A line `# title` begins a group of arguments.
    """
    group = parser
    for one in re.split(r"\n(?=\S)", dedent(text).strip()):
        if one.startswith("# "):
            group = _group(parser, one[2:])
            continue
        usage, purpose = one.split("\n", 1)
        name_and_metavar, *notes = usage.split(", ")
        name, _, metavar = name_and_metavar.partition(" ")
        options: dict[str, Any] = {"help": " ".join(purpose.split())}
        if metavar.startswith("{"):
            options |= {"choices": metavar[1:-1].split(","), "type": str.lower}
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
        optional = name.startswith("--") and metavar and not options.get("required")
        if optional and "default" not in options["help"]:
            value = options.get("default", "none")
            options["help"] += f" (default: {value[0] if 'nargs' in options else value})"
        group.add_argument(name, **options)


def _group(parser: argparse._ActionsContainer, title: str) -> argparse._ActionsContainer:
    """The group of that title, made where there is none."""
    there = [group for group in parser._action_groups if group.title == title]
    return there[0] if there else parser.add_argument_group(title)


def help_below(first: str, second: str, exits: str = DONE) -> str:
    """What stands below the arguments: two examples, and what exit statuses mean."""
    lines = f"examples:\nunshuffle {first}\nunshuffle {second}\n\nexit status:\n{exits}"
    return re.sub(r"\n(?=\S)(?!exit)", "\n  ", lines)


def command(
    *declarations: str | Declare, examples: tuple[str, str], exits: str = DONE
) -> Callable[[Command], Declare]:
    """Declare what the function below reads.

    The parsed arguments have the function as `run`, and the command's parser as `parser`.
    `examples` are two calls without the program's name. `exits` says what exit statuses mean.
    """

    def declare(run: Command, parser: argparse.ArgumentParser) -> None:
        for one in declarations:
            if isinstance(one, str):
                add_arguments(parser, one)
            else:
                one(parser)
        parser.epilog = help_below(*examples, exits)
        parser.set_defaults(run=run, parser=parser)

    return lambda run: partial(declare, run)


def add_commands(
    parser: argparse.ArgumentParser,
    commands: Mapping[str, tuple[str, Declare]],
    examples: tuple[str, str],
    exits: str,
) -> None:
    """Declare commands, one of which has to be chosen, by name, summary and declaration."""
    parser.epilog = help_below(*examples, exits)
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
    inputs and predictions: a table as text, JSON, Parquet or arrays, also in .gz or .zip; with
    --model .npz or .safetensors with arrays called as forward's parameters, and the output
    prediction{}
# columns of the record
--inputs NAME[,NAME…]
    columns that hold inputs (default: all the others, in file order); columns without names
    are called 0, 1, …
--predictions NAME[,NAME…]
    columns that hold predictions (default: pred, pred_0, …, y_pred, y_hat, prediction…;
    else y, output, logit, … where no input comes behind; without names the last)
--targets NAME[,NAME…]
    columns that hold targets (default: true, true_0, …, y_true, target…; not used to
    solve)
"""
ONE_RECORD, OPTIONAL_RECORD = RECORD.format("", ""), RECORD.format(", optional", "")

MODEL = """
# the network's code
--model FILE.py:FUNCTION
    a network of any other kind than blocks x + out(a(inp(x))): the function needs no argument and
    returns its PyTorch module, with the right weights wherever no piece goes. The file is run,
    because you name it: name none that you do not trust (default: none)
"""

DEVICE = """
# the network's code
--device DEVICE
    where the module of --model is run, by PyTorch's name, such as cuda (default: cpu)
"""

PAIRING = """
# the search
--signal NAME
    what tells true pairs from wrong ones: fused (all signals together), trace, ratio, log-norm,
    squared-cosine, magnitude, hidden-gram, bias, first-order, first-order-regression or
    first-order-slope (default: {})
--matching NAME, default optimal
    optimal (linear assignment) or greedy
"""

ACTIVATION = """
# the search
--activation ACTIVATION
    what the hidden layers apply: relu, gelu, silu, tanh, gelu_tanh, quick_gelu, elu, sigmoid,
    softplus, hardswish, mish, selu, softsign, relu6, relu2, leaky_relu, or leaky_relu_0.2 for that
    slope
    (default: auto, {})
"""

ANSWER = """
answer ANSWER
    ids in the order in which they are applied, a file of them, or the folder that solve --out kept.
    They stand between commas or blanks, one a line, in brackets, or in JSON such as solution.json
"""
KEPT = "folder RUN\n  a folder that solve --out kept"
FORCE = "# what is kept\n--force\n  overwrite files that exist"
JSON = "# what is printed\n--json\n  print one JSON object"
QUIET = "# what is printed\n--quiet\n  show no progress"


def pile_of(args: argparse.Namespace) -> "Pile":
    """Read the pieces; names that are unknown and a device without a module are refused first."""
    if args.model is None and getattr(args, "device", None) is not None:
        raise UsageError(
            "--device says where the module of --model runs; leave it out without that"
        )
    if options := {name: getattr(args, name) for name in _NAMES if hasattr(args, name)}:
        from unshuffle.solution.options import Options

        Options(**options)  # which refuses unknown names, before the work
    return files.read_pile(args.pieces, linear=args.model is None)


def records_of(
    args: argparse.Namespace, path: str, clock: "Clock | None" = None, *, named: bool = False
) -> "Records":
    """Read a record with the columns that were named; of a module, with arrays by their names."""
    return files.read_records(
        path,
        inputs=args.inputs,
        predictions=args.predictions,
        targets=args.targets,
        named=named or getattr(args, "model", None) is not None,
        time_limit=clock,
    )


_NAMES = "strategy", "signal", "matching", "activation", "placement"  # that the search knows


# What only says something of the puzzle's blocks, and its defaults.
_OF_THE_PUZZLE = {
    "signal": None,
    "matching": "optimal",
    "activation": None,
    "permuted_units": False,
}


def blueprint_of(args: argparse.Namespace) -> "ModuleBlueprint | None":
    """The blueprint of the module that `--model` names. None where it names none."""
    return None if args.model is None else named_blueprint(args)


def named_blueprint(args: argparse.Namespace) -> "ModuleBlueprint":
    """The blueprint of the module that `--model` names."""
    for name, default in _OF_THE_PUZZLE.items():
        if getattr(args, name, default) != default:
            raise UsageError(
                f"--{name.replace('_', '-')} says something of blocks x + out(a(inp(x))), and "
                "--model of all others; leave one of them out"
            )
    from unshuffle.files.module_file import read_module

    return unshuffle.blueprint(read_module(args.model), getattr(args, "device", None) or "cpu")


def answer_of(args: argparse.Namespace, pile: "Pile") -> "tuple[PieceId, ...]":
    """Read the answer from a file, or from the argument itself."""
    from unshuffle.files.found import SOLUTION
    from unshuffle.pieces.answer import parse_answer

    # os.path.exists says no where Path.exists fails: a hundred ids are longer than a file's name.
    if os.path.exists(args.answer):
        kept = os.path.join(args.answer, SOLUTION)
        return parse_answer(
            files.read_text(kept if os.path.isdir(args.answer) else args.answer), pile
        )
    several = re.search(r"[,;\s]", args.answer.strip())
    with nullcontext() if several else suppress(AnswerError):
        found = parse_answer(args.answer, pile)
        if several or len(found) > 1:
            return found
    raise AnswerError(
        f"the answer {shown(args.answer)} is neither a file that exists nor ids of pieces, such as "
        f"{pile.ids[0]}, separated by commas; check the path, or the ids"
    )


def interrupted(what_now: str) -> int:
    """Say that Ctrl-C ended the work, and what is left of it. It returns the exit status."""
    print(f"unshuffle: interrupted{what_now}", file=sys.stderr)
    return 130
