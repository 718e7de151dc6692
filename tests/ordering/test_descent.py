from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from unshuffle.blocks.mlp import INP, OUT
from unshuffle.ordering.descent import (
    DescentParameters,
    _together,
    descend,
    descent_round,
    lowest,
    objective,
)
from unshuffle.ordering.linearization import shifts
from unshuffle.ordering.moves import exchange, shifted
from unshuffle.pieces.blueprint import same_pieces


def never(run):
    return False


def solved(run):
    return run.error < 1e-20


def pairs_fixed(net):
    """Evidence that rules out all pairs but the true ones."""
    return net.evidence(np.where(np.eye(len(net.right), dtype=bool), 0.0, -np.inf))


def unsure(net, rng):
    """Evidence that says little about the pairs."""
    return net.evidence(rng.normal(size=(len(net.right),) * 2))


def of_another_record(net, rng):
    """The same with a record that no arrangement reproduces."""
    records = net.judge.records
    noise = rng.normal(size=net.judge.predictions.shape)
    return net.judging(type(records)(records.inputs, records.predictions + noise))


def neighbours(arrangement):
    """All arrangements one shift or swap away."""
    length = len(arrangement)
    for s, t in shifts(length, length).tolist():
        yield shifted(arrangement, s, t)
    for a in range(length):
        for b in range(a):
            for role in (INP, OUT):
                made = arrangement.copy()
                made[[a, b], role] = made[[b, a], role]
                yield made


def test_the_objective_trades_error_against_evidence(loose, rng):
    net = loose()
    log_odds = rng.normal(size=(5, 5))
    evidence, arrangement = net.evidence(log_odds), rng.permutation(net.right)
    run = net.judge.run(arrangement)
    odds = sum(log_odds[net.bank.rows[i], net.bank.columns[j]] for i, j in arrangement)
    assert objective(run, evidence) == pytest.approx(2.5 * np.log(run.error) - odds)
    doubled = objective(run, evidence.trusted(2.0))
    assert doubled == pytest.approx(objective(run, evidence) - odds)


def test_the_lowest_objective_is_the_best_and_all_errors_are_told(loose, rng):
    net = loose()
    evidence = unsure(net, rng)
    run = net.judge.run(net.right[::-1])
    others = [rng.permutation(net.right) for _ in range(6)]
    best, errors = lowest(net.judge, run, others, evidence)
    values = [objective(net.judge.run(each), evidence) for each in [net.right[::-1], *others]]
    assert objective(best, evidence) == pytest.approx(min(values))
    assert errors == [net.judge.run(each).error for each in others]
    assert lowest(net.judge, best, others, evidence)[0] is best


@pytest.mark.parametrize("loss", ["pairs fixed", "pairs unsure"])
def test_descent_never_raises_the_objective(loose, finish, rng, loss):
    for _ in range(5):
        net = of_another_record(loose(), rng)
        evidence = pairs_fixed(net) if loss == "pairs fixed" else unsure(net, rng)
        start = net.judge.run(rng.permutation(net.right))
        steps, end = finish(descend(net.judge, start, evidence, done=never))
        runs = [start, *(net.judge.run(step.arrangement) for step in steps)]
        values = [objective(run, evidence) for run in runs]
        for before, after, step in zip(values[:-1], values[1:], steps, strict=True):
            assert after < before if step.kept else after == before
        assert [step.error for step in steps] == [run.error for run in runs[1:]]
        np.testing.assert_array_equal(end.arrangement, runs[-1].arrangement)
        assert values[-1] < values[0]


def test_descent_ends_where_no_single_move_helps(loose, finish, rng):
    for _ in range(8):
        net = of_another_record(loose(blocks=4), rng)
        evidence = unsure(net, rng)
        start = net.judge.run(rng.permutation(net.right))
        _, end = finish(descend(net.judge, start, evidence, done=never))
        rivals = [objective(net.judge.run(each), evidence) for each in neighbours(end.arrangement)]
        # A round that gains less than a thousandth of the error does not count as progress.
        assert objective(end, evidence) < min(rivals) + 2e-3


def test_descent_leaves_alone_the_pairs_that_evidence_fixes(loose, finish, rng):
    net = of_another_record(loose(), rng)
    start = net.judge.run(net.right[::-1])
    steps, _ = finish(descend(net.judge, start, pairs_fixed(net), done=never))
    assert any(step.kept for step in steps)
    for step in steps:
        assert sorted(step.arrangement.tolist()) == sorted(net.right.tolist())


def test_descent_solves_tiny_networks_from_any_order(loose, finish):
    net = loose(blocks=4, rows=100, scale=0.5)
    for order in permutations(range(4)):
        start = net.judge.run(net.right[[*order]])
        _, end = finish(descend(net.judge, start, pairs_fixed(net), done=solved))
        np.testing.assert_array_equal(end.arrangement, net.right)


def test_descent_repairs_wrong_pairs(loose, finish):
    net = loose(blocks=4, rows=100, scale=0.5)
    nothing_known = net.evidence(np.zeros((4, 4)))
    for wrong in [(1, 0, 2, 3), (0, 2, 1, 3), (0, 1, 3, 2)]:
        start = net.judge.run(net.blocks([*enumerate(wrong)]))
        steps, end = finish(descend(net.judge, start, nothing_known, done=solved))
        np.testing.assert_array_equal(end.arrangement, net.right)
        assert "repair" in {step.phase for step in steps}


def test_descent_turns_blocks_the_right_way_round(square, finish):
    net = square(3)
    turned = net.right.copy()
    turned[1] = turned[1, ::-1]
    nothing_known = net.evidence(np.zeros((6, 6)))
    search = descend(net.judge, net.judge.run(turned), nothing_known, done=solved)
    np.testing.assert_array_equal(finish(search)[1].arrangement, net.right)


@pytest.mark.parametrize("known_by", ["kernels", "functions"])
def test_one_round_puts_an_exchange_between_two_roles_back(square, looped, known_by):
    """Role a of one block with role b of another."""
    net = square(4)
    evidence, by = net.evidence(np.zeros((8, 8))), DescentParameters()
    judge = replace(net.judge, bank=looped(net.bank)) if known_by == "functions" else net.judge
    for a, b in ((0, 1), (0, 3), (2, 1), (3, 2)):
        wrong = net.right.copy()
        wrong[a, INP], wrong[b, OUT] = wrong[b, OUT], wrong[a, INP]
        made = descent_round(judge, judge.run(wrong), evidence, 2, by)
        np.testing.assert_array_equal(made.run.arrangement, net.right)


def test_a_single_block_leaves_nothing_to_descend(loose, finish):
    net = loose(blocks=1)
    start = net.judge.run(net.right)
    steps, end = finish(descend(net.judge, start, pairs_fixed(net), done=never))
    assert end is start
    assert not any(step.kept for step in steps)


def test_a_descent_goes_on_from_any_round_with_the_effort_it_asked_for(loose, finish, rng):
    """Its rounds, taken one by one, are its steps."""
    net = of_another_record(loose(), rng)
    evidence, by = unsure(net, rng), DescentParameters()
    start = net.judge.run(rng.permutation(net.right))
    steps, end = finish(descend(net.judge, start, evidence, done=never))
    run, effort, efforts = start, 0, []
    for step in steps:
        efforts.append(effort)
        made = descent_round(net.judge, net.judge.run(run.arrangement), evidence, effort, by)
        assert made.tested == step.tested.tolist()
        assert (made.run.error, made.kept) == (step.error, step.kept)
        run, effort = made.run, made.effort
    assert effort == by.efforts[0]
    assert run.error == end.error
    assert {*efforts} == {0, 1, 2}


def test_a_short_descent_is_a_beginning_of_a_whole_one(loose, finish, rng):
    net = of_another_record(loose(), rng)
    evidence, start = pairs_fixed(net), net.judge.run(net.right[::-1])
    whole, _ = finish(descend(net.judge, start, evidence, done=never))
    short, end = finish(descend(net.judge, start, evidence, done=never, short=True))
    assert 0 < len(short) < len(whole)
    assert [step.error for step in short] == [step.error for step in whole[: len(short)]]
    assert end.error == short[-1].error
    for rounds in (1, 2):
        some, end = finish(descend(net.judge, start, evidence, done=never, rounds=rounds))
        assert [step.error for step in some] == [step.error for step in whole[:rounds]]
        assert end.error == some[-1].error


def test_what_steers_it_is_heeded(loose, rng):
    net = of_another_record(loose(), rng)
    run = net.judge.run(net.right[::-1])
    evidence = unsure(net, rng)
    for singles in (0, 3):
        by = DescentParameters(singles=singles, swaps=2, window=2)
        best = run
        for _ in range(20):
            made = descent_round(net.judge, best, evidence, 1, by)
            best = made.run
            if not made.kept:
                break
        assert not made.kept
        # No set of moves helps, each of which was halved down to single ones, nor any single one.
        few = descent_round(net.judge, best, evidence, 1, DescentParameters(singles=0, window=2))
        assert len(made.tested) == len(few.tested) + singles


def test_a_descent_keeps_the_pieces_of_each_role(loose, finish, rng):
    net = of_another_record(loose(), rng)
    start = net.judge.run(rng.permutation(net.right))
    steps, _ = finish(descend(net.judge, start, unsure(net, rng), done=never))
    for step in steps:
        assert same_pieces(step.arrangement, net.right, net.bank.kind)


def test_better_neighbours_with_slots_of_their_own_are_made_together():
    arrangement = np.arange(8).reshape(4, 2)
    swaps = [exchange(arrangement, 0, 1, 0, 0), exchange(arrangement, 2, 3, 1, 1)]
    meeting = exchange(arrangement, 1, 2, 0, 0)
    (both,) = _together(arrangement, np.array([swaps[0], meeting, swaps[1]]))
    assert both.tolist() == [[2, 1], [0, 3], [4, 7], [6, 5]]
    assert not _together(arrangement, np.array([swaps[0], meeting]))
