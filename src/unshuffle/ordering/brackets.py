"""Effects of running one block before another, for all pairs of blocks at once.

Let f be what a block adds to the state, and v what it does to the adjoints. Let block x run before
block y. To first order, running y before x changes the prediction by ``v_x · f_y − v_y · f_x``.
Then x sees what y adds, and y does not see what x adds. This is the commutator, or Lie bracket, of
two small steps.
"""

import numpy as np

from unshuffle.ordering.judge import Doubles, Indices
from unshuffle.pieces.pile import Floats


def pairs(length: int) -> tuple[Indices, Indices]:
    """The two blocks of each pair, the smaller number first."""
    first, second = np.triu_indices(length, 1)
    return first.astype(np.intp), second.astype(np.intp)


def sides(places: Indices) -> Doubles:
    """For each of the `pairs`, ½ where its first block runs before its second, else −½."""
    first, second = pairs(len(places))
    before: Doubles = np.where(places[first] < places[second], 0.5, -0.5)
    return before


def bracket_effects(states: Floats, adjoints: Floats, places: Indices) -> Floats:
    """Effects of putting the first block of each of the `pairs` before its second.

    The states have shape (K + 1, rows, width), the adjoints (K + 1, outputs, rows, width). The
    place of each block has shape (K,). The effects have shape (outputs, rows, pairs).
    """
    steps = np.diff(states, axis=0).transpose(1, 2, 0)  # (rows, width, K)
    pulled = -np.diff(adjoints, axis=0).transpose(1, 2, 0, 3)  # (outputs, rows, K, width)
    products = pulled @ steps
    first, second = pairs(len(places))
    one, other = places[first], places[second]
    return products[:, :, other, one] - products[:, :, one, other]


def borda(sides: Doubles, length: int) -> Doubles:
    """Mean places of blocks, shape (length,): how many run before each, given mean `sides`."""
    earlier = np.zeros((length, length))
    first, second = pairs(length)
    earlier[first, second] = np.clip(sides, -0.5, 0.5)
    places: Doubles = (length - 1) / 2 - (earlier - earlier.T).sum(axis=1)
    return places
