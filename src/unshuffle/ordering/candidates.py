"""Candidate moves on a linearized order, with their first-order effects."""

import numpy as np
from numpy.typing import NDArray

from unshuffle.ordering.adjoint import (
    Linearization,
    exchange_effects,
    replacement_effects,
    shift_effects,
    shifts,
)
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.moves import Kind, Moves


def shift_moves(judge: Judge, at: Linearization, window: int) -> Moves:
    """Move each block by up to `window` places; adjacent swaps come first."""
    first, second = shifts(len(at.run.order), window).T
    kind = np.full(len(first), Kind.SHIFT, np.intp)
    return Moves(kind, first, second, shift_effects(judge, at, window), np.zeros(len(first)))


def all_exchanges(
    judge: Judge,
    at: Linearization,
    log_odds: NDArray[np.float64],
    least_gain: float = -np.inf,
) -> Moves:
    """Exchange the out layers, or the inp layers, of each two places.

    All are run as steps of their own, without those that exchanges have in common, so this is for
    few rows.

    Parameters
    ----------
    judge, at
        The judge and the linearized order; any rows that both have.
    log_odds
        Shape (I, J): of all pairs.
    least_gain
        Only exchanges that change the sum of the log-odds by more than this are considered.
    """
    i, j = np.divmod(np.array(at.run.order, np.intp), log_odds.shape[1])
    first, second = np.triu_indices(len(i), 1)
    gains = log_odds[i[first], j[second]] + log_odds[i[second], j[first]]
    gains -= log_odds[i[first], j[first]] + log_odds[i[second], j[second]]
    admitted = gains > least_gain
    first, second, gains = first[admitted], second[admitted], gains[admitted]
    if not len(first):
        return Moves.none(len(at.residual), at.residual.dtype)
    outs, inps = (
        Moves(np.full(len(first), kind), first, second, effects[first, second], gains)
        for kind, effects in zip(
            (Kind.OUTS, Kind.INPS),
            (each + each.transpose(1, 0, 2) for each in exchange_effects(judge, at)),
            strict=True,
        )
    )
    return outs + inps


def exchange_moves(judge: Judge, at: Linearization, exchanges: Moves, outs: int) -> Moves:
    """The same exchanges with their effects on another sample of rows.

    Parameters
    ----------
    judge, at
        The judge and the order, linearized on its rows.
    exchanges
        Moves of the kinds `OUTS` and `INPS`.
    outs
        Number J of out layers, which block numbers are made with.
    """
    first, second = exchanges.first, exchanges.second
    i, j = np.divmod(np.array(at.run.order, np.intp), outs)
    # Giving two places each other's inp layers makes the blocks that exchanging the out layers
    # makes, in the opposite places.
    at_first, at_second = i[first] * outs + j[second], i[second] * outs + j[first]
    swapped = exchanges.kind == Kind.INPS
    at_first[swapped], at_second[swapped] = at_second[swapped], at_first[swapped]
    effects = replacement_effects(judge, at, np.column_stack([first, at_first]))
    effects += replacement_effects(judge, at, np.column_stack([second, at_second]))
    return exchanges.with_effects(effects)


def turn_moves(judge: Judge, at: Linearization, log_odds: NDArray[np.float64]) -> Moves:
    """Exchange the roles of the two layers of each block."""
    i, j = np.divmod(np.array(at.run.order, np.intp), log_odds.shape[1])
    places = np.arange(len(i))
    turned = j * log_odds.shape[1] + i
    return Moves(
        np.full(len(i), Kind.TURN),
        places,
        places,
        replacement_effects(judge, at, np.column_stack([places, turned])),
        log_odds[j, i] - log_odds[i, j],
    )
