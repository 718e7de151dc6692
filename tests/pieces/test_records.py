import numpy as np
import pytest

from unshuffle import Records
from unshuffle.errors import RecordError


def test_rows_without_all_predictions_do_not_count_as_predicted():
    predictions = np.array([[1.0, 2.0], [np.nan, 2.0], [3.0, 4.0]])
    records = Records(np.arange(6.0).reshape(3, 2), predictions, targets=predictions + 1)
    known = records.predicted()
    np.testing.assert_array_equal(known.inputs, [[0, 1], [4, 5]])
    np.testing.assert_array_equal(known.targets, [[2, 3], [4, 5]])
    assert repr(records) == "Records(3 rows of 2 inputs, 2 with 2 predictions)"
    assert known.predicted() is known


def test_a_record_without_prediction_columns_has_no_predicted_rows():
    assert len(Records(np.zeros((3, 2)), np.zeros((3, 0))).predicted()) == 0


@pytest.mark.parametrize(
    ("inputs", "predictions", "message"),
    [
        (np.zeros(3), np.zeros((3, 1)), r"inputs have shape \(3,\)"),
        (np.zeros((3, 2)), np.zeros((2, 1)), r"predictions have shape \(2, 1\)"),
        (np.array([[0, np.nan]]), np.zeros((1, 1)), "input column 1 of row 0 holds nan"),
        (np.zeros((2, 1)), np.array([[0], [np.inf]]), "prediction 0 of row 1 is infinite"),
    ],
)
def test_bad_records_are_refused(inputs, predictions, message):
    with pytest.raises(RecordError, match=message):
        Records(inputs, predictions)


def test_rows_that_repeat_another_one_are_left_out(rng):
    inputs = rng.normal(size=(6, 3))
    predictions = rng.normal(size=(6, 1))
    predictions[4:] = np.nan
    records = Records(inputs, predictions)
    assert records.distinct() is records
    repeated = records.take(np.array([0, 1, 1, 2, 0, 3, 4, 4, 5]))
    np.testing.assert_array_equal(repeated.distinct().inputs, inputs)
    # The same inputs with another prediction are no repetition, nor others with the same sum.
    noisy = Records(inputs[[0, 0, 1]], predictions[[0, 1, 1]])
    assert noisy.distinct() is noisy
    turned = Records(np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones((2, 1)))
    assert turned.distinct() is turned


def test_the_variance_is_that_of_each_output(rng):
    predictions = rng.normal(size=(50, 2)) * [1, 3] + [100, -100]
    predictions[40:, 1] = np.nan
    records = Records(rng.normal(size=(50, 3)), predictions)
    expected = predictions[:40].var(axis=0).mean()
    assert records.variance == pytest.approx(expected)
    assert Records(np.zeros((2, 1)), np.ones((2, 1))).variance > 0
    # One row tells no output's variance, but how large outputs are beside each other.
    assert records.first(1).variance == pytest.approx(predictions[0].var())


def test_a_record_of_which_all_is_known_is_its_own_known_part(rng):
    records = Records(rng.normal(size=(5, 3)), rng.normal(size=(5, 1)))
    assert records.predicted() is records


@pytest.mark.parametrize(("rows", "most", "left"), [(0, 4, 0), (4, 4, 4), (9, 4, 3), (8, 4, 4)])
def test_a_record_is_thinned_evenly(rows, most, left):
    records = Records(np.arange(float(rows))[:, None], np.zeros((rows, 1)))
    thinned = records.thinned(most).inputs[:, 0]
    assert len(thinned) == left
    assert len({*np.diff(thinned)}) <= 1


def test_the_variance_is_the_mean_of_those_of_the_columns(rng):
    predictions = rng.normal(size=(50, 2)) * [1.0, 3.0] + [1e3, 0.0]
    predictions[7, 1] = np.nan
    records = Records(rng.normal(size=(50, 3)), predictions)
    np.testing.assert_allclose(records.variances, np.delete(predictions, 7, axis=0).var(axis=0))
    assert records.variance == records.variances.mean()
