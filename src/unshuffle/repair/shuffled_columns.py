"""Input columns that stand in another sequence than the network reads them.

Which column of the record is which input, the moments of the predictions tell: their covariances
with each column, with its square and with the product of each two columns. Where columns are
distributed alike, those of a network's own predictions for the record's inputs are the same but for
the sequence, even if the blocks are only about in order. So the sequence is a matching of two
graphs, which the Frank-Wolfe algorithm solves on doubly stochastic matrices (Vogelstein et al.,
"Fast approximate quadratic programming for graph matching", 2015). What is wrong in it then is
mended by exchanges of two columns, all scored to first order from one backward pass, the best of
them judged exactly; and the order of the blocks is searched in turn.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from unshuffle.blocks.network import Network
from unshuffle.grouping import pair
from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.seeds import SEEDS
from unshuffle.ordering.trace import Step
from unshuffle.pieces.pile import Floats, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import Outcome
from unshuffle.solution.arranging import Options, Start, arrange, problem_of
from unshuffle.solution.findings import Findings
from unshuffle.solution.solution import Solution

Columns = NDArray[np.intp]
"""For each input of the network, the column of the record that holds it."""

STARTS = 16
"""Matchings that are begun, all but the first at random, of which the best few go on."""

ITERATIONS = 60

FINALISTS = 3
"""Matchings, with different seeds, from which columns are exchanged."""

JUDGED_ROWS = 400
"""Rows on which exchanges are judged, and orders by seeds compared."""

JUDGED, MOST_JUDGED = 16, 64
"""Exchanges that are judged exactly, and how many if none of those helps."""

SEED_ROWS = 64
"""Inputs that seeds look at,"""
SEEDED = 4
"""and orders by seeds from which columns are matched."""

ROWS_PER_COLUMN = 10
"""Rows without which the moments are noise."""

IN_SEQUENCE = 0.2
"""Likeness of the moments of a record and of a network with blocks in the order of a seed, from
which on the columns are taken to be in sequence: mostly it is 0.9 then, and else below 0.1."""

CUT_OFF = (Outcome.BUDGET_SPENT, Outcome.INTERRUPTED)

STEPS = 60
"""Steps of a search for the order between two searches for columns."""

ROUNDS = 6

HELPFUL = 0.9
"""A round helps if it leaves at most this part of the error."""

NEAR = 0.5
"""Part of the predictions' variance that must not be left when the order is searched."""

TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Moments:
    """How predictions follow single columns and couples of them.

    Parameters
    ----------
    singles
        Shape (2 × outputs, width): covariances with each standardised column and its square.
    couples
        Shape (outputs, width, width): with the products of two, 0 on the diagonal.
    """

    singles: NDArray[np.float64]
    couples: NDArray[np.float64]

    @classmethod
    def of(cls, inputs: Floats, predictions: Floats) -> "Moments":
        """Of rows of inputs, (rows, width), and predictions, (rows, outputs)."""
        x, y = _standard(inputs), _standard(predictions)
        couples = np.stack([(x * column[:, None]).T @ x for column in y.T]) / len(x)
        squares: NDArray[np.float64] = np.stack([matrix.diagonal() for matrix in couples])
        for matrix in couples:
            np.fill_diagonal(matrix, 0)
        return cls(np.concatenate([y.T @ x / len(x), squares]), couples)

    def likeness(self, other: "Moments") -> float:
        """Cosine of the covariances with products of two columns."""
        norms = np.linalg.norm(self.couples) * np.linalg.norm(other.couples)
        return float(np.sum(self.couples * other.couples) / max(float(norms), TINY))


def match_columns(ours: Moments, theirs: Moments, rng: np.random.Generator) -> list[Columns]:
    """Matchings of a network's inputs with the columns of a record, by moments.

    Returns
    -------
    list
        The different ones that were found, the likeliest first.
    """
    linear = ours.singles.T @ theirs.singles
    width = len(linear)
    even = np.full((width, width), 1 / width)
    found: dict[tuple[int, ...], float] = {}
    for start in range(STARTS):
        mixed = even if not start else (even + np.eye(width)[rng.permutation(width)]) / 2
        for _ in range(ITERATIONS):
            slope = linear + 2 * np.sum(ours.couples @ mixed @ theirs.couples, axis=0)
            step = np.eye(width)[_assign(slope)] - mixed
            gain = float(np.sum(step * slope))
            if gain < TINY:
                break
            bend = float(np.sum(step * np.sum(ours.couples @ step @ theirs.couples, axis=0)))
            mixed = mixed + (1.0 if bend >= 0 else min(1.0, -gain / (2 * bend))) * step
        columns = _assign(mixed)
        permuted = theirs.couples[:, columns][:, :, columns]
        alike = float(np.sum(ours.couples * permuted) + linear[np.arange(width), columns].sum())
        found[tuple(columns.tolist())] = alike
    ranked = sorted(found, key=lambda columns: -found[columns])
    return [np.array(columns, np.intp) for columns in ranked]


def exchange_columns(network: Network, known: Records, columns: Columns) -> tuple[float, Columns]:
    """Exchange two columns after the other until no exchange lowers the error.

    Parameters
    ----------
    network
        An arrangement.
    known
        Rows that all have predictions; the first ones are used.
    columns
        A sequence that is about right.

    Returns
    -------
    tuple
        The mean squared error on those rows, and the columns.
    """
    some = known.take(np.arange(min(JUDGED_ROWS, len(known))))
    inputs = some.inputs.astype(network.last.weight.dtype)
    first, second = np.triu_indices(len(columns), 1)
    error = _error(network, some, columns)
    judged = JUDGED
    while judged <= MOST_JUDGED:
        effects = _effects(network, inputs[:, columns], some.predictions)
        candidates = []
        for k in np.argsort(effects, kind="stable")[:judged]:
            tried = columns.copy()
            tried[[first[k], second[k]]] = tried[[second[k], first[k]]]
            candidates.append((_error(network, some, tried), tried))
        best, better = min(candidates, key=lambda each: each[0])
        if best < error:
            error, columns, judged = best, better, JUDGED
        else:
            judged *= 4
    return error, columns


def _error(network: Network, known: Records, columns: Columns) -> float:
    """Mean squared error on the first rows with the columns in some sequence."""
    some = known.take(np.arange(min(JUDGED_ROWS, len(known))))
    left = network.predict(some.inputs[:, columns]) - some.predictions
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.nan_to_num(np.square(left, dtype=np.float64).mean(), nan=np.inf))


def _effects(network: Network, inputs: Floats, predictions: Floats) -> NDArray[np.float64]:
    """Squared error, to first order, after the exchange of each two columns."""
    with np.errstate(over="ignore", invalid="ignore"):
        states = [*network.states(inputs)]
        sensitivities = network.sensitivities(states)[0].astype(np.float64)
        left = (network.last(states[-1]) - predictions).T.astype(np.float64)
    x = inputs.astype(np.float64)
    effects = []
    for a in range(x.shape[1] - 1):
        apart = x[:, a, None] - x[:, a + 1 :]
        pull = sensitivities[:, :, a, None] - sensitivities[:, :, a + 1 :]
        effects.append(np.square(left[:, :, None] - pull * apart).mean(axis=(0, 1)))
    squares: NDArray[np.float64] = np.nan_to_num(np.concatenate(effects), nan=np.inf)
    return squares


def _assign(scores: NDArray[np.float64]) -> Columns:
    """The best one-to-one assignment: for each row its column."""
    pairs = optimal_matching(scores)
    columns = np.empty(len(scores), np.intp)
    columns[pairs[:, 0]] = pairs[:, 1]
    return columns


def _standard(values: Floats) -> NDArray[np.float64]:
    """Columns with mean 0 and variance 1; a constant one is 0."""
    x = values.astype(np.float64)
    x -= x.mean(axis=0)
    spread = x.std(axis=0)
    standard: NDArray[np.float64] = x / np.where(spread > TINY, spread, np.inf)
    return standard


def solve_shuffled(pile: Pile, records: Records, options: Options) -> Solution | None:
    """Search for the sequence of the columns and the order of the blocks in turn.

    Parameters
    ----------
    pile, records, options
        As for `arrange`; the pile is whole.

    Returns
    -------
    Solution or None
        `APPROXIMATE` if the record is reproduced to rounding with its columns in another sequence,
        which its findings then hold; else None.

    Raises
    ------
    KeyboardInterrupt
        If the search is interrupted.
    """
    started = options.clock()
    known = records.predicted()
    if len(known) < ROWS_PER_COLUMN * known.width:
        return None
    theirs = Moments.of(known.inputs, known.predictions)
    with threadpool_limits(1, "blas"):
        networks = _seeded_networks(pile, known, options)
        ours = [Moments.of(known.inputs, network.predict(known.inputs)) for network in networks]
        if max((one.likeness(theirs) for one in ours), default=1.0) > IN_SEQUENCE:
            return None
        rng = np.random.default_rng(options.seed)
        begun: list[tuple[float, Network, Columns]] = []
        for network, one in zip(networks, ours, strict=True):
            if not _time_left(options, started):
                return None
            matched = match_columns(one, theirs, rng)[:FINALISTS]
            begun += [(_error(network, known, columns), network, columns) for columns in matched]
        beginnings = []
        for _, network, columns in sorted(begun, key=lambda each: each[0])[:FINALISTS]:
            if not _time_left(options, started):
                return None
            beginnings.append(exchange_columns(network, known, columns))
        beginnings.sort(key=lambda each: each[0])
    for beginning in beginnings:
        solution = _in_turn(pile, records, options, started, beginning)
        if solution is not None and solution.outcome is Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        if solution is not None:
            return None if solution.outcome is Outcome.BUDGET_SPENT else solution
    return None


def _in_turn(
    pile: Pile,
    records: Records,
    options: Options,
    started: float,
    beginning: tuple[float, Columns],
) -> Solution | None:
    """Search for the order and exchange columns in turn; a solution if it is found or cut off."""
    error, columns = beginning
    start = None
    for _ in range(ROUNDS):
        if not error < NEAR * records.variance:
            break
        sequenced = replace(records, inputs=records.inputs[:, columns])
        timed = options.with_time_left(started)
        solution = arrange(pile, sequenced, timed, start=start, watch=_some)
        if solution.exact:
            return _told(solution, columns)
        if solution.outcome in CUT_OFF:
            return solution
        with threadpool_limits(1, "blas"):
            better, exchanged = exchange_columns(solution.network, records.predicted(), columns)
        if not better < HELPFUL * error:
            break
        error, columns = better, exchanged
        start = Start(solution.trace.steps[-1].order, solution.trace)
    return None


def _seeded_networks(pile: Pile, known: Records, options: Options) -> list[Network]:
    """Networks whose blocks are ordered by seeds, the likeliest few.

    A network and its record have the same distribution of predictions, whatever the sequence.
    """
    few = known.take(np.arange(min(JUDGED_ROWS, len(known))))
    reference = np.sort(few.predictions, axis=0)
    networks: list[tuple[float, Network]] = []
    for activation in options.activations:
        pairing = pair(pile, known, activation=activation)
        problem = problem_of(pile, known, pairing.anatomy, pairing, activation)
        everything = problem.network(tuple(problem.blocks.tolist()))
        some = known.inputs[:SEED_ROWS].astype(everything.last.weight.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for seed in SEEDS.values():
                ranking = seed.rank(everything, some)
                for order in (ranking, ranking[::-1]):
                    network = Network(everything.blocks.take(order), everything.last)
                    apart = np.sort(network.predict(few.inputs), axis=0) - reference
                    distance = float(np.square(apart, dtype=np.float64).mean())
                    networks.append((np.nan_to_num(distance, nan=np.inf), network))
    networks.sort(key=lambda each: each[0])
    return [network for distance, network in networks[:SEEDED] if np.isfinite(distance)]


def _time_left(options: Options, started: float) -> bool:
    return options.time_limit is None or options.clock() - started < options.time_limit


def _some(steps: Iterator[Step]) -> Iterator[Step]:
    return islice(steps, STEPS)


def _told(solution: Solution, columns: Columns) -> Solution:
    """The solution with the sequence among its findings; it is of no record that is there."""
    note = (
        "the input columns are not in the sequence in which the network reads them: in another "
        "one, found with the order, all rows are reproduced to rounding"
    )
    findings = Findings(notes=(note,), columns=tuple(columns.tolist()))
    return replace(solution, outcome=Outcome.APPROXIMATE, findings=findings)
