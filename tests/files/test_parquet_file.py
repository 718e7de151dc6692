"""Parquet: numbers of any width, and refusals that name the column."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unshuffle.errors import FileError, MissingExtraError, RecordError
from unshuffle.files import limits, read_records


def write(folder: Path, columns: dict[str, pa.Array], **options: object) -> Path:
    path = folder / "record.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize(
    "kind", ["float64", "float32", "float16", "int64", "int8", "uint8", "uint64"]
)
def test_any_width(kind: str, tmp_path: Path) -> None:
    values = np.array([1, 0, 100]).astype(kind)
    gaps = pa.array(values, mask=np.array([True, False, False]))
    records = read_records(write(tmp_path, {"a": pa.array(values), "pred": gaps}))
    np.testing.assert_array_equal(records.inputs, values.astype(float)[:, None], strict=True)
    np.testing.assert_array_equal(records.predictions, [[np.nan], [0], [100]], strict=True)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_compression_and_row_groups(compression: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    path = write(tmp_path, {"a": pa.array(values)}, compression=compression, row_group_size=300)
    np.testing.assert_array_equal(read_records(path).inputs[:, 0], values)


def test_names_with_dots(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.b": pa.array([1.0]), "a": pa.array([2.0])})
    assert read_records(path).inputs.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["x"]),
        pa.array([True]),
        pa.array([[1.0]]),
        pa.array([{"b": 1.0}]),
        pa.array([1], pa.timestamp("s")),
        pa.array([1], pa.decimal128(5)),
        pa.array(["x"]).dictionary_encode(),
    ],
    ids=str,
)
def test_other_types_are_named(array: pa.Array, tmp_path: Path, refused) -> None:
    path = write(tmp_path, {"x": pa.array([1.0]), "a": array})
    with refused(RecordError, path, "column a is of type", "convert it"):
        read_records(path)
    assert read_records(path, inputs=["x"]).inputs.tolist() == [[1.0]]


@pytest.mark.parametrize("name", ["a", "pred", "true"])
def test_nan_is_not_an_empty_cell(name: str, tmp_path: Path, refused) -> None:
    columns = {column: pa.array([1.0, None, 2.0]) for column in ("pred", "true")}
    columns = {"a": pa.array([1.0, 2.0, 3.0]), **columns, name: pa.array([1.0, 2.0, np.nan])}
    with refused(RecordError, "record.parquet", f"row 3, column {name} is empty or NaN"):
        read_records(write(tmp_path, columns))


def test_signalling_nan(tmp_path: Path, refused) -> None:
    values = np.array([0x7FA00000, 0x3F800000], np.uint32).view(np.float32)
    with refused(RecordError, "record.parquet", "row 1, column a is empty or NaN"):
        read_records(write(tmp_path, {"a": pa.array(values)}))


def test_no_rows(tmp_path: Path, refused) -> None:
    with refused(RecordError, "record.parquet", "has no rows"):
        read_records(write(tmp_path, {"a": pa.array([], pa.float64())}))


def test_no_columns(tmp_path: Path, refused) -> None:
    with refused(RecordError, "record.parquet", "no columns"):
        read_records(write(tmp_path, {}))


def test_columns_of_one_name(tmp_path: Path, refused) -> None:
    path = tmp_path / "record.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1.0])] * 2, ["a", "a"]), path)
    with refused(RecordError, path, "two columns are called a"):
        read_records(path)


def test_damage(tmp_path: Path, refused) -> None:
    path = write(tmp_path, {"a": pa.array(np.arange(100.0))})
    content = path.read_bytes()
    for damaged in (content[:-1], content[:50], b"PAR1", b"PAR1" * 10, content[4:]):
        path.write_bytes(damaged)
        with refused(FileError, path, "not a complete Parquet file"):
            read_records(path)


def test_limits(tmp_path: Path, refused, monkeypatch) -> None:
    path = write(tmp_path, {"a": pa.array(np.arange(1000.0)), "b": pa.array(np.arange(1000.0))})
    monkeypatch.setattr(limits, "CELLS", 1_999)
    with refused(FileError, path, "1000 rows of 2 columns", "at most 1999 cells"):
        read_records(path)


def test_bomb(tmp_path: Path, refused) -> None:
    zeros = pa.array(np.zeros(2_000_000))
    path = write(tmp_path, {"a": zeros}, use_dictionary=False, compression="zstd")
    assert path.stat().st_size < 50_000
    with refused(FileError, path, "unpack to"):
        read_records(path)


def test_without_the_extra_it_is_named(tmp_path: Path, refused, monkeypatch) -> None:
    path = write(tmp_path, {"a": pa.array([1.0])})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with refused(MissingExtraError, path, "pip install 'unshuffle[parquet]'"):
        read_records(path)
