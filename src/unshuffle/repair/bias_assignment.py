"""Which bias belongs to which weight, by the record.

The prediction is linear in the biases of out layers and of the last layer but for what later blocks
make of it, and nearly so in those of inp layers. So the effect of each bias in each place follows
from one forward and one backward pass, as the effects of layers do in
`unshuffle.ordering.reassignment`. One ridge regression of the residual on the effects of all
biases in all places, and a linear assignment (Kuhn 1955), place most of them; exchanges of two,
chosen together by matching pursuit, place the rest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.network import Linear
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.signals import Scores
from unshuffle.ordering.adjoint import Linearization
from unshuffle.ordering.moves import Kind, Moves
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.reassignment import ridge_regressions
from unshuffle.ordering.selection import pursuit
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.pile import Floats, PieceId, Pile

RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Relative to the mean squared norm of an effect."""

STAYING = (1 / 16, 1 / 4)
"""Coefficients of the biases that stand: 1 if the regression were exact, less to move more."""

Held = tuple[NDArray[np.intp], ...]
"""For each group, the bias that each of its weights holds; −1 for none, where the mean stands."""


@dataclass(frozen=True, eq=False)
class Group:
    """Weights without a bias, and the biases of their length: as many.

    Parameters
    ----------
    pieces
        Shape (weights,): positions in the pile.
    ids
        Ids of the biases.
    biases
        Shape (weights, length).
    odds
        Shape (weights, weights): log-odds of each bias for each weight, by the numbers alone.
    """

    pieces: NDArray[np.intp]
    ids: tuple[PieceId, ...]
    biases: Floats
    odds: Scores

    @property
    def decided(self) -> bool:
        """Whether there is nothing to find out."""
        return len(self.pieces) == 1

    def values(self, held: NDArray[np.intp]) -> Floats:
        """The bias of each weight, shape (weights, length)."""
        mean = self.biases.mean(axis=0, dtype=np.float64).astype(self.biases.dtype)
        return np.where(held[:, None] >= 0, self.biases[held], mean)


def groups_of(pile: Pile) -> tuple[Group, ...]:
    """The loose biases of a pile by their lengths, with the weights that each might belong to."""
    groups = []
    for length in sorted({len(bias.values) for bias in pile.biases}):
        biases = [bias for bias in pile.biases if len(bias.values) == length]
        pieces = [p for p, piece in enumerate(pile) if piece.detached and piece.shape[0] == length]
        groups.append(
            Group(
                np.array(pieces, np.intp),
                tuple(bias.id for bias in biases),
                np.stack([bias.values for bias in biases]).astype(pile.dtype),
                np.zeros((len(pieces), len(biases))),
            )
        )
    return tuple(groups)


def nothing_held(groups: Sequence[Group]) -> Held:
    """Means everywhere, but where there is one bias for one weight."""
    return tuple(np.full(len(one.pieces), 0 if one.decided else -1, np.intp) for one in groups)


def holding(
    problem: Problem, anatomy: Anatomy, last: int, groups: Sequence[Group], held: Held
) -> Problem:
    """The same problem with the biases that the weights hold.

    Parameters
    ----------
    problem
        Of a pile whose detached pieces have any biases.
    anatomy
        The roles of its pieces.
    last
        Position of the last layer.
    groups, held
        The loose biases, and which weight holds which.
    """
    inp_bias, out_bias = problem.layers.inp_bias.copy(), problem.layers.out_bias.copy()
    last_bias = problem.last.bias
    rows = {piece: i for i, piece in enumerate(anatomy.inp)}
    columns = {piece: j for j, piece in enumerate(anatomy.out)}
    for group, holding in zip(groups, held, strict=True):
        for piece, value in zip(group.pieces.tolist(), group.values(holding), strict=True):
            if piece in rows:
                inp_bias[rows[piece]] = value
            if piece in columns:
                out_bias[columns[piece]] = value
            if piece == last:
                last_bias = value.astype(last_bias.dtype)
    layers = replace(problem.layers, inp_bias=inp_bias, out_bias=out_bias)
    return replace(problem, layers=layers, last=Linear(problem.last.weight, last_bias))


def bias_effects(
    problem: Problem, anatomy: Anatomy, last: int, group: Group, at: Linearization
) -> Floats:
    """Effects of giving each weight of a group each of its biases, in place of what stands.

    Returns
    -------
    Floats
        Shape (weights, biases, outputs * rows).
    """
    layers = problem.layers
    states, adjoints = at.run.states, at.sensitivities
    outputs, rows = adjoints.shape[1:3]
    effects = np.zeros((len(group.pieces), len(group.biases), outputs, rows), states.dtype)
    slot = {piece: k for k, piece in enumerate(group.pieces.tolist())}
    for t, number in enumerate(at.run.order):
        i, j = divmod(number, len(layers.out_weight))
        g = adjoints[t + 1]
        if anatomy.out[j] in slot:
            changes = group.biases - layers.out_bias[j]
            effects[slot[anatomy.out[j]]] = np.moveaxis(g @ changes.T, 2, 0)
        if anatomy.inp[i] in slot:
            gated = g @ layers.out_weight[j]  # (outputs, rows, hidden)
            z = states[t] @ layers.inp_weight[i].T
            here = layers.activation.apply(z + layers.inp_bias[i])
            into = effects[slot[anatomy.inp[i]]]
            for k, bias in enumerate(group.biases):
                change = layers.activation.apply(z + bias)
                change -= here
                into[k] = np.einsum("onh,nh->on", gated, change)
    if last in slot:
        changes = group.biases - problem.last.bias
        effects[slot[last]] = changes[:, :, None]
    return effects.reshape(*effects.shape[:2], outputs * rows)


def reassigned(
    effects: Sequence[Floats], residual: Floats, groups: Sequence[Group], held: Held
) -> Iterator[Held]:
    """Propose other biases for many weights at once, by ridge regression and assignment.

    Parameters
    ----------
    effects
        As from `bias_effects`, for each group.
    residual
        Predictions minus the record's.
    groups, held
        What there is, and what stands.
    """
    wanted = -residual.astype(np.float64)
    open_groups = [k for k, group in enumerate(groups) if not group.decided]
    subsets = [open_groups]
    if len(open_groups) > 1 and all((holding >= 0).all() for holding in held):
        subsets += [[k] for k in open_groups]
    for subset in subsets:
        flat = [effects[k].reshape(-1, len(residual)) for k in subset]
        for found in ridge_regressions(flat, wanted, RIDGES):
            coefficients = [
                values.reshape(effects[k].shape[:2])
                for k, values in zip(subset, found, strict=True)
            ]
            for staying in STAYING:
                for trust in (0.0, 1.0):
                    proposal = list(held)
                    for k, values in zip(subset, coefficients, strict=True):
                        proposal[k] = _assigned(groups[k], values, held[k], staying, trust)
                    yield tuple(proposal)


def _assigned(
    group: Group, coefficients: Scores, held: NDArray[np.intp], staying: float, trust: float
) -> NDArray[np.intp]:
    variance = max(float(coefficients.var()), np.finfo(float).tiny)
    scores = coefficients / variance
    standing = np.flatnonzero(held >= 0)
    scores[standing, held[standing]] += staying / variance
    return optimal_matching(scores + trust * group.odds)[:, 1]


def exchanged(
    effects: Sequence[Floats], residual: Floats, held: Held, strength: float
) -> Iterator[Held]:
    """Propose exchanges of biases, many at once by matching pursuit; then fewer of them.

    Parameters
    ----------
    effects, residual, held
        As in `reassigned`; every weight holds a bias.
    strength
        What the logarithm of the error counts; see `unshuffle.ordering.selection.pursuit`.
    """
    first, second, moves, sizes = [], [], [], [0]
    for each, holding in zip(effects, held, strict=True):
        a, b = np.triu_indices(len(holding), 1)
        given = each[:, holding]  # entry (k, l) gives weight k the bias of weight l
        moves.append(given[a, b] + given[b, a])
        first.append(a + sizes[-1])
        second.append(b + sizes[-1])
        sizes.append(sizes[-1] + len(holding))
    count = sum(map(len, first))
    exchanges = Moves(
        np.full(count, Kind.OUTS),
        np.concatenate(first),
        np.concatenate(second),
        np.concatenate(moves),
        np.zeros(count),
    )
    chosen = pursuit(exchanges, residual, strength)
    while len(chosen):
        flat = np.concatenate(held)
        for a, b in zip(exchanges.first[chosen], exchanges.second[chosen], strict=True):
            flat[[a, b]] = flat[[b, a]]
        yield tuple(np.split(flat, sizes[1:-1]))
        chosen = chosen[: len(chosen) // 2]
