"""Orders from what blocks undo of each other's steps."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpBank, MlpNetwork, MlpStack
from unshuffle.blocks.network import Network
from unshuffle.ordering.responses import (
    ResponseParameters,
    best_precedence,
    response_rankings,
    undone,
)

BY = ResponseParameters(rows=20, leads=3)


def undoing(rng, count=7, width=16, gain=4.0):
    """Linear blocks, each of which writes anew and undoes half of what those before it wrote."""
    axes = np.linalg.qr(rng.normal(size=(width, width)))[0]
    reads, writes = gain * axes[:count], axes[count : 2 * count]
    # Block k reads direction k of the inputs, and what the blocks before it have written.
    weights = [
        np.outer(writes[k], reads[k]) - 0.5 * writes[:k].T @ writes[:k] for k in range(count)
    ]
    both = [np.concatenate([np.eye(width), -np.eye(width)])] * count
    outs = [np.concatenate([weight, -weight], axis=1) for weight in weights]
    stack = MlpStack(
        np.array(both), np.zeros((count, 2 * width)), np.array(outs), np.zeros((count, width))
    )
    return MlpNetwork(stack, Linear(np.ones((1, width)), np.zeros(1)))


def test_blocks_that_undo_what_others_write_run_behind_them(rng):
    for _ in range(5):
        network, mix = undoing(rng), rng.permutation(7)
        mixed = MlpNetwork(network.blocks.take(mix), network.last)
        rankings = response_rankings(mixed, rng.normal(size=(40, 16)), BY)
        assert mix[rankings[0]].tolist() == list(range(7))
        assert len(rankings) == 1 + BY.leads
        for ranking in rankings[1:]:  # behind each lead the others are in order
            assert sorted(ranking.tolist()) == list(range(7))
            rest = mix[ranking[1:]].tolist()
            assert rest == sorted(rest)


def test_what_is_undone_is_the_difference_of_two_cosines(dropped, rng):
    """A loop over all couples, in plain terms."""
    network, x = dropped(blocks=4, dtype=np.float64).network, rng.normal(size=(9, 6))
    blocks, actual = network.blocks, undone(network, x)

    def cosine(one, other):
        """Of the step of one block with the response of another."""
        after = blocks.apply(one, x)
        step = after - x
        response = (blocks.apply(other, after) - after) - (blocks.apply(other, x) - x)
        return np.vdot(step, response) / np.linalg.norm(step) / np.linalg.norm(response)

    for a in range(4):
        for b in range(4):
            expected = cosine(b, a) - cosine(a, b)
            assert actual[a, b] == pytest.approx(expected, abs=1e-9)


def test_the_best_precedence_is_found_among_few(rng):
    """Where one order has nearly all odds for it, brute force finds no better one."""
    for _ in range(20):
        right = rng.permutation(5)
        place = np.argsort(right)
        sure = np.sign(place[None] - place[:, None]) * rng.uniform(0.5, 1.5, size=(5, 5))
        odds = sure - sure.T
        wrong = rng.integers(5, size=2)
        odds[tuple(wrong)] *= -0.1
        odds[tuple(wrong[::-1])] *= -0.1

        def value(order, odds=odds):
            return np.triu(odds[np.ix_(order, order)], 1).sum()

        best = max(value(list(order)) for order in permutations(range(5)))
        assert value(best_precedence(odds, ResponseParameters())) == pytest.approx(best)


def test_a_move_mends_what_the_sums_get_wrong():
    """The last of four is behind two of them by a little, and before one by far."""
    odds = np.zeros((4, 4))
    for first, second, value in ((0, 1, 1), (1, 2, 1), (0, 2, 1), (0, 3, 1), (1, 3, 1), (3, 2, 9)):
        odds[first, second], odds[second, first] = value, -value
    assert np.argsort(-odds.sum(axis=1)).tolist() == [3, 0, 1, 2]
    assert best_precedence(odds, ResponseParameters()).tolist() == [0, 1, 3, 2]


def test_any_kind_is_served_in_any_sequence(dropped, looped, rng):
    network, inputs = dropped(blocks=6, dtype=np.float64).network, rng.normal(size=(30, 6))
    expected = response_rankings(network, inputs, BY)
    bank = looped(MlpBank(*network.blocks.inp, *network.blocks.out))
    mix = rng.permutation(6)
    other = Network(bank.take(np.column_stack([mix, 6 + mix])), network.last)
    for one, same in zip(response_rankings(other, inputs, BY), expected, strict=True):
        assert mix[one].tolist() == same.tolist()


def test_of_many_blocks_few_are_tried_as_the_first(dropped, rng):
    network, inputs = dropped(blocks=6, dtype=np.float64).network, rng.normal(size=(30, 6))
    for most, expected in ((36 * 20 * 3, 4), (36 * 20 * 3 - 1, 3), (36 * 19, 2), (1, 1)):
        assert len(response_rankings(network, inputs, replace(BY, most_steps=most))) == expected


@pytest.mark.parametrize("count", [1, 2])
def test_few_blocks_and_blocks_that_do_nothing_are_ranked(dropped, rng, count):
    network = dropped(blocks=count, dtype=np.float64).network
    silent = MlpNetwork(
        MlpStack(
            *(0 * values for values in (*network.blocks.inp, *network.blocks.out)),
            network.blocks.activation,
        ),
        network.last,
    )
    for each in (network, silent):
        for ranking in response_rankings(each, rng.normal(size=(5, 6)), BY):
            assert sorted(ranking.tolist()) == list(range(count))
