"""Kinds of blocks, and arrangements of pieces in their slots."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.blocks.mlp import INP, OUT, mlp_kind
from unshuffle.errors import UsageError
from unshuffle.pieces.blueprint import Edge, Kind, Role, key, names, same_pieces

SQUARE, TALL = {"weight": (4, 4)}, {"weight": (6, 4)}
KIND = Kind(
    "five roles",
    (
        Role("a", SQUARE),
        Role("b", TALL),
        Role("c", SQUARE),
        Role("d", {"weight": (4, 4), "bias": (4,)}),
        Role("e", SQUARE),
    ),
    (Edge(0, 1, 0, 1), Edge(1, 2, 1, 0)),
)


def test_roles_of_one_class_are_those_that_shapes_do_not_tell_apart():
    assert KIND.classes == ((0, 2, 4), (1,), (3,))
    assert KIND.turns() == [(0, 2), (0, 4), (2, 4)]
    assert [KIND.edges_of(role) for role in range(5)] == [1, 2, 1, 0, 0]
    assert KIND.shapes(3) == {"weight": (4, 4), "bias": (4,)}


@pytest.mark.parametrize(("hidden", "turns"), [(6, []), (4, [(INP, OUT)])])
def test_the_layers_of_the_puzzles_kind_can_be_told_apart_by_shape_or_not(hidden, turns):
    kind = mlp_kind(4, hidden)
    assert kind.turns() == turns
    assert [role.name for role in kind.roles] == ["inp", "out"]
    assert kind.shapes(INP) == {"weight": (hidden, 4), "bias": (hidden,)}
    assert kind.shapes(OUT) == {"weight": (4, hidden), "bias": (4,)}
    (edge,) = kind.edges
    for role, axis in ((edge.first, edge.first_axis), (edge.second, edge.second_axis)):
        assert kind.shapes(role)["weight"][axis] == hidden


@pytest.mark.parametrize(
    ("edge", "says"),
    [
        (Edge(0, 1, 0, 1), "of a matrix of 'up', not axis 0 of 'weight'; its tensors are w "),
        (Edge(0, 1, 0, 1, "b", "w"), "not axis 0 of 'b'"),
        (Edge(0, 1, 2, 1, "w", "w"), "not axis 2 of 'w'"),
        (Edge(0, 1, 0, 0, "w", "w"), "have 6 and 4 units there"),
        (Edge(0, 2, 0, 1, "w", "w"), "role 2, but the roles are 0 to 1"),
    ],
)
def test_an_edge_is_of_two_matrices_that_share_an_axis(edge, says):
    roles = Role("up", {"w": (6, 4), "b": (6,)}), Role("down", {"w": (4, 6)})
    assert Kind("named", roles, (Edge(0, 1, 0, 1, "w", "w"),)).edges
    with pytest.raises(UsageError, match=re.escape(says)):
        Kind("named", roles, (edge,))


def test_a_kind_cannot_be_changed():
    tensors = {"weight": (4, 4)}
    role = Role("a", tensors)
    tensors["bias"] = (4,)
    assert dict(role.tensors) == {"weight": (4, 4)}
    with pytest.raises(TypeError):
        role.tensors["bias"] = (4,)


arrangements = st.permutations(range(6)).map(lambda pieces: np.array(pieces).reshape(3, 2))


@given(one=arrangements, other=arrangements)
def test_equal_arrangements_have_one_key(one, other):
    assert (key(one) == key(other)) == np.array_equal(one, other)
    assert key(np.asfortranarray(one.astype(np.int32))) == key(one)
    assert isinstance(hash(key(one)), int)


def test_pieces_are_named_by_their_ids():
    ids = ["a", 7, "c", 1]
    assert names(np.array([[2, 0], [1, 3]]), ids) == (("c", "a"), (7, 1))
    assert names(np.empty((0, 2), np.intp), ids) == ()


def test_arrangements_of_the_same_pieces_differ_within_classes():
    one = np.arange(10).reshape(2, 5)
    other = one.copy()
    other[[0, 1], [0, 4]] = one[[1, 0], [4, 0]]  # a and e are of one class
    assert same_pieces(one, other, KIND)
    assert same_pieces(one, one[::-1], KIND)
    across = one.copy()
    across[0, [0, 1]] = one[0, [1, 0]]  # a and b are not
    assert not same_pieces(one, across, KIND)
    assert not same_pieces(one, one[:1], KIND)
    twice = one.copy()
    twice[0, 0] = one[1, 0]
    assert not same_pieces(one, twice, KIND)
