"""Records come back from CSV as they were."""

import numpy as np
import pytest

from unshuffle.errors import FileError
from unshuffle.files import read_records, write_records
from unshuffle.pieces.records import Records


@pytest.mark.parametrize("outputs", [0, 1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(tmp_path, rng, outputs, dtype):
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
