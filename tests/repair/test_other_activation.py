from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Outcome, solve, verify
from unshuffle.blocks.activations import find_activation
from unshuffle.blocks.mlp import as_mlp
from unshuffle.proof.activation import fitting_activation

FOUND = ["gelu_tanh", "elu", "sigmoid", "softplus", "hardswish", "leaky_relu", "leaky_relu_0.37"]


@pytest.mark.parametrize("name", FOUND)
def test_the_activation_of_a_right_arrangement_is_found(make_dropped, name):
    case = make_dropped(np.random.default_rng(3), rows=300, activation=name)
    network = as_mlp(case.network)
    for other in ("relu", "tanh"):
        blocks = replace(network.blocks, activation=find_activation(other))
        wrong = type(network)(blocks, network.last)
        assert fitting_activation(wrong, case.records).name == name
    assert verify(case.pile, case.records, case.permutation).outcome is Outcome.EXACT


@pytest.mark.parametrize("name", ["hardswish", "leaky_relu_0.37"])
def test_an_activation_that_no_search_begins_with_is_found(make_dropped, name):
    case = make_dropped(
        np.random.default_rng(3), rows=400, blocks=5, width=8, hidden=16, activation=name
    )
    solution = solve(case.pile, case.records)
    assert solution.exact
    assert solution.activation == name
    assert solution.permutation == case.permutation
    assert solution.repairs["another activation"] == "exact"


def test_what_was_tried_is_said_where_nothing_fits(make_dropped, rng):
    case = make_dropped(np.random.default_rng(3), rows=100, blocks=2)
    wrong = type(case.records)(case.records.inputs, rng.permutation(case.records.predictions))
    notes = solve(case.pile, wrong).findings.notes
    assert any("relu, gelu, silu, tanh, gelu_tanh" in note for note in notes)
