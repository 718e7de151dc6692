"""The final word: how well an arrangement reproduces the whole record."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network, mean_squares
from unshuffle.errors import RecordError
from unshuffle.files.schema import Derived, Key, encode
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.pieces.fact_table import fact_table
from unshuffle.pieces.pile import PieceId
from unshuffle.pieces.records import Records
from unshuffle.proof.certificate import Certificate
from unshuffle.proof.coarseness import coarseness, explained_by_weights, storage_tolerance
from unshuffle.proof.decimals import Cut, cut_of
from unshuffle.proof.effort import EFFORT, Effort
from unshuffle.proof.noise import looks_like_noise, standard_score
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.tolerance import (
    Tolerance,
    arithmetic_of,
    relative_error,
    rounding_tolerance,
)

VAST = 1e100  # stands for a squared error that is not finite


@dataclass(frozen=True)
class VerificationParameters:
    """The number that decides which network is meant.

    Parameters
    ----------
    clearly
        Standard deviations by which a network must fit better than one with another activation.
    """

    clearly: float = 5.0


STANDARD = VerificationParameters()


class Explanation(Enum):
    """What explains all that a network leaves of a record."""

    ROUNDING = "rounding"
    DECIMALS = "decimals"
    COARSE = "coarsely stored numbers"
    NOISE = "noise"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Verification:
    """How well an arrangement reproduces the record.

    Parameters
    ----------
    outcome
        `EXACT`, `APPROXIMATE`, `UNDECIDED` or `MISFIT`.
    mse, max_abs_error
        Mean squared and maximum absolute error over all rows with predictions.
    rows
        Number of those rows.
    tolerance
        The largest errors that rounding explains.
    explanation
        What explains the errors; None where nothing does.
    cut
        How predictions were cut to decimals, where that explains the errors.
    sha256
        Of the answer text; empty where a network was judged by itself.
    certificate
        How sure the arrangement is. None where the record is not reproduced, or none was asked for.
    blocks
        Ids of the pieces of each block, in the order in which they run. It is empty where no answer
        was judged.
    """

    derived: ClassVar[Derived] = {"exact": lambda found: found.outcome is Outcome.EXACT}

    outcome: Outcome
    mse: float
    max_abs_error: float
    rows: int
    tolerance: Annotated[Tolerance, Key("rounding")]
    explanation: Explanation | None = None
    cut: Cut | None = None
    sha256: str = ""
    certificate: Certificate | None = None
    blocks: tuple[tuple[PieceId, ...], ...] = ()

    def withdrawn(self, outcome: Outcome) -> "Verification":
        """With another outcome, and nothing claimed."""
        return replace(self, outcome=outcome, explanation=None, cut=None, certificate=None)

    def summary(self) -> dict[str, Any]:
        """The verification as plain values, ready for JSON."""
        return encode(self)

    def _repr_html_(self) -> str:
        """How it ended as a table for notebooks."""
        facts = {
            "outcome": f"{self.outcome}. {self.outcome.advice}",
            "mean squared error": f"{self.mse:.3g} over {self.rows} rows",
            "max absolute error": f"{self.max_abs_error:.3g}",
            "explained by": self.explanation or "nothing",
            "sha256": self.sha256,
        }
        return fact_table(facts)


BY_NOISE = {
    True: (Outcome.APPROXIMATE, Explanation.NOISE),
    False: (Outcome.MISFIT, None),
    None: (Outcome.UNDECIDED, None),
}
"""What a network comes to, and what explains it, by whether only noise is left."""

UNVERIFIED = Verification(
    Outcome.INTERRUPTED, np.nan, np.nan, 0, Tolerance(np.zeros(0), np.zeros(0))
)
"""Of a network whose verification was interrupted."""


def best_fitting(networks: Sequence[Network], known: Records, effort: Effort = EFFORT) -> Network:
    """The network with the lowest error on the first rows. The first one of equals."""
    if len(networks) == 1 or not len(known):
        return networks[0]
    some = known.take(np.arange(min(len(known), effort.compared)))
    return networks[int(np.argmin([relative_error(network, some) for network in networks]))]


def clearly_best(
    network: Network,
    others: Sequence[Network],
    known: Records,
    by: VerificationParameters = STANDARD,
) -> bool:
    """Whether a network fits a record better than others do, beyond chance, row by row."""

    def squares(one: Network) -> NDArray[np.float64]:
        with np.errstate(over="ignore", invalid="ignore"):
            errors = one.predict(known.inputs) - known.predictions.astype(np.float64)
            each: NDArray[np.float64] = np.square(errors / spread).sum(axis=1)
            return each

    variances = known.variances
    spread = np.sqrt(np.where(variances > 0, variances, 1.0))
    own = squares(network)
    for other in others:
        # What overflows errs by more than can be said, and still has a square.
        more = np.nan_to_num(squares(other) - own, nan=VAST, posinf=VAST)
        if not standard_score(more) > by.clearly:
            return False
    return True


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
            f"{records.name} has no predictions, so no arrangement can be checked against it; "
            f"{'add the array prediction' if records.fields else 'name the prediction columns'}, "
            "or pair the layers by weights alone"
        )
    return known


def judge_network(
    network: Network, known: Records, stored_as: tuple[str, ...], clock: Clock
) -> Verification:
    """Judge an assembled network on rows that all have predictions; without any, it cannot be.

    Whether noise explains what is left is not judged without time for it.
    """
    if not len(known):
        return replace(UNVERIFIED, outcome=Outcome.ESTIMATE)
    own, kept = network.predict(known.inputs), known.predictions.astype(np.float64)
    arithmetic = arithmetic_of(network.ends.dtype, known.predictions)
    rounding = rounding_tolerance(network, known.inputs, known.predictions, arithmetic)
    with np.errstate(over="ignore", invalid="ignore"):
        errors = own - kept
        mse, peak = float(np.mean(mean_squares(errors))), float(np.abs(errors).max())
    found = Verification(Outcome.APPROXIMATE, mse, peak, len(known), rounding)
    if rounding.admits(errors):
        return replace(found, outcome=Outcome.EXACT, explanation=Explanation.ROUNDING)
    kept_as = coarseness(known.predictions).kind  # of the record, which may be kept in halves too
    storage = storage_tolerance(rounding, arithmetic, (*stored_as, kept_as))
    if storage.admits(errors):
        return replace(found, explanation=Explanation.COARSE)
    cut = cut_of(own, kept, storage)
    if cut is not None:
        return replace(found, explanation=Explanation.DECIMALS, cut=cut)
    if explained_by_weights(network, known, stored_as, errors):
        return replace(found, explanation=Explanation.COARSE)
    outcome, explanation = Outcome.BUDGET_SPENT, None
    with suppress(OutOfTimeError):
        outcome, explanation = BY_NOISE[looks_like_noise(network, known, clock)]
    return replace(found, outcome=outcome, explanation=explanation)
