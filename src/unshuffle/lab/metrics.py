"""What experiments measure, by name."""

import re
from collections.abc import Mapping

# Raw numbers of one run, each under a name in `METRICS`.
Measurements = Mapping[str, float]

METRICS: dict[str, str] = {
    "pairs_right": "share of the true pairs that were found",
    "pairs_exact": "1 where all pairs are right, else 0",
    "separation": "mean score of true pairs minus that of wrong ones, in spreads of the wrong ones",
    "inversions": "share of the couples of blocks that stand in the wrong order; chance is 0.5",
    "order_exact": "1 where all blocks stand in their places, else 0",
    "error": "mean squared error over the record, relative to the variance of the predictions",
    "feature_modes": "mean number of modes of an input column",
    "two_moded": "share of the input columns that have two modes",
    "prediction_modes": "mean number of modes of a prediction column",
    "target_modes": "mean number of modes of a target column",
    "explained_by_sum": "share of the predictions' variance that a linear fit on the number of set "
    "bits explains, on rows that it has not seen",
    "explained_by_bits": "the same with every bit as a feature",
    "explained_by_inputs": "the same with every input as a feature",
    "open_gates": "mean derivative of the activation, over hidden units, at the true states",
    "negative": "share of the eigenvalues of W_out W_in with a negative real part",
    "negative_least": "the same of the block where it is least",
    "negative_wrong": "the same of wrong pairs",
    "contracting": "share of the eigenvalues λ of W_out W_in with |1 + λ| < 1",
    "contracting_least": "the same of the block where it is least",
    "negative_gated": "share with a negative real part, each hidden unit scaled by its mean gate",
    "contracting_gated": "share with |1 + λ| < 1, each hidden unit scaled by its mean gate",
    "distortion": "mean |log σ| over the singular values σ of I + W_out G W_in, G the mean gates: "
    "0 for an isometry",
    "distortion_wrong": "the same of wrong pairs",
    "trace_side": "sign of the sum of all true traces",
    "one_signed": "share of the h·d products behind the true traces that have that sign",
    "one_signed_wrong": "the same of wrong pairs; chance is 0.5",
    "coherence": "|sum| over sum of magnitudes of the products behind a trace, true pairs",
    "coherence_wrong": "the same of wrong pairs",
    "product_size": "mean magnitude of those products, true pairs relative to wrong ones",
    "blocks_of_one_sign": "share of the blocks whose trace has the sign of the sum",
    "log_norm": "correlation of the log-norms of both sides of the hidden units, true pairs",
    "log_norm_wrong": "the same of wrong pairs",
    "imbalance": "mean |‖W_in[k]‖² + b[k]² − ‖W_out[k]‖²| relative to the sum of the squares",
    "loss_left": "loss of the last epoch relative to the first",
    "trace_start": "mean over blocks of √d trace / ‖W_out W_in‖_F before training; its magnitude "
    "is about 0.8 by chance, and at most d",
    "trace_early": "the same after one epoch",
    "trace_end": "the same after the last epoch",
    "trace_size": "mean over blocks of its magnitude after the last epoch; chance is about 0.8",
    "trace_grows": "rank correlation of that magnitude with the epoch, from the first on",
    "plain_trace_grows": "the same of the trace's magnitude, not relative to any norm",
    "trace_negative": "share of the blocks with a negative trace after the last epoch",
    "last_turn": "share of the training after which the mean trace kept its sign",
    "block_turn": "share of the training after which a block's trace kept its sign, mean over "
    "blocks",
    "block_turn_last": "the same of the block that turned last",
    "blocks_turned": "share of the blocks whose trace ends with another sign than it had before "
    "training",
    "log_norm_start": "correlation of log-norms before training",
    "log_norm_end": "the same after the last epoch",
    "imbalance_start": "imbalance before training",
    "imbalance_end": "imbalance after the last epoch",
    "invariant_drift": "change of ‖W_in[k]‖² + b[k]² − ‖W_out[k]‖² relative to the most that the "
    "change of the weights allows",
    "funnel": "rank correlation of the error of an order with its Kendall distance from the truth",
    "funnel_near": "the same within a quarter of the largest distance",
    "greedy_right": "1 where greedy insertion, then exchanges and moves until none helps, end in "
    "the truth, else 0; the true pairs are given",
    "greedy_inversions": "inversions after the greedy insertion alone",
    "exchange_right": "share of descents by exchanges from random orders that end in the truth",
    "exchange_optima": "distinct ends of those descents, relative to their number",
    "move_right": "share of descents by moves of one block that end in the truth",
    "move_optima": "distinct ends of those descents, relative to their number",
    "edge_first": "share of the true pairs whose score ranks first among all that share a piece "
    "with it, mean over the edges; chance is 1 / blocks",
    "edge_first_least": "the same of the edge where it is least",
    "edges": "two roles each that share hidden units, on which a signal has a say",
    "edge_negative": "share of the true pairs with a negative trace, mean over the edges",
    "path_depth": "magnitude of the rank correlation of depth with the order along which blocks "
    "are most alike",
    "solved": "1 where all pairs and places are right, else 0",
    "passes": "work of a search, in forward passes of the record through the whole network",
}


def in_words(name: str, value: float) -> str:
    """A value of a metric with what it is: shares in percent, and "the same" told in full."""
    base, rest = "", ""
    for each, text in METRICS.items():
        if text.startswith("the same"):
            rest = f", {text.removeprefix('the same').strip()}"
        else:
            base, rest = text.split(";")[0], ""
        if each == name:
            break
    if found := re.fullmatch("1 where (.*), else 0(.*)", base):
        base = f"share of the runs where {found[1]}{found[2]}"
    if base.startswith("share of "):
        return f"{100 * value:.3g} % of {base.removeprefix('share of ')}{rest}"
    return f"{value:.3g} as {base}{rest}"
