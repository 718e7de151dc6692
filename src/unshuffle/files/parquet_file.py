"""Tables in the Parquet format."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unshuffle.errors import FileError, MissingExtraError, RecordError, shown
from unshuffle.files import limits
from unshuffle.files.opening import incomplete
from unshuffle.files.table import Columns, check_cells, check_names, check_size, widened
from unshuffle.files.thrift import Decoder, Struct, ThriftError

# Numbers of fields in the format's `parquet.thrift`, by the structure that they are of.
_SCHEMA, _GROUPS = 2, 4  # FileMetaData
_CHILDREN = 5  # SchemaElement
_CHUNKS = 1  # RowGroup
_COLUMN = 3  # ColumnChunk
_PACKED, _DATA_PAGE, _DICTIONARY_PAGE = 7, 9, 11  # ColumnMetaData
_PAGE_UNPACKED, _PAGE_PACKED = 2, 3  # PageHeader

# What comes of a structure that is not what it should be.
_CONTRADICTIONS = (AttributeError, LookupError, TypeError, ValueError)


def open_parquet(content: bytes, path: Path) -> "ParquetTable":
    """Read the schema of a Parquet file, which `path` names in messages."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", f"reading {shown(path)}") from error
    footer = _footer(content, path)
    try:
        file = parquet.ParquetFile(
            pa.BufferReader(content), thrift_container_size_limit=limits.THRIFT_PARTS
        )
        names = tuple(file.schema_arrow.names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise incomplete(path, "Parquet", error) from error
    check_names(names, path)
    return ParquetTable(path, content, footer, file, names)


def _footer(content: bytes, path: Path) -> Struct:
    """What the end of the file says of its columns and of where their pages are."""
    length = int.from_bytes(content[-8:-4], "little")
    if len(content) < 12 or content[-4:] != b"PAR1" or length > len(content) - 12:
        raise incomplete(path, "Parquet", "it does not end as one")
    what = f"{shown(path)}: its footer holds {length} bytes"
    limits.check_count(length, limits.FOOTER_BYTES, what, "write fewer row groups")
    try:
        footer = Decoder(content[-8 - length : -8]).struct()
        depth = _depth([element.get(_CHILDREN, 0) for element in footer[_SCHEMA]])
    except _CONTRADICTIONS as error:
        raise incomplete(path, "Parquet", error) from error
    if depth > limits.SCHEMA_DEPTH:
        raise FileError(
            f"{shown(path)}: has columns in columns, more than {limits.SCHEMA_DEPTH} deep; leave "
            "these out"
        )
    return footer


def _depth(children: Sequence[int]) -> int:
    """How deep elements lie at most that are listed before their children, of so many each."""
    depth, open_elements = 0, list[int]()
    for count in children:
        while open_elements and open_elements[-1] <= 0:
            open_elements.pop()
        if open_elements:
            open_elements[-1] -= 1
        open_elements.append(count)
        depth = max(depth, len(open_elements))
    return depth


@dataclass(frozen=True, eq=False)
class ParquetTable:
    """A Parquet file, held in memory, with its footer and pyarrow's reader of it."""

    path: Path
    content: bytes
    footer: Struct
    file: Any
    names: tuple[str, ...]

    def columns(self, wanted: Sequence[str], gaps: Collection[str]) -> Columns:
        """Read columns; the errors name the row, counted from 1, and the column."""
        import pyarrow as pa

        self._check_types(wanted)
        self._check_declared(wanted)
        try:
            table = self.file.read(columns=list(wanted), use_threads=False)
            columns = {name: widened(table.column(name).to_numpy()) for name in wanted}
            empty = {name: table.column(name).is_null().to_numpy() for name in gaps}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise incomplete(self.path, "Parquet", error) from error
        check_size(len(table), len(wanted), self.path)
        check_cells(columns, empty, self.path)
        return columns

    def _check_types(self, wanted: Sequence[str]) -> None:
        from pyarrow import types

        for name in wanted:
            kind = self.file.schema_arrow.field(name).type
            if not types.is_floating(kind) and not types.is_integer(kind):
                raise RecordError(
                    f"{shown(self.path)}: column {shown(name)} is of type {shown(kind)}, but "
                    "numbers are needed; convert it or leave it out"
                )

    def _check_declared(self, wanted: Sequence[str]) -> None:
        """Compare what the parts of the file declare with each other and with the limits."""
        size, where = len(self.content), shown(self.path)
        metadata = self.file.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        check_size(metadata.num_rows, metadata.num_columns, self.path)
        if metadata.num_rows != sum(group.num_rows for group in groups):
            raise incomplete(self.path, "Parquet", "its row groups do not add up")
        limits.check_growth(metadata.num_rows * len(wanted) * 8, size, where)
        try:
            unpacked = sum(self._page_sizes())
        except _CONTRADICTIONS as error:
            raise incomplete(self.path, "Parquet", error) from error
        limits.check_growth(unpacked, size, where)

    def _page_sizes(self) -> Iterator[int]:
        """What the pages of all columns unpack to, as each page declares, and the library takes."""
        pages = 0
        for group in self.footer[_GROUPS]:
            for chunk in group[_CHUNKS]:
                column = chunk[_COLUMN]
                starts = [column[_DATA_PAGE], column.get(_DICTIONARY_PAGE, 0)]
                at = Decoder(self.content, min(start for start in starts if start > 0))
                end = at.position + column[_PACKED]
                if not at.position <= end <= len(self.content):
                    raise ThriftError("a column ends where it cannot")
                while at.position < end:
                    pages, at.containers = pages + 1, 0
                    header = at.struct()
                    packed, unpacked = header[_PAGE_PACKED], header[_PAGE_UNPACKED]
                    if packed < 0 or unpacked < 0 or pages > limits.PAGES:
                        raise ThriftError("a page has a size below 0, or there are too many")
                    at.position += packed
                    yield unpacked
