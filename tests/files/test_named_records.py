"""Records of networks that read several arrays, or arrays of any shape."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from unshuffle import Records
from unshuffle.errors import FileError, RecordError
from unshuffle.files import read_records


@pytest.fixture
def arrays(rng):
    return {
        "ids": rng.integers(2**40, size=(5, 3)),
        "seen": rng.random((5, 3)) < 0.5,
        "image": rng.normal(size=(5, 2, 2)).astype(np.float32),
        "prediction": rng.normal(size=(5, 3, 2)).astype(np.float32),
    }


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "NPZ"])
def test_arrays_are_read_as_they_are(tmp_path, arrays, suffix):
    path = tmp_path / f"record.{suffix}"
    if suffix == "safetensors":
        save_file(arrays, path)
    else:
        with path.open("wb") as stream:
            np.savez(stream, **arrays)
    records = read_records(path, named=True)
    assert (len(records), records.outputs, records.output) == (5, 6, "")
    predicted = arrays.pop("prediction")
    np.testing.assert_array_equal(records.predictions, predicted.reshape(5, 6))
    found = records.arrays(records.inputs)
    assert {*found} == {*arrays}
    for name, one in arrays.items():
        assert found[name].dtype == one.dtype
        np.testing.assert_array_equal(found[name], one)


def test_a_field_of_the_output_is_named(tmp_path, arrays):
    arrays["prediction.hidden.last"] = arrays.pop("prediction")
    np.savez(tmp_path / "record.npz", **arrays)
    assert read_records(tmp_path / "record.npz", named=True).output == "hidden.last"


def test_without_an_output_there_are_no_predictions(tmp_path, arrays):
    del arrays["prediction"]
    np.savez(tmp_path / "record.npz", **arrays)
    assert read_records(tmp_path / "record.npz", named=True).outputs == 0


def test_an_npz_is_a_table_where_nobody_says_otherwise(tmp_path, rng):
    np.savez(tmp_path / "record.npz", x=rng.normal(size=(5, 3)), prediction=np.ones(5))
    records = read_records(tmp_path / "record.npz")
    assert records.fields == ()
    assert (records.width, records.outputs) == (3, 1)


@pytest.mark.parametrize(
    ("change", "error", "what"),
    [
        ({"prediction.0": np.ones(5)}, RecordError, "but one output is compared"),
        (
            {"mask": np.ones(4)},
            RecordError,
            r"mask \(4 rows\), .* with one entry a row on the first axis",
        ),
        ({"mask": np.full(5, np.nan)}, RecordError, "mask holds NaN or an infinity"),
        ({"a\nb": np.ones(5)}, FileError, r"a tensor is called 'a\\nb'"),
    ],
)
def test_what_is_no_record_is_told(tmp_path, arrays, change, error, what):
    save_file({**arrays, **change}, tmp_path / "record.safetensors")
    with pytest.raises(error, match=what) as found:
        read_records(tmp_path / "record.safetensors")
    assert "record.safetensors" in str(found.value)
    assert str(found.value).isprintable()


def test_columns_are_of_tables(tmp_path, arrays):
    save_file(arrays, tmp_path / "record.safetensors")
    with pytest.raises(RecordError, match="names of columns are for tables"):
        read_records(tmp_path / "record.safetensors", inputs=["ids"])


def test_predictions_in_half_precision_count_as_single():
    ids, half = np.arange(4), np.linspace(0, 1, 8).reshape(4, 2).astype(np.float16)
    found = Records.named({"ids": ids}, half).predictions
    np.testing.assert_array_equal(found, half.astype(np.float32), strict=True)
