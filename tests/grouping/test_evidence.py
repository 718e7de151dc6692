"""Log-odds of blocks, edge by edge, against sums by hand."""

from itertools import product

import numpy as np
import pytest

from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.ordering.moves import shifted

BLOCKS, ROLES = 5, 3


@pytest.fixture
def arrangement(rng):
    """Fifteen pieces in five blocks of three roles; role r has the pieces that are r modulo 3."""
    return 3 * np.stack([rng.permutation(BLOCKS) for _ in range(ROLES)], axis=1) + np.arange(ROLES)


def edge(rng, first, second):
    index = np.arange(BLOCKS * ROLES) // ROLES
    return EdgeOdds(first, second, rng.normal(size=(BLOCKS, BLOCKS)), index, index)


@pytest.fixture
def evidence(rng):
    return Evidence((edge(rng, 0, 1), edge(rng, 2, 1)))


def by_hand(evidence, block):
    (one, other), (a, b, c) = evidence.edges, (piece // ROLES for piece in block)
    return one.log_odds[a, b] + other.log_odds[c, b]


def test_log_odds_are_summed_over_edges_and_blocks(evidence, arrangement):
    expected = [by_hand(evidence, block) for block in arrangement]
    np.testing.assert_allclose(evidence.of(arrangement), expected)
    assert evidence.value(arrangement) == pytest.approx(sum(expected))
    batch = np.stack([arrangement, arrangement[::-1]])
    np.testing.assert_allclose(evidence.of(batch), [expected, expected[::-1]])


def test_the_order_of_the_blocks_does_not_matter(evidence, arrangement):
    for a, b in product(range(BLOCKS), repeat=2):
        moved = shifted(arrangement, a, b)
        assert evidence.value(moved) == pytest.approx(evidence.value(arrangement))


@pytest.mark.parametrize("role", range(ROLES))
def test_swaps_gain_what_the_blocks_with_other_pieces_have_more(evidence, arrangement, role):
    crossed, own = evidence.crossed(arrangement, [role], [role]), evidence.of(arrangement)
    np.testing.assert_allclose(crossed.diagonal(), own)
    for a, b in product(range(BLOCKS), repeat=2):
        other = arrangement[a].copy()
        other[role] = arrangement[b, role]
        assert crossed[a, b] == pytest.approx(by_hand(evidence, other))
        swapped = arrangement.copy()
        swapped[[a, b], role] = swapped[[b, a], role]
        gain = evidence.value(swapped) - evidence.value(arrangement)
        assert crossed[a, b] + crossed[b, a] - own[a] - own[b] == pytest.approx(gain)


def test_blocks_may_have_the_piece_of_another_role(evidence, arrangement):
    for role, source in product(range(ROLES), repeat=2):
        crossed = evidence.crossed(arrangement, [role], [source])
        for a, b in product(range(BLOCKS), repeat=2):
            other = arrangement[a].copy()
            other[role] = arrangement[b, source]
            assert crossed[a, b] == pytest.approx(by_hand(evidence, other))


def test_what_has_no_edge_is_never_in_doubt(rng, arrangement):
    nothing = Evidence(())
    assert nothing.value(arrangement) == 0
    assert nothing.admits(arrangement)
    assert nothing.decided
    one = Evidence((edge(rng, 0, 1),))
    swapped = arrangement.copy()
    swapped[[0, 1], 2] = swapped[[1, 0], 2]
    assert one.value(swapped) == one.value(arrangement)


def test_a_block_that_is_ruled_out_is_not_admitted(evidence, arrangement):
    a, b, _ = arrangement[3] // ROLES
    evidence.edges[0].log_odds[a, b] = -np.inf
    assert not evidence.admits(arrangement)
    assert evidence.value(arrangement) == -np.inf
    rest = np.delete(arrangement, 3, axis=0)
    assert evidence.admits(rest)


@pytest.mark.parametrize("factor", [0.0, 0.25, 1.0])
def test_trust_is_a_factor_and_what_is_ruled_out_stays_so(evidence, arrangement, factor):
    before = evidence.edges[0].log_odds.copy()
    assert evidence.trusted(factor).value(arrangement) == pytest.approx(
        factor * evidence.value(arrangement)
    )
    np.testing.assert_array_equal(evidence.edges[0].log_odds, before)
    evidence.edges[1].log_odds[2, 3] = -np.inf
    trusted = evidence.trusted(factor).edges[1].log_odds
    assert np.flatnonzero(np.isneginf(trusted)).tolist() == [2 * BLOCKS + 3]


def test_evidence_is_decided_where_each_piece_has_one_partner(evidence):
    assert not evidence.decided
    only = np.where(np.eye(BLOCKS), 0.0, -np.inf)
    for each in evidence.edges:
        each.log_odds[:] = only
    assert evidence.decided
    evidence.edges[1].log_odds[0, 1] = 0.0
    assert not evidence.decided
