"""What weights say of two roles, to be shown: scores of all pairs, and the matched ones.

Blocks of the puzzle have one such edge. Others have as many as roles of theirs share axes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from unshuffle.files.schema import BESIDE, OrInfinite
from unshuffle.grouping.evidence import EdgeOdds
from unshuffle.grouping.matching import Pairs
from unshuffle.grouping.signals import FUSED, Scores
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import ROUNDING, PieceId


@dataclass(frozen=True)
class Match:
    """An inp layer and an out layer that were matched, or pieces in two other roles.

    Parameters
    ----------
    inp, out
        Ids of the pieces.
    score
        What the signal says of them.
    rival
        Id of the piece that would replace one of them in the best other pair of either; None
        where there is no other.
    margin
        Score minus the rival's score, in units of the spread of all scores of unmatched pairs.
        Negative where one of the two would fit better elsewhere. Infinite without a rival.
    confidence
        Probability that the two belong together, from the log-odds of all pairs of either; None
        where the score is no log-odds.
    """

    inp: PieceId
    out: PieceId
    score: float
    rival: PieceId | None
    margin: OrInfinite
    confidence: float | None = None


@dataclass(frozen=True, eq=False)
class EdgeScores:
    """The scores of all pairs of pieces in two roles of one block.

    Parameters
    ----------
    first, second
        Numbers of the roles.
    rows, columns
        Positions in the pile of the pieces in the first and in the second role.
    scores
        Shape (rows, columns), finite.
    matches
        The pairs that these scores speak for, or those of the blocks that were found.
    signal
        What the scores are: "fused" for natural log-odds.
    """

    first: int
    second: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    scores: Scores
    matches: Annotated[tuple[Match, ...], BESIDE] = ()
    signal: Annotated[str, BESIDE] = FUSED

    @property
    def square(self) -> bool:
        """Whether rows and columns stand for the same pieces."""
        return self.rows == self.columns

    def places(self, arrangement: Arrangement) -> dict[int, tuple[int, int]]:
        """By place of a block: the row and the column of its pieces, where the scores have both."""
        row, column = ({p: k for k, p in enumerate(each)} for each in (self.rows, self.columns))
        pieces = arrangement[:, [self.first, self.second]].tolist()
        return {
            place: (row[a], column[b])
            for place, (a, b) in enumerate(pieces)
            if a in row and b in column
        }

    def matched(self, arrangement: Arrangement, ids: Sequence[PieceId]) -> "EdgeScores":
        """The same with the pairs of an arrangement as matches."""
        pairs = np.array([*self.places(arrangement).values()], np.intp).reshape(-1, 2)
        names = [ids[p] for p in self.rows], [ids[p] for p in self.columns]
        found = matches_of(names, pairs, self.scores, square=self.square, calibrated=True)
        return replace(self, matches=found)


def shown_edges(
    edges: Sequence[EdgeOdds], arrangement: Arrangement, ids: Sequence[PieceId]
) -> tuple[EdgeScores, ...]:
    """Log-odds of edges, with the pairs of an arrangement as matches; those that have any."""
    found = []
    for edge in edges:
        rows, columns = (_positions(each) for each in (edge.rows, edge.columns))
        scores = edge.log_odds[: len(rows), : len(columns)]
        lowest = np.min(scores, where=np.isfinite(scores), initial=0.0)
        bare = EdgeScores(edge.first, edge.second, rows, columns, np.maximum(scores, lowest))
        found.append(bare.matched(arrangement, ids))
    return tuple(edge for edge in found if edge.matches)


def _positions(numbers: NDArray[np.intp]) -> tuple[int, ...]:
    """The positions of the pieces that have numbers, in the sequence of these."""
    held = np.flatnonzero(numbers >= 0)
    return tuple(held[np.argsort(numbers[held])].tolist())


def least_margins(
    edges: Sequence[EdgeScores], arrangement: Arrangement, ids: Sequence[PieceId]
) -> NDArray[np.float64]:
    """By block and role: the least margin of the pairs that its piece is in; shape (blocks, roles).

    NaN where one of them is not matched, and throughout where no edge says anything of a block.
    Infinite where a role has no edge.
    """
    least = np.full(arrangement.shape, np.inf)
    told = np.zeros(len(arrangement), bool)
    for edge in edges:
        margins = {(match.inp, match.out): match.margin for match in edge.matches}
        for place, (row, column) in edge.places(arrangement).items():
            pair = ids[edge.rows[row]], ids[edge.columns[column]]
            roles = [edge.first, edge.second]
            least[place, roles] = np.minimum(least[place, roles], margins.get(pair, np.nan))
            told[place] = True
    least[~told] = np.nan
    return least


def matches_of(
    ids: tuple[Sequence[PieceId], Sequence[PieceId]],
    pairs: Pairs,
    scores: Scores,
    *,
    square: bool,
    calibrated: bool,
) -> tuple[Match, ...]:
    """Describe each pair, with its best rival; ids are those of rows and of columns."""
    unmatched = np.ones(scores.shape, bool)
    unmatched[tuple(pairs.T)] = False
    if square:
        unmatched[tuple(pairs.T[::-1])] = False
        np.fill_diagonal(unmatched, False)
    others = np.where(unmatched, scores, -np.inf)
    spread = float(np.std(scores[unmatched])) if unmatched.any() else 0.0
    if spread <= ROUNDING * float(np.abs(scores[unmatched]).max(initial=0.0)):
        spread = 0.0  # what is left of two scores that are equal but for rounding
    matches = []
    for i, j in pairs.tolist():
        # Rivals of (i, j): another out for inp i, or another inp for out j.
        rivals = [(others[i, :], ids[1]), (others[:, j], ids[0])]
        column, names = max(rivals, key=lambda rival: float(rival[0].max()))
        best = float(column.max())
        against = np.concatenate([column for column, _ in rivals]) - scores[i, j]
        matches.append(
            Match(
                inp=ids[0][i],
                out=ids[1][j],
                score=float(scores[i, j]),
                rival=None if best == -math.inf else names[int(column.argmax())],
                margin=float(scores[i, j] - best) / spread if spread > 0 else math.inf,
                confidence=float(1 / (1 + np.exp(np.minimum(against, 50)).sum()))
                if calibrated
                else None,
            )
        )
    return tuple(matches)


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
