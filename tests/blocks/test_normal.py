"""The normal distribution against the error function of the C library, and drawn numbers."""

from math import erfc, sqrt

import numpy as np
import pytest

from unshuffle.blocks.normal import FAR, SMALL, normal_cdf, robust_spread


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_off_by_two_units_at_most(dtype):
    places = np.concatenate(
        [np.linspace(-12, 12, 20_001), np.array([-1, 1]) * sqrt(2) * SMALL, [-FAR, FAR, 0]]
    ).astype(dtype)
    found = normal_cdf(places)
    exact = np.array([erfc(-z / sqrt(2)) / 2 for z in places.tolist()])
    assert found.dtype == dtype
    assert np.abs(found - exact).max() <= 2 * np.finfo(dtype).eps
    # Far below, where GELU itself is small, what counts is the part of it.
    below = (places < -1) & (places > -5)
    parts = found[below] / exact[below] - 1
    assert np.abs(parts).max() <= 32 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_its_ends(dtype):
    ends = np.array([-np.inf, -1e30, 0, 1e30, np.inf, np.nan], dtype)
    with np.errstate(all="raise", under="ignore"):
        found = normal_cdf(ends)
    np.testing.assert_array_equal(found, [0, 0, 0.5, 1, 1, np.nan])
    assert normal_cdf(np.zeros((0, 3), dtype)).shape == (0, 3)


def test_the_robust_spread_is_the_standard_deviation_of_most(rng):
    values = 3 + 2 * rng.standard_normal(100_001)
    assert robust_spread(values) == pytest.approx(2, rel=0.02)
    values[:10_000] = 1e9
    assert robust_spread(values) == pytest.approx(2, rel=0.2)
    assert robust_spread(np.ones(3)) == 0
