"""The scores that a pair is held against."""

from collections.abc import Sequence

import numpy as np

from unshuffle.grouping.signals import Scores


def rival_scores(scores: Scores, pairs: Sequence[tuple[int, int]], *, square: bool) -> Scores:
    """Scores of all pairs that have one layer in common with each of some pairs.

    Parameters
    ----------
    scores
        Shape (I, J): of all pairs.
    pairs
        K pairs, each as a row and a column of the scores.
    square
        Whether rows and columns stand for the same pieces.

    Returns
    -------
    Scores
        Shape (K, I + J): the pair's row, then its column. NaN where a score is no rival's, such as
        that of the pair itself, or of a piece with itself.
    """
    others = scores.copy()
    if square:
        np.fill_diagonal(others, np.nan)
    rivals = np.empty((len(pairs), sum(scores.shape)))
    for rival, (i, j) in zip(rivals, pairs, strict=True):
        rival[:] = np.concatenate([others[i, :], others[:, j]])
        rival[[j, scores.shape[1] + i]] = np.nan
    return rivals
