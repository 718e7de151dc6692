"""What a record betrays of what was done to it: rounding, clipping, standardised inputs."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.tolerance import decimals

CLIPPED = 0.005
"""Part of the predictions at their largest, or smallest, value from which on they were clipped,"""
FEWEST = 5
"""and how many it must be."""

STANDARDISED = 1e-4
"""Largest mean, and distance of the standard deviation from 1, of columns that were standardised on
the rows of the record: those of other rows are off by more, unless there are millions."""


def altered_record(records: Records) -> tuple[str, ...]:
    """What of a record shows that it is not as the network left it, in sentences."""
    known = records.predicted().predictions
    notes = []
    places = decimals(known) if known.size else None
    if places is not None:
        notes.append(f"predictions are rounded to {places} decimals")
    clipped = int(clipped_predictions(known).sum())
    if clipped:
        notes.append(
            f"{clipped} predictions are at the largest or the smallest value of their column, most "
            "of them at the same: they were clipped there"
        )
    if known.size and (known > 0).all() and (known < 1).all():
        notes.append(
            "all predictions lie between 0 and 1: if a sigmoid came behind the last layer, give "
            "the numbers before it, the logits"
        )
    if standardised(records):
        notes.append(
            "every input column has mean 0 and variance 1 over just these rows, so the inputs were "
            "standardised after the rows were chosen; did the network read them so?"
        )
    return tuple(notes)


def standardised(records: Records) -> bool:
    """Whether every input column that varies has mean 0 and variance 1 over just these rows."""
    inputs = records.inputs.astype(np.float64)
    if not len(inputs):
        return False
    spread = inputs.std(axis=0)
    varying = spread > 0
    return bool(
        varying.any()
        and np.abs(inputs.mean(axis=0)).max() < STANDARDISED
        and np.abs(spread[varying] - 1).max() < STANDARDISED
    )


def clipped_predictions(predictions: Floats) -> NDArray[np.bool_]:
    """Which predictions are at the ends of their column, if many share the one or the other end.

    Parameters
    ----------
    predictions
        Shape (rows, outputs), without NaN.

    Returns
    -------
    NDArray
        Of the same shape.
    """
    clipped = np.zeros(predictions.shape, bool)
    enough = max(FEWEST, CLIPPED * len(predictions))
    for output, column in enumerate(predictions.T):
        values, counts = np.unique(column, return_counts=True)
        # Rounded predictions, or those of few distinct inputs, share values everywhere.
        if len(values) < 3 or counts[1:-1].max() >= enough / 2:
            continue
        # Where one end was clipped the other may have been too, if only for a row or two.
        if max(counts[0], counts[-1]) >= enough:
            clipped[:, output] = (column == values[0]) | (column == values[-1])
    return clipped


def without_clipped(records: Records) -> Records:
    """The record with clipped predictions taken for unknown ones."""
    known = ~np.isnan(records.predictions).any(axis=1)
    clipped = np.zeros(records.predictions.shape, bool)
    clipped[known] = clipped_predictions(records.predictions[known])
    if not clipped.any():
        return records
    return replace(records, predictions=np.where(clipped, np.nan, records.predictions))


def admits_clipped(network: Network, records: Records, slack: float) -> bool:
    """Whether a network is at, or beyond, the limit wherever predictions were clipped.

    Parameters
    ----------
    network
        The arrangement.
    records
        The record as it is.
    slack
        By how much it may fall short of the limit.
    """
    known = records.predicted()
    clipped = clipped_predictions(known.predictions)
    ends = np.where(known.predictions == known.predictions.max(axis=0), 1, -1)
    beyond = (network.predict(known.inputs) - known.predictions) * ends
    return bool((beyond[clipped] >= -slack).all())
