"""Exchange columns of out layers, many at once, by the record and what weights say of the units.

To first order the effect of giving units k and l of a block each other's columns is
−(a_k − a_l) (c_k − c_l), with a the unit's activation and c what the sensitivities read from its
column. Slopes and squares of all exchanges of a block are sums of a few matrix products. The most
promising exchanges are chosen together by matching pursuit and judged exactly. What is lowered is
``strength / 2 · log(error)`` minus the log-likelihoods of the columns by weights: without these a
few thousand predictions would be explained by exchanges that are wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Blocks, Linear, Network
from unshuffle.ordering.journal import Errors, Journal, Numbers
from unshuffle.ordering.moves import Kind, Moves
from unshuffle.ordering.selection import pursuit
from unshuffle.pieces.pile import Floats

CANDIDATES = 512
"""Exchanges that pursuit chooses among,"""
EACH = 64
"""and at most so many of one block."""

TINY = 1e-30
"""Stands for an error of 0, whose logarithm the objective cannot take."""


@dataclass(frozen=True, eq=False)
class Units:
    """Blocks in the order in which they run, whose columns of out are to be put in sequence.

    Parameters
    ----------
    blocks
        The columns of out as they are in the pile.
    last
        The last layer.
    scores
        Shape (blocks, hidden, hidden): log-likelihoods by weights; entry (b, k, l) is about row k
        of inp and column l of out.
    inputs, predictions
        The rows, of the dtype of the weights.
    """

    blocks: Blocks
    last: Linear
    scores: NDArray[np.floating]
    inputs: Floats
    predictions: Floats

    def network(self, columns: NDArray[np.intp]) -> Network:
        """The network with columns in the sequence given: shape (blocks, hidden)."""
        return Network(permuted_columns(self.blocks, columns), self.last)

    def linearized(
        self, columns: NDArray[np.intp], rows: slice = slice(None)
    ) -> tuple[Blocks, list[Floats], list[Floats], Floats]:
        """The blocks with columns in a sequence, and what changes of them do to first order.

        Returns
        -------
        tuple
            The blocks; the state that each reads, shape (rows, width); the sensitivities to what
            each writes, shape (equations, width), equations being rows times outputs, outputs
            first; and the residual, shape (equations,).
        """
        network = self.network(columns)
        *states, final = network.states(self.inputs[rows])
        pulled = network.sensitivities([*states, final])[1:]
        residual = (network.last(final) - self.predictions[rows]).T.reshape(-1)
        width = network.blocks.width
        return network.blocks, states, [g.reshape(-1, width) for g in pulled], residual

    def activations(self, block: int, x: Floats) -> Floats:
        """Of a block's units at states x; shape (equations, hidden), once for each output."""
        z = x @ self.blocks.inp_weight[block].T
        z += self.blocks.inp_bias[block]
        return np.tile(self.blocks.activation.apply(z), (len(self.last.bias), 1))

    def error(self, columns: NDArray[np.intp]) -> float:
        """Mean squared error; infinite where a state overflows."""
        with np.errstate(over="ignore", invalid="ignore"):
            left = self.network(columns).predict(self.inputs) - self.predictions
            error = np.mean(np.square(left, dtype=np.float64))
        return float(np.nan_to_num(error, nan=np.inf))

    def objective(self, columns: NDArray[np.intp], strength: float) -> float:
        """What is lowered: the error's logarithm, weighed against the likelihood of the columns."""
        return self.weighed(columns, self.error(columns), strength)

    def weighed(self, columns: NDArray[np.intp], error: float, strength: float) -> float:
        """The same where the error is known."""
        likelihood = np.take_along_axis(self.scores, columns[:, :, None], 2).sum()
        return strength / 2 * float(np.log(max(error, TINY))) - float(likelihood)


def exchanged_units(
    units: Units, columns: NDArray[np.intp], strength: float, journal: Journal
) -> Iterator[NDArray[np.intp]]:
    """Exchange columns while that lowers the objective.

    Parameters
    ----------
    units
        The blocks and the rows.
    columns
        Shape (blocks, hidden): the column of each unit.
    strength
        How many independent predictions the error stands for.
    journal
        Keeps what the rounds come to.

    Yields
    ------
    NDArray
        Better and better columns.
    """
    error = units.error(columns)
    while True:
        better, error = journal.result(
            partial(_exchanged, units, columns, error, strength),
            lambda found: (found[0].reshape(-1), [found[1]]),
            partial(_unpack, columns),
        )
        if not len(better):
            return
        columns = better
        yield columns


def _exchanged(
    units: Units, columns: NDArray[np.intp], error: float, strength: float
) -> tuple[NDArray[np.intp], float]:
    """Better columns with their error; none where no exchange helps."""
    value = units.weighed(columns, error, strength)
    moves, residual = _moves(units, columns, strength)
    chosen = pursuit(moves, residual, strength)
    while len(chosen):
        candidate = columns.copy()
        flat = candidate.reshape(-1)
        for a, b in zip(moves.first[chosen], moves.second[chosen], strict=True):
            flat[[a, b]] = flat[[b, a]]
        found = units.error(candidate)
        if units.weighed(candidate, found, strength) < value:
            return candidate, found
        chosen = chosen[: len(chosen) // 2]
    return columns[:0], error


def _unpack(
    like: NDArray[np.intp], numbers: Numbers, errors: Errors
) -> tuple[NDArray[np.intp], float]:
    if len(errors) != 1:
        raise ValueError("it has another number of errors")
    return (columns_from(numbers, like) if len(numbers) else like[:0]), float(errors[0])


def columns_from(numbers: Numbers, like: NDArray[np.intp]) -> NDArray[np.intp]:
    """Columns of each block, as a journal holds them.

    Raises
    ------
    ValueError
        If they do not put the columns of each block in some sequence.
    """
    if numbers.size != like.size:
        raise ValueError("it has units of other blocks")
    columns = numbers.reshape(like.shape).astype(np.intp)
    if not (np.sort(columns, axis=1) == np.arange(like.shape[1])).all():
        raise ValueError("it names a unit twice")
    return columns


def permuted_columns(blocks: Blocks, columns: NDArray[np.intp]) -> Blocks:
    """The blocks with the columns of out in the sequence of the rows of inp."""
    out = np.take_along_axis(blocks.out_weight, columns[:, None, :], axis=2)
    return replace(blocks, out_weight=out)


def _moves(units: Units, columns: NDArray[np.intp], strength: float) -> tuple[Moves, Floats]:
    """The most promising exchanges with their effects, and the residual; outputs first."""
    blocks, states, pulled, residual = units.linearized(columns)
    found = []
    for block, (x, g) in enumerate(zip(states, pulled, strict=True)):
        activations = units.activations(block, x)
        reads = g @ blocks.out_weight[block]
        likelihoods = units.scores[block][:, columns[block]].astype(np.float64)
        stay = likelihoods.diagonal()
        gains = likelihoods + likelihoods.T - stay[:, None] - stay
        one, other, change = _promising(activations, reads, residual, gains, strength)
        effects = -(activations[:, one] - activations[:, other]) * (reads[:, one] - reads[:, other])
        start = block * len(stay)
        found.append((one + start, other + start, effects.T, change, gains[one, other]))
    first, second, effects, changes, gains = (
        np.concatenate(part) for part in zip(*found, strict=True)
    )
    best = np.argsort(changes, kind="stable")[:CANDIDATES]
    kind = np.full(len(best), Kind.OUTS)
    return Moves(kind, first[best], second[best], effects[best], gains[best]), residual


def _promising(
    a: Floats, c: Floats, residual: Floats, gains: NDArray[np.float64], strength: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Exchanges in one block, by what they are expected to change the objective.

    Parameters
    ----------
    a, c
        Shape (equations, hidden): activations, and what sensitivities read from the columns.
    residual
        Shape (equations,).
    gains
        Shape (hidden, hidden): of the log-likelihood.
    strength
        Of the error.

    Returns
    -------
    tuple
        The two units and the change of the objective of each exchange.
    """
    slopes = (a * residual[:, None]).T @ c
    both, cross = (a * a).T @ (c * c), (a * c).T @ (a * c)
    reads, writes = (a * c * c).T @ a, (c * a * a).T @ c
    slope = slopes + slopes.T - slopes.diagonal()[:, None] - slopes.diagonal()
    square = both + both.T + both.diagonal()[:, None] + both.diagonal()
    square += 4 * cross - 2 * (reads + reads.T + writes + writes.T)
    error = max(float(residual.astype(np.float64) @ residual), TINY)
    after = error + 2 * slope.astype(np.float64) + square
    changes = strength / 2 * np.log(np.maximum(after, 1e-12 * error) / error) - gains
    changes[np.tril_indices(len(changes))] = np.inf
    best = np.argsort(changes, axis=None, kind="stable")[:EACH]
    best = best[changes.ravel()[best] < 0]
    one, other = np.divmod(best, len(changes))
    return one, other, changes.ravel()[best]
