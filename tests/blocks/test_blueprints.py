"""From the pieces of a pile to a bank and its ends."""

import numpy as np
import pytest

from unshuffle import Piece, Pile
from unshuffle.blocks.activations import find_activation
from unshuffle.blocks.assembly import last_layer, mlp_bank
from unshuffle.blocks.blueprints import LoopBlueprint
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import mlp_kind
from unshuffle.blocks.network import Network
from unshuffle.errors import PileError
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.blueprint import Kind, Role

HALF, TALL = (4, 4), (6, 4)
KIND = Kind(
    "lop-sided",
    (Role("a", {"weight": HALF}), Role("b", {"weight": TALL}), Role("c", {"weight": HALF})),
)


def test_the_puzzles_kind_is_built_as_its_anatomy_says(dropped):
    case = dropped(blocks=3, activation="tanh", outputs=2)
    anatomy = read_anatomy(case.pile)
    bank = mlp_bank(case.pile, anatomy, find_activation("tanh"))
    assert bank.kind == mlp_kind(6, 10)
    (last,) = anatomy.last
    ends = last_layer(case.pile, case.pile[last].id)
    arrangement = np.array([[case.pile.index[name] for name in block] for block in case.blocks])
    network = Network(bank.take(arrangement), ends)
    for name, values in case.network.tensors().items():
        np.testing.assert_array_equal(network.tensors()[name], values)


def blueprint_of(kind):
    ends = Linear(np.ones((1, 4)), np.zeros(1))
    return LoopBlueprint(kind, lambda weights, x: x, lambda weights, x, g: g, ends)


def pile_of(rng, *shapes, dtype=np.float32):
    return Pile(
        Piece(number, {"weight": rng.normal(size=shape).astype(dtype)})
        for number, shape in enumerate(shapes)
    )


def test_each_piece_fits_where_its_tensors_do(rng):
    pile = pile_of(rng, *[HALF] * 4, *[TALL] * 2)
    bank = blueprint_of(KIND).bank(pile)
    assert bank.kind is KIND
    half = [p for p, piece in enumerate(pile) if piece.shape == HALF]
    tall = [p for p, piece in enumerate(pile) if piece.shape == TALL]
    stack = bank.take(np.array([[half[2], tall[0], half[0]], [half[1], tall[1], half[3]]]))
    weights = stack.weights(0)
    assert [*weights] == ["a", "b", "c"]
    for role, position in zip(weights, (half[2], tall[0], half[0]), strict=True):
        np.testing.assert_array_equal(weights[role]["weight"], pile[position].weight)


@pytest.mark.parametrize(
    ("shapes", "counts"),
    [
        ([HALF] * 3 + [TALL] * 2, "3 pieces fit a or c; 2 pieces fit b"),
        ([HALF] * 3, "3 pieces fit a or c; 0 pieces fit b"),
        ([HALF] * 2 + [TALL] * 2, "2 pieces fit a or c; 2 pieces fit b"),
        ([HALF] * 2 + [TALL] + [(9, 9)], "the 4 pieces make no whole number of lop-sided blocks"),
    ],
)
def test_a_pile_that_makes_no_whole_number_of_blocks_is_refused(rng, shapes, counts):
    with pytest.raises(PileError, match=counts):
        blueprint_of(KIND).bank(pile_of(rng, *shapes))


def test_half_a_block_is_refused(rng):
    """Even where all classes agree on how many blocks there are."""
    kind = Kind("twins", (Role("a", {"weight": HALF}), Role("b", {"weight": HALF})))
    blueprint_of(kind).bank(pile_of(rng, *[HALF] * 4))
    with pytest.raises(PileError, match="no whole number of twins blocks: 3 pieces fit a or b"):
        blueprint_of(kind).bank(pile_of(rng, *[HALF] * 3))


def test_a_piece_with_other_names_fits_nowhere(rng):
    pile = pile_of(rng, *[HALF] * 2, TALL)
    odd = Pile([*pile.pieces[:-1], Piece(99, {"kernel": pile.pieces[-1].weight})])
    with pytest.raises(PileError, match="no whole number"):
        blueprint_of(KIND).bank(odd)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_numbers_are_of_the_piles_dtype(rng, dtype):
    pile = pile_of(rng, *[HALF] * 2, TALL, dtype=dtype)
    blueprint = blueprint_of(KIND)
    assert blueprint.ends(pile).dtype == dtype
    bank = blueprint.bank(pile)
    assert {values.dtype for each in bank.tensors for values in each.values()} == {np.dtype(dtype)}
