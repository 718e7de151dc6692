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

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork, MlpStack
from unshuffle.ordering.moves import Moves
from unshuffle.ordering.selection import pursuit
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats

Columns = NDArray[np.intp]
"""Shape (blocks, hidden): the column of each unit."""

TINY = 1e-30
"""Stands for an error of 0, whose logarithm the objective cannot take."""


@dataclass(frozen=True)
class UnitExchangeParameters:
    """Numbers that steer exchanges."""

    candidates: int = 512
    """Exchanges that pursuit chooses among."""
    each: int = 64
    """Exchanges of one block among these, at most."""


STANDARD = UnitExchangeParameters()


@dataclass(frozen=True, eq=False)
class Units:
    """Blocks in a row whose columns of out are to be put in the sequence of the rows of inp.

    Parameters
    ----------
    blocks, last
        The columns of out as they are in the pile, and the last layer.
    scores
        Shape (blocks, hidden, hidden): log-likelihoods by weights; entry (b, k, l) is about row k
        of inp and column l of out.
    inputs, predictions
        The rows, of the dtype of the weights.
    """

    blocks: MlpStack
    last: Linear
    scores: NDArray[np.floating]
    inputs: Floats
    predictions: Floats

    def take(self, order: NDArray[np.intp]) -> "Units":
        """The blocks in another order."""
        return replace(self, blocks=self.blocks.take(order), scores=self.scores[order])

    def rows(self, rows: slice | NDArray[np.intp]) -> "Units":
        """Some of the rows."""
        return replace(self, inputs=self.inputs[rows], predictions=self.predictions[rows])

    def permuted(self, columns: Columns) -> MlpNetwork:
        """The network with columns in a sequence."""
        return MlpNetwork(permuted_columns(self.blocks, columns), self.last)

    def mixed(self, soft: Floats) -> MlpNetwork:
        """The network with the out layers that soft permutations make on average."""
        out = np.matmul(self.blocks.out_weight, soft.transpose(0, 2, 1))
        return MlpNetwork(replace(self.blocks, out_weight=out), self.last)

    def activations(self, block: int, x: Floats) -> Floats:
        """Of the units of a block at states x of shape (rows, width): shape (rows, hidden)."""
        z = x @ self.blocks.inp_weight[block].T
        z += self.blocks.inp_bias[block]
        return self.blocks.activation.apply(z)

    def linearized(
        self, columns: Columns, blocks: NDArray[np.intp]
    ) -> tuple[MlpStack, Iterator[tuple[Floats, Floats]], Floats]:
        """What changes of columns do to first order; equations are outputs times rows.

        Returns
        -------
        tuple
            All blocks with columns in a sequence; of each of the chosen ones, activations, shape
            (equations, hidden), and sensitivities to what it writes, shape (equations, width);
            and the residual, shape (equations,).
        """
        network = self.permuted(columns)
        states = network.states(self.inputs)
        pulled = network.sensitivities(states)[1:]
        residual = (self.last(states[-1]) - self.predictions).T.reshape(-1)
        pulled = pulled.reshape(len(pulled), len(residual), -1)
        outputs = len(self.last.bias)
        parts = (
            (np.tile(self.activations(block, states[block]), (outputs, 1)), pulled[block])
            for block in blocks
        )
        return network.blocks, parts, residual

    def error(self, columns: Columns) -> float:
        """Mean squared error; infinite where a state overflows."""
        return self.permuted(columns).error(self.inputs, self.predictions)

    def objective(self, columns: Columns, strength: float) -> float:
        """What is lowered: the error's logarithm, weighed against the likelihood of the columns."""
        likelihood = np.take_along_axis(self.scores, columns[:, :, None], 2).sum()
        return strength / 2 * float(np.log(max(self.error(columns), TINY))) - float(likelihood)


def permuted_columns(blocks: MlpStack, columns: Columns) -> MlpStack:
    """The blocks with the columns of out in a sequence."""
    out = np.take_along_axis(blocks.out_weight, columns[:, None, :], axis=2)
    return replace(blocks, out_weight=out)


def exchanged_units(
    units: Units,
    columns: Columns,
    strength: float,
    clock: Clock,
    by: UnitExchangeParameters = STANDARD,
) -> Iterator[Columns]:
    """Exchange columns while that lowers the objective, and yield better and better ones.

    `strength` is how many independent predictions the error stands for. It raises `OutOfTimeError`
    where the time does not suffice.
    """
    value = units.objective(columns, strength)
    while True:
        moves, residual = _moves(units, columns, strength, clock, by)
        for proposal in exchanges(moves, columns.reshape(-1), residual, strength):
            candidate = proposal.reshape(columns.shape)
            found = units.objective(candidate, strength)
            if found < value:
                break
        else:
            return
        value, columns = found, candidate
        yield columns


def exchanges(
    moves: Moves, entries: NDArray[np.intp], residual: Floats, strength: float
) -> Iterator[NDArray[np.intp]]:
    """Propose exchanges of entries, many at once by matching pursuit; then fewer of them.

    Moves are swaps of the entries' places; `residual` and `strength` are as for `pursuit`.
    """
    chosen = pursuit(moves, residual, strength)
    while len(chosen):
        one, other = moves.first[chosen], moves.second[chosen]
        proposal = entries.copy()
        proposal[one], proposal[other] = entries[other], entries[one]
        yield proposal
        chosen = chosen[: len(chosen) // 2]


def swaps(
    first: NDArray[np.intp], second: NDArray[np.intp], effects: Floats, gains: NDArray[np.float64]
) -> Moves:
    """Exchanges of entries as moves, which pursuit chooses among."""
    role = np.zeros(len(first), np.intp)
    return Moves(first, second, role, role, effects, gains)


def _moves(
    units: Units, columns: Columns, strength: float, clock: Clock, by: UnitExchangeParameters
) -> tuple[Moves, Floats]:
    """The most promising exchanges with their effects, and the residual; outputs first."""
    blocks, parts, residual = units.linearized(columns, np.arange(len(columns)))
    found = []
    for block, (a, g) in enumerate(parts):
        clock.check()
        c = g @ blocks.out_weight[block]
        likelihoods = units.scores[block][:, columns[block]].astype(np.float64)
        stay = likelihoods.diagonal()
        gains = likelihoods + likelihoods.T - stay[:, None] - stay
        changes = strength / 2 * _changes(a, c, residual) - gains
        changes[np.tril_indices(len(changes))] = np.inf
        best = np.argsort(changes, axis=None, kind="stable")[: by.each]
        best = best[changes.ravel()[best] < 0]
        one, other = np.divmod(best, len(stay))
        effects = -(a[:, one] - a[:, other]) * (c[:, one] - c[:, other])
        start = block * len(stay)
        these = (one + start, other + start, effects.T, gains[one, other], changes[one, other])
        found.append(these)
    *moves, changes = (np.concatenate(part) for part in zip(*found, strict=True))
    best = np.argsort(changes, kind="stable")[: by.candidates]
    return swaps(*(part[best] for part in moves)), residual


def _changes(a: Floats, c: Floats, residual: Floats) -> NDArray[np.float64]:
    """Changes of the error's logarithm that exchanges in one block promise: (hidden, hidden).

    Activations, and what sensitivities read from the columns, have shape (equations, hidden).
    """
    slopes = (a * residual[:, None]).T @ c
    both, cross = (a * a).T @ (c * c), (a * c).T @ (a * c)
    reads, writes = (a * c * c).T @ a, (c * a * a).T @ c
    slope = slopes + slopes.T - slopes.diagonal()[:, None] - slopes.diagonal()
    square = both + both.T + both.diagonal()[:, None] + both.diagonal()
    square += 4 * cross - 2 * (reads + reads.T + writes + writes.T)
    error = max(float(residual.astype(np.float64) @ residual), TINY)
    after = error + 2 * slope.astype(np.float64) + square
    return np.asarray(np.log(np.maximum(after, 1e-12 * error) / error))
