from dataclasses import replace

import numpy as np
import pytest

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpBank, MlpNetwork, MlpStack
from unshuffle.blocks.network import Network
from unshuffle.errors import UsageError
from unshuffle.ordering.seeds import (
    SEEDS,
    by_agreement,
    by_inp_norm,
    by_out_norm,
    by_products,
    smallest_step,
)


@pytest.fixture
def network(dropped):
    return dropped(blocks=7, dtype=np.float64).network


def shuffled(network, order):
    return MlpNetwork(network.blocks.take(order), network.last)


def drifting(rng, count=12):
    """Blocks that drift along the depth (an Ornstein-Uhlenbeck walk)."""
    depth = np.arange(count)
    mixing = np.linalg.cholesky(np.exp(-np.abs(depth[:, None] - depth) / count))
    outs = np.tensordot(mixing, rng.normal(size=(count, 16, 24)), 1)
    inps = np.repeat(rng.normal(size=(1, 24, 16)), count, axis=0)
    blocks = MlpStack(inps, np.zeros((count, 24)), outs, np.zeros((count, 16)))
    return MlpNetwork(blocks, Linear(rng.normal(size=(1, 16)), np.zeros(1)))


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
    assert by_out_norm(network, inputs).tolist() == np.argsort(sums).tolist()
    norms = [np.linalg.norm(weight) for weight in blocks.inp_weight]
    assert by_inp_norm(network, inputs).tolist() == np.argsort(norms).tolist()


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


@pytest.mark.parametrize("seed", [by_products, by_agreement])
def test_a_drift_along_the_depth_is_sorted(rng, seed):
    agreements = []
    for _ in range(10):
        mix = rng.permutation(12)
        ranking = mix[seed(shuffled(drifting(rng), mix), np.empty((0, 16)))]
        agreements.append(abs(np.corrcoef(ranking, np.arange(12))[0, 1]))
    assert np.mean(agreements) > 0.8


GENERAL = [name for name, seed in SEEDS.items() if not seed.mlp_only]


@pytest.fixture
def other_kind(network, looped):
    """The same network, of whose blocks nothing but two functions is known."""
    bank = looped(MlpBank(*network.blocks.inp, *network.blocks.out))
    return Network(bank.take(np.column_stack([np.arange(7), 7 + np.arange(7)])), network.last)


def test_seeds_that_read_the_weights_serve_no_other_kind(network, other_kind):
    assert all(seed.serves(network) for seed in SEEDS.values())
    assert [name for name, seed in SEEDS.items() if seed.serves(other_kind)] == GENERAL
    assert len(GENERAL) == 2
    assert any(SEEDS[name].quick for name in GENERAL)
    with pytest.raises(UsageError, match="other blocks"):
        by_products(other_kind, np.empty((0, 6)))


def test_the_smallest_step_is_the_same_for_another_kind(network, other_kind, inputs):
    expected = smallest_step(network, inputs)
    np.testing.assert_array_equal(smallest_step(other_kind, inputs), expected)


@pytest.mark.parametrize("seed", GENERAL)
def test_seeds_of_another_kind_do_not_depend_on_the_sequence(other_kind, inputs, rng, seed):
    ranking = SEEDS[seed].rank(other_kind, inputs)
    assert sorted(ranking.tolist()) == list(range(7))
    blocks = other_kind.blocks
    for _ in range(10):
        mix = rng.permutation(7)
        mixed = replace(blocks, blocks=[blocks.blocks[k] for k in mix])
        again = mix[SEEDS[seed].rank(replace(other_kind, blocks=mixed), inputs)]
        assert again.tolist() == ranking.tolist()
    assert other_kind.blocks.blocks == blocks.blocks


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [1, 2])
def test_seeds_rank_few_blocks_without_a_warning(network, inputs, seed, count):
    ranking = SEEDS[seed].rank(shuffled(network, range(count)), inputs)
    assert sorted(ranking.tolist()) == list(range(count))


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_rank_blocks_of_zeros_without_a_warning(network, inputs, seed):
    blocks = network.blocks
    zeros = replace(blocks, inp_weight=0 * blocks.inp_weight, out_weight=0 * blocks.out_weight)
    silent = MlpNetwork(zeros, network.last)
    assert sorted(SEEDS[seed].rank(silent, inputs).tolist()) == list(range(7))


def test_a_drift_of_blocks_of_another_kind_is_sorted(rng, looped):
    agreements = []
    for _ in range(10):
        stack = drifting(rng).blocks
        bank = looped(MlpBank(*stack.inp, *stack.out))
        mix = rng.permutation(12)
        blocks = bank.take(np.column_stack([mix, 12 + mix]))
        ends = Linear(np.ones((1, 16)), np.zeros(1))
        ranking = mix[by_agreement(Network(blocks, ends), np.empty((0, 16)))]
        agreements.append(abs(np.corrcoef(ranking, np.arange(12))[0, 1]))
    assert np.mean(agreements) > 0.8


def test_seeds_are_registered_under_their_names():
    for name, seed in SEEDS.items():
        assert seed.name == name
        assert seed.sees
        assert seed.source
