"""What was picked up off the floor: pieces, and the pile of them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import PileError

Floats = NDArray[np.floating]
"""A float32 or float64 array."""

PieceId = int | str
"""The number in a piece's file name where every name has one, else the name."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One linear layer that lost its place.

    Parameters
    ----------
    id
        The piece's number or name.
    weight
        Shape (rows, columns), float32 or float64: the layer maps `columns` numbers to `rows`.
    bias
        Shape (rows,), of the weight's dtype.
    stored_as
        The dtype in the file: "float64", "float32", "float16" or "bfloat16". The two halves are
        held here as float32, which represents each of their values exactly.
    """

    id: PieceId
    weight: Floats
    bias: Floats
    stored_as: str = "float32"

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise PileError(
                f"piece {self.id}: its weight has shape {self.weight.shape}, but a linear layer's "
                "weight is a matrix with at least one row and column; leave this piece out"
            )
        if self.bias.shape != self.weight.shape[:1]:
            raise PileError(
                f"piece {self.id}: its bias has shape {self.bias.shape}, but a weight of shape "
                f"{self.weight.shape} needs {self.weight.shape[:1]}; was it paired with another "
                "layer's weight?"
            )
        for name, values in (("weight", self.weight), ("bias", self.bias)):
            if not np.isfinite(values).all():
                where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                raise PileError(
                    f"piece {self.id}: its {name} holds {values[where]} at {list(where)}, but "
                    "all numbers of a network are finite; the file is damaged or training diverged"
                )

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weight: (rows, columns)."""
        rows, columns = self.weight.shape
        return rows, columns

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"Piece({self.id!r}, {rows}×{columns}, {self.stored_as})"


class Pile:
    """Pieces in a canonical sequence that their file names and file order do not influence.

    The sequence sorts by the bytes of the numbers, so that every later computation, tie-breaks
    included, comes out the same for the same layers, whatever they are called.

    Parameters
    ----------
    pieces
        At least one piece; ids must be distinct.

    Raises
    ------
    PileError
        If there are no pieces or two share an id.
    """

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.pieces = tuple(sorted(pieces, key=_content))
        if not self.pieces:
            raise PileError("the pile is empty: there is no piece to put together")
        twice = [name for name, count in Counter(self.ids).items() if count > 1]
        if twice:
            raise PileError(f"two pieces are called {twice[0]}: every piece needs an id of its own")

    @cached_property
    def ids(self) -> tuple[PieceId, ...]:
        """The pieces' ids, in canonical sequence."""
        return tuple(piece.id for piece in self.pieces)

    @cached_property
    def index(self) -> dict[PieceId, int]:
        """Position of each id in the canonical sequence."""
        return {name: position for position, name in enumerate(self.ids)}

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The dtype the network computes in: float64 if any piece is float64, else float32."""
        return np.result_type(*{piece.weight.dtype for piece in self.pieces})

    @property
    def stored_as(self) -> tuple[str, ...]:
        """The distinct dtypes found in the files, sorted."""
        return tuple(sorted({piece.stored_as for piece in self.pieces}))

    def __len__(self) -> int:
        return len(self.pieces)

    def __iter__(self) -> Iterator[Piece]:
        return iter(self.pieces)

    def __getitem__(self, position: int) -> Piece:
        return self.pieces[position]

    def __repr__(self) -> str:
        shapes = Counter(piece.shape for piece in self.pieces)
        kinds = ", ".join(f"{n} of {rows}×{cols}" for (rows, cols), n in sorted(shapes.items()))
        return f"Pile({len(self)} pieces: {kinds}; {'/'.join(self.stored_as)})"


def _content(piece: Piece) -> tuple[tuple[int, int], bytes, bytes, str, PieceId]:
    """Sort key: the numbers themselves; identical twins fall back to their ids."""
    kind = type(piece.id).__name__  # keeps int and str ids comparable
    return piece.shape, piece.weight.tobytes(), piece.bias.tobytes(), kind, piece.id
