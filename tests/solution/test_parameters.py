"""The numbers that steer a solve are passed to it, and the solution names them."""

import numpy as np
import pytest

from unshuffle.files.schema import encode
from unshuffle.grouping.parameters import GroupingParameters
from unshuffle.ordering.parameters import SearchParameters
from unshuffle.ordering.sweeps import ClassicParameters
from unshuffle.solution.arranging import arrange
from unshuffle.solution.goal import GoalParameters
from unshuffle.solution.options import Options


@pytest.fixture
def case(dropped):
    return dropped(blocks=4, width=8, hidden=12)


def test_grouping_is_steered(case):
    asked = [
        arrange(case.pile, case.records, Options(grouping=GroupingParameters(decisive=decisive)))
        for decisive in (0.0, np.finfo(float).max)
    ]
    by_ratio, by_all = (solution.pairing.fusion.weights for solution in asked)
    assert {*by_ratio} == {"ratio"} < {*by_all}
    assert asked[0].parameters["grouping"]["decisive"] == 0


def test_classic_is_steered(case):
    options = Options("classic", classic=ClassicParameters(rows=40))
    solution = arrange(case.pile, case.records, options)
    assert {step.rows for step in solution.trace.steps} == {40}
    assert solution.parameters["search"] == {"rows": 40, "batch": 4}


def test_a_solution_names_all_numbers(case):
    by = SearchParameters(quick=64)
    solution = arrange(case.pile, case.records, Options(parameters=by))
    assert solution.parameters == {
        "grouping": encode(GroupingParameters()),
        "search": encode(by),
        "goal": encode(GoalParameters()),
    }
    assert solution.summary()["parameters"] == solution.parameters
    assert solution.trace.steps[0].rows == 64
