"""Where nothing reproduces a record, what may be otherwise is named, and not contradicted."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Outcome, Piece, Pile, Records, solve
from unshuffle.ordering.search import Steps
from unshuffle.repair.assumptions import (
    OTHER_STREAMS,
    POSSIBLE,
    AssumptionParameters,
    may_be_wrong,
)
from unshuffle.repair.case import Case
from unshuffle.solution.arranging import arrange
from unshuffle.solution.options import Options

SHAPE = {"blocks": 3, "width": 6, "hidden": 10}


def failed(dropped, rows=300, **shape):
    """A search in vain, and its case: the record is of no arrangement."""
    one, other = dropped(**(SHAPE | shape), rows=rows), dropped(**(SHAPE | shape), rows=rows)
    case = Case(one.pile, Records(one.records.inputs, other.records.predictions), Options(), None)
    solution = arrange(case.pile, case.records, case.options, stops=(Steps(1),))
    return case, solution.ended(Outcome.LOCAL_OPTIMUM)


def test_what_a_search_has_shown_comes_first(dropped):
    case, solution = failed(dropped)
    share = solution.mse / case.records.variance
    case.left.update({POSSIBLE[1]: 0.1 * share, POSSIBLE[3]: 0.05 * share, POSSIBLE[6]: 2 * share})
    said = may_be_wrong(case, solution)
    places = [said.index(name) for name in (POSSIBLE[3], POSSIBLE[1], POSSIBLE[0], POSSIBLE[2])]
    assert places == sorted(places)
    assert f"{5 * share:.2g} % is left" in said
    assert POSSIBLE[6] not in said  # it was tried and came no nearer
    assert f"{100 * share:.3g} % of the predictions' variance is unexplained" in said


def test_where_nothing_is_explained_no_stream_goes_through(dropped):
    case, solution = failed(dropped)
    variance = case.records.variance
    said = [may_be_wrong(case, replace(solution, mse=share * variance)) for share in (0.95, 0.5)]
    places = [one.index(next(iter(OTHER_STREAMS))) < one.index(POSSIBLE[0]) for one in said]
    assert places == [True, False]
    case.left[POSSIBLE[3]] = 0.05  # what a search has shown comes before it
    said = may_be_wrong(case, replace(solution, mse=0.95 * variance))
    assert said.index(POSSIBLE[3]) < said.index(next(iter(OTHER_STREAMS)))


def test_a_stream_whose_forms_were_tried_in_vain_comes_last(dropped):
    case, solution = failed(dropped)
    solution = replace(solution, mse=0.95 * case.records.variance)
    for tried in OTHER_STREAMS.values():
        case.left.update(dict.fromkeys(tried, 0.95))
    said = may_be_wrong(case, solution)
    others = [name for name in POSSIBLE if name not in OTHER_STREAMS]
    assert max(map(said.index, others)) < min(map(said.index, OTHER_STREAMS))
    assert "short searches came no nearer with" in said
    assert "out(a(inp(x)))" in said


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
    case.left[POSSIBLE[1]] = 0.1
    assert POSSIBLE[1] in may_be_wrong(case, cut_off)


@pytest.mark.parametrize("value", [0.25, 0.1])  # a mean of tenths is rounded
def test_of_predictions_that_do_not_vary_nothing_else_is_said(dropped, value):
    case, solution = failed(dropped)
    constant = Records(case.records.inputs, np.full((300, 1), value))
    said = may_be_wrong(Case(case.pile, constant, Options(), None), solution)
    assert said.startswith("the predictions do not vary")


def test_layers_without_biases_are_named(dropped):
    case, solution = failed(dropped)
    assert "without a bias" not in may_be_wrong(case, solution)
    bare = [Piece.linear(piece.id, piece.weight, None) for piece in case.pile]
    case = Case(Pile(bare), case.records, Options(), None)
    assert "the 7 layers without a bias had one" in may_be_wrong(case, solution)


def test_it_stands_among_the_notes_of_a_solution(dropped, rng):
    case = dropped(blocks=2, rows=100)
    wrong = Records(case.records.inputs, rng.permutation(case.records.predictions))
    solution = solve(case.pile, wrong)
    assert any("may be otherwise, the likeliest first" in note for note in solution.findings.notes)
    assert "another seed" not in solution.outcome.advice
