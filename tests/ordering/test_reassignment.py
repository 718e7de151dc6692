import numpy as np
import pytest

from unshuffle.ordering.adjoint import linearize
from unshuffle.ordering.reassignment import reassignments


def layers_of(order, outs=8):
    return [divmod(block, outs) for block in order]


@pytest.fixture
def net(loose):
    return loose(rows=300, blocks=8, scale=0.3)


def proposals(net, order, log_odds=None):
    at = linearize(net.judge, net.judge.run(order))
    return reassignments(net.judge, at, np.zeros((8, 8)) if log_odds is None else log_odds)


@pytest.mark.parametrize("kind", ["out", "inp"])
def test_a_few_rounds_mend_a_pairing_of_which_half_is_wrong(net, kind):
    mixed = [1, 2, 3, 0, 4, 5, 6, 7]
    right = [block // 8 for block in net.right]
    wrong = [right[place] for place in mixed]
    pairs = zip(right, wrong, strict=True) if kind == "out" else zip(wrong, right, strict=True)
    order = tuple(8 * i + j for i, j in pairs)
    for _ in range(3):
        candidates = net.judge.runs([order, *proposals(net, order)])
        order = min(candidates, key=lambda run: run.error).order
    assert order == net.right


def test_proposals_keep_each_layer_once_and_one_kind_in_its_places(net, rng):
    order = tuple((8 * rng.permutation(8) + rng.permutation(8)).tolist())
    found = proposals(net, order)
    assert found
    assert len(set(found)) == len(found)
    assert order not in found
    inps, outs = zip(*layers_of(order), strict=True)
    for other in found:
        new_inps, new_outs = zip(*layers_of(other), strict=True)
        assert sorted(new_inps) == sorted(new_outs) == list(range(8))
        assert new_inps == inps or new_outs == outs


def test_pairs_that_are_ruled_out_are_not_proposed(net, rng):
    order = tuple(8 * i + (i + 1) % 8 for i in range(8))
    log_odds = np.where(rng.random((8, 8)) < 0.3, -np.inf, 0.0)
    log_odds[np.arange(8), (np.arange(8) + 1) % 8] = 0.0
    found = proposals(net, order, log_odds)
    assert found
    for other in found:
        assert np.isfinite([log_odds[i, j] for i, j in layers_of(other)]).all()


def test_nothing_is_proposed_where_nothing_can_be(net):
    only = np.where(np.eye(8), 0.0, -np.inf)
    assert proposals(net, net.right, only) == []
