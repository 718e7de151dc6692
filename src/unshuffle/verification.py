"""The final word: how well an arrangement reproduces the whole record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unshuffle.activations import RELU, Activation
from unshuffle.anatomy import read_anatomy
from unshuffle.assembly import answer_hash, build_network, check_answer
from unshuffle.errors import RecordError
from unshuffle.network import Network
from unshuffle.outcome import Outcome
from unshuffle.pile import PieceId, Pile
from unshuffle.records import Records
from unshuffle.tolerance import (
    Tolerance,
    arithmetic_of,
    rounding_tolerance,
    storage_tolerance,
)


@dataclass(frozen=True)
class Verdict:
    """How well an arrangement reproduces the record.

    Parameters
    ----------
    outcome
        `EXACT`, `APPROXIMATE` or `MISFIT`.
    mse, max_abs_error
        Mean squared and maximum absolute error over all rows with predictions.
    rows
        Number of those rows.
    tolerance
        The largest errors that rounding explains.
    sha256
        Of the answer text.
    """

    outcome: Outcome
    mse: float
    max_abs_error: float
    rows: int
    tolerance: Tolerance
    sha256: str

    def summary(self) -> dict[str, Any]:
        """The verdict as plain values, ready for JSON."""
        return {
            "outcome": str(self.outcome),
            "exact": self.outcome is Outcome.EXACT,
            "mse": self.mse,
            "max_abs_error": self.max_abs_error,
            "rows": self.rows,
            "rounding": {"mse": self.tolerance.rms**2, "max_abs_error": self.tolerance.peak},
            "sha256": self.sha256,
        }


def verify(
    pile: Pile, records: Records, answer: Sequence[PieceId], activation: Activation = RELU
) -> Verdict:
    """Compute the error of an arrangement over the whole record.

    Parameters
    ----------
    pile, records
        The pieces and the record.
    answer
        Piece ids in the order in which they are applied.

    Raises
    ------
    AnswerError
        If the answer does not arrange the pieces of the pile.
    PileError, RecordError
        If the pile cannot be a network, or the record does not fit it or has no predictions.
    """
    check_answer(pile, read_anatomy(pile, records), answer)
    known = require_predictions(records)
    return judge_network(
        build_network(pile, answer, activation), known, pile.stored_as, answer_hash(answer)
    )


def require_predictions(records: Records) -> Records:
    """The rows that have predictions.

    Raises
    ------
    RecordError
        If none has.
    """
    known = records.predicted()
    if not len(known):
        raise RecordError(
            "the record has no predictions, so no arrangement can be checked against it; name the "
            "prediction columns, or pair the layers by weights alone"
        )
    return known


def judge_network(
    network: Network, known: Records, stored_as: tuple[str, ...], sha256: str
) -> Verdict:
    """Judge an assembled network on rows that all have predictions."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.abs(network.predict(known.inputs) - known.predictions.astype(np.float64))
        mse, peak = float(np.mean(np.square(error))), float(error.max())
    arithmetic = arithmetic_of(network.last.weight.dtype, known.predictions)
    rounding = rounding_tolerance(network, known.inputs, known.predictions, arithmetic)
    if rounding.admits(mse, peak):
        outcome = Outcome.EXACT
    elif storage_tolerance(rounding, stored_as, known.predictions).admits(mse, peak):
        outcome = Outcome.APPROXIMATE
    else:
        outcome = Outcome.MISFIT
    return Verdict(outcome, mse, peak, len(known), rounding, sha256)
