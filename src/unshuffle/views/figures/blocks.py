"""The blocks in their order: how alike they are, and which piece is in each role."""

from typing import TYPE_CHECKING

import numpy as np

from unshuffle.errors import UsageError
from unshuffle.grouping.edges import least_margins
from unshuffle.pieces.blueprint import NO_PIECE
from unshuffle.solution.solution import Solution
from unshuffle.views.figures import style
from unshuffle.views.figures.style import INK, axis, count_across

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMED = 400  # pieces up to which a chain is readable


def path(solution: Solution, ax: "Axes | None" = None) -> "Axes":
    """How alike blocks are in what they do with the stream, along their order.

    Where neighbours are most alike, the picture is brightest beside its diagonal.
    """
    ax = axis(ax, "How alike blocks are, along their order", 5.6, 4.6)
    count = len(solution.arrangement)
    if count < 2:
        raise UsageError("a single block has no other to be alike to")
    own = np.eye(count, dtype=bool)
    edges = (0.5, count + 0.5)
    image = ax.imshow(
        np.ma.masked_array(solution.similarity, own),
        cmap=style.COLOURS,
        interpolation="nearest",
        extent=(*edges, *edges[::-1]),
    )
    count_across(ax, both=True)
    ax.set(xlabel="place of a block", ylabel="place of another block")
    label = "similarity (standard deviations, summed over axes)"
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.85)
    return ax


def chain(solution: Solution, ax: "Axes | None" = None) -> "Axes":
    """The piece in each role of each block; the colour says how sure its pairs are by weights."""
    arrangement, ids = solution.arrangement, solution.trace.ids
    count, roles = arrangement.shape
    least = least_margins(solution.evidence, arrangement, ids).T
    ax = axis(ax, "The chain of blocks", min(2.5 + 0.55 * count, 24), 1.6 + 0.3 * roles)
    ax.set(xlim=(0.5, count + 0.5), ylim=(roles - 0.5, -0.5), xlabel="place of the block")
    ax.set_yticks(range(roles), [style.role(name) for name in solution.roles], parse_math=False)
    ax.set_ylabel("role")
    count_across(ax)
    if np.isfinite(least).any():
        image = ax.imshow(
            np.ma.masked_invalid(least),
            cmap=style.COLOURS,
            interpolation="nearest",
            aspect="auto",
            alpha=0.6,
            extent=(0.5, count + 0.5, roles - 0.5, -0.5),
        )
        label = "least margin\n(standard deviations)"
        ax.figure.colorbar(image, ax=ax, label=label)
    if arrangement.size <= MOST_NAMED:
        for (place, role), position in np.ndenumerate(arrangement):
            if position != NO_PIECE:
                options = {"ha": "center", "va": "center", "fontsize": "x-small"}
                name = style.short(ids[position])
                ax.text(place + 1, role, name, color=INK, parse_math=False, **options)
    return ax
