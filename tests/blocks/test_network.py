from dataclasses import replace

import numpy as np
import pytest

from unshuffle.blocks.activations import ACTIVATIONS
from unshuffle.blocks.network import ROWS_AT_ONCE, Layers


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


def test_sensitivities_agree_with_finite_differences(dropped, rng):
    network = dropped(outputs=2).network.astype(np.float64)
    states = [*network.states(rng.normal(size=(20, 6)))]
    direction, step = rng.normal(size=(20, 6)), 1e-6
    found = network.sensitivities(states)
    assert len(found) == len(states)
    for t, pulled in enumerate(found):
        rest = replace(network, blocks=network.blocks[t:])
        ahead, behind = (rest.predict(states[t] + side * direction) for side in (step, -step))
        expected = (ahead - behind) / (2 * step)
        actual = np.einsum("ond,nd->no", pulled, direction)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("block", [0, 3])
def test_pullback_agrees_with_finite_differences(dropped, rng, block):
    blocks = dropped().network.astype(np.float64).blocks
    x, g, direction = (rng.normal(size=(50, 6)) for _ in range(3))
    step = 1e-6
    change = blocks.apply(block, x + step * direction) - blocks.apply(block, x - step * direction)
    expected = np.sum(g * change, axis=1) / (2 * step)
    actual = np.sum(blocks.pullback(block, x, g) * direction, axis=1)
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


@pytest.fixture(params=ACTIVATIONS)
def layers(request, dropped):
    """Three inp and five out layers."""
    blocks = dropped(blocks=5, dtype=np.float64, activation=request.param).network.blocks
    inp, out = blocks.take([0, 1, 2]), blocks
    return Layers(inp.inp_weight, inp.inp_bias, out.out_weight, out.out_bias, blocks.activation)


def test_any_two_layers_make_a_block(layers, rng):
    x = rng.normal(size=(9, 6))
    for i in range(3):
        for j in range(5):
            z = x @ layers.inp_weight[i].T + layers.inp_bias[i]
            hidden = layers.activation.apply(z)
            expected = x + hidden @ layers.out_weight[j].T + layers.out_bias[j]
            np.testing.assert_allclose(layers.apply(5 * i + j, x), expected, rtol=1e-12)


def test_blocks_are_taken_from_loose_layers_by_number(layers, rng):
    x, g = rng.normal(size=(9, 6)), rng.normal(size=(2, 9, 6))
    numbers = [14, 0, 7, 3]
    blocks = layers.take(numbers)
    for k, number in enumerate(numbers):
        np.testing.assert_array_equal(blocks.apply(k, x), layers.apply(number, x))
        np.testing.assert_array_equal(blocks.pullback(k, x, g), layers.pullback(number, x, g))


def test_blocks_run_each_on_rows_of_its_own(layers, rng):
    numbers = np.array([14, 0, 7, 0])
    x, g = rng.normal(size=(4, 9, 6)), rng.normal(size=(4, 2, 9, 6))
    blocks = layers.take(numbers)
    after, back = blocks.apply_each(x), blocks.pullback_each(x, g)
    for k, number in enumerate(numbers.tolist()):
        np.testing.assert_allclose(after[k], layers.apply(number, x[k]), rtol=1e-12)
        np.testing.assert_allclose(back[k], layers.pullback(number, x[k], g[k]), rtol=1e-10)
    np.testing.assert_array_equal(blocks[1:3].apply_each(x[1:3]), after[1:3])


def test_steps_with_each_layer_of_the_other_kind(layers, rng):
    x = rng.normal(size=(9, 6))
    g = rng.normal(size=(2, 9, 6))
    inps, outs = np.array([2, 0, 1]), np.array([4, 0, 3])
    blocks = layers.take(5 * inps + outs)
    steps, pulled = blocks.steps_with_each_out(1, x), blocks.pulled_steps_with_each_inp(1, x, g)
    for k in range(3):
        expected = layers.apply(5 * inps[1] + outs[k], x) - x
        np.testing.assert_allclose(steps[:, k], expected, rtol=1e-10)
        expected = layers.apply(5 * inps[k] + outs[1], x) - x
        np.testing.assert_allclose(pulled[:, k].T, np.sum(g * expected, axis=2), rtol=1e-10)


def test_running_blocks_leaves_the_states_alone(layers, rng):
    x, g = rng.normal(size=(3, 9, 6)), rng.normal(size=(3, 2, 9, 6))
    before = x.copy(), g.copy()
    layers.take(range(3)).apply_each(x)
    layers.take(range(3)).pullback_each(x, g)
    layers.apply(0, x[0])
    layers.pullback(0, x[0], g[0])
    layers.take(range(3)).steps_with_each_out(0, x[0])
    layers.take(range(3)).pulled_steps_with_each_inp(0, x[0], g[0])
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(g, before[1])
