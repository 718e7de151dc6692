"""Distributions over arrangements, and the search that draws one in."""

from dataclasses import replace
from itertools import permutations
from statistics import NormalDist

import numpy as np
import pytest

from unshuffle import Records
from unshuffle.blocks.bank import LoopBank
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, mlp_kind
from unshuffle.blocks.network import Network
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.ordering.population import Population, PopulationParameters
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import Edge, Kind, Role, same_pieces

BY = PopulationParameters()


def around(log_odds, by=BY, seeds=None):
    """A population around orders of the blocks (k, k), pieces k and K + k."""
    odds = np.asarray(log_odds, float)
    count = len(odds)
    index = np.concatenate([np.arange(count)] * 2)
    evidence = Evidence((EdgeOdds(INP, OUT, odds, index, index),))
    grouped = np.arange(2 * count).reshape(2, count).T
    seeds = [grouped[[*order]] for order in seeds or [range(count)]]
    return Population.around(seeds, evidence, mlp_kind(3, 4), by)


def first(population):
    return population.distributions[0]


def drawn(distribution, count, rng):
    """Arrangements, as indices of inp and out layers: shape (count, K, 2)."""
    return distribution.arranged(distribution.sample(count, rng)) - [0, len(distribution.places)]


def test_samples_are_arrangements_and_keep_to_what_can_be(rng):
    odds = rng.normal(size=(5, 5))
    odds[0, 1:] = -np.inf
    odds[1:, 0] = -np.inf
    inp, out = np.moveaxis(drawn(first(around(odds)), 200, rng), 2, 0)
    assert inp.shape == out.shape == (200, 5)
    assert np.array_equal(np.sort(inp, axis=1), np.tile(np.arange(5), (200, 1)))
    assert np.array_equal(np.sort(out, axis=1), np.tile(np.arange(5), (200, 1)))
    assert np.all(out[inp == 0] == 0)
    assert len({*map(tuple, out)}) > 20


def test_settled_pairs_stay(rng):
    distribution = first(around(np.where(np.eye(4), 0.0, -np.inf), seeds=[[1, 2, 0, 3]]))
    samples = drawn(distribution, 50, rng)
    assert np.array_equal(samples[..., 0], samples[..., 1])
    np.testing.assert_array_equal(distribution.centre[:, 0], [1, 2, 0, 3])
    np.testing.assert_array_equal(distribution.centre[:, 1], [5, 6, 4, 7])
    assert distribution.doubt == 0


def test_the_first_generation_lies_around_all_seeds():
    population = around(np.zeros((4, 4)), seeds=[[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 1, 3]])
    centres = [each.centre[:, 0].tolist() for each in population.distributions]
    assert centres == [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 1, 3]]
    for each in population.distributions:
        np.testing.assert_array_equal(each.spreads, 4 * BY.wide)


def test_pairs_are_drawn_as_often_as_their_log_odds_say(rng):
    """Where all assignments but two are ruled out, perturb-and-MAP draws them by their sums."""
    odds = np.full((3, 3), -np.inf)
    odds[2, 2] = 0.0
    odds[:2, :2] = [[1.0, 0.2], [0.4, 0.1]]
    distribution = first(around(odds))
    inp, out = np.moveaxis(drawn(distribution, 4000, rng), 2, 0)
    straight = np.mean(out[inp == 0] == 0)
    logs = np.log(distribution.partners[0][:2, :2])
    gain = logs[0, 0] + logs[1, 1] - logs[0, 1] - logs[1, 0]
    # The difference of two sums of two Gumbel variables each.
    noise = rng.gumbel(size=(4, 100_000))
    expected = np.mean(gain + noise[0] + noise[1] - noise[2] - noise[3] > 0)
    assert straight == pytest.approx(expected, abs=0.03)


def samples_of(inp, out):
    return np.stack([np.asarray(inp), np.asarray(out)], axis=-1)


def test_a_distribution_settles_on_what_it_is_fitted_to():
    inp = np.tile([2, 0, 3, 1], (20, 1))
    out = np.tile([1, 0, 2, 3], (20, 1))
    distribution = first(around(np.zeros((4, 4))))
    for _ in range(30):
        distribution = distribution.fitted(samples_of(inp, out), BY)
    assert np.array_equal(distribution.centre, samples_of(inp[0], 4 + out[0]))
    np.testing.assert_allclose(distribution.places, [1, 3, 0, 2])
    np.testing.assert_allclose(distribution.spreads, BY.narrow, rtol=1e-3)
    (partners,) = distribution.partners
    np.testing.assert_allclose(partners.sum(axis=1), 1)
    assert partners.min() >= BY.rare / 4 / 2
    assert partners[2, 1] > 0.99


def test_what_steers_it_is_heeded():
    samples = samples_of([[1, 0]] * 9, [[1, 0]] * 9)
    start = first(around(np.zeros((2, 2))))
    for learning in (0.1, 0.5):
        fitted = start.fitted(samples, replace(BY, learning=learning))
        assert fitted.partners[0][0, 0] == pytest.approx(0.5 + learning / 2)
    for narrowing in (0.1, 0.5):
        fitted = start.fitted(samples, replace(BY, narrowing=narrowing))
        expected = (1 - narrowing) * 2 * BY.wide + narrowing * BY.narrow
        np.testing.assert_allclose(fitted.spreads, expected)
    assert first(around(np.zeros((2, 2)), replace(BY, wide=0.9))).spreads[0] == pytest.approx(1.8)


def test_better_samples_count_more():
    rival = np.array([[0, 1, 2]] + [[2, 1, 0]] * 2)
    fitted = first(around(np.zeros((3, 3)))).fitted(samples_of(rival, rival), BY)
    # log 3.5 / (3 log 3.5 − log 6): the weight of the best of three.
    weight = np.log(3.5) / (3 * np.log(3.5) - np.log(6))
    assert fitted.places[0] == pytest.approx(2 * (1 - weight))


def test_the_doubt_is_the_mean_entropy():
    odds = np.full((3, 3), -np.inf)
    odds[0, 0] = odds[1, 1] = odds[1, 2] = 0.0
    odds[2] = np.log([0.5, 0.25, 0.25])
    doubt = first(around(odds)).doubt
    assert doubt == pytest.approx((np.log(2) + 1.5 * np.log(2)) / 3)


def test_places_are_noisy_as_their_spreads_say(rng):
    """In a Thurstone model, i runs before j as often as a Gaussian says of their difference."""
    distribution = first(around(np.where(np.eye(2), 0.0, -np.inf)))
    distribution = replace(distribution, spreads=np.array([0.6, 0.8]))
    inp = drawn(distribution, 4000, rng)[..., 0]
    assert np.mean(inp[:, 0] == 0) == pytest.approx(NormalDist().cdf(1.0), abs=0.02)


def test_what_cannot_be_stays_out_of_what_is_fitted():
    odds = np.array([[0.0, -np.inf], [1.0, 0.0]])
    inp = np.tile([0, 1], (10, 1))
    start = first(around(odds))
    fitted = start.fitted(samples_of(inp, inp), BY)
    assert fitted.partners[0][0].tolist() == [1.0, 0.0]
    assert 0 < fitted.partners[0][1, 0] < start.partners[0][1, 0]


def test_generations_find_order_and_pairs_from_a_wrong_start(loose):
    net = loose(rows=200, blocks=4, width=6, hidden=8)
    wrong = [(k, (k + 1) % 4) for k in range(4)]
    problem = net.problem(np.zeros((4, 4)), wrong)
    seeds = [problem.grouped, problem.grouped[::-1]]
    rng = np.random.default_rng(0)
    population = Population.around(seeds, problem.evidence, net.bank.kind, BY)
    for generation in range(1, 31):
        population, errors = population.next_generation(problem, rng, BY)
        assert population.generation == generation
        assert len(errors) >= BY.samples_of_orders * 4
    assert len(errors) < BY.samples * 4 or population.distributions[0].doubt > BY.doubt
    every = [
        net.blocks([*zip(inp, out, strict=True)])
        for inp in permutations(range(4))
        for out in permutations(range(4))
    ]
    best = min(net.judge.runs(every), key=lambda run: run.error).arrangement
    np.testing.assert_array_equal(best, net.right)
    np.testing.assert_array_equal(first(population).centre, best)
    assert population.settled(replace(BY, settled=0.7))


def test_every_generation_is_judged_on_other_rows(loose):
    net = loose(rows=500)
    problem = net.problem(np.zeros((5, 5)))
    seen = []

    class Watched(type(problem)):
        def judge(self, records, by=None):
            seen.append(records.inputs)
            return super().judge(records, by)

    watched = Watched(**{name: getattr(problem, name) for name in problem.__dataclass_fields__})
    population = Population.around([net.right], problem.evidence, net.bank.kind, BY)
    rng = np.random.default_rng(0)
    for _ in range(3):
        population, _ = population.next_generation(watched, rng, BY)
    assert [len(rows) for rows in seen] == [BY.predictions] * 3
    assert not np.array_equal(seen[0], seen[1])
    for rows in seen:
        assert {*map(bytes, rows)} <= {*map(bytes, net.judge.inputs)}


def test_a_generation_has_more_samples_where_pairs_are_in_doubt(loose):
    net = loose(rows=50)
    rng = np.random.default_rng(0)
    for odds, each in ((np.zeros((5, 5)), BY.samples), (50 * np.eye(5), BY.samples_of_orders)):
        problem = net.problem(odds)
        population = Population.around([net.right], problem.evidence, net.bank.kind, BY)
        assert len(population.next_generation(problem, rng, BY)[1]) == 5 * each
    few = replace(BY, samples_of_orders=3, predictions=7)
    assert len(population.next_generation(problem, rng, few)[1]) == 5 * 3


def test_the_same_generator_gives_the_same(loose):
    net = loose(rows=80, blocks=4)
    noise = np.random.default_rng(5).normal(size=net.judge.predictions.shape)
    problem = net.problem(np.zeros((4, 4)), records=Records(net.judge.inputs, noise))

    def errors():
        population = Population.around([net.right], problem.evidence, net.bank.kind, BY)
        rng = np.random.default_rng(3)
        for _ in range(4):
            population, found = population.next_generation(problem, rng, BY)
            yield found

    for one, other in zip(errors(), errors(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_is_time_for_a_descent_after_the_warm_up_and_then_now_and_then():
    by = replace(BY, warm_up=4, pause=3, settled=0.0)
    population = around(np.zeros((5, 5)))
    due = [k for k in range(1, 14) if replace(population, generation=k).pauses(by)]
    assert due == [6, 9, 12]
    narrow = replace(first(population), spreads=np.full(5, 0.1))
    assert replace(population, distributions=(narrow,), generation=1).pauses(BY)
    assert not replace(population, generation=1).pauses(BY)


def test_blocks_whose_layers_could_be_exchanged_stay_together(square, rng):
    """Shapes alone do not tell which of a block's two layers is which, and descents turn them."""
    net = square(4)
    evidence = net.evidence(np.zeros((8, 8)))
    distribution = first(Population.around([net.right], evidence, net.bank.kind, BY))
    assert distribution.doubt == 0
    for made in distribution.arranged(distribution.sample(30, rng)):
        assert sorted(made.tolist()) == sorted(net.right.tolist())


def alike(rng, blocks=3, width=6, hidden=8):
    """A problem of blocks with two readers of one shape, and a writer that tells nothing of them.

    Pieces are in the sequence of the blocks: readers of one role, readers of the other, writers.
    """
    reader, writer = {"weight": (hidden, width)}, {"weight": (width, hidden)}
    roles = Role("one", reader), Role("other", reader), Role("writer", writer)
    kind = Kind("bilinear", roles, (Edge(0, 2, 0, 1), Edge(1, 2, 0, 1)))
    shapes = [(hidden, width)] * 2 * blocks + [(width, hidden)] * blocks
    tensors = [{"weight": rng.normal(size=shape) / np.sqrt(shape[1])} for shape in shapes]

    def run(weights, x):
        one, other = (x @ weights[role]["weight"].T for role in ("one", "other"))
        return x + (np.maximum(one, 0) * other) @ weights["writer"]["weight"].T

    def pull(weights, x, g):
        raise NotImplementedError

    bank = LoopBank(kind, run, pull, tensors)
    index = np.concatenate([np.arange(2 * blocks), np.arange(blocks)])
    nothing = np.zeros((2 * blocks, blocks))
    evidence = Evidence(tuple(EdgeOdds(role, 2, nothing, index, index) for role in (0, 1)))
    right = np.arange(3 * blocks).reshape(3, blocks).T
    ends = Linear(rng.normal(size=(1, width)), np.zeros(1))
    inputs = rng.normal(size=(200, width))
    records = Records(inputs, Network(bank.take(right), ends).predict(inputs))
    return Problem(bank, ends, right, evidence, records), right


def test_pieces_of_two_roles_of_one_class_are_drawn_for_both(rng):
    """Another role tells the blocks apart, so any reader can lie in either slot of any block."""
    problem, right = alike(rng)
    population = Population.around([right], problem.evidence, problem.bank.kind, BY)
    distribution = first(population)
    assert distribution.doubt == pytest.approx(np.log(6))
    samples = distribution.arranged(distribution.sample(300, rng))
    for made in samples:
        assert same_pieces(made, right, problem.bank.kind)
    assert {piece for made in samples for piece in made[:, 0].tolist()} == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_generations_find_pieces_of_two_roles_of_one_class(seed):
    rng = np.random.default_rng(seed)
    problem, right = alike(rng, blocks=2)
    wrong = right.copy()
    wrong[:, :2] = wrong[::-1, 1::-1]
    population = Population.around([wrong], problem.evidence, problem.bank.kind, BY)
    for _ in range(BY.generations):
        population, _ = population.next_generation(problem, rng, BY)
    np.testing.assert_array_equal(first(population).centre, right)


def test_whole_blocks_have_an_order_and_nothing_else(rng):
    """Of a kind with a single role, only the order is drawn."""
    kind = Kind("whole", (Role("all", {"weight": (4, 4)}),))
    right = np.arange(6)[:, None]
    distribution = first(Population.around([right], Evidence(()), kind, BY))
    assert distribution.doubt == 0
    samples = distribution.arranged(distribution.sample(50, rng))
    assert samples.shape == (50, 6, 1)
    assert np.array_equal(np.sort(samples, axis=1), np.tile(right, (50, 1, 1)))
    chosen = np.tile(right[::-1], (20, 1, 1))
    for _ in range(20):
        distribution = distribution.fitted(chosen, BY)
    np.testing.assert_array_equal(distribution.centre, right[::-1])
