"""Seeds: orders to start a search from, each from another trace that depth leaves.

A seed ranks blocks by their weights, or by what they do to the inputs, without predictions. Every
seed is also tried backwards, and the record decides.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpStack, as_mlp
from unshuffle.blocks.network import Network
from unshuffle.ordering.paths import PathParameters
from unshuffle.ordering.seriation import (
    SeriationParameters,
    agreed_depth,
    leading,
    likeness,
    off_diagonal,
    outer_products,
    views,
)
from unshuffle.pieces.pile import Floats

# Shape (blocks,): block indices, the first to run first.
Ranking = NDArray[np.intp]


@dataclass(frozen=True)
class SeedParameters:
    """Numbers that steer seeds.

    Parameters
    ----------
    quick_ranked_rows, ranked_rows
        Rows on which seeds are compared, for a quick descent and for the search proper.
    rows, many_rows
        Inputs that seeds look at; their number where there are too few predictions to correct them.
    most_steps
        Blocks squared times rows that are looked at for the smallest steps.
    at_a_time
        Remaining blocks of which one is taken at a time for its small step.
    seriation, paths
        What steers the seriation in many views, and paths.
    """

    quick_ranked_rows: int = 32
    ranked_rows: int = 256
    rows: int = 32
    many_rows: int = 2048
    most_steps: int = 20_000_000
    at_a_time: int = 256
    seriation: SeriationParameters = field(default_factory=SeriationParameters)
    paths: PathParameters = field(default_factory=PathParameters)


STANDARD = SeedParameters()


class Rank(Protocol):
    """Guesses the order from a network, its blocks in any sequence, and inputs (rows, width)."""

    def __call__(self, network: Network, inputs: Floats, by: SeedParameters = STANDARD) -> Ranking:
        """The blocks by depth, the first to run first."""


@dataclass(frozen=True)
class Seed:
    """A named way to guess the order from a network, its blocks in any sequence, and inputs."""

    name: str
    rank: Rank
    sees: str  # what in the blocks tells their depth, in a sentence
    source: str  # where the idea comes from
    quick: bool = True  # whether it takes no longer than a few forward passes of few rows
    mlp_only: bool = True  # whether it reads the weights of blocks x + out(a(inp(x)))

    def serves(self, network: Network) -> bool:
        """Whether it can rank the blocks of a network."""
        return not self.mlp_only or isinstance(network.blocks, MlpStack)


def smallest_step(network: Network, inputs: Floats, by: SeedParameters = STANDARD) -> Ranking:
    """From the inputs on, run whichever remaining block moves the states least.

    The time grows with the square of the number of blocks. So many blocks are shown fewer rows. Of
    twice `at_a_time` blocks two are taken at a time.
    """
    state = network.ends.enter(inputs[: max(1, by.most_steps // len(network.blocks) ** 2)])
    # The blocks that remain lie at the front, so that none need be copied at each step.
    blocks, remaining = network.blocks.copy(), np.arange(len(network.blocks))
    ranking = []
    count = len(remaining)
    while count:
        each = blocks[:count].apply_each(np.broadcast_to(state, (count, *state.shape)))
        steps = each - state
        sizes = np.einsum("bnd,bnd->b", steps, steps)
        taken = np.argsort(sizes, kind="stable")[: max(1, count // by.at_a_time)]
        state = each[taken[0]] + steps[taken[1:]].sum(axis=0)
        ranking.extend(remaining[taken].tolist())
        for one in sorted(taken.tolist(), reverse=True):
            count -= 1
            blocks.overwrite(one, count)
            remaining[one] = remaining[count]
    return np.array(ranking, np.intp)


def by_products(network: Network, inputs: Floats, by: SeedParameters = STANDARD) -> Ranking:
    """Sort by the leading eigenvector of how alike W_out W_in are, and W_out W_outᵀ."""
    blocks = as_mlp(network).blocks
    if len(blocks) < 3:
        return np.arange(len(blocks))
    alike = np.zeros((len(blocks), len(blocks)))
    product = off_diagonal(np.matmul(blocks.out_weight, blocks.inp_weight))
    for view in (product, outer_products(blocks)):
        cosines = likeness(view)
        alike += cosines / max(float(cosines[~np.eye(len(cosines), dtype=bool)].std()), 1e-30)
    return _sorted(leading(alike))


def by_outer_products(network: Network, inputs: Floats, by: SeedParameters = STANDARD) -> Ranking:
    """Sort by the leading eigenvector of how alike the off-diagonal entries of W_out W_outᵀ are."""
    blocks = as_mlp(network).blocks
    if len(blocks) < 3:
        return np.arange(len(blocks))
    return _sorted(leading(likeness(outer_products(blocks))))


def by_agreement(network: Network, inputs: Floats, by: SeedParameters = STANDARD) -> Ranking:
    """Sort by the depth on which all views of the weights agree."""
    if len(network.blocks) < 3:
        return np.arange(len(network.blocks))
    depth = agreed_depth([likeness(view) for view in views(network).values()], by.seriation)
    return _sorted(depth) if len(depth) else np.arange(len(network.blocks))


def by_out_norm(network: Network, inputs: Floats, by: SeedParameters = STANDARD) -> Ranking:
    """Sort by the sum of magnitudes of W_out."""
    return np.argsort(np.abs(as_mlp(network).blocks.out_weight).sum(axis=(1, 2)), kind="stable")


def by_inp_norm(network: Network, inputs: Floats, by: SeedParameters = STANDARD) -> Ranking:
    """Sort by the Frobenius norm of W_in."""
    return np.argsort(np.square(as_mlp(network).blocks.inp_weight).sum(axis=(1, 2)), kind="stable")


def _sorted(depth: NDArray[np.float64]) -> Ranking:
    """Sort by a depth whose sign is an accident of the library; larger entries go last."""
    return np.argsort(depth * np.sign(depth[np.abs(depth).argmax()]), kind="stable")


SEEDS = {
    seed.name: seed
    for seed in (
        Seed(
            "smallest-step",
            smallest_step,
            "early blocks move the states least, and later ones least of those that remain",
            'the "delta-norm" of Park, "I Dropped a Neural Net", arXiv:2602.19845, made greedy',
            mlp_only=False,
        ),
        Seed(
            "spectral",
            by_products,
            "blocks at neighbouring depths learn alike products",
            "spectral seriation, Atkins, Boman & Hendrickson 1998",
        ),
        Seed(
            "written",
            by_outer_products,
            "blocks at neighbouring depths write alike; this needs no pairs",
            "spectral seriation, Atkins, Boman & Hendrickson 1998",
            quick=False,
        ),
        Seed(
            "consensus",
            by_agreement,
            "blocks at neighbouring depths are alike in many views of their weights, which agree",
            "first used here; see unshuffle.ordering.seriation",
            quick=False,
            mlp_only=False,
        ),
        Seed(
            "out-norm",
            by_out_norm,
            "the size of what blocks write changes steadily along the depth",
            'norm sort of Park, "I Dropped a Neural Net", arXiv:2602.19845',
        ),
        Seed(
            "inp-norm",
            by_inp_norm,
            "the size of what blocks read with changes steadily along the depth",
            'norm sort of Park, "I Dropped a Neural Net", arXiv:2602.19845',
        ),
    )
}
