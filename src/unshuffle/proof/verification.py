"""The final word: how well an arrangement reproduces the whole record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.errors import RecordError
from unshuffle.files.schema import Derived, Key, encode
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.pieces.pile import QUANTISED
from unshuffle.pieces.records import Records
from unshuffle.proof.certificate import Certificate
from unshuffle.proof.coarseness import coarse_tolerance
from unshuffle.proof.noise import looks_like_noise
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.tolerance import (
    Tolerance,
    arithmetic_of,
    rounding_tolerance,
    storage_tolerance,
)

VAST = 1e100
CLEARLY = 5.0  # standard deviations by which a network fits better than with another activation

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
        `EXACT`, `APPROXIMATE`, `UNDECIDED` or `MISFIT`.
    mse, max_abs_error
        Mean squared and maximum absolute error over all rows with predictions.
    rows
        Number of those rows.
    tolerance
        The largest errors that rounding explains.
    sha256
        Of the answer text; empty where a network was judged by itself.
    certificate
        How sure the arrangement is; None where the record is not reproduced, or none was asked for.
    """

    derived: ClassVar[Derived] = {"exact": lambda verdict: verdict.outcome is Outcome.EXACT}

    outcome: Outcome
    mse: float
    max_abs_error: float
    rows: int
    tolerance: Annotated[Tolerance, Key("rounding")]
    sha256: str = ""
    certificate: Certificate | None = None

    def summary(self) -> dict[str, Any]:
        """The verdict as plain values, ready for JSON."""
        return encode(self)


UNVERIFIED = Verdict(Outcome.INTERRUPTED, np.nan, np.nan, 0, Tolerance(np.zeros(0), np.zeros(0)))
"""Of a network whose verification was interrupted."""


def best_fitting(networks: Sequence[Network], known: Records) -> Network:
    """The network with the lowest error on the first rows; the first one where they tie."""
    if len(networks) == 1 or not len(known):
        return networks[0]
    some = known.take(np.arange(min(len(known), COMPARED_ROWS)))
    errors = [network.error(some.inputs, some.predictions) for network in networks]
    return networks[int(np.argmin(errors))]


def clearly_best(network: Network, others: Sequence[Network], known: Records) -> bool:
    """Whether a network fits a record better than others do, beyond chance, row by row."""

    def squares(one: Network) -> NDArray[np.float64]:
        with np.errstate(over="ignore", invalid="ignore"):
            errors = one.predict(known.inputs) - known.predictions.astype(np.float64)
            each: NDArray[np.float64] = np.square(errors / spread).sum(axis=1)
            return each

    spread = np.sqrt(known.variances)
    own = squares(network)
    for other in others:
        # What overflows errs by more than can be said, and still has a square.
        more = np.nan_to_num(squares(other) - own, nan=VAST, posinf=VAST)
        if not more.sum() > CLEARLY * np.sqrt(np.square(more).sum()):
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
            f"{records.name} has no predictions, so no arrangement can be checked against it; name "
            "the prediction columns, or pair the layers by weights alone"
        )
    return known


def judge_network(
    network: Network, known: Records, stored_as: tuple[str, ...], clock: Clock
) -> Verdict:
    """Judge an assembled network on rows that all have predictions; without any, it cannot be.

    Whether noise explains what is left is not judged where no time is left for it.
    """
    if not len(known):
        nothing = Tolerance(np.zeros(0), np.zeros(0))
        return Verdict(Outcome.ESTIMATE, np.nan, np.nan, 0, nothing)
    errors, rounding = _measured(network, known)
    with np.errstate(over="ignore", invalid="ignore"):
        mse, peak = float(np.mean(np.square(errors))), float(errors.max())
    if rounding.admits(errors):
        outcome = Outcome.EXACT
    elif _kept_coarsely(network, known, stored_as, rounding, errors):
        outcome = Outcome.APPROXIMATE
    else:
        outcome = _judged_by_noise(network, known, clock)
    return Verdict(outcome, mse, peak, len(known), rounding)


def _judged_by_noise(network: Network, known: Records, clock: Clock) -> Outcome:
    """What it says of a network whether what it leaves looks like noise."""
    try:
        noise = looks_like_noise(network, known, clock)
    except OutOfTimeError:
        return Outcome.BUDGET_SPENT
    return {True: Outcome.APPROXIMATE, False: Outcome.MISFIT, None: Outcome.UNDECIDED}[noise]


def shows_noise(network: Network, known: Records, stored_as: tuple[str, ...], clock: Clock) -> bool:
    """Whether noise in the predictions, and nothing else, explains what a network leaves.

    An `OutOfTimeError` says that no time was left to tell.
    """
    clock.check()
    with single_threaded_blas():
        errors, rounding = _measured(network, known)
        explained = rounding.admits(errors)
        explained = explained or _kept_coarsely(network, known, stored_as, rounding, errors)
        return not explained and looks_like_noise(network, known, clock) is True


def _measured(network: Network, known: Records) -> tuple[NDArray[np.float64], Tolerance]:
    """Absolute errors, shape (rows, outputs), and what rounding explains of them."""
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.abs(network.predict(known.inputs) - known.predictions.astype(np.float64))
    arithmetic = arithmetic_of(network.ends.dtype, known.predictions)
    return errors, rounding_tolerance(network, known.inputs, known.predictions, arithmetic)


def _kept_coarsely(
    network: Network,
    known: Records,
    stored_as: tuple[str, ...],
    rounding: Tolerance,
    errors: NDArray[np.float64],
) -> bool:
    """Whether errors are explained by how coarsely predictions or weights were kept."""
    arithmetic = arithmetic_of(network.ends.dtype, known.predictions)
    if storage_tolerance(rounding, arithmetic, stored_as, known.predictions).admits(errors):
        return True
    if not (np.square(errors).mean(axis=0) <= COARSE_SHARE * known.variances).all():
        return False
    quantised = {*stored_as} <= {*QUANTISED}
    tolerance = coarse_tolerance(network, known.inputs, quantised=quantised)
    return tolerance is not None and tolerance.admits(errors)
