"""The figures by name, and what each is drawn from."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unshuffle.blocks.mlp import as_mlp
from unshuffle.errors import RecordError, UsageError
from unshuffle.pieces.records import Records
from unshuffle.solution.solution import Solution
from unshuffle.views.figures.pairs import margins, products, rivals, scores, traces
from unshuffle.views.figures.proof import certificate
from unshuffle.views.figures.record import inputs, outputs
from unshuffle.views.figures.search import search
from unshuffle.views.figures.stream import norms, spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Draw = Callable[[Solution, Records | None], "Axes"]

SENT_ROWS = 1000
"""Rows, the first of the record, whose norms are followed along the depth."""


@dataclass(frozen=True)
class FigureKind:
    """A figure that can be asked for by name.

    Parameters
    ----------
    name
        What the command line calls it.
    shows
        What it shows, in a line.
    draw
        Draws it from a solution and, if it is at hand, the record. Raises a subclass of
        UnshuffleError where it cannot.
    """

    name: str
    shows: str
    draw: Draw


def _record(draw: "Callable[[Solution, Records], Axes]") -> Draw:
    """For a figure that shows the record."""

    def with_record(solution: Solution, records: Records | None) -> "Axes":
        if records is None:
            raise RecordError("this figure shows the record: name its file too")
        return draw(solution, records)

    return with_record


def _certificate(solution: Solution, records: Records | None) -> "Axes":
    if solution.certificate is None:
        raise UsageError("there is no certificate, since the record is not reproduced")
    if not solution.certificate.pairs:
        raise UsageError("a single block has no rivals, so its certificate has nothing to draw")
    return certificate(solution.certificate)


def _margins(solution: Solution, records: Records | None) -> "Axes":
    if all(math.isinf(match.margin) for match in solution.evidence.matches):
        raise UsageError("a single pair has no rival, so it has no margin")
    return margins(solution)


def _search(solution: Solution, records: Records | None) -> "Axes":
    if not solution.trace.tested:
        raise UsageError("the search tested no candidate, so it has no errors to draw")
    return search(solution.trace)


FIGURES = {
    kind.name: kind
    for kind in (
        FigureKind(
            "inputs",
            "distribution of each input column",
            _record(lambda _, records: inputs(records)),
        ),
        FigureKind(
            "outputs",
            "distributions of predictions and targets",
            _record(lambda _, records: outputs(records)),
        ),
        FigureKind(
            "products",
            "W_out W_in of three pairs, each above its best rival's",
            lambda solution, _: products(solution),
        ),
        FigureKind(
            "scores",
            "scores of all pairs, before and after matching",
            lambda solution, _: scores(solution),
        ),
        FigureKind(
            "rivals",
            "score of each pair against those of its rivals",
            lambda solution, _: rivals(solution),
        ),
        FigureKind(
            "traces",
            "trace of each block's W_out W_in against those of wrong pairs",
            lambda solution, _: traces(as_mlp(solution.network)),
        ),
        FigureKind(
            "margins",
            "lead of each pair over its best rival",
            _margins,
        ),
        FigureKind(
            "spectrum",
            "eigenvalues of each block's W_out W_in, and where it contracts",
            lambda solution, _: spectrum(as_mlp(solution.network)),
        ),
        FigureKind(
            "norms",
            "norms of states and steps along the depth",
            _record(lambda solution, records: norms(solution.network, records.inputs[:SENT_ROWS])),
        ),
        FigureKind(
            "search",
            "error over the search, candidate by candidate",
            _search,
        ),
        FigureKind(
            "certificate",
            "error of the nearest rivals of the arrangement, place by place",
            _certificate,
        ),
    )
}


def find_figure(name: str) -> FigureKind:
    """Look a figure up by its name.

    Raises
    ------
    UsageError
        If there is no figure of that name.
    """
    if name not in FIGURES:
        raise UsageError.unknown("figure", name, FIGURES)
    return FIGURES[name]
