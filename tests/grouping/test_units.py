"""Links between roles: axes that are shared, heads that are repeated, roles of one shape."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Piece, Pile
from unshuffle.grouping.units import (
    Face,
    Link,
    LinkParameters,
    faces,
    gram_correlations,
    group_by_links,
    linked,
    links,
    partners,
)
from unshuffle.pieces.blueprint import Axis, Kind, Role
from unshuffle.pieces.clock import Clock

BLOCKS, WIDTH = 6, 12


def attention(rng, heads=1, shared=1):
    """Weights of queries and keys, values and outputs, that share hidden units block by block."""
    queries = rng.normal(size=(BLOCKS, shared, heads, WIDTH // heads, WIDTH))
    keys = queries.mean(axis=1) + 0.3 * rng.normal(size=(BLOCKS, heads, WIDTH // heads, WIDTH))
    values = rng.normal(size=(BLOCKS, WIDTH, WIDTH))
    # Units of other sizes, so that the other axes of the two do not fit each other as well.
    sizes = np.exp(rng.normal(size=(BLOCKS, 1, WIDTH)))
    outputs = sizes * (values.transpose(0, 2, 1) + 0.1 * rng.normal(size=values.shape))
    # The queries of the heads that share one key stand side by side.
    queries = queries.transpose(0, 2, 1, 3, 4).reshape(BLOCKS, -1, WIDTH)
    return queries, keys.reshape(BLOCKS, WIDTH, WIDTH), values, outputs


def kind_of(tensors, hidden):
    names = ("query", "key", "value", "output")[: len(tensors)]
    roles = (
        Role(name, {"weight": each.shape[1:]}) for name, each in zip(names, tensors, strict=True)
    )
    return Kind("attention", tuple(roles), hidden=hidden)


PAIRS = (
    (Axis(0, "weight", 0), Axis(1, "weight", 0)),
    (Axis(2, "weight", 0), Axis(3, "weight", 1)),
)


@pytest.mark.parametrize("clutter", [0, 1, 2])
def test_pieces_of_one_shape_find_their_partners(clutter):
    rng = np.random.default_rng(clutter)
    tensors = attention(rng)
    kind = kind_of(tensors, PAIRS)
    pool = [{"weight": each[k]} for each in tensors for k in range(BLOCKS)]
    mix = rng.permutation(len(pool))
    role, block = np.divmod(mix, BLOCKS)
    found = partners([pool[k] for k in mix], kind, range(4), np.ones((BLOCKS, 4), bool))
    assert sorted(found) == [0, 1, 2, 3]
    for one, other in ((0, 1), (2, 3)):
        np.testing.assert_array_equal(block[found[one]], block[found[other]])
    # Which of two is the query is nowhere in what they share; values and outputs have axes.
    for k in range(BLOCKS):
        assert {role[found[0][k]], role[found[1][k]]} == {0, 1}
    assert (role[found[2]] == 2).all()
    assert (role[found[3]] == 3).all()


def test_chunks_of_a_fused_tensor_are_linked_by_themselves(rng):
    queries, keys, values, outputs = attention(rng)
    fused = np.concatenate([queries, keys, values], axis=1)
    units = Axis(0, "weight", 0, 2, 3), Axis(1, "weight", 1)
    kind = kind_of((fused, outputs), (units,))
    assert kind.units(0, "weight", 0) == [None, None, 0]
    assert kind.units(0, "weight", 1) == [None]
    order = rng.permutation(BLOCKS)
    of_role = {
        role: [*faces([{"weight": each} for each in some], kind, role)]
        for role, some in enumerate((fused, outputs[order]))
    }
    (link,) = links(of_role, Clock(), LinkParameters())
    assert link.hidden
    np.testing.assert_array_equal(link.scores.argmax(axis=0), order)


def test_roles_that_share_no_units_are_left_to_the_record(rng):
    kind = kind_of(attention(rng), ())
    pool = [{"weight": rng.normal(size=(WIDTH, WIDTH))} for _ in range(4 * BLOCKS)]
    assert partners(pool, kind, range(4), np.ones((BLOCKS, 4), bool)) == {}


@pytest.mark.parametrize("heads", [2, 3])
def test_keys_are_repeated_for_the_queries_that_share_them(heads, rng):
    queries, keys, *_ = attention(rng, heads=heads, shared=2)
    kind = kind_of((queries, keys), PAIRS[:1])
    mix = rng.permutation(BLOCKS)
    of_role = {
        0: [*faces([{"weight": one} for one in queries], kind, 0)],
        1: [*faces([{"weight": one} for one in keys[mix]], kind, 1)],
    }
    (link,) = links(of_role, Clock(), LinkParameters())
    assert link.gap > 0
    np.testing.assert_array_equal(mix[link.scores.argmax(axis=1)], np.arange(BLOCKS))


def test_no_link_is_looked_for_without_time(rng):
    tensors = attention(rng)
    kind = kind_of(tensors, PAIRS)
    of_role = {
        role: [*faces([{"weight": one} for one in each], kind, role)]
        for role, each in enumerate(tensors)
    }
    assert links(of_role, Clock(0.0), LinkParameters()) == []


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("blocks", [3, 4])
def test_few_pieces_that_share_nothing_are_hardly_ever_linked(blocks, hidden):
    """Three pieces of two roles often match by chance, since few other pairs are left."""
    rng, found = np.random.default_rng(0), []
    roles = tuple(Role(str(role), {"weight": (WIDTH, WIDTH)}) for role in range(8))
    units = tuple(Axis(role, "weight", 0) for role in range(8))
    kind = Kind("any", roles, hidden=(units,) if hidden else ())
    for _ in range(4):
        tensors = rng.normal(size=(8, blocks, WIDTH, WIDTH))
        of_role = {
            role: [*faces([{"weight": one} for one in each], kind, role)]
            for role, each in enumerate(tensors)
        }
        found += links(of_role, Clock(), LinkParameters())
    assert len(found) <= (20 if hidden else 4)  # of 112 pairs of roles


@pytest.mark.parametrize("held", [1, 3 * BLOCKS * WIDTH, 1 << 20])
def test_gram_matrices_correlate_alike_however_few_are_held(held):
    rng = np.random.default_rng(0)
    shapes = ((BLOCKS, WIDTH, 5), (BLOCKS - 1, WIDTH, 7))
    units = [rng.normal(size=shape) for shape in shapes]
    one, other = (Face(each, 0) for each in units)
    across = ~np.eye(WIDTH, dtype=bool)
    first, second = (np.einsum("ikd,ild->ikl", each, each)[:, across] for each in units)
    first, second = first - first.mean(0), second - second.mean(0)
    sizes = np.outer(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    found = gram_correlations(one, other, LinkParameters(held=held))
    np.testing.assert_allclose(found, first @ second.T / sizes, rtol=1e-12)


def test_what_shares_units_moves_together_to_where_most_links_say(rng):
    mixes = [rng.permutation(BLOCKS) for _ in range(4)]  # the block of each piece, by role

    def link(first, second, strength, later=0, hidden=False):
        together = mixes[first][:, None] == (mixes[second] + later) % BLOCKS
        return Link(first, second, strength * together, strength, strength, hidden=hidden)

    found = [
        link(0, 1, 30.0, hidden=True),
        link(2, 3, 30.0, hidden=True),
        link(0, 3, 9.0, later=1),  # what one block writes and the next one reads
        link(1, 2, 8.0),
        link(1, 3, 8.0),
    ]
    kind = kind_of(attention(rng), PAIRS)
    members = [np.arange(BLOCKS) + BLOCKS * role for role in range(4)]
    held = np.ones((BLOCKS, 4), bool)
    blocks, evidence = linked(kind, held, members, found, LinkParameters())
    for k, parts in enumerate(blocks):
        of_parts = {int(mixes[role][piece - BLOCKS * role]) for role, piece in enumerate(parts)}
        assert len(of_parts) == 1, k
    assert {*evidence.cores} == {(0, 1), (2, 3)}


def test_no_second_copy_of_the_pieces_is_made(rng):
    kind = Kind("mlp", (Role("up", {"weight": (96, 64)}), Role("down", {"weight": (64, 96)})))
    kind = replace(kind, hidden=((Axis(0, "weight", 0), Axis(1, "weight", 1)),))
    weights = rng.normal(size=(2 * 64, 96, 64)).astype(np.float32)
    tensors = [one if k % 2 else one.T.copy() for k, one in enumerate(weights)]
    pile = Pile(Piece(number, {"weight": one}) for number, one in enumerate(tensors))
    tracemalloc.start()
    group_by_links(pile, kind, Clock(), LinkParameters(held=1 << 14))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < weights.nbytes / 2
