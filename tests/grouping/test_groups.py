"""Which pieces share a block, for any kind."""

import numpy as np
import pytest

from unshuffle import Piece, Pile, pair
from unshuffle.blocks.assembly import mlp_bank
from unshuffle.blocks.mlp import INP, OUT, mlp_kind
from unshuffle.grouping.fusion import fuse
from unshuffle.grouping.groups import group
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.signals import Clues
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.blueprint import Edge, Kind, Role


def without_last(case):
    return Pile(piece for piece in case.pile if piece.id != case.permutation[-1])


def named(pile, blocks):
    return {tuple(pile.ids[position] for position in block) for block in blocks.tolist()}


def test_the_puzzles_kind_is_grouped_as_it_is_paired(dropped):
    case = dropped(blocks=8, width=16, hidden=24)
    pile = without_last(case)
    blocks, evidence = group(pile, mlp_kind(16, 24))
    assert named(pile, blocks) == case.pairs == set(pair(case.pile).pairs)
    bank = mlp_bank(case.pile, read_anatomy(case.pile))
    expected = fuse(Clues(bank), optimal_matching).log_odds
    (edge,) = evidence.edges
    assert (edge.first, edge.second) == (INP, OUT)
    for i, inp in enumerate(bank.inp_positions):
        for j, out in enumerate(bank.out_positions):
            ids = case.pile.ids[inp], case.pile.ids[out]
            block = np.array([[pile.index[name] for name in ids]])
            assert evidence.value(block) == pytest.approx(expected[i, j], rel=1e-3, abs=1e-3)
    assert evidence.admits(blocks)


def bilinear(rng, blocks=8, width=12, hidden=20):
    """Blocks of a reader, two alike writers and a scale; only hidden units tell who belongs."""
    pieces, right = [], []
    for k in range(blocks):
        strength = np.exp(0.6 * rng.normal(size=(hidden, 1)))
        reader = strength * rng.normal(size=(hidden, width)) / np.sqrt(width)
        first, second = (
            -0.3 * reader.T + 0.1 * rng.normal(size=(width, hidden)) * strength.T for _ in range(2)
        )
        tensors = (
            {"weight": reader},
            {"weight": first},
            {"weight": second},
            {"scale": np.ones(3) + k},
        )
        names = [f"{role}{k}" for role in ("reader", "first", "second", "scale")]
        pieces += [Piece(name, each) for name, each in zip(names, tensors, strict=True)]
        right.append(names)
    kind = Kind(
        "bilinear",
        (
            Role("reader", {"weight": (hidden, width)}),
            Role("first", {"weight": (width, hidden)}),
            Role("second", {"weight": (width, hidden)}),
            Role("scale", {"scale": (3,)}),
        ),
        (Edge(0, 1, 0, 1), Edge(0, 2, 0, 1)),
    )
    return Pile(pieces), kind, right


def test_several_pieces_of_one_class_are_grouped_with_one_of_another(rng):
    pile, kind, right = bilinear(rng)
    blocks, evidence = group(pile, kind)
    assert blocks.shape == (8, 4)
    assert sorted(blocks.ravel().tolist()) == list(range(32))
    found = {frozenset(pile.ids[p] for p in block[:3]) for block in blocks.tolist()}
    assert found == {frozenset(names[:3]) for names in right}
    assert {pile.ids[p][:5] for p in blocks[:, 3]} == {"scale"}  # of which nothing is known
    assert len(evidence.edges) == 2
    assert all(3 not in (edge.first, edge.second) for edge in evidence.edges)
    # The two of one class have the same evidence: nothing tells which is which.
    turned = blocks.copy()
    turned[:, [1, 2]] = turned[:, [2, 1]]
    assert evidence.value(turned) == pytest.approx(evidence.value(blocks))
    wrong = blocks.copy()
    wrong[[0, 1], 1] = wrong[[1, 0], 1]
    assert evidence.value(wrong) < evidence.value(blocks)


def test_a_class_that_shares_an_axis_with_itself_alone_is_grouped_anyhow(rng):
    """Square layers can be inp or out; the log-norms of their hidden units say which."""
    pile = Pile(Piece.linear(k, rng.normal(size=(4, 4)), rng.normal(size=4)) for k in range(6))
    blocks, evidence = group(pile, mlp_kind(4, 4))
    assert sorted(blocks.ravel().tolist()) == list(range(6))
    (edge,) = evidence.edges
    assert edge.log_odds.shape == (6, 6)
    assert (edge.log_odds.diagonal() == edge.log_odds.min()).all()  # none belongs to itself


@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (1, 1)])
def test_whichever_axis_is_shared_is_looked_at(rng, axes):
    """Turning weights over, and their axes with them, changes nothing."""
    hidden, width = 20, 12
    strength = np.exp(0.6 * rng.normal(size=(8, hidden, 1)))
    reads = strength * rng.normal(size=(8, hidden, width)) / np.sqrt(width)
    writes = -0.3 * reads + 0.1 * strength * rng.normal(size=(8, hidden, width))
    first, second = (
        weights if axis == 0 else np.swapaxes(weights, 1, 2)
        for weights, axis in zip((reads, writes), axes, strict=True)
    )
    pieces = [Piece(k, {"weight": weight}) for k, weight in enumerate(first)]
    pieces += [
        Piece(100 + k, {"kernel": weight, "weight": weight}) for k, weight in enumerate(second)
    ]
    shapes = first.shape[1:], second.shape[1:]
    kind = Kind(
        "turned",
        (Role("a", {"weight": shapes[0]}), Role("b", {"kernel": shapes[1], "weight": shapes[1]})),
        (Edge(0, 1, *axes),),
    )
    pile = Pile(pieces)
    blocks, _ = group(pile, kind)
    assert named(pile, blocks) == {(k, 100 + k) for k in range(8)}


def test_grouping_does_not_depend_on_names_or_file_order(rng):
    pile, kind, _ = bilinear(rng)
    expected, evidence = group(pile, kind)
    mixed = [pile[p] for p in rng.permutation(32)]
    renamed = Pile(Piece(f"x-{piece.id}", piece.tensors) for piece in mixed)
    blocks, again = group(renamed, kind)
    np.testing.assert_array_equal(blocks, expected)
    for one, other in zip(evidence.edges, again.edges, strict=True):
        np.testing.assert_array_equal(one.log_odds, other.log_odds)
