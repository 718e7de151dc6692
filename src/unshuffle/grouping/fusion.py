"""Fused evidence: every signal in one log-odds for each pair, with weights that the pile teaches.

Signals differ in what they see, and which of them sees anything depends on how the network was
trained. So their weights are learned from the pile itself, by self-training (Scudder 1965): match
by the evidence so far, measure how far each signal sets the matched pairs apart, weigh it by that,
repeat. The fusion is Fisher's linear discriminant (1936): the signals are made uncorrelated over
the pairs, almost all of which are wrong, and each is weighed by its separation.

A matching confirms the signals that it was made from, so each signal's separation is measured on
the matching of all the others (co-training, Blum & Mitchell 1998), and the estimates are drawn
towards a prior, what the signals were worth on networks with known answers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpBank
from unshuffle.grouping.consensus import consensus, template
from unshuffle.grouping.matching import Pairs
from unshuffle.grouping.signals import SIGNALS, Clues, Scores, ratio
from unshuffle.pieces.clock import Clock

WORTH = {
    "trace": 0.7,
    "ratio": 0.9,
    "log-norm": 0.55,
    "squared-cosine": 0.15,
    "magnitude": 0.15,
    "hidden-gram": 0.35,
    "bias": 0.3,
    "first-order": 0.85,
    "first-order-regression": 1.2,
    "first-order-slope": 0.4,
    "consensus": 0.6,
    "template": 0.4,
}
"""Prior separation of matched pairs, by signal, in standard deviations; typical of the zoo."""

PRIOR_PAIRS = 24
"""The prior counts as much as this number of matched pairs."""

ROUNDS = 8

CONSENSUS_BLOCKS = 128
"""Beyond so many blocks only the template speaks for the matched pairs: its time is quadratic."""

DECISIVE = 3.0
"""Spreads of the wrong pairs' ratios between the best of them and the worst true one, from which
on no other evidence is gathered: wrong ratios do not reach so far in any network of the zoo."""


@dataclass(frozen=True, eq=False)
class Fusion:
    """All signals as one log-odds for each pair.

    Parameters
    ----------
    log_odds
        Shape (I, J): natural log-odds that the two layers belong together.
    pairs
        The best one-to-one matching.
    weights
        How much each signal counts, by name, in standard deviations of separation.
    """

    log_odds: Scores
    pairs: Pairs
    weights: Mapping[str, float]


def fuse(
    clues: Clues,
    match: Callable[[Scores], Pairs],
    *,
    square: bool = False,
    clock: Clock | None = None,
) -> Fusion:
    """Fuse all signals that the clues allow.

    Parameters
    ----------
    clues
        MlpBank, and the last layer and record if there are any.
    match
        Finds the best matching of scores.
    square
        Whether inp and out layers are the same pieces, so that no layer pairs with itself.
    clock
        Signals and rounds are left out where no time is left.
    """
    clock = clock or Clock()
    itself = np.eye(*_shape(clues.layers), dtype=bool) if square else None
    by_ratio = ratio(clues)
    if itself is None:
        decisive = _by_ratio_alone(by_ratio)
        if decisive is not None:
            return decisive
    scores = {"ratio": by_ratio} | {
        name: signal.score(clues)
        for name, signal in SIGNALS.items()
        if name in WORTH and name != "ratio" and (clues.has_record or not signal.needs_record)
        if not clock.out
    }
    fixed = {name: _standardised(values, itself) for name, values in scores.items()}
    fixed = {name: values for name, values in fixed.items() if values.any()}

    if not fixed:  # nothing tells any pair from another, as with a single block
        nothing = np.zeros(_shape(clues.layers))
        return Fusion(nothing, match(nothing), {})
    names, signals = list(fixed), np.stack(list(fixed.values()))
    pairs, separations, white = _match(signals, _worth(names), match)
    for _ in range(ROUNDS):
        if clock.out:
            break
        names = [*fixed, *_followers(clues.layers)]
        followers = [
            _standardised(score(clues.layers, pairs), itself)
            for score in _followers(clues.layers).values()
        ]
        signals = np.stack([*fixed.values(), *followers])
        worth = _worth(names)
        if len(separations) < len(names):
            separations = worth
        before = pairs
        pairs, separations, white = _match(signals, separations, match, prior=worth)
        if np.array_equal(pairs, before):
            break

    log_odds = np.tensordot(separations, white, 1) - separations @ separations / 2
    log_odds -= np.log(max(len(pairs), 2))
    if itself is not None:
        log_odds[itself] = log_odds.min()
    return Fusion(log_odds, pairs, dict(zip(names, separations.tolist(), strict=True)))


def _match(
    signals: Scores,
    separations: NDArray[np.float64],
    match: Callable[[Scores], Pairs],
    prior: NDArray[np.float64] | None = None,
) -> tuple[Pairs, NDArray[np.float64], Scores]:
    """Match by the signals, weighed by their separations, then measure the separations anew.

    Returns
    -------
    tuple
        The pairs by the new separations, those separations, and the uncorrelated signals. Without
        a prior nothing is measured.
    """
    white = _uncorrelated(signals)
    fused = np.tensordot(separations, white, 1)
    if prior is None:
        return match(fused), separations, white
    measured = np.empty(len(signals))
    for one, (separation, signal) in enumerate(zip(separations, white, strict=True)):
        i, j = match(fused - separation * signal).T
        measured[one] = signal[i, j].mean()
    count = min(signals.shape[1:])
    separations = (count * measured + PRIOR_PAIRS * prior) / (count + PRIOR_PAIRS)
    separations = np.maximum(separations, 0.0)
    return match(np.tensordot(separations, white, 1)), separations, white


def _followers(layers: MlpBank) -> dict[str, Callable[[MlpBank, Pairs], Scores]]:
    """Signals that follow from a matching."""
    if min(_shape(layers)) > CONSENSUS_BLOCKS:
        return {"template": template}
    return {"consensus": consensus, "template": template}


def _by_ratio_alone(scores: Scores) -> Fusion | None:
    """Evidence from ratios that leave no doubt; None where they do."""
    if scores.shape[0] != scores.shape[1] or len(scores) < 2:
        return None
    best = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    if len(set(best.tolist())) < len(best):
        return None
    wrong = np.ones(scores.shape, bool)
    wrong[rows, best] = False
    others, true = scores[wrong], scores[rows, best]
    spread = float(others.std())
    if not true.min() - others.max() > DECISIVE * spread:
        return None
    separation = float(true.mean() - others.mean()) / spread
    standard = (scores - others.mean()) / spread
    log_odds = separation * standard - separation**2 / 2 - np.log(len(scores))
    # Each row's best is a column of its own, so no other matching has a larger sum.
    pairs = np.column_stack([rows, best]).astype(np.intp)
    return Fusion(log_odds, pairs, {"ratio": separation})


def _standardised(scores: Scores, itself: NDArray[np.bool_] | None) -> Scores:
    """Centre rows and columns and scale to unit variance; a constant signal becomes 0."""
    values = scores.astype(np.float64)
    if itself is not None:
        values[itself] = values[~itself].mean()
    values -= values.mean(axis=0)
    values -= values.mean(axis=1, keepdims=True)
    spread = values.std()
    return values / spread if spread > 1e-12 * np.abs(scores).max() else np.zeros_like(values)


def _uncorrelated(signals: Scores) -> Scores:
    """Signals mixed as little as possible so that they are uncorrelated (ZCA)."""
    flat = signals.reshape(len(signals), -1)
    variances, directions = np.linalg.eigh(flat @ flat.T / flat.shape[1])
    # Signals that say nearly the same (trace and ratio) must not have their difference blown up.
    mixing = directions / np.sqrt(np.maximum(variances, 0.05)) @ directions.T
    mixed: Scores = np.tensordot(mixing, signals, 1)
    return mixed


def _worth(names: list[str]) -> NDArray[np.float64]:
    return np.array([WORTH[name] for name in names])


def _shape(layers: MlpBank) -> tuple[int, int]:
    return len(layers.inp_weight), len(layers.out_weight)
