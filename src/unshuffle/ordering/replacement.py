"""Replacement: all pieces of a class find their slots at once, by single replacements.

The error is judged exactly for each piece in each slot of a class. The assignment of least total
log error (Kuhn 1955) is tried. Small pieces, such as norms, hardly change what others do. So all
of them are put right together.
"""

from collections.abc import Callable, Iterator

import numpy as np

from unshuffle.grouping.evidence import Evidence
from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.judge import NOTHING, Indices, Judge, Run
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement, Kind

# What a search lowers, of a run.
Objective = Callable[[Run], float]


def reassigned(
    judge: Judge, run: Run, evidence: Evidence, most: int, objective: Objective
) -> tuple[Run, list[float]]:
    """The run after the pieces of each class in turn are reassigned, and the errors of all tested.

    A class keeps its pieces unless others lower the objective. Only classes that take few
    judgements: those of several roles, and of roles whose tensors are all vectors. There is no
    evidence on them. Shifts and swaps say more of other pieces.
    """
    tested: list[float] = []
    told = {role for edge in evidence.edges for role in (edge.first, edge.second)}
    for slots in _pools(judge.bank.kind, run.arrangement, told):
        if not len(slots) > 1 or len(slots) ** 2 > most:
            continue
        places, roles = slots.T
        pieces = run.arrangement[places, roles]
        candidates = np.repeat(run.arrangement[None], len(slots) ** 2, axis=0)
        number = np.arange(len(slots) ** 2)
        slot, piece = np.divmod(number, len(slots))
        candidates[number, places[slot], roles[slot]] = pieces[piece]
        errors = judge.errors(run, candidates).reshape(len(slots), len(slots))
        scores = -np.log(np.clip(errors, NOTHING, 1 / NOTHING))
        other = run.arrangement.copy()
        other[places, roles] = pieces[optimal_matching(scores)[:, 1]]
        if not np.array_equal(other, run.arrangement):
            made = judge.run(other, after=run)
            tested.append(made.error)
            run = min((run, made), key=objective)
    return run, tested


def _pools(kind: Kind, arrangement: Arrangement, told: set[int]) -> Iterator[Indices]:
    """The slots, as places and roles, of classes that are reassigned."""
    for alike in kind.classes:
        vectors = all(len(shape) == 1 for shape in kind.shapes(alike[0]).values())
        if (vectors or len(alike) > 1) and told.isdisjoint(alike):
            found = np.argwhere(arrangement[:, [*alike]] != NO_PIECE)
            yield np.column_stack([found[:, 0], np.array(alike, np.intp)[found[:, 1]]])
