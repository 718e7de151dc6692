"""Which bias belongs to which weight: by the numbers alone, and by the record.

Training moves the bias of a hidden unit along with its weights. So norms and averages of the
weights predict it a little. The regression is learned from the pile itself: match, regress, repeat
(self-training, Scudder 1965; for shuffled labels Pananjady, Wainwright & Courtade 2018,
arXiv:1608.02902). It starts from every feature in both directions. The start that explains most
wins: only a right one finds more than chance.

The prediction is nearly linear in the biases. So one forward and one backward pass give the effect
of each bias in each place, as in `unshuffle.ordering.reassignment`. One ridge regression of the
residual on all effects, and a linear assignment (Kuhn 1955), place most biases. Matching pursuit
chooses exchanges of two for the rest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.ends import Ends, Linear
from unshuffle.blocks.mlp import MlpNetwork, as_mlp_bank
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.signals import Scores
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.linearization import Linearization
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.reassignment import ridge_regressions
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import ROUNDING, Floats, PieceId, Pile
from unshuffle.repair.unit_matching import standardised
from unshuffle.repair.unit_mending import exchanges, swaps

# For each group, the bias that each of its weights holds; −1 for none, where the mean stands.
HeldBiases = tuple[NDArray[np.intp], ...]


@dataclass(frozen=True)
class BiasParameters:
    """Numbers that steer the assignment, and the self-training before it."""

    ridges: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)  # Over effects' mean squared norm.
    staying: tuple[float, ...] = (1 / 16, 1 / 4)  # Coefficients of what stands; 1 if it were exact.
    trust: tuple[float, ...] = (0.0, 1.0)  # Factors on the log-odds by the numbers alone.
    feature_ridge: float = 0.01  # Of the self-training, relative to the variance of a feature.
    start: float = 0.1  # Coefficient of the one feature that it starts from.
    rounds: int = 30  # Its rounds of matching and regression in turn, at most.


STANDARD = BiasParameters()


@dataclass(frozen=True, eq=False)
class Group:
    """Weights without a bias, at ascending positions in the pile, and the biases of their length.

    Biases have shape (weights, length), and `odds` (weights, biases) are log-odds by the numbers.
    """

    pieces: NDArray[np.intp]
    ids: tuple[PieceId, ...]
    biases: Floats
    odds: Scores

    @property
    def decided(self) -> bool:
        """Whether there is nothing to find out."""
        return len(self.pieces) == 1


@dataclass(frozen=True, eq=False)
class LooseBiases:
    """The loose biases of a pile, in a group for each length."""

    groups: tuple[Group, ...]

    @classmethod
    def of(cls, pile: Pile) -> "LooseBiases":
        """Those of a pile, of which nothing is known."""
        groups = []
        for length in sorted({len(bias.values) for bias in pile.biases}):
            biases = [bias for bias in pile.biases if len(bias.values) == length]
            pieces = [p for p, one in enumerate(pile) if one.detached and one.shape[0] == length]
            values = np.stack([bias.values for bias in biases]).astype(pile.dtype)
            ids, odds = tuple(bias.id for bias in biases), np.zeros((len(pieces), len(biases)))
            groups.append(Group(np.array(pieces, np.intp), ids, values, odds))
        return cls(tuple(groups))

    @property
    def nothing(self) -> HeldBiases:
        """Means everywhere, but where there is one bias for one weight."""
        sizes = ((len(group.ids), 0 if group.decided else -1) for group in self.groups)
        return tuple(np.full(size, bias, np.intp) for size, bias in sizes)

    @property
    def likeliest(self) -> HeldBiases:
        """What the numbers alone say."""
        return tuple(optimal_matching(group.odds)[:, 1] for group in self.groups)

    def values(self, held: HeldBiases) -> dict[int, Floats]:
        """The bias of each weight, by its position."""
        found: dict[int, Floats] = {}
        for group, holds in zip(self.groups, held, strict=True):
            mean = group.biases.mean(axis=0, dtype=np.float64).astype(group.biases.dtype)
            values = np.where(holds[:, None] >= 0, group.biases[holds], mean)
            found |= zip(group.pieces.tolist(), values, strict=True)
        return found

    def named(self, pile: Pile, held: HeldBiases) -> dict[PieceId, PieceId]:
        """Ids of biases by those of their weights. What is not held is handed out in sequence."""
        bias_of = {}
        for group, holds in zip(self.groups, held, strict=True):
            free = iter(sorted({*range(len(group.ids))} - {*holds.tolist()}))
            for piece, bias in zip(group.pieces.tolist(), holds.tolist(), strict=True):
                bias_of[pile[piece].id] = group.ids[bias if bias >= 0 else next(free)]
        return bias_of

    def problem(self, problem: Problem, held: HeldBiases) -> Problem:
        """The same problem with the biases that weights hold. What theirs were does not matter."""
        bank, ends, bias = as_mlp_bank(problem.bank), _linear(problem.ends), self.values(held)
        inp = [bias.get(at, one) for at, one in zip(bank.inp_positions, bank.inp_bias, strict=True)]
        out = [bias.get(at, one) for at, one in zip(bank.out_positions, bank.out_bias, strict=True)]
        last = bias.get(_last(problem.grouped), ends.bias).astype(ends.dtype)
        bank = replace(bank, inp_bias=np.stack(inp), out_bias=np.stack(out))
        return replace(problem, bank=bank, ends=Linear(ends.weight, last))

    def effects(self, judge: Judge, at: Linearization, clock: Clock) -> list[Floats]:
        """Effects of giving each weight each of its biases, in place of what stands.

        By groups: (weights, biases, outputs * rows). `OutOfTimeError` may be raised.
        """
        bank, states, adjoints = as_mlp_bank(judge.bank), at.run.states, at.adjoints
        shape = adjoints.shape[1:3]
        found = [np.zeros((*each.odds.shape, *shape), states.dtype) for each in self.groups]
        slots = {
            piece: (group.biases, into)
            for group, effects in zip(self.groups, found, strict=True)
            for piece, into in zip(group.pieces.tolist(), effects, strict=True)
        }
        for t, (inp, out) in enumerate(at.run.arrangement.tolist()):
            clock.check()
            x, g, apply = states[t], adjoints[t + 1], bank.activation.apply
            reads, writes = bank.inp_layer(inp), bank.out_layer(out)
            if out in slots:
                biases, into = slots[out]
                into[:] = np.moveaxis(g @ (biases - writes.bias).T, 2, 0)
            if inp in slots:
                biases, into = slots[inp]
                gated, z = g @ writes.weight, x @ reads.weight.T
                here = apply(z + reads.bias)
                for k, bias in enumerate(biases):
                    into[k] = np.einsum("onh,nh->on", gated, apply(z + bias) - here)
        last = _last(at.run.arrangement)
        if last in slots:
            biases, into = slots[last]
            into[:] = (biases - _linear(judge.ends).bias)[:, :, None]
        return [effects.reshape(*effects.shape[:2], -1) for effects in found]


def unit_features(network: MlpNetwork, inputs: Floats) -> NDArray[np.float64]:
    """What may tell a hidden unit's bias, in a network whose inp biases are unknown.

    The result has shape (blocks, hidden, features), each standardised over the hidden units.
    """
    inp = network.blocks.inp_weight.astype(np.float64)
    out = network.blocks.out_weight.astype(np.float64)
    x, last = inputs.astype(np.float64), network.last.weight
    mean, covariance = x.mean(axis=0), np.cov(x.T).reshape(x.shape[1], x.shape[1])
    direction, importance = last.sum(axis=0), np.linalg.norm(last, axis=0)
    aligned = np.einsum("khd,kdh->kh", inp, out)
    reads, writes = np.linalg.norm(inp, axis=2), np.linalg.norm(out, axis=1)
    spread = np.sqrt(np.maximum(np.einsum("khd,de,khe->kh", inp, covariance, inp), 0))
    features = (
        reads,
        writes,
        inp @ mean,
        spread,
        inp @ mean / np.maximum(spread, ROUNDING),
        aligned,
        aligned / np.maximum(reads * writes, ROUNDING),
        inp.sum(axis=2),
        out.sum(axis=1),
        np.einsum("d,kdh->kh", direction, out),
        np.einsum("d,kdh->kh", importance, np.abs(out)),
        inp @ direction,
        np.einsum("khd,kd->kh", inp, out.sum(axis=2)),
    )
    return np.stack([standardised(feature, -1) for feature in features], axis=2)


def bias_log_odds(
    features: NDArray[np.float64], biases: Floats, clock: Clock, by: BiasParameters = STANDARD
) -> Scores:
    """Log-odds (weights, biases), up to a constant, by features (weights, units, features)."""
    values = standardised(biases.astype(np.float64), -1)
    gram = np.einsum("kuf,kug->fg", features, features)
    gram += by.feature_ridge * features.shape[0] * features.shape[1] * np.eye(len(gram))
    best, explained = np.zeros((len(features), len(values))), 0.0
    for start in np.concatenate([np.eye(len(gram)), -np.eye(len(gram))]) * by.start:
        if clock.out:
            break
        coefficients, matched = start, None
        for _ in range(by.rounds):
            pairs = optimal_matching(_likelihoods(features @ coefficients, values))
            if matched is not None and np.array_equal(pairs, matched):
                break
            matched = pairs
            found = np.einsum("kuf,ku->f", features[pairs[:, 0]], values[pairs[:, 1]])
            coefficients = np.linalg.solve(gram, found)
        expected = features @ coefficients
        agreement = float(np.mean(expected[pairs[:, 0]] * values[pairs[:, 1]]))
        if agreement > explained:
            best, explained = _likelihoods(expected, values), agreement
    return best / max(1 - explained, ROUNDING)


def _likelihoods(expected: NDArray[np.float64], values: NDArray[np.float64]) -> Scores:
    """Gaussian log-likelihoods, but for a constant, of values around what is expected."""
    return np.asarray(expected @ values.T - np.square(expected).sum(axis=1)[:, None] / 2)


def _linear(ends: Ends) -> Linear:
    assert isinstance(ends, Linear)
    return ends


def _last(arrangement: Arrangement) -> int:
    """Position of the last layer, which is in no block of a whole network."""
    return int(np.setdiff1d(np.arange(arrangement.size + 1), arrangement)[0])


def reassigned_biases(
    effects: Sequence[Floats],
    residual: Floats,
    groups: Sequence[Group],
    held: HeldBiases,
    by: BiasParameters = STANDARD,
) -> Iterator[HeldBiases]:
    """Propose other biases for many weights at once, by ridge regression and assignment."""
    wanted = -residual.astype(np.float64)
    undecided = [k for k, group in enumerate(groups) if not group.decided]
    subsets = [undecided] if undecided else []
    if len(undecided) > 1 and all((holds >= 0).all() for holds in held):
        subsets += [[k] for k in undecided]
    for subset in subsets:
        flat = [effects[k].reshape(-1, len(residual)) for k in subset]
        for found in ridge_regressions(flat, wanted, by.ridges):
            for staying, trust in product(by.staying, by.trust):
                proposal = [*held]
                for k, coefficients in zip(subset, found, strict=True):
                    variance = max(float(coefficients.var()), np.finfo(float).tiny)
                    scores = coefficients.reshape(effects[k].shape[:2]) / variance
                    standing = np.flatnonzero(held[k] >= 0)
                    scores[standing, held[k][standing]] += staying / variance
                    proposal[k] = optimal_matching(scores + trust * groups[k].odds)[:, 1]
                yield tuple(proposal)


def exchanged(
    effects: Sequence[Floats], residual: Floats, held: HeldBiases, strength: float
) -> Iterator[HeldBiases]:
    """Propose exchanges of biases, if all are held, many at once by pursuit; then fewer of them."""
    first, second, changes, ends = [], [], [], np.cumsum([len(holds) for holds in held])
    for each, holds, end in zip(effects, held, ends, strict=True):
        a, b = np.triu_indices(len(holds), 1)
        given = each[:, holds]  # entry (k, l) gives weight k the bias of weight l
        changes.append(given[a, b] + given[b, a])
        first.append(a + end - len(holds))
        second.append(b + end - len(holds))
    one, other, effect = map(np.concatenate, (first, second, changes))
    moves = swaps(one, other, effect, np.zeros(len(one)))
    for flat in exchanges(moves, np.concatenate(held), residual, strength):
        yield tuple(np.split(flat, ends[:-1]))
