"""The search and its certificate: errors of candidates, of kept orders, of rivals."""

import math
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

BREAK_DECADES = 3  # from so many empty decades on, an axis of errors is broken there
BELOW_BREAK = 0.13  # share of the axis below the break
NOTHING = 1e-300  # where an error of 0 is drawn: below the break
FEW = 100  # up to so few candidates all dots are large


def search(trace: Trace, ax: "Axes | None" = None) -> "Axes":
    """Error over the search: candidates as dots, the kept order as a line.

    The line begins at the first order that stood, where that was tested.
    """
    ax = axis(ax, "Error over the search, candidate by candidate")
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
        *standing(trace),
        color=BLUE,
        drawstyle="steps-post",
        marker="o" if len(tested) <= FEW else None,
        markersize=4,
        lw=1.6,
        label="order that stands",
    )
    unit = "mean squared error\n(squared units of the prediction)"
    ax.set(xlabel="candidates tested", ylabel=unit)
    broken_log(ax, np.concatenate([tested, [step.error for step in trace.steps]]))
    ax.set_xlim(0, 1.01 * max(len(tested), 1))
    mark_phases(ax, trace.steps)
    count_across(ax)
    legend(ax, markerscale=4 / size)
    return ax


def standing(trace: Trace) -> NDArray[np.float64]:
    """When each kept order was tested, and its error: shape (2, orders + 1).

    The last column is the end of the search.
    """
    points: list[tuple[int, float]] = []
    begin = 0
    for step in trace.steps:
        if step.kept and len(step.tested):
            with np.errstate(invalid="ignore"):  # of what overflowed
                distance = np.abs(step.tested - step.error)
            nearest = np.where(np.isnan(distance), np.inf, distance).argmin()
            points.append((begin + int(nearest) + 1, step.error))
        begin += len(step.tested)
    points += [(begin, step.error) for step in trace.steps[-1:]]
    places, errors = np.array(points, float).reshape(-1, 2).T
    return np.stack([places, positive(errors)])


def broken_log(ax: "Axes", errors: NDArray[np.floating]) -> None:
    """A logarithmic axis; where decades of it would be empty, a break takes their place.

    So the fall of the errors is visible all along.
    """
    values = positive(errors)
    logs = np.unique(np.log10(values[~np.isnan(values)]))
    gaps = np.diff(logs)
    ax.set_yscale("log")
    if len(logs) and logs[-1] - logs[0] < 1:  # of one error nearly, an axis would have no extent
        ax.set_ylim(10 ** (logs[0] - 0.5), 10 ** (logs[-1] + 0.5))
    if not len(gaps) or gaps.max() < BREAK_DECADES:
        return
    at = int(gaps.argmax())
    known = np.array([logs[0] - 0.5, logs[at] + 0.5, logs[at + 1] - 0.1, logs[-1] + 0.1])
    shown = np.array([0.0, BELOW_BREAK, BELOW_BREAK + 0.08, 1.0])

    def forward(error: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.interp(np.log10(np.maximum(error, 10 ** known[0])), known, shown))

    def inverse(place: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(10 ** np.interp(place, shown, known))

    ax.set_yscale("function", functions=(forward, inverse))
    ax.set_ylim(10 ** known[0], 10 ** known[-1])
    digits = (1, 2, 5) if known[3] - known[2] < 3 else (1,)
    ticks = {}
    for power in range(math.floor(known[0]), math.ceil(known[3]) + 1):
        for digit in digits if power > known[1] else (1,):
            place = math.log10(digit) + power
            if known[0] <= place <= known[1] or known[2] <= place <= known[3]:
                times = rf"{digit}\times" if digit > 1 else ""
                text = "0" if 10.0**power <= 2 * NOTHING else rf"${times}10^{{{power}}}$"
                ticks[digit * 10.0**power] = text
    ax.set_yticks([*ticks], [*ticks.values()])
    for place in (BELOW_BREAK + 0.02, BELOW_BREAK + 0.05):
        across, up = [-0.012, 0.012], [place - 0.015, place + 0.015]
        ax.plot(across, up, color=INK, lw=1, transform=ax.transAxes, clip_on=False)


def positive(errors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Errors as a logarithmic axis can show them: NaN where it cannot, and `NOTHING` for 0."""
    values = errors.astype(np.float64)
    return np.where(np.isfinite(values), np.maximum(values, NOTHING), np.nan)


def mark_phases(ax: "Axes", steps: Sequence[Step]) -> None:
    """Write the phases above the axis where there is room, with lines where they change."""
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
    ax = axis(ax, "Error of the nearest rivals, place by place")
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
    ax.axhline(proof.mse, color=GREY, lw=1.5, label=f"this arrangement{'' if proof.mse else ': 0'}")
    unit = "mean squared error, to first order\n(squared units of the prediction)"
    ax.set(xlabel="place in the network", ylabel=unit, yscale="log")
    count_across(ax)
    legend(ax)
    return ax
