"""Checking an arrangement that somebody names, with the evidence and the words of `solve`."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unshuffle.blocks.activations import RELU
from unshuffle.blocks.assembly import build_network
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.answer import answer_hash, check_answer, join_answer, parse_answer
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.activation import fitting_activation
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.verification import Verdict, require_predictions
from unshuffle.solution.alternatives import Alternatives
from unshuffle.solution.arranging import certified
from unshuffle.solution.options import Options


def verify(
    pile: Pile,
    records: Records,
    answer: str | Sequence[PieceId],
    *,
    activation: str | None = None,
) -> Verdict:
    """Compute the error of an arrangement over the whole record, and say how sure it is.

    Parameters
    ----------
    pile, records
        The pieces and the record.
    answer
        Piece ids in the order in which they are applied, or the text that lists them. A detached
        weight is followed by its bias.
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
    if isinstance(answer, str):
        answer = parse_answer(answer, pile)
    verdict = _verified(pile, records, answer, activation)
    turned = None if verdict.outcome is Outcome.EXACT else pile.turned()
    if turned is None:
        return verdict
    return min(
        verdict, _verified(turned, records, answer, activation), key=lambda verdict: verdict.mse
    )


def _verified(
    pile: Pile, records: Records, named: Sequence[PieceId], activation: str | None
) -> Verdict:
    pile, answer = join_answer(pile, named)
    anatomy = read_anatomy(pile, records)
    check_answer(pile, anatomy, answer)
    known = require_predictions(records).distinct()
    with single_threaded_blas():  # rows are predicted in parallel, the same on any machine
        if activation is None:
            network = build_network(pile, answer, RELU)
            activation = fitting_activation(network, known).name
        options = Options(activation=activation)
        last = pile.index[answer[-1]]
        alternatives = Alternatives(pile, known, options, anatomy=anatomy.with_last(last))
        positions = [pile.index[name] for name in answer[:-1]]
        arrangement = np.array(positions, np.intp).reshape(-1, 2)
        verdict = certified(alternatives.problems[0], arrangement, pile.stored_as)
    return replace(verdict, sha256=answer_hash(named))
