"""The published methods, written anew in NumPy and as fast as we could make them.

All pair by the trace and linear assignment. They take one output and ReLU, and judge on the first
1,000 rows. `BASELINES` says where each was published. They differ in seed and repair:

- `frobenius-bubble`: blocks sorted by the Frobenius norm of W_out. Sweeps of adjacent swaps follow,
  then swaps at distances of 2 to 5. Exact forward passes judge each.
- `l1-bubble`: the same from the L1 norm of W_out, which starts closer.
- `adjoint-rounds`: from the L1 seed. One forward and one backward pass predict the effect of every
  adjacent swap. Its finite local change is projected through the adjoint. All confident swaps that
  do not overlap are made at once, unchecked, until none is left.
- `adjoint-single`: the same predictions. Only the best swap is tried, by an exact forward pass, and
  kept if the error falls. Then everything is predicted anew.
- `step-bubble`: greedily the block that moves the states least, then sweeps of adjacent swaps,
  judged exactly. `step-bubble-all`, as published, takes all rows for both.

Some engineering is added. States before a swap are reused, and those of a kept trial. Rows are
split into parts that stay in cache and run in parallel threads. The backward pass reuses the gates
of the forward pass. Local changes are kept unless a kept swap touches them. Every search stops once
the error is rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.assembly import last_layer, mlp_bank, stack_blocks
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.blocks.network import mean_square
from unshuffle.blocks.threads import cores, pool, single_threaded_blas
from unshuffle.errors import UsageError
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.signals import traces
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records

T = TypeVar("T")

Floats = NDArray[np.float32]

# Rows of a part at most: its hidden layer stays in cache.
PART = 512
# An error below this fraction of the predictions' mean square is rounding.
SOLVED = 1e-9

# As in the published code: rows that are judged on, the first ones of the record,
ROWS = 1000
# how much more than this a swap must lower the mean squared error,
LEAST_GAIN = 1e-10
# standard errors by which a predicted gain must exceed nothing,
CONFIDENCE = 1.0
# rounds of `adjoint-rounds`, and the distance of the widest swaps that `bubble` tries at the end.
MOST_ROUNDS = 80
FARTHEST_SWAP = 5


@dataclass(frozen=True, eq=False)
class TransposedWeights:
    """A network, transposed for rows on the left.

    `inp` has the shape (K, width, hidden), `inp_bias` (K, hidden), `out` (K, hidden, width),
    `out_bias` (K, width). The last layer is `reads`, shape (width,), with a bias.
    """

    inp: Floats
    inp_bias: Floats
    out: Floats
    out_bias: Floats
    reads: Floats
    last_bias: np.float32


def weights_of(network: MlpNetwork) -> TransposedWeights:
    """Transpose the weights of a network. `UsageError` if it has several outputs."""
    blocks, last = network.blocks.astype(np.float32), network.last
    if len(last.bias) != 1:
        raise UsageError(
            f"the published methods know one output, not {len(last.bias)}; try another method"
        )
    inp, out = (
        np.ascontiguousarray(weight.transpose(0, 2, 1))
        for weight in (blocks.inp_weight, blocks.out_weight)
    )
    reads, bias = last.weight[0].astype(np.float32), np.float32(last.bias[0])
    return TransposedWeights(inp, blocks.inp_bias, out, blocks.out_bias, reads, bias)


def pair_by_trace(pile: Pile, records: Records) -> tuple[list[tuple[PieceId, PieceId]], PieceId]:
    """Ids of the pairs with the least sum of traces of W_out W_in, and of the last layer.

    `PileError` or `RecordError` says that the pieces, or the record, fit no residual network.
    """
    anatomy = read_anatomy(pile, records)
    pairs = optimal_matching(-traces(mlp_bank(pile, anatomy))).tolist()
    ids = [(pile[anatomy.inp[i]].id, pile[anatomy.out[j]].id) for i, j in pairs]
    return ids, pile[anatomy.last[0]].id


class RowSample:
    """Some of the rows, with the states of the standing order and of a trial on them."""

    def __init__(
        self, blocks: TransposedWeights, inputs: Floats, wanted: Floats, *, adjoint: bool
    ) -> None:
        rows, width = inputs.shape
        length, hidden = blocks.inp_bias.shape
        self.blocks, self.wanted = blocks, wanted
        self.states = np.empty((length + 1, rows, width), np.float32)
        self.states[0] = inputs
        self.trial = np.empty_like(self.states)
        self.hidden = np.empty((rows, hidden), np.float32)
        self.residual = np.empty(rows, np.float32)
        if adjoint:
            self.gates = np.empty((length, rows, hidden), np.bool_)
            self.trial_gates = np.empty_like(self.gates)
            self.changes = np.empty((length - 1, rows, width), np.float32)
            self.effects = np.empty((length - 1, rows), np.float32)
        self.adjoint = adjoint

    def apply(self, block: int, x: Floats, out: Floats) -> Floats:
        """Run a block on rows. Its activations are left in `hidden`."""
        z = np.matmul(x, self.blocks.inp[block], out=self.hidden)
        z += self.blocks.inp_bias[block]
        np.maximum(z, 0, out=z)
        np.matmul(z, self.blocks.out[block], out=out)
        out += self.blocks.out_bias[block]
        out += x
        return out

    def run(self, order: Sequence[int], start: int) -> float:
        """Run an order that agrees with the standing one before `start`; the sum of squares."""
        x = self.states[start]
        for t in range(start, len(order)):
            x = self.apply(order[t], x, self.trial[t + 1])
            if self.adjoint:
                np.greater(self.hidden, 0, out=self.trial_gates[t])
        residual = x @ self.blocks.reads
        residual += self.blocks.last_bias
        residual -= self.wanted
        self.trial_residual = residual
        return float(np.dot(residual, residual))

    def keep(self, start: int) -> None:
        """Let the trial stand."""
        self.states[start + 1 :] = self.trial[start + 1 :]
        self.residual = self.trial_residual
        if self.adjoint:
            self.gates[start:] = self.trial_gates[start:]

    def predict_swaps(self, order: Sequence[int], start: int) -> Floats:
        """First-order change of the prediction by each adjacent swap, shape (K − 1, rows).

        Finite local changes before `start` are those of last time.
        """
        for t in range(start, len(order) - 1):
            between = self.apply(order[t + 1], self.states[t], self.trial[0])
            change = self.apply(order[t], between, self.changes[t])
            change -= self.states[t + 2]
        sensitivity = np.broadcast_to(self.blocks.reads, self.states[0].shape).copy()
        for t in range(len(order) - 1, 0, -1):
            np.einsum("nd,nd->n", sensitivity, self.changes[t - 1], out=self.effects[t - 1])
            gated = np.matmul(sensitivity, self.blocks.out[order[t]].T, out=self.hidden)
            gated *= self.gates[t]
            sensitivity += gated @ self.blocks.inp[order[t]].T
        return self.effects


class ExactTrials:
    """A standing order, with exact trials of others and the states that they share."""

    def __init__(
        self, network: MlpNetwork, records: Records, rows: int | None, *, adjoint: bool = False
    ) -> None:
        known = records.predicted()
        inputs = known.inputs[:rows].astype(np.float32)
        wanted = known.predictions[:rows, 0].astype(np.float32)
        # As many parts as keep every core busy, none of them too large for the cache.
        parts = max(1, -(-len(inputs) // PART))
        parts = min(len(inputs), -(-parts // cores()) * cores())
        split = (np.array_split(each, parts) for each in (inputs, wanted))
        self.blocks = blocks = weights_of(network)
        self.parts = [RowSample(blocks, x, y, adjoint=adjoint) for x, y in zip(*split, strict=True)]
        self.rows = len(inputs)
        self.solved_at = SOLVED * mean_square(wanted)
        self.order: list[int] = []
        self.error = np.inf

    def each(self, work: Callable[[RowSample], T]) -> list[T]:
        """Work on all parts in parallel."""
        return list(pool().map(work, self.parts))

    def trial_error(self, order: Sequence[int], start: int) -> float:
        """Mean squared error of an order that agrees with the standing one before `start`."""
        return sum(self.each(lambda part: part.run(order, start))) / self.rows

    def keep(self, order: Sequence[int], start: int, error: float) -> None:
        """Let the order of the latest trial stand."""
        self.each(lambda part: part.keep(start))
        self.order, self.error = list(order), error

    def begin(self, order: Sequence[int]) -> None:
        """Start from an order."""
        self.keep(order, 0, self.trial_error(order, 0))

    def swap(self, s: int, t: int, least_gain: float) -> bool:
        """Exchange the blocks of two places, s < t, if that lowers the error by enough."""
        order = self.order.copy()
        order[s], order[t] = order[t], order[s]
        error = self.trial_error(order, s)
        if not error < self.error - least_gain:
            return False
        self.keep(order, s, error)
        return True

    @property
    def solved(self) -> bool:
        """Whether the error is rounding."""
        return self.error < self.solved_at


def norm_seed(blocks: TransposedWeights, power: int) -> list[int]:
    """Blocks by the norm of W_out, the smallest first: power 1 for L1, 2 for Frobenius."""
    sizes = (np.abs(blocks.out) ** power).sum(axis=(1, 2))
    return [int(block) for block in np.argsort(sizes, kind="stable")]


def step_seed(search: ExactTrials) -> list[int]:
    """From the inputs on, whichever remaining block has the smallest mean step."""
    remaining = list(range(len(search.blocks.inp)))
    order: list[int] = []

    def sizes(part: RowSample) -> Floats:
        x = part.states[0] if not order else part.trial[0]
        norms = np.empty(len(remaining), np.float32)
        for k, block in enumerate(remaining):
            step = part.apply(block, x, part.trial[1])
            step -= x
            norms[k] = np.sqrt(np.einsum("nd,nd->n", step, step)).sum()
        return norms

    def advance(part: RowSample) -> None:
        x = part.states[0] if len(order) == 1 else part.trial[0]
        part.trial[0] = part.apply(order[-1], x, part.trial[1])

    while remaining:
        order.append(remaining.pop(int(np.sum(search.each(sizes), axis=0).argmin())))
        search.each(advance)
    return order


def bubble(search: ExactTrials, *, back: bool, farthest: int, least_gain: float) -> None:
    """Sweep adjacent swaps there (and back) until none helps; then swaps at larger distances."""
    last = len(search.order) - 1
    sweep = [*range(last), *(range(last - 1, -1, -1) if back else ())]
    improved = True
    while improved and not search.solved:
        improved = False
        for s in sweep:
            improved |= search.swap(s, s + 1, least_gain)
            if search.solved:
                return
    for distance in range(2, farthest + 1):
        for s in range(last + 1 - distance):
            if search.solved:
                return
            search.swap(s, s + distance, least_gain)


def adjoint_rounds(search: ExactTrials) -> None:
    """Make all confident swaps that do not overlap, unchecked, and predict anew."""
    start = 0
    for _ in range(MOST_ROUNDS):
        if search.solved:
            return
        predicted, noise = _predictions(search, max(start - 1, 0))
        useful = (predicted < -LEAST_GAIN) & (predicted < -CONFIDENCE * noise)
        order, used = search.order.copy(), set[int]()
        for t in np.argsort(predicted, kind="stable").tolist():
            if useful[t] and not {t, t + 1} & used:
                order[t], order[t + 1] = order[t + 1], order[t]
                used |= {t, t + 1}
        if not used:
            return
        start = min(used)
        search.keep(order, start, search.trial_error(order, start))


def adjoint_single(search: ExactTrials) -> None:
    """Try the best predicted swap exactly, the next best where it fails, and predict anew."""
    start, improved = 0, True
    while improved and not search.solved:
        predicted, _ = _predictions(search, max(start - 1, 0))
        improved = False
        for t in np.argsort(predicted, kind="stable").tolist():
            if predicted[t] >= 0:
                break
            if search.swap(t, t + 1, 0.0):
                start, improved = t, True
                break


def _predictions(
    search: ExactTrials, start: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predicted change of the mean squared error by each adjacent swap, and its standard error."""
    order = search.order

    def moments(part: RowSample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        effects = part.predict_swaps(order, start)
        effects *= effects + 2 * part.residual
        exact = effects.astype(np.float64)
        return exact.sum(axis=1), np.square(exact).sum(axis=1)

    sums, squares = (np.sum(each, axis=0) for each in zip(*search.each(moments), strict=True))
    mean = sums / search.rows
    variance = np.maximum(squares / search.rows - mean**2, 0) * search.rows / (search.rows - 1)
    return mean, np.sqrt(variance / search.rows)


@dataclass(frozen=True)
class BaselineResult:
    """What a baseline found: the error on the rows it judged on, and the seconds that it took."""

    permutation: tuple[PieceId, ...]
    error: float
    seconds: float


@dataclass(frozen=True)
class Baseline:
    """A published method, which orders the blocks of a search. `slow` if one run is enough.

    It uses the first so many rows, or all for None. It uses sensitivities if it is `adjoint`.
    """

    name: str
    order: Callable[[ExactTrials], None]
    source: str
    rows: int | None = ROWS
    adjoint: bool = False
    slow: bool = False

    def solve(self, pile: Pile, records: Records) -> BaselineResult:
        """Pair and order."""
        started = perf_counter()
        with single_threaded_blas():
            pairs, last = pair_by_trace(pile, records)
            network = MlpNetwork(stack_blocks(pile, pairs), last_layer(pile, last))
            search = self.search(network, records)
        permutation = (*(name for block in search.order for name in pairs[block]), last)
        return BaselineResult(permutation, search.error, perf_counter() - started)

    def search(self, network: MlpNetwork, records: Records) -> ExactTrials:
        """Order the blocks of a network."""
        search = ExactTrials(network, records, self.rows, adjoint=self.adjoint)
        self.order(search)
        return search


def _norm_bubble(power: int, search: ExactTrials) -> None:
    search.begin(norm_seed(search.blocks, power))
    bubble(search, back=True, farthest=FARTHEST_SWAP, least_gain=LEAST_GAIN)


def _adjoint(repair: Callable[[ExactTrials], None], search: ExactTrials) -> None:
    search.begin(norm_seed(search.blocks, 1))
    repair(search)


def _step_bubble(search: ExactTrials) -> None:
    search.begin(step_seed(search))
    bubble(search, back=False, farthest=1, least_gain=0.0)


_PARK = 'Hyunwoo Park, "I Dropped a Neural Net", arXiv:2602.19845'
_ADJOINT = "cezarc1/droppedaneuralnet-puzzle"
_STEP = "alyxya/janestreet-droppedaneuralnet"
_SINGLE = f"{_ADJOINT}, one swap at a time and each checked"

_BASELINES = (
    Baseline("adjoint-rounds", partial(_adjoint, adjoint_rounds), _ADJOINT, adjoint=True),
    Baseline("adjoint-single", partial(_adjoint, adjoint_single), _SINGLE, adjoint=True),
    Baseline("l1-bubble", partial(_norm_bubble, 1), f"{_PARK}, from the L1 norm"),
    Baseline("frobenius-bubble", partial(_norm_bubble, 2), _PARK),
    Baseline("step-bubble", _step_bubble, f"{_STEP}, on {ROWS:,} rows"),
    Baseline("step-bubble-all", _step_bubble, _STEP, rows=None, slow=True),
)
BASELINES = {baseline.name: baseline for baseline in _BASELINES}
