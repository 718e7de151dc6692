"""Which hidden unit is which, by the record: gradient descent on soft permutations.

For each block a doubly stochastic matrix says how likely each unit of inp is each column of out;
the out layer that it makes on average gives a network that can be differentiated. The matrices are
Sinkhorn-normalised exponentials of free logits (Sinkhorn 1964; for learning permutations Mena,
Belanger, Linderman & Snoek 2018, arXiv:1802.08665), and Adam (Kingma & Ba 2015) lowers the error on
batches of rows. That the columns are right and only their sequence is not makes this a benign
problem: the matrices become permutations by themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Blocks, Linear, Network
from unshuffle.ordering.journal import Errors, Journal, Numbers, bits, from_bits
from unshuffle.pieces.pile import Floats

BATCH = 512
"""Rows of a step."""

SCALINGS = 12
"""Rounds of Sinkhorn's normalisation."""

RATE = 0.1
"""Step length of Adam,"""
FIRST, SECOND = 0.9, 0.99
"""and the memory of its two moments."""

EVIDENCE = 0.7
"""Factor on the log-likelihoods by weights: they were matched by what they state."""

LARGEST = 25.0
"""Logit by which a column may trail the likeliest one of its unit."""

TINY = 1e-30


@dataclass(eq=False)
class UnitDescent:
    """Soft permutations of the units of blocks, and the state of their optimiser.

    Parameters
    ----------
    logits
        Shape (blocks, hidden, hidden), float32; entry (b, k, l) is about row k of inp and column l
        of out. They are changed in place.
    blocks
        The blocks, the columns of out as they are in the pile.
    last
        The last layer.
    inputs, predictions
        The rows, of the dtype of the weights.
    rng
        Draws the batches.
    """

    logits: Floats
    blocks: Blocks
    last: Linear
    inputs: Floats
    predictions: Floats
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.first = np.zeros_like(self.logits)
        self.second = np.zeros_like(self.logits)
        self.steps = 0

    def soft(self) -> Floats:
        """The doubly stochastic matrices."""
        return doubly_stochastic(self.logits)

    def descend(self, order: NDArray[np.intp], steps: int, journal: Journal) -> float:
        """Take steps with the blocks in an order; return the mean error of the last batches."""
        size = min(BATCH, len(self.inputs))
        batches = [self.rng.integers(len(self.inputs), size=size) for _ in range(steps)]

        def unpack(numbers: Numbers, errors: Errors) -> float:
            if len(errors) != 1:
                raise ValueError("it has another number of errors")
            state = from_bits(numbers, np.stack([self.logits, self.first, self.second]))
            self.logits, self.first, self.second = state.copy()
            self.steps += steps
            return float(errors[0])

        return journal.result(
            lambda: self._descend(order, batches),
            lambda error: (bits(np.stack([self.logits, self.first, self.second])), [error]),
            unpack,
        )

    def _descend(self, order: NDArray[np.intp], batches: Sequence[NDArray[np.intp]]) -> float:
        scale = max(float(np.var(self.predictions)), TINY)
        running = self.blocks.take(order)
        slopes = np.zeros_like(self.logits)
        errors = []
        for rows in batches:
            soft = self.soft()
            error, slopes[order] = gradient(
                running, self.last, soft[order], self.inputs[rows], self.predictions[rows]
            )
            errors.append(error)
            self._step(_through_scaling(soft, slopes) / scale)
        return float(np.mean(errors[-10:]))

    def prefer(self, columns: NDArray[np.intp]) -> None:
        """Make the given column of each unit likelier than any other of it."""
        largest = self.logits.max(axis=2, keepdims=True) + 1
        np.put_along_axis(self.logits, columns[:, :, None], largest, axis=2)

    def _step(self, slopes: Floats) -> None:
        """One step of Adam."""
        self.steps += 1
        self.first += (1 - FIRST) * (slopes - self.first)
        self.second += (1 - SECOND) * (np.square(slopes) - self.second)
        mean = self.first / (1 - FIRST**self.steps)
        spread = np.sqrt(self.second / (1 - SECOND**self.steps))
        self.logits -= (RATE * mean / (spread + 1e-10)).astype(self.logits.dtype)


def doubly_stochastic(logits: Floats) -> Floats:
    """Exponentials scaled so that rows and columns sum to 1, nearly."""
    # Far below this nothing is told apart, and arithmetic on denormal numbers is slow.
    soft: Floats = np.exp(np.maximum(logits - logits.max(axis=2, keepdims=True), -LARGEST))
    for _ in range(SCALINGS):
        soft /= soft.sum(axis=1, keepdims=True) + TINY
        soft /= soft.sum(axis=2, keepdims=True) + TINY
    return soft


def mixed(blocks: Blocks, soft: Floats) -> Blocks:
    """The blocks with the out layers that soft permutations make on average."""
    return replace(blocks, out_weight=np.matmul(blocks.out_weight, soft.transpose(0, 2, 1)))


def gradient(
    blocks: Blocks, last: Linear, soft: Floats, inputs: Floats, predictions: Floats
) -> tuple[float, Floats]:
    """Mean squared error of the network of soft permutations, and its derivative by their entries.

    Returns
    -------
    tuple
        The error, and an array of the shape of `soft`.
    """
    network = Network(mixed(blocks, soft), last)
    activation = blocks.activation
    states = [inputs]
    for block in range(len(blocks)):
        states.append(network.blocks.apply(block, states[-1]))
    residual = last(states[-1]) - predictions
    g = (2 / residual.size) * residual @ last.weight
    slopes = np.empty_like(soft)
    for block in range(len(blocks) - 1, -1, -1):
        z = states[block] @ blocks.inp_weight[block].T
        z += blocks.inp_bias[block]
        gate = activation.derivative(z)
        slopes[block] = activation.apply(z).T @ (g @ blocks.out_weight[block])
        g = g + ((g @ network.blocks.out_weight[block]) * gate) @ blocks.inp_weight[block]
    return float(np.mean(np.square(residual, dtype=np.float64))), slopes


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
