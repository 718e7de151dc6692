from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from unshuffle.blocks.network import Layers, Network
from unshuffle.ordering import beam as module
from unshuffle.ordering.adjoint import linearize
from unshuffle.ordering.beam import _Cost, beam
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.precedence import Precedence, precedence
from unshuffle.ordering.seeds import smallest_step
from unshuffle.pieces.records import Records


@pytest.fixture
def few_rows(dropped):
    """A judge of a five-block network on three rows; block b of it is number 6 b."""
    case = dropped(blocks=5, rows=3)
    blocks = case.network.blocks
    layers = Layers(*blocks.inp, *blocks.out)
    return Judge(layers, case.network.last, case.records)


def nothing_known(order):
    return Precedence(tuple(order), np.zeros((len(order), len(order))))


def test_a_beam_reaches_the_best_of_all_orders(few_rows, finish):
    numbers = [6 * block for block in range(5)]
    for start in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        first = few_rows.run([numbers[block] for block in start])
        search = beam(few_rows, first, nothing_known(first.order), done=lambda run: False)
        steps, run = finish(search)
        every = [few_rows.run(order).error for order in permutations(numbers)]
        assert run.error == pytest.approx(min(every), rel=1e-3, abs=1e-12)
        assert sum(len(step.tested) for step in steps) < len(every)  # no order is judged twice
        errors = [step.error for step in steps]
        assert errors == sorted(errors, reverse=True)
        assert steps[-1].order == run.order


def test_a_beam_ends_when_it_is_done(few_rows, finish):
    right = few_rows.run([6 * block for block in range(5)])
    search = beam(few_rows, right, nothing_known(right.order), done=lambda run: True)
    assert finish(search) == ([], right)


def test_the_errors_it_reports_are_those_of_the_judge(few_rows, finish):
    first = few_rows.run([24, 18, 12, 6, 0])
    search = beam(few_rows, first, nothing_known(first.order), done=lambda run: False)
    steps, run = finish(search)
    for step in steps:
        assert step.error == pytest.approx(few_rows.run(step.order).error, rel=1e-4, abs=1e-12)
        assert np.all(step.tested >= run.error - 1e-12)


def test_one_block_is_no_choice(loose, finish):
    net = loose(blocks=1, rows=2)
    first = net.judge.run(net.right)
    search = beam(net.judge, first, nothing_known(first.order), done=lambda run: False)
    assert finish(search)[1] is first


def test_the_second_beam_is_wider_and_counts_errors_below_those_of_a_swap_alike(
    loose, finish, monkeypatch
):
    net = loose(blocks=2, rows=3)
    first = net.judge.run(net.right)
    made = []

    def recorded(strength, floor):
        made.append(_Cost(strength, floor))
        return made[-1]

    monkeypatch.setattr(module, "_Cost", recorded)
    finish(beam(net.judge, first, nothing_known(first.order), done=lambda run: False))
    assert [cost.strength for cost in made] == [2, 2]  # blocks are fewer than predictions
    # Behind two blocks there is only the last layer, which is linear, so effects are exact.
    assert made[1].floor == pytest.approx(net.judge.run(net.right[::-1]).error)
    tiny, none = np.array([1e-9, 1e-12]) * made[1].floor, np.zeros(2)
    assert made[0].of(tiny, none) == pytest.approx(np.log(tiny))
    assert made[1].of(tiny, none) == pytest.approx(np.log(made[1].floor))


@pytest.mark.parametrize("place", range(4))
def test_moves_that_what_is_known_asks_for_are_judged_first(few_rows, finish, monkeypatch, place):
    monkeypatch.setattr(module, "JUDGED", 1)
    first = few_rows.run([24, 18, 12, 6, 0])
    log_odds = 1000 * np.triu(np.ones((5, 5)), 1)
    log_odds[place, place + 1] *= -1
    known = Precedence(first.order, log_odds - log_odds.T)
    steps, _ = finish(beam(few_rows, first, known, done=lambda run: False))
    asked = list(first.order)
    asked[place], asked[place + 1] = asked[place + 1], asked[place]
    assert steps[0].tested == pytest.approx([few_rows.run(asked).error])


@pytest.mark.parametrize("certain", [0.0, 100.0])
def test_what_is_known_holds_a_narrow_beam_on_its_way(few_rows, finish, monkeypatch, certain):
    """Ten orders are the one, the four that reverse one pair, and five of those with two."""
    monkeypatch.setattr(module, "WIDTH", 10)
    monkeypatch.setattr(module, "WIDER", 10)
    monkeypatch.setattr(module, "JUDGED", 1000)
    expanded = []

    def linearized(judge, run):
        expanded.append(run.order)
        return linearize(judge, run)

    monkeypatch.setattr(module, "linearize", linearized)
    first = few_rows.run([24, 18, 12, 6, 0])
    log_odds = certain * np.triu(np.ones((5, 5)), 1)
    known = Precedence(first.order, log_odds - log_odds.T)
    finish(beam(few_rows, first, known, done=lambda run: False))
    reversals = [
        sum(a < b for t, a in enumerate(order) for b in order[t + 1 :]) for order in expanded
    ]
    assert (max(reversals) <= 2) == bool(certain)


def test_four_predictions_are_enough_where_steps_tell_the_order(make_loose, finish):
    """The seed reverses three to eight pairs; errors on four rows alone lead astray."""
    solved = {"steps": 0, "nothing": 0}
    for draw in range(4):
        rng = np.random.default_rng(draw)
        net = grown(make_loose(rng, blocks=16, rows=4, width=8, hidden=12), rng)
        inputs = rng.normal(size=(400, 8))
        blocks = np.sort(net.right)
        ranking = smallest_step(Network(net.layers.take(blocks), net.judge.last), inputs)
        start = net.judge.run(blocks[ranking].tolist())
        assert start.order != net.right
        for name, known in (
            ("steps", precedence(net.layers, start.order, inputs)),
            ("nothing", nothing_known(start.order)),
        ):
            search = beam(net.judge, start, known, done=lambda run: run.error < 1e-20)
            solved[name] += finish(search)[1].order == net.right
    assert solved["steps"] >= 3
    assert solved["nothing"] < solved["steps"]


def grown(net, rng):
    """The same with steps that grow along the depth, give or take."""
    layers, order = net.layers, np.array(net.right)
    state, factors = rng.normal(size=(400, layers.inp_weight.shape[2])), np.ones(len(order))
    for t, block in enumerate(order):
        step = layers.apply(block, state) - state
        out = block % net.outs
        factor = 0.02 * np.exp(0.1 * t + 0.1 * rng.normal()) / np.sqrt(np.mean(step**2))
        factors[out] = factor
        state = state + factor * step
    scaled = replace(
        layers,
        out_weight=factors[:, None, None] * layers.out_weight,
        out_bias=factors[:, None] * layers.out_bias,
    )
    network = Network(scaled.take(order), net.judge.last)
    records = Records(net.judge.inputs, network.predict(net.judge.inputs))
    return replace(net, layers=scaled, judge=Judge(scaled, net.judge.last, records))
