"""A figure as the bytes of a file."""

import io
import warnings
from typing import TYPE_CHECKING

from unshuffle.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("png", "svg", "pdf")

PIXELS_PER_INCH = 150

UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Metadata that would make the bytes differ from day to day."""


def picture(ax: "Axes", kind: str) -> bytes:
    """Render the figure that an axis belongs to, the same figure always as the same bytes.

    Parameters
    ----------
    ax
        An axis, as figure functions return it.
    kind
        One of `FORMATS`.

    Raises
    ------
    UsageError
        If there is no such format.
    """
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
