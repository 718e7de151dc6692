"""Checking an arrangement that somebody names, with the evidence and the words of `solve`."""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unshuffle.blocks.activations import RELU
from unshuffle.blocks.assembly import build_network
from unshuffle.blocks.forms import FORMULAS, formed
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.files.given import as_pile, as_records
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.answer import answer_hash, check_answer, join_answer, parse_answer
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.activation import fitting_activation
from unshuffle.proof.effort import EFFORT
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.verification import Verification, require_predictions
from unshuffle.solution.alternatives import Problems
from unshuffle.solution.arranging import certified
from unshuffle.solution.options import Options

# Part of the predictions' variance below which the usual form of block is taken to fit.
NEAR = 0.01


def verify(
    pile: Pile | str | os.PathLike[str],
    records: Records | str | os.PathLike[str],
    answer: str | Sequence[PieceId | Sequence[PieceId]],
    *,
    activation: str | None = None,
) -> Verification:
    """Compute the error of an arrangement over the whole record, and say how sure it is.

    Parameters
    ----------
    pile, records
        The pieces and the record, or their paths.
    answer
        Piece ids in the order in which they are applied, blocks may be sequences of their own; or
        text or JSON that lists them. A detached weight is followed by its bias.
    activation
        Name of the hidden layers' activation; by default the known one that fits best.

    Raises
    ------
    AnswerError
        If the answer does not arrange the pieces of the pile.
    PileError, RecordError
        If the pile cannot be a network, or the record does not fit it or has no predictions.
    UsageError
        If there is no activation of that name.
    """
    pile, records = as_pile(pile), as_records(records)
    named = parse_answer(answer, pile)
    found = _verified(pile, records, named, activation)
    turned = None if found.outcome is Outcome.EXACT else pile.turned()
    if turned is None:
        return found
    return min(found, _verified(turned, records, named, activation), key=lambda one: one.mse)


def _verified(
    pile: Pile, records: Records, named: Sequence[PieceId], activation: str | None
) -> Verification:
    pile, order = join_answer(pile, named)
    anatomy = read_anatomy(pile, records)
    check_answer(pile, anatomy, order)
    known = require_predictions(records).distinct()
    with single_threaded_blas():  # rows are predicted in parallel, the same on any machine
        options = Options(activation=activation)
        if activation is None:
            options = _fitting(build_network(pile, order, RELU), known)
        last = pile.index[order[-1]]
        alternatives = Problems(pile, known, options, anatomy=anatomy.with_last(last))
        positions = [pile.index[name] for name in order[:-1]]
        arrangement = np.array(positions, np.intp).reshape(-1, 2)
        problem, clock = alternatives.problems[0], options.clock
        found = certified(problem, arrangement, pile.stored_as, clock=clock)
    return replace(found, sha256=answer_hash(named))


def _fitting(network: MlpNetwork, known: Records) -> Options:
    """The activation and the form of block that fit best; the usual one where it fits at all."""
    some = known.thinned(EFFORT.activation)
    found: list[tuple[float, Options]] = []
    for form in FORMULAS.values():
        each = formed(network, form.formula)
        fitting = fitting_activation(each, known)
        blocks = replace(each.blocks, activation=fitting)
        error = MlpNetwork(blocks, each.last).error(some.inputs, some.predictions)
        found.append((error, Options(activation=fitting.name, form=form)))
        if error < NEAR * known.variance:
            break
    return min(found, key=lambda one: one[0])[1]
