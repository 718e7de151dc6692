"""What experiments measure, by name."""

from collections.abc import Mapping

Measurements = Mapping[str, float]
"""Raw numbers of one run, each under a name in `METRICS`."""

METRICS = {
    "pairs_right": "share of the true pairs that were found",
    "pairs_exact": "1 where all pairs are right, else 0",
    "separation": "mean score of true pairs minus that of wrong ones, in spreads of the wrong ones",
    "inversions": "share of the couples of blocks that stand in the wrong order; chance is 0.5",
    "order_exact": "1 where all blocks stand in their places, else 0",
    "error": "mean squared error over the record, relative to the variance of the predictions",
    "feature_modes": "mean number of modes of an input column",
    "two_moded": "share of the input columns that have two modes",
    "prediction_modes": "mean number of modes of a prediction column",
    "explained_by_sum": "share of the predictions' variance that a linear fit on the number of set "
    "bits explains, on rows that it has not seen",
    "explained_by_bits": "the same with every bit as a feature",
    "explained_by_inputs": "the same with every input as a feature",
    "solved": "1 where all pairs and places are right, else 0",
}
