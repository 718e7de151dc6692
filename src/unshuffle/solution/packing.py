"""Frozen dataclasses of numbers, arrays and one another, as arrays by name and back."""

import json
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

ARRAY = "array"  # the key under which plain values name an array

VALUES = "values"  # the name of the array that holds all plain values as JSON


def pack(value: object) -> dict[str, NDArray[np.generic]]:
    """Lay a dataclass out as arrays; those in it keep their bits."""
    arrays: dict[str, NDArray[np.generic]] = {}
    plain = _plain(value, "", arrays)
    return {**arrays, VALUES: np.array(json.dumps(plain))}


def unpack(kind: type[T], arrays: Mapping[str, NDArray[Any]]) -> T:
    """Make a dataclass out of what `pack` laid out.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the arrays do not make one.
    """
    made = _made(kind, json.loads(str(arrays[VALUES])), arrays)
    assert isinstance(made, kind)
    return made


def _plain(value: object, name: str, arrays: dict[str, NDArray[np.generic]]) -> object:
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {ARRAY: name}
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name), f"{name}.{field.name}", arrays)
            for field in fields(value)
        }
    if isinstance(value, tuple):
        return [_plain(each, f"{name}.{number}", arrays) for number, each in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _made(hint: Any, plain: Any, arrays: Mapping[str, NDArray[Any]]) -> object:
    """The value of a type that plain values stand for."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        (hint,) = (one for one in get_args(hint) if one is not type(None))
        return None if plain is None else _made(hint, plain, arrays)
    if origin is tuple and isinstance(plain, list):
        return tuple(_made(get_args(hint)[0], each, arrays) for each in plain)
    if origin is np.ndarray:
        return _array(np.dtype(get_args(get_args(hint)[1])[0]), plain, arrays)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        if {*plain} != {*hints}:
            raise KeyError(f"{sorted({*plain} ^ {*hints})[0]!r}")
        made = {name: _made(hints[name], plain[name], arrays) for name in hints}
        return hint(**made)  # type: ignore[operator]
    kind = dict if origin is not None else hint
    if kind is float and type(plain) is int:
        return float(plain)
    if type(plain) is not kind:
        raise TypeError(f"{plain!r:.40} where {kind.__name__} is expected")
    return plain


def _array(dtype: np.dtype[Any], plain: Any, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    array = arrays[plain[ARRAY]]
    if array.dtype != dtype or (array.dtype.kind == "f" and np.isnan(array).any()):
        raise ValueError(f"an array of {array.dtype} where {dtype} is expected")
    return array
