"""What weights say of a solution, on disk: `evidence.npz`.

Of edge k there are `roles.k`, the numbers of its two roles, `rows.k` and `columns.k`, positions of
pieces, and `scores.k`. `similarity` says how alike blocks are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError
from unshuffle.files import shown
from unshuffle.files.npz_file import read_arrays
from unshuffle.grouping.edges import EdgeScores
from unshuffle.ordering.paths import Similarity
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import PieceId
from unshuffle.solution.solution import Solution


def evidence_arrays(solution: Solution) -> dict[str, NDArray[np.generic]]:
    """The evidence as arrays, for storage."""
    arrays: dict[str, NDArray[np.generic]] = {"similarity": solution.similarity}
    for k, edge in enumerate(solution.evidence):
        arrays[f"roles.{k}"] = np.array([edge.first, edge.second], np.int64)
        arrays[f"rows.{k}"] = np.array(edge.rows, np.int64)
        arrays[f"columns.{k}"] = np.array(edge.columns, np.int64)
        arrays[f"scores.{k}"] = edge.scores
    return arrays


def read_evidence(
    path: Path, arrangement: Arrangement, ids: Sequence[PieceId]
) -> tuple[tuple[EdgeScores, ...], Similarity]:
    """The edges, with the pairs of an arrangement as matches, and the similarity of its blocks.

    Raises `FileError` if the file is damaged or of another solution.
    """
    arrays = read_arrays(path)
    count = sum(name.startswith("scores.") for name in arrays)
    edges = [_edge(arrays, k, arrangement, ids) for k in range(count)]
    similarity = arrays.get("similarity", np.empty(0))
    if None in edges or not _numbers(similarity, (len(arrangement),) * 2):
        raise FileError(
            f"{shown(path)}: holds no finite scores of pieces of this solution, with the "
            f"similarity of its {len(arrangement)} blocks; solve again with --out"
        )
    return tuple(edge for edge in edges if edge is not None), similarity


def _edge(
    arrays: Mapping[str, NDArray[Any]], k: int, arrangement: Arrangement, ids: Sequence[PieceId]
) -> EdgeScores | None:
    """The edge of a number; None where its arrays make none."""
    lists = []
    for name, most in (("roles", arrangement.shape[1]), ("rows", len(ids)), ("columns", len(ids))):
        values = arrays.get(f"{name}.{k}", np.empty(0))
        if values.ndim != 1 or values.dtype != np.int64:
            return None
        lists.append(tuple(values.tolist()))
        if len({*lists[-1]}) != len(lists[-1]) or not all(0 <= v < most for v in lists[-1]):
            return None
    roles, rows, columns = lists
    scores = arrays.get(f"scores.{k}", np.empty(0))
    if len(roles) != 2 or not _numbers(scores, (len(rows), len(columns))):
        return None
    return EdgeScores(*roles, rows, columns, scores).matched(arrangement, ids)


def _numbers(values: NDArray[Any], shape: tuple[int, ...]) -> bool:
    """Whether an array has finite numbers, of a shape."""
    sound: bool = values.shape == shape and values.dtype == np.float64
    return sound and bool(np.isfinite(values).all())
