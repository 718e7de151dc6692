"""Figures: a function a figure, which takes a result and optionally an axis, and returns the axis.

They need the extra `pictures` (matplotlib), which is imported only when one is drawn.

Examples
--------
>>> ax = search(solution.trace)
>>> ax.figure.savefig("search.pdf")
"""

from unshuffle.views.figures.catalogue import FIGURES, FigureKind, find_figure
from unshuffle.views.figures.image import FORMATS, picture
from unshuffle.views.figures.pairs import margins, products, rivals, scores, traces
from unshuffle.views.figures.proof import certificate
from unshuffle.views.figures.record import inputs, outputs
from unshuffle.views.figures.search import search
from unshuffle.views.figures.stream import norms, spectrum
from unshuffle.views.figures.style import need_matplotlib

__all__ = [
    "FIGURES",
    "FORMATS",
    "FigureKind",
    "certificate",
    "find_figure",
    "inputs",
    "margins",
    "need_matplotlib",
    "norms",
    "outputs",
    "picture",
    "products",
    "rivals",
    "scores",
    "search",
    "spectrum",
    "traces",
]
