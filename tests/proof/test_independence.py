from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork, Records
from unshuffle.proof.independence import affine, design_effect, independent_rows


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


@pytest.mark.parametrize("copies", [1, 5])
def test_residuals_that_copies_share_count_once(dropped, rng, copies):
    """Of five copies with one residual each row says a fifth; with residuals of their own, all."""
    case = dropped(rows=60, outputs=2)
    each = np.repeat(np.arange(60), 5)
    inputs = case.records.inputs[each] * (1 + 1e-5 * rng.normal(size=(300, 1)))
    spread = 0.05 * case.records.predictions.std(axis=0)
    noise = spread * rng.normal(size=(300 // copies, 2))
    noisy = case.network.predict(inputs) + np.repeat(noise, copies, axis=0)
    assert design_effect(case.network, Records(inputs, noisy)) == pytest.approx(copies, rel=0.4)


def test_predictions_that_a_plane_through_them_reproduces_to_rounding(dropped):
    """So do those of so few rows as a plane goes through."""
    case = dropped(rows=300, width=8, outputs=2)
    faint = 1e-7 * case.records.inputs
    assert affine(case.network, Records(faint, case.network.predict(faint)))
    assert not affine(case.network, case.records)
    assert affine(case.network, case.records.first(9))


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
