"""Looking at the data: the bits behind the inputs, and what they say of the predictions."""

import numpy as np
from numpy.typing import NDArray

from unshuffle.lab.metrics import Measurements
from unshuffle.oracle.evaluation import Case
from unshuffle.pieces.pile import Floats

# Points at which densities are looked at.
GRID = 200

# A mode is higher than both of its sides by this fraction of the highest.
PEAK = 0.05


def bits(case: Case) -> Measurements:
    """Modes of all columns, and how far the bits of the inputs explain the predictions.

    A feature's bit is whether it lies above the middle between its two highest modes, or above its
    mean where it has one mode.
    """
    inputs = case.records.inputs.astype(np.float64)
    predictions = case.records.predictions.astype(np.float64)
    peaks = [modes(column) for column in inputs.T]
    thresholds = [
        float(np.mean(found[:2])) if len(found) > 1 else float(column.mean())
        for found, column in zip(peaks, inputs.T, strict=True)
    ]
    on = (inputs > thresholds).astype(np.float64)
    sums = on.sum(axis=1, keepdims=True)
    targets = case.records.targets
    found = {
        "feature_modes": float(np.mean([len(found) for found in peaks])),
        "two_moded": float(np.mean([len(found) == 2 for found in peaks])),
        "prediction_modes": float(np.mean([len(modes(column)) for column in predictions.T])),
        "explained_by_sum": explained(sums, predictions),
        "explained_by_bits": explained(on, predictions),
        "explained_by_inputs": explained(inputs, predictions),
    }
    if targets is not None and not np.isnan(targets).any():
        columns = targets.astype(np.float64).T
        found["target_modes"] = float(np.mean([len(modes(column)) for column in columns]))
    return found


def modes(values: NDArray[np.float64]) -> list[float]:
    """Modes of a density, the highest first.

    A Gaussian kernel smooths it, half as wide as Silverman's rule (1986) has it, which is made for
    one mode and would merge two.
    """
    spread = float(min(values.std(), np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.34))
    width = 0.45 * (spread or float(values.std())) * len(values) ** -0.2
    if not width > 0:
        return [float(values[0])]
    grid = np.linspace(values.min() - 3 * width, values.max() + 3 * width, GRID)
    density = np.exp(-np.square((grid[:, None] - values) / width) / 2).mean(axis=1)
    from scipy.signal import find_peaks

    peaks, _ = find_peaks(density, prominence=PEAK * density.max())
    found = [(float(density[at]), float(grid[at])) for at in peaks]
    return [place for _, place in sorted(found, reverse=True)]


def explained(features: Floats, wanted: Floats) -> float:
    """Share of the variance that a linear fit explains on rows that it has not seen.

    Fitted on every other row and measured on the rest; negative where it does worse than the mean.
    """
    design = np.column_stack([features, np.ones(len(features))])
    weights, *_ = np.linalg.lstsq(design[::2], wanted[::2], rcond=None)
    rest, fitted = wanted[1::2], design[1::2] @ weights
    return float(1 - np.square(rest - fitted).sum() / np.square(rest - rest.mean(axis=0)).sum())
