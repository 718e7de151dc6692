"""Which pieces share a block, for any kind: evidence on each edge, and a first grouping."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpBank
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.grouping.fusion import fuse
from unshuffle.grouping.matching import Pairs, directed_couples, optimal_couples, optimal_matching
from unshuffle.grouping.parameters import GroupingParameters
from unshuffle.grouping.signals import Clues, Scores, log_norm_correlation
from unshuffle.grouping.units import group_by_links
from unshuffle.pieces.blueprint import Arrangement, Edge, Kind
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats, Pile


def group(
    pile: Pile,
    kind: Kind,
    clock: Clock | None = None,
    by: GroupingParameters | None = None,
) -> tuple[Arrangement, Evidence]:
    """Group the pieces of a whole pile into blocks, by what the weights of two roles share.

    The edges of the kind name these axes. Where it has none, they are found.

    Parameters
    ----------
    pile
        As many pieces for each class of roles as there are slots.
    kind
        The kind of the blocks.
    clock
        The time that there is; by default without a limit.
    by
        What steers signals and their fusion.

    Returns
    -------
    tuple
        The blocks in any order, and the evidence on them. A role may have no edge to a role whose
        pieces are known by their shapes. Then its pieces lie in any sequence, and the record has to
        tell.
    """
    if not kind.edges:
        return group_by_links(pile, kind, clock or Clock())
    clues_on = partial(Clues, clock=clock or Clock(), by=by or GroupingParameters())
    members = {
        role: [p for p, piece in enumerate(pile) if piece.shapes == kind.shapes(role)]
        for role in range(len(kind.roles))
    }
    alike = {role: len(each) for each in kind.classes for role in each}
    edges = tuple(
        _odds(pile, edge, members, max(alike[edge.first], alike[edge.second]), clues_on)
        for edge in kind.edges
        if members[edge.first] != members[edge.second]
    )
    anchor = max(alike, key=lambda role: (alike[role] == 1, kind.edges_of(role), -role))
    blocks = np.empty((len(members[anchor]) // alike[anchor], len(kind.roles)), np.intp)
    blocks[:, anchor] = members[anchor][: len(blocks)]
    couple = next((each for each in kind.classes if anchor in each and len(each) == 2), ())
    inner = [edge for edge in kind.edges if {edge.first, edge.second} == {*couple}]
    if inner:
        blocks[:, [inner[0].first, inner[0].second]], odds = _coupled(
            pile, inner[0], members, clues_on
        )
        edges += (odds,)
    for each in kind.classes:
        if not (inner and each == couple) and (anchor not in each or len(each) > 1):
            _assign(blocks, each, np.array(members[each[0]], np.intp), anchor, edges)
    return blocks, Evidence(edges)


def _coupled(
    pile: Pile, edge: Edge, members: dict[int, list[int]], clues_on: Callable[[MlpBank], Clues]
) -> tuple[Arrangement, EdgeOdds]:
    """Couples among the pieces of one class, for its two roles, and the log-odds of all couples."""
    clues = clues_on(_layers(pile, edge, members))
    positions = np.array(members[edge.first], np.intp)
    match = partial(directed_couples, optimal_couples, log_norm_correlation(clues))
    fusion = fuse(clues, match, square=True)
    rows = np.full(len(pile), -1, np.intp)
    rows[positions] = np.arange(len(positions))
    return positions[fusion.pairs], EdgeOdds(edge.first, edge.second, fusion.log_odds, rows, rows)


def _layers(pile: Pile, edge: Edge, members: dict[int, list[int]]) -> MlpBank:
    """The two stacks of matrices that share an axis, as inp and out layers."""
    reads = _facing(pile, members[edge.first], edge.first_tensor, edge.first_axis)
    writes = _facing(pile, members[edge.second], edge.second_tensor, edge.second_axis)
    writes = np.swapaxes(writes, 1, 2)
    nothing = np.zeros(reads.shape[:2], reads.dtype), np.zeros(writes.shape[:2], writes.dtype)
    return MlpBank(reads, nothing[0], writes, nothing[1])


def _odds(
    pile: Pile,
    edge: Edge,
    members: dict[int, list[int]],
    times: int,
    clues_on: Callable[[MlpBank], Clues],
) -> EdgeOdds:
    """Log-odds for an edge, from all signals that look at two stacks of matrices."""
    first, second = members[edge.first], members[edge.second]
    layers = _layers(pile, edge, members)

    def match(scores: Scores) -> Pairs:
        """Match one to one, or several of a class to each piece of the other role."""
        if scores.shape[0] > scores.shape[1]:
            pairs = optimal_matching(np.tile(scores, (1, times)))
            return np.column_stack([pairs[:, 0], pairs[:, 1] % scores.shape[1]])
        pairs = optimal_matching(np.tile(scores, (times, 1)))
        return np.column_stack([pairs[:, 0] % scores.shape[0], pairs[:, 1]])

    rows, columns = (np.full(len(pile), -1, np.intp) for _ in range(2))
    rows[first], columns[second] = np.arange(len(first)), np.arange(len(second))
    log_odds = fuse(clues_on(layers), match if times > 1 else optimal_matching).log_odds
    return EdgeOdds(edge.first, edge.second, log_odds, rows, columns)


def _facing(pile: Pile, positions: list[int], tensor: str, axis: int) -> Floats:
    """Matrices with the shared axis first: shape (pieces, shared, other)."""
    weights = np.stack([pile[p].tensors[tensor] for p in positions]).astype(pile.dtype, copy=False)
    return weights if axis == 0 else np.swapaxes(weights, 1, 2)


def _assign(
    blocks: Arrangement,
    roles: tuple[int, ...],
    pieces: NDArray[np.intp],
    anchor: int,
    edges: tuple[EdgeOdds, ...],
) -> None:
    """Put the pieces of a class into the slots of its roles, where the evidence is best."""
    length = len(blocks)
    scores = np.zeros((len(pieces), len(roles) * length))
    for number, role in enumerate(roles):
        for edge in edges:
            if {edge.first, edge.second} == {role, anchor}:
                candidates = np.empty((len(pieces), length, blocks.shape[1]), np.intp)
                candidates[:, :, anchor] = blocks[None, :, anchor]
                candidates[:, :, role] = pieces[:, None]
                scores[:, number * length : (number + 1) * length] += edge.of(candidates)
    slots = optimal_matching(scores)[:, 1]
    for piece, slot in zip(pieces.tolist(), slots.tolist(), strict=True):
        number, block = divmod(slot, length)
        blocks[block, roles[number]] = piece
