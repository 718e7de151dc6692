"""Exact moves of whole blocks on a few fresh rows."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle.ordering.insertions import InsertionParameters, Insertions
from unshuffle.ordering.parameters import SearchParameters
from unshuffle.ordering.stages import STAGES

BY = InsertionParameters(screened=30, judged=30)


@pytest.fixture
def net(make_loose, rescaled):
    return rescaled(make_loose(np.random.default_rng(5), blocks=5, rows=60), 0.5)


def test_the_first_round_takes_the_best_of_all_moves(net, rng):
    problem = net.problem(np.zeros((5, 5)))
    by = replace(BY, screened=60, judged=60, finalists=3)
    start = net.right[::-1]
    after, errors = Insertions.of(start).advance(problem, rng, by)
    # 5 · 4 shifts, of which those between neighbours are the same twice, and exchanges from afar.
    assert len(errors) == 16 + 6 + 3
    error = net.judge.run(after.arrangement).error
    assert error == pytest.approx(errors.min())
    for source in range(5):
        for target in range(5):
            order = np.insert(np.delete(np.arange(5), source), target, source)
            assert error <= net.judge.run(start[order]).error * (1 + 1e-9)


def test_a_block_that_has_moved_stays_for_a_while(net, rng):
    problem = net.problem(np.zeros((5, 5)))
    search = Insertions.of(net.right)
    for _ in range(8):
        stay = {
            int(each[0])
            for each, wait in zip(search.arrangement, search.waits, strict=True)
            if wait
        }
        order = [int(each[0]) for each in search.arrangement if int(each[0]) in stay]
        search, _ = search.advance(problem, rng, replace(BY, tenure=2))
        after = [int(each[0]) for each in search.arrangement if int(each[0]) in stay]
        assert order == after  # those that stay keep their order
        assert search.waits.max() == 2
        assert len(stay) <= 4


def test_as_many_moves_are_tried_as_are_asked_for(net, rng):
    problem = net.problem(np.zeros((5, 5)))
    _, errors = Insertions.of(net.right).advance(problem, rng, replace(BY, most=3, finalists=2))
    assert len(errors) == 3 + 3 + 2


def test_the_stage_finds_an_order_from_which_first_order_effects_say_nothing(
    bench_of, make_loose, rescaled, fit
):
    """Large steps and a contrived threshold: the stage alone leads to the right order."""
    net = rescaled(make_loose(np.random.default_rng(2), blocks=6, rows=200), 0.5)
    stage = next(each for each in STAGES if each.name == "insertions")
    insertions = replace(BY, screened=8, judged=32, starts=2, explosive=0.0)
    bench, state = bench_of(
        net.problem(np.zeros((6, 6)) + 50 * np.eye(6)),
        by=SearchParameters(few_blocks=2, near=0.0, insertions=insertions),
        goal=fit(),
    )
    best = bench.judged(0, state.rows, net.right[::-1])
    state = replace(state, ended=("quick",), best=best, seeded=best.error)
    assert stage.wanted(state, bench)
    before = state
    while state.stage or state is before:
        state = stage.advance(state, bench)
    np.testing.assert_array_equal(state.best.arrangement, net.right)
    assert not stage.wanted(state, bench)
    assert state.trials == ()


def test_nothing_is_wanted_where_orders_do_not_explode(bench_of, net):
    stage = next(each for each in STAGES if each.name == "insertions")
    bench, state = bench_of(net.problem(np.zeros((5, 5))))
    best = bench.judged(0, state.rows, net.right[::-1])
    state = replace(state, ended=("quick",), best=replace(best, error=bench.variance))
    assert not stage.wanted(replace(state, seeded=9.9 * bench.variance), bench)
    exploded = replace(state, seeded=10.1 * bench.variance)
    assert stage.wanted(exploded, bench)
    assert not stage.wanted(replace(exploded, best=replace(best, error=0.0)), bench)


def test_where_no_block_is_free_nothing_moves(net, rng):
    problem = net.problem(np.zeros((5, 5)))
    search, errors = Insertions(net.right, np.full(5, 2)).advance(problem, rng, BY)
    np.testing.assert_array_equal(search.arrangement, net.right)
    np.testing.assert_array_equal(search.waits, np.full(5, 1))
    assert len(errors) == 0
