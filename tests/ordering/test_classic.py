from itertools import permutations

import numpy as np
import pytest

from unshuffle.ordering.classic import (
    classic,
    exchange_roles,
    greedy_insertion,
    or_opt,
    two_opt,
)
from unshuffle.ordering.judge import Judge


@pytest.fixture
def judge(dropped):
    case = dropped(rows=60, blocks=5, dtype=np.float64)
    return Judge(case.network.blocks, case.network.last, case.records)


@pytest.mark.parametrize("placement", ["ends", "anywhere"])
def test_greedy_insertion_takes_the_best_insertion_each_time(finish, judge, placement):
    steps, run = finish(greedy_insertion(judge, range(5), placement))
    order = ()
    for step in steps:
        rivals = []
        for block in sorted(set(range(5)) - set(order)):
            places = range(len(order) + 1) if placement == "anywhere" else {0, len(order)}
            rivals += [(*order[:p], block, *order[p:]) for p in sorted(places)]
        errors = [judge.run(rival).error for rival in rivals]
        np.testing.assert_allclose(step.tested, errors, rtol=1e-9)
        assert step.order == rivals[int(np.argmin(errors))]
        assert step.error == pytest.approx(min(errors))
        order = step.order
    assert run.order == order
    assert sorted(order) == [0, 1, 2, 3, 4]


def test_two_opt_keeps_the_first_exchange_that_helps(finish, judge):
    start = judge.run((4, 2, 0, 3, 1))
    _, run = finish(two_opt(judge, start))
    order, error = list(start.order), start.error
    for i in range(4):
        for j in range(i + 1, 5):
            rival = order.copy()
            rival[i], rival[j] = rival[j], rival[i]
            rival_error = judge.run(rival).error
            if rival_error < error:
                order, error = rival, rival_error
    assert run.order == tuple(order)
    assert run.order != start.order


def test_or_opt_puts_each_block_where_the_error_is_lowest(finish, judge):
    start = judge.run((4, 2, 0, 3, 1))
    steps, run = finish(or_opt(judge, start))
    order, error = list(start.order), start.error
    for block in start.order:
        rest = [other for other in order if other != block]
        rivals = [[*rest[:p], block, *rest[p:]] for p in range(5)]
        rivals = [rival for rival in rivals if rival != order]
        errors = [judge.run(rival).error for rival in rivals]
        if min(errors) < error:
            order, error = rivals[int(np.argmin(errors))], min(errors)
    assert run.order == tuple(order)
    assert [len(step.tested) for step in steps] == [4] * 5


def test_exchange_roles_turns_blocks_the_right_way_round(finish, dropped):
    case = dropped(blocks=3, width=6, hidden=6, dtype=np.float64)
    blocks = case.network.blocks
    both = blocks.take([0, 1, 2, 0, 1, 2])
    both.inp_weight[3:], both.out_weight[3:] = blocks.out_weight, blocks.inp_weight
    both.inp_bias[3:], both.out_bias[3:] = blocks.out_bias, blocks.inp_bias
    judge = Judge(both, case.network.last, case.records)
    start = judge.run((0, 4, 2))
    _, run = finish(exchange_roles(judge, start, turn=lambda blocks: (blocks + 3) % 6))
    assert run.order == (0, 1, 2)
    assert run.error < 1e-12


@pytest.mark.parametrize("placement", ["ends", "anywhere"])
def test_classic_agrees_with_brute_force_on_tiny_networks(finish, dropped, placement):
    for _ in range(5):
        case = dropped(rows=60, blocks=4, dtype=np.float64)
        judge = Judge(case.network.blocks, case.network.last, case.records)
        steps, run = finish(classic(judge, range(4), placement=placement))
        best = min(permutations(range(4)), key=lambda order: judge.run(order).error)
        assert run.order == best == (0, 1, 2, 3)
        errors = [step.error for step in steps if len(step.order) == 4]
        assert errors == sorted(errors, reverse=True)


def test_classic_ends_where_no_move_helps(finish, judge):
    _, run = finish(classic(judge, range(5)))
    for search in (two_opt(judge, run), or_opt(judge, run)):
        assert finish(search)[1] is run


def test_a_single_block_needs_no_search(finish, dropped):
    case = dropped(blocks=1)
    judge = Judge(case.network.blocks, case.network.last, case.records)
    assert finish(classic(judge, [0]))[1].order == (0,)
