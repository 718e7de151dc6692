"""What a schema describes comes back as it was; whatever else stands there is refused."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import inf, nan
from typing import Annotated, ClassVar

import pytest

from unshuffle.errors import UsageError
from unshuffle.files.schema import (
    BESIDE,
    Derived,
    Key,
    Kinds,
    OrInfinite,
    OrNaN,
    Word,
    at_least,
    encode,
    read_fields,
    read_value,
)
from unshuffle.pieces.pile import PieceId


class Colour(Enum):
    RED = 1
    BLUE = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Part:
    derived: ClassVar[Derived] = {"double": lambda part: 2 * part.size}

    size: Annotated[int, at_least(1)]
    far: OrInfinite = 0.5
    odd: OrNaN = 0.5


@dataclass(frozen=True)
class Circle:
    kind: ClassVar[str] = "circle"

    radius: float


@dataclass(frozen=True)
class Whole:
    name: Annotated[PieceId, Key("piece")]
    colour: Colour
    parts: tuple[Part, ...]
    places: tuple[int, str]
    shape: Annotated[Circle, Kinds({"circle": Circle})]
    weights: Mapping[Word, float] | None = None
    biases: Mapping[PieceId, tuple[int, ...]] = field(default_factory=dict)
    share: Annotated[float | None, at_least(0)] = None
    other: PieceId | None = None


WHOLE = Whole(
    name="a b",
    colour=Colour.BLUE,
    parts=(Part(1, inf), Part(3, 2.5)),
    places=(4, "x"),
    shape=Circle(1.5),
    weights={"trace": 0.1, "": -1e300},
    biases={"7": (1, 2), 7: ()},
    share=0.25,
    other=0,
)

PLAIN = {
    "piece": "a b",
    "colour": "blue",
    "parts": [
        {"size": 1, "far": None, "odd": 0.5, "double": 2},
        {"size": 3, "far": 2.5, "odd": 0.5, "double": 6},
    ],
    "places": [4, "x"],
    "shape": {"kind": "circle", "radius": 1.5},
    "weights": {"trace": 0.1, "": -1e300},
    "biases": [["7", [1, 2]], [7, []]],
    "share": 0.25,
    "other": 0,
}


def test_an_object_is_written_as_plain_values_and_read_back():
    assert encode(WHOLE) == PLAIN
    for whole in (WHOLE, replace(WHOLE, weights=None, share=None, other=None, biases={})):
        text = json.dumps(encode(whole), allow_nan=False)
        assert read_value(Whole, json.loads(text), "a.json:") == whole


def test_what_has_a_default_may_be_lacking_and_what_is_derived_is_not_read():
    held = {key: PLAIN[key] for key in ("piece", "colour", "parts", "places", "shape")}
    held["parts"] = [{"size": 2, "double": "anything"}]
    whole = read_value(Whole, held, "a.json:")
    assert (whole.parts, whole.weights, whole.biases) == ((Part(2),), None, {})


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_no_number_is_written_that_json_has_not(value):
    assert encode(Part(1, odd=value))["odd"] is None
    assert encode(Circle(value)) == {"radius": None}
    with pytest.raises(UsageError, match="radius is nothing, but a number is expected"):
        read_value(Circle, encode(Circle(value)), "a.json:")


def test_a_table_may_hold_the_fields_of_several_classes_but_not_what_is_kept_beside():
    @dataclass(frozen=True)
    class Half:
        radius: float
        network: Annotated[object, BESIDE] = None

    assert encode(Half(1.0, object())) == {"radius": 1.0}
    table = {"radius": 1, "size": 2}
    assert read_fields(table, "a.json:", Half, Part) == {"radius": 1.0, "size": 2}
    with pytest.raises(UsageError, match="unknown key network; the known ones are radius, size"):
        read_fields(table | {"network": 1}, "a.json:", Half, Part)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("piece", "a,b", "piece is 'a,b', but a piece's number or name"),
        ("piece", "x" * 1001, "piece is 'xxx"),
        ("piece", 10**18, "piece is 1000000000000000000, but"),
        ("piece", -1, "piece is -1, but"),
        ("piece", True, "piece is True, but"),
        ("piece", 1.0, "piece is 1.0, but"),
        ("colour", "green", "colour is 'green', but one of red, blue"),
        ("colour", ["red"], "colour is a list of 1, but one of red, blue"),
        ("parts", {}, "parts is a table, but a list"),
        ("parts", [PLAIN], "parts[0] has an unknown key piece; the known ones are size, "),
        ("parts", [{"size": 1}, {"size": 0}], "parts[1].size is 0, but a whole number at least 1"),
        ("parts", [{"size": True}], "parts[0].size is True, but a whole number at least 1"),
        ("parts", [{}], "parts[0] lacks the key size, which has no default"),
        ("parts", [{"size": 1, "odd": nan}], "parts[0].odd is nan, but a number"),
        ("parts", [{"size": 1, "far": 10**400}], "parts[0].far is 1000"),
        ("parts", [{"size": 1, "far": False}], "parts[0].far is False, but a number"),
        ("places", [1], "places is a list of 1, but a list of 2"),
        ("places", [1, 2], "places[1] is 2, but text in quotes"),
        ("shape", {"radius": 1}, "shape.kind is nothing, but one of circle"),
        ("shape", {"kind": []}, "shape.kind is a list of 0, but one of circle"),
        ("shape", {"kind": "circle"}, "shape lacks the key radius"),
        ("shape", 1, "shape is 1, but a table of keys and values"),
        ("weights", [], "weights is a list of 0, but a table of keys and values"),
        ("weights", {"a": "1"}, "weights.a is '1', but a number"),
        ("weights", {"\x1b": 1}, "weights: a key is '\\x1b', but text in quotes of at most 1000"),
        ("weights", {"x" * 1001: 1}, "weights: a key is 'xxx"),
        ("biases", {}, "biases is a table, but a list of pairs"),
        ("biases", [[1, []], [1, []]], "biases is a list of 2, but a list of pairs, none of them"),
        ("biases", [[1]], "biases[0] is a list of 1, but a list of 2"),
        ("biases", [[1, ["2"]]], "biases[0][1][0] is '2', but a whole number"),
        ("share", -1, "share is -1, but a number at least 0"),
        ("other", "", "other is '', but a piece's number or name"),
        ("a\nb", 1, "has an unknown key 'a\\nb'"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(key, value, says):
    with pytest.raises(UsageError) as caught:
        read_value(Whole, PLAIN | {key: value}, "a.json:")
    message = str(caught.value)
    assert message.startswith(f"a.json: {says}")
    assert message.isprintable()
    assert len(message) < 500
