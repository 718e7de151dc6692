"""Which hidden unit is which, by the record: gradient descent on soft permutations.

For each block a doubly stochastic matrix says how likely each unit of inp is each column of out;
the out layer that it makes on average gives a network that can be differentiated. The matrices are
Sinkhorn-normalised exponentials of free logits (Sinkhorn 1964; for learning permutations Mena,
Belanger, Linderman & Snoek 2018, arXiv:1802.08665), and Adam (Kingma & Ba 2015) lowers the error on
batches of rows. The matrices become permutations by themselves.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import mean_square, pull_back
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats
from unshuffle.repair.unit_exchange import TINY, Columns, Units


@dataclass(frozen=True)
class UnitDescentParameters:
    """Numbers that steer the descent."""

    steps: int = 100  # Steps between two looks at the order.
    averaged: int = 10  # Last steps whose mean error is reported.
    batch: int = 512  # Rows of a step.
    scalings: int = 12  # Rounds of Sinkhorn's normalisation.
    rate: float = 0.1  # Length of a step of Adam, in logits.
    first: float = 0.9  # Share of its first moment that Adam keeps from step to step.
    second: float = 0.99  # Share of its second moment that Adam keeps.
    # Logits by which a column may trail the likeliest: below, denormal numbers would be slow.
    largest: float = 25.0


STANDARD = UnitDescentParameters()


class UnitDescent:
    """Soft permutations of units, whose logits begin with the scores, and their optimiser."""

    def __init__(
        self, units: Units, rng: np.random.Generator, by: UnitDescentParameters = STANDARD
    ) -> None:
        self.units, self.rng, self.by, self.steps = units, rng, by, 0
        self.logits = units.scores.copy()
        self.first, self.second = np.zeros_like(self.logits), np.zeros_like(self.logits)

    def soft(self) -> Floats:
        """The doubly stochastic matrices."""
        return doubly_stochastic(self.logits, self.by)

    def descend(self, order: NDArray[np.intp], clock: Clock) -> float:
        """Take steps, one without time, and return the mean error of the last batches."""
        scale = max(float(np.var(self.units.predictions)), TINY)
        running, slopes = self.units.take(order), np.zeros_like(self.logits)
        count, errors = len(self.units.inputs), []
        for _ in range(self.by.steps):
            batch = self.rng.integers(count, size=min(self.by.batch, count))
            soft = self.soft()
            error, slopes[order] = gradient(running.rows(batch), soft[order])
            errors.append(error)
            self._step(_through_scaling(soft, slopes) / scale)
            if clock.out:
                break
        return float(np.mean(errors[-self.by.averaged :]))

    def prefer(self, columns: Columns) -> None:
        """Make the given column of each unit likelier than any other of it."""
        largest = self.logits.max(axis=2, keepdims=True) + 1
        np.put_along_axis(self.logits, columns[:, :, None], largest, axis=2)

    def _step(self, slopes: Floats) -> None:
        """One step of Adam."""
        by = self.by
        self.steps += 1
        self.first += (1 - by.first) * (slopes - self.first)
        self.second += (1 - by.second) * (np.square(slopes) - self.second)
        mean = self.first / (1 - by.first**self.steps)
        spread = np.sqrt(self.second / (1 - by.second**self.steps))
        self.logits -= (by.rate * mean / (spread + 1e-10)).astype(self.logits.dtype)


def doubly_stochastic(logits: Floats, by: UnitDescentParameters = STANDARD) -> Floats:
    """Exponentials scaled so that rows and columns sum to 1, nearly."""
    soft: Floats = np.exp(np.maximum(logits - logits.max(axis=2, keepdims=True), -by.largest))
    for _ in range(by.scalings):
        soft /= soft.sum(axis=1, keepdims=True) + TINY
        soft /= soft.sum(axis=2, keepdims=True) + TINY
    return soft


def gradient(units: Units, soft: Floats) -> tuple[float, Floats]:
    """Mean squared error of the network of soft permutations, and its derivatives by these."""
    network = units.mixed(soft)
    states = network.states(units.inputs)
    residual = network.last(states[-1]) - units.predictions
    last = (2 / residual.size) * residual @ network.last.weight
    slopes = np.empty_like(soft)
    pulled = pull_back(network.blocks.pullback, states, last[None])
    for block, (g,) in zip(range(len(soft) - 1, -1, -1), pulled, strict=False):
        reads = g @ units.blocks.out_weight[block]
        slopes[block] = units.activations(block, states[block]).T @ reads
    return mean_square(residual), slopes


def _through_scaling(soft: Floats, slopes: Floats) -> Floats:
    """From derivatives by the entries to those by the logits.

    Nearly so: at a fixed point of the scaling its Jacobian projects on what keeps all sums, and two
    rounds of alternating projections stand for that.
    """
    found: Floats = soft * slopes
    for _ in range(2):
        found -= soft * found.sum(axis=2, keepdims=True)
        found -= soft * found.sum(axis=1, keepdims=True)
    return found
