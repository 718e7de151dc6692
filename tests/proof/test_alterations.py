"""What was done to a record is noticed, and clipped predictions are not held against a network."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork, Outcome, Piece, Pile, Records, solve
from unshuffle.blocks.ends import Linear
from unshuffle.proof.alterations import (
    admits_clipped,
    altered_record,
    clipped_predictions,
    standardised,
    without_clipped,
)


def clipped(records):
    mean, reach = records.predictions.mean(), 1.5 * records.predictions.std()
    limited = np.clip(records.predictions, mean - reach, mean + reach)
    return replace(records, predictions=limited)


def test_an_untouched_record_betrays_nothing(dropped):
    case = dropped(rows=500)
    assert altered_record(case.records) == ()
    assert without_clipped(case.records) is case.records
    assert altered_record(Records(case.records.inputs, np.empty((500, 0)))) == ()


def test_targets_alone_may_be_predictions(dropped):
    inputs = dropped(rows=50).records.inputs
    columns = ("x",), (), ("target", "target b"), ()
    records = Records(inputs, np.empty((50, 0)), np.ones((50, 2)), columns=columns)
    (note,) = altered_record(records)
    assert note.endswith("if they are predictions: --predictions 'target,target b'")


def test_rounding_and_standardised_inputs_are_noticed(dropped):
    records = dropped(rows=500).records
    inputs = (records.inputs - records.inputs.mean(axis=0)) / records.inputs.std(axis=0)
    (one, other) = altered_record(Records(inputs, np.round(records.predictions, 2)))
    assert one == "predictions have no more than 2 decimals"
    assert "standardised" in other


def test_clipped_predictions_count_as_unknown(dropped):
    case = dropped(rows=600, blocks=4, width=12, hidden=20)
    records = clipped(case.records)
    many = int((records.predictions != case.records.predictions).sum())
    assert many > 50
    (note,) = altered_record(records)
    assert note.startswith(f"{many} predictions are at")
    assert len(without_clipped(records).predicted()) == 600 - many
    assert admits_clipped(case.network, records, 0.0)
    off = replace(case.network.last, bias=case.network.last.bias - 1)
    assert not admits_clipped(replace(case.network, ends=off), records, 0.0)
    solution = solve(case.pile, records)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    assert solution.rows == 600 - many
    assert solution.mse < 1e-10
    assert note in solution.findings.notes


def test_a_network_that_saturates_is_exact_and_nothing_was_clipped(dropped):
    """The last block sets what is negative to zero, so that many predictions are the smallest."""
    case = dropped(rows=300, blocks=4, width=8, hidden=12)
    blocks = case.network.blocks.copy()
    for values in (*blocks.inp, *blocks.out):
        values[3] = 0
    blocks.inp_weight[3, 0, 0], blocks.out_weight[3, 0, 0] = -1, 1
    last = Linear(np.eye(1, 8, dtype=np.float32), np.zeros(1, np.float32))
    network = MlpNetwork(blocks, last)
    records = Records(case.records.inputs, network.predict(case.records.inputs))
    assert len(without_clipped(records).predicted()) < 250
    layers = enumerate(network.layers())
    solution = solve(Pile(Piece.linear(k, one.weight, one.bias) for k, one in layers), records)
    assert (solution.outcome, solution.rows) == (Outcome.EXACT, 300)
    assert solution.findings is None


def test_where_one_end_was_clipped_the_few_rows_at_the_other_count_as_unknown_too(dropped):
    records = dropped(rows=500).records
    ordered = np.sort(records.predictions.ravel())
    limited = replace(records, predictions=np.clip(records.predictions, ordered[1], ordered[-50]))
    assert len(without_clipped(limited).predicted()) == 500 - 2 - 50


@pytest.mark.parametrize("decimals", [0, 1])
def test_rounded_predictions_are_not_taken_for_clipped_ones(dropped, decimals):
    records = dropped(rows=500).records
    rounded = replace(records, predictions=np.round(records.predictions, decimals))
    assert without_clipped(rounded) is rounded


@pytest.mark.parametrize(
    ("rows", "largest", "clipped"),
    [(4000, 40, True), (4000, 10, False), (100, 8, True), (100, 3, False)],
)
def test_half_a_percent_and_five_predictions_at_an_end_were_clipped(rng, rows, largest, clipped):
    values = rng.permutation(np.minimum(np.arange(float(rows)), rows - largest))[:, None]
    assert clipped_predictions(values).any() == clipped


@pytest.mark.parametrize(("inside", "clipped"), [(8, True), (15, False)])
def test_values_shared_inside_a_column_tell_of_rounding(rng, inside, clipped):
    """Of 4,000 predictions twenty at an end are clipped ones, unless ten share another value."""
    values = np.arange(4000.0)
    values[:inside] = values[inside - 1]
    values[0] = -1  # the smallest is alone
    values = rng.permutation(np.minimum(values, 3960))[:, None]
    assert clipped_predictions(values).any() == clipped


@pytest.mark.parametrize(("off", "standard"), [(0.5e-4, True), (2e-4, False)])
@pytest.mark.parametrize("moment", ["mean", "deviation"])
def test_columns_are_standardised_to_a_ten_thousandth(rng, off, standard, moment):
    inputs = rng.normal(size=(500, 3))
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    inputs[:, 1] = inputs[:, 1] + off if moment == "mean" else inputs[:, 1] * (1 + off)
    assert standardised(Records(inputs, inputs[:, :1])) is standard


@pytest.mark.parametrize(("short", "admitted"), [(1, True), (4, False)])
def test_a_network_falls_short_of_a_limit_by_twice_its_largest_error(dropped, short, admitted):
    case = dropped(rows=600)
    # The row that reaches the limit, and no more, falls short of it by the offset.
    limit = np.sort(case.records.predictions[:, 0])[-50]
    exact = replace(case.records, predictions=np.minimum(case.records.predictions, limit))
    off = replace(case.network.last, bias=case.network.last.bias - np.float32(0.01))
    assert admits_clipped(replace(case.network, ends=off), exact, 0.01 / short) is admitted
