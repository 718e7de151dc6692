"""Arguments that several commands share, and how they turn into piles, records and answers."""

import argparse
import os
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unshuffle.pieces.pile import PieceId, Pile
    from unshuffle.pieces.records import Records


def add_pieces(parser: argparse.ArgumentParser) -> None:
    """Add the pile's place."""
    parser.add_argument(
        "pieces",
        metavar="PIECES",
        help="a folder of .pth/.pt, .safetensors or .npz files, one piece each, or one such file "
        "that holds all pieces",
    )


def add_records(parser: argparse.ArgumentParser, *, nargs: str | None = None) -> None:
    """Add the record's place, or that of several, and the names of its columns."""
    several = "; one for each network whose pieces lie in the pile" if nargs == "+" else ""
    parser.add_argument(
        "records",
        metavar="RECORDS",
        nargs=nargs,
        help=f"inputs and predictions: .csv, .csv.gz, .parquet or .npz{several}",
    )
    for name, default in (
        ("inputs", "all the others, in file order"),
        ("predictions", "pred, pred_0, …, prediction…"),
        ("targets", "true, true_0, …, target…; not used to solve"),
    ):
        parser.add_argument(
            f"--{name}",
            metavar="NAME[,NAME…]",
            type=lambda text: [part.strip() for part in text.split(",")],
            help=f"columns that hold {name} (default: {default})",
        )


def add_signal(parser: argparse.ArgumentParser, default: str) -> None:
    """Add how pairs are found."""
    parser.add_argument(
        "--signal",
        metavar="NAME",
        help="what tells true pairs from wrong ones: fused (all signals together), trace, ratio, "
        "log-norm, squared-cosine, magnitude, hidden-gram, bias, first-order, "
        f"first-order-regression or first-order-slope (default: {default})",
    )
    parser.add_argument(
        "--matching",
        default="optimal",
        metavar="NAME",
        help="optimal (linear assignment) or greedy (default: optimal)",
    )


def add_activation(parser: argparse.ArgumentParser, default: str) -> None:
    """Add what the hidden layers apply."""
    parser.add_argument(
        "--activation",
        metavar="NAME",
        help=f"what the hidden layers apply: relu, gelu, silu or tanh (default: {default})",
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add the permission to overwrite."""
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")


def add_commands(
    parser: argparse.ArgumentParser,
    commands: Mapping[str, str],
    prefix: str,
    dest: str,
    words: Collection[str] | None = None,
) -> None:
    """Declare commands, each with a summary, whose modules are called `<prefix><name>`.

    `dest` is the argument that runs one. Where `words` are given, as they are to be parsed, only
    commands among them are imported, since no other can be called.
    """
    chosen = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary in commands.items():
        command = chosen.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        if words is None or name in words:
            module = import_module(f"{prefix}{name}")
            module.add_arguments(command)
            command.set_defaults(**{dest: module.run})


def number(
    kind: Callable[[str], float],
    minimum: float,
    *,
    exclusive: bool = False,
    maximum: float = float("inf"),
) -> Callable[[str], float]:
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


def pile_of(args: argparse.Namespace) -> "Pile":
    """Read the pile."""
    from unshuffle.files import read_pile

    return read_pile(args.pieces)


def records_of(args: argparse.Namespace, path: str | None = None) -> "Records":
    """Read the record, or that of several which lies at a path."""
    from unshuffle.files import read_records

    return read_records(
        path or args.records, inputs=args.inputs, predictions=args.predictions, targets=args.targets
    )


def answer_of(args: argparse.Namespace, pile: "Pile") -> "tuple[PieceId, ...]":
    """Read the answer from a file, or from the argument itself."""
    from unshuffle.errors import AnswerError
    from unshuffle.files import read_text, shown
    from unshuffle.pieces.answer import parse_answer

    # os.path.exists says no where Path.exists fails: a hundred ids are longer than a file's name.
    if os.path.exists(args.answer):
        return parse_answer(read_text(args.answer), pile)
    if "," not in args.answer:
        raise AnswerError(
            f"the answer {shown(args.answer)} is neither a file that exists nor ids separated by "
            "commas; check the path"
        )
    return parse_answer(args.answer, pile)
