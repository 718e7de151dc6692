"""How sure an arrangement is: how much worse its rivals fit the record.

Rivals of an arrangement are blocks moved by a few places, and layers exchanged between two blocks.
One forward and one backward pass give, to first order, what each changes in the predictions. The
local change is exact. Let the record err by independent normal noise of variance σ², and let
nothing else tell the rivals apart. Then the log-odds against a rival are the difference of the
squared errors over 2 σ². A statement such as "this block runs before that one" is weighed against
everything that contradicts it: single moves, and couples of moves.

σ² is what the arrangement leaves unexplained, and at least what rounding explains. Coarse weights
leave a residual that is a smooth function of the states. Its rows are not independent: it counts as
so many numbers as the states have features.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil, exp, inf, lgamma, log, sqrt
from operator import attrgetter
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import mean_squares
from unshuffle.files.schema import Derived, OrInfinite
from unshuffle.grouping.evidence import Evidence
from unshuffle.ordering.linearization import linearize
from unshuffle.ordering.moves import Moves, all_swaps, shift_moves, turn_moves, with_swap_effects
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.pieces.fact_table import fact_table
from unshuffle.pieces.pile import TINY, Floats, PieceId
from unshuffle.pieces.records import Records
from unshuffle.proof.effort import EFFORT, Effort
from unshuffle.proof.independence import design_effect, independent_rows
from unshuffle.proof.interchange import Interchange, Part, find_interchange
from unshuffle.proof.noise import find_pattern
from unshuffle.proof.tolerance import Column


@dataclass(frozen=True)
class CertificateParameters:
    """Numbers that decide what is stated.

    Parameters
    ----------
    doubt
        Probability, at most, that a statement which is made is wrong.
    window
        Places by which blocks are moved in rivals, where noise is left.
    rivals
        Exchanges of layers of each block that are weighed, where noise is left.
    typical
        Quantile of the errors of tested arrangements that all others are taken to have.
    """

    doubt: float = 0.01
    window: int = 3
    rivals: int = 2
    typical: float = 0.75

    @property
    def confidence(self) -> float:
        """Probability from which on a statement is made."""
        return 1 - self.doubt

    @property
    def decided(self) -> float:
        """Natural log-odds from which on a statement is made."""
        return log(self.confidence / self.doubt)

    @property
    def information(self) -> float:
        """Squared change of the predictions over the noise variance, summed over all rows.

        With so much, the log-odds against a rival reach `decided` with the same confidence. If the
        sum is s, they are normal with mean s / 2 and variance s.
        """
        deviate = NormalDist().inv_cdf(self.confidence)
        return (deviate + sqrt(deviate**2 + 2 * self.decided)) ** 2


STANDARD = CertificateParameters()


@dataclass(frozen=True)
class Contest:
    """A statement about an arrangement, against its rivals.

    Parameters
    ----------
    places
        Of the two blocks that it is about, counted from 0.
    mse
        Mean squared error to first order after exchanging two blocks, or after the best exchange of
        layers.
    log_odds
        Natural log-odds of the statement against everything that contradicts it.
    rows_needed
        How many rows with predictions would decide it. None where it is decided, or where the
        rival changes nothing that rows could show.
    same
        Whether the two blocks compute the same, so that there is nothing to decide.
    """

    derived: ClassVar[Derived] = {"confidence": attrgetter("confidence")}

    places: tuple[int, int]
    mse: OrInfinite
    log_odds: OrInfinite
    rows_needed: int | None = None
    same: bool = False

    @property
    def confidence(self) -> float:
        """Probability that the statement holds."""
        return 1 / (1 + exp(-max(self.log_odds, -700.0)))

    @property
    def decided(self) -> bool:
        """Whether the statement is made."""
        return self.log_odds >= STANDARD.decided


@dataclass(frozen=True)
class Certificate:
    """How sure an arrangement is.

    Parameters
    ----------
    neighbours
        For each two neighbouring places, that their blocks run in this sequence.
    pairs
        For each place, that its two layers belong together. The second place is that of the block
        with which the best rival exchanges a layer.
    mse
        Mean squared error of the arrangement on the rows that were looked at.
    floor
        Mean squared error that noise or rounding explains: the variance that rivals are held
        against.
    rows
        Rows that were looked at.
    chance
        Expected number of wrong arrangements that reproduce the record to rounding by chance: next
        to nothing unless independent predictions are few beside the blocks.
    alike
        What can change places, and the network computes the same. Groups of parts; a part is slots,
        each by its place and its number among the slots of its block.
    """

    derived: ClassVar[Derived] = {
        name: attrgetter(name) for name in ("decided", "rows_needed", "groups")
    }

    neighbours: tuple[Contest, ...]
    pairs: tuple[Contest, ...]
    mse: float
    floor: float
    rows: int
    chance: float = 0.0
    alike: tuple[tuple[Part, ...], ...] = ()

    @property
    def decided(self) -> bool:
        """Whether the record decides all neighbours and pairs, but for what computes the same."""
        contests = (*self.neighbours, *self.pairs)
        return not self.accidental and all(one.decided or one.same for one in contests)

    def _repr_html_(self) -> str:
        """What it says as a table for notebooks."""
        rivals = [one.mse for one in (*self.neighbours, *self.pairs) if not one.same]
        facts = {
            "decided": "yes" if self.decided else "no",
            "mean squared error": f"{self.mse:.3g} over {self.rows} rows",
            "explained by rounding or noise": f"{self.floor:.3g}",
            "that of the nearest rival": f"{min(rivals):.3g}" if rivals else "there is none",
            "rows it would take": self.rows_needed or "–",
        }
        return fact_table(facts)

    @property
    def refuted(self) -> bool:
        """Whether the record speaks for a rival as clearly as a statement is ever made."""
        return any(one.log_odds <= -STANDARD.decided for one in (*self.neighbours, *self.pairs))

    @property
    def accidental(self) -> bool:
        """Whether the record may be reproduced by chance."""
        return self.chance > exp(-STANDARD.decided)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The partial order that the record supports.

        Groups of places: whatever lies in different groups runs in this sequence; within a group
        the record does not decide it.
        """
        groups: list[list[int]] = [[0]]
        for contest in self.neighbours:
            if contest.decided:
                groups.append([])
            groups[-1].append(contest.places[1])
        return tuple(tuple(group) for group in groups)

    def interchangeable(
        self, blocks: Sequence[Sequence[PieceId]]
    ) -> tuple[tuple[tuple[PieceId, ...], ...], ...]:
        """Groups of what can change places, of blocks of pieces: each a piece, or several."""
        return tuple(
            tuple(tuple(blocks[place][number] for place, number in part) for part in group)
            for group in self.alike
        )

    @property
    def rows_needed(self) -> int | None:
        """Rows that would decide all that rows can decide. None where nothing is missing."""
        missing = [c.rows_needed for c in (*self.neighbours, *self.pairs) if c.rows_needed]
        return max(missing, default=None)

    def with_chance(self, chance: float) -> "Certificate":
        """With so many wrong arrangements expected to fit, which speak against every statement."""
        found = replace(self, chance=chance)
        if not found.accidental:
            return found
        neighbours, pairs = (
            tuple(replace(one, log_odds=_less_sure(one.log_odds, chance)) for one in contests)
            for contests in (self.neighbours, self.pairs)
        )
        return replace(found, neighbours=neighbours, pairs=pairs)


def _less_sure(log_odds: float, chance: float) -> float:
    """The log-odds against `chance` further answers too; those do not speak for a rival."""
    return max(min(log_odds, 0.0), -float(np.logaddexp(-log_odds, log(chance))))


def certify(
    problem: Problem,
    arrangement: Arrangement,
    rounding: Column | float,
    tested: NDArray[np.float64] | None = None,
    *,
    cut: Column | float = 0.0,
    clock: Clock | None = None,
    by: CertificateParameters = STANDARD,
    effort: Effort = EFFORT,
) -> Certificate:
    """Weigh an arrangement, one that no move improves, against its rivals.

    `rounding` is the root mean squared error that rounding explains: shape (outputs,), or one for
    all columns. `cut` is the same of decimals that were cut off. `tested` are the mean squared
    errors of all arrangements that were tested before. It is empty of an answer from elsewhere, and
    None where nothing is to be said of chance.
    Where rounding explains what is left, only exchanges of neighbours are looked at. All rows are
    used if some do not decide everything and time is left. An `OutOfTimeError` is raised where
    noise is left and no time for it.
    """
    network, known = problem.network(arrangement), problem.known
    least, clock = np.broadcast_to(np.square(rounding), known.outputs), clock or Clock()

    def to_rounding(some: Records, clock: Clock) -> Certificate | None:
        """Weigh it on some rows, where rounding explains all that is left of them."""
        sample = independent_rows(network, some)
        rivals = _weigh(
            problem, arrangement, sample, least, clock, window=1, nearest=1, effort=effort
        )
        if not (rivals.mse <= least).all():
            return None
        certificate = _certificate(rivals, len(sample), least, least, by)
        return _weakened(certificate, rivals, least, tested, evidence=problem.evidence, by=by)

    sure = to_rounding(_spread(known, effort.first), Clock())
    if sure is not None and not sure.decided and len(known) > effort.first:
        with suppress(OutOfTimeError):
            sure = to_rounding(known, clock)
    if sure is not None:
        return sure
    least = least + np.square(cut)  # few errors may be small by chance
    return _to_noise(problem, arrangement, least, tested, clock, by=by, effort=effort)


def _to_noise(
    problem: Problem,
    arrangement: Arrangement,
    least: Column,
    tested: NDArray[np.float64] | None,
    clock: Clock,
    *,
    by: CertificateParameters,
    effort: Effort,
) -> Certificate:
    """Weigh an arrangement where noise is left: on some rows, and on all if those do not decide."""
    clock.check()
    network, known = problem.network(arrangement), problem.known
    pattern = find_pattern(network, known, effort=effort)
    for some in (_spread(known, effort.first_noisy), known):
        sample = independent_rows(network, some)
        rivals = _weigh(
            problem,
            arrangement,
            sample,
            least,
            clock,
            window=by.window,
            nearest=by.rivals,
            effort=effort,
        )
        # Dependent rows say as much as a smaller number of independent ones.
        dependent = 1 + pattern.share / pattern.features * len(sample)
        dependent *= design_effect(network, sample)
        variance = np.maximum(rivals.mse * dependent, least)
        certificate = _certificate(rivals, len(sample), variance, least, by)
        if certificate.decided:
            break
    return _weakened(
        certificate, rivals, variance, tested, evidence=problem.evidence, by=by, noisy=True
    )


def _weakened(
    certificate: Certificate,
    rivals: "_Rivals",
    least: Column,
    tested: NDArray[np.float64] | None,
    *,
    evidence: Evidence,
    by: CertificateParameters,
    noisy: bool = False,
) -> Certificate:
    """A certificate with the wrong arrangements that fit by chance, with errors of `least` at most.

    Under noise, what was tested and errs by little more is among the rivals. So it counts as one.
    Where all blocks are equal, nothing is a rival, and no arrangement is wrong.
    """
    if tested is None or not len(rivals.moves):
        return certificate
    others = _log_others(evidence, rivals.arrangement, tested)
    counted = np.full(1, _typical(tested, rivals, least, by)) if noisy else tested
    return certificate.with_chance(_chance_fits(counted, rivals, least, others, by))


def _wrong(errors: NDArray[np.float64], least: Column) -> NDArray[np.float64]:
    """Errors that are more than noise or rounding explains."""
    found: NDArray[np.float64] = errors[(errors > least.mean()) & np.isfinite(errors)]
    return found


def _typical(
    tested: NDArray[np.float64], rivals: "_Rivals", least: Column, by: CertificateParameters
) -> float:
    """The error that an arrangement is taken to have of which nothing else is known.

    Where none that was tested is wrong, rivals tell.
    """
    tested, told = _wrong(tested, least), _wrong(rivals.errors, least)
    known = tested if len(tested) else told
    return float(np.quantile(known, by.typical)) if len(known) else 0.0


def _chance_fits(
    tested: NDArray[np.float64],
    rivals: "_Rivals",
    least: Column,
    log_others: float,
    by: CertificateParameters,
) -> float:
    """Expected number of wrong arrangements that fit by chance, with errors of `least` at most.

    An arrangement with errors of scale s fits one prediction with probability √least / s, where the
    predictions are independent. Their errors are as dependent as the effects of the rivals, so the
    same is said of the principal components of those. Those that were tested count with their own
    errors. All others, to which a search may be led, count with the upper quartile of these, since
    it has lowered most.
    """
    errors = np.append(_wrong(tested, least), _typical(tested, rivals, least, by))
    scales = np.sqrt(rivals.spectrum[:, None] * errors / float(least.mean()))
    logarithms = -np.log(np.maximum(scales, 1.0)).sum(axis=0)
    logarithms[-1] += log_others
    return float(np.exp(min(np.logaddexp.reduce(logarithms), 700.0)))


def _log_others(evidence: Evidence, arrangement: Arrangement, tested: NDArray[np.float64]) -> float:
    """Logarithm of the number of arrangements that might have been found instead.

    Each that was tested was the best of many moves, of each block to each place. An answer from
    elsewhere may be any, each as likely by the evidence: every piece of a first role may be with
    any of the second, and the permanent of their odds is at most the product of its row sums.
    """
    every = lgamma(len(arrangement) + 1)
    for edge in evidence.edges:
        rows = edge.log_odds[edge.rows[arrangement[:, edge.first]]]
        every += float((np.logaddexp.reduce(rows, axis=1) - edge.of(arrangement)).sum())
    all_but_this = log(max(exp(min(every, 700.0)) - 1, TINY))
    if not len(tested):
        return all_but_this
    return min(all_but_this, log(len(tested) * len(arrangement) ** 2))


def _certificate(
    rivals: "_Rivals", rows: int, variance: Column, rounding: Column, by: CertificateParameters
) -> Certificate:
    """Weigh all statements, with a variance of the noise and one that rounding explains."""
    moves, weighed = rivals.moves, _Weighed.of(rivals, variance, rounding, rows, by)
    neighbours, pairs = [], []
    for place in range(len(rivals.arrangement) - 1):
        places = place, place + 1
        if rivals.same.of_blocks(rivals.arrangement, *places):
            neighbours.append(Contest(places, float(rivals.mse.mean()), 0.0, same=True))
            continue
        exchange = ~moves.swap & (moves.first == place) & (moves.second == place + 1)
        neighbours.append(weighed.contest(places, moves.reverses(place), int(exchange.argmax())))
    for place in range(len(rivals.arrangement)):
        breaking = moves.swap & ((moves.first == place) | (moves.second == place))
        if breaking.any():
            rival = weighed.nearest(breaking)
            other = int(moves.first[rival] + moves.second[rival]) - place
            pairs.append(weighed.contest((place, other), breaking, rival))
    return Certificate(
        tuple(neighbours),
        tuple(pairs),
        float(rivals.mse.mean()),
        float(variance.mean()),
        rows,
        alike=rivals.same.numbered(rivals.arrangement),
    )


@dataclass(frozen=True, eq=False)
class _Weighed:
    """What each rival costs, and how much it weighs; `shown` is what rounding does not hide."""

    rivals: "_Rivals"
    rows: int
    by: CertificateParameters
    costs: NDArray[np.float64]
    squares: NDArray[np.float64]
    shown: NDArray[np.float64]
    log_weights: NDArray[np.float64]
    log_total: float

    @classmethod
    def of(
        cls,
        rivals: "_Rivals",
        variance: Column,
        rounding: Column,
        rows: int,
        by: CertificateParameters,
    ) -> "_Weighed":
        """Weigh moves and pairs of moves by a variance of the noise."""
        slopes, gram = rivals.weighed(variance)
        squares, shown = gram.diagonal(), rivals.weighed(rounding)[1].diagonal()
        costs = slopes + squares / 2 - rivals.moves.gains
        log_weights, log_total = _log_weights(rivals.moves, costs, gram)
        return cls(rivals, rows, by, costs, squares, shown, log_weights, log_total)

    def nearest(self, contradicting: NDArray[np.bool_]) -> int:
        """The move that contradicts a statement and costs least."""
        members = np.flatnonzero(contradicting)
        return int(members[self.costs[members].argmin()])

    def contest(
        self, places: tuple[int, int], contradicting: NDArray[np.bool_], rival: int
    ) -> Contest:
        """Weigh a statement against what contradicts it; the error shown is that of a rival."""
        if not contradicting.any():  # blocks of two forms have no other sequence
            return Contest(places, inf, inf)
        likeliest = self.nearest(contradicting)
        against = float(np.logaddexp.reduce(self.log_weights[contradicting]))
        total = self.log_total
        log_odds = float(np.log(-np.expm1(min(against - total, -1e-16)))) + total - against
        rows_needed = None
        if log_odds < self.by.decided and self.shown[likeliest] > self.rivals.equations:
            needed = ceil(self.by.information * self.rows / self.squares[likeliest])
            rows_needed = max(needed, self.rows + 1)
        return Contest(places, self.rivals.mse_after(rival), log_odds, rows_needed)


@dataclass(frozen=True, eq=False)
class _Rivals:
    """Moves away from an arrangement, and the sums over the equations that weigh them.

    What changes nothing is no rival. For each output, `gram` holds the inner products of the moves'
    effects, `slopes` those with the residual, and `residual` that of the residual with itself.
    `spectrum` holds the variances of the effects' principal components over the equations of the
    first chunk, where an effect varies by 1 on average.
    """

    arrangement: Arrangement
    same: Interchange
    moves: Moves
    gram: NDArray[np.float64]
    slopes: NDArray[np.float64]
    residual: Column
    rows: int
    spectrum: NDArray[np.float64]

    @property
    def equations(self) -> int:
        """Rows times outputs."""
        return self.rows * len(self.residual)

    @property
    def mse(self) -> Column:
        """Mean squared error of the arrangement, by output."""
        return self.residual / self.rows

    @property
    def errors(self) -> NDArray[np.float64]:
        """Mean squared error of each rival, to first order, where the arrangement has none."""
        squares: NDArray[np.float64] = np.diagonal(self.gram, axis1=1, axis2=2).sum(axis=0)
        return squares / self.equations

    def weighed(self, variance: Column) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Slopes and Gram matrix over all outputs, each in units of its variance."""
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.nan_to_num(1 / variance, posinf=0.0)  # what is never off says nothing
        return weights @ self.slopes, np.tensordot(weights, self.gram, 1)

    def mse_after(self, move: int) -> float:
        """Mean squared error over all outputs after a move, to first order, by sums over rows."""
        after = self.residual + 2 * self.slopes[:, move] + self.gram[:, move, move]
        return float(after.sum()) / self.equations


def _weigh(
    problem: Problem,
    arrangement: Arrangement,
    rows: Records,
    least: Column,
    clock: Clock,
    *,
    window: int,
    nearest: int,
    effort: Effort,
) -> _Rivals:
    """Sum up the effects of shifts, turns and the nearest swaps, chunk by chunk."""
    evidence, swaps, same = _screened(problem, arrangement, rows, nearest, effort)
    for start in range(0, len(rows), effort.chunk):
        chunk = rows.take(np.arange(start, min(start + effort.chunk, len(rows))))
        judge = problem.judge(chunk)
        at = linearize(judge, judge.run(arrangement))
        moves = shift_moves(judge, at, window) + with_swap_effects(judge, at, swaps)
        moves += turn_moves(judge, at, evidence)
        moves = moves.take(np.flatnonzero(~same.idle(moves, arrangement)))
        outputs = chunk.outputs
        if not start:
            gram = np.zeros((outputs, len(moves), len(moves)))
            slopes, residual = np.zeros((outputs, len(moves))), np.zeros(outputs)
            spectrum = _spectrum(moves.effects, float(least.mean()))
        effects = moves.effects.reshape(len(moves), outputs, len(chunk)).astype(np.float64)
        left = at.residual.reshape(outputs, -1).astype(np.float64)
        for output in range(outputs):
            clock.check()
            gram[output] += effects[:, output] @ effects[:, output].T
            slopes[output] += effects[:, output] @ left[output]
        residual += np.square(left).sum(axis=1)
    without = moves.with_effects(moves.effects[:, :0])
    return _Rivals(arrangement, same, without, gram, slopes, residual, len(rows), spectrum)


def _screened(
    problem: Problem, arrangement: Arrangement, rows: Records, nearest: int, effort: Effort
) -> tuple[Evidence, Moves, Interchange]:
    """The evidence that counts, the nearest swaps, and what can change places, by few rows."""
    evidence = problem.evidence
    if any(not np.isfinite(edge.log_odds).all() for edge in evidence.edges):
        evidence = Evidence(())  # only the blocks that were matched were ever considered
    few = problem.judge(_spread(rows, effort.screened))
    at = linearize(few, few.run(arrangement))
    swaps = all_swaps(few, at, evidence)
    turns = turn_moves(few, at, evidence)
    same = find_interchange(problem, arrangement, swaps + turns, rows, effort)
    swaps = swaps.take(np.flatnonzero(~same.idle(swaps, arrangement)))
    return evidence, _nearest(swaps, at.residual, len(arrangement), nearest), same


def _spectrum(effects: Floats, rounding: float) -> NDArray[np.float64]:
    """Variances of the principal components of effects, scaled to 1 an equation on average.

    Effects above the median size count alike. Rounding differs from row to row, so that it would
    look like independent rows. What it makes of the components, at most the upper edge of
    Marchenko and Pastur (1967), is taken away.
    """
    wide = effects.astype(np.float64)
    squares = mean_squares(wide, axis=1)
    if not len(wide):  # where nothing can be moved nothing shows how dependent the rows are
        return np.ones(effects.shape[1])
    typical = max(float(np.median(squares)), TINY)
    wide /= np.sqrt(np.maximum(squares, typical))[:, None]
    spectrum = np.square(np.linalg.svd(wide, compute_uv=False)) / len(wide)
    noise = rounding / typical * (1 + sqrt(effects.shape[1] / len(wide))) ** 2
    spectrum = np.maximum(spectrum - noise, 0)
    # Fewer effects than equations show no further components: these are as the last one.
    spectrum = np.pad(spectrum, (0, effects.shape[1] - len(spectrum)), mode="edge")
    scaled: NDArray[np.float64] = spectrum * (effects.shape[1] / max(spectrum.sum(), TINY))
    return scaled


def _spread(rows: Records, most: int) -> Records:
    """At most so many rows, spread evenly."""
    if len(rows) <= most:
        return rows
    return rows.take(np.linspace(0, len(rows), most, endpoint=False).astype(np.intp))


def _nearest(exchanges: Moves, residual: Floats, length: int, count: int) -> Moves:
    """For each place the exchanges that raise the error least."""
    raised = exchanges.effects @ (2 * residual)
    raised += np.einsum("me,me->m", exchanges.effects, exchanges.effects)
    ranked = np.argsort(raised, kind="stable")
    chosen: set[int] = set()
    for place in range(length):
        concerned = (exchanges.first[ranked] == place) | (exchanges.second[ranked] == place)
        chosen.update(ranked[concerned][:count].tolist())
    return exchanges.take(np.array(sorted(chosen), np.intp))


def _log_weights(
    moves: Moves, costs: NDArray[np.float64], joint: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Log-probabilities, up to one constant, of what is away from the arrangement.

    Single moves cost something in log-odds, and two moves `joint`, shape (moves, moves), beyond the
    sum of that. For each move it is the log-probability of all single and double moves that contain
    it; then that of everything, the arrangement itself included, which counts as 0.
    """
    compatible = np.array([moves.compatible(move) for move in range(len(moves))], bool)
    doubles = np.where(compatible, -(costs[:, None] + costs + joint), -np.inf)
    both = np.logaddexp.reduce(doubles, axis=1, initial=-np.inf)
    everything = [0.0, np.logaddexp.reduce(-costs), np.logaddexp.reduce(both) - log(2)]
    return np.logaddexp(-costs, both), float(np.logaddexp.reduce(everything))
