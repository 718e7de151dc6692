"""Figures: functions that take a result and optionally an axis, and return the axis.

They need the extra `pictures` (matplotlib), which is imported only when one is drawn.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unshuffle.blocks.mlp import as_mlp
from unshuffle.errors import RecordError, UsageError, find_name
from unshuffle.pieces.records import Records
from unshuffle.solution.solution import Solution, check_solution
from unshuffle.views.figures.blocks import chain as chain
from unshuffle.views.figures.blocks import path as path
from unshuffle.views.figures.ledger import solved_within as solved_within
from unshuffle.views.figures.pairs import contrast as contrast
from unshuffle.views.figures.pairs import margins as margins
from unshuffle.views.figures.pairs import products as products
from unshuffle.views.figures.pairs import ranks as ranks
from unshuffle.views.figures.pairs import rivals as rivals
from unshuffle.views.figures.pairs import scores as scores
from unshuffle.views.figures.pairs import traces as traces
from unshuffle.views.figures.search import certificate as certificate
from unshuffle.views.figures.search import search as search
from unshuffle.views.figures.stream import features as features
from unshuffle.views.figures.stream import inputs as inputs
from unshuffle.views.figures.stream import norms as norms
from unshuffle.views.figures.stream import outputs as outputs
from unshuffle.views.figures.stream import spectrum as spectrum
from unshuffle.views.figures.style import FORMATS as FORMATS
from unshuffle.views.figures.style import need_matplotlib as need_matplotlib
from unshuffle.views.figures.style import picture as picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Rows, the first of the record, whose norms are followed along the depth.
SENT_ROWS = 1000


@dataclass(frozen=True)
class FigureKind:
    """A figure by name, with what it shows in a line, and what draws it."""

    name: str
    shows: str
    made: "Callable[[Solution, Records | None], Axes]"

    def draw(self, solution: Solution, records: Records | None = None) -> "Axes":
        """Draw it. `UnshuffleError` says why it cannot be drawn of this solution."""
        check_solution(solution)
        return self.made(solution, records)


def _given(records: Records | None) -> Records:
    if records is None:
        raise RecordError("this figure shows the record: name its file too")
    return records


def _certificate(solution: Solution, _: Records | None) -> "Axes":
    if solution.certificate is None:
        raise UsageError("there is no certificate, since the record is not reproduced")
    if not solution.certificate.pairs:
        raise UsageError("a single block has no rivals, so its certificate has nothing to draw")
    return certificate(solution.certificate)


def _margins(solution: Solution, _: Records | None) -> "Axes":
    if all(math.isinf(match.margin) for edge in solution.edges() for match in edge.matches):
        raise UsageError("a single pair, or two, have no others whose spread could measure margins")
    return margins(solution)


def _search(solution: Solution, _: Records | None) -> "Axes":
    if not solution.trace.tested:
        raise UsageError("the search tested no candidate, so it has no errors to draw")
    return search(solution.trace)


_KINDS = (
    FigureKind(
        "inputs", "distribution of each input column", lambda _, records: inputs(_given(records))
    ),
    FigureKind(
        "features", "histogram of each input column", lambda _, records: features(_given(records))
    ),
    FigureKind(
        "outputs",
        "distributions of predictions and targets",
        lambda _, records: outputs(_given(records)),
    ),
    FigureKind(
        "products",
        "W_out W_in of three pairs, each above its best rival's",
        lambda solution, _: products(solution),
    ),
    FigureKind(
        "contrast",
        "W_out W_in of one true pair beside that of a wrong one",
        lambda solution, _: contrast(solution),
    ),
    FigureKind(
        "scores",
        "scores of all pairs of each edge, before and after matching",
        lambda one, _: scores(one),
    ),
    FigureKind(
        "rivals", "score of each pair against those of its rivals", lambda one, _: rivals(one)
    ),
    FigureKind(
        "traces",
        "trace of each block's W_out W_in against those of wrong pairs",
        lambda solution, _: traces(as_mlp(solution.network)),
    ),
    FigureKind(
        "ranks",
        "mean trace at each rank over all inp layers, true pairs far right",
        lambda solution, _: ranks(as_mlp(solution.network)),
    ),
    FigureKind("margins", "lead of each pair over its best rival", _margins),
    FigureKind("path", "how alike blocks are, along their order", lambda one, _: path(one)),
    FigureKind("chain", "the blocks with the piece in each role", lambda one, _: chain(one)),
    FigureKind(
        "spectrum",
        "eigenvalues of each block's W_out W_in, and where it contracts",
        lambda solution, _: spectrum(as_mlp(solution.network)),
    ),
    FigureKind(
        "norms",
        "norms of states and steps along the depth",
        lambda solution, records: norms(solution.network, _given(records).inputs[:SENT_ROWS]),
    ),
    FigureKind("search", "error over the search, candidate by candidate", _search),
    FigureKind(
        "certificate",
        "error of the nearest rivals of the arrangement, place by place",
        _certificate,
    ),
)
FIGURES = {kind.name: kind for kind in _KINDS}


def find_figure(name: str) -> FigureKind:
    """Look a figure up; raises `UsageError` if there is none of that name."""
    return FIGURES[find_name("figure", name, FIGURES)]
