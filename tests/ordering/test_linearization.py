"""First-order effects, against differences of full evaluations."""

import numpy as np
import pytest

from unshuffle.blocks.activations import ACTIVATIONS
from unshuffle.blocks.mlp import INP, OUT
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.linearization import (
    exchange_effects,
    linearize,
    replacement_effects,
    shift_effects,
    shifts,
)
from unshuffle.ordering.moves import shifted


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_adjoints_are_the_derivatives_of_the_predictions(loose, rng, activation, outputs):
    case = loose(rows=7, blocks=4, outputs=outputs, activation=activation)
    judge, arrangement = case.judge, rng.permutation(case.right)
    at = linearize(judge, judge.run(arrangement))
    assert at.adjoints.shape == (5, outputs, 7, 6)
    step = 1e-6
    for depth in range(5):
        direction = rng.normal(size=(7, 6))
        sides = []
        for sign in (1, -1):
            state = at.run.states[depth] + sign * step * direction
            for parts in arrangement[depth:]:
                state = case.bank.apply(parts, state)
            sides.append(judge.ends(state))
        expected = (sides[0] - sides[1]).T / (2 * step)
        actual = np.einsum("ond,nd->on", at.adjoints[depth], direction)
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-8)


def test_the_residual_is_the_predictions_minus_the_record_outputs_first(loose, rng):
    case = loose(rows=9, outputs=2)
    arrangement = rng.permutation(case.right)
    at = linearize(case.judge, case.judge.run(arrangement))
    record = case.judge.predictions.T.reshape(-1)
    np.testing.assert_allclose(at.residual, case.predict(arrangement) - record, rtol=1e-9)
    assert np.mean(at.residual**2) == pytest.approx(at.run.error)


@pytest.mark.parametrize("rows", [1, 6, 30])
def test_the_first_rows_are_those_of_a_linearization_of_them_alone(loose, rows):
    case = loose(rows=20, outputs=3)
    arrangement = case.right[::-1]
    few = linearize(case.judge, case.judge.run(arrangement)).first_rows(rows)
    judge = Judge(case.bank, case.judge.ends, case.judge.records.take(np.arange(min(rows, 20))))
    alone = linearize(judge, judge.run(arrangement))
    np.testing.assert_array_equal(few.run.arrangement, arrangement)
    for mine, theirs in (
        (few.run.states, alone.run.states),
        (few.adjoints, alone.adjoints),
        (few.residual, alone.residual),
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows", [40, 600])
def test_many_rows_are_linearized_in_parallel_as_few_are_at_once(loose, rows):
    case = loose(rows=rows, outputs=2)
    at = linearize(case.judge, case.judge.run(case.right[::-1]))
    network = case.judge.network(at.run.arrangement)
    np.testing.assert_allclose(at.adjoints, network.adjoints(at.run.states), rtol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 5, 9])
@pytest.mark.parametrize("window", [1, 2, 4, 20])
def test_shifts_are_all_different_orders_within_the_window(length, window):
    blocks = np.arange(length)[:, None]

    def after(source, target):
        return tuple(shifted(blocks, source, target).ravel().tolist())

    listed = [tuple(move) for move in shifts(length, window).tolist()]
    assert listed[: length - 1] == [(s, s + 1) for s in range(length - 1)]
    orders = {after(*move) for move in listed}
    everything = {
        after(a, b) for a in range(length) for b in range(length) if 0 < abs(a - b) <= window
    }
    assert orders == everything
    assert len(listed) == len(orders)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_shift_to_the_last_place_is_exact(loose, activation):
    case = loose(outputs=2, activation=activation)
    arrangement = case.right[::-1]
    before = case.predict(arrangement)
    at = linearize(case.judge, case.judge.run(arrangement))
    effects = shift_effects(case.judge, at, 4)
    exact = 0
    for (start, end), effect in zip(shifts(5, 4).tolist(), effects, strict=True):
        if end == 4:
            expected = case.predict(shifted(arrangement, start, end)) - before
            np.testing.assert_allclose(effect, expected, rtol=1e-8, atol=1e-11)
            exact += 1
    assert exact == 4


def shift_errors(case, window):
    """First-order effects of shifts, and the differences of full evaluations."""
    arrangement = case.right[::-1]
    before = case.predict(arrangement)
    at = linearize(case.judge, case.judge.run(arrangement))
    effects = shift_effects(case.judge, at, window)
    moves = shifts(5, window).tolist()
    return effects, np.array([case.predict(shifted(arrangement, *s)) - before for s in moves])


@pytest.mark.parametrize("activation", ["tanh", "gelu", "silu"])
def test_shifts_are_right_to_first_order(make_loose, activation):
    """Two blocks that change places change the state by the product of their small steps.

    What a shift forward leaves out is the curvature of what follows, the change squared times one
    more step; a shift back leaves out the curvature of the passed blocks, three small steps.
    """
    relative = []
    for step in (4e-2, 1e-2):
        case = make_loose(np.random.default_rng(3), outputs=2, activation=activation, scale=step)
        effects, exact = shift_errors(case, 3)
        norms = np.linalg.norm(exact, axis=1)
        assert np.all(norms > 1e-9)
        relative.append(np.linalg.norm(effects - exact, axis=1) / norms)
    coarse, fine = relative
    start, end = shifts(5, 3).T
    back, forward = end < start, (end > start) & (end < 4)
    assert back.sum() == 5
    assert forward.sum() == 6
    assert np.all(coarse[back] < 0.1)
    assert np.all(fine[back] < coarse[back] / 2.5)  # a quarter of the step, a quarter of the error
    assert np.all(fine[forward] < np.maximum(coarse[forward] / 16, 1e-9))


def test_shifts_of_relu_networks_are_right_to_first_order(make_loose):
    """Where no unit of a row opens or closes on the way, a shift is even exact."""
    wrong = []
    for scale in (1e-1, 1e-3):
        case = make_loose(np.random.default_rng(3), rows=300, scale=scale)
        effects, exact = shift_errors(case, 4)
        # Rounding of predictions near 1 is all that is left of the others.
        wrong.append(np.mean(np.abs(effects - exact) > 1e-14, axis=1))
    assert np.all(wrong[1] < 0.02)
    assert np.all(wrong[1] <= wrong[0])
    assert wrong[0].max() > 0.1


def test_replacements_are_exact_at_the_last_place_and_right_to_first_order(make_loose):
    relative = []
    for step in (4e-2, 1e-2):
        case = make_loose(np.random.default_rng(4), outputs=2, activation="tanh", scale=step)
        arrangement = case.right[::-1]
        at = linearize(case.judge, case.judge.run(arrangement))
        random = np.random.default_rng(6)
        places = random.integers(5, size=40).tolist()
        blocks = case.blocks(random.integers(5, size=(40, 2)))
        effects = replacement_effects(case.judge, at, places, blocks)
        errors = []
        for place, block, effect in zip(places, blocks, effects, strict=True):
            other = arrangement.copy()
            other[place] = block
            expected = case.predict(other) - case.predict(arrangement)
            if place == 4 or np.array_equal(other, arrangement):
                np.testing.assert_allclose(effect, expected, atol=1e-12)
            else:
                errors.append(np.linalg.norm(effect - expected) / np.linalg.norm(expected))
        relative.append(np.array(errors))
    coarse, fine = relative
    assert len(fine) > 20
    # The curvature of what follows, one small step, times the change, another.
    assert np.all(fine < coarse / 8)


@pytest.mark.parametrize("role", [INP, OUT])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_exchanges_agree_with_replacements(loose, rng, activation, role):
    case = loose(outputs=2, activation=activation)
    arrangement = rng.permutation(case.right)
    at = linearize(case.judge, case.judge.run(arrangement))
    effects = exchange_effects(case.judge, at, [role], [role])
    for t in range(5):
        blocks = np.repeat(arrangement[[t]], 5, axis=0)
        blocks[:, role] = arrangement[:, role]
        expected = replacement_effects(case.judge, at, [t] * 5, blocks)
        np.testing.assert_allclose(effects[t], expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(effects[t, t], 0, atol=1e-12)


@pytest.mark.parametrize(("role", "source"), [(INP, OUT), (OUT, INP)])
def test_exchanges_between_roles_agree_with_replacements(square, rng, role, source):
    case = square(4, outputs=2)
    arrangement = rng.permutation(case.right)
    at = linearize(case.judge, case.judge.run(arrangement))
    effects = exchange_effects(case.judge, at, [role], [source])
    for t in range(4):
        blocks = np.repeat(arrangement[[t]], 4, axis=0)
        blocks[:, role] = arrangement[:, source]
        expected = replacement_effects(case.judge, at, [t] * 4, blocks)
        np.testing.assert_allclose(effects[t], expected, rtol=1e-9, atol=1e-12)
