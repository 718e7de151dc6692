"""Scales of the inputs are found by least squares, and said."""

from dataclasses import replace

import numpy as np

from unshuffle import Outcome, Records, read_solution, solve, write_solution
from unshuffle.repair.scaled_inputs import fit_scaling

SHAPE = {"blocks": 4, "width": 8, "hidden": 12}


def scaled(records, rng):
    scale, shift = np.exp(0.5 * rng.normal(size=8)), rng.normal(size=8)
    inputs = ((records.inputs - shift) / scale).astype(np.float64)
    return Records(inputs, records.predictions), scale, shift


def test_scales_are_fitted_to_the_true_arrangement(dropped, rng):
    case = dropped(**SHAPE, rows=400)
    records, scale, shift = scaled(case.records, np.random.default_rng(6))
    found = fit_scaling(case.network, records)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-3)
    np.testing.assert_allclose(found.shift, shift, atol=1e-3)


def test_too_few_rows_are_fitted_to_nothing(dropped):
    case = dropped(**SHAPE, rows=23)
    assert fit_scaling(case.network, case.records) is None


def test_standardised_inputs_that_are_not_fitted_are_no_proof_of_a_wrong_record(
    dropped, monkeypatch
):
    doubt = "unshuffle.repair.doubt.Doubt"
    monkeypatch.setattr(f"{doubt}.refutes", lambda *_: True)
    monkeypatch.setattr(f"{doubt}.refuted", lambda _, found: replace(found, outcome=Outcome.NO_FIT))
    monkeypatch.setattr("unshuffle.repair.scaled_inputs.fit_scaling", lambda *_: None)
    case = dropped(**{**SHAPE, "blocks": 2}, rows=120)
    inputs = (case.records.inputs - case.records.inputs.mean(axis=0)) * np.float32(3)
    assert solve(case.pile, Records(inputs, case.records.predictions)).outcome is Outcome.NO_FIT
    inputs /= inputs.std(axis=0)
    solution = solve(case.pile, Records(inputs, case.records.predictions))
    assert solution.outcome is not Outcome.NO_FIT
    assert any("standardised" in note for note in solution.findings.notes)


def test_a_record_with_standardised_inputs_is_solved_with_its_scales(dropped, tmp_path):
    case = dropped(**SHAPE, rows=400)
    inputs = case.records.inputs
    offset, spread = inputs.mean(axis=0), inputs.std(axis=0)
    solution = solve(case.pile, Records((inputs - offset) / spread, case.records.predictions))
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    np.testing.assert_allclose(solution.findings.scale, spread, rtol=1e-3)
    np.testing.assert_allclose(solution.findings.shift, offset, atol=1e-3)
    assert "scaled and shifted" in solution.findings.notes[0]
    write_solution(solution, tmp_path / "kept")
    assert read_solution(tmp_path / "kept").findings == solution.findings
