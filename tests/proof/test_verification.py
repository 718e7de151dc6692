from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork, Outcome, Records, verify
from unshuffle.blocks.activations import find_activation
from unshuffle.pieces.clock import Clock
from unshuffle.proof.verification import Explanation, clearly_best, judge_network


def with_activation(network, name):
    return MlpNetwork(replace(network.blocks, activation=find_activation(name)), network.last)


def test_a_network_is_best_where_no_other_fits_as_well(dropped, rng):
    case = dropped(rows=300, outputs=2)
    other = with_activation(case.network, "gelu")
    spread = np.sqrt(case.records.variances)
    for share, clear in ((0.01, True), (100.0, False)):
        noise = share * spread * rng.normal(size=(300, 2))
        noisy = replace(case.records, predictions=case.records.predictions + noise)
        assert clearly_best(case.network, [other], noisy) is clear
        assert clearly_best(case.network, [], noisy)
    assert not clearly_best(other, [case.network], case.records)


def test_a_network_that_overflows_is_no_rival(dropped):
    case = dropped(rows=300)
    blocks = replace(case.network.blocks, out_weight=case.network.blocks.out_weight * 1e30)
    vast = MlpNetwork(blocks, case.network.last)
    assert not np.isfinite(vast.predict(case.records.inputs)).all()
    assert clearly_best(case.network, [vast], case.records)


@pytest.mark.parametrize(("score", "clear"), [(3, False), (8, True)])
def test_clearly_is_five_standard_deviations(dropped, rng, score, clear):
    """Two networks that differ by d on each row, and noise n: the squares differ by d² + 2 d n."""
    case = dropped(rows=400, dtype=np.float64)
    own = case.network.predict(case.records.inputs)
    apart = 0.01 * np.ones_like(own)
    shifted = replace(case.network.last, bias=case.network.last.bias + apart[0])
    other = MlpNetwork(case.network.blocks, shifted)
    signs = np.repeat([[1.0], [-1.0]], 200, axis=0)
    # With noise of ± s the mean of the terms is d², and their mean square d⁴ + 4 d² s².
    s = 0.01 / 2 * np.sqrt(400 / score**2 - 1)
    noisy = Records(case.records.inputs, own + s * rng.permutation(signs))
    assert clearly_best(case.network, [other], noisy) is clear


@pytest.mark.parametrize("error", [False, True])
def test_a_record_in_halves_is_approximate_and_what_is_wrong_is_not(dropped, error):
    case = dropped(rows=20)
    network, kept = case.network, case.records.predictions.astype(np.float16).astype(np.float32)
    shifted = replace(network.last, bias=network.last.bias + 0.05 * error)
    found = judge_network(
        MlpNetwork(network.blocks, shifted),
        replace(case.records, predictions=kept),
        ("float32",),
        Clock(),
    )
    assert (found.explanation is Explanation.COARSE) is not error
    assert (found.outcome is Outcome.APPROXIMATE) is not error


def test_one_prediction_of_two_decimals_proves_no_order(dropped):
    """It is near by chance: what was cut off may be more than what happens to be left."""
    case = dropped(rows=2000, blocks=4, width=8, hidden=12)
    rounded = np.round(case.records.predictions.astype(np.float64), 2)
    near = np.abs(rounded - case.records.predictions)[:, 0].argsort()[1:2]
    record = Records(case.records.inputs[near], rounded[near])
    found = verify(case.pile, record, case.permutation)
    assert (found.outcome, found.explanation) == (Outcome.AMBIGUOUS, Explanation.DECIMALS)
