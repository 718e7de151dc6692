"""Columns get their roles by name, in every format; numbers arrive and leave unchanged."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.errors import FileError, RecordError, UsageError
from unshuffle.files import read_records, write_records
from unshuffle.pieces.records import Records

SUFFIXES = [".csv", ".csv.gz", ".parquet", ".npz"]

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def save(path: Path, columns: dict[str, list[float | None]]) -> Path:
    """Write columns; None is an empty cell."""
    if path.suffix == ".npz":
        np.savez(path, **{name: np.array(v, float) for name, v in columns.items()})
    elif path.suffix == ".parquet":
        pa.parquet.write_table(
            pa.table({name: pa.array(v, pa.float64()) for name, v in columns.items()}), path
        )
    else:
        rows = [
            ["" if v is None else repr(v) for v in row]
            for row in zip(*columns.values(), strict=True)
        ]
        text = "\n".join(",".join(cells) for cells in [list(columns), *rows])
        content = text.encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@given(
    st.sampled_from(SUFFIXES),
    st.lists(st.tuples(FINITE, FINITE, FINITE | st.none()), min_size=1, max_size=5),
)
def test_round_trip(scratch: Path, suffix: str, rows: list[tuple[float, ...]]) -> None:
    a, b, p = map(list, zip(*rows, strict=True))
    records = read_records(save(scratch / f"record{suffix}", {"b": b, "pred": p, "a": a}))
    np.testing.assert_array_equal(records.inputs, np.array([b, a]).T, strict=True)
    np.testing.assert_array_equal(records.predictions, np.array([p], float).T, strict=True)
    assert records.targets is None


ROLES = [
    (["x", "z"], ["x", "z"], [], []),
    (["x", "y"], ["x"], ["y"], []),
    (["x", "y", "z"], ["x", "y", "z"], [], []),
    (["x", "y", "pred"], ["x", "y"], ["pred"], []),
    (["y", "true"], ["y"], [], ["true"]),
    (["x", "y_pred", "y_true"], ["x"], ["y_pred"], ["y_true"]),
    (["x", "y_hat_0", "yhat_1"], ["x"], ["y_hat_0", "yhat_1"], []),
    (["x", "output_0", "Output_1", "target"], ["x"], ["output_0", "Output_1"], ["target"]),
    (["output", "x", "logits"], ["output", "x"], ["logits"], []),
    (["x", "pred", "true"], ["x"], ["pred"], ["true"]),
    (["Pred", "x", "TRUE"], ["x"], ["Pred"], ["TRUE"]),
    (["x", "pred_0", "pred_1", "true_0"], ["x"], ["pred_0", "pred_1"], ["true_0"]),
    (["x", "prediction", "target"], ["x"], ["prediction"], ["target"]),
    (["x", "Predictions_0", "targets_0"], ["x"], ["Predictions_0"], ["targets_0"]),
    (["predator", "trueish", "x_pred"], ["predator", "trueish", "x_pred"], [], []),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("names", "inputs", "predictions", "targets"), ROLES)
def test_roles_by_name(suffix, names, inputs, predictions, targets, *, tmp_path: Path) -> None:
    columns = {name: [float(i), -float(i)] for i, name in enumerate(names)}
    records = read_records(save(tmp_path / f"record{suffix}", columns))
    np.testing.assert_array_equal(records.inputs.T, [columns[name] for name in inputs])
    assert records.predictions.shape == (2, len(predictions))
    assert records.predictions.T.tolist() == [columns[name] for name in predictions]
    found = [] if records.targets is None else records.targets.T.tolist()
    assert found == [columns[name] for name in targets]


OPTIONS = [
    ({"inputs": ["d", "a"]}, "da", ["pred"], ["true"]),
    ({"predictions": ["d"]}, "abc", "d", ["true"]),
    ({"predictions": ["pred", "d"]}, "abc", ["pred", "d"], ["true"]),
    ({"targets": ["c"]}, "abd", ["pred"], "c"),
    ({"predictions": []}, "abcd", [], ["true"]),
    ({"inputs": ["pred"], "predictions": ["true"]}, ["pred"], ["true"], []),
    ({"inputs": ["a"], "predictions": ["b"], "targets": ["c"]}, "a", "b", "c"),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("options", "inputs", "predictions", "targets"), OPTIONS)
def test_roles_by_option(suffix, options, inputs, predictions, targets, *, tmp_path: Path) -> None:
    names = ["a", "b", "pred", "c", "d", "true"]
    columns = {name: [float(i), -float(i)] for i, name in enumerate(names)}
    records = read_records(save(tmp_path / f"record{suffix}", columns), **options)
    np.testing.assert_array_equal(records.inputs.T, [columns[name] for name in inputs])
    assert records.predictions.T.tolist() == [columns[name] for name in predictions]
    found = [] if records.targets is None else records.targets.T.tolist()
    assert found == [columns[name] for name in targets]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_options_must_fit(suffix: str, tmp_path: Path, refused) -> None:
    path = save(tmp_path / f"record{suffix}", {"a": [1.0], "b": [2.0], "pred": [3.0]})
    for role in ("inputs", "predictions", "targets"):
        with refused(RecordError, path, "has no column z", "its columns are a, b and pred"):
            read_records(path, **{role: ["z"]})
    with refused(RecordError, path, "has no column pre (did you mean pred?)"):
        read_records(path, predictions=["pre"])
    assert read_records(path, predictions="pred").outputs == 1
    for wrong in (3, [1, 2]):
        with refused(UsageError, f"{wrong} names no columns; give a list of their names"):
            read_records(path, predictions=wrong)
    with refused(RecordError, path, "column a is named twice"):
        read_records(path, inputs=["a", "a"])
    with refused(RecordError, path, "column a is named twice"):
        read_records(path, inputs=["a"], targets=["a"])
    with refused(RecordError, path, "has no column of inputs", "a, b and pred"):
        read_records(path, inputs=[])
    with refused(RecordError, path, "has no column of inputs", "a, b and pred"):
        read_records(path, predictions=["a", "b"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_cells(suffix: str, tmp_path: Path, refused) -> None:
    columns = {"a": [1.0, 2.0], "pred": [None, 1.0], "true": [1.0, None]}
    path = save(tmp_path / f"record{suffix}", columns)
    records = read_records(path)
    np.testing.assert_array_equal(records.predictions, [[np.nan], [1]])
    np.testing.assert_array_equal(records.targets, [[1], [np.nan]])
    with refused(RecordError, path, "row 1", "column pred", "is empty"):
        read_records(path, inputs=["pred", "a"], predictions=[])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("name", ["a", "pred", "true"])
def test_infinite_cells(suffix: str, value: float, name: str, *, tmp_path: Path, refused) -> None:
    columns = {"a": [1.0, 2.0, 3.0], "pred": [0.5] * 3, "true": [0.5] * 3}
    columns[name][1] = value
    path = save(tmp_path / f"record{suffix}", columns)
    with refused(RecordError, path, "row 2", f"column {name}", "inf"):
        read_records(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_without_a_role_are_not_looked_at(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"record{suffix}", {"a": [1.0], "x": [np.inf], "pred": [1.0]})
    assert read_records(path, inputs=["a"]).inputs.tolist() == [[1.0]]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["record", "record.txt", "record.zip", "record.json", "\x1b.pkl"])
def test_content_decides_and_not_the_suffix(suffix: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    save(tmp_path / f"record{suffix}", {"a": [1.0], "pred": [2.0]}).rename(path)
    records = read_records(path)
    assert (records.inputs.tolist(), records.predictions.tolist()) == ([[1.0]], [[2.0]])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_regular_file(suffix: str, tmp_path: Path, refused) -> None:
    path = tmp_path / f"record{suffix}"
    with refused(FileError, path, "no such file"):
        read_records(path)
    path.mkdir()
    with refused(FileError, path, "is a folder"):
        read_records(path)
    path.rmdir()
    path.touch()
    with refused(FileError, path, "is empty"):
        read_records(path)


def test_loud_suffixes(tmp_path: Path) -> None:
    save(tmp_path / "record.csv", {"a": [1.0]}).rename(tmp_path / "RECORD.CSV")
    assert len(read_records(tmp_path / "RECORD.CSV")) == 1


def test_the_puzzle(puzzle: Path) -> None:
    records = read_records(puzzle / "historical_data.csv")
    expected = np.loadtxt(puzzle / "historical_data.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(records.inputs, expected[:, :48], strict=True)
    np.testing.assert_array_equal(records.predictions, expected[:, 48:49], strict=True)
    np.testing.assert_array_equal(records.targets, expected[:, 49:], strict=True)


@pytest.mark.parametrize("outputs", [0, 1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip_as_csv(tmp_path, rng, outputs, dtype):
    inputs = rng.normal(size=(7, 4)).astype(dtype) * 10.0 ** rng.integers(-9, 9, (7, 4))
    predictions = rng.normal(size=(7, outputs)).astype(dtype)
    if outputs:
        predictions[2, 0] = np.nan
    targets = rng.normal(size=(7, outputs)).astype(dtype) if outputs else None
    write_records(tmp_path / "record.csv", Records(inputs.astype(dtype), predictions, targets))
    found = read_records(tmp_path / "record.csv")
    np.testing.assert_array_equal(found.inputs.astype(dtype), inputs.astype(dtype))
    np.testing.assert_array_equal(found.predictions.astype(dtype), predictions)
    if targets is None:
        assert found.targets is None
    else:
        np.testing.assert_array_equal(found.targets.astype(dtype), targets)


def test_columns_are_called_as_in_the_published_puzzle(tmp_path):
    ones = np.ones((1, 1))
    write_records(tmp_path / "record.csv", Records(np.ones((1, 2)), ones, ones))
    text = (tmp_path / "record.csv").read_text()
    assert text == "measurement_0,measurement_1,pred,true\n1.0,1.0,1.0,1.0\n"
    with pytest.raises(FileError, match="exists already"):
        write_records(tmp_path / "record.csv", Records(np.ones((1, 2)), ones))
