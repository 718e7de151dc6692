"""Plain values from JSON and TOML files. `schema` makes objects out of them."""

import json
from pathlib import Path
from typing import Any

from unshuffle.errors import FileError, shown
from unshuffle.files import limits
from unshuffle.files.opening import read_text


def read_json(path: Path, advice: str, *, max_bytes: int = limits.TEXT_BYTES) -> dict[str, Any]:
    """Read a JSON object, whose values are unchecked. The errors end with the advice."""
    return parse_json(read_text(path, max_bytes=max_bytes), shown(path), advice)


def parse_json(text: str, what: str, advice: str) -> dict[str, Any]:
    """Parse a JSON object, whose values are unchecked; `what` names the text in messages."""
    values = json_value(text, what, advice)
    if not isinstance(values, dict):
        raise FileError(f"{what}: is no JSON object; {advice}")
    return values


def json_value(text: str, what: str, advice: str, *, line: int = 1) -> Any:
    """Parse JSON of any kind, as `parse_json` does an object; it begins in a line of a file."""
    if text.count("[") + text.count("{") > limits.JSON_PARTS:
        raise FileError(f"{what}: has more than {limits.JSON_PARTS} lists and objects; {advice}")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"(line {line - 1 + error.lineno})"
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        if cut:
            advice = f"copy or download it again, or {advice}"
        raise FileError(
            f"{what}: {'is JSON that ends too early' if cut else 'is not JSON'} {place}; {advice}"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; deep nesting
        raise FileError(f"{what}: is no JSON that can be read; {advice}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file whose lines are of bounded length."""
    import tomllib

    text = read_text(path, max_bytes=limits.TOML_BYTES)
    for number, line in enumerate(text.splitlines(), start=1):
        what = f"{shown(path)}: line {number} has {len(line)} characters"
        limits.check_count(len(line), limits.TOML_LINE, what, "spread it over several lines")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # lists in lists, numbers of thousands of digits
        raise FileError(f"{shown(path)}: is not TOML: {shown(error)}; correct that line") from error
