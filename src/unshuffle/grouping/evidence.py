"""Evidence on which pieces share a block: log-odds for each two roles that share an axis."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from unshuffle.pieces.blueprint import Arrangement, united


@dataclass(frozen=True, eq=False)
class EdgeOdds:
    """What is known about the pieces in two roles of one block.

    Parameters
    ----------
    first, second
        Numbers of the roles.
    log_odds
        Shape (I, J): natural log-odds that two pieces share a block. −∞ where they cannot.
    rows, columns
        Shape (positions,): the row, or the column, of the piece at each position of the pile.
    """

    first: int
    second: int
    log_odds: NDArray[np.float64]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]

    def of(self, blocks: Arrangement) -> NDArray[np.float64]:
        """Log-odds of blocks, shape (blocks,)."""
        rows = self.rows[blocks[..., self.first]]
        odds: NDArray[np.float64] = self.log_odds[rows, self.columns[blocks[..., self.second]]]
        return odds


@dataclass(frozen=True, eq=False)
class Evidence:
    """Log-odds of pieces sharing a block, edge by edge. What has no edge is never in doubt.

    `units` are roles, two or more each, that a search exchanges together. The edges tie their
    pieces together beyond doubt, but not to all others. `cores` are those that hidden units tie
    together. What faces the stream may tie pieces of neighbouring blocks. Of at most `most_parts`
    parts of a block, all unions are exchanged too; of more parts, unions of two.
    """

    edges: tuple[EdgeOdds, ...]
    units: tuple[tuple[int, ...], ...] = ()
    cores: tuple[tuple[int, ...], ...] = ()
    most_parts: int = 0

    def parts(self, roles: int) -> list[tuple[int, ...]]:
        """The units, and the roles that are in none, of so many roles."""
        alone = {*range(roles)}.difference(*self.units)
        return [*self.units, *((role,) for role in sorted(alone))]

    def tied(self, roles: int) -> list[list[int]]:
        """What is exchanged between blocks: each of so many roles, units, and unions of parts.

        Each of several parts may be right by itself, and be in the wrong block with others.
        """
        parts = self.parts(roles) if self.units else []
        sizes = range(1, len(parts) if len(parts) <= self.most_parts else 3)
        unions = (sum(some, ()) for size in sizes for some in combinations(parts, size))
        return [*([role] for role in range(roles)), *(sorted(u) for u in unions if len(u) > 1)]

    def tied_by_edges(self) -> list[tuple[int, ...]]:
        """The roles that edges tie together, directly or by others."""
        tied: list[frozenset[int]] = []
        for edge in self.edges:
            tied = united(tied, (edge.first, edge.second))
        return sorted(tuple(sorted(each)) for each in tied)

    def of(self, blocks: Arrangement) -> NDArray[np.float64]:
        """Log-odds of blocks, summed over the edges: shape (…, roles) gives shape (…,)."""
        odds = np.zeros(blocks.shape[:-1])
        for edge in self.edges:
            odds = odds + edge.of(blocks)
        return odds

    def value(self, arrangement: Arrangement) -> float:
        """Sum over all blocks and edges."""
        return float(self.of(arrangement).sum())

    def admits(self, arrangement: Arrangement) -> bool:
        """Whether no block is ruled out."""
        return bool(np.isfinite(self.of(arrangement)).all())

    def crossed(
        self, arrangement: Arrangement, roles: Sequence[int], sources: Sequence[int]
    ) -> NDArray[np.float64]:
        """Log-odds of each block with, in roles, each block's pieces of source roles: (K, K)."""
        length = len(arrangement)
        blocks = np.repeat(arrangement[:, None], length, axis=1)
        blocks[:, :, roles] = arrangement[None, :, sources]
        return self.of(blocks)

    @property
    def decided(self) -> bool:
        """Whether each piece has but one partner that is not ruled out."""
        partners = (
            np.isfinite(edge.log_odds).sum(axis=axis) for edge in self.edges for axis in (0, 1)
        )
        return all((each <= 1).all() for each in partners)

    def trusted(self, factor: float) -> "Evidence":
        """The same with the log-odds multiplied by a factor. What is ruled out stays so."""

        def multiplied(odds: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.multiply(odds, factor, where=np.isfinite(odds), out=odds.copy())

        edges = (replace(edge, log_odds=multiplied(edge.log_odds)) for edge in self.edges)
        return replace(self, edges=tuple(edges))
