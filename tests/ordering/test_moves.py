import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from unshuffle.ordering.adjoint import shifts
from unshuffle.ordering.moves import Kind, Moves

LAYERS = 12
"""Square layers, any of which can be inp or out; an order pairs them all."""

places = st.integers(0, LAYERS // 2 - 1)
two_places = st.tuples(places, places).filter(lambda both: both[0] != both[1])
move = st.one_of(
    two_places.map(lambda both: (Kind.SHIFT, *both)),
    two_places.map(lambda both: (Kind.OUTS, *sorted(both))),
    two_places.map(lambda both: (Kind.INPS, *sorted(both))),
    places.map(lambda place: (Kind.TURN, place, place)),
)
orders = st.permutations(range(LAYERS)).map(
    lambda layers: tuple(i * LAYERS + j for i, j in zip(layers[::2], layers[1::2], strict=True))
)


def layers_of(order):
    return [divmod(block, LAYERS) for block in order]


def touched(move):
    """Places whose block a move may change."""
    kind, first, second = move
    low, high = sorted((first, second))
    return {*range(low, high + 1)} if kind == Kind.SHIFT else {low, high}


def by_hand(move, order):
    kind, a, b = move
    pairs = layers_of(order)
    if kind == Kind.SHIFT:
        moved = pairs[a]
        rest = pairs[:a] + pairs[a + 1 :]
        pairs = [*rest[:b], moved, *rest[b:]]
    elif kind == Kind.TURN:
        pairs[a] = pairs[a][::-1]
    elif kind == Kind.OUTS:
        (i, j), (u, v) = pairs[a], pairs[b]
        pairs[a], pairs[b] = (i, v), (u, j)
    else:
        (i, j), (u, v) = pairs[a], pairs[b]
        pairs[a], pairs[b] = (u, j), (i, v)
    return tuple(i * LAYERS + j for i, j in pairs)


@settings(deadline=None)
@given(move=move, order=orders)
def test_each_kind_does_what_its_name_says(moves_of, move, order):
    made = moves_of([move]).apply(np.array([0]), order, LAYERS)
    assert made == by_hand(move, order)
    assert made != order


def test_no_chosen_move_leaves_the_order(moves_of):
    order = (3, 5, 1)
    assert moves_of([(Kind.SHIFT, 0, 2)]).apply(np.empty(0, np.intp), order, 2) == order


@settings(deadline=None)
@given(listed=st.lists(move, min_size=1, max_size=12))
def test_moves_are_compatible_where_they_touch_different_places(moves_of, listed):
    moves = moves_of(listed)
    together = np.array([moves.compatible(k) for k in range(len(moves))])
    expected = [[touched(one).isdisjoint(touched(other)) for other in listed] for one in listed]
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(together, together.T)
    assert not together.diagonal().any()


@settings(deadline=None)
@given(listed=st.lists(move, min_size=1, max_size=12), order=orders, data=st.data())
def test_compatible_moves_may_be_made_in_any_sequence(moves_of, listed, order, data):
    moves = moves_of(listed)
    chosen, possible = [], np.ones(len(moves), bool)
    while possible.any():
        chosen.append(int(np.flatnonzero(possible)[0]))
        possible &= moves.compatible(chosen[-1])
        possible[: chosen[-1] + 1] = False
    shuffled = data.draw(st.permutations(chosen))
    made = moves.apply(np.array(chosen), order, LAYERS)
    assert moves.apply(np.array(shuffled), order, LAYERS) == made
    assert sorted(layer for pair in layers_of(made) for layer in pair) == list(range(LAYERS))


def test_moves_are_joined_and_may_be_none(moves_of):
    some = moves_of([(Kind.SHIFT, 0, 1), (Kind.OUTS, 1, 2)], np.ones((2, 3)), [0.5, 2])
    none = Moves.none(3, np.float64)
    assert len(none) == 0
    both = some + none + moves_of([(Kind.TURN, 2, 2)], np.zeros((1, 3)), [-1])
    assert len(both) == 3
    assert both.kind.tolist() == [Kind.SHIFT, Kind.OUTS, Kind.TURN]
    assert both.first.tolist() == [0, 1, 2]
    assert both.second.tolist() == [1, 2, 2]
    assert both.effects.tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    assert both.gains.tolist() == [0.5, 2, -1]


def test_reversed_neighbours_are_those_that_a_move_exchanges():
    first, second = shifts(6, 3).T
    moves = Moves(
        np.full(len(first), Kind.SHIFT),
        first,
        second,
        np.empty((len(first), 0)),
        np.zeros(len(first)),
    )
    for place in range(5):
        reversing = moves.reverses(place)
        for move in range(len(moves)):
            after = moves.apply(np.array([move]), tuple(range(6)), outs=7)
            assert reversing[move] == (after.index(place) > after.index(place + 1))
