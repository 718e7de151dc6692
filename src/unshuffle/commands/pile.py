"""`inspect`, `pair`, `verify` and `assemble`: a pile, and what an answer makes of it."""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import unshuffle
from unshuffle import files
from unshuffle.commands.arguments import (
    ACTIVATION,
    ANSWER,
    DEVICE,
    FORCE,
    JSON,
    JUDGED,
    MODEL,
    ONE_RECORD,
    OPTIONAL_RECORD,
    PAIRING,
    PIECES,
    answer_of,
    blueprint_of,
    command,
    named_blueprint,
    pile_of,
    records_of,
)
from unshuffle.errors import FileError, PileError, RecordError, UnshuffleError, UsageError, shown

if TYPE_CHECKING:
    from unshuffle import Network
    from unshuffle.blocks.fitting import Fit
    from unshuffle.pieces.pile import PieceId


@command(
    PIECES,
    OPTIONAL_RECORD,
    MODEL,
    JSON,
    examples=("inspect pieces record.csv --json", "inspect pieces --model net.py:make"),
)
def inspect(args: argparse.Namespace) -> int:
    """Print what the pile and the record hold."""
    found, show, wrong = _inspected(args) if args.model is None else _inspected_module(args)
    if args.json:
        print(json.dumps(found))
    else:
        show(found)
    if wrong is not None:  # what is there is shown before what is wrong is said
        raise wrong
    return 0


# What an inspection found, what prints it, and what is wrong with it.
Inspected = tuple[dict[str, Any], Callable[[dict[str, Any]], None], UnshuffleError | None]


def _inspected(args: argparse.Namespace) -> Inspected:
    """The pieces and their roles in the puzzle's kind of network."""
    from unshuffle.pieces.anatomy import Anatomy, check_biases, read_anatomy
    from unshuffle.pieces.softmax import BEHIND_SOFTMAX, without_softmax
    from unshuffle.proof.alterations import altered_record
    from unshuffle.proof.coarseness import kept_coarsely
    from unshuffle.views.inspection import inspection, print_inspection

    pile = pile_of(args)
    records = records_of(args, args.records) if args.records else None
    notes = pile.notes + kept_coarsely(pile)
    anatomy: Anatomy | None = None
    wrong: UnshuffleError | None = None
    try:
        undone = None if records is None else without_softmax(pile, records)[1]
        if undone is not records:
            notes += (BEHIND_SOFTMAX,)
        elif records is not None:
            notes += altered_record(records)
        anatomy = read_anatomy(pile, records)
        check_biases(pile)
    except PileError as error:
        wrong = error
    except RecordError as error:
        wrong, anatomy = error, read_anatomy(pile)
    return inspection(pile, records, anatomy, notes), print_inspection, wrong


def _inspected_module(args: argparse.Namespace) -> Inspected:
    """The stacks of a module, and which pieces fit which slots."""
    from unshuffle.views.module_inspection import module_inspection, print_module_inspection

    blueprint = named_blueprint(args)
    pile = blueprint.loose(pile_of(args))
    records = records_of(args, args.records) if args.records else None
    fit: Fit | None = None
    wrong: UnshuffleError | None = None
    try:
        fit = blueprint.fit(pile)
        if records is not None:
            blueprint.check_record(records)
    except (PileError, RecordError) as error:
        wrong = error
    return module_inspection(blueprint, fit, pile, records), print_module_inspection, wrong


@command(
    PIECES,
    OPTIONAL_RECORD,
    PAIRING.format("fused"),
    ACTIVATION.format("here relu; for signals that use the record"),
    MODEL,
    DEVICE,
    JSON,
    examples=(
        "pair pieces record.csv --signal trace --matching greedy",
        "pair pieces record.npz --model net.py:make",
    ),
)
def pair(args: argparse.Namespace) -> int:
    """Print the pairs with their margins."""
    if args.model is not None:
        return _group(args)
    pairing = unshuffle.pair(
        pile_of(args),
        records_of(args, args.records) if args.records else None,
        signal=args.signal or "fused",
        matching=args.matching,
        activation=args.activation or "relu",
    )
    if args.json:
        print(json.dumps(pairing.summary()))
    else:
        from unshuffle.views.terminal import print_pairing

        print_pairing(pairing)
    return 0


def _group(args: argparse.Namespace) -> int:
    """Print which pieces of a module share a block, by their weights alone."""
    from unshuffle.files.given import read_for
    from unshuffle.solution.checking import problem_for
    from unshuffle.views.module_inspection import grouping, print_grouping

    if args.records is None:
        raise UsageError(
            "pair --model needs the record too: its inputs show how the blocks of the module run"
        )
    blueprint = named_blueprint(args)
    pile, records = read_for(blueprint, pile_of(args), records_of(args, args.records))
    found = grouping(problem_for(blueprint, pile, records), pile)
    if args.json:
        print(json.dumps(found))
    else:
        print_grouping(found)
    return 0


@command(
    PIECES,
    ONE_RECORD,
    ANSWER,
    ACTIVATION.format("the one that fits best"),
    MODEL,
    DEVICE,
    JSON,
    examples=(
        "verify pieces record.csv '2 0 1 3 4'",
        "verify pieces record.npz solved/answer.txt --model net.py:make",
    ),
    exits=JUDGED,
)
def verify(args: argparse.Namespace) -> int:
    """Print the error of the arrangement."""
    blueprint = blueprint_of(args)
    pile = pile_of(args)
    answer = answer_of(args, pile)
    kept = _kept(args.answer, answer) if (args.activation, blueprint) == (None, None) else None
    records = records_of(args, args.records)
    found = unshuffle.verify(
        pile, records, kept or answer, activation=args.activation, blueprint=blueprint
    )
    if args.json:
        print(json.dumps(found.summary()))
    else:
        from unshuffle.views.terminal import print_verification

        print_verification(found)
    return 0 if found.outcome is unshuffle.Outcome.EXACT else 3


def _kept(path: str, answer: "tuple[PieceId, ...]") -> "unshuffle.Solution | None":
    """The solution that was kept with an answer, which has what was fitted to the record."""
    from unshuffle.files.found import SOLUTION

    kept = (Path(path) if os.path.isdir(path) else Path(path).parent) / SOLUTION
    if not (os.path.exists(path) and kept.is_file()):
        return None
    try:
        solution = unshuffle.read_solution(kept.parent)
    except FileError:  # it need not be one of ours
        return None
    return solution if solution.permutation == answer else None


@command(
    PIECES,
    ANSWER,
    MODEL,
    DEVICE,
    """
    # the network's code
    --record FILE
        with --model: a record, whose inputs show in which order the blocks run (default: none)
    # what is kept
    --to FILE, required
        a .safetensors, .npz, .pt or .pth file (--out is called --to here)
    """,
    FORCE,
    examples=(
        "assemble pieces solved/answer.txt --to network.safetensors",
        "assemble pieces answer.txt --model a.py:f --record r.npz --to net.pt",
    ),
)
def assemble(args: argparse.Namespace) -> int:
    """Write the network: a module's own names, or `blocks.0.inp.weight` … `last.bias`."""
    network = _network(args) if args.model is None else _module(args)
    files.write_network(args.to, network.tensors(), force=args.force)
    print(f"{shown(args.to)}: {network!r}")
    return 0


def _network(args: argparse.Namespace) -> "Network":
    """The network of the puzzle's kind that an answer makes of the pieces."""
    from unshuffle.blocks.assembly import build_network
    from unshuffle.pieces.anatomy import read_anatomy
    from unshuffle.pieces.answer import check_answer, join_answer

    if args.record is not None:
        raise UsageError("--record says how the blocks of --model run; leave it out without that")
    pile = pile_of(args)
    pile, answer = join_answer(pile, answer_of(args, pile))
    check_answer(pile, read_anatomy(pile), answer)
    return build_network(pile, answer)


def _module(args: argparse.Namespace) -> "Network":
    """The module with the pieces that an answer puts into its slots."""
    from unshuffle.solution.checking import assembled

    if args.record is None:
        raise UsageError(
            "assemble --model needs --record: its inputs show in which order the blocks run"
        )
    blueprint = named_blueprint(args)
    pile = pile_of(args)
    records = files.read_records(args.record, named=True)
    return assembled(blueprint, pile, records, answer_of(args, pile))
