import numpy as np

from unshuffle.grouping.matching import optimal_matching
from unshuffle.pieces.clock import Clock
from unshuffle.repair.bias_assignment import bias_log_odds, unit_features


def test_biases_that_follow_from_features_are_matched_without_labels(rng):
    features = rng.normal(size=(12, 60, 4))
    biases = features @ np.array([0.0, 0.5, 0.0, -0.4]) + rng.normal(size=(12, 60))
    shuffled = rng.permutation(12)
    odds = bias_log_odds(features, biases[shuffled], Clock())
    found = optimal_matching(odds)[:, 1]
    assert (shuffled[found] == np.arange(12)).sum() >= 10
    assert not bias_log_odds(features, biases[shuffled], Clock(-1.0)).any()


def test_features_see_the_norms_and_are_standardised(dropped, rng):
    case = dropped(rows=100, blocks=3, width=8, hidden=12)
    network = case.network
    features = unit_features(network, case.records.inputs)
    assert features.shape[:2] == (3, 12)
    np.testing.assert_allclose(features.mean(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(features.std(axis=1), 1, atol=1e-6)
    norms = np.linalg.norm(network.blocks.inp_weight, axis=2)
    correlations = [np.corrcoef(norms[0], features[0, :, f])[0, 1] for f in range(2)]
    assert correlations[0] > 0.999


def test_what_says_nothing_decides_nothing():
    odds = bias_log_odds(np.zeros((3, 5, 2)), np.ones((3, 5)), Clock())
    np.testing.assert_array_equal(odds, 0)
