from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork, Records
from unshuffle.blocks.activations import find_activation
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpStack
from unshuffle.blocks.network import Network
from unshuffle.pieces.blueprint import Kind, Role
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.proof.noise import find_pattern, foretold, looks_like_noise, noise_at_most, tells


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


def test_a_stream_wider_than_what_is_looked_at_is_tested_like_any_other(dropped, rng):
    """Of 600 numbers a state has 512 projections; wrong arrangements run on all of them."""
    case = dropped(rows=400, blocks=3, width=600, hidden=8, outputs=2)
    assert looks_like_noise(case.network, with_noise(case.records, rng, 0.01)) is True
    wrong = rearranged(case.network, [1, 0, 2], [1, 0, 2])
    assert looks_like_noise(wrong, case.records) is False


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


@pytest.mark.parametrize("seed", range(3))
def test_a_few_large_predictions_hide_no_others(seed):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(400, 6))
    assert foretold(inputs, np.exp(4 * inputs @ rng.normal(size=(6, 1)))) > 8


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


def test_what_another_activation_would_change_is_no_noise(rng):
    """Rows that are alike err alike too little, of four in twelve, to show it by themselves."""

    def drawn(*shape, reads):
        return rng.uniform(-1, 1, size=shape) / np.sqrt(reads)

    for _ in range(12):
        inp, out = drawn(3, 32, 16, reads=16), drawn(3, 16, 32, reads=32)
        biases = drawn(3, 32, reads=16), drawn(3, 16, reads=32)
        squared = MlpStack(inp, biases[0], out, biases[1], find_activation("relu2"))
        network = MlpNetwork(squared, Linear(drawn(1, 16, reads=16), np.zeros(1)))
        inputs = rng.normal(size=(400, 16))
        records = Records(inputs, network.predict(inputs))
        wrong = replace(network, blocks=replace(squared, activation=find_activation("relu")))
        assert not looks_like_noise(wrong, records)


@pytest.mark.parametrize(("share", "noise"), [(0.07, True), (0.2, False)])
def test_noise_is_a_tenth_of_the_variance_at_most(case, rng, share, noise):
    noisy = with_noise(case.records, rng, np.sqrt(share / (1 - share)))
    assert looks_like_noise(case.network, noisy) is noise


@pytest.mark.parametrize(("peak", "noise"), [(5, True), (13, False)])
def test_the_worst_row_of_noise_errs_by_eight_root_mean_squares_at_most(case, rng, peak, noise):
    own = case.network.predict(case.records.inputs)
    noisy = with_noise(Records(case.records.inputs, own), rng, 0.01)
    left = np.std(noisy.predictions[:, 0] - own[:, 0])
    noisy.predictions[123, 0] = own[123, 0] + peak * left
    assert looks_like_noise(case.network, noisy) is noise


def idle(width, outputs=1):
    """A network whose blocks do nothing, so that all states are the inputs."""
    blocks = MlpStack(
        *(np.zeros((4, *shape)) for shape in ((1, width), (1,), (width, 1), (width,)))
    )
    return MlpNetwork(blocks, Linear(np.ones((outputs, width)), np.zeros(outputs)))


def without(values, others):
    """What is orthogonal to columns, and 0 on average."""
    basis = np.linalg.qr(np.hstack([others, np.ones((len(others), 1))]))[0]
    return values - basis @ (basis.T @ values)


def test_chance_makes_no_pattern(rng):
    """Neither test takes any of 60 residuals that are noise for a pattern."""
    network = idle(2)
    for _ in range(60):
        inputs = rng.normal(size=(200, 2))
        noisy = Records(inputs, network.predict(inputs) + 1e-3 * rng.normal(size=(200, 1)))
        assert looks_like_noise(network, noisy) is None  # no arrangement is a wrong one
        assert not find_pattern(network, noisy).significant


def test_a_pattern_of_nine_standard_deviations_is_found(rng):
    """Rows agree by half the square of the sum of x r, less the sum of squares of r.

    That is for two columns x; the spread of chance agreements is the sum of squares of r.
    """
    network = idle(2)
    inputs = without(rng.normal(size=(200, 2)), np.empty((200, 0)))
    inputs /= inputs.std(axis=0)
    noise = without(rng.normal(size=(200, 1)), inputs)
    residual = 1e-3 * (0.33 * inputs[:, :1] + noise / noise.std())
    squares = np.sum(residual**2)
    score = (np.sum(inputs[:, :1] * residual) ** 2 / 2 - squares) / squares
    assert score == pytest.approx(9, abs=0.8)
    assert looks_like_noise(network, Records(inputs, network.predict(inputs) + residual)) is False


def test_a_regression_that_agrees_by_eight_standard_deviations_is_significant(rng):
    """With x + n, of variance 2, the terms x² + x n have mean 1 and mean square 4."""
    network = idle(1)
    inputs = rng.normal(size=(512, 1))  # half of them are foretold: 16 / 2 standard deviations
    residual = inputs + rng.normal(size=(512, 1))
    pattern = find_pattern(network, Records(inputs, network.predict(inputs) + residual))
    assert pattern.significant
    assert pattern.share == pytest.approx(0.5, abs=0.1)


def test_a_direction_as_faint_as_the_ridge_is_explained_by_three_quarters(rng):
    """Two columns that differ by little, five times: halved by the ridge, it leaves a quarter."""
    network, one, other = idle(2), *rng.normal(size=(2, 4000, 1))
    difference = np.sqrt(2 * 1e-3 / 5)
    inputs = np.hstack([one, one + difference * other])
    known = Records(inputs, network.predict(inputs) + 1e-3 * other)
    assert find_pattern(network, known).share == pytest.approx(0.75, abs=0.1)


def test_rows_are_compared_by_the_states_of_five_depths(case):
    """Of each of 8 features, and one that is 1."""
    assert find_pattern(case.network, case.records).features == 5 * 8 + 1


@pytest.mark.parametrize(("rows", "features"), [(160, 5 * 8 + 1), (100, 5 * 5 + 1), (6, 5 + 1)])
def test_a_regression_has_half_as_many_features_as_rows_that_it_is_fitted_to(case, rows, features):
    """Every other row is fitted; of five states of 8 numbers few rows allow but projections."""
    assert find_pattern(case.network, case.records.first(rows)).features == features


class Sequence:
    """Blocks that do nothing but count how often one runs behind a later one."""

    kind = Kind("counting", (Role("one", {}),))

    def __init__(self, blocks):
        self.blocks = blocks

    def __len__(self):
        return self.blocks

    def apply(self, place, x):
        done = x.copy()
        done[:, -1] += x[:, -2] > place
        done[:, -2] = place
        return done


class Misfits:
    """Ends of these blocks, which err by what `misfit` makes of the count and the inputs."""

    dtype = np.dtype(float)

    def __init__(self, misfit, outputs):
        self.misfit, self.outputs = misfit, outputs

    def enter(self, inputs):
        return np.column_stack([inputs, np.full(len(inputs), -1.0), np.zeros(len(inputs))])

    def leave(self, state):
        x, count = state[:, :1], state[:, -1:]
        return np.repeat(x + self.misfit(count, x), self.outputs, axis=1)


def white(x):
    """Numbers without a pattern, made of inputs."""
    return np.sin(1e6 * x)


@pytest.mark.parametrize(("visible", "believed"), [(10, True), (5, None)])
def test_the_six_closest_of_twelve_misfits_have_to_show_a_pattern(rng, visible, believed):
    """Misfits grow with the exchanges, of which 4, 8, 16 or 32 are made, three times each.

    The noise is small, so three misfits of 4 and three of 8 exchanges are the closest in size.
    """

    def misfit(count, x):
        return 1e-3 * count * np.where(count <= visible, x, white(x))

    network = Network(Sequence(60), Misfits(misfit, 4))
    inputs = rng.normal(size=(1000, 1))
    noise = 1e-3 * rng.normal(size=(1000, 4))
    records = Records(inputs, network.predict(inputs) + noise)
    assert looks_like_noise(network, records) is believed


@pytest.mark.parametrize(("each", "believed"), [(90, True), (30, None)])
def test_of_few_predictions_a_search_fits_misfits_away(rng, each, believed):
    """With 48 predictions a block, or fewer, what exchanges of neighbours explain is left out."""

    def misfit(count, x):
        return 1e-3 * (count * x + 0.1 * np.maximum(count - 1, 0) * white(x))

    blocks = 600 // each
    network = Network(Sequence(blocks), Misfits(misfit, 1))
    inputs = rng.normal(size=(600, 1))
    records = Records(inputs, network.predict(inputs) + 1e-3 * rng.normal(size=(600, 1)))
    assert looks_like_noise(network, records) is believed


def regressed(ridge):
    """How much of a prediction a kernel regression gives back that has seen it once.

    Clusters of rows are at equal distances, so the kernel is e⁻¹ between them and 1 within.
    """
    apart = 1 - np.exp(-1)
    return apart / (apart + ridge)


def test_noise_is_what_the_best_of_three_kernel_regressions_leaves():
    inputs = np.repeat(np.eye(4), 2, axis=0)  # every other row is foretold from its copy
    first, second = np.array([1.0, -1, 1, -1]), np.array([1.0, 1, -1, -1])
    same = np.repeat(first, 2)[:, None]
    assert noise_at_most(inputs, same) == pytest.approx((1 - regressed(1e-3)) ** 2, rel=0.01)
    other = np.stack([first, second], axis=1).reshape(-1, 1)
    assert noise_at_most(inputs, other) == pytest.approx(1 + regressed(0.1) ** 2, rel=0.01)


@pytest.mark.parametrize(
    ("residual", "misfits", "told"),
    [
        (0.0, [5.5, 9.0], True),
        (0.0, [4.5, 9.0], False),
        (2.6, [5.5, 9.0], True),
        (2.8, [5.5, 9.0], False),
        (-3.0, [5.5], True),
        (0.0, [], False),
    ],
)
def test_misfits_tell_where_each_shows_clearly_more_than_a_residual(residual, misfits, told):
    assert tells(residual, misfits) == told
