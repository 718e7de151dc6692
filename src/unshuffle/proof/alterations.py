"""What a record betrays of what was done to it: rounding, clipping, standardised inputs."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Network
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records, as_option
from unshuffle.proof.decimals import Cut, decimals


@dataclass(frozen=True)
class AlterationParameters:
    """Numbers that decide what is said of a record.

    Parameters
    ----------
    clipped
        Part of a column's predictions at its largest, or smallest, value that shows clipping.
    fewest
        Predictions that must be there at least.
    shared
        Part of that number from which on a value inside the column counts as shared too. Then
        rounding or few distinct inputs explain shared values.
    slack
        Number of the other rows' largest errors by which a network may fall short of a limit.
    standardised
        Largest mean, and distance of the standard deviation from 1, of standardised columns.
        Columns that were standardised on other rows are off by more, unless there are millions.
    """

    clipped: float = 0.005
    fewest: int = 5
    shared: float = 0.5
    slack: float = 2.0
    standardised: float = 1e-4


STANDARD = AlterationParameters()


def altered_record(
    records: Records, cut: Cut | None = None, *, sigmoid: bool = False
) -> tuple[str, ...]:
    """What of a record shows that it is not as the network left it, in sentences.

    How predictions were cut to decimals is said where a network shows it. `sigmoid` is whether it
    shows that one came behind the last layer.
    """
    known = records.predicted().predictions
    notes = []
    targets = records.columns[2]
    if targets and not records.outputs:
        notes.append(
            f"there are only targets; if they are predictions: --predictions {as_option(targets)}"
        )
    places = decimals(known) if known.size else None
    if places is not None:
        how = f"are {cut} to" if cut else "have no more than"
        notes.append(f"predictions {how} {places} decimals")
    clipped = int(clipped_predictions(known).sum())
    if clipped:
        notes.append(
            f"{clipped} predictions are at the largest or the smallest value of their column, most "
            "of them at the same: they were clipped there, or the network saturates there"
        )
    if known.size and not sigmoid and (known > 0).all() and (known < 1).all():
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


def standardised(records: Records, by: AlterationParameters = STANDARD) -> bool:
    """Whether every input column that varies has mean 0 and variance 1 over just these rows."""
    inputs = records.inputs.astype(np.float64)
    if not len(inputs):
        return False
    spread = inputs.std(axis=0)
    varying = spread > 0
    return bool(
        varying.any()
        and np.abs(inputs.mean(axis=0)).max() < by.standardised
        and np.abs(spread[varying] - 1).max() < by.standardised
    )


def clipped_predictions(
    predictions: Floats, by: AlterationParameters = STANDARD
) -> NDArray[np.bool_]:
    """Which predictions, shape (rows, outputs), lie at the ends of their column, if many share one.

    There is no NaN among them.
    """
    clipped = np.zeros(predictions.shape, bool)
    enough = max(by.fewest, by.clipped * len(predictions))
    for output, column in enumerate(predictions.T):
        values, counts = np.unique(column, return_counts=True)
        # Rounded predictions, or those of few distinct inputs, share values everywhere.
        if len(values) < 3 or counts[1:-1].max() >= by.shared * enough:
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


def admits_clipped(
    network: Network, records: Records, max_abs_error: float, by: AlterationParameters = STANDARD
) -> bool:
    """Whether a network is at, or beyond, the limit wherever predictions were clipped.

    The maximum absolute error is that on all other rows.
    """
    known = records.predicted()
    clipped = clipped_predictions(known.predictions)
    ends = np.where(known.predictions == known.predictions.max(axis=0), 1, -1)
    beyond = (network.predict(known.inputs) - known.predictions) * ends
    return bool((beyond[clipped] >= -by.slack * max_abs_error).all())
