import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.blocks.mlp import INP, OUT
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.ordering.linearization import linearize, replacement_effects, shifts
from unshuffle.ordering.moves import (
    NO_ROLE,
    all_swaps,
    exchange,
    neighbours,
    resequenced,
    shift_moves,
    shifted,
    turn_moves,
    with_swap_effects,
)

BLOCKS, ROLES = 6, 3

places = st.integers(0, BLOCKS - 1)
two_places = st.tuples(places, places).filter(lambda both: both[0] != both[1])
role = st.integers(0, ROLES - 1)
two_roles = st.tuples(role, role).filter(lambda both: both[0] != both[1])
move = st.one_of(
    two_places.map(lambda both: (*both, NO_ROLE, NO_ROLE)),
    st.builds(lambda both, one: (*sorted(both), one, one), two_places, role),
    st.builds(lambda both, roles: (*both, *roles), two_places, two_roles),
    st.builds(lambda place, both: (place, place, *both), places, two_roles),
)
arrangements = st.permutations(range(BLOCKS * ROLES)).map(
    lambda pieces: np.array(pieces, np.intp).reshape(BLOCKS, ROLES)
)


def touched(move):
    """Places whose block a move may change."""
    first, second, one, _ = move
    low, high = sorted((first, second))
    return {*range(low, high + 1)} if one == NO_ROLE else {low, high}


def by_hand(move, arrangement):
    a, b, one, other = move
    blocks = arrangement.tolist()
    if one == NO_ROLE:
        blocks.insert(b, blocks.pop(a))
    else:
        blocks[a][one], blocks[b][other] = blocks[b][other], blocks[a][one]
    return blocks


@given(move=move, arrangement=arrangements)
def test_each_kind_does_what_its_name_says(moves_of, move, arrangement):
    before = arrangement.copy()
    made = moves_of([move]).apply(np.array([0]), arrangement)
    assert made.tolist() == by_hand(move, arrangement)
    assert not np.array_equal(made, arrangement)
    np.testing.assert_array_equal(arrangement, before)


def test_no_chosen_move_leaves_the_arrangement(moves_of):
    arrangement = np.array([[3, 0], [5, 1], [1, 2]])
    made = moves_of([(0, 2)]).apply(np.empty(0, np.intp), arrangement)
    np.testing.assert_array_equal(made, arrangement)


@given(listed=st.lists(move, min_size=1, max_size=12))
def test_moves_are_compatible_where_they_touch_different_places(moves_of, listed):
    moves = moves_of(listed)
    together = np.array([moves.compatible(k) for k in range(len(moves))])
    expected = [[touched(one).isdisjoint(touched(other)) for other in listed] for one in listed]
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(together, together.T)
    assert not together.diagonal().any()


@given(listed=st.lists(move, min_size=1, max_size=12), arrangement=arrangements, data=st.data())
def test_compatible_moves_may_be_made_in_any_sequence(moves_of, listed, arrangement, data):
    moves = moves_of(listed)
    chosen, possible = [], np.ones(len(moves), bool)
    while possible.any():
        chosen.append(int(np.flatnonzero(possible)[0]))
        possible &= moves.compatible(chosen[-1])
        possible[: chosen[-1] + 1] = False
    shuffled = data.draw(st.permutations(chosen))
    made = moves.apply(np.array(chosen), arrangement)
    np.testing.assert_array_equal(moves.apply(np.array(shuffled), arrangement), made)
    assert sorted(made.ravel().tolist()) == list(range(BLOCKS * ROLES))


def test_moves_are_joined_and_taken(moves_of):
    some = moves_of([(0, 1), (1, 2, OUT, OUT)], np.ones((2, 3)), [0.5, 2])
    both = some + moves_of([(2, 2, INP, OUT)], np.zeros((1, 3)), [-1])
    assert len(both) == 3
    assert both.swap.tolist() == [False, True, True]
    assert both.first_role.tolist() == [NO_ROLE, OUT, INP]
    assert both.second_role.tolist() == [NO_ROLE, OUT, OUT]
    assert both.first.tolist() == [0, 1, 2]
    assert both.second.tolist() == [1, 2, 2]
    assert both.effects.tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    assert both.gains.tolist() == [0.5, 2, -1]
    few = both.take(np.array([2, 0]))
    assert few.first.tolist() == [2, 0]
    assert few.gains.tolist() == [-1, 0.5]


def test_reversed_neighbours_are_those_that_a_move_exchanges(moves_of):
    moves = moves_of(shifts(6, 3).tolist())
    for place in range(5):
        reversing = moves.reverses(place)
        for move in range(len(moves)):
            after = moves.apply(np.array([move]), np.arange(6)[:, None]).ravel().tolist()
            assert reversing[move] == (after.index(place) > after.index(place + 1))
    assert not moves_of([(0, 1, INP, INP)]).reverses(0).any()


def made_by_each(moves, arrangement):
    """What each move alone makes of an arrangement."""
    return [moves.apply(np.array([k]), arrangement) for k in range(len(moves))]


@pytest.mark.parametrize("outputs", [1, 2])
def test_effects_of_all_moves_are_differences_of_full_evaluations_to_first_order(
    square, rescaled, outputs
):
    """A quarter of the step leaves far less than a quarter of the relative error."""
    relative, whole = [], square(5, outputs=outputs, activation="tanh")
    for scale in (4e-2, 1e-2):
        case = rescaled(whole, scale)
        arrangement = case.right[::-1]
        at = linearize(case.judge, case.judge.run(arrangement))
        evidence = case.evidence(np.zeros((10, 10)))
        moves = shift_moves(case.judge, at, 3) + all_swaps(case.judge, at, evidence)
        moves += turn_moves(case.judge, at, evidence)
        made, before = made_by_each(moves, arrangement), case.predict(arrangement)
        exact = np.array([case.predict(each) - before for each in made])
        norms = np.linalg.norm(exact, axis=1)
        assert np.all(norms > 1e-12)
        relative.append(np.linalg.norm(moves.effects - exact, axis=1) / norms)
    coarse, fine = relative
    assert len(fine) == 14 + 2 * 10 + 20 + 5
    assert np.all(coarse < 0.1)
    assert np.all(fine < np.maximum(coarse / 2.5, 1e-9))


def test_gains_are_the_differences_of_the_evidence(square, rng):
    case = square(5)
    evidence = case.evidence(10 * rng.normal(size=(10, 10)))
    arrangement = rng.permutation(case.right)
    at = linearize(case.judge, case.judge.run(arrangement))
    moves = shift_moves(case.judge, at, 3) + all_swaps(case.judge, at, evidence)
    moves += turn_moves(case.judge, at, evidence)
    before = evidence.value(arrangement)
    for gain, made in zip(moves.gains, made_by_each(moves, arrangement), strict=True):
        assert gain == pytest.approx(evidence.value(made) - before)
    # Each two blocks make the same pairs whichever layers of one role change places.
    assert len(set(moves.gains.round(9))) == 1 + 10 + 20 + 5


def test_swaps_are_offered_where_the_evidence_admits_them(loose, rng):
    case = loose()
    arrangement = case.right[::-1]
    at = linearize(case.judge, case.judge.run(arrangement))
    evidence = case.evidence(10 * rng.normal(size=(5, 5)))
    moves = all_swaps(case.judge, at, evidence, least_gain=-5)
    slots = zip(moves.first, moves.second, moves.first_role, moves.second_role, strict=True)
    offered = {tuple(map(int, each)) for each in slots}
    admitted = set()
    for a in range(5):
        for b in range(a + 1, 5):
            for role in (INP, OUT):
                made = arrangement.copy()
                made[[a, b], role] = made[[b, a], role]
                if evidence.value(made) - evidence.value(arrangement) > -5:
                    admitted.add((a, b, role, role))
    assert offered == admitted
    assert 0 < len(admitted) < 20


def test_what_is_ruled_out_is_not_offered(loose):
    case = loose()
    at = linearize(case.judge, case.judge.run(case.right))
    only = case.evidence(np.where(np.eye(5), 3.0, -np.inf))
    assert len(all_swaps(case.judge, at, only, least_gain=-5)) == 0
    assert len(shift_moves(case.judge, at, 1)) == 4


def test_swaps_have_the_same_effects_block_by_block(loose, rng):
    case = loose(outputs=2)
    arrangement = rng.permutation(case.right)
    at = linearize(case.judge, case.judge.run(arrangement))
    moves = all_swaps(case.judge, at, case.evidence(np.zeros((5, 5))))
    few = at.first_rows(7)
    again = with_swap_effects(case.judge, at, all_swaps(case.judge, few, case.evidence(np.eye(5))))
    np.testing.assert_allclose(again.effects, moves.effects, rtol=1e-9, atol=1e-12)


def test_swaps_between_roles_have_the_same_effects_block_by_block(square, rng):
    case = square(4, outputs=2)
    at = linearize(case.judge, case.judge.run(rng.permutation(case.right)))
    moves = all_swaps(case.judge, at, case.evidence(np.zeros((8, 8))))
    between = moves.take(np.flatnonzero(moves.first_role != moves.second_role))
    places = zip(between.first.tolist(), between.second.tolist(), strict=True)
    assert sorted(places) == [(a, b) for a in range(4) for b in range(4) if a != b]
    again = with_swap_effects(case.judge, at, between)
    np.testing.assert_allclose(again.effects, between.effects, rtol=1e-9, atol=1e-12)


def test_turns_have_the_effects_of_replacements(square, loose, rng):
    case = square(5)
    arrangement = rng.permutation(case.right)
    at = linearize(case.judge, case.judge.run(arrangement))
    moves = turn_moves(case.judge, at, case.evidence(rng.normal(size=(10, 10))))
    assert moves.first.tolist() == moves.second.tolist() == [0, 1, 2, 3, 4]
    expected = replacement_effects(case.judge, at, range(5), arrangement[:, ::-1])
    np.testing.assert_array_equal(moves.effects, expected)
    other = loose()
    at = linearize(other.judge, other.judge.run(other.right))
    assert len(turn_moves(other.judge, at, other.evidence(np.eye(5)))) == 0


def test_a_block_is_taken_from_one_place_to_another():
    blocks = np.arange(8).reshape(4, 2)
    np.testing.assert_array_equal(shifted(blocks, 0, 2), blocks[[1, 2, 0, 3]])
    np.testing.assert_array_equal(shifted(blocks, 3, 1), blocks[[0, 3, 1, 2]])


def test_an_exchange_moves_the_pieces_of_two_slots_and_no_other(rng):
    before = np.arange(8).reshape(4, 2)
    np.testing.assert_array_equal(exchange(before, 0, 2, 1, 1), [[0, 5], [2, 3], [4, 1], [6, 7]])
    np.testing.assert_array_equal(exchange(before, 0, 3, 0, 1), [[7, 1], [2, 3], [4, 5], [6, 0]])
    np.testing.assert_array_equal(exchange(before, 1, 1, 0, 1), [[0, 1], [3, 2], [4, 5], [6, 7]])
    np.testing.assert_array_equal(
        exchange(before, 0, 1, [0, 1], [0, 1]), [[2, 3], [0, 1], [4, 5], [6, 7]]
    )
    assert before[0, 1] == 1


def tying(arrangement, odds):
    """Evidence of so many log-odds that the first two pieces of each block belong together."""
    numbers = np.full(arrangement.size, -1, np.intp)
    first, second = numbers.copy(), numbers.copy()
    first[arrangement[:, 0]] = second[arrangement[:, 1]] = np.arange(len(arrangement))
    told = np.pad(odds * np.eye(len(arrangement)), ((0, 1), (0, 1)))  # of others nothing is known
    return EdgeOdds(0, 1, told, first, second)


@pytest.mark.parametrize(("odds", "units"), [(0.0, ()), (100.0, ((0, 1),))])
def test_a_part_of_the_blocks_moves_along_the_depth(odds, units):
    arrangement = np.arange(15).reshape(5, 3)
    parts = [[0], [1], [2]] if not units else [[0, 1], [2]]
    made = resequenced(arrangement, Evidence((tying(arrangement, odds),), units))
    assert len(made) == len(parts) * (1 + 12)  # in reverse, and by two places or more
    for part in parts:
        rotated, rest = arrangement.copy(), [role for role in range(3) if role not in part]
        rotated[:, part] = np.roll(arrangement[:, part], 1, axis=0)
        assert (made == rotated).all(axis=(1, 2)).sum() == 1
        assert any((each[:, part] == arrangement[::-1, part]).all() for each in made)
        assert any((each[:, rest] == arrangement[:, rest]).all() for each in made)
    # Roles that the evidence ties together do not move by themselves.
    assert len(resequenced(arrangement, Evidence((tying(arrangement, 100.0),)))) == 13


@pytest.mark.parametrize(("odds", "turned"), [(0.0, True), (100.0, False)])
def test_turns_against_the_evidence_are_not_judged(odds, turned):
    arrangement = np.arange(15).reshape(5, 3)
    evidence = Evidence((tying(arrangement, odds),))
    made = neighbours(arrangement, evidence, [(0, 1)])
    first = exchange(arrangement, 0, 0, 0, 1)
    assert (made == first).all(axis=(1, 2)).any() == turned
