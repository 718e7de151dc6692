import numpy as np
import pytest

from unshuffle.blocks.mlp import MlpBank
from unshuffle.blocks.network import Network
from unshuffle.ordering.seriation import (
    agreed_depth,
    leading,
    leave_one_out,
    likeness,
    off_diagonal,
    views,
)

DEPTH = np.arange(16)


def walk(rng, features, memory=16):
    """Vectors that drift along the depth."""
    mixing = np.linalg.cholesky(np.exp(-np.abs(DEPTH[:, None] - DEPTH) / memory))
    return mixing @ rng.normal(size=(len(DEPTH), features))


def agreement(depth):
    return abs(np.corrcoef(np.argsort(np.argsort(depth)), DEPTH)[0, 1])


def test_likeness_is_the_cosine_of_what_differs_from_the_mean(rng):
    vectors = rng.normal(size=(5, 2, 3))
    cosines = likeness(vectors)
    for i in range(5):
        for j in range(5):
            a, b = (vectors[k].ravel() - vectors.mean(axis=0).ravel() for k in (i, j))
            expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert cosines[i, j] == pytest.approx(expected)


def test_a_chain_is_seriated():
    chain = np.exp(-np.abs(DEPTH[:, None] - DEPTH) / 8)
    assert agreement(leading(chain)) > 0.95


def test_views_that_see_nothing_do_not_spoil_those_that_see_the_depth(rng):
    agreements = []
    for _ in range(10):
        seeing = [likeness(walk(rng, 40)) for _ in range(3)]
        blind = [likeness(rng.normal(size=(16, 40))) for _ in range(7)]
        agreements.append(agreement(agreed_depth(seeing + blind)))
    assert np.mean(agreements) > 0.9


def test_views_that_each_see_little_see_more_together(rng):
    alone, together = [], []
    for _ in range(10):
        weak = [likeness(walk(rng, 6) + rng.normal(size=(16, 6))) for _ in range(12)]
        alone += [agreement(leading(one)) for one in weak]
        together.append(agreement(agreed_depth(weak)))
    assert np.mean(together) > np.mean(alone) + 0.2


def test_a_block_is_predicted_from_the_others_only(rng):
    kernel = likeness(walk(rng, 10))
    predicting = leave_one_out(kernel)
    values = rng.normal(size=16)
    for block in (0, 7):
        changed = values.copy()
        changed[block] += 100
        assert (predicting @ changed)[block] == pytest.approx((predicting @ values)[block])
        # Fitting the other blocks alone, with the same damping, says the same.
        centre = np.eye(16) - 1 / 16
        centred = centre @ kernel @ centre
        rest = np.arange(16) != block
        damping = np.trace(centred) / 16
        fit = np.linalg.solve(centred[np.ix_(rest, rest)] + damping * np.eye(15), values[rest])
        assert (predicting @ values)[block] == pytest.approx(centred[block, rest] @ fit)


def test_views_are_of_each_block_by_itself(dropped):
    network = dropped(blocks=5, outputs=2).network
    both = views(network)
    swapped = views(type(network)(network.blocks.take([1, 0, 2, 3, 4]), network.last))
    for name, view in both.items():
        assert len(view) == 5
        np.testing.assert_allclose(swapped[name][[1, 0]], view[:2], rtol=1e-5, atol=1e-6)


def test_views_of_another_kind_are_gram_matrices_and_vectors(dropped, looped):
    network = dropped(blocks=5, outputs=2, dtype=np.float64).network
    bank = looped(MlpBank(*network.blocks.inp, *network.blocks.out))
    blocks = np.column_stack([np.arange(5), 5 + np.arange(5)])
    both = views(Network(bank.take(blocks), network.last))
    assert len(both) == 2 * 2 + 2
    inp, out = network.blocks.inp_weight, network.blocks.out_weight
    np.testing.assert_array_equal(both["inp.bias"], network.blocks.inp_bias)
    np.testing.assert_allclose(
        both["columns of inp.weight"], off_diagonal(np.matmul(inp.transpose(0, 2, 1), inp))
    )
    np.testing.assert_allclose(
        both["rows of out.weight"], off_diagonal(np.matmul(out, out.transpose(0, 2, 1)))
    )
    swapped = views(Network(bank.take(blocks[[1, 0, 2, 3, 4]]), network.last))
    for name, view in both.items():
        assert len(view) == 5
        np.testing.assert_allclose(swapped[name][[1, 0]], view[:2], rtol=1e-12)
