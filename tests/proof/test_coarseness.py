"""Rounded and pruned weights are recognised, and explain as much of an error as they make."""

import numpy as np
import pytest

from unshuffle import Outcome, Piece, Pile, Records, verify
from unshuffle.blocks.assembly import build_network
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.oracle.dropping import prune, round_weights
from unshuffle.proof.coarseness import coarse_tolerance, coarseness, kept_coarsely


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
