"""What the blocks do to the stream: eigenvalues, and norms along the depth."""

from typing import TYPE_CHECKING

import numpy as np

from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.blocks.network import Network
from unshuffle.grouping.spectra import eigenvalues, stream_norms
from unshuffle.pieces.pile import Floats
from unshuffle.views.figures import style
from unshuffle.views.figures.style import BLUE, INK, ORANGE, axis, count_across, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def spectrum(network: MlpNetwork, ax: "Axes | None" = None) -> "Axes":
    """Eigenvalues of each block's W_out W_in, and the disc in which I + W_out W_in contracts.

    Colour is the place of a block in the network.
    """
    from matplotlib.patches import Circle

    ax = axis(ax, 7.0, 4.2)
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
    """Norms of the states along the depth, and of the step that each block makes.

    The inputs, shape (rows, width), are sent through the network.
    """
    ax = axis(ax, height=3.4)
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
    ax.set_yscale("log")
    count_across(ax)
    ax.set(xlabel="blocks passed", ylabel="Euclidean norm\n(units of the inputs)")
    legend(ax)
    return ax
