"""Approaches against theory, on networks whose answer is known."""

import re

import numpy as np
import pytest

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpBank
from unshuffle.errors import UsageError
from unshuffle.grouping.signals import SIGNALS, Clues
from unshuffle.lab import approaches, searches
from unshuffle.lab.approach import clues_of, order_found, pairs_found, task_of
from unshuffle.lab.approaches import APPROACHES, find_approach
from unshuffle.lab.probes import explained, modes
from unshuffle.lab.signals import OTHER_SIGNALS
from unshuffle.oracle.evaluation import DroppedOracle
from unshuffle.pieces.records import Records

SCORES = {signal.name: signal.score for signal in OTHER_SIGNALS}


@pytest.fixture
def case(dropped):
    made = dropped(rows=200, blocks=6, width=8, hidden=12)
    activation = made.network.blocks.activation
    return DroppedOracle("made", 0, made.pile, made.records, made.permutation, activation)


@pytest.fixture
def clues(rng):
    """Loose layers with nothing in common: 4 inp and 4 out layers."""
    layers = MlpBank(
        rng.normal(size=(4, 9, 6)),
        rng.normal(size=(4, 9)),
        rng.normal(size=(4, 6, 9)),
        rng.normal(size=(4, 6)),
    )
    last = Linear(rng.normal(size=(1, 6)), rng.normal(size=1))
    return Clues(layers, last, Records(rng.normal(size=(50, 6)), rng.normal(size=(50, 1))))


def product(clues, i, j):
    return clues.layers.out_weight[j] @ clues.layers.inp_weight[i]


def test_the_registry_says_everything():
    for name, approach in APPROACHES.items():
        assert approach.name == name
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
        assert approach.hypothesis
        assert approach.source
    with pytest.raises(UsageError, match="no approach 'magic'"):
        find_approach("magic")
    assert not {signal.name for signal in SIGNALS.values()} & set(SCORES)


def test_a_template_tells_pairs_that_the_trace_gets_wrong(rng):
    """True products are one pattern of trace 0, plus twice minus identity in most of them."""
    pattern = rng.normal(size=(8, 8))
    pattern -= np.trace(pattern) / 8 * np.eye(8)
    inp = np.linalg.qr(rng.normal(size=(6, 8, 8)))[0]
    share = np.array([2.0, 2.0, 2.0, 2.0, 0.0, 0.0])[:, None, None]
    out = (pattern - share * np.eye(8)) @ inp.transpose(0, 2, 1)
    layers = MlpBank(inp, np.zeros((6, 8)), out, np.zeros((6, 8)))
    scores = approaches._template(Clues(layers))
    np.testing.assert_array_equal(scores.argmax(axis=1), np.arange(6))


def test_answers_are_recognised(case):
    clues, truth = clues_of(case)
    assert pairs_found(truth, truth) == {"pairs_right": 1, "pairs_exact": 1}
    assert pairs_found(np.roll(truth, 1, axis=0) * [1, 0] + truth * [0, 1], truth) == {
        "pairs_right": 0,
        "pairs_exact": 0,
    }
    task, depth = task_of(case, np.random.default_rng(0))
    right = order_found(task, depth, np.argsort(depth))
    assert right["inversions"] == 0
    assert right["error"] < 1e-10
    wrong = order_found(task, depth, np.argsort(depth)[::-1])
    assert wrong["inversions"] == 1
    assert wrong["error"] > 1e-3
    # Layer i of the clues belongs to layer j if the truth says so: the network is theirs.
    i, j = truth.T
    np.testing.assert_array_equal(
        clues.layers.inp_weight[i][np.argsort(depth)],
        [case.pile[case.pile.index[name]].weight for name in case.answer[:-1:2]],
    )
    np.testing.assert_array_equal(
        clues.layers.out_weight[j][np.argsort(depth)],
        [case.pile[case.pile.index[name]].weight for name in case.answer[1::2]],
    )


def test_signals_are_what_they_say(clues):
    """Each score of all pairs, against the same by hand for one pair."""
    inp, out = clues.layers.inp_weight[2], clues.layers.out_weight[1]
    p = product(clues, 2, 1)
    singular = np.linalg.svd(p, compute_uv=False)
    share = singular / singular.sum()
    units = [inp / np.linalg.norm(inp, axis=1)[:, None], out / np.linalg.norm(out, axis=0)]
    reads, writes = np.linalg.svd(inp)[2][:3], np.linalg.svd(out)[0][:, :3]
    by_hand = {
        "norm-likeness": -abs(np.log(np.linalg.norm(inp) / np.linalg.norm(out))),
        "stream-overlap": np.mean(np.linalg.svd(reads @ writes, compute_uv=False) ** 2),
        "effective-rank": -np.exp(-np.sum(share * np.log(share))),
        "symmetry": np.trace(p @ p) / np.trace(p @ p.T),
        "negative-eigenvalues": np.mean(np.linalg.eigvals(p).real < 0),
        "product-norm": np.linalg.norm(p) / np.linalg.norm(inp) / np.linalg.norm(out),
        "column-variance": np.corrcoef(inp.var(axis=1), out.var(axis=0))[0, 1],
    }
    for name, expected in by_hand.items():
        assert SCORES[name](clues)[2, 1] == pytest.approx(expected), name
    cosine = np.trace(units[1] @ units[0]) / 9
    assert abs(SCORES["mean-cosine"](clues)[2, 1]) == pytest.approx(abs(cosine))


def test_activity_signals_are_what_they_say(clues):
    inp, out, x = clues.layers.inp_weight[2], clues.layers.out_weight[1], clues.records.inputs
    hidden = np.maximum(x @ inp.T + clues.layers.inp_bias[2], 0)
    norms = np.linalg.norm(out, axis=0)
    step = hidden @ out.T + clues.layers.out_bias[1]
    cosines = (step * x).sum(axis=1) / np.linalg.norm(step, axis=1) / np.linalg.norm(x, axis=1)
    residual = clues.last(x + step) - clues.records.predictions
    busy = hidden.mean(axis=0) > np.median(hidden.mean(axis=0))
    by_hand = {
        "activity-magnitude": abs(np.corrcoef(hidden.mean(axis=0), norms)[0, 1]),
        "activity-variance": abs(np.corrcoef(hidden.var(axis=0), norms)[0, 1]),
        "activity-alive": abs(np.corrcoef((hidden > 0).mean(axis=0), norms)[0, 1]),
        "active-columns": out.var(axis=0)[busy].mean() - out.var(axis=0)[~busy].mean(),
        "step-against-input": -cosines.mean(),
        "prediction-error": -np.mean(residual**2),
    }
    for name, expected in by_hand.items():
        assert SCORES[name](clues)[2, 1] == pytest.approx(expected), name
    noisy = SCORES["activity-magnitude-noise"](clues)
    assert not np.allclose(noisy, SCORES["activity-magnitude"](clues))
    np.testing.assert_array_equal(noisy, SCORES["activity-magnitude-noise"](clues))


def test_strengths_explain_who_wins():
    """Wins in the proportions that strengths 4 : 2 : 1 make are won back as those strengths."""
    truth = np.array([4.0, 2.0, 1.0])
    wins = 90 * truth[:, None] / (truth[:, None] + truth)
    assert searches.strengths(wins) == pytest.approx(truth / 7)


@pytest.mark.parametrize("search", [searches.bubble, searches.annealing])
def test_searches_end_no_worse_than_they_start(case, search):
    by = searches.SearchEffort(candidates=300)
    task, depth = task_of(case, np.random.default_rng(1))
    start = np.argsort(depth)
    start[[2, 3]] = start[[3, 2]]
    found = search(task, start, by)
    assert sorted(found) == sorted(start)
    judge = task.judge(by.rows)
    errors = [judge.run(task.arranged(order)).error for order in (found, start)]
    assert errors[0] < errors[1]
    assert search is searches.annealing or found.tolist() == np.argsort(depth).tolist()


@pytest.mark.parametrize(
    "order", [searches.bradley_terry, searches.beam_from_scratch, searches.random_order]
)
def test_orderings_use_every_block_once(case, order):
    first, again = (order(task_of(case, np.random.default_rng(3))[0]) for _ in range(2))
    assert sorted(first.tolist()) == list(range(6))
    np.testing.assert_array_equal(first, again)


def test_a_wide_beam_sees_every_order(dropped):
    made = dropped(rows=50, blocks=3, width=5, hidden=6)
    case = DroppedOracle(
        "m", 0, made.pile, made.records, made.permutation, made.network.blocks.activation
    )
    task, depth = task_of(case, np.random.default_rng(0))
    judge = task.judge(50)
    run = searches.grow(judge, task.arranged(np.arange(3)), 3, width=100)
    assert run.arrangement.tolist() == task.arranged(np.argsort(depth)).tolist()
    # Over loose layers too, where no layer may serve twice.
    clues, truth = clues_of(case)
    judge.bank = clues.layers
    every = clues.layers.arranged(np.indices((3, 3)).reshape(2, -1).T)
    run = searches.grow(judge, every, 3, width=1000)
    assert pairs_found(run.arrangement - [0, 3], truth)["pairs_exact"] == 1


def test_no_layer_is_grown_twice(clues):
    """Layers without any coupling, so that nothing but the rule keeps them apart."""
    pairs = searches.joint_growth(clues)
    for used in pairs.T:
        assert sorted(used.tolist()) == [0, 1, 2, 3]


def test_modes_are_counted(rng):
    bits = rng.random(600) < 0.4
    two = np.where(bits, 1.0, -0.8) + np.where(bits, 0.3, 0.12) * rng.normal(size=600)
    found = sorted(modes(two))
    assert found == pytest.approx([-0.8, 1.0], abs=0.2)
    assert len(modes(rng.normal(size=600))) == 1
    assert len(modes(rng.integers(5, size=600) + 0.03 * rng.normal(size=600))) == 5
    assert modes(np.full(9, 2.5)) == [2.5]


def test_explained_variance_is_that_of_unseen_rows(rng):
    x = rng.normal(size=(4000, 3))
    y = x @ rng.normal(size=(3, 1))
    noise = rng.normal(size=y.shape) * y.std()
    assert explained(x, y) == pytest.approx(1)
    assert explained(x, y + noise) == pytest.approx(0.5, abs=0.05)
    assert explained(rng.normal(size=(40, 19)), noise[:40]) < 0
