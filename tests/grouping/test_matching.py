from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.errors import UsageError
from unshuffle.grouping.matching import (
    find_matching,
    greedy_couples,
    greedy_matching,
    normalised,
    optimal_couples,
    optimal_matching,
)

seeds = st.integers(0, 2**32 - 1)


def test_normalised_matrices_are_doubly_stochastic_and_keep_what_cannot_be():
    logs = np.random.default_rng(0).normal(size=(6, 6))
    logs[0, 1:] = logs[1:, 0] = -1e9
    trail = normalised(logs, 60)
    assert len(trail) == 120
    np.testing.assert_allclose(np.exp(trail[0]).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(trail[1]).sum(axis=0), 1)
    matrix = np.exp(trail[-1])
    np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix[0], [1, 0, 0, 0, 0, 0], atol=1e-6)


def total(scores, pairs):
    return scores[tuple(np.transpose(pairs))].sum()


def assert_one_to_one(pairs, count):
    assert len(pairs) == count
    assert len(set(pairs[:, 0].tolist())) == len(set(pairs[:, 1].tolist())) == count
    assert pairs[:, 0].tolist() == sorted(pairs[:, 0].tolist())


@given(seeds, st.integers(1, 6), st.integers(1, 6))
def test_optimal_matching_agrees_with_brute_force(seed, inps, outs):
    scores = np.random.default_rng(seed).normal(size=(inps, outs))
    pairs = optimal_matching(scores)
    assert_one_to_one(pairs, min(inps, outs))
    if inps <= outs:
        rivals = (list(enumerate(p)) for p in permutations(range(outs), inps))
    else:
        rivals = ([(i, j) for j, i in enumerate(p)] for p in permutations(range(inps), outs))
    assert total(scores, pairs) == pytest.approx(max(total(scores, rival) for rival in rivals))


@given(seeds, st.integers(1, 6), st.integers(1, 6))
def test_greedy_matching_takes_the_best_that_is_left(seed, inps, outs):
    scores = np.random.default_rng(seed).normal(size=(inps, outs))
    pairs = greedy_matching(scores)
    assert_one_to_one(pairs, min(inps, outs))
    left = scores.copy()
    chosen = {tuple(pair) for pair in pairs.tolist()}
    while chosen:
        i, j = np.unravel_index(left.argmax(), left.shape)
        assert (i, j) in chosen
        chosen.remove((i, j))
        left[i, :] = left[:, j] = -np.inf


def all_couplings(members):
    if len(members) < 2:
        yield []
        return
    first, rest = members[0], members[1:]
    for k, other in enumerate(rest):
        for coupling in all_couplings(rest[:k] + rest[k + 1 :]):
            yield [(first, other), *coupling]
    if len(members) % 2:
        yield from all_couplings(rest)


@given(seeds, st.integers(2, 8))
def test_optimal_couples_agree_with_brute_force(seed, members):
    scores = np.random.default_rng(seed).normal(size=(members, members))
    scores += scores.T
    couples = optimal_couples(scores)
    assert len(set(couples.ravel().tolist())) == 2 * (members // 2)
    full = (c for c in all_couplings(list(range(members))) if len(c) == members // 2)
    assert total(scores, couples) == pytest.approx(max(total(scores, c) for c in full))


def test_greedy_couples_take_the_best_that_is_left():
    scores = np.array(
        [[0, 9, 1, 8], [9, 0, 2, 3], [1, 2, 0, 4], [8, 3, 4, 0]], dtype=float
    )  # 0 with 1, although 0 with 3 and 1 with 2 are nearly as good
    np.testing.assert_array_equal(greedy_couples(scores), [[0, 1], [2, 3]])


def test_ties_go_by_index():
    np.testing.assert_array_equal(greedy_matching(np.zeros((3, 3))), [[0, 0], [1, 1], [2, 2]])
    np.testing.assert_array_equal(greedy_couples(np.zeros((4, 4))), [[0, 1], [2, 3]])


def test_an_unknown_matching_is_refused():
    with pytest.raises(UsageError, match="no matching 'best'; there are: optimal, greedy"):
        find_matching("best")
