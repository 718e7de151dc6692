"""The standard normal distribution: its distribution function, of which GELU is made, and spread.

The distribution function is half an error function. Rational approximations of that: W. J. Cody,
"Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969)
631-637.
"""

from collections.abc import Sequence

import numpy as np

from unshuffle.pieces.pile import Floats

# Of erf(x) / x in the square of x, up to SMALL, and of erfc(x) exp(x²) in x, beyond.
SMALL = 0.46875
_ERF = (
    (0.185777706184603153, 3.16112374387056560, 113.864154151050156, 377.485237685302021,
     3209.37758913846947),
    (1.0, 23.6012909523441209, 244.024637934444173, 1282.61652607737228, 2844.23683343917062),
)  # fmt: skip
_ERFC = (
    (2.15311535474403846e-8, 0.564188496988670089, 8.88314979438837594, 66.1191906371416295,
     298.635138197400131, 881.952221241769090, 1712.04761263407058, 2051.07837782607147,
     1230.33935479799725),
    (1.0, 15.7449261107098347, 117.693950891312499, 537.181101862009858, 1621.38957456669019,
     3290.79923573345963, 4362.61909014324716, 3439.36767414372164, 1230.33935480374942),
)  # fmt: skip
FAR = 40.0  # beyond which nothing is left, in either dtype

# Standard deviation of a Gaussian, in median absolute deviations.
SPREAD = 1.4826


def normal_cdf(z: Floats) -> Floats:
    """Of the shape and dtype of its argument, off by two units of rounding at 1 at most."""
    x = np.minimum(np.abs(z), FAR)
    x *= np.sqrt(0.5).item()
    square = np.square(x)
    tail = _ratio(x, *_ERFC)
    tail *= np.exp(-square)
    if z.dtype == np.float64:  # the other one is off by 5e-12 here, which float32 does not see
        near = x <= SMALL
        tail[near] = 1 - x[near] * _ratio(square[near], *_ERF)
    tail *= 0.5
    return np.where(z > 0, 1 - tail, tail)


def robust_spread(values: Floats) -> float:
    """The standard deviation of numbers most of which are Gaussian, by medians; not of none."""
    return SPREAD * float(np.median(np.abs(values - np.median(values))))


def _ratio(x: Floats, over: Sequence[float], under: Sequence[float]) -> Floats:
    """A ratio of two polynomials, given from the highest power on."""
    above, below = np.full_like(x, over[0]), np.full_like(x, under[0])
    for one, other in zip(over[1:], under[1:], strict=True):
        above *= x
        above += one
        below *= x
        below += other
    above /= below
    return above
