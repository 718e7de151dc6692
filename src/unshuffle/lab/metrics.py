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
    "solved": "1 where all pairs and places are right, else 0",
}
