"""From the plain values of JSON and TOML to frozen dataclasses and back, strictly.

A dataclass is its own schema. Its fields are the keys of a table, and the type of a field says what
its value must be. `Annotated[…, mark]` says more: see `Expected`, `Null`, `Key`, `Kinds`, `BESIDE`.
An unknown, lacking or impossible value is one line: the place, what was found, what was expected.

A class may have a `derived` of type `Derived`. These values are written for readers. They may stand
in a table that is read. But nothing is made of them.

These types have a form in plain values. Numbers, texts and `PieceId` are themselves. But a number
that is not finite is null. A tuple is a list, an enum is the `str` of its member, and a dataclass
is a table. A `Mapping` is a table if its keys are texts, else a list of pairs. `dict[str, Any]` is
a table that somebody else checks. `X | None` is null or the form of X. An array is itself and holds
no NaN. Whoever writes it keeps it beside the plain values.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache, partial, reduce
from math import inf, isfinite, nan
from operator import or_
from sys import float_info
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import UsageError, listed, shown
from unshuffle.files import limits
from unshuffle.pieces.pile import PieceId, as_id

T = TypeVar("T")

# Makes an object out of plain values in a named place; None if they cannot be one.
Make = Callable[[Any, str], Any]

# By key, what is written beside the fields of an object, as a function of the object.
Derived = Mapping[str, Callable[[Any], object]]

# Marks a field that is not among the plain values: it is in another file, or known already.
BESIDE = "beside"

VALUES = "values"  # the name of the array that holds all plain values as JSON
ARRAY = "array"  # the key under which they name an array


@dataclass(frozen=True)
class Expected:
    """What a value must be beyond its type. The text completes "but … is expected"."""

    text: str
    admits: Callable[[Any], bool] = field(repr=False)


@dataclass(frozen=True)
class Null:
    """What null stands for."""

    value: float | None


@dataclass(frozen=True)
class Key:
    """The key of a field that has another name."""

    name: str


@dataclass(frozen=True, eq=False)
class Kinds:
    """Dataclasses by their names. The key `kind` of a table chooses one.

    A table without that key is one of the kind `otherwise`, if there is such a kind.
    """

    by_name: Mapping[str, type]
    otherwise: str | None = None


def at_least(bound: float) -> Expected:
    """A number that is not smaller than `bound`."""
    return Expected(f"at least {bound:g}", lambda value: bool(value >= bound))


def more_than(bound: float) -> Expected:
    """A number larger than `bound`."""
    return Expected(f"more than {bound:g}", lambda value: bool(value > bound))


def share(below_one: bool = False) -> Expected:
    """A number from 0 to 1, perhaps without 1 itself."""
    if below_one:
        return Expected("from 0 to less than 1", lambda value: bool(0 <= value < 1))
    return Expected("from 0 to 1", lambda value: bool(0 <= value <= 1))


def one_of(names: Iterable[str]) -> Expected:
    """One of some names."""
    known = tuple(names)
    return Expected(f"one of {', '.join(known)}", lambda value: value in known)


# A text that may be shown as it is.
Word = Annotated[
    str,
    Expected(
        f"of at most {limits.NAME_CHARACTERS} printable characters",
        lambda text: len(text) <= limits.NAME_CHARACTERS and text.isprintable(),
    ),
]

OrNaN = Annotated[float, Null(nan)]  # a number that may be undefined

OrInfinite = Annotated[float, Null(inf)]  # a number that may be infinite


def read_value(hint: Any, value: object, where: str) -> Any:
    """Make an object of a type that has a form out of plain values.

    `where` is the file and a colon, or the file and the key of the value. A UsageError names the
    key that is unknown or lacking, or the impossible value.
    """
    noun, expected, null, make = _form(hint)
    if value is None and null is not None:
        return null.value
    made = make(value, where)
    if made is None or (expected and not all(one.admits(made) for one in expected)):
        wanted = " ".join([noun, *(one.text for one in expected)])
        raise UsageError(f"{where} is {_found(value)}, but {wanted} is expected")
    return made


def read_fields(table: object, where: str, *kinds: type) -> dict[str, Any]:
    """Read a table with the fields of one or several dataclasses as keys.

    Fields that are marked `BESIDE` are left out. The errors are those of `read_value`.
    """
    values = read_value(dict[str, Any], table, where)
    known = {key: each for kind in kinds for key, each in _schema(kind).items()}
    derived = {key for kind in kinds for key in getattr(kind, "derived", ())}
    for key in values:
        if key not in known and key not in derived:
            names = listed([*known], most=20)
            raise UsageError(f"{where} has an unknown key {shown(key)}; the known ones are {names}")
    for key, (one, _) in known.items():
        if key not in values and one.default is one.default_factory is MISSING:
            raise UsageError(f"{where} lacks the key {key}, which has no default")
    return {
        one.name: read_value(hint, values[key], _under(where, key))
        for key, (one, hint) in known.items()
        if key in values
    }


def encode(value: object) -> dict[str, Any]:
    """The plain values of a dataclass, ready for JSON."""
    kind: Any = type(value)
    schema, derived = _schema(kind), getattr(kind, "derived", {})
    held = {key: _plain(getattr(value, one.name), hint) for key, (one, hint) in schema.items()}
    return held | {key: _plain(derive(value)) for key, derive in derived.items()}


# What comes of plain values that some other program has written.
_FORGED = (RecursionError, ValueError, TypeError, LookupError, AttributeError, OverflowError)


def laid_out(value: object) -> dict[str, NDArray[np.generic]]:
    """The arrays of a dataclass by number, and all its plain values as JSON, which names them."""
    arrays: dict[str, NDArray[np.generic]] = {}

    def aside(array: NDArray[np.generic]) -> dict[str, str]:
        name = str(len(arrays))
        arrays[name] = array
        return {ARRAY: name}

    values = json.dumps(encode(value), default=aside)
    return {**arrays, VALUES: np.array(values)}


def read_laid_out(kind: type[T], arrays: Mapping[str, NDArray[Any]]) -> T:
    """The dataclass that `laid_out` made arrays of. A `UsageError` says why they are of none."""

    def back(table: dict[str, Any]) -> object:
        return arrays[table[ARRAY]] if {*table} == {ARRAY} else table

    try:
        made: T = read_value(kind, json.loads(str(arrays[VALUES]), object_hook=back), "it")
    except _FORGED as error:
        raise UsageError(f"its values are damaged: {shown(str(error))}") from error
    return made


def _plain(value: Any, hint: Any = None) -> Any:
    """The plain form of a value, which is in a field of a type."""
    if isinstance(value, np.generic):
        value = value.item()
    if is_dataclass(value):
        kinds = _mark(Kinds, _parted(hint)[1])
        name = getattr(value, "kind", None)
        chosen = kinds is not None and name != kinds.otherwise
        return encode(value) | ({"kind": name} if chosen else {})
    if isinstance(value, float):
        return value if isfinite(value) else None
    if _parted(hint)[0] in _LEAVES:
        return value
    if isinstance(value, Mapping):
        pairs = [[key, _plain(part)] for key, part in value.items()]
        return dict(pairs) if hint is None or _has_text_keys(_parted(hint)[0]) else pairs
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Enum) else value


@cache
def _schema(kind: Any) -> dict[str, tuple[Field[Any], Any]]:
    """By the keys of its table, the fields of a dataclass and their types."""
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for one in fields(kind):
        marks = _parted(hints[one.name])[1]
        if BESIDE not in marks:
            key = _mark(Key, marks)
            found[key.name if key else one.name] = one, hints[one.name]
    return found


def _parted(hint: Any) -> tuple[Any, list[object]]:
    """A type without `Annotated` and `| None`, and its marks."""
    marks: list[object] = []
    if get_origin(hint) is Annotated:
        hint, *marks = get_args(hint)
    if get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint):
        hint, more = _parted(reduce(or_, [part for part in get_args(hint) if part is not NoneType]))
        marks += [*more, Null(None)]
    return hint, marks


def _mark(kind: type[T], marks: Iterable[object]) -> T | None:
    """The mark of a kind, if there is one."""
    return next((mark for mark in marks if isinstance(mark, kind)), None)


def _has_text_keys(hint: Any) -> bool:
    return get_origin(hint) is Mapping and _parted(get_args(hint)[0])[0] is str


def _under(where: str, key: str) -> str:
    """The place of a key's value."""
    return f"{where}{' ' if where.endswith(':') else '.'}{shown(key)}"


def _found(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return "a table"
        case list():
            return f"a list of {len(value)}"
        case np.ndarray():
            return f"an array of {value.dtype} of shape {value.shape}"
    return shown(repr(value) if isinstance(value, str) else value)


@cache
def _form(hint: Any) -> tuple[str, list[Expected], Null | None, Make]:
    """What to call the values of a type, what is expected, what null is, what makes them."""
    plain, marks = _parted(hint)
    expected = [mark for mark in marks if isinstance(mark, Expected)]
    kinds = _mark(Kinds, marks)
    noun, make = (_TABLE, partial(_of_kind, kinds)) if kinds else _maker(plain)
    return noun, expected, _mark(Null, marks), make


def _maker(hint: Any) -> tuple[str, Make]:
    """What to call the values of a type, and what makes them."""
    parts = get_args(hint)
    if hint in _LEAVES:
        return _LEAVES[hint]
    if get_origin(hint) is np.ndarray:
        dtype = np.dtype(get_args(parts[1])[0])
        return f"an array of {dtype} without NaN", partial(_array, dtype)
    if get_origin(hint) is tuple:
        length = "" if parts[-1] is Ellipsis else f" of {len(parts)}"
        return f"a list{length}", partial(_tuple, parts)
    if get_origin(hint) is Mapping:
        pairs = "a list of pairs, none of them twice", partial(_pairs, parts)
        return (_TABLE, partial(_mapping, *parts)) if _has_text_keys(hint) else pairs
    if issubclass(hint, Enum):
        names = {str(member): member for member in hint}
        return (
            f"one of {', '.join(names)}",
            lambda name, _: names.get(name) if type(name) is str else None,
        )
    return _TABLE, lambda table, where: hint(**read_fields(table, where, hint))


def _array(dtype: np.dtype[Any], value: object, _: str) -> NDArray[Any] | None:
    if not isinstance(value, np.ndarray) or value.dtype != dtype:
        return None
    return None if dtype.kind == "f" and np.isnan(value).any() else value


def _tuple(hints: tuple[Any, ...], parts: object, where: str) -> tuple[Any, ...] | None:
    if type(parts) is not list or (hints[-1] is not Ellipsis and len(hints) != len(parts)):
        return None
    each = hints if hints[-1] is not Ellipsis else hints[:1] * len(parts)
    return tuple(
        read_value(hint, part, f"{where}[{n}]")
        for n, (hint, part) in enumerate(zip(each, parts, strict=True))
    )


def _pairs(hints: tuple[Any, ...], value: object, where: str) -> dict[Any, Any] | None:
    pairs = _tuple((tuple[hints], ...), value, where)  # type: ignore[valid-type]
    return dict(pairs) if pairs is not None and len(dict(pairs)) == len(pairs) else None


def _mapping(key: Any, part: Any, table: object, where: str) -> dict[str, Any] | None:
    if type(table) is not dict:
        return None
    names = [read_value(key, name, f"{where}: a key") for name in table]
    return {name: read_value(part, table[name], _under(where, name)) for name in names}


def _of_kind(kinds: Kinds, value: object, where: str) -> Any:
    """A dataclass that the table itself chooses."""
    table = dict(read_value(dict[str, Any], value, where))
    kind = table.pop("kind", kinds.otherwise)
    if not isinstance(kind, str) or kind not in kinds.by_name:
        known = ", ".join(kinds.by_name)
        raise UsageError(f"{where}.kind is {_found(kind)}, but one of {known} is expected")
    return read_value(kinds.by_name[kind], table, where)


def _number(value: Any, _: str) -> float | None:
    fits = type(value) in (int, float) and abs(value) <= float_info.max
    return float(value) if fits else None


def _piece(value: Any, _: str) -> PieceId | None:
    """A piece's number or name, as `read_pile` gives them."""
    return as_id(value)


def _exactly(kind: type) -> Make:
    """A value of a type, and no other that Python would take for it."""
    return lambda value, _: value if type(value) is kind else None


_TABLE = "a table of keys and values"

# By type, what to call its values, and what makes them.
_LEAVES: dict[Any, tuple[str, Make]] = {
    bool: ("true or false", _exactly(bool)),
    int: ("a whole number", _exactly(int)),
    float: ("a number", _number),
    str: ("text in quotes", _exactly(str)),
    PieceId: ("a piece's number or name", _piece),
    **dict.fromkeys((dict[str, Any], Mapping[str, Any]), (_TABLE, _exactly(dict))),
}
