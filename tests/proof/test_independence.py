from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork, Records
from unshuffle.proof.independence import alike_blocks, independent_rows


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
