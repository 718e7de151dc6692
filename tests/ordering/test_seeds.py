from dataclasses import replace

import numpy as np
import pytest

from unshuffle.network import Blocks
from unshuffle.ordering.seeds import SEEDS, inp_norm, out_norm, smallest_step, spectral


@pytest.fixture
def blocks(dropped):
    return dropped(blocks=7, dtype=np.float64).network.blocks


@pytest.fixture
def inputs(rng):
    return rng.normal(size=(50, 6))


def test_smallest_step_runs_what_moves_the_states_least(blocks, inputs):
    state, ranking = inputs, []
    while len(ranking) < 7:
        after = {k: blocks.apply(k, state) for k in range(7) if k not in ranking}
        steps = {k: np.linalg.norm(moved - state) for k, moved in after.items()}
        ranking.append(min(steps, key=steps.get))
        state = after[ranking[-1]]
    assert smallest_step(blocks, inputs).tolist() == ranking


def test_norms_sort_what_they_say(blocks, inputs):
    sums = [np.abs(weight).sum() for weight in blocks.out_weight]
    assert out_norm(blocks, inputs).tolist() == np.argsort(sums).tolist()
    norms = [np.linalg.norm(weight) for weight in blocks.inp_weight]
    assert inp_norm(blocks, inputs).tolist() == np.argsort(norms).tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_do_not_depend_on_the_sequence_of_the_blocks(blocks, inputs, rng, seed):
    ranking = SEEDS[seed].rank(blocks, inputs)
    assert sorted(ranking.tolist()) == list(range(7))
    for _ in range(30):
        mix = rng.permutation(7)
        assert mix[SEEDS[seed].rank(blocks.take(mix), inputs)].tolist() == ranking.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_leave_their_arguments_alone(blocks, inputs, seed):
    before = inputs.copy(), blocks.inp_weight.copy(), blocks.out_weight.copy()
    SEEDS[seed].rank(blocks, inputs)
    for now, then in zip((inputs, blocks.inp_weight, blocks.out_weight), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_spectral_sorts_a_drift_along_the_depth(rng):
    depth = np.arange(12)
    # The nearer two blocks in depth, the more alike what they write (an Ornstein-Uhlenbeck walk).
    mixing = np.linalg.cholesky(np.exp(-np.abs(depth[:, None] - depth) / 12))
    agreements = []
    for _ in range(10):
        outs = np.tensordot(mixing, rng.normal(size=(12, 16, 24)), 1)
        inps = np.repeat(rng.normal(size=(1, 24, 16)), 12, axis=0)
        drifting = Blocks(inps, np.zeros((12, 24)), outs, np.zeros((12, 16)))
        mix = rng.permutation(12)
        ranking = mix[spectral(drifting.take(mix), np.empty((0, 16)))]
        agreements.append(abs(np.corrcoef(ranking, depth)[0, 1]))
    assert np.mean(agreements) > 0.8


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [1, 2])
def test_seeds_rank_few_blocks_without_a_warning(blocks, inputs, seed, count):
    ranking = SEEDS[seed].rank(blocks.take(range(count)), inputs)
    assert sorted(ranking.tolist()) == list(range(count))


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_rank_blocks_of_zeros_without_a_warning(blocks, inputs, seed):
    silent = replace(blocks, inp_weight=0 * blocks.inp_weight, out_weight=0 * blocks.out_weight)
    assert sorted(SEEDS[seed].rank(silent, inputs).tolist()) == list(range(7))


def test_seeds_are_registered_under_their_names():
    for name, seed in SEEDS.items():
        assert seed.name == name
        assert seed.sees
        assert seed.source
