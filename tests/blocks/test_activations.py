import numpy as np
import pytest

from unshuffle.blocks.activations import ACTIVATIONS, FURTHER, find_activation, is_activation
from unshuffle.errors import UsageError

KNOWN = (*ACTIVATIONS, *FURTHER, "leaky_relu_0.2")


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_agree_with_torch(name, dtype, rng):
    torch = pytest.importorskip("torch")
    from unshuffle.blocks.torch_module import Block

    z = np.concatenate([3 * rng.normal(size=1000), [-200.0, -30.0, 0.0, 30.0, 200.0]]).astype(dtype)
    expected = Block(1, 1, name).activation(torch.tensor(z)).numpy()
    actual = find_activation(name).apply(z.copy())
    assert actual.dtype == dtype
    unit = np.finfo(dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=8 * unit, atol=8 * unit)


@pytest.mark.parametrize("name", KNOWN)
def test_derivatives_agree_with_finite_differences(name, rng):
    z = 2 * rng.normal(size=1000)
    kinks = np.array([-3, 0, 3, 6])
    z = z[(np.abs(z[:, None] - kinks) > 1e-3).all(axis=1)]
    activation, step = find_activation(name), 1e-6
    expected = (activation.apply(z + step) - activation.apply(z - step)) / (2 * step)
    before = z.copy()
    assert is_activation(name)
    np.testing.assert_allclose(activation.derivative(z), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(z, before)


def test_relu_is_tried_first_and_unknown_names_are_refused():
    assert next(iter(ACTIVATIONS)) == "relu"
    for name in ("swish", "leaky_relu_", "leaky_relu_x"):
        assert not is_activation(name)
        with pytest.raises(
            UsageError, match=f"no activation '{name}'.*; there are: relu, gelu, silu"
        ):
            find_activation(name)
