from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork, Records
from unshuffle.blocks.mlp import MlpStack
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.proof.noise import foretold, looks_like_noise


@pytest.fixture
def case(dropped):
    return dropped(rows=1000, blocks=6, width=8, hidden=12, outputs=2)


def with_noise(records, rng, share):
    """Add Gaussian noise of a share of the spread of each column of predictions."""
    spread = share * records.predictions.std(axis=0)
    return replace(
        records, predictions=records.predictions + spread * rng.normal(size=(len(records), 2))
    )


def rearranged(network, inps, outs):
    inp, out = network.blocks.take(inps), network.blocks.take(outs)
    blocks = MlpStack(inp.inp_weight, inp.inp_bias, out.out_weight, out.out_bias, inp.activation)
    return MlpNetwork(blocks, network.last)


@pytest.mark.parametrize("share", [1e-4, 1e-2, 0.1, 0.3])
def test_the_right_network_leaves_noise(case, rng, share):
    for _ in range(10):
        assert looks_like_noise(case.network, with_noise(case.records, rng, share))


def test_predictions_rounded_to_decimals_leave_noise(case):
    rounded = replace(case.records, predictions=np.round(case.records.predictions, 3))
    assert looks_like_noise(case.network, rounded)


@pytest.mark.parametrize("share", [0, 1e-4, 1e-3])
def test_swapped_neighbours_leave_a_pattern(case, rng, share):
    for place in range(5):
        order = list(range(6))
        order[place], order[place + 1] = order[place + 1], order[place]
        wrong = rearranged(case.network, order, order)
        assert not looks_like_noise(wrong, with_noise(case.records, rng, share))


@pytest.mark.parametrize("share", [0, 1e-3])
def test_wrong_pairs_leave_a_pattern(case, rng, share):
    for place in range(5):
        order = list(range(6))
        order[place], order[place + 1] = order[place + 1], order[place]
        wrong = rearranged(case.network, range(6), order)
        assert not looks_like_noise(wrong, with_noise(case.records, rng, share))


def test_a_few_damaged_rows_are_no_noise(case, rng):
    assert looks_like_noise(case.network, case.records)
    case.records.predictions[123, 1] += 0.01
    assert not looks_like_noise(case.network, case.records)


def test_what_explains_little_is_no_reconstruction(case, rng):
    assert not looks_like_noise(case.network, with_noise(case.records, rng, 2.0))
    shuffled = replace(case.records, predictions=rng.permutation(case.records.predictions))
    assert not looks_like_noise(case.network, shuffled)


def test_where_a_wrong_order_would_show_no_pattern_noise_is_not_believed(case, rng):
    """Few rows, or copies of few, cannot tell noise from a wrong order."""
    noisy = with_noise(case.records, rng, 0.01)
    assert looks_like_noise(case.network, noisy.take(np.arange(256))) is True
    assert looks_like_noise(case.network, noisy.take(np.arange(12))) is None
    flat = replace(noisy, inputs=np.zeros_like(noisy.inputs))
    order = [1, 0, 2, 3, 4, 5]
    wrong = rearranged(case.network, order, order)
    predictions = np.tile(case.network.predict(flat.inputs[:1]), (1000, 1))
    spread = 1e-2 * rng.normal(size=(1000, 2))
    assert looks_like_noise(wrong, Records(flat.inputs, predictions + spread)) is not True


def test_a_network_that_overflows_leaves_no_noise_and_no_warning(case):
    blocks = replace(case.network.blocks, out_weight=case.network.blocks.out_weight * 1e30)
    records = Records(case.records.inputs, case.records.predictions)
    assert not looks_like_noise(MlpNetwork(blocks, case.network.last), records)


def test_what_does_not_follow_from_the_inputs_agrees_with_a_regression_by_chance(rng):
    found = [foretold(rng.normal(size=(200, 5)), rng.normal(size=(200, 2)) + 3) for _ in range(200)]
    assert abs(np.mean(found)) < 4 / np.sqrt(200)
    assert np.std(found) == pytest.approx(1, abs=0.2)


def test_what_follows_from_the_inputs_is_foretold_through_noise(case, rng):
    records = case.records
    assert foretold(records.inputs, records.predictions) > 12
    assert foretold(records.inputs, with_noise(records, rng, 1.0).predictions) > 4


class Asked(Clock):
    """A clock whose time is over once it was looked at so many times."""

    looks = 0

    @property
    def left(self):
        self.looks -= 1
        return self.looks


def test_the_time_limit_ends_each_long_part(case, rng):
    """Nothing but rows are many where a record is long: the parts grow with the blocks."""
    noisy, patient = with_noise(case.records, rng, 0.01), Asked()
    patient.looks = 1000
    assert looks_like_noise(case.network, noisy.take(np.arange(40)), patient) is not False
    asked = 1000 - patient.looks
    assert asked >= 1 + 12 + 5  # misfits that are drawn, and exchanges of neighbours
    for looks in (1, 3, asked):
        hasty = Asked()
        hasty.looks = looks
        with pytest.raises(OutOfTimeError):
            looks_like_noise(case.network, noisy.take(np.arange(40)), hasty)
