"""Pieces that lie in a pile more than once: to the last bit, or nearly."""

import numpy as np
from numpy.typing import NDArray

from unshuffle.pieces.pile import Piece, Pile

ALIKE = 0.05
"""Two pieces are versions of one layer if they differ by at most this part of their norm. Layers of
different networks, or of different places in one, differ by more than their whole norm."""

SCREENED = 0.01
"""Squared difference of two weights, over the larger squared norm, up to which they are compared in
earnest: biases count too, and the first look rounds."""


def identical_copies(pile: Pile) -> dict[int, int]:
    """Positions of pieces that equal an earlier piece to the last bit, with that one's position."""
    first: dict[tuple[tuple[int, int], bytes, bytes], int] = {}
    copies = {}
    for position, piece in enumerate(pile):
        key = piece.shape, piece.weight.tobytes(), piece.bias.tobytes()
        if key in first:
            copies[position] = first[key]
        first.setdefault(key, position)
    return copies


def near_copies(pile: Pile) -> list[tuple[int, int, float]]:
    """Positions of each two pieces that are nearly the same, and by how much they differ.

    Returns
    -------
    list
        Two positions, the smaller first, and the norm of the difference over that of the larger.
    """
    shapes: dict[tuple[int, int], list[int]] = {}
    for position, piece in enumerate(pile):
        shapes.setdefault(piece.shape, []).append(position)
    found = []
    for members in shapes.values():
        for a, b in _alike(np.stack([pile[i].weight.astype(pile.dtype).ravel() for i in members])):
            first, second = members[a], members[b]
            one, other = _numbers(pile[first]), _numbers(pile[second])
            larger = max(float(np.linalg.norm(one)), float(np.linalg.norm(other)))
            difference = float(np.linalg.norm(one - other))
            if difference <= ALIKE * larger:
                found.append((first, second, difference / larger if larger else 0.0))
    return found


def _alike(weights: NDArray[np.floating]) -> list[list[int]]:
    """Each two rows, the earlier one first, that may differ by so little."""
    gram = weights @ weights.T
    squares = gram.diagonal()
    larger = np.maximum(squares[:, None], squares)
    near = squares[:, None] + squares - 2 * gram <= SCREENED * larger
    return np.argwhere(np.triu(near, 1)).tolist()


def _numbers(piece: Piece) -> NDArray[np.float64]:
    return np.concatenate([piece.weight.ravel(), piece.bias], dtype=np.float64)
