"""The search and its certificate: errors of what was tried, of what stood, of the rivals."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unshuffle.ordering.trace import Step, Trace
from unshuffle.proof.certificate import Certificate
from unshuffle.views.figures import style
from unshuffle.views.figures.style import BLUE, GREY, INK, ORANGE, axis, count_across, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 100  # up to so few candidates all dots are large


def search(trace: Trace, ax: "Axes | None" = None) -> "Axes":
    """Error over the search: every candidate as a dot, the best order so far as a line."""
    ax = axis(ax)
    ends = np.cumsum([len(step.tested) for step in trace.steps])
    tested = trace.errors
    many = len(tested) > style.MANY_DOTS
    size = 4 if len(tested) <= FEW else 2 if not many else 1.2
    ax.plot(
        np.arange(1, len(tested) + 1),
        positive(tested),
        "o",
        color=GREY,
        markersize=size,
        markeredgewidth=0,
        rasterized=many,
        label="candidate tested",
    )
    ax.plot(
        ends,
        positive(np.array([step.error for step in trace.steps])),
        color=BLUE,
        drawstyle="steps-post",
        marker="o" if len(tested) <= FEW else None,
        markersize=4,
        lw=1.6,
        label="best order so far",
    )
    unit = "mean squared error\n(squared units of the prediction)"
    ax.set(xlabel="candidates tested", ylabel=unit, yscale="log")
    ax.set_xlim(0, 1.01 * max(len(tested), 1))
    mark_phases(ax, trace.steps)
    count_across(ax)
    legend(ax, loc="lower left", markerscale=4 / size)
    return ax


def positive(errors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Errors as a logarithmic axis can show them: NaN where it cannot."""
    values = errors.astype(np.float64)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def mark_phases(ax: "Axes", steps: Sequence[Step]) -> None:
    """Write the phases above the axis, as far as there is room, with lines where they change."""
    tested = sum(len(step.tested) for step in steps)
    room = 0.016 * max(tested, 1)  # that a letter takes
    right = 0
    for phase, members in groupby(steps, key=lambda step: step.phase):
        left, right = right, right + sum(len(step.tested) for step in members)
        if left:
            ax.axvline(left, color=INK, lw=0.5, ls=":", zorder=0)
        upright = right - left < room * len(phase)
        if right - left < 1.5 * room:
            continue
        ax.annotate(
            phase,
            ((left + right) / 2, 1.0),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="bottom",
            rotation=90 if upright else 0,
            fontsize="small",
            parse_math=False,
        )


def certificate(proof: Certificate, ax: "Axes | None" = None) -> "Axes":
    """Errors of the nearest rivals, place by place; hollow where the record does not decide."""
    ax = axis(ax)
    for contests, shift, colour, marker, name in (
        (proof.neighbours, 0.5, BLUE, "o", "two neighbouring blocks exchanged"),
        (proof.pairs, 0.0, ORANGE, "s", "a layer of the block exchanged, best rival"),
    ):
        for decided in (True, False):
            some = [contest for contest in contests if contest.decided is decided]
            if some:
                ax.plot(
                    [contest.places[0] + 1 + shift for contest in some],
                    [contest.mse for contest in some],
                    marker,
                    color=colour,
                    markersize=4,
                    fillstyle="full" if decided else "none",
                    label=name if decided else f"{name}: undecided",
                )
    ax.axhline(proof.floor, color=INK, lw=1, ls="--", label="explained by noise or rounding")
    ax.axhline(proof.mse, color=GREY, lw=1.5, label="this arrangement")
    unit = "mean squared error, to first order\n(squared units of the prediction)"
    ax.set(xlabel="place in the network", ylabel=unit, yscale="log")
    count_across(ax)
    legend(ax)
    return ax
