"""Systems of equations with a positive definite matrix, by its Cholesky factor.

NumPy has the factor. But no solver that knows a triangle. A blocked one of LAPACK's kind needs n²
steps, most of them in products of matrices.
"""

import numpy as np

from unshuffle.pieces.pile import Floats

BLOCK = 64  # equations that are solved together: the triangles of which take n × BLOCK² steps


def solve_positive(matrix: Floats, values: Floats) -> Floats:
    """Solve for values of shape (n,) or (n, k). A `LinAlgError` where it is not positive."""
    factor = np.linalg.cholesky(matrix)
    if not np.isfinite(factor.diagonal()).all():  # NaN is no less than 0, but no more either
        raise np.linalg.LinAlgError
    half = solve_lower(factor, values)
    return solve_lower(factor.T[::-1, ::-1], half[::-1])[::-1]


def solve_lower(factor: Floats, values: Floats) -> Floats:
    """Solve a lower triangular system for values of shape (n,) or (n, k)."""
    solved = np.array(values, np.result_type(factor, values))
    for start in range(0, len(solved), BLOCK):
        part = slice(start, start + BLOCK)
        solved[part] -= factor[part, :start] @ solved[:start]
        solved[part] = np.linalg.solve(factor[part, part], solved[part])
    return solved
