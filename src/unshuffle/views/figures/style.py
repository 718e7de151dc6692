"""What all figures share: colours, an axis where none is given, names as plain text."""

from typing import TYPE_CHECKING

from unshuffle.errors import MissingExtraError
from unshuffle.files import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from unshuffle.pieces.pile import PieceId

# Blue and orange of Okabe & Ito, "Color Universal Design" (2008): they differ for every kind of
# colour vision, and in lightness, so that they differ in grey print too.
INK, BLUE, ORANGE, GREY, PALE = "#1a1a1a", "#0072b2", "#e69f00", "#8c8c8c", "#d0d0d0"

COLOURS = "cividis"
"""The colour map: made for colour blindness, and its lightness rises steadily (Nuñez et al. 2018).

Signed values are shown on it too, from −a to a: in grey print their sign stays visible."""

NAME_CHARACTERS = 16

MANY_DOTS = 3000
"""Beyond so many, dots are pixels in vector formats too, which would grow by megabytes."""


def need_matplotlib() -> None:
    """Refuse to go on without matplotlib.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "pictures", "drawing a figure") from error


def axis(ax: "Axes | None", width: float = 7.0, height: float = 4.0) -> "Axes":
    """The axis given, or that of a new figure of a size in inches.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    if ax is None:
        need_matplotlib()
        from matplotlib.figure import Figure

        ax = Figure(figsize=(width, height), layout="constrained").add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def count_across(ax: "Axes") -> None:
    """Label the horizontal axis with whole numbers only: it counts places, pairs or candidates."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def short(name: "PieceId") -> str:
    """A piece's name, fit for a label: one line, not too long.

    Whoever draws it must do so with `parse_math=False`: names may contain dollars.
    """
    text = shown(name)
    return text if len(text) <= NAME_CHARACTERS else f"{text[: NAME_CHARACTERS - 1]}…"


def legend(ax: "Axes", **options: object) -> None:
    """Add a legend without an edge, legible above whatever lies under it."""
    ax.legend(**{"framealpha": 0.85, "edgecolor": "none", "fontsize": "small", **options})
