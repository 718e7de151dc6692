"""Pair the layers of a pile, by their weights or with the record, and say how sure each pair is."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.activations import RELU, Activation, chosen_activation
from unshuffle.blocks.assembly import last_layer, mlp_bank
from unshuffle.blocks.mlp import INP, OUT, MlpBank
from unshuffle.errors import UsageError, find_name, listed, shown
from unshuffle.files.given import GivenPile, GivenRecords, as_pile, as_records, check_sequence
from unshuffle.files.schema import BESIDE, Key, Word, encode
from unshuffle.grouping.edges import EdgeScores, Match, matches_of
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.grouping.fusion import Fusion, fuse
from unshuffle.grouping.matching import MATCHINGS, directed_couples, find_matching
from unshuffle.grouping.parameters import GroupingParameters
from unshuffle.grouping.signals import (
    FUSED,
    Clues,
    Scores,
    find_signal,
    log_norm_correlation,
    signal_names,
)
from unshuffle.pieces.anatomy import Anatomy, read_anatomy
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.fact_table import fact_table
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.softmax import without_softmax


@dataclass(frozen=True, eq=False)
class Pairing:
    """The blocks of a network, not yet in order.

    Parameters
    ----------
    anatomy
        Dimensions and roles.
    matches
        One for each block.
    last
        Id of the last layer.
    signal, matching
        How the pairs were scored and matched.
    scores
        Shape (I, J): scores of all pairs, in the sequence of `anatomy.inp` and `anatomy.out`.
    fusion
        How the signals were fused, where they were.
    """

    anatomy: Annotated[Anatomy, BESIDE]
    matches: Annotated[tuple[Match, ...], Key("pairs")]
    last: PieceId
    signal: Word
    matching: Word
    scores: Annotated[Scores, BESIDE]
    fusion: Annotated[Fusion | None, BESIDE] = None

    @property
    def pairs(self) -> tuple[tuple[PieceId, PieceId], ...]:
        """Ids of the inp and the out layer of each block."""
        return tuple((match.inp, match.out) for match in self.matches)

    @property
    def edge(self) -> EdgeScores:
        """The one edge of the puzzle's blocks."""
        anatomy = self.anatomy
        rows, columns = anatomy.inp, anatomy.out
        return EdgeScores(INP, OUT, rows, columns, self.scores, self.matches, self.signal)

    def grouped(self, pile: Pile) -> Arrangement:
        """The pairs as blocks in any order: shape (blocks, 2)."""
        blocks = [[pile.index[name] for name in pair] for pair in self.pairs]
        return np.array(blocks, np.intp).reshape(-1, 2)

    def regrouped(self) -> tuple[Arrangement, ...]:
        """How single signals group the layers otherwise: arrangements as from `grouped`."""
        inp, out = (np.array(role, np.intp) for role in (self.anatomy.inp, self.anatomy.out))
        rivals = () if self.fusion is None else self.fusion.rivals
        return tuple(np.column_stack([inp[pairs[:, 0]], out[pairs[:, 1]]]) for pairs in rivals)

    def evidence(self, pile: Pile, bank: MlpBank) -> Evidence:
        """Log-odds of all pairs of layers in a bank of the same pile.

        Layers that the pairing does not know are ruled out. Without fused log-odds all pairs but
        the matched ones are. Where only some pieces can be in both roles, the last row and column
        are of those that cannot be in one.
        """
        more = int(self.anatomy.interchangeable and bool(self.anatomy.widths))
        shape = len(bank.inp_weight) + more, len(bank.out_weight) + more
        log_odds = np.full(shape, -np.inf)
        if self.fusion is None:
            blocks = self.grouped(pile)
            for inp, out in (blocks.T, blocks.T[::-1]):
                rows, columns = bank.rows[inp], bank.columns[out]
                able = (rows >= 0) & (columns >= 0)
                log_odds[rows[able], columns[able]] = 0.0
        else:
            rows = bank.rows[[*self.anatomy.inp]]
            columns = bank.columns[[*self.anatomy.out]]
            odds = np.where(of_one_width(pile, self.anatomy), self.scores, -np.inf)
            log_odds[np.ix_(rows, columns)] = odds
        return Evidence((EdgeOdds(INP, OUT, log_odds, bank.rows, bank.columns),))

    def summary(self) -> dict[str, Any]:
        """The pairing as plain values, ready for JSON. An infinite margin is None."""
        return encode(self)

    def _repr_html_(self) -> str:
        """The pairs as a table for notebooks, the least sure first."""
        pairs = [f"{one.inp} with {one.out}" for one in sorted(self.matches, key=_margin)]
        facts = {
            f"{len(pairs)} pairs by {self.signal}, {self.matching}": listed(pairs),
            "least margin": f"{min(map(_margin, self.matches)):.2g}",
            "last layer": shown(self.last),
        }
        return fact_table(facts)

    def __repr__(self) -> str:
        weakest = min(self.matches, key=_margin)
        return (
            f"Pairing({len(self.matches)} pairs by {self.signal}, {self.matching}; weakest: "
            f"{weakest.inp} with {weakest.out}, margin {weakest.margin:.2g})"
        )


def _margin(match: Match) -> float:
    return match.margin


def pair(
    pile: GivenPile,
    records: GivenRecords | None = None,
    *,
    signal: str = FUSED,
    matching: str = "optimal",
    anatomy: Anatomy | None = None,
    activation: str | Activation = RELU,
    clock: Clock | None = None,
    by: GroupingParameters | None = None,
    of_weights: dict[Hashable, Scores] | None = None,
) -> Pairing:
    """Find which inp layer belongs to which out layer.

    Parameters
    ----------
    pile
        The pieces, or their path.
    records
        Rows with predictions, or their path, if there are any. Weights alone are enough for most
        networks.
    signal
        "fused", or a name in `unshuffle.grouping.SIGNALS`.
    matching
        "optimal" (linear assignment) or "greedy".
    anatomy
        The pile's anatomy, if it is known already.
    activation
        What the hidden layers apply, or its name. Only signals that need the record use it.
    clock
        Ends the fusion with the signals that there was time for.
    by
        What steers signals and their fusion.
    of_weights
        Scores by the weights alone, from earlier pairings of these layers with other activations.
        New ones are added.

    Raises
    ------
    PileError
        If the pieces cannot be one residual network.
    UsageError
        If there is no such signal or matching, or the signal needs a record and has none.

    Notes
    -----
    If inp and out layers have one shape (h = d), pairs are found among all square pieces. The
    signal in its better direction scores them. The log-norm correlation tells the roles within a
    pair: over the stream's units it is near 0. If the last layer has that shape too, it is the
    piece without a partner.
    """
    check_sequence(pile, records)
    pile = as_pile(pile)
    if records is not None:
        pile, records = without_softmax(pile, as_records(records))
    if not isinstance(activation, Activation):
        activation = chosen_activation(activation) or RELU
    signal = find_name("signal", signal, signal_names())
    matching = find_name("matching", matching, MATCHINGS)
    given = anatomy or read_anatomy(pile, records)
    parts = [
        _paired(
            Clues(
                mlp_bank(pile, part, activation),
                last_layer(pile, pile[part.last[0]].id) if len(part.last) == 1 else None,
                records.predicted() if records is not None else None,
                clock or Clock(),
                by or GroupingParameters(),
                {} if of_weights is None or given.widths else of_weights,
            ),
            pile,
            part,
            signal,
            matching,
        )
        for part in (given.by_width(pile) if given.widths else [given])
    ]
    return _joined(pile, given, parts) if given.widths else parts[0]


def _paired(clues: Clues, pile: Pile, anatomy: Anatomy, signal: str, matching: str) -> Pairing:
    """The pairing of blocks that all have as many hidden units."""
    match, match_members = find_matching(matching)
    if anatomy.interchangeable:
        match = partial(directed_couples, match_members, log_norm_correlation(clues))
    fusion = None
    if signal == FUSED:
        fusion = fuse(clues, match, square=anatomy.interchangeable)
        scores, pairs = fusion.log_odds, fusion.pairs
    else:
        found = find_signal(signal)
        if found.needs_record and not clues.has_record:
            raise UsageError(
                f"the signal {signal!r} needs at least two rows with predictions, and a last layer "
                "that is known by its shape; name a record, or choose another signal"
            )
        scores = found.checked(clues)
        pairs = match(scores)
    rivals = np.maximum(scores, scores.T) if anatomy.interchangeable else scores
    used = {anatomy.inp[i] for i in pairs[:, 0]} | {anatomy.out[j] for j in pairs[:, 1]}
    last = next(position for position in anatomy.last if position not in used)
    ids = [pile[p].id for p in anatomy.inp], [pile[p].id for p in anatomy.out]
    matches = matches_of(
        ids, pairs, rivals, square=anatomy.interchangeable, calibrated=fusion is not None
    )
    return Pairing(anatomy, matches, pile[last].id, signal, matching, scores, fusion)


def of_one_width(pile: Pile, anatomy: Anatomy) -> NDArray[np.bool_]:
    """Which inp and out layers have equally many hidden units: shape (I, J)."""
    reads = np.array([pile[p].shape[0] for p in anatomy.inp])
    writes = np.array([pile[p].shape[1] for p in anatomy.out])
    alike: NDArray[np.bool_] = np.equal(reads[:, None], writes)
    return alike


def _joined(pile: Pile, anatomy: Anatomy, parts: Sequence[Pairing]) -> Pairing:
    """The pairing of blocks of several hidden widths, which were paired by themselves."""
    lowest = min(float(part.scores.min()) for part in parts)
    scores = np.full((len(anatomy.inp), len(anatomy.out)), lowest)
    for part in parts:
        rows = [anatomy.inp.index(p) for p in part.anatomy.inp]
        scores[np.ix_(rows, [anatomy.out.index(p) for p in part.anatomy.out])] = part.scores
    matches = tuple(match for part in parts for match in part.matches)
    used = {name for match in matches for name in (match.inp, match.out)}
    last = next(pile[p].id for p in anatomy.last if pile[p].id not in used)
    largest = max(parts, key=lambda part: len(part.matches))
    fusion = None
    if largest.fusion is not None:
        index = pile.index
        pairs = [
            (anatomy.inp.index(index[match.inp]), anatomy.out.index(index[match.out]))
            for match in matches
        ]
        fusion = Fusion(scores, np.array(pairs, np.intp), largest.fusion.weights)
    return replace(
        largest, anatomy=anatomy, matches=matches, last=last, scores=scores, fusion=fusion
    )
