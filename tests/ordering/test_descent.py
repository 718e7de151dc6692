from itertools import permutations

import numpy as np
import pytest

from unshuffle.ordering.adjoint import exchange_effects, linearize, replacement_effects, shifts
from unshuffle.ordering.candidates import turn_moves
from unshuffle.ordering.descent import Objective, _exchanges, descend
from unshuffle.ordering.moves import Kind
from unshuffle.pieces.records import Records


def never(run):
    return False


def solved(run):
    return run.error < 1e-20


def pairs_fixed(count):
    """Evidence that rules out all pairs but the true ones."""
    return Objective(np.where(np.eye(count, dtype=bool), 0.0, -np.inf))


def unsure(rng, count):
    """Evidence that says little about the pairs."""
    return Objective(rng.normal(size=(count, count)))


def of_another_record(net, rng):
    """A judge whose record no arrangement reproduces."""
    judge = net.judge
    noise = rng.normal(size=judge.predictions.shape)
    return type(judge)(net.layers, judge.last, Records(judge.inputs, judge.predictions + noise))


def neighbours(order, outs):
    """All arrangements one shift or exchange away."""
    length = len(order)
    for s, t in shifts(length, length).tolist():
        places = list(order)
        places.insert(t, places.pop(s))
        yield tuple(places)
    for a in range(length):
        for b in range(a):
            (i, j), (u, v) = divmod(order[a], outs), divmod(order[b], outs)
            for at_a, at_b in ((i * outs + v, u * outs + j), (u * outs + j, i * outs + v)):
                places = list(order)
                places[a], places[b] = at_a, at_b
                yield tuple(places)


def test_the_objective_trades_error_against_evidence(loose, rng):
    net = loose()
    objective = unsure(rng, 5)
    order = tuple(net.right[::-1])
    run = net.judge.run(order)
    evidence = sum(objective.log_odds[divmod(block, 5)] for block in order)
    assert objective.value(run) == pytest.approx(2.5 * np.log(run.error) - evidence)
    assert objective.trusted(0.25).evidence(order) == pytest.approx(evidence / 4)
    barred = Objective(np.where(np.eye(5, dtype=bool), 3.0, -np.inf)).trusted(0.0)
    np.testing.assert_array_equal(barred.log_odds, pairs_fixed(5).log_odds)


def test_exchanges_are_offered_with_their_effects_and_gains(loose, rng):
    net = loose()
    order = net.right[::-1]
    at = linearize(net.judge, net.judge.run(order))
    objective = Objective(10 * rng.normal(size=(5, 5)))
    moves = _exchanges(net.judge, at, objective)
    by_kind = dict(zip((Kind.OUTS, Kind.INPS), exchange_effects(net.judge, at), strict=True))
    offered = set()
    for k in range(len(moves)):
        kind, a, b = Kind(moves.kind[k]), int(moves.first[k]), int(moves.second[k])
        offered.add((kind, a, b))
        expected = by_kind[kind][a, b] + by_kind[kind][b, a]
        np.testing.assert_allclose(moves.effects[k], expected, rtol=1e-9, atol=1e-12)
        after = moves.apply(np.array([k]), order, 5)
        gain = objective.evidence(after) - objective.evidence(order)
        assert moves.gains[k] == pytest.approx(gain)
    admitted = set()
    for a in range(5):
        for b in range(a + 1, 5):
            (i, j), (u, v) = divmod(order[a], 5), divmod(order[b], 5)
            odds = objective.log_odds
            if odds[i, v] + odds[u, j] - odds[i, j] - odds[u, v] > -5:
                admitted |= {(Kind.OUTS, a, b), (Kind.INPS, a, b)}
    assert offered == admitted
    assert 0 < len(admitted) < 20


def test_turns_are_offered_with_their_effects_and_gains(loose, rng):
    net = loose(width=6, hidden=6)
    order = tuple(5 * k + (k + 1) % 5 for k in range(5))
    at = linearize(net.judge, net.judge.run(order))
    objective = unsure(rng, 5)
    moves = turn_moves(net.judge, at, objective.log_odds)
    assert moves.first.tolist() == moves.second.tolist() == [0, 1, 2, 3, 4]
    for k in range(5):
        after = moves.apply(np.array([k]), order, 5)
        assert moves.gains[k] == pytest.approx(
            objective.evidence(after) - objective.evidence(order)
        )
        expected = replacement_effects(net.judge, at, np.array([(k, after[k])]))[0]
        np.testing.assert_array_equal(moves.effects[k], expected)


@pytest.mark.parametrize("loss", ["pairs fixed", "pairs unsure"])
def test_descent_never_raises_the_objective(loose, finish, rng, loss):
    for _ in range(5):
        net = loose()
        judge = of_another_record(net, rng)
        objective = pairs_fixed(5) if loss == "pairs fixed" else unsure(rng, 5)
        start = judge.run(rng.permutation(net.right).tolist())
        steps, end = finish(descend(judge, start, objective, done=never))
        runs = [start, *(judge.run(step.order) for step in steps)]
        values = [objective.value(run) for run in runs]
        for before, after, step in zip(values[:-1], values[1:], steps, strict=True):
            assert after < before if step.kept else after == before
        assert [step.error for step in steps] == [run.error for run in runs[1:]]
        assert end.order == runs[-1].order
        assert values[-1] < values[0]


def test_descent_ends_where_no_single_move_helps(loose, finish, rng):
    for _ in range(8):
        net = loose(blocks=4)
        judge = of_another_record(net, rng)
        objective = unsure(rng, 4)
        start = judge.run(rng.permutation(net.right).tolist())
        _, end = finish(descend(judge, start, objective, done=never))
        rivals = [objective.value(judge.run(order)) for order in neighbours(end.order, 4)]
        # A round that gains less than a thousandth of the error does not count as progress.
        assert objective.value(end) < min(rivals) + 2e-3


def test_descent_leaves_alone_the_pairs_that_evidence_fixes(loose, finish, rng):
    net = loose()
    judge = of_another_record(net, rng)
    start = judge.run(net.right[::-1])
    steps, _ = finish(descend(judge, start, pairs_fixed(5), done=never))
    assert any(step.kept for step in steps)
    for step in steps:
        assert sorted(step.order) == sorted(net.right)


def test_descent_solves_tiny_networks_from_any_order(loose, finish):
    net = loose(blocks=4, rows=100, scale=0.5)
    for order in permutations(net.right):
        search = descend(net.judge, net.judge.run(order), pairs_fixed(4), done=solved)
        assert finish(search)[1].order == net.right


def test_descent_repairs_wrong_pairs(loose, finish, rng):
    net = loose(blocks=4, rows=100, scale=0.5)
    nothing_known = Objective(np.zeros((4, 4)))
    for wrong in [(1, 0, 2, 3), (0, 2, 1, 3), (0, 1, 3, 2)]:
        start = net.judge.run([4 * i + j for i, j in enumerate(wrong)])
        steps, end = finish(descend(net.judge, start, nothing_known, done=solved))
        assert end.order == net.right
        assert "repair" in {step.phase for step in steps}


def test_descent_turns_blocks_the_right_way_round(dropped, finish):
    from unshuffle.blocks.network import Layers
    from unshuffle.ordering.judge import Judge

    case = dropped(rows=60, blocks=3, width=6, hidden=6, dtype=np.float64)
    blocks = case.network.blocks
    pieces = (
        np.concatenate([blocks.inp_weight, blocks.out_weight]),
        np.concatenate([blocks.inp_bias, blocks.out_bias]),
    )
    layers = Layers(*pieces, *pieces)
    judge = Judge(layers, case.network.last, case.records)
    right = [k * 6 + 3 + k for k in range(3)]
    turned = [right[0], (3 + 1) * 6 + 1, right[2]]
    objective = Objective(np.zeros((6, 6)))
    search = descend(judge, judge.run(turned), objective, done=solved, turns=True)
    assert finish(search)[1].order == tuple(right)


def test_a_single_block_leaves_nothing_to_descend(loose, finish):
    net = loose(blocks=1)
    start = net.judge.run(net.right)
    steps, end = finish(descend(net.judge, start, pairs_fixed(1), done=never))
    assert end is start
    assert not any(step.kept for step in steps)
