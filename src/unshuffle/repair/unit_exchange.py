"""Other columns of out layers for the hidden units, by the record and what weights say of units.

With everything else in place the prediction is linear in an out layer: a change of column k moves
it by a_k (g · change), with the unit's activation a and the sensitivities g. All units of a block
are assigned anew by least squares: under a Gaussian prior with the covariance of the block's own
columns, the changes that explain the residual best are those of a Gaussian process, as in
`unshuffle.repair.gaps`. Each unit then gets the column that is closest to what it should have, as
far as the record sees it, weighed against what the weights say.

Two units k and l that are given each other's columns have the effect −(a_k − a_l) (c_k − c_l),
where c is what the sensitivities read from a column. Slopes and squares of all exchanges of a block
are sums of a few matrix products. The most promising exchanges are chosen together by matching
pursuit and judged exactly. What is lowered is ``strength / 2 · log(error)`` minus the
log-likelihoods of the columns by weights: without these a few thousand predictions would be
explained by wrong exchanges.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork, MlpStack
from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.moves import Moves
from unshuffle.ordering.selection import pursuit
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats

# Shape (blocks, hidden): the column of each unit.
Columns = NDArray[np.intp]

# Stands for an error of 0, whose logarithm the objective cannot take.
TINY = 1e-30


@dataclass(frozen=True)
class UnitParameters:
    """Numbers that steer exchanges, and the assignment of all units of a block."""

    candidates: int = 512  # Exchanges that pursuit chooses among.
    each: int = 64  # Exchanges of one block among these, at most.
    doubted: int = 4  # Blocks whose units are all assigned anew.
    equations: int = 4000  # Predictions of the regression, at most.
    ridge: float = 0.1  # Of the regression, relative to the mean squared error.
    jitter: float = 1e-3  # Added to the covariance of columns, relative to their mean variance.
    # Factors on what the record says: since units act alike, that is less than it seems.
    trust: tuple[float, ...] = (1.0, 0.1)


STANDARD = UnitParameters()


@dataclass(frozen=True, eq=False)
class Units:
    """Blocks in a row whose columns of out are to be put in the sequence of the rows of inp.

    `scores` are log-likelihoods by weights: entry (b, k, l) is about row k of inp and column l of
    out. The rows have the dtype of the weights.
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
        """Of the units of a block at states x: shapes (rows, hidden) and (rows, width)."""
        z = x @ self.blocks.inp_weight[block].T
        z += self.blocks.inp_bias[block]
        return self.blocks.activation.apply(z)

    def linearized(
        self, columns: Columns, blocks: NDArray[np.intp]
    ) -> tuple[MlpStack, Iterator[tuple[Floats, Floats]], Floats]:
        """What changes of columns do to first order; equations are outputs times rows.

        It returns all blocks with columns in a sequence; of each chosen one, activations, shape
        (equations, hidden), and sensitivities to what it writes, shape (equations, width); and the
        residual, shape (equations,).
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


def doubtful_blocks(units: Units, columns: Columns, most: int) -> NDArray[np.intp]:
    """The blocks whose columns weights believe in least."""
    odds = (units.scores - units.scores.max(axis=2, keepdims=True)).astype(np.float64)
    likelihoods = np.exp(odds)
    stay = np.take_along_axis(likelihoods, columns[:, :, None], 2)[:, :, 0]
    sure = (stay / likelihoods.sum(axis=2)).mean(axis=1)
    return np.argsort(sure, kind="stable")[:most]


def reassigned_units(
    units: Units, columns: Columns, clock: Clock, by: UnitParameters = STANDARD
) -> Iterator[Columns]:
    """Propose other columns for all units of the blocks in most doubt, by several trusts.

    None are proposed where so little is left that the ridge is below the kernel's rounding. It
    raises `OutOfTimeError` where the time does not suffice.
    """
    chosen = doubtful_blocks(units, columns, by.doubted)
    some = units.rows(slice(by.equations // len(units.last.bias)))
    blocks, effects, residual = some.linearized(columns, chosen)
    parts = [*effects]
    error = max(float(np.mean(np.square(residual))), TINY)
    kernel = np.zeros((len(residual), len(residual)), residual.dtype)
    covariances = []
    for block, (a, g) in zip(chosen, parts, strict=True):
        clock.check()
        covariance = np.atleast_2d(np.cov(blocks.out_weight[block])).astype(g.dtype)
        covariance.flat[:: blocks.width + 1] += by.jitter * covariance.diagonal().mean()
        kernel += (a @ a.T) * (g @ covariance @ g.T)
        covariances.append(covariance)
    kernel.flat[:: len(kernel) + 1] += by.ridge * error
    try:
        solved = cho_solve(cho_factor(kernel, overwrite_a=True, check_finite=False), -residual)
    except LinAlgError:
        return
    distances = []
    for block, (a, g), covariance in zip(chosen, parts, covariances, strict=True):
        wanted = blocks.out_weight[block] + covariance @ ((g * solved[:, None]).T @ a)
        own = units.blocks.out_weight[block]
        distances.append(_distances(a, g, wanted, own, clock) / error)
    for trust in by.trust:
        proposal = columns.copy()
        for block, distance in zip(chosen, distances, strict=True):
            proposal[block] = optimal_matching(units.scores[block] - trust * distance)[:, 1]
        yield proposal


def _distances(
    a: Floats, g: Floats, wanted: Floats, columns: Floats, clock: Clock
) -> NDArray[np.float64]:
    """Half the squared effect of giving each unit each column in place of the wanted one."""
    distances = np.empty((a.shape[1], columns.shape[1]))
    for unit in range(a.shape[1]):
        clock.check()
        seen = (g * np.square(a[:, unit, None])).T @ g
        change = wanted[:, unit, None] - columns
        distances[unit] = np.einsum("dl,dl->l", change, seen @ change) / 2
    return distances


def exchanged_units(
    units: Units, columns: Columns, strength: float, clock: Clock
) -> Iterator[Columns]:
    """Exchange columns while that lowers the objective, and yield better and better ones.

    `strength` is how many independent predictions the error stands for. It raises `OutOfTimeError`
    where the time does not suffice.
    """
    value = units.objective(columns, strength)
    while True:
        moves, residual = _moves(units, columns, strength, clock)
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
    """Propose exchanges of entries, many at once by matching pursuit; then fewer of them."""
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


def _moves(units: Units, columns: Columns, strength: float, clock: Clock) -> tuple[Moves, Floats]:
    """The most promising exchanges with their effects, and the residual; outputs first."""
    blocks, parts, residual = units.linearized(columns, np.arange(len(columns)))
    by, found = STANDARD, []
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
        found.append(
            (one + start, other + start, effects.T, gains[one, other], changes[one, other])
        )
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
