"""What a record holds: the distributions of its columns."""

from typing import TYPE_CHECKING

import numpy as np

from unshuffle.pieces.records import Records
from unshuffle.views.figures.style import BLUE, COLOURS, INK, axis, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 50


def inputs(records: Records, ax: "Axes | None" = None) -> "Axes":
    """Distribution of each input: a strip of its histogram, with the median; all rows count."""
    ax = axis(ax)
    edges = np.linspace(records.inputs.min(), records.inputs.max() or 1.0, BINS + 1)
    shares = np.stack([np.histogram(column, edges)[0] for column in records.inputs.T], axis=1)
    image = ax.imshow(
        100 * shares / len(records),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, records.width - 0.5, edges[0], edges[-1]),
        cmap=COLOURS,
    )
    medians = np.median(records.inputs, axis=0)
    ax.hlines(medians, np.arange(records.width) - 0.4, np.arange(records.width) + 0.4, "w", lw=1.2)
    ax.set(xlabel="input column (white: its median)", ylabel="value, in the record's units")
    ax.figure.colorbar(image, ax=ax, label="rows in a bin (%)")
    return ax


def outputs(records: Records, ax: "Axes | None" = None) -> "Axes":
    """Distributions of the predictions and any targets; several outputs are counted together."""
    ax = axis(ax, height=3.2)
    known = {"predictions": records.predictions, "targets": records.targets}
    values = {name: v[np.isfinite(v)] for name, v in known.items() if v is not None}
    values = {name: v for name, v in values.items() if v.size}
    if values:
        edges = np.histogram_bin_edges(np.concatenate(list(values.values())), BINS)
        looks = {
            "predictions": {"color": BLUE, "histtype": "stepfilled", "alpha": 0.75},
            "targets": {"color": INK, "histtype": "step", "linewidth": 1.4},
        }
        for name, some in values.items():
            share = np.full(some.size, 100 / some.size)
            ax.hist(some, edges, weights=share, label=name, **looks[name])
        legend(ax)
    else:
        ax.text(0.5, 0.5, "the record holds no predictions", ha="center", transform=ax.transAxes)
    ax.set(xlabel="value, in the record's units", ylabel="share of them in a bin (%)")
    return ax
