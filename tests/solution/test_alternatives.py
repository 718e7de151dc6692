"""What no shape tells is tried against the record."""

import numpy as np
import pytest

from unshuffle import Outcome, Piece, Pile, solve, verify
from unshuffle.solution.alternatives import Problems
from unshuffle.solution.options import Options


def turned(pile: Pile) -> Pile:
    """The weights as frameworks keep them that map rows to columns."""
    return Pile(Piece.linear(one.id, one.weight.T.copy(), one.bias) for one in pile)


def test_square_weights_that_map_rows_to_columns(dropped) -> None:
    case = dropped(rows=200, blocks=3, width=6, hidden=6, outputs=6)
    solution = solve(turned(case.pile), case.records, time_limit=60)
    assert solution.outcome is Outcome.EXACT
    assert solution.layers == case.permutation
    found, given = (
        np.concatenate([values.ravel() for values in network.tensors().values()])
        for network in (solution.network, case.network)
    )
    assert np.array_equal(found, given)


def test_an_answer_holds_whichever_way_square_weights_lie(dropped) -> None:
    case = dropped(rows=200, blocks=3, width=6, hidden=6, outputs=6)
    for pile in (case.pile, turned(case.pile)):
        assert verify(pile, case.records, case.permutation).outcome is Outcome.EXACT
        wrong = (*case.permutation[2:-1], *case.permutation[:2], case.permutation[-1])
        assert verify(pile, case.records, wrong).outcome is not Outcome.EXACT


def test_shapes_that_tell_leave_no_choice(dropped) -> None:
    assert dropped(width=6, hidden=6, outputs=1).pile.turned() is None
    assert dropped(width=6, hidden=8, outputs=6).pile.turned() is None


@pytest.mark.parametrize(("hidden", "lying"), [(8, "as here"), (8, "turned"), (12, "as here")])
def test_the_last_layer_that_comes_first_is_most_like_the_whole_network(dropped, hidden, lying):
    case = dropped(rows=200, blocks=6, width=8, hidden=hidden, outputs=hidden)
    pile = turned(case.pile) if lying == "turned" else case.pile
    problems = Problems(pile, case.records, Options())
    first = problems.problems[0]
    assert problems.pairing.last == case.permutation[-1]
    np.testing.assert_array_equal(first.ends.weight, case.network.last.weight)
    weights = [np.asarray(each.weight) for each in case.pile]
    assert all(any(np.array_equal(one, w) for w in weights) for one in first.bank.inp_weight)
