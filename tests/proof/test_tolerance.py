from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork, Outcome, Records
from unshuffle.blocks.ends import Linear
from unshuffle.pieces.clock import Clock
from unshuffle.proof.tolerance import (
    Tolerance,
    arithmetic_of,
    relative_error,
    rounding_tolerance,
)
from unshuffle.proof.verification import best_fitting, judge_network


def test_rounding_of_another_summation_is_admitted(dropped):
    case = dropped(rows=400, blocks=40, width=24, hidden=48)
    inputs, predictions = case.records.inputs, case.records.predictions
    tolerance = rounding_tolerance(case.network, inputs, predictions, "float32")
    mixed = case.network.blocks.hidden - 1 - np.arange(case.network.blocks.hidden)
    blocks = case.network.blocks
    other = type(case.network)(
        type(blocks)(
            blocks.inp_weight[:, mixed],
            blocks.inp_bias[:, mixed],
            blocks.out_weight[:, :, mixed],
            blocks.out_bias,
        ),
        case.network.last,
    )
    error = np.abs(other.predict(inputs).astype(float) - predictions)
    assert error.max() > 0
    assert tolerance.admits(error)


@pytest.mark.parametrize(("dtype", "arithmetic"), [(np.float32, "float32"), (float, "float64")])
def test_a_change_far_above_rounding_is_not_admitted(dropped, dtype, arithmetic):
    case = dropped(rows=400, dtype=dtype)
    inputs, predictions = case.records.inputs, case.records.predictions
    tolerance = rounding_tolerance(case.network, inputs, predictions, arithmetic)
    scale = np.sqrt(np.mean(predictions**2))
    assert tolerance.rms < 1e3 * np.finfo(dtype).eps * scale
    assert tolerance.rms < tolerance.peak
    # One row in 400 that is off by far more than rounding is enough to refuse.
    off = np.zeros((400, 1))
    off[17] = 1e4 * np.finfo(dtype).eps * scale
    assert not tolerance.admits(off)


def test_the_level_is_the_larger_of_what_was_measured_and_half_a_unit_of_the_predictions(dropped):
    case = dropped(rows=120, blocks=6, outputs=2)
    inputs, predictions = case.records.inputs, case.records.predictions
    exact = case.network.astype(np.float64).predict(inputs)
    off = case.network.predict(inputs) - exact
    # Beside predictions of zero only what was measured counts.
    small = rounding_tolerance(case.network, inputs, 0 * predictions, "float32")
    assert small.rms == pytest.approx(8 * np.sqrt(np.mean(off**2, axis=0)))
    assert small.peak == pytest.approx(8 * np.abs(off).max(axis=0))
    # Beside large ones, the last place in which they are kept.
    large = rounding_tolerance(case.network, inputs, 1e6 * predictions, "float32")
    sizes = np.sqrt(np.mean(predictions**2, axis=0)), np.abs(predictions).max(axis=0)
    assert large.rms == pytest.approx(8 * 2**-24 * 1e6 * sizes[0])
    assert large.peak == pytest.approx(8 * 2**-24 * 1e6 * sizes[1])
    # One bound does not decide the other: a single large prediction moves the peak alone.
    lone = np.zeros_like(predictions)
    lone[7] = 30 * small.peak / 8 / 2**-24 / 10
    single = rounding_tolerance(case.network, inputs, lone, "float32")
    assert single.peak == pytest.approx(3 * small.peak)
    assert single.rms == pytest.approx(
        np.maximum(small.rms, 8 * 2**-24 * np.sqrt(np.mean(lone**2.0, axis=0)))
    )


def test_both_bounds_count():
    tolerance = Tolerance(rms=np.array([1.0]), peak=np.array([3.0]))
    few = np.zeros((16, 1))
    few[0] = 3.0
    assert tolerance.admits(few)
    assert tolerance.admits(np.ones((4, 1)))
    assert not tolerance.admits(1.1 * np.ones((4, 1)))
    few[0] = 3.1
    assert not tolerance.admits(few)
    assert not tolerance.admits(few * np.nan)


def test_a_large_column_excuses_no_error_of_a_small_one(dropped):
    """An offset of one output raises the rounding of that output alone."""
    case = dropped(rows=200, outputs=2)
    inputs, predictions = case.records.inputs, case.records.predictions
    offset = predictions + np.array([1e8, 0], np.float32)
    plain = rounding_tolerance(case.network, inputs, predictions, "float32")
    tolerance = rounding_tolerance(case.network, inputs, offset, "float32")
    assert tolerance.rms[0] > 1e5 * plain.rms[0]
    assert tolerance.rms[1] == plain.rms[1]
    error = np.zeros((200, 2))
    error[:, 0] = 0.1
    assert tolerance.admits(error)
    assert not tolerance.admits(error[:, ::-1])


def test_of_networks_the_one_that_fits_all_columns_is_best(dropped, rng):
    """A column of large numbers that errs a little decides less than a small one that errs much."""
    case = dropped(rows=300, outputs=2, dtype=np.float64)
    last, own = case.network.last, case.network.predict(case.records.inputs)
    units = 1e4 ** np.arange(2) / own.std(axis=0)

    def off(shares):
        weight, bias = units[:, None] * last.weight, units * last.bias
        return MlpNetwork(case.network.blocks, Linear(weight * (1 + shares)[:, None], bias))

    known = Records(case.records.inputs, own * units)
    large, small = off(np.array([0, 1e-2])), off(np.array([0.5, 0]))
    assert large.error(known.inputs, known.predictions) > small.error(
        known.inputs, known.predictions
    )
    assert best_fitting([small, large], known) is large
    errors = (large.predict(known.inputs) - known.predictions) / known.predictions.std(axis=0)
    assert relative_error(large, known) == pytest.approx(np.mean(errors**2))
    constant = Records(known.inputs, np.zeros((300, 2)))
    raw = large.error(known.inputs, constant.predictions)
    assert relative_error(large, constant) == pytest.approx(raw)
    lost = MlpNetwork(replace(large.blocks, out_weight=large.blocks.out_weight * 1e300), last)
    assert relative_error(lost, known) == np.inf


def test_arithmetic_is_the_coarser_of_weights_and_predictions(rng):
    wide = rng.normal(size=(50, 1))
    short = wide.astype(np.float32)
    printed = np.array([[float(str(value))] for value in short[:, 0]])  # as read from a CSV file
    assert arithmetic_of(np.dtype(np.float32), wide) == "float32"
    assert arithmetic_of(np.dtype(np.float64), short) == "float32"
    assert arithmetic_of(np.dtype(np.float64), printed) == "float32"
    assert arithmetic_of(np.dtype(np.float64), short.astype(np.float64)) == "float32"
    assert arithmetic_of(np.dtype(np.float64), wide) == "float64"


@pytest.mark.parametrize(
    ("multiple", "outcome"), [(4, Outcome.EXACT), (16, Outcome.MISFIT)], ids=["4", "16"]
)
def test_exact_is_an_error_of_eight_rounding_levels_at_most(dropped, multiple, outcome):
    """All rows err by multiples of the level, with the sign of an input: that is no noise."""
    case = dropped(rows=128, blocks=6)
    inputs = case.records.inputs
    exact = case.network.astype(np.float64).predict(inputs)
    own = case.network.predict(inputs)
    measured = np.sqrt(np.mean((own - exact) ** 2))
    level = max(measured, 2**-24 * np.sqrt(np.mean(own.astype(float) ** 2)))
    off = own + multiple * level * np.sign(inputs[:, :1])
    known = Records(inputs, off.astype(np.float64))
    assert judge_network(case.network, known, ("float32",), Clock()).outcome is outcome
