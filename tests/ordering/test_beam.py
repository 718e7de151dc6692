from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest

from unshuffle.blocks.mlp import OUT, MlpBank
from unshuffle.ordering.beam import Beam, BeamParameters
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.precedence import Precedence, precedence
from unshuffle.ordering.seeds import smallest_step
from unshuffle.pieces.blueprint import key


@pytest.fixture
def few_rows(dropped):
    """A judge of a five-block network on three rows."""
    case = dropped(blocks=5, rows=3)
    bank = MlpBank(*case.network.blocks.inp, *case.network.blocks.out)
    return Judge(bank, case.network.last, case.records)


def arranged(order):
    order = np.asarray(order, np.intp)
    return np.column_stack([order, order + len(order)])


def nothing_known(arrangement):
    return Precedence(arrangement, np.zeros((len(arrangement), len(arrangement))))


def widened(judge, arrangement, known=None, by=None, done=lambda error: False):
    """Beams after each round, from an order until nothing is left to move on from."""
    by = by or BeamParameters()
    beam = Beam.begun(judge, judge.run(arrangement), known or nothing_known(arrangement))
    beams = [beam]
    while not done(beam.errors.min()) and (ahead := beam.ahead(judge, by)) is not None:
        beam = ahead.advance(judge, by)
        beams.append(beam)
    return beams


def test_a_beam_reaches_the_best_of_all_orders(few_rows):
    for start in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        beams = widened(few_rows, arranged(start))
        last = beams[-1]
        every = [few_rows.run(arranged(order)).error for order in permutations(range(5))]
        assert last.errors[last.best] == pytest.approx(min(every), rel=1e-3, abs=1e-12)
        assert len({key(each) for each in last.met}) == len(last.met)  # none is judged twice
        assert len(last.met) <= len(every)


def test_what_was_met_stays_met_and_each_is_moved_on_from_once(few_rows):
    beams = widened(few_rows, arranged([4, 3, 2, 1, 0]))
    for before, after in pairwise(beams):
        met = len(before.met)
        np.testing.assert_array_equal(after.met[:met], before.met)
        np.testing.assert_array_equal(after.errors[:met], before.errors)
        assert (after.expanded[:met] >= before.expanded).all()
        assert after.expanded.sum() > before.expanded.sum()
        assert not after.expanded[met:].any()
        assert after.wide >= before.wide
    assert beams[-1].ahead(few_rows, BeamParameters()) is None


def test_the_errors_of_a_beam_are_those_of_the_judge(few_rows):
    last = widened(few_rows, arranged([4, 3, 2, 1, 0]))[-1]
    for arrangement, error in zip(last.met, last.errors, strict=True):
        assert error == pytest.approx(few_rows.run(arrangement).error, rel=1e-4, abs=1e-12)


def test_a_beam_leaves_what_is_known_and_the_pieces_alone(few_rows):
    start = arranged([4, 3, 2, 1, 0])
    for arrangement in widened(few_rows, start)[-1].met:
        assert sorted(arrangement.tolist()) == sorted(start.tolist())


def test_one_block_is_no_choice(loose):
    net = loose(blocks=1, rows=2)
    first, last = widened(net.judge, net.right)
    assert len(first.met) == len(last.met) == 1


def test_the_second_beam_counts_errors_below_those_of_a_swap_alike(loose):
    net = loose(blocks=2, rows=3)
    beam = Beam.begun(net.judge, net.judge.run(net.right), nothing_known(net.right))
    # Behind two blocks there is only the last layer, which is linear, so effects are exact.
    assert beam.floor == pytest.approx(net.judge.run(net.right[::-1]).error)
    # Which of two orders the narrow beam moves on from: the first counts their errors, the second
    # does not tell them apart and takes the first.
    both = replace(
        beam,
        met=np.stack([net.right, net.right[::-1]]),
        errors=beam.floor * np.array([1e-9, 1e-12]),
        lost=np.zeros(2),
        expanded=np.zeros(2, bool),
    )
    by = BeamParameters(widths=(1, 1))
    first = both.ahead(net.judge, by).advance(net.judge, by)
    assert first.expanded.tolist() == [False, True]
    wide = replace(both, wide=1, lost=np.array([0.0, 1e-6]))
    second = wide.ahead(net.judge, by).advance(net.judge, by)
    assert second.expanded.tolist() == [True, False]


def test_the_second_beam_begins_when_the_first_has_ended(few_rows):
    by = BeamParameters(widths=(2, 5))
    beams = widened(few_rows, arranged([4, 3, 2, 1, 0]), by=by)
    wide = [beam.wide for beam in beams]
    assert wide == sorted(wide)
    assert set(wide) == {0, 1}
    assert beams[-1].expanded.sum() >= 5


def reversing(start, certain=1000.0, unsure=None):
    """What is known against all of an order, but for one of its neighbours."""
    log_odds = certain * np.triu(np.ones((5, 5)), 1)
    if unsure is not None:
        log_odds[unsure, unsure + 1] *= -1
    return Precedence(start, log_odds - log_odds.T)


@pytest.mark.parametrize("place", range(4))
def test_moves_that_what_is_known_asks_for_are_judged_first(few_rows, place):
    start = arranged([4, 3, 2, 1, 0])
    known = reversing(start, unsure=place)
    _, first, *_ = widened(few_rows, start, known, BeamParameters(judged=1))
    asked = start.copy()
    asked[[place, place + 1]] = asked[[place + 1, place]]
    np.testing.assert_array_equal(first.met[1:], asked[None])
    assert first.errors[1] == pytest.approx(few_rows.run(asked).error)
    assert first.lost[1] == pytest.approx(-1000)


@pytest.mark.parametrize("certain", [0.0, 100.0])
def test_what_is_known_holds_a_narrow_beam_on_its_way(few_rows, certain):
    """Ten orders are the one, the four that reverse one pair, and five of those with two."""
    start = arranged([4, 3, 2, 1, 0])
    by = BeamParameters(widths=(10, 10), judged=1000)
    last = widened(few_rows, start, reversing(start, certain), by)[-1]
    reversals = [
        sum(a < b for t, a in enumerate(order) for b in order[t + 1 :])
        for order in last.met[last.expanded, :, 0].tolist()
    ]
    assert (max(reversals) <= 2) == bool(certain)


def test_four_predictions_are_enough_where_steps_tell_the_order(make_loose):
    """The seed reverses three to eight pairs; errors on four rows alone lead astray."""
    solved = {"steps": 0, "nothing": 0}
    for draw in range(4):
        rng = np.random.default_rng(draw)
        net = grown(make_loose(rng, blocks=16, rows=4, width=8, hidden=12), rng)
        inputs = rng.normal(size=(400, 8))
        blocks = net.right[np.argsort(net.right[:, 0])]
        start = blocks[smallest_step(net.judge.network(blocks), inputs)]
        assert not np.array_equal(start, net.right)
        for name, known in (
            ("steps", precedence(net.bank, start, inputs)),
            ("nothing", nothing_known(start)),
        ):
            last = widened(net.judge, start, known, done=lambda error: error < 1e-20)[-1]
            solved[name] += np.array_equal(last.met[last.best], net.right)
    assert solved["steps"] >= 3
    assert solved["nothing"] < solved["steps"]


def grown(net, rng):
    """The same with steps that grow along the depth, give or take."""
    bank = net.bank
    state, factors = rng.normal(size=(400, bank.inp_weight.shape[2])), np.ones(len(net.right))
    for t, parts in enumerate(net.right):
        step = bank.apply(parts, state) - state
        factor = 0.02 * np.exp(0.1 * t + 0.1 * rng.normal()) / np.sqrt(np.mean(step**2))
        factors[bank.columns[parts[OUT]]] = factor
        state = state + factor * step
    scaled = replace(
        bank,
        out_weight=factors[:, None, None] * bank.out_weight,
        out_bias=factors[:, None] * bank.out_bias,
    )
    grown = replace(net, bank=scaled, judge=Judge(scaled, net.judge.ends, net.judge.records))
    predictions = grown.judge.network(net.right).predict(net.judge.inputs)
    return grown.judging(replace(net.judge.records, predictions=predictions))
