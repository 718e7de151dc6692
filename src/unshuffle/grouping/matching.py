"""Matching: from scores of pairs to pairs, one to one."""

from collections.abc import Callable

import lap
import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import find_name
from unshuffle.grouping.signals import Scores

Pairs = NDArray[np.intp]
"""Shape (pairs, 2): an inp layer and an out layer, sorted by the inp layer."""


def optimal_matching(scores: Scores) -> Pairs:
    """Match one to one so that the total score is largest.

    Parameters
    ----------
    scores
        Shape (I, J), finite. With I ≠ J the larger side keeps its worst-fitting layers unmatched.

    Notes
    -----
    The linear assignment problem of Kuhn (1955) is solved by the algorithm of Jonker & Volgenant
    (1987), from the library `lap`.
    """
    _, partner, _ = lap.lapjv(np.ascontiguousarray(-scores, dtype=np.float64), extend_cost=True)
    inp = np.flatnonzero(partner >= 0)
    return np.column_stack([inp, partner[inp]]).astype(np.intp)


def normalised(logs: Scores, normalisations: int) -> list[Scores]:
    """Make a square matrix doubly stochastic, step by step (Sinkhorn 1967).

    Parameters
    ----------
    logs
        Logarithms of the weights, shape (n, n), finite.
    normalisations
        Normalisations of the rows, each followed by one of the columns; at least one.

    Returns
    -------
    list[Scores]
        The logarithms after each normalisation, of which the last are the result.
    """
    trail = []
    for step in range(2 * normalisations):
        axis = 1 - step % 2
        highest = logs.max(axis=axis, keepdims=True)
        logs = logs - (highest + np.log(np.exp(logs - highest).sum(axis=axis, keepdims=True)))
        trail.append(logs)
    return trail


def greedy_matching(scores: Scores) -> Pairs:
    """Match the best pair, then the best of what is left. Ties go by index."""
    matched: list[tuple[int, int]] = []
    inp_free, out_free = np.ones(scores.shape[0], bool), np.ones(scores.shape[1], bool)
    for flat in np.argsort(-scores, axis=None, kind="stable"):
        i, j = divmod(int(flat), scores.shape[1])
        if inp_free[i] and out_free[j]:
            matched.append((i, j))
            inp_free[i] = out_free[j] = False
            if len(matched) == min(scores.shape):
                break
    return np.array(sorted(matched), dtype=np.intp).reshape(-1, 2)


def optimal_couples(scores: Scores) -> Pairs:
    """Match the members of one set among themselves so that the total score is largest.

    Parameters
    ----------
    scores
        Shape (n, n), symmetric. With odd n the worst-fitting member stays alone.

    Returns
    -------
    Pairs
        Shape (n // 2, 2), the smaller index first in each.

    Notes
    -----
    A linear assignment with a forbidden diagonal comes first. If it pairs mutually, no matching
    scores higher. Else Edmonds' algorithm (1965) of the library `networkx` decides.
    """
    n = len(scores)
    forbidden = 1.0 + n * float(np.ptp(scores))
    if n % 2 == 0:
        assigned = optimal_matching(scores - np.diag(np.full(n, forbidden)))[:, 1]
        if np.array_equal(assigned[assigned], np.arange(n)):
            first = np.flatnonzero(assigned > np.arange(n))
            return np.column_stack([first, assigned[first]])
    import networkx

    graph = networkx.Graph()
    graph.add_weighted_edges_from(
        (i, j, float(scores[i, j])) for i in range(n) for j in range(i + 1, n)
    )
    couples = networkx.max_weight_matching(graph, maxcardinality=True)
    return np.array(sorted(sorted(couple) for couple in couples), dtype=np.intp).reshape(-1, 2)


def greedy_couples(scores: Scores) -> Pairs:
    """Couple the two that fit best, then the best of what is left. Ties go by index."""
    couples: list[tuple[int, int]] = []
    free = np.ones(len(scores), bool)
    for flat in np.argsort(-scores, axis=None, kind="stable"):
        i, j = divmod(int(flat), len(scores))
        if i < j and free[i] and free[j]:
            couples.append((i, j))
            free[i] = free[j] = False
    return np.array(sorted(couples), dtype=np.intp).reshape(-1, 2)


def directed_couples(
    match_members: Callable[[Scores], Pairs], direction: Scores, scores: Scores
) -> Pairs:
    """Couple the members of one set, then turn each couple the way that `direction` favours."""
    pairs = match_members(np.maximum(scores, scores.T))
    turned = direction[pairs[:, 1], pairs[:, 0]] > direction[pairs[:, 0], pairs[:, 1]]
    pairs[turned] = pairs[turned, ::-1]
    return pairs


MATCHINGS: dict[str, tuple[Callable[[Scores], Pairs], Callable[[Scores], Pairs]]] = {
    "optimal": (optimal_matching, optimal_couples),
    "greedy": (greedy_matching, greedy_couples),
}
"""By name: how to match two sets with each other, and one set with itself."""


def find_matching(name: str) -> tuple[Callable[[Scores], Pairs], Callable[[Scores], Pairs]]:
    """Look a matching up by its name, in any case.

    Raises
    ------
    UsageError
        If there is no matching of that name.
    """
    return MATCHINGS[find_name("matching", name, MATCHINGS)]
