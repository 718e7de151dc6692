from dataclasses import replace

import numpy as np
import pytest

from unshuffle.blocks.network import Blocks, Linear, Network
from unshuffle.ordering.seeds import (
    SEEDS,
    consensus,
    inp_norm,
    out_norm,
    smallest_step,
    spectral,
)


@pytest.fixture
def network(dropped):
    return dropped(blocks=7, dtype=np.float64).network


def shuffled(network, order):
    return Network(network.blocks.take(order), network.last)


def drifting(rng, count=12):
    """Blocks that drift along the depth (an Ornstein-Uhlenbeck walk)."""
    depth = np.arange(count)
    mixing = np.linalg.cholesky(np.exp(-np.abs(depth[:, None] - depth) / count))
    outs = np.tensordot(mixing, rng.normal(size=(count, 16, 24)), 1)
    inps = np.repeat(rng.normal(size=(1, 24, 16)), count, axis=0)
    blocks = Blocks(inps, np.zeros((count, 24)), outs, np.zeros((count, 16)))
    return Network(blocks, Linear(rng.normal(size=(1, 16)), np.zeros(1)))


@pytest.fixture
def inputs(rng):
    return rng.normal(size=(50, 6))


def test_smallest_step_runs_what_moves_the_states_least(network, inputs):
    blocks = network.blocks
    state, ranking = inputs, []
    while len(ranking) < 7:
        after = {k: blocks.apply(k, state) for k in range(7) if k not in ranking}
        steps = {k: np.linalg.norm(moved - state) for k, moved in after.items()}
        ranking.append(min(steps, key=steps.get))
        state = after[ranking[-1]]
    assert smallest_step(network, inputs).tolist() == ranking


def test_norms_sort_what_they_say(network, inputs):
    blocks = network.blocks
    sums = [np.abs(weight).sum() for weight in blocks.out_weight]
    assert out_norm(network, inputs).tolist() == np.argsort(sums).tolist()
    norms = [np.linalg.norm(weight) for weight in blocks.inp_weight]
    assert inp_norm(network, inputs).tolist() == np.argsort(norms).tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_do_not_depend_on_the_sequence_of_the_blocks(network, inputs, rng, seed):
    ranking = SEEDS[seed].rank(network, inputs)
    assert sorted(ranking.tolist()) == list(range(7))
    for _ in range(30):
        mix = rng.permutation(7)
        again = mix[SEEDS[seed].rank(shuffled(network, mix), inputs)]
        assert again.tolist() == ranking.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_leave_their_arguments_alone(network, inputs, seed):
    arrays = [inputs, *network.tensors().values()]
    before = [array.copy() for array in arrays]
    SEEDS[seed].rank(network, inputs)
    for now, then in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("seed", [spectral, consensus])
def test_a_drift_along_the_depth_is_sorted(rng, seed):
    agreements = []
    for _ in range(10):
        mix = rng.permutation(12)
        ranking = mix[seed(shuffled(drifting(rng), mix), np.empty((0, 16)))]
        agreements.append(abs(np.corrcoef(ranking, np.arange(12))[0, 1]))
    assert np.mean(agreements) > 0.8


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [1, 2])
def test_seeds_rank_few_blocks_without_a_warning(network, inputs, seed, count):
    ranking = SEEDS[seed].rank(shuffled(network, range(count)), inputs)
    assert sorted(ranking.tolist()) == list(range(count))


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_rank_blocks_of_zeros_without_a_warning(network, inputs, seed):
    blocks = network.blocks
    zeros = replace(blocks, inp_weight=0 * blocks.inp_weight, out_weight=0 * blocks.out_weight)
    silent = Network(zeros, network.last)
    assert sorted(SEEDS[seed].rank(silent, inputs).tolist()) == list(range(7))


def test_seeds_are_registered_under_their_names():
    for name, seed in SEEDS.items():
        assert seed.name == name
        assert seed.sees
        assert seed.source
