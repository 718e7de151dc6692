"""What the library's functions take as pile or record: the thing itself, or its path."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from unshuffle.blocks.blueprints import Blueprint, LoopBlueprint
from unshuffle.errors import RecordError, UsageError, shown
from unshuffle.files.found import is_called_table
from unshuffle.files.pile_reader import read_pile
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Piece, Pile, as_floats
from unshuffle.pieces.records import Records

# What stands for a pile: itself, its path, or its pieces as pairs (weight, bias) or state dicts.
GivenPile = Pile | str | os.PathLike[str] | Sequence[Any]
# What stands for a record: itself, its path, or a pair of arrays or tensors.
GivenRecords = Records | str | os.PathLike[str] | Sequence[Any]


def check_sequence(pieces: object, record: object) -> None:
    """Refuse pieces and record that stand in each other's place, given by path or as they are."""
    table = isinstance(pieces, str | os.PathLike) and is_called_table(str(pieces))
    folder_first = isinstance(pieces, str | os.PathLike) and os.path.isdir(pieces)
    folder_last = isinstance(record, str | os.PathLike) and os.path.isdir(record)
    if table or isinstance(pieces, Records):
        found, place = pieces, "pieces belong"
    elif isinstance(record, Pile) or (folder_last and not folder_first):
        found, place = record, "record belongs, which is one file"
    else:
        return
    named = shown(found) if isinstance(found, str | os.PathLike) else f"a {type(found).__name__}"
    raise UsageError(f"{named}: stands where the {place}; the pieces come first, then the record")


def _piece(name: int, given: Any) -> Piece:
    """A piece given as one, as weight and bias, as tensors by name, or as a PyTorch module."""
    if isinstance(given, Piece):
        return given
    tensors = given.state_dict() if hasattr(given, "state_dict") else given
    if isinstance(tensors, Mapping):
        return Piece(name, tensors)
    if isinstance(tensors, list | tuple) and len(tensors) == 2:
        return Piece.linear(name, *tensors)
    raise UsageError(
        f"entry {name} of the pieces is a {type(given).__name__}; give each as a pair (weight, "
        "bias), a state dict or a Piece"
    )


def as_pile(given: GivenPile, *, linear: bool = True) -> Pile:
    """The pile, read if it is given by its path; raises as `read_pile` does.

    The pieces of a list are called 0, 1, …
    """
    if isinstance(given, Pile):
        return given
    if isinstance(given, str | os.PathLike):
        return read_pile(given, linear=linear)
    if isinstance(given, list | tuple):
        return Pile(_piece(name, each) for name, each in enumerate(given))
    raise UsageError(
        f"the pieces are given as {type(given).__name__}; give their path, a Pile, or a list of "
        "pairs (weight, bias) or state dicts"
    )


def as_records(given: GivenRecords, *, named: bool = False, clock: Clock | None = None) -> Records:
    """The record, read if it is given by its path; raises as `read_records` does."""
    if isinstance(given, Records):
        return given
    if isinstance(given, str | os.PathLike):
        from unshuffle.files.records_file import read_records

        return read_records(given, named=named, time_limit=clock)
    if isinstance(given, list | tuple) and len(given) == 2:
        predictions = as_floats(given[1], "what is given as predictions", RecordError)
        return Records(given[0], predictions[:, None] if predictions.ndim == 1 else predictions)
    raise UsageError(
        f"the record is given as {type(given).__name__}; give its path, a pair (inputs, "
        "predictions), or Records(inputs, predictions)"
    )


def read_for(
    blueprint: Blueprint | None,
    pile: GivenPile,
    records: GivenRecords,
    clock: Clock | None = None,
) -> tuple[Pile, Records]:
    """Pile and record, read as a blueprint needs them if they are paths. None is the puzzle's kind.

    The tensors of the pile get the blueprint's names. It raises if they fit none, or if the network
    does not read the arrays of the record.
    """
    check_sequence(pile, records)
    pile = as_pile(pile, linear=blueprint is None)
    tables = blueprint is None or isinstance(blueprint, LoopBlueprint)
    records = as_records(records, named=not tables, clock=clock)
    if blueprint is None:
        return pile, records
    pile = blueprint.fitted(pile)
    blueprint.check_record(records)
    return pile, records
