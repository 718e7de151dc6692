import numpy as np
import pytest

from unshuffle.blocks.mlp import MlpBank
from unshuffle.ordering.linearization import shifts
from unshuffle.ordering.moves import shifted
from unshuffle.ordering.precedence import Precedence, precedence


def growing(rng, sizes):
    """Blocks whose steps are constants of the given sizes."""
    count = len(sizes)
    directions = rng.normal(size=(count, 5))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return MlpBank(
        rng.normal(size=(count, 7, 5)),
        np.zeros((count, 7)),
        np.zeros((count, 5, 7)),
        np.asarray(sizes)[:, None] * directions,
    )


def arranged(order):
    """Blocks (b, b) in an order."""
    order = np.asarray(order, np.intp)
    return np.column_stack([order, order + len(order)])


def test_log_odds_are_those_of_the_discriminant(rng):
    logs = np.array([0.0, 1.0, 3.0, 3.5, 5.5])
    layers = growing(rng, np.exp(logs))
    order = [0, 1, 2, 3, 4]
    found = precedence(layers, arranged(order), rng.normal(size=(9, 5)))
    mean, deviation = 1.5, 1.4826 * 0.5  # of 1, 2, ½, 2
    wanted = 2 * mean / deviation**2 * (logs[None, :] - logs[:, None])
    np.testing.assert_allclose(found.log_odds, wanted, rtol=1e-6, atol=1e-9)


def test_two_classes_of_a_gaussian_get_their_true_odds(rng):
    """Many neighbours at m + s z: the log-odds of a pair are those of its two densities."""
    mean, deviation = 0.03, 0.02
    steps = mean + deviation * rng.normal(size=600)
    logs = np.cumsum(steps)
    layers = growing(rng, np.exp(logs - logs.mean()))
    found = precedence(layers, arranged(range(600)), rng.normal(size=(1, 5)))
    x = steps[1:]
    density = ((x + mean) ** 2 - (x - mean) ** 2) / (2 * deviation**2)
    np.testing.assert_allclose(np.diagonal(found.log_odds, 1), density, rtol=0.3)


def test_the_direction_of_the_steps_does_not_matter(rng):
    layers = growing(rng, np.exp([0.0, 1.0, 3.0, 3.5, 5.5]))
    inputs = rng.normal(size=(9, 5))
    forward = precedence(layers, arranged([0, 1, 2, 3, 4]), inputs)
    back = precedence(layers, arranged([4, 3, 2, 1, 0]), inputs)
    np.testing.assert_allclose(forward.log_odds, back.log_odds[::-1, ::-1].T, atol=1e-9)
    assert (np.triu(back.log_odds, 1) >= 0).all()


def test_a_pair_in_the_wrong_order_is_seen(rng):
    layers = growing(rng, np.exp([0.0, 1.0, 3.0, 3.5, 5.5, 6.0, 8.0]))
    found = precedence(layers, arranged([0, 1, 3, 2, 4, 5, 6]), rng.normal(size=(9, 5)))
    assert found.log_odds[2, 3] < 0
    assert (np.triu(found.log_odds, 1) < 0).sum() == 1


@pytest.mark.parametrize("sizes", [[0.0, 0.0, 0.0], [1e300, 1.0, 2.0], [1.0], []])
def test_steps_that_say_nothing_give_even_odds(rng, sizes):
    found = precedence(growing(rng, sizes), arranged(range(len(sizes))), rng.normal(size=(4, 5)))
    np.testing.assert_allclose(found.log_odds, np.zeros((len(sizes), len(sizes))))


def test_what_shifts_lose_is_the_change_of_the_sum_over_pairs(rng):
    log_odds = rng.normal(size=(6, 6))
    known = Precedence(arranged([5, 3, 2, 1, 0, 4]), log_odds - log_odds.T)
    listed = known.arrangement.tolist()

    def total(arrangement):
        at = [listed.index(block) for block in arrangement.tolist()]
        return sum(known.log_odds[a, b] for t, a in enumerate(at) for b in at[t + 1 :]) / 2

    order = arranged([1, 2, 4, 0, 3, 5])
    for lost, move in zip(known.lost(order, 4), shifts(6, 4).tolist(), strict=True):
        assert lost == pytest.approx(total(order) - total(shifted(order, *move)))
