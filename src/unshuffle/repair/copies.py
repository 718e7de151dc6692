"""Pieces that lie in a pile more than once: to the last bit, or nearly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.pieces.pile import Piece, Pile


@dataclass(frozen=True)
class CopyParameters:
    """Numbers that say what a copy is."""

    alike: float = 0.05
    """Part of their norm by which two versions of one layer differ at most. Layers of different
    networks, or of different places in one, differ by more than their whole norm."""
    screened: float = 0.01
    """Squared difference of two weights, over the larger squared norm, up to which they are
    compared in earnest: biases count too, and the first look rounds."""


STANDARD = CopyParameters()


def identical_copies(pile: Pile) -> dict[int, int]:
    """Positions of pieces that equal an earlier piece to the last bit, with that one's position."""
    first: dict[tuple[tuple[int, int], bytes, bytes], int] = {}
    copies = {}
    for position, piece in enumerate(pile):
        key = piece.shape, piece.weight.tobytes(), piece.bias.tobytes()
        if first.setdefault(key, position) != position:
            copies[position] = first[key]
    return copies


def near_copies(pile: Pile) -> list[tuple[int, int, float]]:
    """Positions of each two pieces that are nearly the same, the smaller first.

    With them comes the norm of their difference over that of the larger one.
    """
    shapes: dict[tuple[int, int], list[int]] = {}
    for position, piece in enumerate(pile):
        shapes.setdefault(piece.shape, []).append(position)
    by, found = STANDARD, []
    for members in shapes.values():
        weights = np.stack([pile[i].weight.astype(pile.dtype).ravel() for i in members])
        gram = weights @ weights.T
        squares = gram.diagonal()
        limit = by.screened * np.maximum(squares[:, None], squares)
        near = squares[:, None] + squares - 2 * gram <= limit
        for a, b in np.argwhere(np.triu(near, 1)).tolist():
            one, other = _numbers(pile[members[a]]), _numbers(pile[members[b]])
            larger = max(float(np.linalg.norm(one)), float(np.linalg.norm(other)))
            difference = float(np.linalg.norm(one - other))
            if difference <= by.alike * larger:
                found.append((members[a], members[b], difference / larger if larger else 0.0))
    return found


def _numbers(piece: Piece) -> NDArray[np.float64]:
    return np.concatenate([piece.weight.ravel(), piece.bias], dtype=np.float64)
