"""Which hidden unit is which, by weights, where inp and out list them in other sequences.

Whatever two layers have in common then shows only under the right permutation of the units. For
every candidate pair the best permutation is a linear assignment (weight matching, Ainsworth,
Hayase & Srinivasa 2023, "Git Re-Basin", arXiv:2209.04836), here of the inner products of what a
unit reads with and what it writes with: training moves both along one line, as the trace of
W_out W_in shows. True pairs gain more by it than wrong ones. Sorted norms and spectra, which no
permutation changes, give other matchings to try.

Once pairs are known, a sharper score is learned: what a unit writes with is regressed on what it
reads with and on its bias, over all blocks, and the units are assigned by the likelihood under that
regression, in turn (self-training, Scudder 1965). The first regressions are linear. Then kernel
ridge regression (Saunders, Gammerman & Vovk 1998) foretells each half of the blocks from the other
one: where units of different blocks resemble each other, those that read alike write alike.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Blocks, Layers
from unshuffle.grouping.matching import Pairs, optimal_matching
from unshuffle.grouping.pairs import Pairing
from unshuffle.grouping.signals import Scores

RIDGE = 0.1
"""Of the regression, relative to the variance of a feature."""

FLOOR = 0.02
"""Added to the covariance of its residuals, in units of the variance."""

ROUNDS = 3
"""Of matching and linear regression in turn."""

REACH = 1.0
"""Distance of two units, in standard deviations of a feature, over which the kernel falls,"""
NOISE = 0.3
"""the ridge of the regression with it,"""
SAMPLE = 3000
"""units, at most, that it learns from,"""
KERNEL_ROUNDS = 10
"""and rounds, at most."""

CLEAR = 1.0
"""Spreads of the unmatched scores by which a pair that is clear by weights leads its best rival,"""
MOST_PART = 0.75
"""the part of the pairs that is clear where units are permuted (a quarter at most by chance),"""
LEAST_PAIRS = 8
"""pairs of which that can be said,"""
MOST_PAIRS = 64
"""and as many as are worth the time."""

TINY = 1e-12


@dataclass(frozen=True, eq=False)
class UnitMatch:
    """What weights say of pairs whose units are in no common sequence.

    Parameters
    ----------
    scores
        Shape (I, J): sum of inner products under the best permutation, over the norm of the
        layers' product of sizes.
    pairs
        The best matching.
    sign
        The sign of the inner products that counts as alike, as the matched pairs show it.
    """

    scores: Scores
    pairs: Pairs
    sign: float


def match_units(layers: Layers) -> UnitMatch:
    """Score every pair of layers under its own best permutation of hidden units.

    Both signs are tried: training may turn what a unit writes against what it reads, or along it.
    """
    matching = matching_units(layers)
    while True:
        try:
            next(matching)
        except StopIteration as end:
            match: UnitMatch = end.value
            return match


def matching_units(layers: Layers) -> Generator[None, None, UnitMatch]:
    """The same; it yields after the pairs of each inp layer, so that it can be left."""
    found = []
    for sign in (-1.0, 1.0):
        scores = np.empty((len(layers.inp_weight), len(layers.out_weight)))
        for i, reads in enumerate(layers.inp_weight):
            for j, writes in enumerate(layers.out_weight):
                alike = sign * (reads @ writes).astype(np.float64)
                columns = optimal_matching(alike)[:, 1]
                units = np.arange(len(columns))
                norm = np.linalg.norm(reads) * np.linalg.norm(writes)
                scores[i, j] = alike[units, columns].sum() / max(norm, TINY)
            yield
        centred = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
        pairs = optimal_matching(centred)
        match = UnitMatch(centred, pairs, sign)
        lead = float(centred[tuple(pairs.T)].mean()) / max(float(centred.std()), TINY)
        found.append((lead, match))
    return max(found, key=lambda each: each[0])[1]


def likely_pairs(layers: Layers) -> list[UnitMatch]:
    """Matchings by three signals that no sequence of the hidden units changes.

    Inner products under the best permutation speak where training moved both layers along one line;
    else what training did to the sizes of units may (sorted norms), or to the directions in which
    they read and write (spectra of the Gram matrices, here singular values).

    Returns
    -------
    list of UnitMatch
        Those that differ in their pairs, by inner products first.
    """
    found = [match_units(layers)]
    inp = layers.inp_weight.astype(np.float64)
    out = layers.out_weight.astype(np.float64).transpose(0, 2, 1)
    for feature in (_sorted_log_norms, _log_spectra):
        scores = _resemblance(feature(inp), feature(out))
        pairs = optimal_matching(scores)
        if not any(np.array_equal(pairs, other.pairs) for other in found):
            found.append(UnitMatch(scores, pairs, found[0].sign))
    return found


def _resemblance(reads: NDArray[np.float64], writes: NDArray[np.float64]) -> Scores:
    """Minus the mean squared difference of features, standardised over layers; double-centred."""
    one, other = (
        (each - each.mean(axis=0)) / np.maximum(each.std(axis=0), TINY) for each in (reads, writes)
    )
    scores = one @ other.T * (2 / one.shape[1])
    scores -= np.square(one).mean(axis=1)[:, None] + np.square(other).mean(axis=1)
    means = scores.mean(axis=0) + scores.mean(axis=1, keepdims=True)
    return np.asarray(scores - means + scores.mean())


def _sorted_log_norms(units: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sort(_log_norms(units)[:, :, 0], axis=1)


def _log_spectra(units: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.linalg.svd(units, compute_uv=False)
    return np.asarray(np.log(np.maximum(values, TINY)))


def permuted_units(layers: Layers, pairing: Pairing, in_time: Callable[[], bool]) -> str | None:
    """Whether weights agree only once their hidden units are matched, in a sentence; else None.

    Where time does not suffice for a look, the sentence says that few agree as they are listed.

    Parameters
    ----------
    layers
        The inp and out layers of a pile.
    pairing
        Their pairs by the ordinary signals, which take units as they are listed.
    in_time
        Whether there is time left.
    """
    count = len(layers.inp_weight)
    listed = sum(match.margin > CLEAR for match in pairing.matches)
    if not LEAST_PAIRS <= count <= MOST_PAIRS or listed > (1 - MOST_PART) * count:
        return None
    matching = matching_units(layers)
    while in_time():
        try:
            next(matching)
        except StopIteration as end:
            return _word(end.value, listed)
    return (
        f"the weights of only {listed} of {count} pairs clearly agree as hidden units are listed, "
        "and no time was left to look whether the units are permuted; if they may be, "
        "--permuted-units (permuted_units=True) is for that"
    )


def _word(match: UnitMatch, listed: int) -> str | None:
    count = len(match.pairs)
    clear = int((_margins(match.scores, match.pairs) > CLEAR).sum())
    if clear < MOST_PART * count:
        return None
    return (
        f"the weights of {clear} of {count} pairs clearly agree once their hidden units are "
        f"matched, of {listed} as units are listed: the units may be permuted, which "
        "--permuted-units (permuted_units=True) is for"
    )


def _margins(scores: Scores, pairs: Pairs) -> NDArray[np.float64]:
    """How far each pair leads its best rival, in spreads of the scores of unmatched pairs."""
    inp, out = pairs.T
    others = scores.copy()
    others[inp, out] = np.nan
    rivals = np.maximum(np.nanmax(others, axis=1)[inp], np.nanmax(others, axis=0)[out])
    margins: NDArray[np.float64] = (scores[inp, out] - rivals) / max(np.nanstd(others), TINY)
    return margins


def unit_scores(blocks: Blocks, sign: float) -> NDArray[np.float64]:
    """Log-likelihoods, but for a constant, that a unit of inp is a column of out, in each block.

    Parameters
    ----------
    blocks
        Pairs of layers whose units are in no common sequence.
    sign
        As of `UnitMatch`.

    Returns
    -------
    NDArray
        Shape (blocks, hidden, hidden): entry (b, k, l) is about row k of inp and column l of out.
    """
    inp = blocks.inp_weight.astype(np.float64)
    out = blocks.out_weight.astype(np.float64).transpose(0, 2, 1)
    norms = _log_norms(inp)
    reads = np.concatenate([inp, norms, norms**2, blocks.inp_bias[:, :, None]], axis=2)
    writes = np.concatenate([out, _log_norms(out)], axis=2)
    reads, writes = _standardised(reads), _standardised(writes)
    scores: NDArray[np.float64] = sign * (inp @ out.transpose(0, 2, 1))
    for _ in range(ROUNDS):
        expected = _linear(reads, _taken(writes, assigned(scores)))
        scores = _log_likelihoods(expected, writes, assigned(scores))
    if len(blocks) < 2:
        return scores
    linear, columns = scores, assigned(scores)
    misfit = np.square(_taken(writes, columns) - expected).mean()
    regression = _KernelRegression(reads)
    for _ in range(KERNEL_ROUNDS):
        expected = regression.foretold(_taken(writes, columns))
        scores = _log_likelihoods(expected, writes, columns)
        before, columns = columns, assigned(scores)
        if np.array_equal(before, columns):
            break
    better = np.square(_taken(writes, columns) - expected).mean() < misfit
    return scores if better else linear


class _KernelRegression:
    """Kernel ridge regression of each half of the blocks on units of the other half.

    A unit is not foretold from its own block, whose matching it would confirm.
    """

    def __init__(self, reads: NDArray[np.float64]) -> None:
        self.shape = reads.shape[:2]
        x = reads.reshape(-1, reads.shape[2]).astype(np.float32)
        block = np.repeat(np.arange(len(reads)), reads.shape[1])
        rng = np.random.default_rng(0)
        self.halves = []
        for half in range(2):
            told, others = (np.flatnonzero(block % 2 == k) for k in (half, 1 - half))
            if len(others) > SAMPLE:
                others = rng.choice(others, SAMPLE, replace=False)
            gram = _kernel(x[others], x[others])
            gram.flat[:: len(gram) + 1] += NOISE
            self.halves.append((told, others, np.linalg.inv(gram), _kernel(x[told], x[others])))

    def foretold(self, writes: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each unit writes with, by what those of the other half do."""
        y = writes.reshape(-1, writes.shape[2])
        expected = np.empty_like(y)
        for told, others, inverse, across in self.halves:
            expected[told] = across @ (inverse @ y[others].astype(np.float32))
        return expected.reshape(writes.shape)


def _kernel(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gaussian, of the mean squared difference over the features."""
    squares = [np.square(each).mean(axis=1) for each in (x, y)]
    distances = squares[0][:, None] + squares[1] - 2 / x.shape[1] * (x @ y.T)
    return np.asarray(np.exp(-distances / (2 * REACH**2)), np.float32)


def _linear(reads: NDArray[np.float64], writes: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each unit writes with, by one ridge regression over all units of all blocks."""
    x, y = (values.reshape(-1, values.shape[2]) for values in (reads, writes))
    gram = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
    return (x @ np.linalg.solve(gram, x.T @ y)).reshape(writes.shape)


def _log_likelihoods(
    expected: NDArray[np.float64], writes: NDArray[np.float64], columns: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Of each column given each unit, under normal errors as those of the columns matched now."""
    rest = (_taken(writes, columns) - expected).reshape(-1, writes.shape[2])
    covariance = rest.T @ rest / len(rest) + FLOOR * np.eye(rest.shape[1])
    whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T
    means = expected @ whiten
    sizes = np.square(means).sum(axis=2)[:, :, None] / 2
    return np.asarray(means @ (writes @ whiten).transpose(0, 2, 1) - sizes)


def _taken(writes: NDArray[np.float64], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.take_along_axis(writes, columns[:, :, None], axis=1)


def assigned(scores: NDArray[np.floating]) -> NDArray[np.intp]:
    """The column of out for each unit of inp, in each block: shape (blocks, hidden)."""
    return np.stack([optimal_matching(each.astype(np.float64))[:, 1] for each in scores])


def _log_norms(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=2, keepdims=True)
    return np.asarray(np.log(np.maximum(norms, TINY)))


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre and scale each feature over all units of all blocks."""
    centred = values - values.mean(axis=(0, 1))
    return np.asarray(centred / np.maximum(centred.std(axis=(0, 1)), TINY))
