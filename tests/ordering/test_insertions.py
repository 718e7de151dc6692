"""Exact moves of whole blocks on few rows, the best order first."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle.ordering.exact_moves import ExactMoves
from unshuffle.ordering.insertions import InsertionParameters, Insertions
from unshuffle.ordering.parameters import SearchParameters
from unshuffle.pieces.blueprint import key

BY = InsertionParameters(screened=30, judged=30, finalists=3)
STAGE = ExactMoves()


@pytest.fixture
def net(make_loose, rescaled):
    return rescaled(make_loose(np.random.default_rng(5), blocks=5, rows=60), 0.5)


@pytest.fixture
def problem(net):
    return net.problem(np.zeros((5, 5)))


def all_moves(order):
    """All orders after one shift or exchange, by brute force."""
    for source in range(len(order)):
        for target in range(len(order)):
            rest = np.delete(order, source, axis=0)
            yield np.insert(rest, target, order[source], axis=0)
            exchanged = order.copy()
            exchanged[[source, target]] = order[[target, source]]
            yield exchanged


def test_the_first_round_meets_the_best_of_all_moves(net, problem, rng):
    by = replace(BY, screened=60, judged=60)
    start = net.right[::-1]
    before = Insertions.begun(0, start, problem, rng, by)
    after, errors = before.advance(problem, rng, by)
    made = {key(each): net.judge.run(each).error for each in all_moves(start)}
    made.pop(key(start))
    # 5 · 4 shifts, of which those between neighbours are the same twice, and exchanges from afar.
    assert len(errors) == len(made) + 3 == 16 + 6 + 3
    np.testing.assert_allclose(np.sort(errors[:-3]), sorted(made.values()), rtol=1e-9)
    np.testing.assert_allclose(np.sort(after.errors[1:]), sorted(made.values())[:3], rtol=1e-9)
    for order, error in zip(after.met, after.errors, strict=True):
        # A move's gain is the difference of two full evaluations.
        gain = net.judge.run(start).error - net.judge.run(order).error
        assert before.errors[0] - error == pytest.approx(gain, rel=1e-9)
    assert after.left.tolist() == [True, False, False, False]
    assert not before.left.any()


def test_orders_are_met_once_and_gone_on_from_once_the_best_first(net, problem, rng):
    search = Insertions.begun(0, net.right[::-1], problem, rng, BY)
    while not search.over and search.rounds < 12:
        least = search.errors[~search.left].min()
        after, _ = search.advance(problem, rng, BY)
        (gone,) = np.flatnonzero(after.left[: len(search.left)] != search.left)
        assert search.errors[gone] == least
        assert len({key(each) for each in after.met}) == len(after.met)
        judge = problem.judge(problem.known.take(after.rows))
        for order, error in zip(after.met, after.errors, strict=True):
            assert judge.run(order).error == pytest.approx(error, rel=1e-6, abs=1e-18)
        after.check(60)
        search = after
    np.testing.assert_array_equal(search.best, search.met[search.errors.argmin()])


def test_all_orders_of_few_blocks_are_met_in_the_end(make_loose, rng):
    problem = make_loose(rng, blocks=3, rows=40).problem(np.zeros((3, 3)))
    search = Insertions.begun(0, problem.grouped, problem, rng, BY)
    while not search.over:
        search, _ = search.advance(problem, rng, BY)
    assert len({key(each) for each in search.met}) == len(search.met) == 6


def test_as_many_moves_are_tried_as_are_asked_for(net, problem, rng):
    by = replace(BY, most=4, finalists=2)
    search = Insertions.begun(0, net.right, problem, rng, by)
    _, errors = search.advance(problem, rng, by)
    assert 2 <= len(errors) <= 4 + 2


def test_a_search_that_lacks_an_error_is_refused(net, problem, rng):
    search = Insertions.begun(0, net.right, problem, rng, BY)
    search.check(60)
    with pytest.raises(ValueError, match="other orders"):
        replace(search, errors=np.zeros(2)).check(60)
    with pytest.raises(ValueError, match="other rows than 9"):
        search.check(9)


def test_what_overflows_is_gone_on_from_last_and_once(net, problem, rng):
    """Where all orders that are left overflow, one that was gone on from is not taken again."""
    search = Insertions.begun(0, net.right, problem, rng, BY)
    search, _ = search.advance(problem, rng, BY)
    search.errors[1:] = np.inf
    after, _ = search.advance(problem, rng, BY)
    assert after.rounds == 2


def exploding(make_loose, rescaled, **given):
    """Large steps, and a threshold at which all orders but the right one explode."""
    net = rescaled(make_loose(np.random.default_rng(2), blocks=6, rows=200), 0.5)
    insertions = replace(BY, screened=8, judged=32, explosive=1e-6, **given)
    by = SearchParameters(quick=16, few_blocks=2, near=0.0, insertions=insertions)
    return net, net.problem(50 * np.eye(6) - 25), by


def test_the_stage_finds_an_order_from_which_first_order_effects_say_nothing(
    bench_of, make_loose, rescaled, fit
):
    net, problem, by = exploding(make_loose, rescaled)
    bench, state = bench_of(problem, by=by, goal=fit())
    best = bench.judged(0, state.rows, net.right[::-1])
    state = replace(state, ended=("quick",), best=best)
    assert STAGE.wanted(state, bench)
    before = state
    while state.stage or state is before:
        state = STAGE.advance(state, bench)
    np.testing.assert_array_equal(state.best.arrangement, net.right)
    assert not STAGE.wanted(state, bench)
    assert state.trials == ()


def test_other_groupings_take_their_turns(bench_of, make_loose, rescaled, fit):
    """The pairs are wrong as they are grouped, and right as one signal groups them."""
    net, problem, by = exploding(make_loose, rescaled, turn=1)
    wrong = net.blocks([(0, 1), (1, 0), *((k, k) for k in range(2, 6))])
    problem = replace(problem, grouped=wrong, regrouped=(problem.grouped,))
    bench, state = bench_of(problem, by=by, goal=fit())
    best = bench.judged(0, state.rows, wrong)
    state = replace(state, ended=("quick",), best=best)
    while "insertions" not in state.ended:
        state = STAGE.advance(state, bench)
    np.testing.assert_array_equal(state.best.arrangement, net.right)


def test_it_ends_when_all_problems_have_had_their_turns(bench_of, make_loose, rescaled, fit):
    net, problem, by = exploding(make_loose, rescaled, starts=2, turn=1, turns=2)
    bench, state = bench_of(problem, problem, by=by, goal=fit(0.0))
    best = bench.judged(0, state.rows, net.right[::-1])
    state = replace(state, ended=("quick",), best=best)
    tried = []
    while "insertions" not in state.ended:
        state = STAGE.advance(state, bench)
        tried.append({each.alternative for each in state.trials})
    assert {0} in tried
    assert {1} in tried
    assert len(tried) <= 2 * 2 * 2 + 1 + 40  # rounds of two trials of two problems, and descents


def test_nothing_is_wanted_where_orders_do_not_explode(bench_of, net, problem):
    bench, state = bench_of(problem)
    best = bench.judged(0, state.rows, net.right[::-1])
    ended = replace(state, ended=("quick",))
    for share, wanted in ((9.9, False), (10.1, True)):
        found = replace(best, error=share * bench.variance)
        assert STAGE.wanted(replace(ended, best=found), bench) is wanted
        assert bench.explodes(found.error) is wanted
    exploded = replace(state, best=replace(best, error=np.inf))
    assert not STAGE.wanted(exploded, bench)
    assert not STAGE.wanted(replace(exploded, ended=("quick", "insertions")), bench)
