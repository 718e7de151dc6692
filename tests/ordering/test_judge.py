from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpBank
from unshuffle.ordering.judge import Judge, JudgeParameters

INPS, OUTS = 6, 5


@pytest.fixture(scope="module")
def judge(make_dropped):
    """A judge of six inp and five out layers, on rows with two predictions."""
    rng = np.random.default_rng(5)
    case = make_dropped(rng, rows=40, blocks=6, outputs=2, dtype=np.float64)
    (inp, offset), (out, shift) = case.network.blocks.inp, case.network.blocks.out
    bank = MlpBank(inp, offset, out[:OUTS], shift[:OUTS])
    return Judge(bank, case.network.last, case.records)


def straight(length=OUTS):
    """The blocks (k, k) in a row."""
    return np.column_stack([np.arange(length), INPS + np.arange(length)])


def full_evaluation(judge, arrangement):
    predictions = judge.network(arrangement).predict(judge.inputs)
    return np.mean((predictions - judge.predictions) ** 2)


def of_length(length):
    return st.lists(
        st.tuples(st.integers(0, INPS - 1), st.integers(INPS, INPS + OUTS - 1)),
        min_size=length,
        max_size=length,
    ).map(lambda blocks: np.array(blocks, np.intp).reshape(length, 2))


arrangements = st.integers(0, 6).flatmap(of_length)


@given(base=arrangements, length=st.integers(0, 6), data=st.data())
def test_errors_agree_with_full_evaluations(judge, base, length, data):
    """Of any candidates, and of some that begin like the base."""
    candidates = np.stack([data.draw(of_length(length)) for _ in range(4)])
    common = min(data.draw(st.integers(0, length)), len(base))
    candidates[:3, :common] = base[:common]
    run = judge.run(base)
    assert run.error == pytest.approx(full_evaluation(judge, base), rel=1e-9)
    errors = judge.errors(run, candidates)
    expected = [full_evaluation(judge, candidate) for candidate in candidates]
    np.testing.assert_allclose(errors, expected, rtol=1e-9)


@given(base=arrangements, arrangement=arrangements, common=st.integers(0, 6))
def test_a_run_may_start_from_another_one(judge, base, arrangement, common):
    common = min(common, len(base), len(arrangement))
    arrangement[:common] = base[:common]
    fresh, reused = judge.run(arrangement), judge.run(arrangement, after=judge.run(base))
    np.testing.assert_array_equal(reused.states, fresh.states)
    np.testing.assert_array_equal(reused.arrangement, arrangement)
    assert reused.error == fresh.error


@pytest.mark.parametrize("rows", [40, 600])
def test_runs_are_those_of_each_arrangement(make_dropped, rows):
    case = make_dropped(np.random.default_rng(6), rows=rows, dtype=np.float64)
    judge = Judge(MlpBank(*case.network.blocks.inp, *case.network.blocks.out),
                  case.network.last, case.records)  # fmt: skip
    rng = np.random.default_rng(1)
    right = np.column_stack([np.arange(5), 5 + np.arange(5)])
    listed = [rng.permutation(right) for _ in range(7)]
    for arrangement, run in zip(listed, judge.runs(listed, judge.run(right)), strict=True):
        np.testing.assert_array_equal(run.arrangement, arrangement)
        assert run.error == judge.run(arrangement).error
        assert len(run) == 5


def test_errors_do_not_depend_on_how_candidates_are_batched(judge):
    run = judge.run(straight())
    rng = np.random.default_rng(1)
    candidates = np.stack([rng.permutation(straight()) for _ in range(50)])
    candidates[:, :, OUT] = rng.permuted(candidates[:, :, OUT], axis=1)
    together = judge.errors(run, candidates)
    for at_once in (1, 100, 10**6):
        other = replace(judge, by=JudgeParameters(at_once=at_once))
        np.testing.assert_allclose(other.errors(run, candidates), together, rtol=1e-12)


def test_rows_are_worked_on_in_halves_on_any_machine(judge):
    """The rounding of a matrix product may depend on how many rows it has."""
    for count, parts in ((40, {(0, 20), (20, 40)}), (7, {(0, 4), (4, 7)}), (1, {(0, 1)})):
        some = Judge(judge.bank, judge.ends, judge.records.take(np.arange(count)))
        seen = []
        some.by_rows(lambda rows, count=count, seen=seen: seen.append(rows.indices(count)[:2]))
        assert set(seen) == parts
        seen.clear()
        some.by_rows(lambda rows, count=count, seen=seen: seen.append(rows.indices(count)), few=41)
        assert seen == [(0, count, 1)]


def test_an_arrangement_that_overflows_has_an_infinite_error(judge):
    loud = Judge(judge.bank, Linear(judge.ends.weight * 1e308, judge.ends.bias), judge.records)
    assert loud.run(straight()).error == np.inf
    assert loud.errors(loud.run(straight(0)), straight()[None]).tolist() == [np.inf]


def test_an_arrangement_whose_states_cancel_to_nothing_known_has_an_infinite_error(judge):
    """Infinity minus infinity is NaN, which no comparison would ever refuse."""
    signs = np.sign(judge.run(straight()).states[-1][0])
    bank = replace(judge.bank, out_bias=judge.bank.out_bias + 1e308 * signs)
    opposed = Linear(np.outer([1, 1], signs) * 1e308 * np.array([1, -1, 1, -1, 1, -1]), np.zeros(2))
    lost = Judge(bank, opposed, judge.records)
    with np.errstate(over="ignore", invalid="ignore"):
        states = lost.run(straight()).states[-1]
        assert np.isnan(opposed(states)).any()
    assert lost.run(straight()).error == np.inf
    assert [run.error for run in lost.runs([straight(), straight(4)])] == [np.inf, np.inf]
    assert lost.errors(lost.run(straight(0)), straight()[None]).tolist() == [np.inf]


def test_blocks_that_share_a_piece_are_told_apart(judge):
    """Two blocks with one inp layer are not run as one."""
    one, other = straight(), straight()
    other[0, OUT], other[1, OUT] = one[1, OUT], one[0, OUT]
    third = straight()
    third[[0, 1], INP] = third[[1, 0], INP]
    errors = judge.errors(judge.run(straight(0)), np.stack([one, other, third]))
    expected = [full_evaluation(judge, each) for each in (one, other, third)]
    np.testing.assert_allclose(errors, expected, rtol=1e-9)
    assert len(set(errors)) == 3
