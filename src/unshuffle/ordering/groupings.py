"""All ways to group the pieces of few blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import Arrangement


@dataclass(frozen=True)
class EnumerationParameters:
    """Numbers that steer how every arrangement is judged.

    Parameters
    ----------
    most_blocks
        Blocks of an arrangement, at most.
    most_made
        Blocks that pieces can make, at most.
    numbers
        Numbers of all states that pass through blocks, at most: seconds of work.
    equations
        Predictions that every arrangement is judged on. The right one fits them all.
    at_once
        Arrangements of a round, about.
    kept
        The best arrangements of a round, which are judged on all rows in use.
    """

    most_blocks: int = 8
    most_made: int = 1 << 14
    numbers: int = 1 << 30
    equations: int = 8
    at_once: int = 1 << 14
    kept: int = 16


def groupings(problem: Problem, by: EnumerationParameters) -> Iterator[Arrangement]:
    """Every way to group pieces into blocks that no evidence rules out, in no order.

    There are none where pieces can make too many blocks.
    """
    pieces = [problem.bank.positions(role) for role in range(len(problem.bank.kind.roles))]
    if prod(map(len, pieces)) > by.most_made:
        return
    blocks = np.array([each for each in product(*pieces) if len({*each}) == len(each)])
    admitted = blocks[np.isfinite(problem.evidence.of(blocks))]
    yield from _completed([], [*map(tuple, admitted.tolist())], len(problem.grouped))


def _completed(
    begun: list[tuple[int, ...]], others: list[tuple[int, ...]], length: int
) -> Iterator[Arrangement]:
    """Every choice of blocks without a common piece that begins so and goes on with others."""
    if len(begun) == length:
        yield np.array(begun, np.intp)
        return
    for at, block in enumerate(others):
        apart = [each for each in others[at + 1 :] if not {*each} & {*block}]
        yield from _completed([*begun, block], apart, length)
