"""Rounded and pruned weights are recognised, and explain as much of an error as they make."""

import numpy as np
import pytest

from unshuffle import Outcome, Piece, Pile, Records, verify
from unshuffle.blocks.assembly import build_network
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork, MlpStack
from unshuffle.oracle.dropping import prune, round_weights
from unshuffle.pieces.clock import Clock
from unshuffle.proof.coarseness import coarse_tolerance, coarseness, kept_coarsely
from unshuffle.proof.verification import judge_network


def rounded(network, change):
    layers = [Linear(change(layer.weight), change(layer.bias)) for layer in network.layers()]
    return MlpNetwork.from_layers(layers, network.blocks.activation)


@pytest.mark.parametrize(
    ("name", "kind"), [("float16", "float16"), ("bfloat16", "bfloat16"), ("int8", "levels")]
)
def test_each_grid_is_recognised_and_its_step_measured(rng, name, kind):
    values = rng.normal(size=(20, 30)).astype(np.float32)
    coarse = round_weights(values, name)
    found = coarseness(coarse)
    assert found.kind == kind
    assert (np.abs(values - coarse) <= found.half_step * (1 + 1e-4)).all()
    assert (np.abs(values - coarse) >= 0.5 * found.half_step).mean() > 0.2
    assert not coarseness(values)


def test_levels_of_each_row_and_with_a_zero_point_are_recognised(rng):
    values = rng.normal(size=(20, 40)) * np.exp(rng.normal(size=(20, 1)))
    rows = np.stack([round_weights(row, "int8") for row in values]).astype(np.float32)
    found = coarseness(rows)
    assert found.kind == "levels"
    assert (np.abs(values - rows) <= found.half_step * (1 + 1e-4)).all()
    step = np.ptp(values) / 255
    shifted = (np.round(values / step) * step).astype(np.float32)
    assert coarseness(shifted).half_step == pytest.approx(step / 2, rel=1e-4)


def test_pruned_weights_are_recognised_beside_levels_too(rng):
    values = prune(rng.normal(size=(20, 30)).astype(np.float32), 0.2)
    assert coarseness(values).pruned == pytest.approx(0.2)
    assert coarseness(round_weights(values, "int8")).pruned > 0.19
    assert coarseness(round_weights(rng.normal(size=(20, 30)), "int8")).pruned == 0


@pytest.mark.parametrize("name", ["float16", "bfloat16", "int8"])
def test_the_error_of_rounded_weights_is_explained_and_little_more(dropped, name):
    case = dropped(rows=800, blocks=6, width=16, hidden=24)
    coarse = rounded(case.network, lambda values: round_weights(values, name))
    error = coarse.predict(case.records.inputs) - case.records.predictions
    tolerance = coarse_tolerance(coarse, case.records.inputs)
    assert tolerance.admits(error)
    assert tolerance.rms < 5 * np.sqrt(np.mean(np.square(error)))
    assert coarse_tolerance(case.network, case.records.inputs) is None


def test_the_right_order_of_int8_weights_is_approximate_and_others_are_not(dropped):
    case = dropped(rows=400, blocks=5, width=12, hidden=20)
    pile = Pile(
        Piece.linear(
            piece.id, round_weights(piece.weight, "int8"), round_weights(piece.bias, "int8")
        )
        for piece in case.pile
    )
    assert kept_coarsely(pile)[0].startswith("10 of 11 weights hold at most 256 equally")
    assert verify(pile, case.records, case.permutation).outcome is Outcome.APPROXIMATE
    other = (*case.permutation[2:4], *case.permutation[:2], *case.permutation[4:])
    assert verify(pile, case.records, other).outcome is Outcome.MISFIT


@pytest.mark.parametrize("width", [6, 20])
def test_weights_with_scales_are_said_and_judged_like_other_coarse_ones(dropped, width):
    case = dropped(rows=400, blocks=5, width=width, hidden=12)
    pile = Pile(
        Piece.linear(piece.id, round_weights(piece.weight, "int8-scales"), piece.bias, "int8")
        for piece in case.pile
    )
    assert kept_coarsely(pile) == ("11 of 11 weights are stored as int8 with scales",)
    assert verify(pile, case.records, case.permutation).outcome is Outcome.APPROXIMATE
    other = (*case.permutation[2:4], *case.permutation[:2], *case.permutation[4:])
    assert verify(pile, case.records, other).outcome is Outcome.MISFIT
    inputs = case.records.inputs
    theirs = Records(inputs, build_network(pile, case.permutation).predict(inputs))
    assert verify(pile, theirs, case.permutation).outcome is Outcome.EXACT


def on_levels(rng, most, size=(40, 50)):
    """Numbers on so many equally spaced levels on either side, the last of them in use."""
    values = rng.integers(-most, most + 1, size).astype(np.float64)
    values.flat[0] = most
    return values


@pytest.mark.parametrize(("most", "kind"), [(200, "levels"), (500, "")])
def test_levels_are_those_of_eight_bits(rng, most, kind):
    assert coarseness(0.01 * on_levels(rng, most)).kind == kind


@pytest.mark.parametrize(("off", "kind"), [(0.0005, "levels"), (0.002, "")])
def test_numbers_on_levels_are_off_by_a_thousandth_of_a_step_at_most(rng, off, kind):
    values = on_levels(rng, 100)
    values[3, 3] = 50 + off
    assert coarseness(0.01 * values).kind == kind


@pytest.mark.parametrize(("count", "kind"), [(20, "levels"), (10, "")])
def test_few_numbers_on_levels_are_an_accident(rng, count, kind):
    assert coarseness(0.01 * on_levels(rng, 100, count)).kind == kind


@pytest.mark.parametrize(("gap", "kind"), [(3, "levels"), (5, "")])
def test_the_smallest_gap_between_levels_is_three_steps_at_most(rng, gap, kind):
    """Gaps of two sizes that are whole multiples of one step, and of nothing larger."""
    levels = np.cumsum([gap, gap, gap + 1, gap, gap + 1, gap, gap + 1])
    values = rng.choice([-1, 1], (10, 20)) * rng.choice(levels, (10, 20))
    values.flat[: len(levels)] = levels
    assert coarseness(0.01 * values).kind == kind


@pytest.mark.parametrize(("zeros", "pruned"), [(8, True), (3, False)])
def test_a_weight_with_half_a_percent_of_zeros_was_pruned(rng, zeros, pruned):
    values = rng.normal(size=(20, 50))
    values.flat[:zeros] = 0
    assert bool(coarseness(values).pruned) is pruned


def with_zeros(count, zeros, beside):
    """So many numbers on 100 levels: some zero, some on each of the levels beside zero."""
    values = np.tile(np.arange(2, 101), count // 99 + 1)[:count].astype(np.float64)
    values[:100] = np.arange(1, 101)[::-1]
    values[values == 1] = 3
    values[-zeros - 2 * beside :] = np.repeat([0, 1, -1], [zeros, beside, beside])
    return 0.01 * values.reshape(-1, 10)


@pytest.mark.parametrize(
    ("count", "zeros", "beside", "pruned"),
    [
        # 1.5 %, where nothing is beside zero.
        (2000, 60, 0, True),
        (2000, 15, 0, False),
        # Three times as many as on each level beside zero.
        (2000, 200, 40, True),
        (2000, 80, 40, False),
        # More than three of few numbers.
        (120, 6, 0, True),
        (120, 2, 0, False),
    ],
)
def test_zeros_among_levels_are_more_than_rounding_makes(count, zeros, beside, pruned):
    found = coarseness(with_zeros(count, zeros, beside))
    assert found.kind == "levels"
    assert bool(found.pruned) is pruned


@pytest.fixture
def wide(rng):
    """A network of one idle block and a last layer on levels, and what these leave.

    The lost weights were up to half a step away, evenly. So the predictions are off by a sum over
    the inputs, of variance step² / 12 times the sum of their squares.
    """
    width = 300
    blocks = MlpStack(
        *(rng.normal(size=shape) for shape in ((1, 4, width), (1, 4))),
        *(np.zeros(shape) for shape in ((1, width, 4), (1, width))),
    )
    last = 0.02 * on_levels(rng, 100, (1, width))
    network = MlpNetwork(blocks, Linear(last, np.zeros(1)))
    inputs = rng.normal(size=(500, width))
    return network, inputs, 0.02 / np.sqrt(12) * np.sqrt(width)


@pytest.mark.parametrize(("multiple", "admitted"), [(1.2, True), (4, False)])
def test_coarse_weights_explain_twice_the_error_that_theory_expects(rng, wide, multiple, admitted):
    network, inputs, rms = wide
    errors = multiple * rms * rng.choice([-1, 1], (500, 1))
    assert coarse_tolerance(network, inputs).admits(errors) is admitted


@pytest.mark.parametrize(("multiple", "admitted"), [(6, True), (20, False)])
def test_coarse_weights_explain_three_times_the_largest_error(wide, multiple, admitted):
    """Of 2,000 normal errors the largest is about 3.5 standard deviations."""
    network, inputs, rms = wide
    errors = np.zeros((500, 1))
    errors[17] = multiple * rms
    assert coarse_tolerance(network, inputs).admits(errors) is admitted


@pytest.mark.parametrize(("share", "explained"), [(0.005, True), (0.02, False)])
def test_coarse_weights_explain_a_hundredth_of_the_variance(dropped, share, explained):
    """With levels as coarse as these, more would be possible."""
    case = dropped(rows=400, blocks=4, width=12, hidden=20)
    coarse = rounded(case.network, lambda values: np.round(values / 0.5) * np.float32(0.5))
    own = coarse.predict(case.records.inputs)
    off = np.sqrt(share * own.var()) * np.sign(case.records.inputs[:, :1])
    known = Records(case.records.inputs, own + off)
    assert coarse_tolerance(coarse, known.inputs).admits(off)
    expected = Outcome.APPROXIMATE if explained else Outcome.MISFIT
    assert judge_network(coarse, known, ("float32",), Clock()).outcome is expected
