"""What is to be ordered: loose layers, pairs to start from, and the record."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Layers, Linear, Network
from unshuffle.ordering.judge import Order
from unshuffle.pieces.records import Records


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be ordered.

    Parameters
    ----------
    layers, last
        The loose layers and the last one.
    pairs
        Shape (blocks, 2): the pairs to start from, as indices of inp and out layers.
    log_odds
        Shape (I, J): of all pairs.
    records
        All rows; seeds look at those without predictions too.
    turns
        Whether inp and out layers have one shape.
    start
        An order to try before any other, from an earlier search.
    """

    layers: Layers
    last: Linear
    pairs: NDArray[np.intp]
    log_odds: NDArray[np.float64]
    records: Records
    turns: bool
    start: Order | None = None

    @cached_property
    def known(self) -> Records:
        """The rows with predictions."""
        return self.records.predicted()

    @property
    def blocks(self) -> NDArray[np.intp]:
        """Numbers of the blocks that the pairs make."""
        return self.pairs @ np.array([len(self.layers.out_weight), 1], np.intp)

    def admits(self, order: Order) -> bool:
        """Whether an order has no pair that the evidence rules out, or all of them might be."""
        return bool(np.isfinite(self.log_odds.ravel()[list(order)]).all())

    def network(self, order: Order) -> Network:
        """The network of an order."""
        return Network(self.layers.take(order), self.last)
