"""What a network reads and does to its stream: columns of a record, eigenvalues, norms."""

import math
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.blocks.network import Network
from unshuffle.grouping.spectra import eigenvalues, stream_norms
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.views.figures import style
from unshuffle.views.figures.style import BLUE, INK, ORANGE, axis, count_across, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 50
ABOVE = 0.3  # of the axis of norms, what is left above them for the legend


def inputs(records: Records, ax: "Axes | None" = None) -> "Axes":
    """Distribution of each input: a strip of its histogram, with the median; all rows count."""
    ax = axis(ax, "Distribution of each input column")
    edges = np.linspace(records.inputs.min(), records.inputs.max() or 1.0, BINS + 1)
    shares = np.stack([np.histogram(column, edges)[0] for column in records.inputs.T], axis=1)
    image = ax.imshow(
        100 * shares / len(records),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, records.width - 0.5, edges[0], edges[-1]),
        cmap=style.COLOURS,
    )
    medians = np.median(records.inputs, axis=0)
    ax.hlines(medians, np.arange(records.width) - 0.4, np.arange(records.width) + 0.4, "w", lw=1.2)
    ax.set(xlabel="input column (white: its median)", ylabel="value, in the record's units")
    ax.figure.colorbar(image, ax=ax, label="rows in a bin (%)")
    return ax


def features(records: Records, ax: "Axes | None" = None) -> "Axes":
    """A histogram of each input column, in a grid, each on its own range."""
    across = math.ceil(math.sqrt(1.6 * records.width))
    down = -(-records.width // across)
    ax = axis(ax, "Histogram of each input column", 7.0, 0.7 * down + 0.8)
    for column, values in enumerate(records.inputs.T):
        counts, edges = np.histogram(values, BINS // 2)
        left, bottom = column % across * 1.1, -(column // across) * 1.35
        places = left + np.linspace(0, 1, len(edges))
        ax.stairs(counts / counts.max() + bottom, places, baseline=bottom, fill=True, color=BLUE)
        ax.text(left, bottom + 1.02, str(column), fontsize="x-small", color=INK)
    ax.set(xlim=(-0.05, across * 1.1), ylim=(-1.35 * (down - 1) - 0.05, 1.3))
    ax.set(xlabel="value, from the column's least to its largest", ylabel="rows, up to the mode")
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def outputs(records: Records, ax: "Axes | None" = None) -> "Axes":
    """Distributions of the predictions and any targets. Several outputs are counted together."""
    ax = axis(ax, "Distributions of predictions and targets", height=3.4)
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


def spectrum(network: MlpNetwork, ax: "Axes | None" = None) -> "Axes":
    """Eigenvalues of each block's W_out W_in, coloured by place, and where a block contracts."""
    from matplotlib.patches import Circle

    ax = axis(ax, r"Eigenvalues of each block's $W_\mathrm{out}W_\mathrm{in}$", 7.0, 4.4)
    values = eigenvalues(network.blocks)
    places = np.repeat(np.arange(1, len(values) + 1), values.shape[1])
    ax.add_patch(Circle((-1, 0), 1, facecolor="#f0f0f0", edgecolor=INK, lw=0.8, zorder=0))
    dots = ax.scatter(
        values.real,
        values.imag,
        s=6,
        c=places,
        cmap=style.COLOURS,
        linewidths=0,
        rasterized=values.size > style.MANY_DOTS,
    )
    ax.text(-1, 1.02, "contracts inside: $|1 + λ| < 1$", ha="center", va="bottom", fontsize="small")
    ax.set_aspect("equal")
    ax.set_xlabel(r"real part of $λ$ (dimensionless)")
    ax.set_ylabel(r"imaginary part of $λ$ (dimensionless)")
    ax.figure.colorbar(dots, ax=ax, label="place of the block in the network")
    return ax


def norms(network: Network, inputs: Floats, ax: "Axes | None" = None) -> "Axes":
    """Norms of states and steps along the depth, for inputs of shape (rows, width)."""
    ax = axis(ax, "Norms of states and steps along the depth", height=3.6)
    states, steps = stream_norms(network, inputs)
    depth = np.arange(len(states))
    for values, at, colour, line, name in (
        (states, depth, BLUE, "-", "state"),
        (steps, depth[1:], ORANGE, "--", "step of the block"),
    ):
        low, middle, high = np.quantile(values, [0.05, 0.5, 0.95], axis=1)
        ax.fill_between(at, low, high, color=colour, alpha=0.25, lw=0)
        marker = "o" if len(at) == 1 else None  # of a single block, whose step is no line
        label = f"{name}: median, 5 % to 95 % of the rows"
        ax.plot(at, middle, line, marker=marker, color=colour, label=label)
    ax.set(xlabel="blocks passed", ylabel="Euclidean norm\n(units of the inputs)", yscale="log")
    count_across(ax)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** ABOVE)
    legend(ax, loc="upper left")
    return ax
