import numpy as np
import pytest

from unshuffle.blocks.mlp import INP, OUT
from unshuffle.ordering.linearization import linearize
from unshuffle.ordering.reassignment import ReassignmentParameters, reassignments
from unshuffle.pieces.blueprint import key


@pytest.fixture
def net(loose):
    return loose(rows=300, blocks=8, scale=0.3)


def proposals(net, arrangement, log_odds=None, **by):
    at = linearize(net.judge, net.judge.run(arrangement))
    evidence = net.evidence(np.zeros((8, 8)) if log_odds is None else log_odds)
    return reassignments(net.judge, at, evidence, ReassignmentParameters(**by))


@pytest.mark.parametrize("role", [INP, OUT])
def test_a_few_rounds_mend_a_grouping_of_which_half_is_wrong(net, role):
    arrangement = net.right.copy()
    arrangement[:4, role] = arrangement[[1, 2, 3, 0], role]
    for _ in range(3):
        candidates = net.judge.runs([arrangement, *proposals(net, arrangement)])
        arrangement = min(candidates, key=lambda run: run.error).arrangement
    np.testing.assert_array_equal(arrangement, net.right)


def test_proposals_keep_each_piece_once_and_all_roles_but_one(net, rng):
    arrangement = net.blocks(np.column_stack([rng.permutation(8), rng.permutation(8)]))
    found = proposals(net, arrangement)
    assert found
    assert len({key(each) for each in found}) == len(found)
    assert key(arrangement) not in {key(each) for each in found}
    for other in found:
        assert sorted(other.ravel().tolist()) == list(range(16))
        assert sum(np.array_equal(other[:, r], arrangement[:, r]) for r in (INP, OUT)) == 1
    assert {r for each in found for r in (INP, OUT) if (each[:, r] != arrangement[:, r]).any()} == {
        INP,
        OUT,
    }


def test_pairs_that_are_ruled_out_are_not_proposed(net, rng):
    partner = (np.arange(8) + 1) % 8
    log_odds = np.where(rng.random((8, 8)) < 0.3, -np.inf, 0.0)
    log_odds[np.arange(8), partner] = 0.0
    found = proposals(net, net.blocks(np.column_stack([np.arange(8), partner])), log_odds)
    assert found
    for other in found:
        assert net.evidence(log_odds).admits(other)


def test_nothing_is_proposed_where_nothing_can_be(net):
    only = np.where(np.eye(8), 0.0, -np.inf)
    assert proposals(net, net.right, only) == []
    assert proposals(net, net.right) == []  # the record is reproduced
    wrong = net.blocks([(k, (k + 1) % 8) for k in range(8)])
    assert proposals(net, wrong, most_effects=8 * 8 * 300 - 1) == []
    assert proposals(net, wrong, most_effects=8 * 8 * 300)


def test_each_ridge_and_each_trust_make_proposals_of_their_own(net, rng):
    arrangement = net.blocks(np.column_stack([np.arange(8), rng.permutation(8)]))
    log_odds = 10 * rng.normal(size=(8, 8))
    few = {"ridges": (3.0,), "staying": (1.0,), "trust": (0.0,)}
    assert len(proposals(net, arrangement, log_odds, **few)) <= 2
    everything = {key(each) for each in proposals(net, arrangement, log_odds)}
    for ridge in (0.3, 30.0):
        for trust in (0.0, 1.0):
            some = few | {"ridges": (ridge,), "trust": (trust,)}
            assert {key(each) for each in proposals(net, arrangement, log_odds, **some)} <= (
                everything
            )
