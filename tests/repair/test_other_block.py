"""Blocks of another form, or with a factor that no piece holds, are found and said."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Outcome, Records, read_solution, solve, verify, write_solution
from unshuffle.blocks.forms import FORMS, RESIDUAL, formed
from unshuffle.ordering.search import Steps
from unshuffle.ordering.trace import Step
from unshuffle.pieces.clock import Clock
from unshuffle.repair.case import Case
from unshuffle.repair.in_turn import TurnParameters, solved_without
from unshuffle.repair.other_block import (
    OTHER_BLOCK,
    OTHER_BLOCK_LONGER,
    STANDARD,
    Factor,
    OtherForm,
    _patient,
)
from unshuffle.solution.arranging import Searching
from unshuffle.solution.options import Options

SHAPE = {"blocks": 4, "width": 8, "hidden": 12, "coupling": 0.3}


def scaled(network, factor):
    """The network with a factor on what each block adds."""
    blocks = network.blocks
    out, bias = (np.float32(factor) * each for each in blocks.out)
    return replace(network, blocks=replace(blocks, out_weight=out, out_bias=bias))


@pytest.mark.parametrize("form", [FORMS[0], FORMS[4]], ids=lambda form: form.formula)
def test_another_form_of_block_is_found(dropped, form, tmp_path):
    case = dropped(**SHAPE, rows=400)
    network = formed(case.network, form.formula)
    records = Records(case.records.inputs, network.predict(case.records.inputs))
    solution = solve(case.pile, records)
    assert solution.exact
    assert (solution.form, solution.permutation) == (form.formula, case.permutation)
    assert form.formula in solution.findings.notes[0]
    assert verify(case.pile, records, solution.answer).outcome is Outcome.EXACT
    write_solution(solution, tmp_path / "kept")
    kept = read_solution(tmp_path / "kept")
    assert kept.form == form.formula
    inputs = records.inputs[:5]
    np.testing.assert_array_equal(kept.network.predict(inputs), solution.network.predict(inputs))


@pytest.mark.parametrize("patience", [1.0, 1000.0])
def test_a_form_is_searched_with_as_long_as_its_patience_says(dropped, patience):
    case = dropped(blocks=7, width=8, hidden=12, coupling=0.3, rows=400)
    network = formed(case.network, FORMS[4].formula)
    records = Records(case.records.inputs, network.predict(case.records.inputs))
    whole, short = Case(case.pile, records, Options(), None), TurnParameters(1, 1, 64, 64)
    found = solved_without(whole, OtherForm(FORMS[4], patience=patience), short)
    assert (found is not None) == (patience > 1)


def test_each_form_is_searched_with_again_for_longer_once_a_search_was_long(dropped):
    case = dropped(**SHAPE, rows=100)
    wrong = Records(case.records.inputs, case.records.predictions[::-1])
    whole = Case(case.pile, wrong, Options(), None)
    searching = whole.searching()
    looks = OTHER_BLOCK_LONGER.looks(whole, searching)
    step = Step("in vain", np.empty(0), True, np.empty((0, 2), np.intp), np.inf, STANDARD.after)
    for due in (False, True):
        assert (next(looks) is not None) is due
        searching.trace.add(step, 0.0)
    tried = [*_patient(whole)]
    assert [each.form for each in tried] == [form for form in FORMS if form.skip]
    whole.left[OtherForm(FORMS[4]).assumption] = 0.2  # what came nearest is the first
    assert next(iter(_patient(whole))).form is FORMS[4]
    assert all(each.patience > 1 for each in tried)


def test_blocks_that_fit_are_of_the_usual_form(dropped):
    case = dropped(**SHAPE, rows=100)
    assert solve(case.pile, case.records).form == RESIDUAL.formula


def test_a_factor_is_fitted_to_the_true_arrangement(dropped):
    case = dropped(**SHAPE, rows=200)
    records = Records(case.records.inputs, scaled(case.network, 0.3).predict(case.records.inputs))
    found = Factor(0.5).fitted(scaled(case.network, 0.5), Case(case.pile, records, Options(), None))
    assert found.value == 0.3


@pytest.mark.parametrize("factor", [0.5, 0.35])
def test_a_factor_that_no_piece_holds_is_found_with_the_order(dropped, factor, tmp_path):
    case = dropped(**SHAPE, rows=400)
    network = scaled(case.network, factor)
    records = Records(case.records.inputs, network.predict(case.records.inputs))
    solution = solve(case.pile, records)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    assert solution.findings.factor == pytest.approx(factor, rel=1e-6)
    assert f"multiplied by {factor}" in solution.findings.notes[0]
    # The network that is handed back has the factor in its layers.
    np.testing.assert_allclose(
        solution.network.predict(records.inputs), records.predictions, atol=1e-4
    )
    write_solution(solution, tmp_path / "kept")
    assert read_solution(tmp_path / "kept").findings == solution.findings


def test_what_is_tried_early_waits_until_a_search_is_in_vain(dropped):
    case = dropped(**SHAPE, rows=100)
    wrong = Records(case.records.inputs, case.records.predictions[::-1])
    searching = Searching.of(case.pile, wrong, Options(clock=Clock()))
    searching.go_on((Steps(1),))
    whole = Case(case.pile, wrong, Options(), None)
    assert next(OTHER_BLOCK.looks(whole, searching)) is not None
    right = Searching.of(case.pile, case.records, Options())
    right.go_on()
    assert next(OTHER_BLOCK.looks(whole, right)) is None
