"""What stands between pieces and record is fitted, and the order searched for, in turn."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np

from unshuffle.blocks.mlp import MlpNetwork, as_mlp
from unshuffle.errors import RecordError
from unshuffle.ordering.search import InVain, Steps
from unshuffle.ordering.seeds import Ranking
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.decimals import steps
from unshuffle.proof.independence import affine
from unshuffle.proof.outcome import SETTLED, Outcome
from unshuffle.proof.verification import Explanation, Verification, judge_network
from unshuffle.repair.case import Case
from unshuffle.repair.repair import (
    UNSOLVED,
    Looks,
    Repair,
    far_from,
    is_far,
    needs_predictions,
    patient_row_steps,
)
from unshuffle.solution.arranging import Searching, Start, arrange, given
from unshuffle.solution.findings import Findings
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution

CUT_OFF = (Outcome.BUDGET_SPENT, Outcome.INTERRUPTED)


@dataclass(frozen=True)
class TurnParameters:
    """Numbers that steer searching and fitting in turn. Row steps are rows of all steps."""

    rounds: int = 6  # Rounds of searching for the order and fitting in turn.
    steps: int = 120  # Steps of a search between two fits.
    row_steps: int = 512  # Row steps for each block after which a search that is still far is left.
    least_row_steps: int = 2048  # The same in all, at least.
    near: float = 8.0  # How many times as many one that is near may take.
    helpful: float = 0.9  # A round helps if it leaves at most this part of the error.
    rivals: int = 3  # Exchanges of neighbours to which numbers are fitted too.
    # Part of the predictions' variance that is left at most where other orders are tried.
    moved: float = 0.0
    moves: int = 64  # Orders to which numbers are fitted then, at most: of short moves first.


STANDARD = TurnParameters()
LONGER = TurnParameters(moved=0.5)


class Distortion(Protocol):
    """What may stand between the pieces and a record: it is undone before the order is sought."""

    @property
    def assumption(self) -> str:
        """What is wrong where this is right, in a sentence without a full stop."""

    @property
    def patience(self) -> float:
        """How many times the usual steps, and row steps, its search may take."""

    @property
    def begun(self) -> Arrangement | None:
        """The arrangement that its search begins with, where one is known."""

    def undone(self, case: Case) -> tuple[Records, Options]:
        """The record, and how it is searched, without it."""

    def fitted(self, network: MlpNetwork, case: Case) -> "Distortion | None":
        """The same, fitted to what a search has found. None where there is nothing to fit."""

    def told(self, solution: Solution) -> Solution:
        """A solution that reproduces what was undone, with what that was."""


class FittedNumbers(ABC):
    """A distortion by numbers that are fitted, which a solution keeps among its findings."""

    patience, begun = 1.0, None

    @property
    @abstractmethod
    def findings(self) -> Findings:
        """What a solution says of it."""

    def undone(self, case: Case) -> tuple[Records, Options]:
        """The record with what the network read and predicted."""
        return self.findings.undone(case.records), case.options

    def told(self, solution: Solution) -> Solution:
        """The solution with its numbers. Since they are fitted, it is approximate."""
        return solution.ended(Outcome.APPROXIMATE, self.findings)


def arrange_on(
    pile: Pile,
    records: Records,
    options: Options,
    steps: int,
    before: Solution | None = None,
    *,
    begun: Arrangement | None = None,
    row_steps: float = np.inf,
    by: TurnParameters = STANDARD,
) -> Solution:
    """Search a few steps, from where an earlier search ended unless that was of other pieces.

    It is left if it is far after so many row steps, or after a few times as many.
    """
    start = None if begun is None else Start(begun, Trace(pile.ids))
    if before and before.trace.ids == pile.ids and 2 * len(before.arrangement) + 1 == len(pile):
        # A search adds to the trace that it begins with; the one that was found stays as it is.
        start = Start(before.arrangement, before.trace.copy())
    done = 0 if start is None else len(start.trace)
    stops = (
        Steps(steps, before=done),
        InVain(row_steps, far_from(records), 0, done),
        InVain(by.near * row_steps, 0.0, 0, done),
    )
    return arrange(pile, records, options, start=start, stops=stops)


def as_it_is(pile: Pile, records: Records, options: Options, solution: Solution) -> Solution | None:
    """The same answer if it reproduces the record as it is exactly; else None."""
    options = replace(options, activation=solution.activation)
    found = given(pile, records, options, solution.trace.names(solution.arrangement))
    return replace(found, trace=solution.trace) if found.exact else None


def solved_without(
    case: Case, distortion: Distortion, by: TurnParameters = STANDARD
) -> Solution | None:
    """A solution of what is left once a distortion is undone, which is fitted in turn.

    None where the record is not reproduced so. The case notes what was left. Where the answer
    reproduces the record without the change, nothing is said of it.
    """
    solution, error, begun, first = None, np.inf, distortion.begun, distortion
    most = distortion.patience * max(by.least_row_steps, by.row_steps * (len(case.pile) // 2))
    for _ in range(by.rounds):
        if case.options.clock.out:
            return None
        records, options = distortion.undone(case)
        try:
            solution = arrange_on(
                case.pile,
                records,
                options,
                int(distortion.patience * by.steps),
                solution,
                begun=begun,
                row_steps=most,
                by=by,
            )
        except RecordError:  # what is left is no network's record, as where it sums to 1
            return None
        share = solution.mse / records.variance
        case.left[distortion.assumption] = min(share, case.left.get(distortion.assumption, np.inf))
        if _is_believed(case, distortion, solution):
            return believed(case, distortion, solution, by)
        found = _fitted(case, [distortion], as_mlp(solution.network))
        if solution.outcome in CUT_OFF or found is None:
            return None
        if not found.left < by.helpful * error:
            found = _unstuck(case, found, first, by)
            if found is None:
                return None
            begun, solution = solution.arrangement[found.order], None
        error, distortion = found.left, found.distortion
    return None


@dataclass(frozen=True, eq=False)
class _Fit:
    """A network in a sequence of its blocks, and a distortion that is fitted to it."""

    left: float  # part of the predictions' variance that is left
    distortion: Distortion
    network: MlpNetwork
    order: Ranking  # of the blocks of the network that a search has found


def _fitted(
    case: Case,
    beginnings: Iterable[Distortion],
    network: MlpNetwork,
    order: Ranking | None = None,
) -> _Fit | None:
    """The best of some distortions, each fitted to a network. None where none can be."""
    order = np.arange(len(network.blocks)) if order is None else order
    fits = []
    for each in beginnings:
        fitted = each.fitted(network, case)
        known = None if fitted is None else fitted.undone(case)[0].predicted()
        if fitted is not None and known:
            left = network.error(known.inputs, known.predictions) / known.variance
            fits.append(_Fit(left, fitted, network, order))
    return min(fits, key=lambda fit: fit.left, default=None)


def _unstuck(case: Case, found: _Fit, first: Distortion, by: TurnParameters) -> _Fit | None:
    """What leaves less than numbers in the order, and with the activation, that a search has found.

    Numbers that are fitted to a wrong order hide that another one is better. So single blocks are
    moved, and numbers fitted to each order. Where nothing else is wrong, they may be found from
    their first guess alone. None where nothing does, and far from the record.
    """
    before = found.left
    if not before < by.moved:
        return None
    for activation in case.options.activations:
        network = replace(
            found.network, blocks=replace(found.network.blocks, activation=activation)
        )
        other = _fitted(case, [found.distortion, first], network)
        found = other if other is not None and other.left < found.left else found
    while not case.options.clock.out:
        moves = islice(_moves(len(found.order)), by.moves)
        rivals = (
            _fitted(case, [found.distortion], replace(found.network, blocks=blocks), order)
            for move in moves
            for blocks, order in [(found.network.blocks.take(move), found.order[move])]
        )
        least = min(filter(None, rivals), key=lambda fit: fit.left, default=found)
        if not least.left < by.helpful * found.left:
            break
        found = least
    return found if found.left < by.helpful * before else None


def _moves(length: int) -> Iterator[Ranking]:
    """Shifts of a block, and exchanges of two, the shortest first."""
    for by in range(1, length):
        for low in range(length - by):
            places = np.arange(low, low + by + 1)
            ends = places[[-1, *range(1, by), 0]]
            for moved in (ends, np.roll(places, 1), np.roll(places, -1))[: 1 if by == 1 else 3]:
                order = np.arange(length)
                order[places] = moved
                yield order


def believed(
    case: Case, distortion: Distortion, solution: Solution, by: TurnParameters = STANDARD
) -> Solution | None:
    """What is said of a solution that reproduces what was undone. None where others do so too.

    Where its answer reproduces the record as it is, nothing had to be undone.
    """
    plain = as_it_is(case.pile, case.records, case.options, solution)
    if plain is not None:
        return plain
    return distortion.told(solution) if _tells(case, distortion, solution, by) else None


def _tells(case: Case, distortion: Distortion, solution: Solution, by: TurnParameters) -> bool:
    """Whether the record speaks for an order once numbers are fitted: not if others fit too.

    One that only noise explains is no rival of an order that leaves nothing but rounding, or last
    digits.
    Predictions that are an affine function of the inputs to rounding, constant ones among them, fit
    any order: so do those of inputs that vanish beside the biases.
    """
    network, clock = as_mlp(solution.network), case.options.clock
    if affine(network, distortion.undone(case)[0].predicted()):
        return False
    for order in _other_orders(solution, by):
        rival = replace(network, blocks=network.blocks.take(order))
        fitted = distortion.fitted(rival, case)
        if fitted is None:
            continue
        known = fitted.undone(case)[0].predicted()
        found = judge_network(rival, known, case.pile.stored_as, clock)
        worse = solution.exact and found.explanation is Explanation.NOISE
        if _is_believed(case, fitted, found) and not worse:
            return False
    return True


def _other_orders(solution: Solution, by: TurnParameters) -> Iterator[Ranking]:
    """The reverse order, and those with two neighbours exchanged of which it says least."""
    order = np.arange(len(solution.arrangement))
    if len(order) > 1:
        yield order[::-1]
    contests = () if solution.certificate is None else solution.certificate.neighbours
    for weak in sorted(contests, key=lambda each: each.log_odds)[: by.rivals]:
        other = order.copy()
        other[[*weak.places]] = weak.places[::-1]
        yield other


def _is_believed(case: Case, distortion: Distortion, found: Solution | Verification) -> bool:
    """Whether a record is reproduced. Noise is no proof, unless it is less than a last digit."""
    noise = found.explanation is Explanation.NOISE
    return found.outcome in SETTLED and not (noise and found.mse > _last_digits(case, distortion))


def _last_digits(case: Case, distortion: Distortion) -> float:
    """Mean square of what the last digits of the predictions come to, once they are undone."""
    known = case.records.predicted()
    given = known.predictions.astype(np.float64)
    digit = np.maximum(steps(given), np.finfo(np.float32).eps * np.abs(given))
    here, there = (
        distortion.undone(replace(case, records=replace(known, predictions=each)))[0].predictions
        for each in (given, given + digit)
    )
    return float(np.nanmean(np.square(there - here)))


def repair_by(
    name: str,
    suspicion: float,
    candidates: Callable[[Case], Iterable[Distortion]],
    *,
    evident: Callable[[Case], bool] = lambda case: False,
    requires: Callable[[Case], str | None] = lambda case: None,
    after: int = 0,
    by: TurnParameters = STANDARD,
) -> Repair:
    """A repair that undoes each of some distortions in turn, until the record is reproduced so.

    Where it is evident it comes before any search. Else it looks once at a search that is far from
    its record, after so many row steps, and all that a hard record takes. What it tries may take
    longer than the search itself, of few blocks too.
    """

    def run(case: Case, _: Solution | None) -> Solution | None:
        tried = (solved_without(case, each, by) for each in candidates(case))
        return next((found for found in tried if found is not None), None)

    def looks(case: Case, searching: Searching) -> Looks:
        least = max(after, patient_row_steps(searching))
        while searching.row_steps < least or not is_far(searching):
            yield None
        yield lambda: run(case, None)

    def suspects(case: Case, solution: Solution | None) -> float:
        if solution is None:
            return float(evident(case))
        return suspicion * (solution.outcome in UNSOLVED)

    def unable(case: Case) -> str | None:
        return needs_predictions(case) or requires(case)

    return Repair(name, suspects, run, unable, looks)
