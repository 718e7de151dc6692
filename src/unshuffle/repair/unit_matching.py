"""Which hidden unit is which, by weights, where inp and out list them in other sequences.

For every candidate pair the best permutation is a linear assignment. It compares what a unit reads
with and what it writes with, by inner products (weight matching, Ainsworth, Hayase & Srinivasa
2023, "Git Re-Basin", arXiv:2209.04836). Training moves both along one line. So true pairs gain more
than wrong ones. Sorted norms and spectra, which no permutation changes, give other matchings.

Once pairs are known, a regression over all blocks predicts what a unit writes with. Its features
are what the unit reads with and its bias. Units are assigned by its likelihood, in turn
(self-training, Scudder 1965). The first regressions are linear. Then kernel ridge regression
(Saunders, Gammerman & Vovk 1998) predicts each half of the blocks from the other one. It serves
where units of different blocks resemble each other.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpBank, MlpStack
from unshuffle.blocks.network import mean_square
from unshuffle.grouping.matching import Pairs, optimal_matching
from unshuffle.grouping.pairs import Pairing
from unshuffle.grouping.signals import Scores
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.pieces.pile import ROUNDING, Floats

Values = NDArray[np.float64]
Columns = NDArray[np.intp]


@dataclass(frozen=True)
class UnitMatchingParameters:
    """Numbers that steer the matching of units, and the look whether it is needed."""

    # Usual sign of the inner products of what belongs together: training turns what a unit writes
    # against what it reads more often than along it.
    sign: float = -1.0
    ridge: float = 0.1  # Of the linear regression, in units of the variance.
    floor: float = 0.02  # Added to the covariance of its residuals, in units of the variance.
    rounds: int = 3  # Rounds of matching and linear regression in turn.
    kernel_rounds: int = 10  # Rounds of matching and regression with a kernel, at most.
    reach: float = 1.0  # Distance of units over which the kernel falls, in standard deviations.
    noise: float = 0.3  # Ridge of the regression with it, in units of the variance.
    sample: int = 3000  # Units that it learns from, at most.
    clear: float = 1.0  # Spreads of the unmatched scores by which a clear pair leads its rivals.
    most_part: float = 0.75  # Part of pairs that is clear if units are permuted; else a quarter.
    least_pairs: int = 8  # Pairs of which that can be said.
    most_pairs: int = 64  # Pairs that are worth the time.


STANDARD = UnitMatchingParameters()


@dataclass(frozen=True, eq=False)
class UnitMatch:
    """What weights say of pairs whose units are in no common sequence, at the best permutations.

    `scores`, shape (inp, out), are double-centred, and `sign` is that of inner products that counts
    as alike.
    """

    scores: Scores
    pairs: Pairs
    sign: float


def match_units(
    bank: MlpBank | MlpStack, clock: Clock, by: UnitMatchingParameters = STANDARD
) -> UnitMatch:
    """Score every pair of layers under its own best permutation of hidden units, with both signs.

    It raises `OutOfTimeError` where the time does not suffice.
    """
    found = []
    for sign in (by.sign, -by.sign):
        scores = np.empty((len(bank.inp_weight), len(bank.out_weight)))
        for i, reads in enumerate(bank.inp_weight):
            clock.check()
            for j, writes in enumerate(bank.out_weight):
                alike = sign * (reads @ writes).astype(np.float64)
                best = alike[tuple(optimal_matching(alike).T)].sum()
                scores[i, j] = best / max(np.linalg.norm(reads) * np.linalg.norm(writes), ROUNDING)
        scores = _centred(scores)
        pairs = optimal_matching(scores)
        lead = float(scores[tuple(pairs.T)].mean()) / max(float(scores.std()), ROUNDING)
        found.append((lead, UnitMatch(scores, pairs, sign)))
    return max(found, key=lambda each: each[0])[1]


def likely_pairs(
    bank: MlpBank, clock: Clock, by: UnitMatchingParameters = STANDARD
) -> list[UnitMatch]:
    """Matchings by three signals that no sequence of the hidden units changes, as they differ.

    Inner products serve where training moved both layers along one line. Sorted norms or spectra
    (singular values) serve where it changed sizes or directions of units.
    """
    found = []
    with suppress(OutOfTimeError):
        found.append(match_units(bank, clock, by))
    sign = found[0].sign if found else by.sign
    features = [
        (
            np.sort(_log_norms(units)[:, :, 0], axis=1),
            np.log(np.maximum(np.linalg.svd(units, compute_uv=False), ROUNDING)),
        )
        for units in _units(bank)
    ]
    for reads, writes in zip(*features, strict=True):
        scores = _resemblance(reads, writes)
        pairs = optimal_matching(scores)
        if not any(np.array_equal(pairs, other.pairs) for other in found):
            found.append(UnitMatch(scores, pairs, sign))
    return found


def _resemblance(reads: Values, writes: Values) -> Scores:
    """Minus the mean squared difference of features, standardised over layers; double-centred."""
    one, other = standardised(reads, 0), standardised(writes, 0)
    scores = one @ other.T * (2 / one.shape[1])
    scores -= np.square(one).mean(axis=1)[:, None] + np.square(other).mean(axis=1)
    return _centred(scores)


def _centred(scores: Scores) -> Scores:
    means = scores.mean(axis=0) + scores.mean(axis=1, keepdims=True)
    return np.asarray(scores - means + scores.mean())


def permuted_units(
    bank: MlpBank | MlpStack,
    pairing: Pairing,
    clock: Clock,
    by: UnitMatchingParameters = STANDARD,
) -> str | None:
    """Whether weights agree only once their hidden units are matched, in a sentence; else None."""
    count = len(bank.inp_weight)
    listed = sum(match.margin > by.clear for match in pairing.matches)
    if not by.least_pairs <= count <= by.most_pairs or listed > (1 - by.most_part) * count:
        return None
    try:
        match = match_units(bank, clock, by)
    except OutOfTimeError:
        return (
            f"the weights of only {listed} of {count} pairs clearly agree as hidden units are "
            "listed. No time was left to look whether the units are permuted; if they may be, "
            "--permuted-units (permuted_units=True) is for that"
        )
    clear = int((_margins(match.scores, match.pairs) > by.clear).sum())
    if clear < by.most_part * count:
        return None
    return (
        f"the weights of {clear} of {count} pairs clearly agree once their hidden units are "
        f"matched, of {listed} as units are listed: the units may be permuted, which "
        "--permuted-units (permuted_units=True) is for"
    )


def _margins(scores: Scores, pairs: Pairs) -> Values:
    """How far each pair leads its best rival, in spreads of the scores of unmatched pairs."""
    inp, out = pairs.T
    others = scores.copy()
    others[inp, out] = np.nan
    rivals = np.maximum(np.nanmax(others, axis=1)[inp], np.nanmax(others, axis=0)[out])
    return np.asarray((scores[inp, out] - rivals) / max(np.nanstd(others), ROUNDING))


def unit_scores(
    blocks: MlpStack, sign: float, clock: Clock, by: UnitMatchingParameters = STANDARD
) -> Values:
    """Log-likelihoods, up to a constant, that a unit of inp is a column of out, by block.

    The result has shape (blocks, hidden, hidden). Entry (b, k, l) is about row k of inp and column
    l of out. Time may end it with the regressions so far.
    """
    inp, out = _units(blocks)
    norms = _log_norms(inp)
    reads = np.concatenate([inp, norms, norms**2, blocks.inp_bias[:, :, None]], axis=2)
    writes = np.concatenate([out, _log_norms(out)], axis=2)
    reads, writes = standardised(reads, (0, 1)), standardised(writes, (0, 1))
    columns = assigned(sign * (inp @ out.transpose(0, 2, 1)))
    for _ in range(by.rounds):
        expected = _linear(reads, _taken(writes, columns), by.ridge)
        scores = _log_likelihoods(expected, writes, columns, by.floor)
        columns = assigned(scores)
    if len(blocks) < 2 or clock.out:
        return scores
    linear, misfit = scores, mean_square(_taken(writes, columns) - expected)
    foretell = _KernelRegression(reads, by)
    for _ in range(by.kernel_rounds):
        expected = foretell(_taken(writes, columns))
        scores = _log_likelihoods(expected, writes, columns, by.floor)
        before, columns = columns, assigned(scores)
        if np.array_equal(before, columns) or clock.out:
            break
    return scores if mean_square(_taken(writes, columns) - expected) < misfit else linear


class _KernelRegression:
    """Kernel ridge regression of each half of the blocks on the other: none confirms itself."""

    def __init__(self, reads: Values, by: UnitMatchingParameters) -> None:
        x = reads.reshape(-1, reads.shape[2]).astype(np.float32)
        block, rng = np.repeat(np.arange(len(reads)), reads.shape[1]), np.random.default_rng(0)
        self.halves = []
        for half in range(2):
            told, others = (np.flatnonzero(block % 2 == k) for k in (half, 1 - half))
            if len(others) > by.sample:
                others = rng.choice(others, by.sample, replace=False)
            gram, across = (_kernel(x[each], x[others], by.reach) for each in (others, told))
            gram.flat[:: len(gram) + 1] += by.noise
            self.halves.append((told, others, np.linalg.inv(gram), across))

    def __call__(self, writes: Values) -> Values:
        y = writes.reshape(-1, writes.shape[2])
        expected = np.empty_like(y)
        for told, others, inverse, across in self.halves:
            expected[told] = across @ (inverse @ y[others].astype(np.float32))
        return expected.reshape(writes.shape)


def _kernel(x: Floats, y: Floats, reach: float) -> Floats:
    """Gaussian, of the mean squared difference over the features."""
    squares = [np.square(each).mean(axis=1) for each in (x, y)]
    distances = squares[0][:, None] + squares[1] - 2 / x.shape[1] * (x @ y.T)
    return np.asarray(np.exp(-distances / (2 * reach**2)), np.float32)


def _linear(reads: Values, writes: Values, ridge: float) -> Values:
    """What each unit writes with, by one ridge regression over all units of all blocks."""
    x, y = (values.reshape(-1, values.shape[2]) for values in (reads, writes))
    gram = x.T @ x + ridge * len(x) * np.eye(x.shape[1])
    return (x @ np.linalg.solve(gram, x.T @ y)).reshape(writes.shape)


def _log_likelihoods(expected: Values, writes: Values, columns: Columns, floor: float) -> Values:
    """Of each column given each unit, under normal errors as those of the columns matched now."""
    rest = (_taken(writes, columns) - expected).reshape(-1, writes.shape[2])
    covariance = rest.T @ rest / len(rest) + floor * np.eye(rest.shape[1])
    whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T
    means = expected @ whiten
    sizes = np.square(means).sum(axis=2)[:, :, None] / 2
    return np.asarray(means @ (writes @ whiten).transpose(0, 2, 1) - sizes)


def _units(layers: MlpBank | MlpStack) -> tuple[Values, Values]:
    """What units read and write with: shapes (layers, hidden, width)."""
    out = layers.out_weight.astype(np.float64).transpose(0, 2, 1)
    return layers.inp_weight.astype(np.float64), out


def _taken(writes: Values, columns: Columns) -> Values:
    return np.take_along_axis(writes, columns[:, :, None], axis=1)


def assigned(scores: NDArray[np.floating]) -> Columns:
    """The column of out for each unit of inp, in each block: shape (blocks, hidden)."""
    return np.stack([optimal_matching(each.astype(np.float64))[:, 1] for each in scores])


def _log_norms(vectors: Values) -> Values:
    return np.asarray(np.log(np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), ROUNDING)))


def standardised(values: Values, over: int | tuple[int, ...]) -> Values:
    """Centre and scale each feature over some axes."""
    centred = values - values.mean(axis=over, keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(axis=over, keepdims=True), ROUNDING))
