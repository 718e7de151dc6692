"""Restarts: a few random moves from which a search descends again (iterated local search)."""

from dataclasses import dataclass

import numpy as np

from unshuffle.grouping.evidence import Evidence
from unshuffle.ordering.moves import exchange, shifted
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement, Kind, same_pieces, same_slots


@dataclass(frozen=True)
class RestartParameters:
    """Numbers that steer restarts.

    Parameters
    ----------
    patience, patience_before
        Restarts in a row without success at the end. The second while there are more rows.
    trust
        Factors on the evidence, in turn.
    moves
        Random moves that a restart begins with, at most.
    reach
        Places by which these move a block, at most.
    swaps
        Probability that a move swaps pieces, where blocks have several roles.
    turns
        Probability that another one exchanges roles within a block, where two are of one class.
    """

    patience: int = 40
    patience_before: int = 8
    trust: tuple[float, ...] = (1.0, 0.5, 0.25, 0.0)
    moves: int = 4
    reach: int = 6
    swaps: float = 0.5
    turns: float = 0.5


def disturbed(
    arrangement: Arrangement,
    evidence: Evidence,
    kind: Kind,
    rng: np.random.Generator,
    by: RestartParameters,
) -> Arrangement:
    """A few random moves: blocks shifted, pieces swapped, and roles within a block exchanged.

    A swap is made only if it costs at most as many log-odds as there are blocks.
    """
    made, turns = arrangement.copy(), kind.turns()
    length, roles = made.shape
    for _ in range(int(rng.integers(1, by.moves + 1))):
        if roles > 1 and rng.random() < by.swaps:
            a, b = (int(place) for place in rng.integers(length, size=2))
            tied = evidence.tied(roles)
            part = roles - 1 if roles == 2 else int(rng.integers(len(tied)))
            alike = next((each for each in kind.classes if part in each), (part,))
            other = part if len(alike) == 1 else alike[int(rng.integers(len(alike)))]
            swapped = exchange(made, a, b, tied[part], tied[other])
            if not same_slots(swapped, made):
                continue
            both = sorted({a, b})
            gain = evidence.of(swapped[both]).sum() - evidence.of(made[both]).sum()
            if gain > -length:
                made = swapped
                continue
        s = int(rng.integers(length))
        if turns and rng.random() < by.turns:
            one, other = turns[0] if len(turns) == 1 else turns[int(rng.integers(len(turns)))]
            if NO_PIECE not in made[s, [one, other]]:
                turned = exchange(made, s, s, one, other)
                made = turned if np.isfinite(evidence.of(turned[s])) else made
            continue
        t = int(np.clip(s + rng.integers(-by.reach, by.reach + 1), 0, length - 1))
        after = shifted(made, s, t)
        made = after if same_slots(after, made) else made
    assert same_pieces(made, arrangement, kind)
    return made
