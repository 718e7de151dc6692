from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Outcome, Piece, Pile, solve, verify
from unshuffle.blocks.activations import FURTHER, find_activation
from unshuffle.blocks.mlp import as_mlp
from unshuffle.ordering.search import InVain
from unshuffle.proof.activation import fitting_activation
from unshuffle.repair.case import Case
from unshuffle.repair.other_activation import STANDARD, ActivationRace, _searched_on
from unshuffle.solution.options import Options

FOUND = [*FURTHER, "leaky_relu_0.37"]


@pytest.mark.parametrize("name", FOUND)
def test_the_activation_of_a_right_arrangement_is_found(make_dropped, name):
    case = make_dropped(np.random.default_rng(3), rows=300, activation=name)
    network = as_mlp(case.network)
    for other in ("relu", "tanh"):
        blocks = replace(network.blocks, activation=find_activation(other))
        wrong = type(network)(blocks, network.last)
        assert fitting_activation(wrong, case.records).name == name
    assert verify(case.pile, case.records, case.permutation).outcome is Outcome.EXACT


@pytest.mark.parametrize("name", ["hardswish", "mish", "softsign", "leaky_relu_0.37"])
def test_an_activation_that_no_search_begins_with_is_found(make_dropped, name):
    case = make_dropped(
        np.random.default_rng(3), rows=400, blocks=5, width=8, hidden=16, activation=name
    )
    solution = solve(case.pile, case.records)
    assert solution.exact
    assert solution.activation == name
    assert solution.permutation == case.permutation
    assert solution.repairs["another activation"] == "exact"


@pytest.mark.parametrize("seed", range(3))
def test_squared_relu_is_found(make_dropped, seed):
    """It resembles none of those that a search begins with; weights are small lest it explode."""
    case = make_dropped(
        np.random.default_rng(seed), rows=400, blocks=6, width=12, hidden=20, activation="relu2"
    )
    blocks = case.network.blocks
    network = replace(case.network, blocks=replace(blocks, inp_weight=0.3 * blocks.inp_weight))
    pile = Pile(
        Piece.linear(each.id, each.weight * (0.3 if len(each.bias) == 20 else 1), each.bias)
        for each in case.pile
    )
    records = replace(case.records, predictions=network.predict(case.records.inputs))
    solution = solve(pile, records)
    assert (solution.exact, solution.activation) == (True, "relu2")
    assert solution.permutation == case.permutation


@pytest.mark.parametrize("name", ["gelu", "elu"])
def test_an_activation_that_was_given_wrongly_is_said(make_dropped, name):
    case = make_dropped(
        np.random.default_rng(3), rows=400, blocks=5, width=8, hidden=16, activation=name
    )
    solution = solve(case.pile, case.records, activation="relu")
    assert (solution.exact, solution.activation) == (True, name)
    assert solution.permutation == case.permutation
    said = f"relu was given as the activation: the record is reproduced with {name}"
    assert solution.findings.notes == (said,)


def deep(make_dropped, name):
    return make_dropped(
        np.random.default_rng(5), rows=1000, blocks=10, width=12, hidden=24, activation=name
    )


def test_a_search_that_is_near_is_asked_for_another_activation(make_dropped):
    """GELU leaves less than a hundred-thousandth of its tanh form, and no search ends there."""
    case = deep(make_dropped, "gelu_tanh")
    solution = solve(case.pile, case.records)
    assert (solution.exact, solution.activation) == (True, "gelu_tanh")
    assert solution.permutation == case.permutation


def test_searches_with_other_activations_take_turns(make_dropped):
    """Of each as much work is done as it is let; the one with the right activation succeeds."""
    dropped = deep(make_dropped, "softplus")
    case = Case(dropped.pile, dropped.records, Options(), lambda case: None)
    race = ActivationRace(case, replace(STANDARD, raced=("sigmoid", "softplus")))
    assert race.go_on(1000) is None
    before = [search.row_steps for search in race.searches]
    assert all(1000 <= work < 3000 for work in before)
    found = race.go_on(30_000)
    assert (found.exact, found.activation) == (True, "softplus")
    assert found.permutation == dropped.permutation
    assert [
        search.row_steps > done for search, done in zip(race.searches, before, strict=True)
    ] == [
        True,
        True,
    ]


def test_a_look_leaves_the_search_as_it_is(make_dropped):
    """What is searched for from where a search stands adds nothing to the trace of that."""
    dropped = deep(make_dropped, "hardswish")
    case = Case(dropped.pile, dropped.records, Options(activation="silu"), lambda case: None)
    searching = case.searching()
    searching.go_on((InVain(16_384, 0.0),))
    steps, standing = [*searching.trace.steps], searching.state.best.arrangement
    network = searching.alternatives.problems[0].network(standing)
    other = replace(case, options=Options())
    _searched_on(other, network, standing, searching.trace, STANDARD)
    assert searching.trace.steps == steps


def test_what_was_tried_is_said_where_nothing_fits(make_dropped, rng):
    case = make_dropped(np.random.default_rng(3), rows=100, blocks=2)
    wrong = type(case.records)(case.records.inputs, rng.permutation(case.records.predictions))
    notes = solve(case.pile, wrong).findings.notes
    assert any("relu, gelu, silu, tanh, gelu_tanh" in note for note in notes)
