"""Scales of the inputs are found by least squares, and said."""

from dataclasses import replace

import numpy as np

from unshuffle import Outcome, Records, read_solution, solve, write_solution
from unshuffle.ordering.search import Steps
from unshuffle.pieces.clock import Clock
from unshuffle.proof.noise import find_pattern
from unshuffle.repair.in_turn import arrange_on
from unshuffle.repair.scaled_inputs import fit_scaling
from unshuffle.repair.wrong_record import WrongRecord
from unshuffle.solution.arranging import Searching
from unshuffle.solution.findings import Findings
from unshuffle.solution.options import Options

SHAPE = {"blocks": 4, "width": 8, "hidden": 12}


def scaled(records, rng):
    scale, shift = np.exp(0.5 * rng.normal(size=8)), rng.normal(size=8)
    inputs = ((records.inputs - shift) / scale).astype(np.float64)
    return Records(inputs, records.predictions), scale, shift


def test_scales_are_fitted_to_the_true_arrangement(dropped, rng):
    case = dropped(**SHAPE, rows=400)
    records, scale, shift = scaled(case.records, np.random.default_rng(6))
    found = fit_scaling(case.network, records, Clock())
    np.testing.assert_allclose(found.scale, scale, rtol=1e-3)
    np.testing.assert_allclose(found.shift, shift, atol=1e-3)


def test_too_few_rows_are_fitted_to_nothing(dropped):
    case = dropped(**SHAPE, rows=23)
    assert fit_scaling(case.network, case.records, Clock()) is None


def test_near_copies_of_few_rows_are_fitted_to_nothing(dropped, rng):
    """Their predictions are anything, and scales that fit them fit the copies too."""
    case = dropped(**SHAPE, rows=14)
    inputs = np.repeat(case.records.inputs.astype(np.float64), 20, axis=0)
    inputs *= 1 + 1e-10 * rng.normal(size=inputs.shape)
    record = Records(inputs, np.repeat(rng.normal(size=(14, 1)), 20, axis=0))
    assert fit_scaling(case.network, record, Clock()) is None
    wrong = solve(case.pile, record, time_limit=1.0)
    assert wrong.outcome not in (Outcome.EXACT, Outcome.APPROXIMATE)


def test_standardised_inputs_are_no_proof_of_a_wrong_record(dropped):
    case = dropped(**{**SHAPE, "blocks": 2}, rows=1000)
    offset, spread = case.records.inputs.mean(axis=0), case.records.inputs.std(axis=0)
    for unit, told in ((3 / spread, False), (1 / spread, True)):
        record = Records((case.records.inputs - offset) * unit, case.records.predictions)
        searching = Searching.of(case.pile, record, Options())
        searching.go_on((Steps(1),))
        far = replace(searching.solution(), outcome=Outcome.LOCAL_OPTIMUM)
        far = replace(far, mse=0.5 * record.variance)
        assert find_pattern(far.network, record).significant
        assert WrongRecord(searching)._refutes(far) is not told
        found = solve(case.pile, record, time_limit=1e-9).findings or Findings()
        assert any("standardised" in note for note in found.notes) is told


def test_a_search_goes_on_only_from_what_is_of_the_same_pieces(dropped):
    case, other = dropped(**SHAPE, rows=100), dropped(**{**SHAPE, "blocks": 5}, rows=100)
    wrong = Records(case.records.inputs, case.records.predictions[::-1])
    first = arrange_on(case.pile, wrong, Options(), 3)
    again = arrange_on(case.pile, wrong, Options(), 3, first)
    assert (len(first.trace), len(again.trace)) == (3, 6)
    assert len(arrange_on(other.pile, wrong, Options(), 3, first).trace) == 3


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
