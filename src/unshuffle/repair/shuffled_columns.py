"""Input columns that stand in another sequence than the network reads them.

Moments of the predictions tell the columns apart. They are covariances with each column, its square
and the product of each two columns. The network's own predictions for the inputs have the same
ones, in another sequence. That holds even if the order is only about right. So the sequence is a
matching of two graphs. The Frank-Wolfe algorithm solves it on doubly stochastic matrices
(Vogelstein et al., "Fast approximate quadratic programming for graph matching", 2015). Exchanges of
two columns mend the rest. One backward pass scores them, and the best are judged exactly. Columns
and order are searched in turn.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpNetwork, as_mlp
from unshuffle.blocks.network import mean_square, mean_squares
from unshuffle.errors import PileError
from unshuffle.grouping import pair
from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.seeds import SEEDS
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import ROUNDING, Floats, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import CONVERGED, Outcome
from unshuffle.repair.case import Case
from unshuffle.repair.in_turn import CUT_OFF, arrange_on, as_it_is
from unshuffle.repair.repair import Looks, Repair, hard_row_steps, needs_predictions
from unshuffle.solution.alternatives import problem_of
from unshuffle.solution.arranging import Searching
from unshuffle.solution.findings import Findings
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution

# For each input of the network, the column of the record that holds it.
ColumnOrder = NDArray[np.intp]

COLUMNS = "the input columns are in another sequence"

SHUFFLED = (
    "the input columns are not in the sequence in which the network reads them: in another one, "
    "found with the order, all rows are reproduced to rounding"
)


@dataclass(frozen=True)
class ColumnParameters:
    """Numbers that steer the search for columns and order."""

    seed_rows: int = 64  # Inputs that seeds look at.
    seeded: int = 4  # Orders by seeds from which columns are matched.
    rows_per_column: int = 10  # Rows for each column without which the moments are noise.
    # Likeness of the moments of a record and of a network in the order of a seed from which on the
    # columns are taken to be in sequence, over that of matched columns: it was 0.97 then, and else
    # 0.8 at most.
    in_sequence: float = 0.8
    starts: int = 16  # Matchings that are begun, all but the first at random.
    iterations: int = 60  # Iterations of a matching, at most.
    finalists: int = 3  # Matchings of each network, and of all, that go on.
    judged_rows: int = 400  # Rows on which exchanges are judged, and orders by seeds compared.
    judged: int = 16  # Exchanges that are judged exactly.
    most_judged: int = 64  # Exchanges that are judged if none of those helps, at most.
    widening: int = 4  # Factor that leads from the one to the other.
    rounds: int = 6  # Rounds of searching for the order and for the columns in turn.
    steps: int = 60  # Steps of a search for the order between two searches for columns.
    helpful: float = 0.9  # A round helps if it leaves at most this part of the error.
    near: float = 1.0  # Part of the predictions' variance from which on no order is searched.
    nowhere: float = 0.25  # The same from which on a search in vain is nowhere near its record.
    patience: int = 32  # Steps of that search before other sequences are tried.


STANDARD = ColumnParameters()


@dataclass(frozen=True, eq=False)
class Moments:
    """Covariances of predictions with single columns and couples of them.

    `singles`, shape (2 × outputs, width), are those with each standardised column and its square;
    `couples`, shape (outputs, width, width), those with products of two, 0 on the diagonal.
    """

    singles: NDArray[np.float64]
    couples: NDArray[np.float64]

    @classmethod
    def of(cls, inputs: Floats, predictions: Floats) -> "Moments":
        """Of rows of inputs, (rows, width), and predictions, (rows, outputs)."""
        x, y = standardised_columns(inputs), standardised_columns(predictions)
        couples = np.stack([(x * column[:, None]).T @ x for column in y.T]) / len(x)
        squares = np.diagonal(couples, axis1=1, axis2=2).copy()
        couples[:, range(x.shape[1]), range(x.shape[1])] = 0
        return cls(np.concatenate([y.T @ x / len(x), squares]), couples)

    def likeness(self, other: "Moments", columns: ColumnOrder | None = None) -> float:
        """Cosine of all covariances, of the other's with its columns in some sequence."""
        one, two = self._vector(), other._vector(columns)
        norms = np.linalg.norm(one) * np.linalg.norm(two)
        return float(one @ two / max(float(norms), ROUNDING))

    def _vector(self, columns: ColumnOrder | None = None) -> NDArray[np.float64]:
        """All covariances in a row; each couple is there twice."""
        singles, couples = self.singles, self.couples / np.sqrt(2)
        if columns is not None:
            singles, couples = singles[:, columns], couples[:, columns][:, :, columns]
        return np.concatenate([singles.ravel(), couples.ravel()])


def standardised_columns(values: Floats) -> NDArray[np.float64]:
    """Columns with mean 0 and variance 1; a constant one is 0."""
    x = values - values.mean(axis=0, dtype=np.float64)
    spread = x.std(axis=0)
    return np.asarray(x / np.where(spread > ROUNDING, spread, np.inf))


def match_columns(
    ours: Moments,
    theirs: Moments,
    rng: np.random.Generator,
    clock: Clock,
    by: ColumnParameters = STANDARD,
) -> list[ColumnOrder]:
    """Matchings of a network's inputs with the columns of a record, the likeliest first.

    It raises `OutOfTimeError` where the time does not suffice.
    """
    linear = ours.singles.T @ theirs.singles
    width = len(linear)
    even = np.full((width, width), 1 / width)
    found: dict[tuple[int, ...], float] = {}
    for start in range(by.starts):
        clock.check()
        mixed = even if not start else (even + np.eye(width)[rng.permutation(width)]) / 2
        for _ in range(by.iterations):
            slope = linear + 2 * np.sum(ours.couples @ mixed @ theirs.couples, axis=0)
            step = np.eye(width)[optimal_matching(slope)[:, 1]] - mixed
            gain = float(np.sum(step * slope))
            if gain < ROUNDING:
                break
            bend = float(np.sum(step * np.sum(ours.couples @ step @ theirs.couples, axis=0)))
            mixed = mixed + (1.0 if bend >= 0 else min(1.0, -gain / (2 * bend))) * step
        columns = optimal_matching(mixed)[:, 1]
        permuted = theirs.couples[:, columns][:, :, columns]
        alike = float(np.sum(ours.couples * permuted) + linear[np.arange(width), columns].sum())
        found[tuple(columns.tolist())] = alike
    ranked = sorted(found, key=lambda columns: -found[columns])
    return [np.array(columns, np.intp) for columns in ranked]


def exchange_columns(
    network: MlpNetwork,
    known: Records,
    columns: ColumnOrder,
    clock: Clock,
    by: ColumnParameters = STANDARD,
) -> tuple[float, ColumnOrder]:
    """Exchange two columns after the other while that lowers the error, and there is time."""
    some = known.first(by.judged_rows)
    error, judged = _error(network, some, columns), by.judged
    while judged <= by.most_judged and not clock.out:
        candidates = [*_exchanges(network, some, columns, judged)]
        errors = [_error(network, some, each) for each in candidates]
        best = int(np.argmin(errors))
        if errors[best] < error:
            error, columns, judged = errors[best], candidates[best], by.judged
        else:
            judged *= by.widening
    return error, columns


def _exchanges(
    network: MlpNetwork, some: Records, columns: ColumnOrder, most: int
) -> Iterator[ColumnOrder]:
    """The exchanges of two columns that promise most to first order."""
    inputs = network.last.enter(some.inputs[:, columns])
    with np.errstate(over="ignore", invalid="ignore"):
        states = network.states(inputs)
        adjoint = network.adjoints(states)[0].astype(np.float64)
        left = (network.last(states[-1]) - some.predictions).T.astype(np.float64)
    x, errors = inputs.astype(np.float64), []
    for a in range(len(columns) - 1):
        apart = x[:, a, None] - x[:, a + 1 :]
        pull = adjoint[:, :, a, None] - adjoint[:, :, a + 1 :]
        errors.append(mean_squares(left[:, :, None] - pull * apart, axis=(0, 1)))
    first, second = np.triu_indices(len(columns), 1)
    ranked = np.argsort(np.nan_to_num(np.concatenate(errors), nan=np.inf), kind="stable")
    for k in ranked[:most]:
        tried = columns.copy()
        tried[[first[k], second[k]]] = columns[[second[k], first[k]]]
        yield tried


def _error(network: MlpNetwork, some: Records, columns: ColumnOrder) -> float:
    return network.error(some.inputs[:, columns], some.predictions)


def _run(case: Case, _: Solution | None = None, by: ColumnParameters = STANDARD) -> Solution | None:
    """Search for the columns and the order in turn; `KeyboardInterrupt` if that is interrupted."""
    pile, records, options = case.pile, case.records, case.options
    known = records.predicted()
    beginnings = _beginnings(pile, known, options, by)
    if _suffice(known, by):
        case.tests[COLUMNS] = bool(beginnings)
    tried = (_in_turn(pile, records, options, beginning, by) for beginning in beginnings)
    solution = next((solution for solution in tried if solution is not None), None)
    if solution is not None and solution.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    return None if solution is None or solution.outcome is Outcome.BUDGET_SPENT else solution


def _beginnings(
    pile: Pile, known: Records, options: Options, by: ColumnParameters
) -> list[tuple[float, ColumnOrder]]:
    """Sequences to begin with, by their errors; none where the columns seem to be in sequence."""
    clock = options.clock
    if not _suffice(known, by):
        return []
    theirs = Moments.of(known.inputs, known.predictions)
    networks = _seeded_networks(pile, known, options, by)
    ours = [Moments.of(known.inputs, network.predict(known.inputs)) for network in networks]
    rng, some = np.random.default_rng(options.seed), known.first(by.judged_rows)
    if any(_in_sequence(one, theirs, rng, clock, by) for one in ours):
        return []
    begun: list[tuple[float, MlpNetwork, ColumnOrder]] = []
    for network, one in zip(networks, ours, strict=True):
        matched = match_columns(one, theirs, rng, clock, by)[: by.finalists]
        begun += [(_error(network, some, columns), network, columns) for columns in matched]
    begun.sort(key=lambda each: each[0])
    mended = []
    for _, network, columns in begun[: by.finalists]:
        clock.check()
        mended.append(exchange_columns(network, known, columns, clock, by))
    return sorted(mended, key=lambda each: each[0])


def _in_sequence(
    ours: Moments, theirs: Moments, rng: np.random.Generator, clock: Clock, by: ColumnParameters
) -> bool:
    """Whether a record's moments resemble a network's as well as those of matched columns do."""
    as_given = ours.likeness(theirs)
    if as_given > by.in_sequence:
        return True
    (matched,) = match_columns(ours, theirs, rng, clock, replace(by, starts=1))
    return as_given > by.in_sequence * ours.likeness(theirs, matched)


def _suffice(known: Records, by: ColumnParameters) -> bool:
    """Whether there are columns to exchange, and rows enough for moments."""
    return known.width > 1 and len(known) >= by.rows_per_column * known.width


def _in_turn(
    pile: Pile,
    records: Records,
    options: Options,
    begun: tuple[float, ColumnOrder],
    by: ColumnParameters,
) -> Solution | None:
    """Search for the order and exchange columns in turn; a solution if it is found or cut off."""
    solution, clock, (error, columns) = None, options.clock, begun
    for _ in range(by.rounds):
        if not error < by.near * records.variance:
            break
        findings = Findings(notes=(SHUFFLED,), columns=tuple(columns.tolist()))
        sequenced = findings.undone(records)
        solution = arrange_on(pile, sequenced, options, by.steps, solution)
        if solution.exact:
            told = solution.ended(Outcome.APPROXIMATE, findings)
            return as_it_is(pile, records, options, solution) or told
        if solution.outcome in CUT_OFF:
            return solution
        network, known = as_mlp(solution.network), records.predicted()
        better, exchanged = exchange_columns(network, known, columns, clock, by)
        if not better < by.helpful * error:
            break
        error, columns = better, exchanged
    return None


def _seeded_networks(
    pile: Pile, known: Records, options: Options, by: ColumnParameters
) -> list[MlpNetwork]:
    """Networks ordered by seeds, the few whose predictions are distributed as the record's."""
    few = known.first(by.judged_rows)
    reference, some = np.sort(few.predictions, axis=0), known.inputs[: by.seed_rows]
    networks: list[tuple[float, MlpNetwork]] = []
    for activation in options.activations:
        pairing = pair(pile, known, activation=activation, clock=options.clock, by=options.grouping)
        problem = problem_of(pile, known, pairing.anatomy, pairing, activation)
        network = as_mlp(problem.network(problem.grouped))
        with np.errstate(over="ignore", invalid="ignore"):
            rankings = [seed.rank(network, some) for seed in SEEDS.values()]
        for order in (order for ranking in rankings for order in (ranking, ranking[::-1])):
            ordered = replace(network, blocks=network.blocks.take(order))
            apart = np.sort(ordered.predict(few.inputs), axis=0) - reference
            networks.append((mean_square(apart), ordered))
        options.clock.check()
    networks.sort(key=lambda each: each[0])
    return [network for distance, network in networks[: by.seeded] if np.isfinite(distance)]


def _requires(case: Case) -> str | None:
    return needs_predictions(case) or _open_roles(case.whole)


def _open_roles(whole: Anatomy | PileError) -> str | None:
    """Why nothing is known of how inputs and layers correspond; None where it is."""
    known = not isinstance(whole, PileError) and not whole.interchangeable and len(whole.last) == 1
    return None if known else "shapes do not tell the roles of the layers"


def _looks(case: Case, searching: Searching, by: ColumnParameters = STANDARD) -> Looks:
    """Try other sequences once the search is nowhere near."""
    steps, nowhere = searching.trace.steps, by.nowhere * case.records.variance

    def due() -> bool:
        enough = len(steps) >= by.patience and searching.row_steps >= hard_row_steps(searching)
        return enough and steps[-1].error > nowhere

    while not due():
        yield None
    yield lambda: _run(case, by=by)


SHUFFLED_COLUMNS = Repair(
    "shuffled columns",
    suspects=lambda _, solution: 0.8 * (solution is not None and solution.outcome in CONVERGED),
    run=_run,
    requires=_requires,
    looks=_looks,
)
