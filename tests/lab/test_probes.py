"""Probes against networks for which theory gives the answer."""

from itertools import permutations

import numpy as np
import pytest

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork, MlpStack
from unshuffle.errors import UsageError
from unshuffle.lab import probes, searches
from unshuffle.lab.approach import task_of
from unshuffle.lab.probes import drift, growth, last_turns, without_skips
from unshuffle.lab.subjects import Subject, folder_subject
from unshuffle.oracle.evaluation import DroppedOracle, count_inversions
from unshuffle.oracle.recipe import read_recipe
from unshuffle.ordering.moves import shifted


def case_of(network, rng, rows=60):
    from unshuffle import Piece, Pile, Records

    tensors = list(network.tensors().values())
    pieces = [
        Piece.linear(k, w, b)
        for k, (w, b) in enumerate(zip(tensors[::2], tensors[1::2], strict=True))
    ]
    inputs = rng.normal(size=(rows, network.blocks.width))
    records = Records(inputs, network.predict(inputs))
    answer = tuple(range(len(pieces)))
    return DroppedOracle("made", 0, Pile(pieces), records, answer, network.blocks.activation)


def coupled(rng, factor, blocks=3, width=6):
    """Blocks whose W_out is `factor` times W_inᵀ of orthonormal columns; all gates are open."""
    inp = np.stack([np.linalg.qr(rng.normal(size=(12, width)))[0] for _ in range(blocks)])
    bias = np.full((blocks, 12), 500.0)
    out = factor * inp.transpose(0, 2, 1)
    last = Linear(rng.normal(size=(1, width)), np.zeros(1))
    return MlpNetwork(MlpStack(inp, bias, out, -(out @ bias[..., None])[..., 0]), last)


def test_a_contraction_has_its_eigenvalues_in_the_disc(rng):
    found = probes.spectrum(case_of(coupled(rng, -0.5), rng))
    assert found["open_gates"] == 1
    assert found["negative"] == found["negative_gated"] == 1
    assert found["contracting"] == found["contracting_gated"] == 1
    assert found["contracting_least"] == found["negative_least"] == 1
    assert found["distortion"] == pytest.approx(np.log(2))
    found = probes.spectrum(case_of(coupled(rng, 0.5), rng))
    assert found["negative"] == found["contracting"] == 0
    assert found["distortion"] == pytest.approx(np.log(1.5))
    one = coupled(rng, -0.5)
    one.blocks.out_weight[1] *= -1
    found = probes.spectrum(case_of(one, rng))
    assert found["contracting"] == found["negative"] == pytest.approx(2 / 3)
    assert found["contracting_least"] == found["negative_least"] == 0


def test_closed_gates_make_an_isometry(rng):
    network = coupled(rng, -0.5)
    network.blocks.inp_bias[:] = -500
    network.blocks.out_bias[:] = 0
    found = probes.spectrum(case_of(network, rng))
    assert found["negative"] == 1
    assert found["open_gates"] == found["negative_gated"] == found["distortion"] == 0


def test_gates_are_those_of_the_states(rng):
    network = coupled(rng, 0.1)
    network.blocks.out_bias[:] = 0
    network.blocks.inp_bias[:] = -500
    network.blocks.inp_bias[1, :4] = 500
    gates = probes.average_gates(network, rng.normal(size=(30, 6)))
    np.testing.assert_array_equal(gates[1], np.arange(12) < 4)
    assert not gates[[0, 2]].any()


def test_a_block_that_writes_against_what_it_reads_has_one_sign(rng):
    found = probes.signs(case_of(coupled(rng, -0.5), rng))
    assert found["trace_side"] == -1
    assert found["one_signed"] == found["coherence"] == found["blocks_of_one_sign"] == 1
    assert found["one_signed_wrong"] == pytest.approx(0.5, abs=0.1)
    assert found["coherence_wrong"] < 0.3


def test_norms_agree_where_they_are_proportional(rng):
    network = coupled(rng, 2.0)
    network.blocks.inp_bias[:] = 0
    found = probes.balance(case_of(network, rng))
    assert found["log_norm"] == pytest.approx(1)
    assert abs(found["log_norm_wrong"]) < 0.9
    assert found["imbalance"] == pytest.approx((4 - 1) / (4 + 1))
    assert probes.relative_traces(network.blocks) == pytest.approx(np.full(3, np.sqrt(6)))


def flow_step(network, inputs, rate):
    """A gradient step on half the mean square of the predictions, by the network's own adjoint."""
    x, blocks = inputs, network.blocks
    states = list(network.states(x))
    g = network.last(states[-1]) @ network.last.weight / len(x)
    steps = []
    for k in reversed(range(len(blocks))):
        z = states[k] @ blocks.inp_weight[k].T + blocks.inp_bias[k]
        gated = (g @ blocks.out_weight[k]) * (z > 0)
        steps.append((gated.T @ states[k], gated.sum(axis=0), g.T @ np.maximum(z, 0), g.sum(0)))
        g = g + gated @ blocks.inp_weight[k]
    by = [np.stack(parts) for parts in zip(*steps[::-1], strict=True)]
    old = (*blocks.inp, *blocks.out)
    return MlpNetwork(
        MlpStack(*(one - rate * d for one, d in zip(old, by, strict=True)), blocks.activation),
        network.last,
    )


def test_gradient_flow_keeps_the_invariants_and_decay_does_not(rng):
    network = coupled(rng, 0.5)
    network.blocks.inp_bias[:] = rng.normal(size=(3, 12))
    network.blocks.out_bias[:] = 0
    inputs, after = rng.normal(size=(40, 6)), network
    for _ in range(200):
        after = flow_step(after, inputs, 1e-4)
    assert np.abs(after.blocks.inp_weight - network.blocks.inp_weight).max() > 1e-3
    assert drift(network.blocks, after.blocks) < 0.01
    half = MlpStack(*(0.5 * part for part in (*network.blocks.inp, *network.blocks.out)))
    assert drift(network.blocks, half) > 0.3


TINY_RECIPE = """
summary = "Trains in no time."
[network]
blocks = 2
width = 4
hidden = 6
[data]
kind = "smooth"
rows = 60
[training]
optimiser = "adam"
learning_rate = 1e-2
epochs = 3
batch_rows = 20
"""


def test_growth_watches_a_training(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "mini.toml"
    path.write_text(TINY_RECIPE)
    recipe = read_recipe(path)
    found = growth(Subject("mini", recipe.key(), 0, 50, recipe))
    from unshuffle.oracle.training import train

    networks = []
    oracle = train(recipe, on_network=networks.append)
    assert len(networks) == 4
    for one, other in zip(networks[-1].layers(), oracle.network.layers(), strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
    for name, network in (("trace_end", oracle.network), ("trace_start", networks[0])):
        traces = 2 * probes.relative_traces(network.blocks)  # the root of the width is 2
        assert found[name] == pytest.approx(traces.mean())
    assert 0 <= found["block_turn"] <= found["block_turn_last"] <= 1
    assert found["trace_start"] != found["trace_early"] != found["trace_end"]
    assert 0 < found["loss_left"] < 1


def test_a_block_without_its_skip_gives_what_it_adds(rng):
    torch = pytest.importorskip("torch")
    from unshuffle.blocks.torch_module import to_torch

    network = coupled(rng, -0.5, blocks=1)
    module = to_torch(network)
    without_skips(module)
    x = rng.normal(size=(5, 6))
    with torch.no_grad():
        found = module(torch.from_numpy(x)).numpy()
    assert found == pytest.approx(network.last(network.blocks.apply(0, x) - x))


def test_nobody_has_the_checkpoints_of_a_found_network(example):
    with pytest.raises(UsageError, match="no oracle"):
        growth(folder_subject("example", example, 0, 50))


def test_orders_are_drawn_at_their_distances(rng):
    truth = rng.permutation(7)
    place = np.argsort(truth)
    for distance in (0, 1, 10, 21):
        order = searches.order_at_distance(truth, distance, rng)
        assert count_inversions(place[order].tolist()) == distance


def exchanged(arrangement, s, t):
    other = arrangement.copy()
    other[[s, t]] = other[[t, s]]
    return other


@pytest.mark.parametrize(("tried", "move"), [("two_opt", exchanged), ("or_opt", shifted)])
def test_a_descent_ends_where_no_move_helps(dropped, rng, tried, move):
    made = dropped(rows=60, blocks=6, width=6, hidden=8)
    case = DroppedOracle(
        "m", 0, made.pile, made.records, made.permutation, made.network.blocks.activation
    )
    task, _ = task_of(case, rng)
    judge = task.judge(60)
    start = judge.run(task.arranged(rng.permutation(6)))
    end = searches.descend(judge, start, getattr(searches, tried))
    assert end.error < start.error
    others = [move(end.arrangement, s, t) for s, t in permutations(range(6), 2)]
    assert min(judge.run(other).error for other in others) >= end.error


def test_the_turn_of_a_trace_is_its_last_change_of_sign():
    traces = np.array(
        [[1.0, -1, 1, 0], [-1, -2, -1, 3], [2, -2, 1, 3], [2, -2, -1, 3], [3, -1, -1, 2]]
    )
    assert last_turns(traces).tolist() == [0.5, 0, 0.75, 0]


def test_rank_correlation_is_that_of_scipy(rng):
    from scipy.stats import spearmanr

    a, b = rng.integers(5, size=40), rng.normal(size=40)
    assert searches.spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert searches.spearman(np.ones(4), np.arange(4)) == 0


def test_the_landscape_of_a_small_network(dropped):
    by = searches.SearchEffort(sampled=60)
    made = dropped(rows=60, blocks=4, width=6, hidden=8)
    case = DroppedOracle(
        "m", 0, made.pile, made.records, made.permutation, made.network.blocks.activation
    )
    found = searches.landscape(*task_of(case, np.random.default_rng(0)), by)
    assert found["funnel"] > 0.5
    assert found["greedy_right"] in (0, 1)
    assert 0 <= found["greedy_inversions"] <= 1
    assert 0 < found["exchange_right"] <= 1
    assert found["exchange_optima"] >= 1 / by.starts
