"""Checking an arrangement that somebody names, with the evidence and the words of `solve`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unshuffle.blocks.activations import RELU
from unshuffle.blocks.assembly import build_network
from unshuffle.blocks.blueprints import Blueprint, check_blueprint
from unshuffle.blocks.forms import FORMULAS, formed
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.blocks.network import Network
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import AnswerError, UsageError
from unshuffle.files.given import GivenPile, GivenRecords, read_for
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.answer import (
    answer_hash,
    check_answer,
    check_pieces,
    join_answer,
    parse_answer,
)
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement, Kind, names
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.pieces.softmax import without_softmax
from unshuffle.proof.activation import fitting_activation
from unshuffle.proof.effort import EFFORT
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.verification import Verification, require_predictions
from unshuffle.solution.alternatives import Problems
from unshuffle.solution.arranging import certified
from unshuffle.solution.findings import Findings
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class CheckingParameters:
    """The number that decides which form of block an answer is of."""

    usual: float = 0.01  # Part of the predictions' variance that the usual form leaves if it fits.


STANDARD = CheckingParameters()


def verify(
    pile: GivenPile,
    records: GivenRecords,
    answer: str | Sequence[PieceId | Sequence[PieceId]] | Solution,
    *,
    activation: str | None = None,
    blueprint: Blueprint | None = None,
) -> Verification:
    """Compute the error of an arrangement over the whole record, and say how sure it is.

    Parameters
    ----------
    pile, records
        The pieces and the record, or their paths; as for `solve`.
    answer
        Piece ids in the order in which they are applied. A block may be a sequence of its own. Or
        text or JSON that lists them. A detached weight is followed by its bias. A solution also has
        what was fitted to its record, which leaves it approximate.
    activation
        Name of the hidden layers' activation; by default the known one that fits best.
    blueprint
        What a network of another kind than the puzzle's is made of; as for `solve`.

    Raises
    ------
    AnswerError
        If the answer does not arrange the pieces of the pile.
    PileError, RecordError
        If the pile cannot be a network. If the record does not fit it or has no predictions.
    UsageError
        If there is no activation of that name.
    """
    check_blueprint(blueprint)
    pile, records = read_for(blueprint, pile, records)
    kept = answer if isinstance(answer, Solution) and answer.pairing is not None else None
    named = parse_answer(answer.answer if isinstance(answer, Solution) else answer, pile)
    if blueprint is not None:
        if activation is not None:
            raise UsageError(
                "activation= says something of blocks x + out(a(inp(x))), and blueprint= of all "
                "others; leave one of them out"
            )
        return _verified_as(blueprint, pile, records, named)
    pile, undone = without_softmax(pile, records)
    findings = kept.findings or Findings() if kept else Findings()
    if kept is not None:
        found = _verified_as_kept(kept, findings, pile, undone, named)
    else:
        found = _verified_either_way(pile, undone, named, Options(activation=activation))
    if found.outcome is Outcome.EXACT and (findings.altered or undone is not records):
        return replace(found, outcome=Outcome.APPROXIMATE)
    return found


def _verified_either_way(
    pile: Pile, records: Records, named: Sequence[PieceId], options: Options
) -> Verification:
    """As `_verified`, with weights turned where that fits better and their shapes allow it."""
    found = _verified(pile, records, named, options)
    turned = None if found.outcome is Outcome.EXACT else pile.turned()
    if turned is None:
        return found
    return min(found, _verified(turned, records, named, options), key=lambda one: one.mse)


def _verified_as_kept(
    kept: Solution, findings: Findings, pile: Pile, records: Records, named: Sequence[PieceId]
) -> Verification:
    """As `_verified`, with what a solution says beside its answer."""
    form = FORMULAS[kept.form]
    if findings.factor != 1.0:
        form = form.scaled(findings.factor)
    aside = {leftover.id for leftover in findings.leftovers}
    pieces = [piece for piece in pile.with_columns(kept.units) if piece.id not in aside]
    biases = [bias for bias in pile.biases if bias.id not in aside]
    pile = Pile(pieces, biases, pile.notes)
    options = Options(activation=kept.activation, form=form)
    return _verified(pile, findings.undone(records), named, options)


def _verified(
    pile: Pile, records: Records, named: Sequence[PieceId], options: Options
) -> Verification:
    detached = pile.detached
    pile, order = join_answer(pile, named)
    anatomy = read_anatomy(pile, records)
    check_answer(pile, anatomy, order)
    known = require_predictions(records).distinct()
    with single_threaded_blas():  # rows are predicted in parallel, the same on any machine
        if options.activation is None:
            options = _fitting(build_network(pile, order, RELU), known)
        last = pile.index[order[-1]]
        alternatives = Problems(pile, known, options, anatomy=anatomy.with_last(last))
        positions = [pile.index[name] for name in order[:-1]]
        arrangement = np.array(positions, np.intp).reshape(-1, 2)
        problem, clock = alternatives.problems[0], options.clock
        found = certified(problem, arrangement, pile.stored_as, np.empty(0), clock=clock)
    pieces = 4 if detached else 2  # of a block, with the biases
    whole = range(0, len(named) // pieces * pieces, pieces)
    blocks = tuple(tuple(named[k : k + pieces]) for k in whole)
    return replace(found, sha256=answer_hash(named), blocks=blocks)


def _verified_as(
    blueprint: Blueprint, pile: Pile, records: Records, named: Sequence[PieceId]
) -> Verification:
    """As `_verified`, of blocks of any kind."""
    problem, clock = problem_for(blueprint, pile, require_predictions(records).distinct()), Clock()
    with single_threaded_blas():
        arrangement = arranged(pile, problem.bank.kind, problem.grouped, named)
        found = certified(problem, arrangement, pile.stored_as, np.empty(0), clock=clock)
    return replace(found, sha256=answer_hash(named), blocks=names(arrangement, pile.ids))


def problem_for(blueprint: Blueprint, pile: Pile, records: Records) -> Problem:
    """What there is to order of the pieces of a fitted pile."""
    with single_threaded_blas():
        return Problems(pile, records, Options(), blueprint=blueprint).problems[0]


def assembled(
    blueprint: Blueprint,
    pile: GivenPile,
    records: GivenRecords,
    answer: str | Sequence[PieceId | Sequence[PieceId]],
) -> Network:
    """The network of an answer over the pieces of a pile. The errors are those of `verify`.

    The record shows in which order the blocks of the blueprint run.
    """
    pile, records = read_for(blueprint, pile, records)
    problem = problem_for(blueprint, pile, records)
    named = parse_answer(answer, pile)
    return problem.network(arranged(pile, problem.bank.kind, problem.grouped, named))


def arranged(pile: Pile, kind: Kind, like: Arrangement, named: Sequence[PieceId]) -> Arrangement:
    """The arrangement that an answer is, with slots where an arrangement like it has them.

    Raises `AnswerError` if it does not name each piece once, or puts one in a wrong place.
    """
    check_pieces(pile, named)
    places = np.argwhere(like != NO_PIECE)
    found = np.full_like(like, NO_PIECE)
    for number, ((place, role), name) in enumerate(zip(places, named, strict=True), start=1):
        piece = pile[pile.index[name]]
        if piece.shapes != kind.shapes(role):
            raise AnswerError(
                f"the answer puts piece {name} in place {number}, where {kind.roles[role].name} of "
                f"block {place + 1} belongs, which has other tensors; the sequence is that of "
                "solution.slots"
            )
        found[place, role] = pile.index[name]
    return found


def _fitting(network: MlpNetwork, known: Records, by: CheckingParameters = STANDARD) -> Options:
    """The activation and the form of block that fit best; the usual one where it fits at all."""
    some = known.thinned(EFFORT.activation)
    found: list[tuple[float, Options]] = []
    for form in FORMULAS.values():
        each = formed(network, form.formula)
        fitting = fitting_activation(each, known)
        blocks = replace(each.blocks, activation=fitting)
        error = MlpNetwork(blocks, each.last).error(some.inputs, some.predictions)
        found.append((error, Options(activation=fitting.name, form=form)))
        if error < by.usual * known.variance:
            break
    return min(found, key=lambda one: one[0])[1]
