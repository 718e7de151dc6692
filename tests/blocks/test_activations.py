import numpy as np
import pytest

from unshuffle.blocks.activations import ACTIVATIONS, find_activation
from unshuffle.errors import UsageError


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_agree_with_torch(name, dtype, rng):
    torch = pytest.importorskip("torch")
    z = np.concatenate([3 * rng.normal(size=1000), [-200.0, -30.0, 0.0, 30.0, 200.0]]).astype(dtype)
    expected = getattr(torch.nn.functional, name)(torch.tensor(z)).numpy()
    actual = ACTIVATIONS[name].apply(z.copy())
    assert actual.dtype == dtype
    unit = np.finfo(dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=8 * unit, atol=8 * unit)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_agree_with_finite_differences(name, rng):
    z = 2 * rng.normal(size=1000)
    z = z[np.abs(z) > 1e-3]  # away from the kink of relu
    activation, step = ACTIVATIONS[name], 1e-6
    expected = (activation.apply(z + step) - activation.apply(z - step)) / (2 * step)
    before = z.copy()
    np.testing.assert_allclose(activation.derivative(z), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(z, before)


def test_relu_is_tried_first_and_unknown_names_are_refused():
    assert next(iter(ACTIVATIONS)) == "relu"
    with pytest.raises(UsageError, match="no activation 'selu'; there are: relu, gelu, silu, tanh"):
        find_activation("selu")
