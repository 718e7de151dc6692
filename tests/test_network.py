import numpy as np
import pytest

from unshuffle.network import ROWS_AT_ONCE


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
    from unshuffle.torch_module import to_torch

    case = dropped(outputs=2)
    module = to_torch(case.network)
    with torch.no_grad():
        predictions = module(torch.from_numpy(case.records.inputs)).numpy()
    np.testing.assert_allclose(predictions, case.records.predictions, rtol=1e-4, atol=1e-5)
    assert set(module.state_dict()) == set(case.network.tensors())
