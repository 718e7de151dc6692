from dataclasses import replace

import numpy as np
import pytest

from unshuffle.blocks.assembly import last_layer, mlp_bank
from unshuffle.blocks.mlp import MlpBank
from unshuffle.errors import UsageError
from unshuffle.grouping.signals import (
    SIGNALS,
    Clues,
    bias,
    find_signal,
    first_order_correlation,
    first_order_regression,
    first_order_slope,
    hidden_gram,
    log_norm_correlation,
    magnitude_correlation,
    product_norms,
    ratio,
    squared_cosine,
    trace,
    traces,
)
from unshuffle.pieces.anatomy import read_anatomy


@pytest.fixture
def case(dropped):
    return dropped(outputs=2)


@pytest.fixture
def clues(case):
    layers = mlp_bank(case.pile, read_anatomy(case.pile))
    return Clues(layers, last_layer(case.pile, case.permutation[-1]), case.records)


@pytest.fixture
def layers(clues):
    return clues.layers


def each_pair(layers, score):
    return np.array([[score(a, b) for b in layers.out_weight] for a in layers.inp_weight])


def correlation(one, other):
    return np.corrcoef(np.ravel(one), np.ravel(other))[0, 1]


def test_the_joint_regression_is_ridge_regression_on_all_effects(clues):
    layers, last, records = clues.layers, clues.last, clues.records
    residual = records.predictions - last(records.inputs)
    residual = (residual - residual.mean(axis=0)).ravel().astype(np.float64)
    effects = []
    for inp, offset in zip(layers.inp_weight, layers.inp_bias, strict=True):
        hidden = np.maximum(records.inputs @ inp.T + offset, 0)
        for out in layers.out_weight:
            effect = hidden @ out.T @ last.weight.T
            effects.append((effect - effect.mean(axis=0)).ravel())
    effects = np.array(effects, np.float64)
    gram = effects @ effects.T
    gram += clues.by.ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    expected = np.linalg.solve(gram, effects @ residual).reshape(5, 5)
    np.testing.assert_allclose(first_order_regression(clues), expected, rtol=1e-2, atol=1e-4)


def test_traces_and_norms_agree_with_the_products(layers):
    expected = each_pair(layers, lambda inp, out: np.trace(out @ inp))
    np.testing.assert_allclose(traces(layers), expected, rtol=1e-4, atol=1e-5)
    expected = each_pair(layers, lambda inp, out: np.linalg.norm(out @ inp))
    np.testing.assert_allclose(product_norms(layers), expected, rtol=1e-4)


def test_ratio_agrees_with_its_definition_and_ignores_scale(layers):
    expected = each_pair(
        layers, lambda inp, out: abs(np.trace(out @ inp)) / np.linalg.norm(out @ inp)
    )
    actual = ratio(Clues(layers))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    scaled = replace(layers, inp_weight=layers.inp_weight * 100, out_weight=layers.out_weight / 7)
    np.testing.assert_allclose(ratio(Clues(scaled)), actual, rtol=1e-4, atol=1e-6)


def test_trace_turns_the_outliers_positive_whichever_sign_they_have(layers):
    turned = replace(layers, out_weight=-layers.out_weight)
    scores = trace(Clues(layers))
    np.testing.assert_allclose(trace(Clues(turned)), scores, rtol=1e-6)
    assert scores.max() > -scores.min()


def test_log_norm_correlation_agrees_with_its_definition(layers):
    def score(inp, out):
        return correlation(np.log(np.linalg.norm(inp, axis=1)), np.log(np.linalg.norm(out, axis=0)))

    actual = log_norm_correlation(Clues(layers))
    np.testing.assert_allclose(actual, each_pair(layers, score), rtol=1e-4, atol=1e-5)


def test_squared_cosine_agrees_with_its_definition(layers):
    def score(inp, out):
        reads = inp / np.linalg.norm(inp, axis=1, keepdims=True)
        writes = out.T / np.linalg.norm(out.T, axis=1, keepdims=True)
        return sum((reads[k] @ writes[k]) ** 2 for k in range(len(inp)))

    actual = squared_cosine(Clues(layers))
    np.testing.assert_allclose(actual, each_pair(layers, score), rtol=1e-4)


def test_magnitude_correlation_agrees_with_its_definition(layers):
    def centred(matrix):
        matrix = np.abs(matrix)
        rows, columns = matrix.mean(axis=1, keepdims=True), matrix.mean(axis=0)
        return matrix - rows - columns + matrix.mean()

    def score(inp, out):
        return correlation(centred(inp), centred(out.T))

    actual = magnitude_correlation(Clues(layers))
    np.testing.assert_allclose(actual, each_pair(layers, score), rtol=1e-4, atol=1e-5)


def test_hidden_gram_agrees_with_its_definition(layers):
    above = np.triu_indices(layers.inp_weight.shape[1], 1)

    def score(inp, out):
        return correlation((inp @ inp.T)[above], (out.T @ out)[above])

    actual = hidden_gram(Clues(layers))
    np.testing.assert_allclose(actual, each_pair(layers, score), rtol=1e-4, atol=1e-5)


def test_bias_agrees_with_its_definition(layers):
    expected = [
        [-correlation(b, np.linalg.norm(out, axis=0)) for out in layers.out_weight]
        for b in layers.inp_bias
    ]
    np.testing.assert_allclose(bias(Clues(layers)), expected, rtol=1e-4, atol=1e-5)


def test_first_order_signals_regress_the_residual_on_each_blocks_effect(clues):
    layers, last, records = clues.layers, clues.last, clues.records
    residual = records.predictions - last(records.inputs)
    residual = residual - residual.mean(axis=0)
    correlations, slopes = np.empty((5, 5)), np.empty((5, 5))
    for i, (inp, offset) in enumerate(zip(layers.inp_weight, layers.inp_bias, strict=True)):
        hidden = np.maximum(records.inputs @ inp.T + offset, 0)
        for j, out in enumerate(layers.out_weight):
            effect = hidden @ out.T @ last.weight.T
            effect = effect - effect.mean(axis=0)
            slopes[i, j] = np.sum(effect * residual) / np.sum(effect**2)
            correlations[i, j] = slopes[i, j] * np.linalg.norm(effect) / np.linalg.norm(residual)
    np.testing.assert_allclose(first_order_correlation(clues), correlations, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(first_order_slope(clues), slopes, rtol=1e-3, atol=1e-4)


def test_signals_do_not_depend_on_the_sequence_of_the_layers(clues, layers, rng):
    mix = rng.permutation(len(layers.inp_weight))
    mixed = replace(layers, inp_weight=layers.inp_weight[mix], inp_bias=layers.inp_bias[mix])
    for signal in SIGNALS.values():
        np.testing.assert_allclose(
            signal.score(replace(clues, layers=mixed)), signal.score(clues)[mix], rtol=1e-4
        )


def test_layers_of_zeros_score_zero_without_a_warning(clues, layers):
    tensors = layers.inp_weight, layers.inp_bias, layers.out_weight, layers.out_bias
    silent = MlpBank(*(np.zeros_like(values) for values in tensors))
    for signal in SIGNALS.values():
        assert not signal.score(replace(clues, layers=silent)).any()


def test_a_record_counts_from_two_rows_with_a_known_last_layer(clues):
    assert clues.has_record
    assert not replace(clues, last=None).has_record
    assert not replace(clues, records=None).has_record
    assert not replace(clues, records=clues.records.take(np.arange(1))).has_record


def test_signals_are_registered_under_their_names():
    assert list(SIGNALS)[:3] == ["trace", "ratio", "log-norm"]
    for name, signal in SIGNALS.items():
        assert find_signal(name) is signal
        assert signal.sees
        assert signal.source
    needing = {name for name, signal in SIGNALS.items() if signal.needs_record}
    assert needing == {"first-order", "first-order-regression", "first-order-slope"}
    with pytest.raises(UsageError, match=r"did you mean trace.*there are: trace, ratio"):
        find_signal("track")
