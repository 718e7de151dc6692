"""The final word: how well an arrangement reproduces the whole record."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np

from unshuffle.blocks.activations import ACTIVATIONS, find_activation
from unshuffle.blocks.assembly import build_network
from unshuffle.blocks.network import Network
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import RecordError
from unshuffle.files.schema import Derived, Key, encode
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.answer import answer_hash, check_answer, join_answer, parse_answer
from unshuffle.pieces.pile import QUANTISED, PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.coarseness import coarse_tolerance
from unshuffle.proof.noise import looks_like_noise
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.tolerance import (
    Tolerance,
    arithmetic_of,
    rounding_tolerance,
    storage_tolerance,
)

COMPARED_ROWS = 512
"""Rows on which networks are compared where it is unknown which one is meant."""


COARSE_SHARE = 0.01
"""Of the predictions' variance: coarsely kept weights explain no error above this. Unlike noise,
what they leave follows from the inputs, as the error of a wrong arrangement does."""


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
        Of the answer text; empty where a network was judged by itself.
    """

    derived: ClassVar[Derived] = {"exact": lambda verdict: verdict.outcome is Outcome.EXACT}

    outcome: Outcome
    mse: float
    max_abs_error: float
    rows: int
    tolerance: Annotated[Tolerance, Key("rounding")]
    sha256: str = ""

    def summary(self) -> dict[str, Any]:
        """The verdict as plain values, ready for JSON."""
        return encode(self)


UNVERIFIED = Verdict(Outcome.INTERRUPTED, np.nan, np.nan, 0, Tolerance(0.0, 0.0))
"""Of a network whose verification was interrupted."""


def verify(
    pile: Pile,
    records: Records,
    answer: str | Sequence[PieceId],
    *,
    activation: str | None = None,
) -> Verdict:
    """Compute the error of an arrangement over the whole record.

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
    named = answer
    pile, answer = join_answer(pile, named)
    check_answer(pile, read_anatomy(pile, records), answer)
    known = require_predictions(records)
    activations = ACTIVATIONS.values() if activation is None else [find_activation(activation)]
    with single_threaded_blas():  # rows are predicted in parallel, the same on any machine
        network = best_fitting([build_network(pile, answer, one) for one in activations], known)
        verdict = judge_network(network, known, pile.stored_as)
        return replace(verdict, sha256=answer_hash(named))


def best_fitting(networks: Sequence[Network], known: Records) -> Network:
    """The network with the lowest error on the first rows; the first one where they tie."""
    if len(networks) == 1 or not len(known):
        return networks[0]
    some = known.take(np.arange(min(len(known), COMPARED_ROWS)))
    errors = [network.error(some.inputs, some.predictions) for network in networks]
    return networks[int(np.argmin(errors))]


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
            f"{records.name} has no predictions, so no arrangement can be checked against it; name "
            "the prediction columns, or pair the layers by weights alone"
        )
    return known


def judge_network(network: Network, known: Records, stored_as: tuple[str, ...]) -> Verdict:
    """Judge an assembled network on rows that all have predictions; without any, it cannot be."""
    if not len(known):
        nothing = Tolerance(0.0, 0.0)
        return Verdict(Outcome.ESTIMATE, np.nan, np.nan, 0, nothing)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.abs(network.predict(known.inputs) - known.predictions.astype(np.float64))
        mse, peak = float(np.mean(np.square(error))), float(error.max())
    arithmetic = arithmetic_of(network.ends.dtype, known.predictions)
    rounding = rounding_tolerance(network, known.inputs, known.predictions, arithmetic)
    outcome = Outcome.EXACT if rounding.admits(mse, peak) else Outcome.MISFIT
    verdict = Verdict(outcome, mse, peak, len(known), rounding)
    if outcome is Outcome.MISFIT and (
        _kept_coarsely(network, known, stored_as, verdict) or looks_like_noise(network, known)
    ):
        return replace(verdict, outcome=Outcome.APPROXIMATE)
    return verdict


def shows_noise(network: Network, known: Records, stored_as: tuple[str, ...]) -> bool:
    """Whether noise in the predictions, and nothing else, explains what a network leaves."""
    with single_threaded_blas():
        verdict = judge_network(network, known, stored_as)
        return verdict.outcome is Outcome.APPROXIMATE and not _kept_coarsely(
            network, known, stored_as, verdict
        )


def _kept_coarsely(
    network: Network, known: Records, stored_as: tuple[str, ...], verdict: Verdict
) -> bool:
    """Whether an error is explained by how coarsely predictions or weights were kept."""
    mse, peak = verdict.mse, verdict.max_abs_error
    arithmetic = arithmetic_of(network.ends.dtype, known.predictions)
    storage = storage_tolerance(verdict.tolerance, arithmetic, stored_as, known.predictions)
    if storage.admits(mse, peak):
        return True
    if not mse <= COARSE_SHARE * known.variance:
        return False
    quantised = {*stored_as} <= {*QUANTISED}
    tolerance = coarse_tolerance(network, known.inputs, quantised=quantised)
    return tolerance is not None and tolerance.admits(mse, peak)
