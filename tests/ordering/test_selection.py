from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.blocks.mlp import INP, OUT
from unshuffle.ordering.linearization import linearize, shifts
from unshuffle.ordering.moves import shift_moves
from unshuffle.ordering.selection import promising, pursuit, regression

PLACES = 10


def swaps(moves_of, effects):
    return moves_of([(s, s + 1) for s in range(len(effects))], effects)


def predicted(moves, chosen, residual, strength):
    """The objective that a set of moves is predicted to lead to."""
    after = residual + moves.effects[chosen].sum(axis=0)
    return strength / 2 * np.log(after @ after) - moves.gains[chosen].sum()


@pytest.fixture
def random_moves(moves_of, rng):
    """All kinds of moves, with random effects and gains, and a residual."""
    listed = shifts(PLACES, 3).tolist()
    pairs = [(a, b) for a in range(PLACES) for b in range(a + 1, PLACES)]
    listed += [(a, b, role, role) for role in (OUT, INP) for a, b in pairs]
    listed += [(a, a, INP, OUT) for a in range(PLACES)]
    residual = rng.normal(size=40)
    effects = 0.4 * rng.normal(size=(len(listed), 40))
    return moves_of(listed, effects, 3 * rng.normal(size=len(listed))), residual


@given(data=st.data(), seed=st.integers(0, 1000))
def test_regression_recovers_planted_swaps(moves_of, data, seed):
    rng = np.random.default_rng(seed)
    planted = data.draw(
        st.sets(st.integers(0, PLACES - 2)).filter(
            lambda chosen: all(place + 1 not in chosen for place in chosen)
        )
    )
    effects = rng.normal(size=(PLACES - 1, 60))
    residual = -effects[sorted(planted)].sum(axis=0) + 0.1 * rng.normal(size=60)
    moves = swaps(moves_of, effects)
    assert set(regression(moves, residual).tolist()) == planted
    # Other moves do not matter to it, wherever they stand in the list.
    others = moves_of(
        [(0, 2), (5, 3), (0, 1, OUT, OUT), (1, 1, INP, OUT)],
        -np.tile(residual, (4, 1)),
    )
    chosen = regression(others + moves, residual)
    assert set((chosen - len(others)).tolist()) == planted


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [([0.9, 1.0, 0.3, 0.8], [1, 3]), ([1.0, 0.9, 0.8, 0.3], [0, 2]), ([0.4, 0.4, 0.4, 0.4], [])],
)
def test_regression_takes_the_surest_of_overlapping_swaps(moves_of, wanted, chosen):
    residual = -np.array(wanted)
    assert regression(swaps(moves_of, np.eye(4)), residual).tolist() == chosen


def test_regression_undoes_swaps_of_a_network(loose):
    case = loose(blocks=9, rows=200)
    places = np.arange(9)
    for place in (1, 4, 7):
        places[[place, place + 1]] = places[[place + 1, place]]
    arrangement = case.right[places]
    at = linearize(case.judge, case.judge.run(arrangement))
    moves = shift_moves(case.judge, at, 2)
    chosen = regression(moves, at.residual)
    np.testing.assert_array_equal(moves.apply(chosen, arrangement), case.right)


def test_nothing_is_chosen_from_nothing(moves_of):
    residual = np.ones(3)
    for moves in (
        moves_of([], np.zeros((0, 3))),
        swaps(moves_of, np.zeros((4, 3))),
        moves_of([(0, 0, INP, OUT)], np.zeros((1, 3))),
    ):
        assert len(regression(moves, residual)) == 0
        assert len(pursuit(moves, residual, 5)) == 0


@pytest.mark.parametrize("strength", [0.5, 5.0, 50.0])
def test_promising_ranks_as_brute_force_does(random_moves, strength):
    moves, residual = random_moves
    values = [predicted(moves, [k], residual, strength) for k in range(len(moves))]
    assert promising(moves, residual, strength).tolist() == np.argsort(values).tolist()


@pytest.mark.parametrize("strength", [0.5, 5.0, 50.0])
def test_pursuit_takes_the_best_compatible_move_each_time(random_moves, strength):
    moves, residual = random_moves
    chosen = pursuit(moves, residual, strength).tolist()
    assert len(chosen) > 1
    value = strength / 2 * np.log(residual @ residual)
    for count, best in enumerate(chosen):
        before = chosen[:count]
        possible = np.all([moves.compatible(k) for k in before], axis=0) * np.ones(len(moves), bool)
        values = [
            predicted(moves, [*before, k], residual, strength) if possible[k] else np.inf
            for k in range(len(moves))
        ]
        assert best == int(np.argmin(values))
        assert values[best] < value
        value = values[best]
    possible = np.all([moves.compatible(k) for k in chosen], axis=0)
    assert all(
        predicted(moves, [*chosen, k], residual, strength) >= value
        for k in np.flatnonzero(possible)
    )


def test_pursuit_weighs_the_evidence_against_the_error(moves_of):
    residual = np.array([2.0, 1.0])
    listed = [(0, 1, OUT, OUT), (2, 3, OUT, OUT)]
    effects = np.array([[-2.0, 0.0], [0.0, -0.5]])
    explained = 2 * np.log(5 / 1)  # of strength 4
    for gain, count in ((-explained + 0.1, 1), (-explained - 0.1, 0)):
        moves = moves_of(listed, effects, [gain, -9.0])
        assert len(pursuit(moves, residual, 4)) == count


def test_pursuit_measures_each_move_by_what_the_earlier_ones_leave(moves_of):
    residual = np.array([10.0, 1.0])
    listed = [(0, 1, OUT, OUT), (2, 3, OUT, OUT)]
    # Against the whole error the second explains nothing; against the rest it explains 99 %.
    moves = moves_of(listed, np.array([[-10.0, 0.0], [0.0, -0.9]]), [0.0, -5.0])
    assert promising(moves, residual, 4).tolist() == [0, 1]
    assert pursuit(moves, residual, 4).tolist() == [0, 1]
    assert pursuit(moves, residual, 2).tolist() == [0]


def test_a_residual_of_nothing_needs_no_move(random_moves):
    moves, residual = random_moves
    nothing = np.zeros_like(residual)
    moves = replace(moves, gains=np.zeros(len(moves)))
    with np.errstate(divide="raise", invalid="raise"):
        assert len(pursuit(moves, nothing, 10)) == 0
        assert sorted(promising(moves, nothing, 10)) == list(range(len(moves)))
