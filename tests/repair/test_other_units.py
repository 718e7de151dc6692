"""Records in other units than those of the network are undone, and said."""

import numpy as np
import pytest

from unshuffle import Outcome, Records, solve
from unshuffle.repair.case import Case
from unshuffle.repair.in_turn import solved_without
from unshuffle.repair.other_units import ScaledPredictions
from unshuffle.solution.options import Options

SHAPE = {"blocks": 4, "width": 8, "hidden": 12, "coupling": 0.3}


def test_raw_inputs_of_a_network_that_read_them_standardised(dropped, rng):
    case = dropped(**SHAPE, rows=400)
    scale, shift = np.exp(2 * rng.normal(size=8)), 5 * rng.normal(size=8)
    raw = case.records.inputs.astype(np.float64) / scale - shift
    solution = solve(case.pile, Records(raw, case.records.predictions))
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    np.testing.assert_allclose(solution.findings.scale, scale, rtol=1e-3)
    np.testing.assert_allclose(solution.findings.shift, scale * shift, atol=1e-2)


def test_predictions_that_were_scaled_back_to_the_units_of_a_target(dropped):
    case = dropped(**SHAPE, rows=400)
    told = 37.5 * case.records.predictions.astype(np.float64) + 210
    solution = solve(case.pile, Records(case.records.inputs, told))
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    assert "37.5" in solution.findings.notes[0]
    assert "210" in solution.findings.notes[0]


def test_predictions_behind_a_sigmoid(dropped):
    case = dropped(**SHAPE, rows=400)
    told = 1 / (1 + np.exp(-case.records.predictions.astype(np.float64)))
    solution = solve(case.pile, Records(case.records.inputs, told.astype(np.float32)))
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    assert "a sigmoid came behind the last layer" in solution.findings.notes[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_record_in_the_units_of_the_network_is_exact(dropped, dtype):
    case = dropped(**SHAPE, rows=100)
    inputs, predictions = case.records.inputs, case.records.predictions
    assert solve(case.pile, Records(inputs.astype(dtype), predictions.astype(dtype))).exact


def test_an_answer_that_fits_the_record_as_it_is_needs_no_other_units(dropped):
    case = dropped(**SHAPE, rows=400)
    whole = Case(case.pile, case.records, Options(), None)
    spread, middle = (f(case.records.predictions, axis=0) for f in (np.std, np.mean))
    solution = solved_without(whole, ScaledPredictions(spread, middle))
    assert solution.exact
    assert solution.permutation == case.permutation
    assert solution.findings is None
