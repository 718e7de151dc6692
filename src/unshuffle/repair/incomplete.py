"""Piles in which pieces are missing or do not belong: rebuild, verify, and say what is wrong."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from unshuffle.blocks.activations import find_activation
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.blocks.network import mean_square
from unshuffle.grouping import pair
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Ending, run_search
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.answer import LOST, answer_hash
from unshuffle.pieces.blueprint import names
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.pieces.pile import Piece, PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import FINAL, SETTLED, Outcome
from unshuffle.proof.tolerance import arithmetic_of
from unshuffle.repair.case import near_copies, partial_anatomy
from unshuffle.repair.division import likely_networks
from unshuffle.repair.estimation import estimate_last
from unshuffle.repair.gaps import Traces, unexplained
from unshuffle.repair.missing_pieces import MissingParameters
from unshuffle.repair.rebuilding import Rebuilding, RebuildingParameters
from unshuffle.solution.alternatives import problem_of
from unshuffle.solution.arranging import arrange, given
from unshuffle.solution.findings import NOT_NEEDED, Findings, Gap, Leftover
from unshuffle.solution.goal import Reproduction
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class IncompleteParameters:
    """Numbers that say which pairs are taken apart, and what is called a gap."""

    doubtful: float = -3.0  # Log-odds below which a matched pair is taken for two unmatched layers.
    explained: float = 0.5  # Part of what is left that a block explains if it is called missing.
    near: float = 0.1  # Part of the predictions' variance that is left then, at most.
    least: float = 1e-4  # The same, at least.
    missing: MissingParameters = field(default_factory=MissingParameters)
    rebuilding: RebuildingParameters = field(default_factory=RebuildingParameters)


STANDARD = IncompleteParameters()


def solve_incomplete(
    pile: Pile,
    records: Records,
    options: Options,
    anatomy: Anatomy,
    by: IncompleteParameters = STANDARD,
) -> Solution:
    """Rebuild with each piece that can be the last layer in turn, until one reproduces the record.

    Where there are several, two networks in the pile are tried first. Where pieces are missing or
    too many, a wrong activation may fit better by accident. Then the first is tried by itself too.
    Else the solution with the lowest error is returned.
    """
    found: list[Solution] = []
    if len(anatomy.last) > 1 and min(len(anatomy.inp), len(anatomy.out)) > 1:
        found.append(_of_two_networks(pile, records, options, anatomy, by))
        if found[-1].outcome in FINAL:
            return found[-1]
    likeliest = options.activations[0].name
    alone = replace(options, activation=likeliest)
    for decided in [anatomy.with_last(last) for last in anatomy.last] or [anatomy]:
        for chosen in (options, alone):
            if chosen is alone and found[-1].activation == likeliest:
                continue
            found.append(solve_loose(pile, records, chosen, decided, by=by))
            outcome = found[-1].outcome
            if outcome in SETTLED:
                return found[-1]
            if outcome in FINAL:
                return min(found, key=lambda each: each.mse).ended(outcome)
    return min(found, key=lambda each: each.mse)


def solve_loose(
    pile: Pile,
    records: Records,
    options: Options,
    anatomy: Anatomy,
    start: Solution | None = None,
    *,
    by: IncompleteParameters = STANDARD,
) -> Solution:
    """Rebuild with layers that may be left out or estimated. A solution of all may be the start."""
    return _PartialSearch(pile, records, options, anatomy, start, by=by).solution()


def _of_two_networks(
    pile: Pile, records: Records, options: Options, anatomy: Anatomy, by: IncompleteParameters
) -> Solution:
    """Take the blocks that seem to be of one network for all that it has."""
    solution = _PartialSearch(pile, records, options, anatomy, by=by, divided=True).solution()
    findings = solution.findings
    assert findings is not None
    # Where few are left over, a search with all pieces at hand does as well.
    few = len(findings.leftovers) <= by.rebuilding.slots
    if solution.outcome in FINAL or few or findings.unexplained > by.rebuilding.hopeless:
        return solution
    # The blocks may all be right, and only their order be far.
    own = Pile(piece for piece in pile if piece.id in solution.layers)
    arranged = arrange(own, records, options)
    stopped = arranged.outcome in FINAL
    if arranged.mse > solution.mse:
        return solution.ended(arranged.outcome) if stopped else solution
    left = arranged.mse / records.variance
    settled = arranged.outcome in SETTLED
    findings = Findings(_leftovers(pile, own, settled=settled), unexplained=left)
    return arranged.ended(arranged.outcome if stopped else Outcome.INCOMPLETE, findings)


class _PartialSearch:
    """A search with layers that may be left out, or estimated, and what it comes to."""

    def __init__(
        self,
        pile: Pile,
        records: Records,
        options: Options,
        anatomy: Anatomy,
        start: Solution | None = None,
        *,
        by: IncompleteParameters,
        divided: bool = False,
    ) -> None:
        self.records, self.known, self.options = records, records.predicted(), options
        self.pile, self.anatomy, self.guess, self.by = pile, anatomy, "", by
        if not anatomy.last:
            self._guess_last()
        pile, slots = self.pile, by.rebuilding.slots
        self.ids = (*pile.ids, *(_new_name(pile, str(k + 1)) for k in range(slots)))
        problems = self._problems(start)
        if divided:
            problems = likely_networks(pile, records, self.anatomy, options)
        arithmetic = arithmetic_of(pile.dtype, self.known.predictions)
        goal = Reproduction(arithmetic, 1, options.clock, by=options.goal)
        with options.clock.phase("order"):
            search = Rebuilding(
                problems,
                len(pile),
                options,
                goal,
                guessed_last=bool(self.guess),
                searched=start is not None,
                divided=divided,
                by=by.rebuilding,
            )
            steps, stops, on_step = search.steps(), options.stops, options.on_step
            try:
                self.ending = run_search(steps, Trace(self.ids), stops=stops, on_step=on_step)
            except OutOfTimeError:
                self.ending = Ending.OUT_OF_TIME
        self.one = search.standing

    def _guess_last(self) -> None:
        guess = estimate_last(self.known.inputs, self.known.predictions).astype(self.pile.dtype)
        self.guess = _new_name(self.pile, "last")
        self.pile = Pile([*self.pile, Piece.linear(self.guess, guess.weight, guess.bias)])
        completed = partial_anatomy(self.pile, self.records)
        assert completed is not None
        self.anatomy = completed

    def _problems(self, start: Solution | None) -> Iterator[Problem]:
        """One problem for each activation, of pairs that are not doubtful; or the one to start."""
        pile, records, anatomy, clock = self.pile, self.records, self.anatomy, self.options.clock
        activations = self.options.activations
        if start is not None and start.last is not None:
            activations = [find_activation(start.activation)]
            anatomy = anatomy.with_last(pile.index[start.last])
        for activation in activations:
            with clock.phase("pair"):
                pairing = pair(
                    pile,
                    records,
                    anatomy=anatomy,
                    activation=activation,
                    clock=clock,
                    by=self.options.grouping,
                )
            problem = problem_of(pile, records, anatomy, pairing, activation)
            grouped, sure = problem.grouped, problem.evidence.of(problem.grouped)
            if start is not None:
                blocks = [[pile.index[name] for name in block] for block in start.blocks]
                grouped = np.array(blocks, np.intp)
            elif (sure > 0).mean() > self.by.missing.sure:
                grouped = grouped[sure > self.by.doubtful]
            yield replace(problem, grouped=grouped)

    def solution(self) -> Solution:
        """What was rebuilt, verified, with what was left over and what the gaps carry."""
        pile, known, options, network = self.pile, self.known, self.options, self.one.network()
        blocks = names(self.one.arrangement, self.ids)
        applied = [*chain.from_iterable(blocks), self._last()]
        pieces = [
            pile[pile.index[name]]
            if name in pile.index and name != self.guess
            else Piece.linear(name, layer.weight, layer.bias)
            for name, layer in zip(applied, network.layers(), strict=True)
        ]
        used, activation = Pile(pieces), network.blocks.activation.name
        options = replace(options, activation=activation, signal=None)
        with options.clock.phase("verify"):
            solution = given(used, self.records, options, blocks)
            gaps, left = self._gaps(blocks, network), solution.mse / known.variance
            if solution.outcome not in SETTLED and not gaps:
                gaps = _block_gaps(network, known, left, options.clock, self.by)
            outcome = _outcome(solution.outcome, self.ending, estimated=bool(gaps))
            settled = outcome in SETTLED
            findings = Findings(_leftovers(pile, used, settled=settled), gaps, left)
        return replace(
            solution,
            outcome=outcome,
            explanation=solution.explanation if settled else None,
            findings=findings,
            sha256=answer_hash(findings.answer_names(solution.permutation)),
            seconds=options.clock.seconds,
        )

    def _last(self) -> PieceId:
        """Id of the last layer: the guess, whatever it was fitted to since, or that of a piece."""
        weight, bias = self.one.problem.ends.tensors().values()
        pieces = (self.pile[position] for position in self.anatomy.last)
        same = (one for one in pieces if np.array_equal(one.weight, weight))
        return next(one.id for one in same if np.array_equal(one.bias, bias))

    def _gaps(self, blocks: Sequence[Sequence[PieceId]], network: MlpNetwork) -> tuple[Gap, ...]:
        """The layers that were estimated, in sequence, and what their blocks carry."""
        inputs, gaps = self.known.inputs, []
        whole = network.predict(inputs).astype(np.float64)
        for unknown in sorted(self.one.unknowns(), key=lambda each: each.place):
            place, role = unknown.place, self.one.bank.kind.roles[unknown.role].name
            others = network.blocks.take(np.delete(np.arange(len(blocks)), place))
            lost = MlpNetwork(others, network.last).predict(inputs) - whole
            share = mean_square(lost) / self.known.variance
            gaps.append(Gap(place, role, blocks[place][unknown.role], share))
        if self.guess:
            gaps.append(Gap(len(blocks), "last", self.guess, 1.0))
        return tuple(gaps)


def _outcome(outcome: Outcome, ending: Ending, *, estimated: bool) -> Outcome:
    """What the verdict on a network comes to where some of its layers may be estimated."""
    if outcome in SETTLED:
        # An estimated layer takes up whatever pattern there is, so only rounding is proof.
        proved = Outcome.APPROXIMATE if outcome is Outcome.EXACT else Outcome.INCOMPLETE
        return proved if estimated else outcome
    stopped = {Ending.OUT_OF_TIME: Outcome.BUDGET_SPENT, Ending.INTERRUPTED: Outcome.INTERRUPTED}
    return stopped.get(ending, Outcome.INCOMPLETE)


def _block_gaps(
    network: MlpNetwork, known: Records, left: float, clock: Clock, by: IncompleteParameters
) -> tuple[Gap, ...]:
    """The gap in which a block that is missing whole would explain most of what is left."""
    if by.least < left < by.near:
        with suppress(OutOfTimeError):
            rest = unexplained(Traces.of(network, known, clock))
            if rest.min() < 1 - by.explained:
                return (Gap(int(rest.argmin()), "block", None, left),)
    return ()


def _leftovers(pile: Pile, used: Pile, *, settled: bool) -> tuple[Leftover, ...]:
    """The pieces of a pile that are not used, and why, by whether the record is reproduced."""
    twins: dict[PieceId, PieceId] = {}
    for first, second, _ in near_copies(pile):
        both = pile.ids[first], pile.ids[second]
        for one, other in (both, both[::-1]):
            if other in used.index:
                twins.setdefault(one, other)
    roles = {piece.shape for piece in used}

    def reason(piece: Piece) -> str:
        if piece.id in twins:
            verb = "fits better" if settled else "stands in its place"
            return f"nearly piece {twins[piece.id]}, which {verb}"
        if piece.shape not in roles:
            return f"fits nowhere with its shape {piece.shape[0]} × {piece.shape[1]}"
        return NOT_NEEDED if settled else "no place found"

    return tuple(Leftover(piece.id, reason(piece)) for piece in pile if piece.id not in used.index)


def _new_name(pile: Pile, name: str) -> str:
    name = f"{LOST}{name}"
    while name in pile.index:
        name = f"{LOST}{name}"
    return name
