"""From tables of a TOML file to frozen dataclasses, with one clear line for each mistake.

A dataclass is its own schema: the fields are the keys, a field's type is what its value must be,
and `Annotated[…, Expected]` narrows it further.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from unshuffle.errors import FileError, UsageError
from unshuffle.files import limits, read_text
from unshuffle.files.opening import listed, shown

T = TypeVar("T")


@dataclass(frozen=True)
class Expected:
    """What a value must be beyond its type.

    Parameters
    ----------
    text
        Completes "but … is expected".
    admits
        Whether a value of the right type is that.
    """

    text: str
    admits: Callable[[Any], bool]


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


def one_of(names: Mapping[str, object]) -> Expected:
    """One of the names of a registry."""
    return Expected(f"one of {', '.join(names)}", lambda value: value in names)


_TYPES: dict[Any, tuple[str, tuple[type, ...]]] = {
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("text in quotes", (str,)),
    tuple[str, ...]: ("a list of names", (list,)),
    tuple[int, ...]: ("a list of whole numbers", (list,)),
}
"""By a field's type: what to call it, and what TOML turns it into."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    FileError
        If it cannot be read, is not TOML, or has a line that is too long.
    """
    text = read_text(path, max_bytes=limits.TOML_BYTES)
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > limits.TOML_LINE:
            raise FileError(
                f"{shown(path)}: line {number} has {len(line)} characters, but at most "
                f"{limits.TOML_LINE} are accepted; spread it over several lines"
            )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # lists in lists, numbers of thousands of digits
        raise FileError(f"{shown(path)}: is not TOML: {shown(error)}; correct that line") from error


def build(kind: type[T], table: object, where: str) -> T:
    """Make a dataclass out of a table.

    Parameters
    ----------
    kind
        A dataclass whose fields are of the types in `_TYPES`, perhaps `Annotated`.
    table
        What stands in the file.
    where
        File and table, for the message.

    Raises
    ------
    UsageError
        If `table` is no table, lacks a key, or has an unknown key or an impossible value.
    """
    hints = get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    table = check_keys(table, known, where)
    for name, field in known.items():
        if name not in table and field.default is MISSING:
            raise UsageError(f"{where} lacks the key {name}, which has no default; add it")
    return kind(
        **{name: _checked(value, hints[name], f"{where} {name}") for name, value in table.items()}
    )


def check_keys(table: object, known: Mapping[str, object], where: str) -> dict[str, Any]:
    """Refuse what is no table, or has a key that nobody reads.

    Raises
    ------
    UsageError
        Naming the first unknown key and listing the known ones.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{where} is {_found(table)}, but a table of keys and values is expected")
    for name in table:
        if name not in known:
            raise UsageError(
                f"{where} has an unknown key {shown(name)}; the known ones are "
                f"{listed(list(known), most=20)}"
            )
    return table


def _checked(value: object, hint: Any, where: str) -> object:
    """The value, if it is what the hint says."""
    expectations: tuple[Expected, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        expectations = tuple(rest)
    noun, types = _TYPES[hint]
    fits = isinstance(value, types) and not isinstance(value, bool)
    if hint is float and fits:
        fits = isfinite(value)  # type: ignore[arg-type]
    if fits and types == (list,):
        part_type = get_args(hint)[0]
        fits = all(type(part) is part_type for part in value)  # type: ignore[attr-defined]
    if not fits or not all(expectation.admits(value) for expectation in expectations):
        wanted = " ".join([noun, *(expectation.text for expectation in expectations)])
        raise UsageError(f"{where} is {_found(value)}, but {wanted} is expected")
    if hint is float:
        return float(value)  # type: ignore[arg-type]
    return tuple(value) if isinstance(value, list) else value


def _found(value: object) -> str:
    return shown(repr(value) if isinstance(value, str) else value)
