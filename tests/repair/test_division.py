"""Which of the blocks in a pile are of one network."""

import numpy as np
import pytest

from unshuffle import Network, Records
from unshuffle.blocks.network import Blocks, Layers, Linear
from unshuffle.ordering.problem import Problem
from unshuffle.repair.division import divide, likeliest_counts

WIDTH, HIDDEN = 12, 20


def blocks_of(rng, last, count, likeness):
    """Blocks that read alike, and write a little more for their last layer than at random."""
    towards = last.weight.T / np.linalg.norm(last.weight)
    inp = rng.normal(size=(count, HIDDEN, WIDTH)) + likeness * rng.normal(size=WIDTH)
    out = rng.normal(size=(count, WIDTH, HIDDEN))
    out += towards * rng.normal(size=(count, 1, HIDDEN))
    return inp, 0.05 * out


def joined(rng, counts):
    lasts = [Linear(rng.normal(size=(1, WIDTH)), np.zeros(1)) for _ in counts]
    parts = [blocks_of(rng, last, k, 0.7) for last, k in zip(lasts, counts, strict=True)]
    inp, out = (np.concatenate(each) for each in zip(*parts, strict=True))
    total = sum(counts)
    blocks = Blocks(inp, np.zeros((total, HIDDEN)), out, np.zeros((total, WIDTH)))
    return blocks, lasts


def record_of(rng, network):
    inputs = rng.normal(size=(400, WIDTH))
    return Records(inputs, network.predict(inputs))


@pytest.mark.parametrize("counts", [(8, 8), (10, 5)])
def test_blocks_of_one_network_come_first(rng, counts):
    blocks, (last, other) = joined(rng, counts)
    first = np.arange(counts[0])
    record = record_of(rng, Network(blocks.take(first), last))
    ranking = divide(Network(blocks, last), [other], record)
    assert sorted(ranking[: counts[0]].tolist()) == first.tolist()


def test_the_record_tells_how_many_blocks_there_are(rng):
    blocks, (last, _) = joined(rng, (6, 4))
    sizes = 0.3 * 1.6 ** np.arange(6)  # so that a seed knows their sequence
    blocks.out_weight[:6] *= sizes[:, None, None]
    record = record_of(rng, Network(blocks.take(range(6)), last))
    layers = Layers(*blocks.inp, *blocks.out)
    pairs = np.stack([np.arange(10)] * 2, axis=1)
    problem = Problem(layers, last, pairs, np.zeros((10, 10)), record, turns=False)
    found = likeliest_counts(problem, np.arange(10))
    error, nearest = min(found, key=lambda each: each[0])
    assert len(found) == 9
    assert nearest.pairs[:, 0].tolist() == [*range(6)]
    assert error < 1e-6
