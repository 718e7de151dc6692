"""Records in .npz: vectors are columns, matrices are several."""

from pathlib import Path

import numpy as np
import pytest

from unshuffle.errors import FileError, RecordError
from unshuffle.files import limits, read_records


def write(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "record.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("key", ["pred", "predictions", "Prediction"])
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 2)])
def test_matrices(key: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs = np.arange(12.0).reshape(4, 3)
    predictions = np.arange(np.prod(shape)).reshape(shape)
    records = read_records(write(tmp_path, inputs=inputs, true=predictions, **{key: predictions}))
    np.testing.assert_array_equal(records.inputs, inputs, strict=True)
    np.testing.assert_array_equal(records.predictions, predictions.reshape(4, -1))
    np.testing.assert_array_equal(records.targets, predictions.reshape(4, -1))


def test_signalling_nan(tmp_path: Path, refused) -> None:
    values = np.array([0x7FA00000, 0x3F800000], np.uint32).view(np.float32)
    with refused(RecordError, "record.npz", "row 1, column a is empty or NaN"):
        read_records(write(tmp_path, a=values))


@pytest.mark.parametrize("dtype", [">f4", "<f2", "i1", "u8", "longdouble"])
def test_any_width(dtype: str, tmp_path: Path) -> None:
    records = read_records(write(tmp_path, x=np.arange(3).astype(dtype)))
    np.testing.assert_array_equal(records.inputs, [[0.0], [1.0], [2.0]], strict=True)


def test_columns_of_matrices_have_names(tmp_path: Path, refused) -> None:
    path = write(tmp_path, x=np.arange(6.0).reshape(2, 3), y=np.zeros(2))
    assert read_records(path, inputs=["x_2", "x_0"]).inputs.tolist() == [[2, 0], [5, 3]]
    with refused(RecordError, path, "has no column x", "x_0, x_1, x_2 and y"):
        read_records(path, inputs=["x"])


def test_gaps(tmp_path: Path, refused) -> None:
    holes = np.array([[1, 2], [3, np.nan]])
    records = read_records(write(tmp_path, x=np.ones(2), pred=holes))
    np.testing.assert_array_equal(records.predictions, holes)
    with refused(RecordError, "record.npz", "row 2, column x_1 is empty or NaN"):
        read_records(write(tmp_path, x=holes))


@pytest.mark.parametrize("shape", [(), (2, 2, 2)])
def test_other_shapes(shape: tuple[int, ...], tmp_path: Path, refused) -> None:
    with refused(RecordError, "record.npz", "array x has shape", "(rows, width)", "reshape it"):
        read_records(write(tmp_path, x=np.ones(shape)))


def test_uneven(tmp_path: Path, refused) -> None:
    path = write(tmp_path, x=np.ones((2, 2)), pred=np.ones(3))
    with refused(RecordError, path, "array x has 2 rows and pred has 3"):
        read_records(path)
    assert len(read_records(path, predictions=[])) == 2


def test_nothing(tmp_path: Path, refused) -> None:
    with refused(RecordError, "record.npz", "no columns"):
        read_records(write(tmp_path))
    with refused(RecordError, "record.npz", "no rows"):
        read_records(write(tmp_path, x=np.ones((0, 2))))
    with refused(RecordError, "record.npz", "no columns"):
        read_records(write(tmp_path, x=np.ones((2, 0))))


def test_names_that_meet(tmp_path: Path, refused) -> None:
    with refused(RecordError, "record.npz", "two columns are called x_0"):
        read_records(write(tmp_path, x=np.ones((2, 2)), x_0=np.ones(2)))


def test_a_record_may_be_written_with_rows_as_columns(tmp_path: Path, refused) -> None:
    path = write(tmp_path, x=np.ones((6, 9)), pred=np.ones((1, 9)))
    with refused(RecordError, path, "x has 6 rows and pred has 1", "or transpose both"):
        read_records(path)


def test_names_of_rows_are_to_be_left_out(tmp_path: Path, refused) -> None:
    path = write(tmp_path, x=np.ones((2, 3)), pred=np.ones(2), row=np.array(["a", "b"]))
    with refused(FileError, f"{path}: array row has 1 axes", "is needed; leave it out"):
        read_records(path)


def test_limits(tmp_path: Path, refused, monkeypatch) -> None:
    with refused(FileError, "record.npz", "columns"):
        read_records(write(tmp_path, x=np.ones((1, limits.COLUMNS + 1))))
    monkeypatch.setattr(limits, "CELLS", 5)
    with refused(FileError, "record.npz", "at most 5 cells"):
        read_records(write(tmp_path, x=np.ones((2, 3))))
