"""Paths: what is alike in neighbouring blocks tells their order, and roles of one shape apart."""

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pytest

from unshuffle import Piece, Pile
from unshuffle.blocks.bank import LoopBank
from unshuffle.grouping.groups import group
from unshuffle.ordering.paths import PathParameters, best_path, path_arrangements
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import Arrangement, Axis, Kind, Role
from unshuffle.pieces.clock import Clock

BLOCKS, WIDTH = 6, 10
QUERY, KEY, FIRST, SECOND = range(4)


@dataclass(frozen=True)
class Loose:
    """Loose queries, keys and two norms for each block, and their right arrangement."""

    problem: Problem
    right: Arrangement


def drifting(rng, *shape):
    """Arrays that change slowly from block to block."""
    start, drift = rng.normal(size=(2, *shape))
    return [start + 0.2 * k * drift for k in range(BLOCKS)]


@pytest.fixture
def loose(rng):
    turns = [np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0] for _ in range(BLOCKS + 1)]
    queries = [turn @ each for turn, each in zip(turns, drifting(rng, WIDTH, WIDTH), strict=False)]
    keys = [each @ turns[-1] for each in queries]  # they share hidden units, and read otherwise
    tensors = queries, keys, drifting(rng, WIDTH), drifting(rng, WIDTH)
    roles = tuple(
        Role(name, {"weight": each[0].shape})
        for name, each in zip(("query", "key", "first", "second"), tensors, strict=True)
    )
    shared = Axis(QUERY, "weight", 0), Axis(KEY, "weight", 0)
    kind = Kind("attention", roles, hidden=(shared,))
    mix = rng.permutation(len(roles) * BLOCKS)
    each = zip(mix.tolist(), chain(*tensors), strict=True)
    pile = Pile(Piece(number, {"weight": values}) for number, values in each)
    bank = LoopBank(kind, None, None, [piece.tensors for piece in pile])
    right = np.array([pile.index[number] for number in mix.tolist()]).reshape(len(roles), BLOCKS).T
    return Loose(Problem(bank, None, *group(pile, kind), None), right)


def test_likeness_tells_order_and_roles_up_to_directions_and_names(loose):
    found = path_arrangements(loose.problem, Clock())
    # Three paths in two directions each, two names of query and key, and two of the norms.
    assert len(found) == 2**5
    assert any(np.array_equal(each, loose.right) for each in found)
    assert len({each.tobytes() for each in found}) == len(found)


def test_hidden_units_are_tried_without_what_the_stream_ties(loose):
    evidence = loose.problem.evidence
    assert evidence.cores == ((QUERY, KEY),)
    doubtful = replace(evidence, units=((QUERY, KEY, FIRST),))
    found = path_arrangements(replace(loose.problem, evidence=doubtful), Clock())
    assert any(np.array_equal(each, loose.right) for each in found)


def test_no_more_arrangements_are_made_than_asked_for(loose):
    assert len(path_arrangements(loose.problem, Clock(), PathParameters(most=3))) == 3
    assert path_arrangements(loose.problem, Clock(0.0)) == []


def test_the_evidence_does_not_say_which_is_the_query(loose):
    evidence, right = loose.problem.evidence, loose.right
    assert [(edge.first, edge.second) for edge in evidence.edges] == [(QUERY, KEY)]
    turned, crossed = right[:, [KEY, QUERY, FIRST, SECOND]], right.copy()
    crossed[:, KEY] = np.roll(right[:, KEY], 1)
    assert (evidence.of(right) > 0).all()
    np.testing.assert_array_equal(evidence.of(turned), evidence.of(right))
    assert (evidence.of(crossed) < 0).all()


def test_several_paths_lie_one_behind_the_other(rng):
    places = np.concatenate([np.arange(4.0), 2.0 + np.arange(4)])  # the ends are near each other
    apart = np.abs(places[:, None] - places)
    apart[:4, 4:] += 1.5
    apart[4:, :4] += 1.5
    mix = rng.permutation(8)
    path = mix[best_path(-apart[np.ix_(mix, mix)], Clock(), count=2)].reshape(2, 4)
    for each in path:
        assert {*map(abs, np.diff(each))} == {1}
