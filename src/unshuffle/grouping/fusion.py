"""Fused evidence: every signal in one log-odds for each pair, with weights that the pile teaches.

The training decides which signals see anything. So the pile itself teaches their weights, by
self-training (Scudder 1965). Pairs are matched. How far a signal sets them apart is its new weight.
This is repeated. The fusion is Fisher's linear discriminant (1936). The signals are made
uncorrelated over the pairs, almost all of which are wrong. Each is weighed by its separation.

A matching confirms the signals that it was made from. So each signal's separation is measured on
the matching of all the others (co-training, Blum & Mitchell 1998). The estimates are drawn towards
a prior: what the signals were worth on networks with known answers.

Several signals that see different things may match all pairs alike. Then nothing has to be learned:
by accident only one matching in K! is another one's.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpBank
from unshuffle.grouping.matching import Pairs
from unshuffle.grouping.parameters import GroupingParameters
from unshuffle.grouping.resemblance import resemblance, template
from unshuffle.grouping.signals import SIGNALS, Clues, Scores
from unshuffle.pieces.clock import OutOfTimeError


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
    rivals
        How single signals match the layers, the most frequent matching first; none where no doubt
        is left.
    """

    log_odds: Scores
    pairs: Pairs
    weights: Mapping[str, float]
    rivals: tuple[Pairs, ...] = ()


def fuse(
    clues: Clues,
    match: Callable[[Scores], Pairs],
    *,
    square: bool = False,
) -> Fusion:
    """Fuse all signals that the clues allow.

    Parameters
    ----------
    clues
        The layers, the last layer and record if there are any, and the time. Signals and rounds
        without time are left out.
    match
        Finds the best matching of scores.
    square
        Whether inp and out layers are the same pieces. Then no layer pairs with itself.
    """
    by = clues.by
    itself = np.eye(*_shape(clues.layers), dtype=bool) if square else None
    by_ratio = SIGNALS["ratio"].of(clues)
    if itself is None and (decisive := _by_ratio_alone(by_ratio, by)) is not None:
        return decisive
    fixed = _fixed(clues, by_ratio, itself)
    if not fixed:  # nothing tells any pair from another, as with a single block
        nothing = np.zeros(_shape(clues.layers))
        return Fusion(nothing, match(nothing), {})
    followers = _followers(clues)
    names = [*fixed, *followers]
    signals = np.empty((len(names), *by_ratio.shape))
    for at, values in enumerate(fixed.values()):
        signals[at] = values
    votes = _witnessed(clues, fixed, match)
    known = 1 if clues.clock.out else len(fixed)  # to fuse takes time as well
    agreed = _beyond_doubt(votes, by_ratio.shape, by) if itself is None else None
    del fixed, values  # with thousands of layers each signal takes 50 MB
    if agreed is None:
        worth = np.array([by.worth[name] for name in names])
        white, separations, pairs = _taught(
            clues, signals, followers, match, known=known, worth=worth, itself=itself
        )
    else:
        white, pairs = _uncorrelated(signals[:known], np.empty_like(signals[:known])), agreed
        separations = np.maximum(white[:, *pairs.T].mean(axis=1), 0.0)
    log_odds = np.tensordot(separations, white, 1) - separations @ separations / 2
    log_odds -= np.log(max(len(pairs), 2))
    if itself is not None:
        log_odds[itself] = log_odds.min()
    others = [] if agreed is not None else [one for _, one in votes]
    rivals = tuple(one for one in others if not np.array_equal(one, pairs))
    return Fusion(log_odds, pairs, dict(zip(names, separations.tolist(), strict=False)), rivals)


def _taught(
    clues: Clues,
    signals: Scores,
    followers: Mapping[str, Callable[[Pairs], Scores]],
    match: Callable[[Scores], Pairs],
    *,
    known: int,
    worth: NDArray[np.float64],
    itself: NDArray[np.bool_] | None,
) -> tuple[Scores, NDArray[np.float64], Pairs]:
    """What self-training comes to: signals made uncorrelated, their separations, the matching.

    The first so many signals are known; the followers write theirs behind them.
    """
    separations, room = worth, np.empty_like(signals)
    white = _uncorrelated(signals[:known], room[:known])
    pairs = match(np.tensordot(worth[:known], white, 1))
    for _ in range(clues.by.rounds):
        if clues.clock.out:
            break
        for at, score in enumerate(followers.values(), known):
            signals[at] = _standardised(score(pairs), itself)
        white = _uncorrelated(signals, room)
        try:
            separations = _separations(clues, white, separations, match, worth)
        except OutOfTimeError:
            break
        before, pairs = pairs, match(np.tensordot(separations, white, 1))
        if np.array_equal(pairs, before):
            break
    return white, separations[: len(white)], pairs


def _fixed(clues: Clues, by_ratio: Scores, itself: NDArray[np.bool_] | None) -> dict[str, Scores]:
    """All signals, standardised, that need no matching, say something, and are there in time.

    The ratio comes first.
    """
    fixed = {"ratio": _standardised(by_ratio, itself)}
    with suppress(OutOfTimeError):
        for name, signal in SIGNALS.items():
            clues.clock.check()
            if (
                name in clues.by.worth
                and name != "ratio"
                and (clues.has_record or not signal.needs_record)
            ):
                fixed[name] = _standardised(signal.of(clues), itself)
    return {name: values for name, values in fixed.items() if values.any()}


def _witnessed(
    clues: Clues, fixed: Mapping[str, Scores], match: Callable[[Scores], Pairs]
) -> list[tuple[int, Pairs]]:
    """The matchings of signals that see different things, with their votes, the most first."""
    matchings = []
    for name in clues.by.witnesses:
        if clues.clock.out:
            break
        if name in fixed:
            matchings.append(match(fixed[name]))
    different = {pairs.tobytes(): pairs for pairs in matchings}.values()
    votes = [sum(np.array_equal(one, other) for other in matchings) for one in different]
    ranked = zip(votes, different, strict=True)
    return sorted(ranked, key=lambda vote: -vote[0])


def _beyond_doubt(
    votes: Sequence[tuple[int, Pairs]], shape: tuple[int, int], by: GroupingParameters
) -> Pairs | None:
    """The matching on which enough signals agree; None where there is none."""
    count, pairs = votes[0] if votes else (0, np.empty((0, 2), np.intp))
    no_accident = shape[0] == shape[1] >= by.least_agreed
    return pairs if count >= by.agreeing and no_accident else None


def _separations(
    clues: Clues,
    white: Scores,
    separations: NDArray[np.float64],
    match: Callable[[Scores], Pairs],
    prior: NDArray[np.float64],
) -> NDArray[np.float64]:
    """How far each signal sets apart the pairs that all the others match, drawn to the prior."""
    prior_pairs = clues.by.prior_pairs
    fused = np.tensordot(separations, white, 1)
    measured = np.empty(len(white))
    for one, (separation, signal) in enumerate(zip(separations, white, strict=True)):
        clues.clock.check()
        i, j = match(fused - separation * signal).T
        measured[one] = signal[i, j].mean()
    count = min(white.shape[1:])
    drawn = (count * measured + prior_pairs * prior) / (count + prior_pairs)
    positive: NDArray[np.float64] = np.maximum(drawn, 0.0)
    return positive


def _followers(clues: Clues) -> dict[str, Callable[[Pairs], Scores]]:
    """Signals that follow from a matching."""
    layers = clues.layers
    if min(_shape(layers)) > clues.by.resemblance_blocks:
        return {"template": lambda pairs: template(layers, pairs)}

    def remembered(name: str, score: Callable[[MlpBank, Pairs], Scores]) -> Callable[..., Scores]:
        return lambda pairs: clues.once((name, pairs.tobytes()), lambda: score(layers, pairs))

    followers = {"resemblance": resemblance, "template": template}
    return {name: remembered(name, score) for name, score in followers.items()}


def _by_ratio_alone(scores: Scores, by: GroupingParameters) -> Fusion | None:
    """Evidence from ratios that leave no doubt; None where they do."""
    if scores.shape[0] != scores.shape[1] or len(scores) < by.least_decisive:
        return None
    best = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    if len(set(best.tolist())) < len(best):
        return None
    wrong = np.ones(scores.shape, bool)
    wrong[rows, best] = False
    others, true = scores[wrong], scores[rows, best]
    spread = float(others.std())
    if not true.min() - others.max() > by.decisive * spread:
        return None
    separation = float(true.mean() - others.mean()) / spread
    standard = (scores - others.mean()) / spread
    log_odds = separation * standard - separation**2 / 2 - np.log(len(scores))
    # Each row's best is a column of its own, so no other matching has a larger sum.
    pairs = np.column_stack([rows, best]).astype(np.intp)
    return Fusion(log_odds, pairs, {"ratio": separation})


def _standardised(scores: Scores, itself: NDArray[np.bool_] | None) -> Scores:
    """Centre rows and columns and scale to unit variance; a constant signal becomes 0.

    Where all pieces are rows and columns, so is each by itself: products of two inp layers would
    stand out by their size alone.
    """
    values = scores.astype(np.float64)
    if itself is not None:
        values[itself] = values[~itself].mean()
    values -= values.mean(axis=0)
    values -= values.mean(axis=1, keepdims=True)
    spread = values.std()
    if not spread > 1e-12 * np.abs(scores).max():
        return np.zeros_like(values)
    values /= spread
    if itself is not None:
        rows, columns = (np.sqrt(np.square(values).mean(axis=a, keepdims=True)) for a in (1, 0))
        values /= np.maximum(rows * columns, 1e-12)
        values /= values.std()
    return values


def _uncorrelated(signals: Scores, out: Scores) -> Scores:
    """Signals mixed as little as possible so that they are uncorrelated (ZCA), written to `out`."""
    flat = signals.reshape(len(signals), -1)
    variances, directions = np.linalg.eigh(flat @ flat.T / flat.shape[1])
    # Signals that say nearly the same (trace and ratio) must not have their difference blown up.
    mixing = directions / np.sqrt(np.maximum(variances, 0.05)) @ directions.T
    np.matmul(mixing, flat, out=out.reshape(flat.shape))
    return out


def _shape(layers: MlpBank) -> tuple[int, int]:
    return len(layers.inp_weight), len(layers.out_weight)
