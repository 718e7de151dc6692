from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from unshuffle.ordering.classic import (
    SWEEPS,
    Insertion,
    Sweep,
    classic,
)
from unshuffle.ordering.moves import shifted
from unshuffle.ordering.sweeps import exchanged, inserted, moved, turned

RULED_OUT = np.where(np.eye(5), 0.0, -np.inf)


@pytest.fixture
def net(loose):
    return loose(rows=60)


def searched(bench_of, problem, placement="anywhere", **given):
    """All states of a search on all rows."""
    bench, start = bench_of(problem, rows=len(problem.known), **given)
    return bench, [*classic(start, bench, placement)]


def key(arrangement):
    return tuple(map(tuple, arrangement.tolist()))


@pytest.mark.parametrize("placement", ["ends", "anywhere"])
def test_greedy_insertion_takes_the_best_insertion_each_time(bench_of, net, placement):
    problem = net.problem(RULED_OUT)
    bench, states = searched(bench_of, problem, placement)
    judge, standing = bench.judge(0, 60), problem.grouped[:0]
    building = [state for state in states if state.step.phase == Insertion.name]
    assert len(building) == 5
    for state in building:
        left = [block for block in problem.grouped.tolist() if tuple(block) not in key(standing)]
        places = range(len(standing) + 1) if placement == "anywhere" else {0, len(standing)}
        rivals = [np.insert(standing, p, block, axis=0) for block in left for p in sorted(places)]
        errors = [judge.run(rival).error for rival in rivals]
        np.testing.assert_allclose(state.step.tested, errors, rtol=1e-9)
        standing = state.best.arrangement
        np.testing.assert_array_equal(standing, rivals[int(np.argmin(errors))])
        assert state.best.error == pytest.approx(min(errors))


def test_an_insertion_tries_all_blocks_that_are_given(net):
    run = net.judge.run(net.right[:2])
    after, errors = inserted(net.judge, run, net.blocks([(0, 1), (2, 2)]))
    assert len(after) == 3
    assert len(errors) == 2 * 3
    assert after.error == pytest.approx(errors.min())


def test_exchanges_keep_the_first_that_helps(net):
    run = net.judge.run(net.right[[4, 2, 0, 3, 1]])
    for at in range(4):
        rivals = []
        for other in range(at + 1, 5):
            made = run.arrangement.copy()
            made[[at, other]] = made[[other, at]]
            rivals.append(made)
        errors = np.array([net.judge.run(each).error for each in rivals])
        found, tested, passed = exchanged(net.judge, run, at, at + 1)
        better = np.flatnonzero(errors < run.error)
        if len(better):
            assert passed == better[0]
            np.testing.assert_array_equal(found.arrangement, rivals[better[0]])
        else:
            assert found is run
            assert passed == len(rivals) - 1
        np.testing.assert_allclose(tested, errors[: passed + 1], rtol=1e-9)


def swept(bench_of, net, name):
    """States of one sweep over all moves of a kind, from an order that is wrong."""
    bench, state = bench_of(net.problem(RULED_OUT), rows=60)
    start = bench.run(0, 60, net.right[[4, 2, 0, 3, 1]])
    state = replace(state, best=bench.found(0, 60, start), rows=60)
    states = [Sweep(name).advance(state, bench)]
    while states[-1].stage:
        states.append(Sweep(name).advance(states[-1], bench))
    return start, states


def test_two_opt_keeps_the_first_exchange_that_helps_each_time(bench_of, net):
    start, states = swept(bench_of, net, "2-opt")
    arrangement, error = start.arrangement.copy(), start.error
    for i in range(4):
        for j in range(i + 1, 5):
            rival = arrangement.copy()
            rival[[i, j]] = rival[[j, i]]
            rival_error = net.judge.run(rival).error
            if rival_error < error:
                arrangement, error = rival, rival_error
    np.testing.assert_array_equal(states[-1].best.arrangement, arrangement)
    assert states[-1].best.error < start.error
    assert [*states[-1].ended] == ["2-opt"]


def test_or_opt_puts_each_block_where_the_error_is_lowest(bench_of, net):
    start, states = swept(bench_of, net, "or-opt")
    order, error = start.arrangement.tolist(), start.error
    for block in start.arrangement.tolist():
        rest = [other for other in order if other != block]
        rivals = [[*rest[:p], block, *rest[p:]] for p in range(5)]
        rivals = [rival for rival in rivals if rival != order]
        errors = [net.judge.run(np.array(rival)).error for rival in rivals]
        if min(errors) < error:
            order, error = rivals[int(np.argmin(errors))], min(errors)
    assert states[-1].best.arrangement.tolist() == order
    assert states[-1].best.error < start.error
    assert [len(state.step.tested) for state in states[:-1]] == [4] * 5


def test_a_block_is_moved_where_the_error_is_lowest(net):
    run = net.judge.run(net.right[[4, 2, 0, 3, 1]])
    for block in run.arrangement:
        at = key(run.arrangement).index(tuple(block))
        rivals = [shifted(run.arrangement, at, place) for place in range(5) if place != at]
        errors = [net.judge.run(rival).error for rival in rivals]
        found, tested = moved(net.judge, run, block)
        np.testing.assert_allclose(tested, errors, rtol=1e-9)
        if min(errors) < run.error:
            np.testing.assert_array_equal(found.arrangement, rivals[int(np.argmin(errors))])
        else:
            assert found is run


def test_turns_keep_the_first_that_helps(square):
    net = square(3)
    wrong = net.right.copy()
    wrong[1] = wrong[1, ::-1]
    run = net.judge.run(wrong)
    found, tested, passed = turned(net.judge, run, 0)
    assert len(tested) == passed + 1 <= 2
    while found is not run:
        run, (found, *_) = found, turned(net.judge, found, 0)
    np.testing.assert_array_equal(run.arrangement, net.right)


def test_a_search_turns_blocks_the_right_way_round(bench_of, square):
    net = square(3, rows=100)
    turned_pairs = net.right.copy()
    turned_pairs[1] = turned_pairs[1, ::-1]
    problem = net.problem(np.zeros((6, 6)), turned_pairs)
    _, states = searched(bench_of, problem)
    assert {state.step.phase for state in states} >= {"roles"}
    np.testing.assert_array_equal(states[-1].best.arrangement, net.right)
    assert states[-1].best.error < 1e-12


@pytest.mark.parametrize("placement", ["ends", "anywhere"])
def test_classic_agrees_with_brute_force_on_tiny_networks(bench_of, loose, placement):
    for _ in range(5):
        net = loose(rows=60, blocks=4)
        problem = net.problem(RULED_OUT[:4, :4])
        _, states = searched(bench_of, problem, placement)
        every = [np.array(order) for order in permutations(problem.grouped.tolist())]
        best = min(every, key=lambda each: net.judge.run(each).error)
        np.testing.assert_array_equal(best, net.right)
        np.testing.assert_array_equal(states[-1].best.arrangement, best)
        errors = [state.step.error for state in states if len(state.step.arrangement) == 4]
        assert errors == sorted(errors, reverse=True)


def test_a_search_ends_where_no_move_helps(bench_of, net, rng, fit):
    noise = rng.normal(size=net.judge.predictions.shape)
    records = type(net.judge.records)(net.judge.inputs, net.judge.predictions + noise)
    other = net.judging(records)
    bench, states = searched(bench_of, other.problem(RULED_OUT), goal=fit(0.0))
    last = states[-1]
    assert [*last.ended[-2:]] == [*SWEEPS[:2]]
    judge = bench.judge(0, 60)
    run = judge.run(last.best.arrangement)
    assert run.error == last.best.error
    assert all(exchanged(judge, run, at, at + 1)[0] is run for at in range(4))
    assert all(moved(judge, run, block)[0] is run for block in run.arrangement)
    # All sweeps are made again after one of them has helped.
    phases = [state.step.phase for state in states]
    assert phases.index("2-opt") < phases.index("or-opt") < len(phases)


def test_a_single_block_needs_no_search(bench_of, loose, fit):
    net = loose(blocks=1)
    for goal in (fit(), fit(0.0)):
        _, states = searched(bench_of, net.problem([[0.0]]), goal=goal)
        np.testing.assert_array_equal(states[-1].best.arrangement, net.right)
