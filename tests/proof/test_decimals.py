"""Predictions that were cut to decimals are recognised, and how they were cut beside a network."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Outcome, Records, solve, verify
from unshuffle.proof.decimals import Cut, cut_of, decimals, uncut
from unshuffle.proof.tolerance import Tolerance

NONE = Tolerance(np.zeros(1), np.zeros(1))
CUTS = {
    Cut.ROUNDED: lambda values: np.round(values, 2),
    Cut.TRUNCATED: lambda values: np.trunc(100 * values) / 100,
    Cut.FLOORED: lambda values: np.floor(100 * values) / 100,
}


@pytest.mark.parametrize("places", [0, 1, 3])
def test_decimals_are_recognised(rng, places):
    values = np.round(5 * rng.normal(size=(200, 1)), places)
    assert decimals(values) == places
    assert decimals(values.astype(np.float32)) == places


def test_unrounded_predictions_have_no_decimals(rng):
    assert decimals(rng.normal(size=(200, 1))) is None
    assert decimals(rng.normal(size=(200, 1)).astype(np.float32)) is None


def test_one_number_that_happens_to_be_short_was_not_rounded():
    assert decimals(np.array([[0.12345]])) is None
    assert decimals(np.array([[0.12345], [0.65432], [0.5], [0.11111]])) == 5


@pytest.mark.parametrize("cut", Cut)
def test_predictions_lie_in_the_interval_of_their_cut(rng, cut):
    true = np.concatenate([rng.normal(size=(200, 1)), [[0.004], [-0.004]]])
    kept = CUTS[cut](true)
    assert cut_of(true, kept, NONE) is cut
    # On average the middle is right, where what was kept is off by half a step.
    middle = uncut(Records(true, kept), cut).predictions
    assert np.abs(middle - true).max() <= (0.01 if cut is Cut.TRUNCATED else 0.005) * (1 + 1e-9)
    off = true.copy()
    off[17] += 0.0102  # no interval is wider
    assert cut_of(off, kept, NONE) is None


@pytest.mark.parametrize("cut", Cut)
def test_a_record_that_was_cut_is_solved_and_the_cut_named(dropped, cut):
    case = dropped(rows=400, blocks=4, width=12, hidden=20)
    records = replace(case.records, predictions=CUTS[cut](case.records.predictions.astype(float)))
    solution = solve(case.pile, records)
    assert solution.permutation == case.permutation
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.certificate.decided
    assert solution.cut is cut
    assert solution.findings.notes == (f"predictions are {cut} to 2 decimals",)
    wrong = (*case.permutation[2:4], *case.permutation[:2], *case.permutation[4:])
    assert verify(case.pile, records, wrong).outcome is Outcome.MISFIT


def test_few_predictions_may_happen_to_be_rounded_by_more_than_is_usual(rng):
    for _ in range(200):
        true = rng.normal(size=(60, 1))
        kept = np.round(true, 2)
        assert cut_of(true, kept, NONE) is Cut.ROUNDED
        assert cut_of(kept + 0.01 / np.sqrt(12) * 1.3, kept, NONE) is not Cut.ROUNDED


@pytest.mark.parametrize(("value", "places"), [(0.2097, 4), (0.8388, None)])
def test_one_number_of_four_decimals_is_an_accident_once_in_a_thousand(value, places):
    """By chance it lies within 2⁻²³ of itself of a step of 1e-4, on either side: 2 of 1,000."""
    assert 2 * 2**-23 * value / 1e-4 == pytest.approx(2e-3 if places is None else 5e-4, rel=0.01)
    assert decimals(np.array([[value]])) == places


@pytest.mark.parametrize(("largest", "places"), [(2500, 2), (10_000, None)])
def test_a_step_is_resolved_if_it_is_sixteen_units_of_float32(rng, largest, places):
    values = np.round(rng.uniform(-largest, largest, (100, 1)), 2)
    values[0] = largest
    assert 0.01 / (2**-23 * largest) == pytest.approx(33.6 if places else 8.4, rel=0.01)
    assert decimals(values) == places


@pytest.mark.parametrize(("units", "places"), [(1.2, 3), (4, None)])
def test_decimals_may_be_off_by_as_much_as_float32_rounds(rng, units, places):
    values = np.round(rng.uniform(-1, 1, (100, 1)), 3)
    values[0] = 1
    values[1] += units * 2**-24
    assert decimals(values) == places


@pytest.mark.parametrize(("part", "cut"), [(1.2, Cut.ROUNDED), (4, None)])
def test_few_rows_may_err_by_two_parts_in_the_root_of_their_number(rng, part, cut):
    kept = np.round(rng.normal(size=(64, 1)), 2)
    off = 0.01 / np.sqrt(12) * (1 + part / 8) * rng.choice([-1, 1], (64, 1))
    assert cut_of(kept + off, kept, NONE) is cut


def test_small_predictions_have_many_decimals(rng):
    assert decimals(np.round(1e-6 * rng.normal(size=(100, 1)), 9)) == 9
