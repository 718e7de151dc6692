"""What a ledger holds of approaches: how many networks each solves, and at what cost."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.errors import UsageError
from unshuffle.lab.ledger import LedgerRun, newest
from unshuffle.lab.metrics import METRICS
from unshuffle.views.figures.style import BLUE, GREY, INK, ORANGE, axis, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, ORANGE, INK, GREY)
DASHES = ("-", "--", ":", "-.")  # which tell them apart where colours do not


def solved_within(
    runs: Sequence[LedgerRun], approaches: Sequence[str], metric: str, ax: "Axes | None" = None
) -> "Axes":
    """Share of each approach's runs that solve their network with no more of a metric.

    Parameters
    ----------
    runs
        Of a ledger; of each configuration the last counts.
    approaches
        Names of approaches that measure `solved` and the metric.
    metric
        What it costs, such as ``passes``; drawn on a logarithmic scale.

    Raises
    ------
    UsageError
        If no run of an approach has measured both.
    """
    ax = axis(ax, "Networks solved, and what that costs")
    for k, name in enumerate(approaches):
        own = [run.measurements for run in newest(runs) if run.method == name]
        own = [one for one in own if "solved" in one and metric in one]
        if not own:
            raise UsageError(
                f"the ledger has no run of {name} that measures solved and {metric}; run an "
                "experiment with that approach first"
            )
        costs = np.sort([one[metric] for one in own if one["solved"] == 1])
        shares = np.arange(len(costs) + 1) / len(own)
        if len(costs):  # to the right of the dearest nothing more is solved
            costs = np.concatenate([costs[:1], costs])
        style = {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k // 4 % len(DASHES)]}
        label = f"{name}: {len(costs[1:])} of {len(own)}"
        ax.plot(
            costs, shares[: len(costs)], drawstyle="steps-post", marker=".", label=label, **style
        )
    ax.set(xscale="log", xlabel=METRICS[metric], ylabel="share of the runs solved", ylim=(0, 1.02))
    legend(ax, loc="lower right")
    return ax
