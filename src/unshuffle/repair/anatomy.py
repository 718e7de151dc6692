"""The roles of pieces in a pile that is no whole network."""

from collections import Counter

from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records

# Of the matched pairs: if more have positive log-odds, those with the least are doubted.
SURE_PART = 0.5


def partial_anatomy(pile: Pile, records: Records) -> Anatomy | None:
    """The likeliest dimensions of a network of which pieces are missing or to which some are added.

    The record gives the width of the stream and the number of outputs. Among the shapes of that
    width, the one that the most pieces have or mirror is that of the inp layers. None where shapes
    do not tell the roles apart, or no two pieces can form a block.
    """
    width, outputs = records.width, records.outputs
    counts = Counter(piece.shape for piece in pile)
    mirrored = {
        hidden: min(count, counts[width, hidden])
        for (hidden, columns), count in counts.items()
        if columns == width and hidden != width and counts[width, hidden]
    }
    if not outputs or not mirrored:
        return None
    hidden = max(mirrored, key=lambda units: (mirrored[units], units))
    if outputs in (hidden, width):
        return None

    def fitting(rows: int, columns: int) -> tuple[int, ...]:
        return tuple(i for i, piece in enumerate(pile) if piece.shape == (rows, columns))

    return Anatomy(
        width,
        hidden,
        outputs,
        inp=fitting(hidden, width),
        out=fitting(width, hidden),
        last=fitting(outputs, width),
    )
