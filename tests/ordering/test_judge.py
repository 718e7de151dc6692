from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unshuffle import Network
from unshuffle.blocks.network import Linear
from unshuffle.ordering.judge import Judge


@pytest.fixture(scope="module")
def judge(make_dropped):
    rng = np.random.default_rng(5)
    case = make_dropped(rng, rows=40, blocks=6, outputs=2, dtype=np.float64)
    return Judge(case.network.blocks, case.network.last, case.records)


def full_evaluation(judge, order):
    network = Network(judge.blocks.take(order), judge.last)
    return np.mean((network.predict(judge.inputs) - judge.predictions) ** 2)


orders = st.permutations(range(6)).flatmap(
    lambda order: st.integers(0, 6).map(lambda length: tuple(order[:length]))
)


@settings(deadline=None)
@given(base=orders, length=st.integers(0, 6), data=st.data())
def test_errors_agree_with_full_evaluations(judge, base, length, data):
    candidates = [data.draw(st.permutations(range(6)))[:length] for _ in range(4)]
    run = judge.run(base)
    assert run.error == pytest.approx(full_evaluation(judge, base), rel=1e-9)
    errors = judge.errors(run, np.array(candidates, dtype=np.intp).reshape(4, length))
    expected = [full_evaluation(judge, candidate) for candidate in candidates]
    np.testing.assert_allclose(errors, expected, rtol=1e-9)


@settings(deadline=None)
@given(base=orders, order=orders)
def test_a_run_may_start_from_another_one(judge, base, order):
    fresh, reused = judge.run(order), judge.run(order, after=judge.run(base))
    np.testing.assert_array_equal(reused.states, fresh.states)
    assert reused.error == fresh.error


def test_errors_do_not_depend_on_how_candidates_are_batched(judge, monkeypatch):
    run = judge.run(range(6))
    rng = np.random.default_rng(1)
    candidates = np.array([rng.permutation(6) for _ in range(50)])
    together = judge.errors(run, candidates)
    monkeypatch.setattr("unshuffle.ordering.judge.ROWS_TOGETHER", 1)
    np.testing.assert_allclose(judge.errors(run, candidates), together, rtol=1e-12)


@pytest.mark.parametrize("cores", [1, 2, 7])
def test_rows_are_worked_on_in_halves_on_any_machine(judge, monkeypatch, cores):
    """The rounding of a matrix product may depend on how many rows it has."""
    monkeypatch.setattr("unshuffle.ordering.judge.cores", lambda: cores)
    for count, parts in ((40, {(0, 20), (20, 40)}), (7, {(0, 4), (4, 7)}), (1, {(0, 1), (1, 1)})):
        some = Judge(judge.blocks, judge.last, judge.records.take(np.arange(count)))
        seen = []
        some.by_rows(lambda rows, count=count, seen=seen: seen.append(rows.indices(count)[:2]))
        assert set(seen) == parts


def test_an_order_that_overflows_has_an_infinite_error(judge):
    loud = Judge(judge.blocks, Linear(judge.last.weight * 1e308, judge.last.bias), judge.records)
    assert loud.run(range(6)).error == np.inf
    assert loud.errors(loud.run(()), np.array([range(6)])).tolist() == [np.inf]


def test_an_order_whose_states_cancel_to_nothing_known_has_an_infinite_error(judge):
    """Infinity minus infinity is NaN, which no comparison would ever refuse."""
    signs = np.sign(judge.run(range(6)).states[-1][0])
    blocks = replace(judge.blocks, out_bias=judge.blocks.out_bias + 1e308 * signs)
    opposed = Linear(np.outer([1, 1], signs) * 1e308 * np.array([1, -1, 1, -1, 1, -1]), np.zeros(2))
    lost = Judge(blocks, opposed, judge.records)
    with np.errstate(over="ignore", invalid="ignore"):
        states = lost.run(range(6)).states[-1]
        assert np.isnan(opposed(states)).any()
    assert lost.run(range(6)).error == np.inf
    assert [run.error for run in lost.runs([range(6), range(5)])] == [np.inf, np.inf]
    assert lost.errors(lost.run(()), np.array([range(6)])).tolist() == [np.inf]
