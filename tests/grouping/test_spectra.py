"""Numbers to look at, against what theory says about them."""

import numpy as np
import pytest

from unshuffle.blocks.mlp import MlpStack
from unshuffle.errors import UsageError
from unshuffle.grouping.spectra import all_traces, eigenvalues, product, stream_norms


@pytest.fixture
def network(dropped):
    return dropped(blocks=4, width=6, hidden=10).network


def test_a_product_is_that_of_its_two_layers(network):
    blocks = network.blocks
    expected = blocks.out_weight[3] @ blocks.inp_weight[1]
    np.testing.assert_array_equal(product(blocks, 1, 3), expected)


def test_traces_are_those_of_the_products(network):
    found = all_traces(network.blocks)
    expected = [[np.trace(product(network.blocks, i, j)) for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_eigenvalues_sum_to_the_trace_and_multiply_to_the_determinant(network):
    values = eigenvalues(network.blocks)
    assert values.shape == (4, 6)
    np.testing.assert_allclose(values.sum(axis=1), np.diag(all_traces(network.blocks)), rtol=1e-4)
    products = [product(network.blocks, k, k).astype(float) for k in range(4)]
    np.testing.assert_allclose(values.prod(axis=1), np.linalg.det(products), rtol=1e-3)


def test_eigenvalues_of_a_product_are_those_of_the_reversed_one_and_zeros(rng):
    """A product of two matrices has the nonzero eigenvalues of the product the other way."""
    inp, out = rng.normal(size=(1, 2, 5)), rng.normal(size=(1, 5, 2))
    (values,) = eigenvalues(MlpStack(inp, np.zeros((1, 2)), out, np.zeros((1, 5))))
    values = values[np.argsort(-np.abs(values))]
    np.testing.assert_allclose(values[2:], 0, atol=1e-7)
    expected = np.linalg.eigvals(inp[0] @ out[0])
    np.testing.assert_allclose(np.sort_complex(values[:2]), np.sort_complex(expected), atol=1e-9)


def test_a_block_of_eigenvalue_minus_one_half_halves_an_open_state():
    """x + W_out W_in x with W_out W_in = −½ I, where all hidden units are open."""
    eye = np.eye(3)[None]
    blocks = MlpStack(eye, np.full((1, 3), 9.0), -eye / 2, np.full((1, 3), 4.5))
    np.testing.assert_allclose(eigenvalues(blocks), [[-0.5] * 3])
    x = np.array([[1.0, -2.0, 0.5]])
    np.testing.assert_allclose(blocks.apply(0, x), x / 2)


def test_norms_obey_the_triangle_inequality_and_begin_with_the_inputs(network, rng):
    inputs = rng.normal(size=(20, 6)).astype(np.float32)
    states, steps = stream_norms(network, inputs)
    assert states.shape == (5, 20)
    assert steps.shape == (4, 20)
    np.testing.assert_allclose(states[0], np.linalg.norm(inputs, axis=1), rtol=1e-6)
    assert (np.abs(np.diff(states, axis=0)) <= steps + 1e-5).all()
    *_, final = network.states(inputs)
    np.testing.assert_allclose(states[-1], np.linalg.norm(final, axis=1), rtol=1e-6)


def test_a_record_of_another_width_is_refused(network):
    with pytest.raises(UsageError, match=r"rows of 6 inputs, but got an array of shape \(2, 7\)"):
        stream_norms(network, np.zeros((2, 7), np.float32))
