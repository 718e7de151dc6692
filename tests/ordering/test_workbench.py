"""What a search works on: rows in the sequence of their use, judges, runs and seeds."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Records
from unshuffle.ordering.parameters import SearchParameters
from unshuffle.ordering.seeds import SEEDS, SeedParameters
from unshuffle.ordering.state import Found
from unshuffle.ordering.workbench import rank_seeds
from unshuffle.pieces.clock import Clock


@pytest.fixture
def net(loose):
    return loose(rows=300, outputs=2)


@pytest.fixture
def problem(net):
    return net.problem(np.zeros((5, 5)))


def test_rows_are_counted_in_predictions(bench_of, problem):
    bench, _ = bench_of(problem)
    assert [bench.rows_for(equations) for equations in (1, 2, 3, 256, 10**6)] == [1, 1, 2, 128, 300]
    assert bench.equations(7) == 14
    assert bench.blocks == 5
    assert (bench.rows_to_begin(20), bench_of(problem, rows=7)[0].rows_to_begin(20)) == (10, 7)


def test_rows_are_drawn_anew_each_time_in_the_sequence_of_the_record(problem, rng):
    one, other = (problem.drawn(100, rng) for _ in range(2))
    assert len(one) == len(other) == 50
    places = [
        np.flatnonzero((problem.known.inputs == row).all(axis=1)).item() for row in one.inputs
    ]
    assert places == sorted({*places})
    np.testing.assert_array_equal(one.predictions, problem.known.predictions[places])
    assert not np.array_equal(one.inputs, other.inputs)


def test_rows_are_shuffled_once_and_the_first_are_used(bench_of, problem):
    bench, _ = bench_of(problem, seed=3)
    again, _ = bench_of(problem, seed=3)
    other, _ = bench_of(problem, seed=4)
    np.testing.assert_array_equal(bench.known.inputs, again.known.inputs)
    assert not np.array_equal(bench.known.inputs, other.known.inputs)
    assert sorted(map(bytes, bench.known.inputs)) == sorted(map(bytes, problem.records.inputs))
    np.testing.assert_array_equal(bench.judge(0, 12).inputs, bench.known.inputs[:12])


def test_near_and_far_are_shares_of_the_variance(bench_of, problem):
    by = SearchParameters(near=0.1, far=0.6)
    bench, _ = bench_of(problem, by=by)
    variance = problem.records.predictions.var(axis=0).mean()
    assert bench.near(0.09 * variance)
    assert not bench.near(0.11 * variance)
    assert bench.far(0.61 * variance)
    assert not bench.far(0.59 * variance)


@pytest.mark.parametrize(
    ("few_blocks", "rows", "large"), [(4, 64, True), (4, 63, False), (5, 300, False)]
)
def test_whole_descents_take_long_for_many_blocks_on_many_rows(
    bench_of, problem, few_blocks, rows, large
):
    bench, _ = bench_of(problem, by=SearchParameters(few_blocks=few_blocks))
    assert bench.large(rows) == large


def test_problems_are_made_when_they_are_asked_for(bench_of, problem, net):
    bench, _ = bench_of(problem, replace(problem, start=net.right))
    assert bench.problem(0) is problem
    assert bench.has(1)
    assert not bench.has(2)
    np.testing.assert_array_equal(bench.problem(1).start, net.right)


def test_a_remembered_run_is_the_run(bench_of, problem, net, rng):
    bench, _ = bench_of(problem)
    judge = bench.judge(0, 40)
    assert bench.judge(0, 40) is judge
    for _ in range(2):
        for arrangement in (net.right, net.right[::-1], rng.permutation(net.right)):
            run = bench.run(0, 40, arrangement)
            assert run.error == judge.run(arrangement).error
            assert bench.run(0, 40, arrangement.copy()) is run
            found = bench.found(0, 40, run)
            assert (found.alternative, found.error) == (0, run.error)
            np.testing.assert_array_equal(found.arrangement, arrangement)


def test_only_what_is_complete_and_finite_can_be_done(bench_of, problem, net, fit):
    bench, _ = bench_of(problem, goal=fit(np.inf))
    assert bench.done(Found(0, net.right, 1.0), 10)
    assert not bench.done(Found(0, net.right[:4], 1.0), 10)
    assert not bench.done(Found(0, net.right, np.inf), 10)
    assert all(bench.done(Found(0, net.right, 1.0), rows) for rows in range(1, 30))
    shorter, _ = bench_of(problem, replace(problem, grouped=problem.grouped[:4]), goal=fit(np.inf))
    for alternative, blocks in ((0, 5), (1, 4)):
        for length in (3, 4, 5):
            found = Found(alternative, net.right[:length], 1.0)
            assert shorter.done(found, 10) == (length >= blocks)


def test_the_goal_is_handed_all_states_of_what_was_found(bench_of, problem, net, fit):
    class Watching(fit):
        def reproduces(self, judge, run):
            np.testing.assert_array_equal(run.states, judge.run(net.right).states)
            return super().reproduces(judge, run)

    bench, _ = bench_of(problem, goal=Watching(1e-9))
    assert bench.done(bench.judged(0, 10, net.right), 10)
    assert bench.done(Found(0, net.right, 0.0), 20)


def test_the_best_is_confirmed_on_rows_that_the_search_has_not_seen(bench_of, net, fit):
    """Of the rows that lie ahead, as many as were in use."""
    records = net.judge.records
    bench, _ = bench_of(net.problem(np.zeros((5, 5))))
    sequence = [[*map(bytes, records.inputs)].index(bytes(row)) for row in bench.known.inputs]
    for wrong, confirmed in ((15, False), (25, True), (5, False)):
        predictions = records.predictions.copy()
        predictions[sequence[wrong]] += 1
        other = net.judging(Records(records.inputs, predictions)).problem(np.zeros((5, 5)))
        bench, state = bench_of(other, goal=fit(1e-9))
        best = bench.found(0, 10, bench.run(0, 10, net.right))
        assert bench.confirmed(replace(state, best=best, rows=10)) == confirmed


def test_a_search_on_all_rows_needs_no_confirmation(bench_of, problem, net):
    bench, state = bench_of(problem)
    best = bench.found(0, 300, bench.run(0, 300, net.right))
    assert bench.confirmed(replace(state, best=best, rows=300))
    wrong = bench.found(0, 300, bench.run(0, 300, net.right[::-1]))
    assert not bench.confirmed(replace(state, best=wrong, rows=300))


@pytest.mark.parametrize("quick", [True, False])
def test_seeds_are_ranked_by_their_errors(problem, net, quick):
    start = net.right[::-1]
    problem = replace(problem, start=start)
    judge = problem.judge(problem.known.take(np.arange(50)))
    seeds, errors = rank_seeds(
        problem, judge, problem.records.inputs[:9], 20, quick=quick, clock=Clock()
    )
    count = sum(seed.quick for seed in SEEDS.values()) if quick else len(SEEDS)
    assert len(seeds) == len(errors) == 1 + 2 * count
    few = problem.judge(problem.known.take(np.arange(20)))
    assert errors[0] == pytest.approx(few.run(start).error, rel=1e-9)  # it is tested first
    for seed, error in zip(seeds, sorted(errors), strict=True):
        assert sorted(seed.tolist()) == sorted(net.right.tolist())
        assert few.run(seed).error == pytest.approx(error, rel=1e-9)
    names = [seed.tolist() for seed in seeds]
    assert start.tolist() in names
    # Each seed but the start is tried backwards too.
    assert sum(name[::-1] in names for name in names) >= 2 * count


def test_a_problem_of_another_kind_has_the_seeds_that_serve_it(net, problem, looped):
    other = replace(problem, bank=looped(net.bank))
    judge = other.judge(other.known.take(np.arange(20)))
    seeds, errors = rank_seeds(
        other, judge, other.records.inputs[:9], 20, quick=False, clock=Clock()
    )
    assert len(seeds) == 4
    for seed, error in zip(seeds, sorted(errors), strict=True):
        assert judge.run(seed).error == pytest.approx(error, rel=1e-9)


def test_seeds_look_at_more_inputs_where_there_are_few_predictions(bench_of, problem):
    by = SearchParameters(quick=20, seeds=SeedParameters(rows=5, many_rows=70))
    bench, state = bench_of(problem, by=by)
    seen = []

    def some_inputs(alternative, most, rng):
        seen.append(most)
        return type(bench).some_inputs(bench, alternative, most, rng)

    bench.some_inputs = some_inputs
    for rows in (9, 10):
        bench.ranked_seeds(0, rows, state.generator(), quick=True)
    assert seen == [70, 5]
