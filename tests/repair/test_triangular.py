"""Solving by a Cholesky factor, against a general solver."""

import numpy as np
import pytest

from unshuffle.repair.triangular import solve_lower, solve_positive


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("columns", [(), (1,), (3,)])
def test_solutions(rng, size, columns):
    factor = np.tril(rng.normal(size=(size, size))) / size**0.5 + 2 * np.eye(size)
    values = rng.normal(size=(size, *columns))
    matrix, before = factor @ factor.T, values.copy()
    np.testing.assert_allclose(solve_lower(factor, values), np.linalg.solve(factor, values))
    np.testing.assert_allclose(solve_positive(matrix, values), np.linalg.solve(matrix, values))
    np.testing.assert_array_equal(values, before)


def test_what_is_not_positive_is_refused(rng):
    with pytest.raises(np.linalg.LinAlgError):
        solve_positive(np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2))
    with pytest.raises(np.linalg.LinAlgError):
        solve_positive(np.full((2, 2), np.nan), np.ones(2))
