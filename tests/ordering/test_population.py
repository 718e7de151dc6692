"""Distributions over arrangements, and the search that draws one in."""

from itertools import permutations
from statistics import NormalDist

import numpy as np
import pytest

from unshuffle import Records
from unshuffle.ordering import population as room
from unshuffle.ordering.journal import Journal
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.population import Distribution, around, population
from unshuffle.ordering.problem import Problem


def problem_of(net, log_odds, pairs=None):
    count = net.outs
    pairs = np.repeat(np.arange(count)[:, None], 2, axis=1) if pairs is None else pairs
    return Problem(
        net.layers, net.judge.last, np.array(pairs), log_odds, net.judge.records, turns=False
    )


def test_samples_are_arrangements_and_keep_to_what_can_be(rng):
    odds = rng.normal(size=(5, 5))
    odds[0, 1:] = -np.inf
    odds[1:, 0] = -np.inf
    inp, out = around(odds, np.arange(5), settled=False).sample(200, rng)
    assert inp.shape == out.shape == (200, 5)
    assert np.array_equal(np.sort(inp, axis=1), np.tile(np.arange(5), (200, 1)))
    assert np.array_equal(np.sort(out, axis=1), np.tile(np.arange(5), (200, 1)))
    assert np.all(out[inp == 0] == 0)
    assert len({*map(tuple, out)}) > 20


def test_settled_pairs_stay(rng):
    distribution = around(np.zeros((4, 4)), np.array([2, 0, 1, 3]), settled=True)
    inp, out = distribution.sample(50, rng)
    assert np.array_equal(inp, out)
    assert np.array_equal(distribution.centre[0], [1, 2, 0, 3])
    assert distribution.doubt == 0


def test_pairs_are_drawn_as_often_as_their_log_odds_say(rng):
    """Where all assignments but two are ruled out, perturb-and-MAP draws them by their sums."""
    odds = np.full((3, 3), -np.inf)
    odds[2, 2] = 0.0
    odds[:2, :2] = [[1.0, 0.2], [0.4, 0.1]]
    distribution = around(odds, np.arange(3), settled=False)
    inp, out = distribution.sample(4000, rng)
    straight = np.mean(out[inp == 0] == 0)
    logs = np.log(distribution.pairs[:2, :2])
    gain = logs[0, 0] + logs[1, 1] - logs[0, 1] - logs[1, 0]
    # The difference of two sums of two Gumbel variables each.
    noise = rng.gumbel(size=(4, 100_000))
    expected = np.mean(gain + noise[0] + noise[1] - noise[2] - noise[3] > 0)
    assert straight == pytest.approx(expected, abs=0.03)


def test_a_distribution_settles_on_what_it_is_fitted_to():
    inp = np.tile([2, 0, 3, 1], (20, 1))
    out = np.tile([1, 0, 2, 3], (20, 1))  # of the layers in that sequence
    distribution = around(np.zeros((4, 4)), np.arange(4), settled=False)
    for _ in range(30):
        distribution = distribution.fitted(inp, out)
    assert np.array_equal(distribution.centre[0], inp[0])
    assert np.array_equal(distribution.centre[1], out[0])
    np.testing.assert_allclose(distribution.places, [1, 3, 0, 2])
    np.testing.assert_allclose(distribution.spreads, room.NARROW, rtol=1e-3)
    np.testing.assert_allclose(distribution.pairs.sum(axis=1), 1)
    assert distribution.pairs.min() >= room.RARE / 4 / 2
    assert distribution.pairs[2, 1] > 0.99


def test_better_samples_count_more():
    start = around(np.zeros((3, 3)), np.arange(3), settled=False)
    rival = [[0, 1, 2]] + [[2, 1, 0]] * 2
    fitted = start.fitted(np.array(rival), np.array(rival))
    # log 3.5 / (3 log 3.5 − log 6): the weight of the best of three.
    weight = np.log(3.5) / (3 * np.log(3.5) - np.log(6))
    assert fitted.places[0] == pytest.approx(2 * (1 - weight))


def test_the_doubt_is_the_mean_entropy():
    pairs = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.0, 0.0, 1.0]])
    doubt = Distribution(np.arange(3.0), np.ones(3), pairs).doubt
    assert doubt == pytest.approx((np.log(2) + 1.5 * np.log(2)) / 3)


def test_it_finds_order_and_pairs_from_a_wrong_start(loose, finish):
    net = loose(rows=200, blocks=4, width=6, hidden=8)
    wrong = [(k, (k + 1) % 4) for k in range(4)]
    problem = problem_of(net, np.zeros((4, 4)), wrong)
    seeds = [tuple(problem.blocks.tolist()), tuple(problem.blocks.tolist()[::-1])]
    rng = np.random.default_rng(0)
    done = lambda run: run.error < 1e-20  # noqa: E731
    steps, run = finish(population(problem, net.judge, seeds, rng, done=done, near=done))
    orders = [
        tuple(i * 4 + j for i, j in zip(inp, out, strict=True))
        for inp in permutations(range(4))
        for out in permutations(range(4))
    ]
    errors = [each.error for each in net.judge.runs(orders)]
    assert run.order == orders[int(np.argmin(errors))] == net.right
    drawn = [step for step in steps if step.phase == "population"]
    assert all(len(step.tested) >= room.SAMPLES * 4 for step in drawn[:1])


def test_every_generation_is_judged_on_other_rows(loose, finish, monkeypatch):
    seen = []

    class Watched(Judge):
        def errors(self, *args, **options):
            seen.append(self.inputs.copy())
            return super().errors(*args, **options)

    monkeypatch.setattr(room, "Judge", Watched)
    monkeypatch.setattr(room, "GENERATIONS", 3)
    net = loose(rows=500)
    problem = problem_of(net, np.zeros((5, 5)))
    rng = np.random.default_rng(0)
    finish(
        population(problem, net.judge, [net.right], rng, done=lambda _: False, near=lambda _: False)
    )
    assert [len(rows) for rows in seen] == [room.PREDICTIONS] * 3
    assert not np.array_equal(seen[0], seen[1])
    for rows in seen:
        assert {*map(bytes, rows)} <= {*map(bytes, net.judge.inputs)}


def test_the_same_seed_and_a_journal_give_the_same(loose, finish):
    net = loose(rows=80, blocks=4)
    noise = np.random.default_rng(5).normal(size=net.judge.predictions.shape)
    records = Records(net.judge.inputs, noise)
    problem = Problem(
        net.layers, net.judge.last, np.repeat(np.arange(4)[:, None], 2, 1), np.zeros((4, 4)),
        records, turns=False,
    )  # fmt: skip
    seeds = [tuple(problem.blocks.tolist())]

    def search(entries=()):
        judge = Judge(net.layers, net.judge.last, records, Journal(entries))
        rng = np.random.default_rng(3)
        steps, run = finish(
            population(problem, judge, seeds, rng, done=lambda _: False, near=lambda _: False)
        )
        return run, [step.error for step in steps], judge.journal.entries

    run, errors, entries = search()
    again, errors_again, _ = search(entries[: len(entries) // 2])
    assert (again.order, again.error, errors_again) == (run.order, run.error, errors)


def test_places_are_noisy_as_their_spreads_say(rng):
    """In a Thurstone model, i runs before j as often as a Gaussian says of their difference."""
    distribution = Distribution(np.array([0.0, 1.0]), np.array([0.6, 0.8]), np.eye(2))
    inp, _ = distribution.sample(4000, rng)
    assert np.mean(inp[:, 0] == 0) == pytest.approx(NormalDist().cdf(1.0), abs=0.02)


def test_what_cannot_be_stays_out_of_what_is_fitted():
    odds = np.array([[0.0, -np.inf], [1.0, 0.0]])
    inp = np.tile([0, 1], (10, 1))
    fitted = around(odds, np.arange(2), settled=False).fitted(inp, inp)
    assert fitted.pairs[0].tolist() == [1.0, 0.0]
    assert 0 < fitted.pairs[1, 0] < around(odds, np.arange(2), settled=False).pairs[1, 0]


def test_it_ends_where_it_is_near(loose, finish, monkeypatch):
    monkeypatch.setattr(room, "WARM_UP", 1)
    monkeypatch.setattr(room, "SETTLED", 0.0)
    net = loose(rows=100)
    problem = problem_of(net, np.zeros((5, 5)))
    rng = np.random.default_rng(0)
    search = population(
        problem, net.judge, [net.right], rng, done=lambda _: False, near=lambda _: True
    )
    steps, _ = finish(search)
    assert [step.phase for step in steps].count("population") == room.PAUSE
