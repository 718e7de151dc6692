"""Tables as comma-separated text, packed by gzip or not.

pyarrow reads them at some 100 MB/s but says little about what is wrong. So a table that it refuses,
or in which it meets something else than finite numbers, is read a second time by Python's csv
module, which is slow and can name the first bad cell.
"""

import csv
import io
import re
import zlib
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unshuffle.errors import FileError, RecordError
from unshuffle.files import limits
from unshuffle.files.opening import incomplete, read_bytes, shown
from unshuffle.files.table import Columns, check_names, check_size

# Each text matches in one way at most, so that a long cell takes no longer than reading it.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)


def open_csv(path: Path) -> "CsvTable":
    """Read the header of a CSV file in UTF-8; a name that ends in .gz says that it is packed."""
    content = read_bytes(path)
    if path.suffix.lower() == ".gz":
        content = _unpack(content, path)
    rows = _rows(content, path)
    line, end, header = next(rows, (0, 0, []))
    names = tuple(name.strip() for name in header)
    if any("\ufffd" in name or "\0" in name for name in names):
        raise FileError(f"{shown(path)}: is not UTF-8 text; save it as CSV in UTF-8")
    if names and all(_is_number(name) for name in names):
        raise RecordError(
            f"{shown(path)}: line {line} should name the columns, but holds numbers; add a header"
        )
    if len(names) == 1 and re.search(r"[;\t| ]", names[0]):
        raise RecordError(
            f"{shown(path)}: its header has no commas; save it with commas between the columns"
        )
    check_names(names, path)
    return CsvTable(path, content, names, end)


def _unpack(packed: bytes, path: Path) -> bytes:
    import gzip

    most = min(limits.FILE_BYTES, max(limits.FREE_BYTES, limits.GROWTH * len(packed)))
    try:
        content = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise incomplete(path, "gzip", error) from error
    limits.check_growth(len(content), len(packed), shown(path))
    return content


def _rows(content: bytes, path: Path) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and cells of each row that is not blank."""
    # What is not UTF-8 becomes U+FFFD, which is no number, so that its row can be named.
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", "replace", newline="")
    row_characters = 0

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

    reader = csv.reader(lines())
    line = 1
    try:
        for cells in reader:
            row_characters = 0
            if cells:
                yield line, reader.line_num, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise RecordError(
            f"{shown(path)}: line {line} is not CSV ({shown(error)}); is it the right file?"
        ) from error


def _is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell.strip()) or _NOT_FINITE.fullmatch(cell.strip()))


@dataclass(frozen=True, eq=False)
class CsvTable:
    """A CSV file, unpacked and held in memory, with its header of so many lines read."""

    path: Path
    content: bytes
    names: tuple[str, ...]
    header_lines: int

    def columns(self, wanted: Sequence[str], gaps: Collection[str]) -> Columns:
        """Read columns; errors name the row, from 1 after the header, its line and the column."""
        lines = max(self.content.count(b"\n"), self.content.count(b"\r"))
        check_size(lines + 1, len(self.names), self.path)
        quick = self._quick(wanted, gaps)
        return self._thorough(wanted, gaps) if quick is None else quick

    def _quick(self, wanted: Sequence[str], gaps: Collection[str]) -> Columns | None:
        """Read with pyarrow; None where anything at all is unusual."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(self.content),
                # Threads gain little at this size, and the results are the same either way.
                read_options=arrow_csv.ReadOptions(
                    use_threads=False, skip_rows=self.header_lines, column_names=[*self.names]
                ),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=b'"' in self.content),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=list(wanted),
                    column_types=dict.fromkeys(wanted, pa.float64()),
                    null_values=[""],
                ),
            )
        except pa.ArrowException:
            return None
        columns = {name: table.column(name).to_numpy() for name in wanted}
        for name, values in columns.items():
            empty = table.column(name).null_count
            if np.isfinite(values).sum() + empty != len(values) or (empty and name not in gaps):
                return None
        return columns if len(table) else None

    def _thorough(self, wanted: Sequence[str], gaps: Collection[str]) -> Columns:
        """Read with Python, naming the first bad cell."""
        position = {name: i for i, name in enumerate(self.names)}
        positions = [position[name] for name in wanted]
        rows = _rows(self.content, self.path)
        next(rows)
        values = array("d")  # a list of floats would take four times as much
        for row, (line, _, cells) in enumerate(rows, 1):
            where = f"{shown(self.path)}: row {row} (line {line})"
            if len(cells) != len(self.names):
                raise RecordError(
                    f"{where} has {len(cells)} cells, but the header names {len(self.names)} "
                    f"columns; {self._uneven(cells)}"
                )
            values.extend(self._cell(cells[i], i, where, gaps) for i in positions)
        check_size(len(values) // len(wanted), len(wanted), self.path)
        return dict(zip(wanted, np.frombuffer(values).reshape(-1, len(wanted)).T, strict=True))

    def _uneven(self, cells: list[str]) -> str:
        if len(cells) < len(self.names):
            return (
                f"column {shown(self.names[len(cells)])} is the first without a cell; is a quote "
                "left open, or the row cut short?"
            )
        return f"nothing belongs after column {shown(self.names[-1])}"

    def _cell(self, cell: str, position: int, where: str, gaps: Collection[str]) -> float:
        name = self.names[position]
        text = cell.strip()
        if not text and name in gaps:
            return np.nan
        if _NUMBER.fullmatch(text) and np.isfinite(number := float(text)):
            return number
        found = f"holds {cell[:50]!r}" if text else "is empty"
        raise RecordError(
            f"{where}, column {shown(name)} {found}, but a finite number is needed; correct it or "
            "leave the row out"
        )
