"""What the library's functions take as pile or record: the thing itself, or its path."""

import os

from unshuffle.blocks.blueprints import Blueprint, LoopBlueprint
from unshuffle.errors import UsageError
from unshuffle.files.opening import shown
from unshuffle.files.pile_reader import read_pile
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records


def check_sequence(pieces: object, record: object) -> None:
    """Refuse pieces and record that stand in each other's place, given by path or as they are."""
    folder_first = isinstance(pieces, str | os.PathLike) and os.path.isdir(pieces)
    folder_last = isinstance(record, str | os.PathLike) and os.path.isdir(record)
    if isinstance(pieces, Records) or is_table(pieces):
        found, place = pieces, "pieces belong"
    elif isinstance(record, Pile) or (folder_last and not folder_first):
        found, place = record, "record belongs"
    else:
        return
    named = shown(found) if isinstance(found, str | os.PathLike) else f"a {type(found).__name__}"
    raise UsageError(f"{named}: stands where the {place}; the pieces come first, then the record")


def is_table(given: object) -> bool:
    """Whether a path looks like a record's."""
    if not isinstance(given, str | os.PathLike):
        return False
    name = str(given).lower().removesuffix(".gz")
    return name.endswith((".csv", ".tsv", ".parquet", ".jsonl"))


def as_pile(given: Pile | str | os.PathLike[str], *, linear: bool = True) -> Pile:
    """The pile, read if it is given by its path; raises as `read_pile` does."""
    if isinstance(given, Pile):
        return given
    if isinstance(given, str | os.PathLike):
        return read_pile(given, linear=linear)
    raise UsageError(
        f"the pieces are given as {type(given).__name__}; give their path or a Pile, such as "
        "Pile([Piece.linear(0, weight, bias), …])"
    )


def as_records(
    given: Records | str | os.PathLike[str], *, named: bool = False, clock: Clock | None = None
) -> Records:
    """The record, read if it is given by its path; raises as `read_records` does."""
    if isinstance(given, Records):
        return given
    if isinstance(given, str | os.PathLike):
        from unshuffle.files.records_file import read_records

        return read_records(given, named=named, time_limit=clock)
    raise UsageError(
        f"the record is given as {type(given).__name__}; give its path or Records(inputs, "
        "predictions)"
    )


def read_for(
    blueprint: Blueprint | None,
    pile: Pile | str | os.PathLike[str],
    records: Records | str | os.PathLike[str],
    clock: Clock | None = None,
) -> tuple[Pile, Records]:
    """Pile and record, read as a blueprint needs them if they are paths. None is the puzzle's kind.

    The tensors of the pile get the blueprint's names. It raises if they fit none.
    """
    check_sequence(pile, records)
    pile = as_pile(pile, linear=blueprint is None)
    tables = blueprint is None or isinstance(blueprint, LoopBlueprint)
    records = as_records(records, named=not tables, clock=clock)
    return (pile if blueprint is None else blueprint.fitted(pile)), records
