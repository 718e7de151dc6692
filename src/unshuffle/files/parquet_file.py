"""Tables in the Parquet format."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unshuffle.errors import FileError, RecordError
from unshuffle.files import limits
from unshuffle.files.opening import read_bytes, shown
from unshuffle.files.table import Columns, check_cells, check_names, check_size, widened


def open_parquet(path: Path) -> "ParquetTable":
    """Read the schema of a Parquet file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ParquetTable
        Its columns, not read yet.

    Raises
    ------
    FileError
        If the file cannot be read, is not a complete Parquet file, or exceeds a limit.
    RecordError
        If its columns cannot be told apart.
    """
    import pyarrow as pa
    from pyarrow import parquet

    content = read_bytes(path)
    try:
        file = parquet.ParquetFile(pa.BufferReader(content))
        names = tuple(file.schema_arrow.names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    check_names(names, path)
    return ParquetTable(path, len(content), file, names)


def _damaged(path: Path, error: Exception) -> FileError:
    return FileError(
        f"{shown(path)}: is not a complete Parquet file ({shown(error)}); was it copied or "
        "downloaded completely?"
    )


@dataclass(frozen=True, eq=False)
class ParquetTable:
    """A Parquet file, held in memory, with its schema read.

    Parameters
    ----------
    path
        Where it came from.
    size
        Bytes of the file.
    file
        pyarrow's reader of it.
    names
        The columns.
    """

    path: Path
    size: int
    file: Any
    names: tuple[str, ...]

    def columns(self, wanted: Sequence[str], gaps: Collection[str]) -> Columns:
        """Read columns.

        Parameters
        ----------
        wanted
            Some of `names`.
        gaps
            Those of them that may have empty cells.

        Returns
        -------
        Columns
            Finite, but NaN where a cell is empty.

        Raises
        ------
        FileError
            If the file is damaged or there are more cells than the limit allows.
        RecordError
            If there are no rows, a column does not hold numbers, or a cell is infinite, NaN or,
            outside `gaps`, empty. Names the row, counted from 1, and the column.
        """
        import pyarrow as pa

        self._check_types(wanted)
        self._check_declared()
        try:
            table = self.file.read(columns=list(wanted), use_threads=False)
            columns = {name: widened(table.column(name).to_numpy()) for name in wanted}
            empty = {name: table.column(name).is_null().to_numpy() for name in gaps}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(self.path, error) from error
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

    def _check_declared(self) -> None:
        """Compare what the parts of the file declare with each other and with the limits."""
        metadata = self.file.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        check_size(metadata.num_rows, metadata.num_columns, self.path)
        if metadata.num_rows != sum(group.num_rows for group in groups):
            raise _damaged(self.path, ValueError("its row groups do not add up"))
        for group in groups:
            sizes = [group.column(i).total_uncompressed_size for i in range(group.num_columns)]
            limits.check_growth(sum(sizes), self.size, shown(self.path))
