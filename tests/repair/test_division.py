"""Which of the blocks in a pile are of one network."""

import numpy as np
import pytest

from unshuffle import MlpNetwork, Records
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpBank, MlpStack
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.clock import Clock
from unshuffle.repair.division import divide, likeliest_counts

WIDTH, HIDDEN = 12, 20


def blocks_of(rng, last, count, likeness):
    """MlpStack that read alike, and write a little more for their last layer than at random."""
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
    blocks = MlpStack(inp, np.zeros((total, HIDDEN)), out, np.zeros((total, WIDTH)))
    return blocks, lasts


def record_of(rng, network):
    inputs = rng.normal(size=(400, WIDTH))
    return Records(inputs, network.predict(inputs))


@pytest.mark.parametrize("counts", [(8, 8), (10, 5)])
def test_blocks_of_one_network_come_first(rng, counts):
    blocks, (last, other) = joined(rng, counts)
    first = np.arange(counts[0])
    record = record_of(rng, MlpNetwork(blocks.take(first), last))
    ranking = divide(MlpNetwork(blocks, last), [other], record)
    assert sorted(ranking[: counts[0]].tolist()) == first.tolist()


def test_the_record_tells_how_many_blocks_there_are(rng):
    blocks, (last, _) = joined(rng, (6, 4))
    sizes = 0.3 * 1.6 ** np.arange(6)  # so that a seed knows their sequence
    blocks.out_weight[:6] *= sizes[:, None, None]
    record = record_of(rng, MlpNetwork(blocks.take(range(6)), last))
    bank = MlpBank(*blocks.inp, *blocks.out)
    evidence = Evidence((EdgeOdds(INP, OUT, np.zeros((10, 10)), bank.rows, bank.columns),))
    grouped = bank.arranged(np.stack([np.arange(10)] * 2, axis=1))
    problem = Problem(bank, last, grouped, evidence, record)
    found = likeliest_counts(problem, np.arange(10), Clock())
    error, nearest = min(found, key=lambda each: each[0])
    assert len(found) == 9
    assert nearest.grouped[:, INP].tolist() == [*range(6)]
    assert error < 1e-6
