from collections.abc import Callable

import numpy as np
import pytest

from unshuffle.blocks.mlp import MlpBank
from unshuffle.grouping.resemblance import resemblance, template


def loose_layers(network, inps, outs) -> MlpBank:
    blocks = network.blocks
    return MlpBank(
        blocks.inp_weight[inps],
        blocks.inp_bias[inps],
        blocks.out_weight[outs],
        blocks.out_bias[outs],
    )


def by_definition(layers, pairs, combine: Callable):
    """Score every pair by its centred product and those of the matched pairs that it may see."""
    inps = layers.inp_weight - layers.inp_weight.mean(axis=0)
    outs = layers.out_weight - layers.out_weight.mean(axis=0)

    def unit(i, j):
        product = outs[j] @ inps[i]
        return product / np.linalg.norm(product)

    return np.array(
        [
            [
                combine(unit(i, j), [unit(a, b) for a, b in pairs if a != i and b != j])
                for j in range(len(outs))
            ]
            for i in range(len(inps))
        ]
    )


def as_template(product, others):
    return np.sum(product * sum(others, np.zeros_like(product)))


def as_resemblance(product, others):
    cosines = np.array([np.sum(product * other) for other in others])
    return np.sum(cosines * np.abs(cosines))


cases = pytest.mark.parametrize(
    ("inps", "outs", "pairs"),
    [
        (range(5), range(5), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]),
        (range(5), range(5), [(0, 1), (1, 0), (2, 2), (3, 4), (4, 3)]),
        (range(5), range(4), [(0, 0), (1, 1), (3, 2), (4, 3)]),
        (range(3), range(5), [(0, 4), (1, 0), (2, 2)]),
    ],
)


@cases
def test_scores_agree_with_explicit_products(dropped, inps, outs, pairs):
    layers = loose_layers(dropped(dtype=np.float64).network, [*inps], [*outs])
    for score, definition in ((template, as_template), (resemblance, as_resemblance)):
        expected = by_definition(layers, pairs, definition)
        actual = score(layers, np.array(pairs))
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("score", [template, resemblance])
def test_a_matching_that_is_right_in_part_tells_the_rest(dropped, score):
    network = dropped(blocks=10, width=16, hidden=24).network
    layers = loose_layers(network, [*range(10)], [*range(10)])
    pairs = np.array([(k, k) for k in range(6)] + [(6, 7), (7, 8), (8, 9), (9, 6)])
    scores = score(layers, pairs)
    np.testing.assert_array_equal(scores.argmax(axis=1), range(10))


@pytest.mark.parametrize("score", [template, resemblance])
def test_a_wrong_pair_does_not_confirm_itself(dropped, rng, score):
    network = dropped(blocks=10, width=16, hidden=24).network
    layers = loose_layers(network, [*range(10)], [*range(10)])
    wrong = np.array([(k, (k + 3) % 10) for k in range(10)])
    scores = score(layers, wrong)
    matched = scores[tuple(wrong.T)]
    assert abs(matched.mean() - scores.mean()) < scores.std() / 2


@pytest.mark.parametrize("score", [template, resemblance])
def test_layers_of_zeros_say_nothing_and_give_no_warning(dropped, score):
    network = dropped(blocks=3).network
    layers = loose_layers(network.astype(np.float64), [0, 1, 2], [0, 1, 2])
    layers.out_weight[:] = 0
    assert not score(layers, np.array([(0, 0), (1, 1), (2, 2)])).any()


@pytest.mark.parametrize("score", [resemblance, template])
def test_identical_layers_resemble_nothing(dropped, score):
    """What rounding leaves of their differences is no evidence."""
    layers = loose_layers(dropped().network, [1, 1, 1, 1, 1], range(5))
    scores = score(layers, np.column_stack([np.arange(5)] * 2))
    np.testing.assert_array_equal(scores, np.zeros((5, 5)))
