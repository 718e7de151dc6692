"""Pieces find their slots by whole names, names in a role, last parts of names, or shapes."""

import numpy as np
import pytest

from unshuffle.blocks.fitting import fitting, renamed
from unshuffle.errors import PileError
from unshuffle.pieces.pile import Piece, Pile

BLOCK = {
    "norm.weight": (4,),
    "norm.bias": (4,),
    "mlp.up.weight": (6, 4),
    "mlp.up.bias": (6,),
    "mlp.down.weight": (4, 6),
    "scale": (4,),
}
LAYERS = (("norm.weight", "norm.bias"), ("mlp.up.weight", "mlp.up.bias"), ("mlp.down.weight",))


def fit(block, blocks, pile):
    """How the pieces of a pile fit so many blocks of one form."""
    form = "", tuple(sorted(block.items()))
    return fitting([{f"{k}": form for k in range(blocks)}], pile)


def pile(rng, roles, names=lambda key: key, blocks=3):
    """The pieces of blocks that are cut into roles, and what each tensor holds."""
    made = [
        Piece(f"{block}{k}", {names(key): rng.normal(size=BLOCK[key]) for key in keys})
        for block in range(blocks)
        for k, keys in enumerate(roles)
    ]
    return Pile(made)


@pytest.mark.parametrize(
    ("roles", "names", "found"),
    [
        ((tuple(BLOCK),), lambda key: key, ["."]),
        ((*LAYERS, ("scale",)), lambda key: key, ["norm", "mlp.up", "mlp.down", "."]),
        (
            (*LAYERS, ("scale",)),
            lambda key: key.rpartition(".")[2],
            ["norm", "mlp.up", "mlp.down", "."],
        ),
        (
            (*LAYERS, ("scale",)),
            lambda key: f"x.y.{key.rpartition('.')[2]}",
            ["norm", "mlp.up", "mlp.down", "."],
        ),
        (tuple((key,) for key in BLOCK), lambda key: key, [*BLOCK]),
        (tuple((key,) for key in BLOCK), lambda key: "", [*BLOCK]),
    ],
)
def test_pieces_of_every_level_fit(rng, roles, names, found):
    loose = pile(rng, roles, names)
    found_fit = fit(BLOCK, 3, loose)
    fitted = renamed(found_fit.cut, loose)
    assert sorted(role.name for role in found_fit.kind.roles) == sorted(found)
    assert fitted.ids == loose.ids
    for piece, before in zip(fitted, loose, strict=True):
        assert any(
            piece.shapes == found_fit.kind.shapes(role) for role in range(len(found_fit.kind.roles))
        )
        assert sorted(one.tobytes() for one in piece.tensors.values()) == sorted(
            one.tobytes() for one in before.tensors.values()
        )
    again = fit(BLOCK, 3, fitted)  # what is fitted fits as it is
    assert [one.shapes for one in renamed(again.cut, fitted)] == [one.shapes for one in fitted]
    keys = {key for inner in found_fit.cut.keys(BLOCK).values() for key in inner.values()}
    assert keys == {*BLOCK}


def test_names_tell_roles_apart_that_shapes_do_not(rng):
    named = fit(BLOCK, 3, pile(rng, [(key,) for key in BLOCK]))
    nameless = fit(BLOCK, 3, pile(rng, [(key,) for key in BLOCK], lambda key: ""))
    assert len(named.kind.classes) == len(BLOCK)
    assert sorted(map(len, nameless.kind.classes)) == [1, 1, 1, 3]


def test_shapes_alone_need_last_parts_where_two_are_alike(rng):
    layers = (("norm.weight", "norm.bias"), ("mlp.up.weight", "mlp.up.bias"))
    block = {key: BLOCK[key] for keys in layers for key in keys}
    good = Pile(
        Piece(
            f"{n}{k}",
            {
                (f"z{key[-2]}" if k else f"a.{key.rpartition('.')[2]}"): rng.normal(size=block[key])
                for key in keys
            },
        )
        for n in range(2)
        for k, keys in enumerate(layers)
    )
    assert len(fit(block, 2, good).kind.roles) == 2
    bad = Pile(
        Piece(f"{n}{k}", {f"t{i}": rng.normal(size=block[key]) for i, key in enumerate(keys)})
        for n in range(2)
        for k, keys in enumerate(layers)
    )
    with pytest.raises(PileError, match="fits no slot of the 2 blocks"):
        fit(block, 2, bad)


def test_too_few_and_strange_pieces_are_named(rng):
    loose = pile(rng, (*LAYERS, ("scale",)))
    fewer = Pile([*loose][1:])
    with pytest.raises(PileError, match=r"2 pieces fit .*, but the 3 blocks \* of the module have"):
        fit(BLOCK, 3, fewer)
    other = Pile([*fewer, Piece("other", {"weight": np.ones((9, 9))})])
    with pytest.raises(PileError, match=r"other \(weight \(9, 9\)\) fits no slot .*; leave it out"):
        fit(BLOCK, 3, other)
    # Half of a layer, and a layer that is turned.
    bias, turned = {"mlp.up.bias": np.ones(6)}, {"mlp.up.weight": np.ones((4, 6))}
    for tensors in (bias, bias | turned):
        other = Pile([*fewer, Piece("other", tensors)])
        with pytest.raises(
            PileError, match=r"bring it to the shapes of mlp\.up, \(6,\), \(6, 4\),"
        ):
            fit(BLOCK, 3, other)


def test_roles_have_the_sequence_of_a_block_where_blocks_differ(rng):
    """As in a stage of a ResNet whose first block alone reads fewer channels."""
    first = {"conv1.w": (6, 4), "bn1.w": (6,), "conv2.w": (6, 6), "skip.w": (6, 4)}
    later = {"conv1.w": (6, 6), "bn1.w": (6,), "conv2.w": (6, 6)}
    blocks = {"0": first, "1": later, "2": later}
    pieces = [
        Piece(f"{name}.{key}", {key: rng.normal(size=shape)})
        for name, block in blocks.items()
        for key, shape in block.items()
    ]
    layouts = {name: ("", tuple(block.items())) for name, block in blocks.items()}
    kind = fitting([layouts], Pile(pieces)).kind
    names = [[kind.roles[role].name for role in held] for held in kind.variants]
    another = ["1.conv1", "bn1", "conv2"]
    assert names == [["conv1", "bn1", "conv2", "skip"], another, another]
