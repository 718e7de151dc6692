"""What was picked up off the floor: pieces, and the pile of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unshuffle.errors import PileError, UnshuffleError, hint, listed, shown
from unshuffle.pieces.fact_table import fact_table

T = TypeVar("T")

Floats = NDArray[np.floating]  # float32 or float64

TINY = 1e-30  # stands for 0 where a logarithm is taken, or where something is divided by it
ROUNDING = 1e-12  # part of a spread, or of a score, below which it is rounding

PieceId = int | str  # the number in a piece's file name where every name has one, else the name

QUANTISED = ("int8", "uint8")  # formats of integers in which weights are stored with scales

# What to do with a network of another kind than blocks x + out(a(inp(x))).
GIVE_CODE = "give the network's code with --model FILE.py:FUNCTION or blueprint="

ID_DIGITS = 18  # of a number that is an id: so many fit into 64 bits
ID_CHARACTERS = 1_000  # of a name that is an id: ids end up in tables and messages


def may_be_id(name: str) -> bool:
    """Whether a text can stand in an answer: one line, no commas, only visible characters."""
    visible = name.isprintable() and name == name.strip() and "," not in name
    return visible and 0 < len(name) <= ID_CHARACTERS


def as_id(value: object) -> PieceId | None:
    """A piece's number or name; None for what is neither."""
    if isinstance(value, str):
        return value if may_be_id(value) else None
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value) if 0 <= int(value) < 10**ID_DIGITS else None
    return None


def twice(names: Iterable[T]) -> list[T]:
    """What occurs more than once, in the sequence of first occurrences."""
    return [name for name, count in Counter(names).items() if count > 1]


def as_floats(values: Any, what: str, error: type[UnshuffleError] = PileError) -> Floats:
    """Numbers as float32 or float64: arrays of any real dtype, PyTorch's tensors, or lists."""
    array = as_array(values, what, error)
    if array.dtype in (np.float32, np.float64):
        return array
    small = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    return array.astype(np.float32 if small else np.float64)


def as_array(values: Any, what: str, error: type[UnshuffleError] = PileError) -> NDArray[Any]:
    """Real numbers as an array: arrays, PyTorch's tensors, or lists."""
    try:
        if hasattr(values, "detach"):  # a tensor, perhaps of a dtype that NumPy does not have
            values = values.detach().cpu()
            values = (values.float() if values.element_size() < 4 else values).numpy()
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError, AttributeError) as reason:
        raise error(
            f"{what} cannot be made an array ({reason}); give an array of numbers"
        ) from None
    if array.dtype.kind not in "fiub":
        raise error(
            f"{what} is {type(values).__name__} of {array.dtype}; give real numbers, as an array, "
            "a tensor or lists of one length"
        )
    return array


def _arrays_of(given: Mapping[str, Any], whose: str) -> dict[str, NDArray[Any]]:
    """Numbers as floats; whole ones beside them, such as counts of batches, as they are."""
    arrays = {name: as_array(values, f"{whose} {name}") for name, values in given.items()}
    real = any(array.dtype.kind == "f" for array in arrays.values())

    def counts(name: str) -> bool:
        return real and hasattr(given[name], "dtype") and arrays[name].dtype.kind != "f"

    return {
        name: array if counts(name) else as_floats(array, f"{whose} {name}")
        for name, array in arrays.items()
    }


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a network that lost its place: tensors that belong together.

    Parameters
    ----------
    id
        The piece's number or name.
    tensors
        float32 or float64, by name. PyTorch's tensors and lists are made arrays. A linear layer
        has a `weight` of shape (outputs, inputs) and a `bias`.
    stored_as
        The dtype of the weight in the file: "float64", "float32", "float16", "bfloat16", "int8" or
        "uint8". Half precision is held as float32, which has each of its values. So are integers,
        multiplied by their scales.

    Raises
    ------
    PileError
        If a tensor is empty or holds a number that is not finite.
    """

    id: PieceId
    tensors: Mapping[str, Floats]
    stored_as: str = "float32"

    def __post_init__(self) -> None:
        name = as_id(self.id)
        if name is None:
            raise PileError(
                f"{shown(repr(self.id))} cannot be the id of a piece; give it a whole number from "
                "0 on, or a name in one line without commas"
            )
        object.__setattr__(self, "id", name)
        by_name = isinstance(self.tensors, Mapping) and self.tensors
        if not by_name or not all(isinstance(one, str) for one in (*by_name, self.stored_as)):
            raise PileError(
                f"piece {self.id}: its tensors are not given by name; write "
                f"Piece.linear({self.id!r}, weight, bias), or Piece(id, {{'weight': …, 'bias': …}})"
            )
        tensors = _arrays_of(self.tensors, f"piece {self.id}: its")
        object.__setattr__(self, "tensors", tensors)
        for name, values in tensors.items():
            if not values.size:
                raise PileError(
                    f"piece {self.id}: its {name} has shape {values.shape} and holds no number; "
                    "leave this piece out"
                )
            _check_finite(self.id, name, values)

    @classmethod
    def linear(
        cls, name: PieceId, weight: ArrayLike, bias: ArrayLike | None, stored_as: str = "float32"
    ) -> "Piece":
        """A linear layer: weight (rows, columns), bias (rows,). None where it was torn off.

        Arrays, PyTorch's tensors and lists are taken.

        Raises
        ------
        PileError
            If weight and bias make no linear layer.
        """
        weight = as_floats(weight, f"piece {name}: its weight")
        if weight.ndim != 2 or 0 in weight.shape:
            raise PileError(
                f"piece {name}: its weight has shape {weight.shape}, but a linear layer's "
                "weight is a matrix with at least one row and column; a network with norms, "
                f"scales or convolutions is none of blocks x + out(a(inp(x))): {GIVE_CODE}"
            )
        if bias is None:
            return cls(name, {"weight": weight}, stored_as)
        bias = as_floats(bias, f"piece {name}: its bias")
        if bias.shape != weight.shape[:1]:
            raise PileError(
                f"piece {name}: its bias has shape {bias.shape}, but a weight of shape "
                f"{weight.shape} needs {weight.shape[:1]}; was it paired with another "
                "layer's weight?"
            )
        return cls(name, {"weight": weight, "bias": bias}, stored_as)

    @property
    def weight(self) -> Floats:
        """The weight of a linear layer. A PileError says that the piece is none."""
        weight = self.tensors.get("weight")
        if weight is None or weight.ndim != 2 or not self.tensors.keys() <= {"weight", "bias"}:
            found = [f"{name} {one.shape}" for name, one in self.tensors.items()] or ["no tensor"]
            raise PileError(
                f"piece {self.id} ({listed(found, 4)}) is no linear layer, but blocks "
                f"x + out(a(inp(x))) are made of these; {GIVE_CODE}"
            )
        return weight

    @property
    def bias(self) -> Floats:
        """The bias of a linear layer. It is zeros if it has none, or that is a piece of its own."""
        bias = self.tensors.get("bias")
        return np.zeros(len(self.weight), self.weight.dtype) if bias is None else bias

    @property
    def detached(self) -> bool:
        """Whether it has no bias, unless that is a piece of its own."""
        return "bias" not in self.tensors

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weight: (rows, columns)."""
        rows, columns = self.weight.shape
        return rows, columns

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all tensors of real numbers by name. What counts batches serves training."""
        return {n: values.shape for n, values in self.tensors.items() if values.dtype.kind == "f"}

    def _repr_html_(self) -> str:
        """Its tensors as a table for notebooks."""
        shapes = [f"{name} {'×'.join(map(str, shape))}" for name, shape in self.shapes.items()]
        facts = {"piece": shown(self.id), "tensors": listed(shapes), "stored as": self.stored_as}
        return fact_table(facts)

    def __repr__(self) -> str:
        sizes = ", ".join("×".join(map(str, shape)) for shape in self.shapes.values())
        return f"Piece({self.id!r}, {sizes}, {self.stored_as})"


@dataclass(frozen=True, eq=False)
class Bias:
    """A bias that was torn off its weight: a piece with values of shape (rows,).

    `behind` is the weight that it was kept right behind, where that is likely to be its own.
    """

    id: PieceId
    values: Floats
    stored_as: str = "float32"
    behind: PieceId | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or not len(self.values):
            raise PileError(
                f"piece {self.id}: its bias has shape {self.values.shape}, but a bias is a vector "
                "with at least one number; leave this piece out"
            )
        _check_finite(self.id, "bias", self.values)


def _check_finite(name: PieceId, tensor: str, values: Floats) -> None:
    if not np.isfinite(values).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise PileError(
            f"piece {name}: its {tensor} holds {values[where]} at {list(where)}, but all numbers "
            "of a network are finite; the file is damaged or training diverged"
        )


class Pile:
    """Pieces in a canonical sequence that their file names and file order do not influence.

    The sequence sorts by the bytes of the numbers. So the same layers give the same result,
    whatever they are called.

    Parameters
    ----------
    pieces
        At least one piece; ids must be distinct.
    biases
        Biases that are pieces of their own. They are in a canonical sequence too.
    notes
        What was noticed when they were read, in sentences.

    Raises
    ------
    PileError
        If there are no pieces or two share an id.
    """

    def __init__(
        self, pieces: Iterable[Piece], biases: Iterable[Bias] = (), notes: Iterable[str] = ()
    ) -> None:
        self.notes = tuple(notes)
        pieces, biases = _all_of(Piece, pieces), _all_of(Bias, biases)
        self.pieces = tuple(sorted(pieces, key=_content))
        self.biases = tuple(sorted(biases, key=_numbers))
        if not self.pieces:
            raise PileError("the pile is empty: there is no piece to put together")
        names = (*self.ids, *(bias.id for bias in self.biases))
        if doubled := twice(names):
            raise PileError(
                f"two pieces are called {doubled[0]}: every piece needs an id of its own"
            )

    @cached_property
    def ids(self) -> tuple[PieceId, ...]:
        """The pieces' ids, in canonical sequence."""
        return tuple(piece.id for piece in self.pieces)

    @cached_property
    def index(self) -> dict[PieceId, int]:
        """Position of each id in the canonical sequence."""
        return {name: position for position, name in enumerate(self.ids)}

    @property
    def detached(self) -> bool:
        """Whether any weight's bias is a piece of its own. If none is, layers have no others."""
        return bool(self.biases)

    @cached_property
    def dtype(self) -> np.dtype[np.floating]:
        """The dtype the network computes in: float64 if any piece is float64, else float32."""
        biases = {bias.values.dtype for bias in self.biases}
        tensors = {values.dtype for piece in self.pieces for values in piece.tensors.values()}
        real = [one for one in tensors if one.kind == "f"]
        return np.result_type(*real, *biases)

    @property
    def stored_as(self) -> tuple[str, ...]:
        """The distinct dtypes found in the files, sorted."""
        found = {piece.stored_as for piece in self.pieces}
        return tuple(sorted(found | {bias.stored_as for bias in self.biases}))

    def joined(self, biases: Mapping[PieceId, Floats]) -> "Pile":
        """The same pieces, in the same sequence, with biases for some of them by their ids."""

        def whole(piece: Piece) -> Piece:
            if piece.id not in biases:
                return piece
            bias = biases[piece.id]
            dtype = np.result_type(piece.weight, bias)
            weight = piece.weight.astype(dtype, copy=False)
            return replace(piece, tensors={"weight": weight, "bias": bias.astype(dtype)})

        pile = self.in_sequence(map(whole, self.pieces))
        pile.biases = ()
        return pile

    def in_sequence(self, pieces: Iterable[Piece]) -> "Pile":
        """The same pile with other contents under the same ids, in the same sequence."""
        pile = copy(self)
        pile.pieces = tuple(pieces)
        pile.__dict__.pop("dtype", None)  # what the pieces hold may be of another one
        return pile

    def turned(self) -> "Pile | None":
        """The same sequence with weights turned. None where lengths tell which way they lie."""
        if self.detached or any(len({*piece.tensors["weight"].shape}) > 1 for piece in self.pieces):
            return None

        def turned(piece: Piece) -> Piece:
            weight = np.ascontiguousarray(piece.weight.T)
            return replace(piece, tensors={**piece.tensors, "weight": weight})

        return self.in_sequence(map(turned, self.pieces))

    def with_columns(self, columns: Mapping[PieceId, Sequence[int]]) -> "Pile":
        """The same pile with the columns of some pieces in another sequence, by their ids."""

        def changed(piece: Piece) -> Piece:
            if piece.id not in columns:
                return piece
            weight = piece.weight[:, np.asarray(columns[piece.id], np.intp)]
            tensors = {**piece.tensors, "weight": np.ascontiguousarray(weight)}
            return replace(piece, tensors=tensors)

        return self.in_sequence(map(changed, self.pieces))

    def __len__(self) -> int:
        return len(self.pieces)

    def __iter__(self) -> Iterator[Piece]:
        return iter(self.pieces)

    def __contains__(self, which: object) -> bool:
        """Whether this piece is in the pile, or one whose id this is, as text."""
        return any(which is piece or which == str(piece.id) for piece in self.pieces)

    def __getitem__(self, which: int | str) -> Piece:
        """The piece at a position in the canonical sequence, or by its id as text."""
        if not isinstance(which, str):
            try:
                return self.pieces[which]
            except (IndexError, TypeError) as error:
                raise PileError(
                    f"there is no piece at position {which!r}; positions go from 0 to "
                    f"{len(self) - 1}, and an id is given as text"
                ) from error
        for piece in self.pieces:
            if str(piece.id) == which:
                return piece
        names = [*map(str, self.ids)]
        raise PileError(
            f"there is no piece {which!r}{hint(which, names)}; the ids, pile.ids, are "
            f"{some_ids(self.ids)}"
        )

    def _repr_html_(self) -> str:
        """The ids of the pieces of each shape as a table for notebooks."""
        ids: dict[str, list[PieceId]] = {}
        for piece in self.pieces:
            ids.setdefault(_first_shape(piece), []).append(piece.id)
        for bias in self.biases:
            ids.setdefault(f"bias of {len(bias.values)}", []).append(bias.id)
        return fact_table({f"{len(some)} of {what}": some_ids(some) for what, some in ids.items()})

    def __repr__(self) -> str:
        shapes = Counter(map(_first_shape, self.pieces))
        kinds = ", ".join(f"{n} of {one}" for one, n in shapes.items())
        loose = f" and {len(self.biases)} biases" if self.biases else ""
        return f"Pile({len(self)} pieces: {kinds}{loose}; {'/'.join(self.stored_as)})"


def some_ids(ids: Iterable[PieceId], most: int = 8) -> str:
    """The first ids of pieces, numbers before names, and how many more there are."""
    return listed(
        sorted(ids, key=lambda name: (isinstance(name, str), len(str(name)), str(name))), most
    )


def _first_shape(piece: Piece) -> str:
    return "×".join(map(str, next(iter(piece.shapes.values()))))


def _all_of(kind: type[T], given: Iterable[T]) -> list[T]:
    """What was given, if all of it is of a kind."""
    members = [*given] if isinstance(given, Iterable) else [given]
    for one in members:
        if not isinstance(one, kind):
            raise PileError(
                f"a pile is made of {kind.__name__} objects, but there is a {type(one).__name__}; "
                "write Piece.linear(id, weight, bias), or read_pile(path)"
            )
    return members


def _content(piece: Piece) -> tuple[object, ...]:
    """Sort key: the numbers themselves; identical twins fall back to their ids."""
    tensors = sorted(piece.tensors.items(), key=lambda each: (each[0] != "weight", each[0]))
    shapes = tuple((name, values.shape) for name, values in tensors)
    kind = type(piece.id).__name__  # keeps int and str ids comparable
    return shapes, tuple(values.tobytes() for _, values in tensors), kind, piece.id


def _numbers(bias: Bias) -> tuple[int, bytes, str, PieceId]:
    """Sort key of a bias, like that of a piece."""
    return len(bias.values), bias.values.tobytes(), type(bias.id).__name__, bias.id
