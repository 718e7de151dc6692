"""Pieces that lie in a pile more than once: to the last bit, or nearly."""

import numpy as np

from unshuffle.pile import Piece, Pile

ALIKE = 0.05
"""Two pieces are versions of one layer if they differ by at most this part of their norm. Layers of
different networks, or of different places in one, differ by more than their whole norm."""


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
    found = []
    shapes: dict[tuple[int, int], list[int]] = {}
    for position, piece in enumerate(pile):
        shapes.setdefault(piece.shape, []).append(position)
    for members in shapes.values():
        numbers = np.stack([_numbers(pile[i]) for i in members])
        norms = np.linalg.norm(numbers, axis=1)
        gram = numbers @ numbers.T
        for a, i in enumerate(members):
            for b in range(a + 1, len(members)):
                square = max(float(norms[a] ** 2 + norms[b] ** 2 - 2 * gram[a, b]), 0.0)
                larger = max(float(norms[a]), float(norms[b]))
                if square <= (ALIKE * larger) ** 2:
                    difference = float(np.linalg.norm(numbers[a] - numbers[b]))
                    found.append((i, members[b], difference / larger if larger else 0.0))
    return found


def _numbers(piece: Piece) -> np.typing.NDArray[np.float64]:
    return np.concatenate([piece.weight.ravel(), piece.bias], dtype=np.float64)
