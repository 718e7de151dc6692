"""What all figures share: colours, an axis, names as plain text, the bytes of a file."""

import io
import warnings
from typing import TYPE_CHECKING

from unshuffle.errors import MissingExtraError, UsageError, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from unshuffle.pieces.pile import PieceId

FORMATS = ("png", "svg", "pdf")
PIXELS_PER_INCH = 150

# Dates would make the bytes differ from day to day.
UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}

# Blue and orange of Okabe & Ito, "Color Universal Design" (2008): they differ for every kind of
# colour vision, and in lightness, so that they differ in grey print too.
INK, BLUE, ORANGE, GREY, PALE = "#1a1a1a", "#0072b2", "#e69f00", "#8c8c8c", "#d0d0d0"

# The colour map is made for colour blindness, and its lightness rises steadily (Nuñez et al. 2018).
COLOURS = "cividis"

# Signed values, from −a to a: zero is white. Blue and red differ for every kind of colour vision.
SIGNED = "RdBu_r"

NAME_CHARACTERS = 16

# Beyond so many, dots are pixels in vector formats too, which would grow by megabytes.
MANY_DOTS = 3000


def need_matplotlib() -> None:
    """Raise `MissingExtraError` where matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "pictures", "drawing a figure") from error


def axis(ax: "Axes | None", title: str, width: float = 7.0, height: float = 4.0) -> "Axes":
    """The axis given, or that of a new titled figure, of a size in inches.

    May lack matplotlib. An axis that is given belongs to whoever titles it.
    """
    if ax is None:
        need_matplotlib()
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        figure.suptitle(title, fontsize="medium", color=INK)
        ax = figure.add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def picture(ax: "Axes", kind: str) -> bytes:
    """The figure of an axis in one of `FORMATS`, always the same bytes; else `UsageError`."""
    from matplotlib import rc_context

    if kind not in FORMATS:
        raise UsageError(f"figures cannot be written as {kind!r}; there are: {', '.join(FORMATS)}")
    stream = io.BytesIO()
    # Text stays text, to be searched, copied and read aloud.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "unshuffle", "pdf.fonttype": 42}
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a name in rare letters
        ax.figure.savefig(stream, format=kind, dpi=PIXELS_PER_INCH, metadata=UNDATED.get(kind))
    return stream.getvalue()


def count_across(ax: "Axes", *, both: bool = False) -> None:
    """Label the horizontal axis, or both, with whole numbers only: places, pairs, candidates."""
    from matplotlib.ticker import MaxNLocator

    for each in (ax.xaxis, ax.yaxis)[: 2 if both else 1]:
        each.set_major_locator(MaxNLocator(integer=True))


def short(name: "PieceId") -> str:
    """A piece's name for a label, with `parse_math=False`: it may contain dollars."""
    text = shown(name)
    return text if len(text) <= NAME_CHARACTERS else f"{text[: NAME_CHARACTERS - 1]}…"


def role(name: str) -> str:
    """A role's name for a label; that of a whole block is a dot."""
    return "block" if name == "." else name


def legend(ax: "Axes", **options: object) -> None:
    """Add a legend without an edge, legible above whatever lies under it."""
    ax.legend(**{"framealpha": 0.85, "edgecolor": "none", "fontsize": "small", **options})
