"""Tables as text with a separator.

They are read in parts of whole lines. NumPy reads a part at some 40 MB/s but says little about what
is wrong. A part that it refuses, or that holds something else than finite numbers, is read again by
Python's csv module. That is slow, and names the first bad cell.
"""

import csv
import io
import re
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from unshuffle.errors import FileError, RecordError, shown
from unshuffle.files import limits
from unshuffle.files.table import INDEX, Columns, check_names, check_size
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats

_SEPARATORS = (b",", b"\t", b";", b"|")  # the one most often in the header; of equals the first
_PART = 2**20  # bytes that are read together, more where lines are longer
_CLOCK_ROWS = 1000  # that are read one by one before the clock is looked at again

_LINE_END = re.compile(rb"\r\n?|\n")
# A byte order mark, the separator as Excel names it, blank lines, and NumPy's mark of a header.
_BEFORE_HEADER = re.compile(rb"(?:\xef\xbb\xbf)?(?:sep=.(?=[\r\n]))?[\r\n]*(?:#[ \t]*)?")

# What to do about a cell that is no number.
_ADVICE = "correct it or leave the row out"
_COLUMN = "if no row has a number there, take the column out of the file"
_POINTS = "save the file with points in decimals, and nothing between thousands"

# Each text matches in one way at most, so that a long cell takes no longer than reading it.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?", re.ASCII)  # of decimals
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)


def open_csv(content: bytes, path: Path, clock: Clock) -> "CsvTable":
    """Read the header of a text in UTF-8; `path` names it in messages.

    Where the first line holds numbers, columns are called `0`, `1`, … A first column without a name
    is called `INDEX`.
    """
    content, start, separator = _separated(content)
    first = 1 + _line_ends(content, start)
    line, end, header = next(_rows(content, start, first, path, separator), (0, 0, []))
    names = [name.strip() for name in header]
    if any("\ufffd" in name or "\0" in name for name in names):
        raise FileError(f"{shown(path)}: is not UTF-8 text; save it as CSV in UTF-8")
    counted = [str(place) for place in range(len(names))]
    headless = bool(names) and names != counted and all(map(_is_number, names))
    if headless:
        names = counted
    elif len(names) > 1:
        names[0] = names[0] or INDEX
    check_names(names, path)
    ends = [
        start,
        *(one.end() for one in islice(_LINE_END.finditer(content, start), end - line + 1)),
    ]
    body = ends[-1] if len(ends) == end - line + 2 else len(content)
    return CsvTable(path, content, tuple(names), separator, start if headless else body, clock)


def _separated(content: bytes) -> tuple[bytes, int, str]:
    """The text with blanks as tabs where they separate; where its header begins; its separator."""
    blank = _BEFORE_HEADER.match(content)
    start = blank.end() if blank else 0
    beginning = content[start : start + limits.LINE_CHARACTERS]
    header = _LINE_END.split(beginning, 1)[0].strip()
    if b" " not in header or any(separator in header for separator in _SEPARATORS):
        return content, start, max(_SEPARATORS, key=header.count).decode()
    text = re.sub(rb" +", b"\t", content[start:].strip(b" "))
    for end in (b"\n", b"\r"):
        text = text.replace(b"\t" + end, end).replace(end + b"\t", end)
    return content[:start] + text, start, "\t"


def _line_ends(content: bytes, stop: int) -> int:
    """How many lines end before a position."""
    return sum(content.count(end, 0, stop) for end in (b"\n", b"\r")) - content.count(
        b"\r\n", 0, stop
    )


def _rows(
    content: bytes, start: int, line: int, path: Path, separator: str
) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and cells of each row that is not blank, from a line's start on."""
    stream = io.BytesIO(content)  # which shares the memory
    stream.seek(start)
    # What is not UTF-8 becomes U+FFFD, which is no number, so that its row can be named.
    text = io.TextIOWrapper(stream, "utf-8", "replace", newline="")
    row_characters, before = 0, line - 1

    def lines() -> Iterator[str]:
        """Lines of bounded length, in rows of bounded length: Python's reader has no limits."""
        nonlocal row_characters
        while part := text.readline(limits.LINE_CHARACTERS + 1):
            row_characters += len(part)
            if row_characters > limits.LINE_CHARACTERS:
                raise RecordError(
                    f"{shown(path)}: line {line} begins a row of more than "
                    f"{limits.LINE_CHARACTERS} characters; is it the right file?"
                )
            yield part

    reader = csv.reader(lines(), delimiter=separator)
    try:
        for cells in reader:
            row_characters = 0
            if cells:
                yield line, before + reader.line_num, cells
            line = before + reader.line_num + 1
    except csv.Error as error:
        raise RecordError(
            f"{shown(path)}: line {line} is not CSV ({shown(error)}); is it the right file?"
        ) from error


def _is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell.strip()) or _NOT_FINITE.fullmatch(cell.strip()))


def _or_gap(cell: str) -> float:
    """A number, or NaN for an empty cell; whatever else becomes infinite, and so is noticed."""
    text = cell.strip()
    if not text:
        return np.nan
    return float(text) if _NUMBER.fullmatch(text) else np.inf


@dataclass(frozen=True, eq=False)
class CsvTable:
    """A CSV file, unpacked and held in memory, with its header read.

    `body` is where the first line behind the header begins.
    """

    path: Path
    content: bytes
    names: tuple[str, ...]
    separator: str
    body: int
    clock: Clock

    def columns(self, wanted: Sequence[str], gaps: Collection[str]) -> Columns:
        """Read columns. Errors name the row, from 1 after the header, its line and the column."""
        lines = max(self.content.count(b"\n"), self.content.count(b"\r"))
        check_size(lines + 1, len(self.names), self.path)
        rows, parts = 0, list[Floats]()
        for start, stop in self._parts():
            if parts:
                self.clock.check()
            part = self._quick(start, stop, wanted, gaps)
            if part is None:
                part = self._thorough(start, stop, rows, wanted, gaps)
            parts.append(part)
            rows += len(part)
        check_size(rows, len(wanted), self.path)
        return dict(zip(wanted, np.concatenate(parts).T, strict=True))

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Where parts of whole lines begin and end."""
        start, size = self.body, len(self.content)
        while start < size:
            most = min(start + _PART, size)
            stop = 1 + max(self.content.rfind(end, start, most) for end in (b"\n", b"\r"))
            stop = size if most == size else stop or self.content.find(b"\n", most) + 1 or size
            stop += self.content.startswith(b"\n", stop)  # of a line end in two characters
            if self.content.find(b'"', start, stop) >= 0:
                stop = size  # from here on a cell may hold line ends
            yield start, stop
            start = stop

    def _quick(
        self, start: int, stop: int, wanted: Sequence[str], gaps: Collection[str]
    ) -> Floats | None:
        """Read a part with NumPy, shape (rows, wanted); None where anything at all is unusual."""
        part = self.content[start:stop]
        if len(part) > limits.LINE_CHARACTERS or b'"' in part:
            return None
        lines = [*filter(None, part.splitlines())]
        if not lines:
            return np.empty((0, len(wanted)))
        separator = self.separator.encode()
        if {line.count(separator) for line in lines} != {len(self.names) - 1}:
            return None
        position = {name: i for i, name in enumerate(self.names)}
        empty = np.array([name in gaps for name in wanted])
        none: dict[int | str, Callable[[str], float]] = {}
        or_gap: dict[int | str, Callable[[str], float]] = {position[name]: _or_gap for name in gaps}
        for converters in (none, or_gap):
            with suppress(ValueError):
                numbers: Floats = np.loadtxt(
                    lines,
                    delimiter=self.separator,
                    comments=None,
                    converters=converters,
                    usecols=[position[name] for name in wanted],
                    ndmin=2,
                    encoding="latin1",
                )
                if (np.isfinite(numbers) | (np.isnan(numbers) & empty & bool(converters))).all():
                    return numbers
        return None

    def _thorough(
        self, start: int, stop: int, before: int, wanted: Sequence[str], gaps: Collection[str]
    ) -> Floats:
        """Read a part with Python, shape (rows, wanted), naming the first bad cell."""
        position = {name: i for i, name in enumerate(self.names)}
        positions = [position[name] for name in wanted]
        line = 1 + _line_ends(self.content, start)
        rows = _rows(self.content[start:stop], 0, line, self.path, self.separator)
        values = array("d")  # a list of floats would take four times as much
        for row, (line, _, cells) in enumerate(rows, before + 1):
            if row % _CLOCK_ROWS == 0:
                self.clock.check()
            where = f"{shown(self.path)}: row {row} (line {line})"
            if len(cells) != len(self.names):
                raise RecordError(
                    f"{where} has {len(cells)} cells, but the header names {len(self.names)} "
                    f"columns; {self._no_header(row)}{self._uneven(cells)}"
                )
            advice = _ADVICE if row > 1 else f"{_ADVICE}; {_COLUMN}"
            values.extend(self._cell(cells[i], i, where, gaps, advice) for i in positions)
        return np.frombuffer(values).reshape(-1, len(wanted))

    def _no_header(self, row: int) -> str:
        return (
            "" if row > 1 else f"if {shown(self.names[0])} begins no header, leave out its line; "
        )

    def _uneven(self, cells: list[str]) -> str:
        if len(cells) < len(self.names):
            return (
                f"column {shown(self.names[len(cells)])} is the first without a cell; is a quote "
                "left open, or the row cut short?"
            )
        return f"nothing belongs after column {shown(self.names[-1])}"

    def _cell(
        self, cell: str, position: int, where: str, gaps: Collection[str], advice: str
    ) -> float:
        name = self.names[position]
        text = cell.strip()
        if not text and name in gaps:
            return np.nan
        if _NUMBER.fullmatch(text) and np.isfinite(number := float(text)):
            return number
        found = f"holds {cell[:50]!r}" if text else "is empty"
        raise RecordError(
            f"{where}, column {shown(name)} {found}, but a finite number is needed; "
            f"{_POINTS if _COMMA.fullmatch(text) else advice}"
        )
