"""Which format a record is in, by its content, and the file that a zip or gzip holds."""

import io
import re
import zlib
from pathlib import Path

from unshuffle.errors import FileError, listed, shown
from unshuffle.files import limits
from unshuffle.files.formats import HEAD_BYTES, check_known, files_in, may_hold_arrays
from unshuffle.files.found import is_called_table
from unshuffle.files.opening import incomplete, read_bytes
from unshuffle.files.sources import is_visible
from unshuffle.files.table import Table
from unshuffle.pieces.clock import Clock

# How a file begins.
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_JSON = re.compile(rb"(\xef\xbb\xbf)?\s*[{\[]")
_ARROW = b"ARROW1", b"FEA1", b"\xff\xff\xff\xff"
_BINARY = re.compile(rb"ORC\n[\0-\x08]|[^\n]*\0")  # what no text begins with
_WIDE = b"\xff\xfe", b"\xfe\xff"  # text in UTF-16
_EXCEL = b"\xd0\xcf\x11\xe0"
_WORKBOOK = "xl/workbook.xml"  # in a zip that newer Excel writes

_WRAPPINGS = 2  # a zip of a .csv.gz is the most that anybody makes


def open_table(path: Path, clock: Clock) -> Table:
    """Open a record; none waits for the formats that it is not kept in."""
    content = read_bytes(path)
    size = len(content)
    if path.suffix.lower() == ".npy":
        from unshuffle.files.npy_pair import check_whole

        check_whole(path)
    for _ in range(_WRAPPINGS):
        content, path = _unwrapped(content, path, size)
    where = shown(path)
    if content.startswith(_PARQUET) or content.endswith(_PARQUET):
        from unshuffle.files.parquet_file import open_parquet

        return open_parquet(content, path)
    if _JSON.match(content):
        from unshuffle.files.array_table import open_arrays
        from unshuffle.files.json_table import json_columns

        return open_arrays(json_columns(content, path), path)
    if content.startswith((*_ARROW, _EXCEL)) or files_in(content, where):
        raise _refusal(path)
    if may_hold_arrays(content):
        return _of_arrays(content, path)
    check_known(content, where)
    if _BINARY.match(content[:HEAD_BYTES]) and not content.startswith(_WIDE):
        raise _refusal(path)
    from unshuffle.files.csv_file import open_csv

    return open_csv(content, path, clock)


def _of_arrays(content: bytes, path: Path) -> Table:
    from unshuffle.files.array_table import open_arrays
    from unshuffle.files.formats import arrays_of

    if b"pandas" in content[:HEAD_BYTES]:  # a frame, whose columns the arrays in it do not tell
        raise _refusal(path)
    arrays = arrays_of(content, shown(path))
    if not arrays and path.suffix.lower() != ".npz":
        raise _refusal(path)
    return open_arrays(arrays, path)


def _refusal(path: Path) -> FileError:
    from unshuffle.files.conversion import not_read

    return not_read(path)


def _unwrapped(content: bytes, path: Path, size: int) -> tuple[bytes, Path]:
    """What a gzip or zip holds, of a file of so many bytes; whatever else stays as it is."""
    if content.startswith(_GZIP):
        return _unpacked(content, path, size), path
    archive = files_in(content, shown(path))
    if archive is None:
        return content, path
    names = [name for name in archive.members if all(map(is_visible, Path(name).parts))]
    names = [name for name in names if not name.endswith("/")]
    tables = [name for name in names if is_called_table(name)] or names
    if _WORKBOOK in archive.members:
        return content, path
    if len(tables) != 1:
        raise FileError(
            f"{shown(path)}: is a zip of {listed(tables)}, but one record is needed; unpack it and "
            "give that file"
        )
    limits.check_growth(archive.members[tables[0]].file_size, size, shown(path))
    # A name from a file is no path: it is only shown.
    return archive.read(tables[0]), Path(f"{path}: {tables[0]}")


def _unpacked(packed: bytes, path: Path, size: int) -> bytes:
    import gzip

    most = min(limits.FILE_BYTES, max(limits.FREE_BYTES, limits.GROWTH * size))
    try:
        content = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise incomplete(path, "gzip", error) from error
    limits.check_growth(len(content), size, shown(path))
    return content
