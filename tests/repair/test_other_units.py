"""Records in other units than those of the network are undone, and said."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Outcome, Records, read_solution, solve, verify, write_solution
from unshuffle.proof.verification import Explanation
from unshuffle.repair.case import Case
from unshuffle.repair.in_turn import as_it_is, believed, solved_without
from unshuffle.repair.other_units import OTHER_UNITS, OTHER_UNITS_LONGER, ScaledPredictions
from unshuffle.solution.options import Options

SHAPE = {"blocks": 4, "width": 8, "hidden": 12, "coupling": 0.3}


def assert_kept_is_verified(folder, solution, pile, records):
    """What is kept verifies as what `solve` said of it; the answer alone does not."""
    write_solution(solution, folder)
    kept = verify(pile, records, read_solution(folder))
    assert kept.outcome is solution.outcome is Outcome.APPROXIMATE
    assert kept.mse == solution.mse
    assert kept.rows == solution.rows
    assert verify(pile, records, solution.answer).outcome is not Outcome.APPROXIMATE


def test_raw_inputs_of_a_network_that_read_them_standardised(dropped, rng, tmp_path):
    case = dropped(**SHAPE, rows=400)
    scale, shift = np.exp(2 * rng.normal(size=8)), 5 * rng.normal(size=8)
    raw = case.records.inputs.astype(np.float64) / scale - shift
    records = Records(raw, case.records.predictions)
    solution = solve(case.pile, records)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    np.testing.assert_allclose(solution.findings.scale, scale, rtol=1e-3)
    np.testing.assert_allclose(solution.findings.shift, scale * shift, atol=1e-2)
    assert_kept_is_verified(tmp_path / "kept", solution, case.pile, records)


def test_predictions_that_were_scaled_back_to_the_units_of_a_target(dropped, tmp_path):
    case = dropped(**SHAPE, rows=400)
    told = 37.5 * case.records.predictions.astype(np.float64) + 210
    records = Records(case.records.inputs, told)
    solution = solve(case.pile, records)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    assert "37.5" in solution.findings.notes[0]
    assert "210" in solution.findings.notes[0]
    assert_kept_is_verified(tmp_path / "kept", solution, case.pile, records)


@pytest.mark.parametrize(("dtype", "shift"), [("float64", 210), ("float32", 210), ("float32", 900)])
def test_inputs_and_predictions_that_are_both_in_other_units(dropped, rng, tmp_path, dtype, shift):
    case = dropped(**SHAPE, rows=400)
    raw = case.records.inputs / np.exp(rng.normal(size=8)) - 3 * rng.normal(size=8)
    predictions = 37.5 * case.records.predictions.astype(np.float64) + shift
    records = Records(raw, predictions.astype(dtype))
    solution = solve(case.pile, records)
    assert not any("noise" in note for note in solution.findings.notes)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    np.testing.assert_allclose(solution.findings.prediction_scale, 37.5, rtol=1e-3)
    assert len(solution.findings.scale) == 8
    assert_kept_is_verified(tmp_path / "kept", solution, case.pile, records)


@pytest.mark.parametrize("seed", [1, 2])
def test_units_fitted_to_a_wrong_order_are_fitted_to_others_too(make_dropped, seed):
    """Searching and fitting in turn alone ends in a wrong order."""
    shape = {"blocks": 4, "width": 6, "hidden": 12, "coupling": 0.5}
    case = make_dropped(np.random.default_rng(seed), rows=250, **shape)
    predictions = (37.5 * case.records.predictions + 900).astype(np.float32)
    records = Records(3 * case.records.inputs + 1, predictions)
    asked = Case(case.pile, records, Options(), None)
    assert OTHER_UNITS.run(asked, None) is None
    solution = OTHER_UNITS_LONGER.run(asked, None)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    np.testing.assert_allclose(solution.findings.prediction_scale, 37.5, rtol=1e-3)


@pytest.mark.parametrize(("noise", "told"), [(0.0, True), (1e-2, False)])
def test_last_digits_of_predictions_are_no_noise(dropped, rng, noise, told):
    """Far from 0 float32 keeps few digits of a small spread. Noise beyond these proves nothing."""
    case = dropped(**SHAPE, rows=400)
    far = 0.5 * case.records.predictions.astype(np.float64) + 3e3
    records = Records(case.records.inputs, (far + noise * rng.normal(size=far.shape)).astype("f4"))
    begun = ScaledPredictions(np.full(1, 0.5), np.full(1, 3e3))
    found = solved_without(Case(case.pile, records, Options(), None), begun)
    assert (found is not None) == told


def test_predictions_behind_a_sigmoid(dropped, tmp_path):
    case = dropped(**SHAPE, rows=400)
    told = 1 / (1 + np.exp(-case.records.predictions.astype(np.float64)))
    records = Records(case.records.inputs, told.astype(np.float32))
    solution = solve(case.pile, records)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    assert "a sigmoid came behind the last layer" in solution.findings.notes[0]
    assert not any("if a sigmoid came" in note for note in solution.findings.notes)
    assert_kept_is_verified(tmp_path / "kept", solution, case.pile, records)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_record_in_the_units_of_the_network_is_exact(dropped, dtype):
    case = dropped(**SHAPE, rows=100)
    inputs, predictions = case.records.inputs, case.records.predictions
    assert solve(case.pile, Records(inputs.astype(dtype), predictions.astype(dtype))).exact


def test_an_answer_is_judged_as_it_is_with_its_own_activation(dropped):
    case = dropped(**SHAPE, rows=400, activation="tanh")
    solution = solve(case.pile, case.records, activation="tanh")
    assert as_it_is(case.pile, case.records, Options(), solution).activation == "tanh"


def test_an_answer_that_fits_the_record_as_it_is_needs_no_other_units(dropped):
    case = dropped(**SHAPE, rows=400)
    whole = Case(case.pile, case.records, Options(), None)
    spread, middle = (f(case.records.predictions, axis=0) for f in (np.std, np.mean))
    solution = solved_without(whole, ScaledPredictions(spread, middle))
    assert solution.exact
    assert solution.permutation == case.permutation
    assert solution.findings is None


def test_numbers_that_make_any_order_fit_prove_none(dropped):
    """Constant predictions follow from any order, once inputs or predictions may be scaled."""
    case = dropped(blocks=3, rows=200)
    constant = Records(case.records.inputs, np.full_like(case.records.predictions, 0.25))
    asked = Case(case.pile, constant, Options(), solve=None)
    with np.errstate(all="ignore"):  # as in `solve`
        assert OTHER_UNITS.run(asked, None) is None


class Fixed(ScaledPredictions):
    """Units to which no other order can be fitted."""

    def fitted(self, network, case):
        return None


@pytest.mark.parametrize(("reach", "told"), [(1.0, True), (1e-7, False)])
def test_predictions_that_are_affine_in_the_inputs_prove_no_fitted_number(dropped, reach, told):
    """Inputs that vanish beside the biases fit by any order once their columns may be scaled."""
    case = dropped(blocks=3, rows=200)
    inputs = (reach * case.records.inputs).astype(np.float32)
    records = Records(inputs, case.network.predict(inputs))
    solution = solve(case.pile, records)
    spread = np.full(1, 2.0)
    other = Records(inputs, 2 * records.predictions.astype(np.float64))
    asked = Case(case.pile, other, Options(), solve=None)
    found = believed(asked, Fixed(spread, np.zeros(1)), solution)
    assert (found is not None) == told


class Rival(ScaledPredictions):
    """Units in which each other order fits but for noise of a part of the spread."""

    noise = 0.0

    def fitted(self, network, case):
        known = case.records
        made = network.predict(known.inputs)
        noise = np.random.default_rng(0).normal(size=made.shape) * self.noise * made.std()
        return Undone(Records(known.inputs, made + noise))


class Undone:
    """What leaves a given record."""

    def __init__(self, records):
        self.records = records

    def undone(self, case):
        return self.records, case.options


@pytest.mark.parametrize("digits", [False, True])
@pytest.mark.parametrize(("noise", "told"), [(0.0, False), (0.2, True)])
def test_an_order_that_only_noise_explains_is_no_rival(dropped, noise, told, digits):
    """Of an order that leaves rounding, or less than the last digits of the predictions."""
    case = dropped(**SHAPE, rows=400)
    solution = solve(case.pile, case.records)
    if digits:
        solution = replace(solution.ended(Outcome.APPROXIMATE), explanation=Explanation.NOISE)
    other = Records(case.records.inputs, 2 * case.records.predictions.astype(np.float64))
    asked = Case(case.pile, other, Options(), solve=None)
    rival = Rival(np.full(1, 2.0), np.zeros(1))
    object.__setattr__(rival, "noise", noise)
    assert (believed(asked, rival, solution) is not None) == told
