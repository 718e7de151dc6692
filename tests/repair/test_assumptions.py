"""Where nothing reproduces a record, what may be otherwise is named, and not contradicted."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Outcome, Piece, Pile, Records, solve
from unshuffle.blocks.forms import FORMS
from unshuffle.ordering.search import Steps
from unshuffle.repair.assumptions import (
    ACTIVATION,
    PREDICTED,
    AssumptionParameters,
    may_be_wrong,
)
from unshuffle.repair.case import Case
from unshuffle.repair.other_activation import OTHER_ACTIVATION
from unshuffle.repair.other_block import Factor, OtherForm
from unshuffle.repair.other_units import BothUnits, ScaledPredictions, Sigmoid
from unshuffle.repair.scaled_inputs import Scaling
from unshuffle.repair.shuffled_columns import COLUMNS, SHUFFLED_COLUMNS
from unshuffle.solution.arranging import arrange
from unshuffle.solution.options import Options

SHAPE = {"blocks": 3, "width": 6, "hidden": 10}


def failed(dropped, rows=300, **shape):
    """A search in vain, and its case: the record is of no arrangement."""
    one, other = dropped(**(SHAPE | shape), rows=rows), dropped(**(SHAPE | shape), rows=rows)
    case = Case(one.pile, Records(one.records.inputs, other.records.predictions), Options(), None)
    solution = arrange(case.pile, case.records, case.options, stops=(Steps(1),))
    return case, solution.ended(Outcome.LOCAL_OPTIMUM)


SCALED, PREDICTIONS, FACTOR = (each.assumption for each in (Scaling, ScaledPredictions, Factor))


def test_what_a_search_has_shown_comes_first(dropped):
    case, solution = failed(dropped)
    share = solution.mse / case.records.variance
    form = OtherForm(FORMS[0]).assumption
    case.left.update({SCALED: 0.05, PREDICTIONS: 0.02, form: 0.4, FACTOR: 0.2})
    said = may_be_wrong(case, replace(solution, mse=case.records.variance))
    places = [said.index(name) for name in (PREDICTIONS, SCALED, form, ACTIVATION, FACTOR)]
    assert places == sorted(places)
    assert "2 % is left" in said
    assert "20 % is left" not in said  # numbers that are fitted take as much off any record
    assert share != 1
    assert "100 % of the predictions' variance is unexplained" in said


def test_a_form_that_came_no_nearer_is_named_as_such(dropped):
    case, solution = failed(dropped)
    case.left[OtherForm(FORMS[0]).assumption] = 0.95
    said = may_be_wrong(case, replace(solution, mse=0.95 * case.records.variance))
    assert f"(short searches came no nearer with {FORMS[0].formula})" in said


def first(case, solution):
    """What is named first."""
    return may_be_wrong(case, solution).split("likeliest first: ")[1].split("; ")[0]


def changed(case, **how):
    return Case(case.pile, replace(case.records, **how), Options(), None)


def test_predictions_that_lie_elsewhere_than_those_of_the_pieces_are_told(dropped):
    case, solution = failed(dropped)
    assert PREDICTIONS not in first(case, solution)
    for scale, shift in ((1, 50), (40, 0), (0.02, 0)):
        other = changed(case, predictions=scale * case.records.predictions + shift)
        assert first(other, solution).startswith(f"{PREDICTIONS} (those of the pieces lie")
    inputs = 5 * case.records.inputs + 3
    both = changed(case, inputs=inputs, predictions=40 * case.records.predictions)
    assert first(both, solution) == BothUnits.assumption
    assert first(changed(case, inputs=inputs), solution) == SCALED


def test_columns_in_another_sequence_are_told_by_moments(dropped):
    case, solution = failed(dropped)
    case.tests[COLUMNS] = True
    assert first(case, solution).startswith(f"{COLUMNS} (moments of the predictions")
    case.tests[COLUMNS] = False
    assert not first(case, solution).startswith(COLUMNS)


def test_that_moments_were_compared_is_kept(dropped, rng):
    one = dropped(blocks=4, width=8, hidden=12, rows=400)
    shuffled = changed(one, inputs=one.records.inputs[:, rng.permutation(8)])
    for case, told in ((shuffled, True), (changed(one), False)):
        SHUFFLED_COLUMNS.run(case, None)
        assert case.tests[COLUMNS] is told


def test_a_sigmoid_is_named_only_where_there_can_be_one(dropped):
    case, solution = failed(dropped)
    assert Sigmoid.assumption not in may_be_wrong(case, solution)
    chances = 1 / (1 + np.exp(-case.records.predictions))
    assert Sigmoid.assumption in may_be_wrong(changed(case, predictions=chances), solution)


def test_activations_that_were_tried_are_less_likely(dropped):
    case, solution = failed(dropped)
    case.tests[COLUMNS] = False
    tried = replace(solution, repairs={"another activation": "nothing came of it"})
    before, after = first(case, solution), first(case, tried)
    assert before == ACTIVATION != after


def test_more_rows_and_another_seed_are_advised_only_where_they_help(dropped):
    few, many = (may_be_wrong(*failed(dropped, rows=rows)) for rows in (100, 300))
    assert few.endswith("; more rows may help too")
    assert not many.endswith("may help too")
    deep = may_be_wrong(*failed(dropped, blocks=9, width=4, hidden=6))
    assert deep.endswith("; another seed may help too")


def test_of_a_search_that_was_near_when_time_ended_nothing_is_said(dropped):
    case = dropped(**SHAPE, rows=100)
    whole = Case(case.pile, case.records, Options(), None)
    solution = arrange(case.pile, case.records, Options())
    assert may_be_wrong(whole, solution.ended(Outcome.BUDGET_SPENT)) is None
    assert may_be_wrong(whole, solution.ended(Outcome.LOCAL_OPTIMUM)) is not None


def test_of_a_search_that_is_cut_off_it_is_said_once_that_was_long_or_others_were_tried(dropped):
    case, solution = failed(dropped)
    cut_off = solution.ended(Outcome.BUDGET_SPENT)
    assert may_be_wrong(case, cut_off) is None
    assert may_be_wrong(case, cut_off, AssumptionParameters(least=1)) is not None
    near = replace(cut_off, mse=0.01 * case.records.variance)
    assert may_be_wrong(case, near, AssumptionParameters(least=1)) is None
    assert may_be_wrong(case, near, AssumptionParameters(near=1)) is not None
    case.left[SCALED] = 0.05
    assert SCALED in may_be_wrong(case, cut_off)


@pytest.mark.parametrize("value", [0.25, 0.1])  # a mean of tenths is rounded
def test_of_predictions_that_do_not_vary_nothing_else_is_said(dropped, value):
    case, solution = failed(dropped)
    constant = Records(case.records.inputs, np.full((300, 1), value))
    said = may_be_wrong(Case(case.pile, constant, Options(), None), solution)
    assert said.startswith("the predictions do not vary")


@pytest.mark.parametrize("bare", [0, 3, 7])
def test_layers_without_biases_are_named_first_where_others_have_one(dropped, bare):
    case, solution = failed(dropped)
    biases = [None if place < bare else piece.bias for place, piece in enumerate(case.pile)]
    pieces = [
        Piece.linear(piece.id, piece.weight, bias)
        for piece, bias in zip(case.pile, biases, strict=True)
    ]
    said = may_be_wrong(Case(Pile(pieces), case.records, Options(), None), solution)
    _, _, named = said.partition("the likeliest first: ")
    lost = f"the {bare} layers without a bias had one"
    assert (lost in named) == (bare > 0)
    assert named.startswith(lost) == (bare == 3)


def test_it_stands_among_the_notes_of_a_solution(dropped, rng):
    case = dropped(blocks=2, rows=100)
    wrong = Records(case.records.inputs, rng.permutation(case.records.predictions))
    solution = solve(case.pile, wrong)
    assert any("may be otherwise, the likeliest first" in note for note in solution.findings.notes)
    assert "another seed" not in solution.outcome.advice


@pytest.mark.parametrize(
    ("inputs", "predictions", "said"),
    [("01234567", "8", True), ("abcdefgh", "8", False), ("01234567", "p", False), ("", "", False)],
)
def test_another_column_is_named_where_columns_have_no_names(dropped, inputs, predictions, said):
    case, solution = failed(dropped)
    records = replace(case.records, columns=((*inputs,), (*predictions,), (), ()))
    case = Case(case.pile, records, Options(), None)
    assert (PREDICTED in may_be_wrong(case, solution)) == said


@pytest.mark.parametrize(("share", "first"), [(0.001, True), (0.5, False)])
def test_an_activation_much_like_the_true_one_leaves_little(dropped, share, first):
    case, solution = failed(dropped)
    mse = share * case.records.variance
    tried = replace(solution, mse=mse, repairs={OTHER_ACTIVATION.name: "nothing came of it"})
    _, _, named = may_be_wrong(case, tried).partition("the likeliest first: ")
    assert named.startswith(ACTIVATION) == first
