import numpy as np
import pytest

from unshuffle.anatomy import read_anatomy
from unshuffle.errors import UsageError
from unshuffle.pairing.layers import Layers, stack_layers
from unshuffle.pairing.signals import (
    SIGNALS,
    find_signal,
    log_norm_correlation,
    product_norms,
    ratio,
    trace,
    traces,
)


@pytest.fixture
def layers(dropped):
    pile = dropped().pile
    return stack_layers(pile, read_anatomy(pile))


def each_pair(layers, score):
    return np.array([[score(a, b) for b in layers.out_weight] for a in layers.inp_weight])


def test_traces_and_norms_agree_with_the_products(layers):
    expected = each_pair(layers, lambda inp, out: np.trace(out @ inp))
    np.testing.assert_allclose(traces(layers), expected, rtol=1e-4, atol=1e-5)
    expected = each_pair(layers, lambda inp, out: np.linalg.norm(out @ inp))
    np.testing.assert_allclose(product_norms(layers), expected, rtol=1e-4)


def test_ratio_agrees_with_its_definition_and_ignores_scale(layers):
    expected = each_pair(
        layers, lambda inp, out: abs(np.trace(out @ inp)) / np.linalg.norm(out @ inp)
    )
    np.testing.assert_allclose(ratio(layers), expected, rtol=1e-4, atol=1e-5)
    scaled = Layers(
        layers.inp_weight * 100, layers.inp_bias, layers.out_weight / 7, layers.out_bias
    )
    np.testing.assert_allclose(ratio(scaled), ratio(layers), rtol=1e-4, atol=1e-6)


def test_log_norm_correlation_agrees_with_its_definition(layers):
    def correlation(inp, out):
        logs = np.log(np.linalg.norm(inp, axis=1)), np.log(np.linalg.norm(out, axis=0))
        return np.corrcoef(*logs)[0, 1]

    expected = each_pair(layers, correlation)
    np.testing.assert_allclose(log_norm_correlation(layers), expected, rtol=1e-4, atol=1e-5)


def test_trace_turns_the_outliers_positive_whichever_sign_they_have(layers):
    turned = Layers(layers.inp_weight, layers.inp_bias, -layers.out_weight, layers.out_bias)
    np.testing.assert_allclose(trace(turned), trace(layers), rtol=1e-6)
    assert trace(layers).max() > -trace(layers).min()


def test_signals_do_not_depend_on_the_sequence_of_the_layers(layers, rng):
    mix = rng.permutation(len(layers.inp_weight))
    mixed = Layers(layers.inp_weight[mix], layers.inp_bias[mix], layers.out_weight, layers.out_bias)
    for signal in SIGNALS.values():
        np.testing.assert_allclose(signal.score(mixed), signal.score(layers)[mix], rtol=1e-5)


def test_layers_of_zeros_score_zero_without_a_warning(layers):
    nothing = Layers(*(np.zeros_like(values) for values in vars(layers).values()))
    for signal in SIGNALS.values():
        assert not signal.score(nothing).any()


def test_signals_are_registered_under_their_names():
    assert list(SIGNALS) == ["trace", "ratio", "log-norm"]
    for name, signal in SIGNALS.items():
        assert find_signal(name) is signal
        assert signal.sees
        assert signal.source
    with pytest.raises(UsageError, match="no signal 'track'; there are: trace, ratio, log-norm"):
        find_signal("track")
