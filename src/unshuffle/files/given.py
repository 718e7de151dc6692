"""What the library's functions are given as pile or record: the thing itself, or its path."""

import os

from unshuffle.errors import UsageError
from unshuffle.files.pile_reader import read_pile
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records


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


def as_records(given: Records | str | os.PathLike[str], *, named: bool = False) -> Records:
    """The record, read if it is given by its path; raises as `read_records` does."""
    if isinstance(given, Records):
        return given
    if isinstance(given, str | os.PathLike):
        from unshuffle.files.records_file import read_records

        return read_records(given, named=named)
    raise UsageError(
        f"the record is given as {type(given).__name__}; give its path or Records(inputs, "
        "predictions)"
    )
