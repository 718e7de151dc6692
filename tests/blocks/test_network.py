from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.network import ROWS_AT_ONCE
from unshuffle.errors import UsageError


def test_predict_agrees_with_the_definition(dropped):
    case = dropped(rows=20, outputs=3)
    network = case.network.astype(np.float64)
    blocks = network.blocks
    for row, prediction in zip(case.records.inputs, case.records.predictions, strict=True):
        x = row.astype(np.float64)
        for k in range(len(blocks)):
            hidden = np.maximum(blocks.inp_weight[k] @ x + blocks.inp_bias[k], 0)
            x = x + blocks.out_weight[k] @ hidden + blocks.out_bias[k]
        expected = network.last.weight @ x + network.last.bias
        np.testing.assert_allclose(prediction, expected, rtol=1e-4, atol=1e-5)


def test_predict_does_not_depend_on_how_rows_are_grouped(dropped, rng):
    network = dropped().network.astype(np.float64)
    inputs = rng.normal(size=(2 * ROWS_AT_ONCE + 3, 6))
    one_by_one = np.concatenate([network.predict(inputs[i : i + 1]) for i in (0, 2047, 2048)])
    together = network.predict(inputs)[[0, 2047, 2048]]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-12)


def test_predict_leaves_its_input_alone(dropped):
    case = dropped()
    before = case.records.inputs.copy()
    case.network.predict(case.records.inputs)
    np.testing.assert_array_equal(case.records.inputs, before)


def test_adjoints_agree_with_finite_differences(dropped, rng):
    network = dropped(outputs=2).network.astype(np.float64)
    states = network.states(rng.normal(size=(20, 6)))
    direction, step = rng.normal(size=(20, 6)), 1e-6
    found = network.adjoints(states)
    assert found.shape == (6, 2, 20, 6)
    for t, pulled in enumerate(found):
        rest = replace(network, blocks=network.blocks[t:])
        ahead, behind = (rest.predict(states[t] + side * direction) for side in (step, -step))
        expected = (ahead - behind) / (2 * step)
        actual = np.einsum("ond,nd->no", pulled, direction)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


def test_tensors_are_named_like_the_module(dropped):
    names = list(dropped(blocks=2).network.tensors())
    assert names == [
        *(f"blocks.{k}.{layer}.{part}" for k in (0, 1) for layer in ("inp", "out")
          for part in ("weight", "bias")),
        "last.weight",
        "last.bias",
    ]  # fmt: skip


def test_torch_module_predicts_the_same(dropped):
    torch = pytest.importorskip("torch")
    from unshuffle.blocks.torch_module import to_torch

    case = dropped(outputs=2)
    module = to_torch(case.network)
    with torch.no_grad():
        predictions = module(torch.from_numpy(case.records.inputs)).numpy()
    np.testing.assert_allclose(predictions, case.records.predictions, rtol=1e-4, atol=1e-5)
    assert set(module.state_dict()) == set(case.network.tensors())


def test_layers_are_those_that_a_network_is_made_of(dropped):
    network = dropped(blocks=3, activation="tanh").network
    layers = network.layers()
    assert len(layers) == 7
    again = MlpNetwork.from_layers(layers, network.blocks.activation)
    assert repr(again) == "Network(3 × [6 → 10 tanh → 6], last 6 → 1, float32)"
    for name, values in network.tensors().items():
        np.testing.assert_array_equal(again.tensors()[name], values)


def test_a_network_without_rows_predicts_none(dropped):
    network = dropped(outputs=2).network
    assert network.predict(np.zeros((0, 6))).shape == (0, 2)
    assert network.states(np.zeros((0, 6), np.float32)).shape == (6, 0, 6)


def test_what_overflows_is_predicted_without_a_warning(dropped):
    network = dropped(dtype=np.float64).network
    loud = replace(
        network, blocks=replace(network.blocks, out_weight=1e300 + network.blocks.out_weight)
    )
    assert not np.isfinite(loud.predict(np.ones((3, 6)))).any()


def test_rows_of_another_width_are_refused(dropped):
    network = dropped().network
    with pytest.raises(UsageError, match=r"rows of 6 inputs, but got an array of shape \(3, 5\)"):
        network.predict(np.zeros((3, 5)))


def test_a_last_layer_leaves_and_pulls(rng):
    ends = Linear(rng.normal(size=(2, 6)), rng.normal(size=2))
    inputs = rng.normal(size=(9, 6))
    np.testing.assert_array_equal(ends.enter(inputs), inputs)
    np.testing.assert_allclose(ends.leave(inputs), inputs @ ends.weight.T + ends.bias)
    pulled = ends.pull(inputs)
    assert pulled.shape == (2, 9, 6)
    direction, step = rng.normal(size=(9, 6)), 1e-6
    change = ends.leave(inputs + step * direction) - ends.leave(inputs)
    np.testing.assert_allclose(np.sum(pulled * direction, axis=2).T, change / step, rtol=1e-6)
    short = ends.astype(np.float32)
    assert (short.dtype, short.enter(inputs).dtype) == (np.float32, np.float32)
    assert {*ends.tensors()} == {"last.weight", "last.bias"}
