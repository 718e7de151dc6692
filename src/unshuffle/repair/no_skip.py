"""Blocks without a skip connection, whose order the weights tell.

Such a block reads just what the one before it writes. Gradients flow through both layers, and leave
their weights balanced: W_out W_outᵀ of a block resembles W_inpᵀ W_inp of the next one (Arora, Cohen
& Hazan 2018). Where blocks add to a stream, any two resemble each other as much. Hidden units are
balanced too, so that norms pair the layers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.assembly import last_layer, mlp_bank
from unshuffle.blocks.forms import FORMS, Form
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import PileError
from unshuffle.grouping import pair
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import TINY, Floats, Pile
from unshuffle.pieces.records import Records
from unshuffle.repair.case import Case
from unshuffle.repair.in_turn import repair_by
from unshuffle.repair.other_block import OtherForm


@dataclass(frozen=True)
class ChainParameters:
    """Numbers that say when weights show that blocks follow one another without a skip connection.

    Of trained networks, those with one were below 1.2, and those without above 2.
    """

    units: int = 64  # Units of the stream that are looked at, at most.
    rows: int = 64  # Rows that tell where the chain begins.
    cuts: int = 8  # Weakest links, at one of which it begins.
    clear: float = 1.5  # How many times as clear as by chance a chain has to be.
    few: float = 70.0  # Over the squared number of others: by how much these mislead where few.


STANDARD = ChainParameters()


@dataclass(frozen=True, eq=False)
class Chain:
    """Blocks in the order in which each resembles the one before it most.

    Parameters
    ----------
    arrangement
        The blocks, the first to run first.
    links
        How much each block resembles the one before it, and the first one the last.
    clearness
        By how much neighbours resemble each other more than other blocks do, over what the closest
        of so many would by chance.
    """

    arrangement: Arrangement
    links: NDArray[np.float64]
    clearness: float


def chain_of(pile: Pile, by: ChainParameters = STANDARD) -> Chain:
    """Pair the layers of a whole pile by norms, and order the blocks by what they resemble."""
    blocks = pair(pile, signal="log-norm").grouped(pile)
    writes = _directions([pile[out].weight[: by.units] for _, out in blocks])
    reads = _directions([pile[inp].weight.T[: by.units] for inp, _ in blocks])
    alike = writes @ reads.T
    order = _path(alike)
    neighbours = np.zeros(alike.shape, bool)
    neighbours[order[:-1], order[1:]] = True
    others = alike[~(neighbours | np.eye(len(order), dtype=bool))]
    links = alike[np.roll(order, 1), order]
    if len(others) < 2:
        return Chain(blocks[order], links, 0.0)
    gap = float(alike[neighbours].mean() - others.mean())
    largest = float(others.std() * np.sqrt(2 * np.log(len(order))))  # of so many normal numbers
    largest *= 1 + by.few / len(others) ** 2  # of 1,000 random tables one is 1.5 times as clear
    return Chain(blocks[order], links, gap / max(largest, TINY))


def _directions(weights: list[Floats]) -> NDArray[np.float64]:
    """Products of each two rows of weights, less their mean, as vectors of length 1."""
    grams = np.stack([each.astype(np.float64) @ each.T for each in weights])
    beside = grams[:, ~np.eye(grams.shape[1], dtype=bool)]
    beside -= beside.sum(axis=1, keepdims=True) / max(
        beside.shape[1], 1
    )  # of one unit there is none
    unit: NDArray[np.float64] = beside / (np.linalg.norm(beside, axis=1, keepdims=True) + TINY)
    return unit


def _path(alike: NDArray[np.float64]) -> NDArray[np.intp]:
    """The order that the closest couples of a block and the next one make, taken one by one."""
    count = len(alike)
    runs = {block: [block] for block in range(count)}  # by their first and by their last block
    for couple in np.argsort(-alike, axis=None, kind="stable"):
        one, other = divmod(int(couple), count)
        before, behind = runs.get(one), runs.get(other)
        if before is None or behind is None or before is behind:
            continue
        if before[-1] != one or behind[0] != other:
            continue
        joined = before + behind
        for block in (one, other):
            runs.pop(block)
        runs[joined[0]] = runs[joined[-1]] = joined
        if len(joined) == count:
            break
    return np.array(max(runs.values(), key=len), np.intp)


def _candidates(case: Case, by: ChainParameters = STANDARD) -> Iterator[OtherForm]:
    chain = chain_of(case.pile)
    # What the last block writes resembles no other, so that the chain may have closed around it.
    cuts = np.argsort(chain.links, kind="stable")[: by.cuts]
    turned = [np.roll(chain.arrangement, -first, axis=0) for first in cuts]
    some = case.records.predicted().thinned(by.rows)
    for form in FORMS:
        if not form.skip:
            errors = [_least_error(case, form, each, some) for each in turned]
            yield OtherForm(form, turned[int(np.argmin(errors))])


def _least_error(case: Case, form: Form, arrangement: Arrangement, some: Records) -> float:
    """Mean squared error of an arrangement with the activation that fits best."""
    assert isinstance(case.whole, Anatomy)
    last = last_layer(case.pile, case.pile.ids[case.whole.last[0]])
    banks = (mlp_bank(case.pile, case.whole, each, form) for each in case.options.activations)
    networks = [MlpNetwork(bank.take(arrangement), last) for bank in banks]
    return min(network.error(some.inputs, some.predictions) for network in networks)


def _evident(case: Case, by: ChainParameters = STANDARD) -> bool:
    return chain_of(case.pile).clearness > by.clear


def _requires(case: Case) -> str | None:
    """Why norms cannot pair the layers. None where they can."""
    whole = case.whole
    known = not isinstance(whole, PileError) and not whole.interchangeable and len(whole.last) == 1
    if not (known and case.searchable):
        return "shapes do not tell the roles of the layers"
    return None


NO_SKIP = repair_by("no skip connection", 0.45, _candidates, evident=_evident, requires=_requires)
