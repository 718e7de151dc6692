"""Which hidden unit is which, by the record and what weights say of units.

The prediction is linear in an out layer. A change of column k moves it by a_k (g · change), with
the unit's activation a and the adjoints g. Least squares assign all units of a block anew. The
changes have a Gaussian prior with the covariance of the block's own columns, as in
`unshuffle.repair.gaps`. Each unit then gets the column that is closest to its wanted one.

Exchanging the columns of two units k and l has the effect −(a_k − a_l) (c_k − c_l). Here c is what
the adjoints read from a column. Matching pursuit chooses exchanges, which are judged exactly. The
objective is ``strength / 2 · log(error)`` minus the log-likelihoods of the columns by weights.
Without these, wrong exchanges would explain a few thousand predictions.

Where a first guess is too far off, gradient descent on soft permutations goes before. These are
Sinkhorn-normalised exponentials of free logits (Sinkhorn 1964; Mena, Belanger, Linderman & Snoek
2018, arXiv:1802.08665). Adam (Kingma & Ba 2015) lowers the error on batches of rows. They become
permutations by themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork, MlpStack
from unshuffle.blocks.network import mean_square, pull_back
from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.moves import Moves
from unshuffle.ordering.selection import pursuit
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import TINY, Floats
from unshuffle.pieces.records import Records
from unshuffle.repair.triangular import solve_positive

# Shape (blocks, hidden): the column of each unit.
UnitColumns = NDArray[np.intp]


@dataclass(frozen=True)
class UnitParameters:
    """Numbers that steer exchanges, the assignment of all units of a block, and the descent."""

    candidates: int = 512  # Exchanges that pursuit chooses among.
    each: int = 64  # Exchanges of one block among these, at most.
    doubted: int = 4  # Blocks whose units are all assigned anew.
    equations: int = 4000  # Predictions of the regression, at most.
    ridge: float = 0.1  # Of the regression, relative to the mean squared error.
    jitter: float = 1e-3  # Added to the covariance of columns, relative to their mean variance.
    trust: tuple[float, ...] = (1.0, 0.1)  # Factors on the record's word, since units act alike.
    steps: int = 100  # Steps of the descent between two looks at the order.
    averaged: int = 10  # Last steps whose mean error is reported.
    batch: int = 512  # Rows of a step.
    scalings: int = 12  # Rounds of Sinkhorn's normalisation.
    rate: float = 0.1  # Length of a step of Adam, in logits.
    first: float = 0.9  # Share of its first moment that Adam keeps from step to step.
    second: float = 0.99  # Share of its second moment that Adam keeps.
    largest: float = 25.0  # Logits by which a column trails at most: denormal numbers are slow.


STANDARD = UnitParameters()


@dataclass(frozen=True, eq=False)
class Units:
    """Blocks in a row whose columns of out are permuted against the rows of inp.

    `scores` are log-likelihoods by weights. Entry (b, k, l) is about row k of inp and column l of
    out. The rows have the dtype of the weights. Each output is in units of its own spread.
    """

    blocks: MlpStack
    last: Linear
    scores: NDArray[np.floating]
    inputs: Floats
    predictions: Floats

    @classmethod
    def of(
        cls, blocks: MlpStack, last: Linear, scores: NDArray[np.floating], known: Records
    ) -> "Units":
        """Blocks and a record, of which neither the unit nor the offset of an output matters."""
        variances, dtype = known.variances, last.dtype
        unit = np.sqrt(np.where(variances > 0, variances, 1.0)).astype(dtype)
        last = Linear(last.weight / unit[:, None], last.bias / unit)
        predictions = known.predictions.astype(dtype) / unit
        return cls(blocks, last, scores, known.inputs.astype(dtype), predictions)

    def take(self, order: NDArray[np.intp]) -> "Units":
        """The blocks in another order."""
        return replace(self, blocks=self.blocks.take(order), scores=self.scores[order])

    def rows(self, rows: slice | NDArray[np.intp]) -> "Units":
        """Some of the rows."""
        return replace(self, inputs=self.inputs[rows], predictions=self.predictions[rows])

    def permuted(self, columns: UnitColumns) -> MlpNetwork:
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
        self, columns: UnitColumns, blocks: NDArray[np.intp]
    ) -> tuple[MlpStack, Iterator[tuple[Floats, Floats]], Floats]:
        """What changes of columns do to first order. Equations are outputs times rows.

        It returns all blocks with these columns. Each chosen block comes with activations
        (equations, hidden) and adjoints (equations, width). The residual (equations,) is last.
        """
        network = self.permuted(columns)
        states = network.states(self.inputs)
        pulled = network.adjoints(states)[1:]
        residual = (self.last(states[-1]) - self.predictions).T.reshape(-1)
        pulled = pulled.reshape(len(pulled), len(residual), -1)
        outputs = len(self.last.bias)
        parts = (
            (np.tile(self.activations(block, states[block]), (outputs, 1)), pulled[block])
            for block in blocks
        )
        return network.blocks, parts, residual

    def error(self, columns: UnitColumns) -> float:
        """Mean squared error; infinite where a state overflows."""
        return self.permuted(columns).error(self.inputs, self.predictions)

    def objective(self, columns: UnitColumns, strength: float) -> float:
        """What is lowered: the error's logarithm, weighed against the likelihood of the columns."""
        likelihood = np.take_along_axis(self.scores, columns[:, :, None], 2).sum()
        return strength / 2 * float(np.log(max(self.error(columns), TINY))) - float(likelihood)


def permuted_columns(blocks: MlpStack, columns: UnitColumns) -> MlpStack:
    """The blocks with the columns of out in a sequence."""
    out = np.take_along_axis(blocks.out_weight, columns[:, None, :], axis=2)
    return replace(blocks, out_weight=out)


def doubtful_blocks(units: Units, columns: UnitColumns, most: int) -> NDArray[np.intp]:
    """The blocks whose columns weights believe in least."""
    odds = (units.scores - units.scores.max(axis=2, keepdims=True)).astype(np.float64)
    likelihoods = np.exp(odds)
    stay = np.take_along_axis(likelihoods, columns[:, :, None], 2)[:, :, 0]
    sure = (stay / likelihoods.sum(axis=2)).mean(axis=1)
    return np.argsort(sure, kind="stable")[:most]


def reassigned_units(
    units: Units, columns: UnitColumns, clock: Clock, by: UnitParameters = STANDARD
) -> Iterator[UnitColumns]:
    """Propose other columns for all units of the blocks in most doubt, by several trusts.

    None are proposed where the ridge is below rounding. `OutOfTimeError` may be raised.
    """
    chosen = doubtful_blocks(units, columns, by.doubted)
    some = units.rows(slice(by.equations // len(units.last.bias)))
    blocks, effects, residual = some.linearized(columns, chosen)
    parts = [*effects]
    error = max(mean_square(residual), TINY)
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
        solved = solve_positive(kernel, -residual)
    except np.linalg.LinAlgError:
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
    units: Units,
    columns: UnitColumns,
    strength: float,
    clock: Clock,
    by: UnitParameters = STANDARD,
) -> Iterator[UnitColumns]:
    """Exchange columns while that lowers the objective, and yield better and better ones.

    The error stands for `strength` independent predictions. `OutOfTimeError` may be raised.
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


def _moves(
    units: Units, columns: UnitColumns, strength: float, clock: Clock, by: UnitParameters
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
        found.append(
            (one + start, other + start, effects.T, gains[one, other], changes[one, other])
        )
    *moves, changes = (np.concatenate(part) for part in zip(*found, strict=True))
    best = np.argsort(changes, kind="stable")[: by.candidates]
    return swaps(*(part[best] for part in moves)), residual


def _changes(a: Floats, c: Floats, residual: Floats) -> NDArray[np.float64]:
    """Changes of the error's logarithm that exchanges in a block promise: (hidden, hidden)."""
    slopes = (a * residual[:, None]).T @ c
    both, cross = (a * a).T @ (c * c), (a * c).T @ (a * c)
    reads, writes = (a * c * c).T @ a, (c * a * a).T @ c
    slope = slopes + slopes.T - slopes.diagonal()[:, None] - slopes.diagonal()
    square = both + both.T + both.diagonal()[:, None] + both.diagonal()
    square += 4 * cross - 2 * (reads + reads.T + writes + writes.T)
    error = max(float(residual.astype(np.float64) @ residual), TINY)
    after = error + 2 * slope.astype(np.float64) + square
    return np.asarray(np.log(np.maximum(after, 1e-12 * error) / error))


class UnitDescent:
    """Soft permutations of units, whose logits begin with the scores, and their optimiser."""

    def __init__(
        self, units: Units, rng: np.random.Generator, by: UnitParameters = STANDARD
    ) -> None:
        self.units, self.rng, self.by, self.steps = units, rng, by, 0
        self.logits = units.scores.copy()
        self.first, self.second = np.zeros_like(self.logits), np.zeros_like(self.logits)

    def soft(self) -> Floats:
        """The doubly stochastic matrices."""
        return doubly_stochastic(self.logits, self.by)

    def descend(self, order: NDArray[np.intp], clock: Clock) -> float:
        """Take steps, one without time, and return the mean error of the last batches."""
        running, slopes = self.units.take(order), np.zeros_like(self.logits)
        count, errors = len(self.units.inputs), []
        for _ in range(self.by.steps):
            batch = self.rng.integers(count, size=min(self.by.batch, count))
            soft = self.soft()
            error, slopes[order] = gradient(running.rows(batch), soft[order])
            errors.append(error)
            self._step(_through_scaling(soft, slopes))
            if clock.out:
                break
        return float(np.mean(errors[-self.by.averaged :]))

    def prefer(self, columns: UnitColumns) -> None:
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


def doubly_stochastic(logits: Floats, by: UnitParameters = STANDARD) -> Floats:
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
    blocks = range(len(soft))
    pulled = pull_back(network.blocks.pullback, blocks, states, last[None])
    for block, (g,) in zip(reversed(blocks), pulled, strict=False):
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
