"""Which activation is believed: the one that fits, and an unusual one only if clearly."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork, Records
from unshuffle.blocks.activations import find_activation
from unshuffle.proof.activation import fitting_activation


def with_activation(network, name):
    return MlpNetwork(replace(network.blocks, activation=find_activation(name)), network.last)


@pytest.mark.parametrize("slope", [0.137, 0.8])
def test_the_slope_of_a_leaky_relu_is_fitted_to_three_decimals(dropped, slope):
    case = dropped(rows=200)
    lost = with_activation(case.network, f"leaky_relu_{slope + 2e-4}")
    records = Records(case.records.inputs, lost.predict(case.records.inputs))
    assert fitting_activation(case.network, records).name == f"leaky_relu_{slope}"


@pytest.mark.parametrize("name", ["gelu", "silu", "tanh"])
def test_a_usual_activation_is_believed_wherever_it_fits_best(dropped, name):
    case = dropped(rows=200)
    lost = with_activation(case.network, name)
    records = Records(case.records.inputs, lost.predict(case.records.inputs))
    assert fitting_activation(case.network, records).name == name


@pytest.mark.parametrize(("ratio", "believed"), [(0.3, True), (0.75, False)])
def test_an_unusual_activation_has_to_halve_the_error(dropped, rng, ratio, believed):
    """Noise n beside a difference d: the errors are n² and n² + d², where both are orthogonal."""
    case = dropped(rows=200, dtype=np.float64)
    inputs = case.records.inputs
    lost = with_activation(case.network, "softplus")
    usual = [with_activation(case.network, name) for name in ("relu", "gelu", "silu", "tanh")]
    right = lost.predict(inputs)
    apart = [one.predict(inputs) - right for one in usual]
    noise = rng.normal(size=right.shape)
    basis = np.linalg.qr(np.hstack(apart))[0]
    noise -= basis @ (basis.T @ noise)
    nearest = min(np.mean(np.square(each)) for each in apart)
    noise *= np.sqrt(nearest * ratio / (1 - ratio) / np.mean(np.square(noise)))
    found = fitting_activation(case.network, Records(inputs, right + noise)).name
    assert (found == "softplus") is believed
