"""Small files that would take much: refused for what they declare, before it is taken."""

import gzip
import json
from pathlib import Path
from time import process_time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from unshuffle.errors import FileError, RecordError
from unshuffle.files import limits, read_pile, read_records
from unshuffle.files.plain import read_json, read_toml
from unshuffle.files.thrift import Decoder, ThriftError


def footer(elements: int, children: int) -> bytes:
    """A Parquet footer whose schema has so many elements, each with children but the last."""
    element = b"\x48\x01a\x15" + bytes([2 * children]) + b"\x00"
    schema = element * (elements - 1) + b"\x48\x01a\x15\x00\x00"
    count = bytes([elements & 0x7F | 0x80, elements >> 7 & 0x7F | 0x80, elements >> 14])
    return b"\x15\x02\x19\xfc" + count + schema + b"\x16\x00\x19\x0c\x00"


def parquet(inside: bytes) -> bytes:
    return b"PAR1" + inside + len(inside).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize("depth", [limits.SCHEMA_DEPTH + 1, 100_000])
def test_columns_in_columns(tmp_path: Path, refused, depth: int) -> None:
    """The library that reads Parquet descends by recursion, in older releases without a limit."""
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet(footer(depth, children=1)))
    with refused(FileError, path, f"more than {limits.SCHEMA_DEPTH} deep"):
        read_records(path)
    path.write_bytes(parquet(footer(9, children=1)))
    with refused(RecordError, path):  # deep, but no deeper than allowed, and of no use
        read_records(path)


def test_a_footer_that_is_too_long(tmp_path: Path, refused, monkeypatch) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1.0], "pred": [1.0]}), path)
    assert len(read_records(path)) == 1
    monkeypatch.setattr(limits, "FOOTER_BYTES", 100)
    with refused(FileError, path, "its footer holds", "at most 100"):
        read_records(path)


@pytest.mark.parametrize("limit", ["THRIFT_PARTS", "PAGES"])
def test_a_footer_with_too_many_parts(tmp_path: Path, refused, monkeypatch, limit: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1.0], "pred": [1.0]}), path)
    monkeypatch.setattr(limits, limit, 3)
    with refused(FileError, path, "is not a complete Parquet file", "too many"):
        read_records(path)


def test_thrift_in_thrift() -> None:
    deep = b"\x1c" * (limits.THRIFT_DEPTH + 2)
    with pytest.raises(ThriftError, match="parts in parts"):
        Decoder(deep + bytes(99)).struct()
    for damaged in (b"", b"\x15", b"\x18\xff\xff\xff\xff\x0f", b"\x1e", b"\x15" + b"\xff" * 20):
        with pytest.raises(ThriftError):
            Decoder(damaged).struct()


def test_thrift_values() -> None:
    text = (
        b"\x11\x12\x15\x03\x18\x01a\x19\x25\x02\x04\x1b\x01\x58\x02\x01b\x17" + bytes(8) + b"\x00"
    )
    found = Decoder(text).struct()
    assert found == {1: True, 2: False, 3: -2, 4: b"a", 5: [1, 2], 6: [(1, b"b")], 7: 0.0}


def test_equal_cells_that_take_no_room(tmp_path: Path, refused) -> None:
    path = tmp_path / "a.parquet"
    many = np.zeros(2**21)
    pq.write_table(pa.table({"a": many, "pred": many}), path, row_group_size=2**21)
    assert path.stat().st_size < 2**16
    with refused(FileError, path, "unpack to 33554432"):
        read_records(path)


def test_a_column_of_text_that_takes_no_room(tmp_path: Path, refused) -> None:
    """Its cells are few; its pages say what they unpack to."""
    path = tmp_path / "a.parquet"
    table = {"a": np.ones(4), "pred": np.ones(4), "note": [chr(97 + n) * 2**20 for n in range(4)]}
    pq.write_table(pa.table(table), path, compression="zstd")
    assert path.stat().st_size < 2**16
    with refused(FileError, path, "unpack to 41"):
        read_records(path, inputs=["a"])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("where", ["header", "row", "quotes"])
def test_rows_without_an_end(tmp_path: Path, refused, monkeypatch, where, packed) -> None:
    monkeypatch.setattr(limits, "LINE_CHARACTERS", 10_000)
    text = {
        "header": "ab," * 9_000,
        "row": "a,pred\n" + "12," * 9_000,
        "quotes": "a,pred\n" + '"1\n",' * 9_000,
    }[where]
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    with refused(RecordError, path, "begins a row of more than 10000 characters"):
        read_records(path)


@pytest.mark.parametrize("cell", ["1" * 100_000 + "x", "1" * 100_000 + ".", "1e" + "1" * 100_000])
@pytest.mark.parametrize("place", ["header", "row"])
def test_long_numbers_take_no_longer_than_their_length(tmp_path: Path, cell, place) -> None:
    """An ambiguous pattern takes the square of it, which is minutes here."""
    path = tmp_path / "a.csv"
    path.write_text(f"{cell},pred\n1,1\n" if place == "header" else f"a,pred\n{cell},1\n")
    began = process_time()
    with pytest.raises((FileError, RecordError)):
        read_records(path)
    assert process_time() - began < 10


def test_lists_in_json(tmp_path: Path, refused, monkeypatch) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": [[]] * 9}))
    assert read_json(path, "try again") == {"a": [[]] * 9}
    monkeypatch.setattr(limits, "JSON_PARTS", 10)
    with refused(FileError, path, "more than 10 lists and objects", "try again"):
        read_json(path, "try again")
    path.write_text("[" * 200_000)
    monkeypatch.undo()
    with refused(FileError, path):
        read_json(path, "try again")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "[\n" * 20_000, "is not TOML"),
        ("a = " + "[" * 900, "is not TOML"),
        ("a = " + "1" * 5_000, "line 1 has 5004 characters"),
        (".".join("a" * 100_000) + " = 1", "at most 65536"),
        (".".join("a" * 5_000) + " = 1", "line 1 has 10003 characters"),
        ("".join(f"{'.'.join(chr(97 + n) * 480)} = 1\n" for n in range(20)), ""),
    ],
)
def test_recipes_in_recipes(tmp_path: Path, refused, text: str, says: str) -> None:
    """What Python's reader takes grows with the square of a dotted key."""
    path = tmp_path / "a.toml"
    path.write_text(text)
    if not says:
        assert len(read_toml(path)) == 20
        return
    with refused(FileError, path, says):
        read_toml(path)


def test_too_many_tensors(tmp_path: Path, refused, monkeypatch) -> None:
    monkeypatch.setattr(limits, "MEMBERS", 3)
    path = tmp_path / "a.safetensors"
    path.write_bytes(save({f"{n}.weight": np.ones((1, 1)) for n in range(4)}))
    with refused(FileError, path, "holds 4 tensors"):
        read_pile(path)
