from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork, Records
from unshuffle.proof.independence import affine, alike_blocks, independent_rows


def test_rows_that_differ_are_all_kept(dropped):
    case = dropped(rows=1500, outputs=2)
    assert independent_rows(case.network, case.records) is case.records


@pytest.mark.parametrize("jitter", [0, 1e-12, 1e-10, 1e-8])
def test_copies_with_other_last_digits_count_once(dropped, rng, jitter):
    case = dropped(rows=20)
    inputs = np.repeat(case.records.inputs.astype(np.float64), 60, axis=0)
    inputs *= 1 + jitter * rng.normal(size=inputs.shape)
    copies = Records(inputs, np.repeat(case.records.predictions, 60, axis=0))
    kept = independent_rows(case.network, copies)
    assert len(kept) == 20
    assert {*kept.predictions[:, 0]} == {*case.records.predictions[:, 0]}


def test_inputs_that_vanish_beside_the_biases_are_one_row(dropped):
    case = dropped(rows=300)
    for scale, rows in ((1, 300), (1e-9, 1)):
        faint = replace(case.records, inputs=scale * case.records.inputs)
        assert len(independent_rows(case.network, faint)) == rows


def test_predictions_that_a_plane_through_them_reproduces_to_rounding(dropped):
    """So do those of so few rows as a plane goes through."""
    case = dropped(rows=300, width=8, outputs=2)
    faint = 1e-7 * case.records.inputs
    assert affine(case.network, Records(faint, case.network.predict(faint)))
    assert not affine(case.network, case.records)
    assert affine(case.network, case.records.first(9))


@pytest.mark.parametrize("change", ["copy", "units", "scale"])
def test_blocks_that_compute_the_same_are_found(dropped, rng, change):
    case = dropped(rows=64, blocks=9)
    blocks = case.network.blocks.copy()
    blocks.overwrite(7, 2)
    order = rng.permutation(blocks.hidden) if change == "units" else np.arange(blocks.hidden)
    scale = np.exp(rng.normal(size=blocks.hidden)) if change == "scale" else np.ones(blocks.hidden)
    blocks.inp_weight[7] = (blocks.inp_weight[2] * scale[:, None])[order]
    blocks.inp_bias[7] = (blocks.inp_bias[2] * scale)[order]
    blocks.out_weight[7] = (blocks.out_weight[2] / scale)[:, order]
    assert alike_blocks(MlpNetwork(blocks, case.network.last), case.records) == ((2, 7),)
    assert alike_blocks(case.network, case.records) == ()


@pytest.mark.parametrize(("units", "kept"), [(8, 1), (32, 2)])
def test_rows_are_the_same_within_sixteen_units_of_float32(dropped, units, kept):
    """Blocks that do nothing leave the inputs as they are."""
    case = dropped(rows=2, dtype=np.float64)
    blocks = case.network.blocks
    idle = replace(blocks, out_weight=0 * blocks.out_weight, out_bias=0 * blocks.out_bias)
    inputs = np.ones((2, blocks.width))
    inputs[1, 3] -= units * 2**-24
    records = Records(inputs, case.records.predictions)
    assert len(independent_rows(MlpNetwork(idle, case.network.last), records)) == kept


def test_blocks_that_part_at_one_depth_alone_are_not_alike(dropped, rng):
    """Two blocks of one unit each, which only states of one depth reach."""
    case = dropped(rows=8, blocks=9, width=2, hidden=1, dtype=np.float64)
    inp = np.zeros((9, 1, 2))
    out = np.zeros((9, 2, 1))
    inp[7:, 0, 0], out[7, 0, 0], out[8, 0, 0] = 1, 1, -1
    bias, step = np.zeros((9, 1)), np.zeros((9, 2))
    bias[7:] = -2.5
    step[:, 0] = 3.0, -3.0, 0, 0, 0, 0, 0, 0, 0
    step[:, 1] = np.arange(9)  # so that no other two are alike
    step[8, 1] = step[7, 1]
    blocks = replace(case.network.blocks, inp_weight=inp, inp_bias=bias, out_weight=out)
    network = MlpNetwork(replace(blocks, out_bias=step), case.network.last)
    inputs = np.zeros((8, 2))
    inputs[:, 1] = rng.uniform(size=8)
    assert alike_blocks(network, Records(inputs, inputs[:, :1])) == ()
