"""Strategy `auto`, from the pile to the answer."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from unshuffle import Outcome, Piece, Pile, Records, solve, verify
from unshuffle.blocks.activations import ACTIVATIONS
from unshuffle.blocks.threads import pool
from unshuffle.ordering.auto import advance
from unshuffle.ordering.seeds import smallest_step
from unshuffle.solution.alternatives import Problems
from unshuffle.solution.arranging import arrange
from unshuffle.solution.options import Options

SMALL = {"blocks": 4, "width": 12, "hidden": 20}


def assert_same_search(one, other):
    np.testing.assert_array_equal(one.arrangement, other.arrangement)
    assert (one.mse, one.max_abs_error) == (other.mse, other.max_abs_error)
    for mine, theirs in zip(one.trace.steps, other.trace.steps, strict=True):
        assert (mine.phase, mine.kept, mine.error) == (theirs.phase, theirs.kept, theirs.error)
        np.testing.assert_array_equal(mine.arrangement, theirs.arrangement)
        np.testing.assert_array_equal(mine.tested, theirs.tested)


def with_predictions(records, predictions):
    return Records(records.inputs, predictions)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_activation_is_found_out(dropped, activation, outputs):
    case = dropped(**SMALL, activation=activation, outputs=outputs)
    solution = solve(case.pile, case.records)
    assert solution.exact
    assert solution.activation == activation
    assert solution.permutation == case.permutation
    assert solution.blocks == case.blocks


@pytest.mark.parametrize("outputs", [20, 12])
@pytest.mark.parametrize("blocks", [1, 3])
def test_the_last_layer_is_found_among_layers_of_its_shape(dropped, blocks, outputs):
    case = dropped(blocks=blocks, width=12, hidden=outputs, outputs=outputs)
    solution = solve(case.pile, case.records)
    assert solution.exact
    assert solution.permutation == case.permutation


def test_wrong_pairs_at_the_start_are_repaired(dropped, rng):
    case = dropped(**SMALL, rows=400)
    options = Options()
    repaired = 0
    for _ in range(4):
        alternatives = Problems(case.pile, case.records, options)
        (problem, *_), pairing = alternatives.problems, alternatives.pairing
        grouped = problem.grouped.copy()
        grouped[:, 1] = rng.permutation(grouped[:, 1])
        pairs = [tuple(case.pile.ids[p] for p in block) for block in grouped.tolist()]
        repaired += set(pairs) != case.pairs
        unknown = replace(
            problem.evidence,
            edges=tuple(
                replace(edge, log_odds=np.zeros_like(edge.log_odds))
                for edge in problem.evidence.edges
            ),
        )
        alternatives.problems[0] = replace(problem, grouped=grouped, evidence=unknown)
        matches = (
            replace(match, inp=inp, out=out)
            for match, (inp, out) in zip(pairing.matches, pairs, strict=True)
        )
        alternatives.pairing = replace(pairing, matches=tuple(matches))
        solution = arrange(case.pile, case.records, options, alternatives=alternatives)
        assert solution.exact
        assert solution.permutation == case.permutation
        assert {pair for pair, margin in solution.margins.items() if np.isnan(margin)} == (
            case.pairs - set(pairs)
        )
    assert repaired > 0


@pytest.mark.parametrize("rows", [1, 4])
def test_very_few_rows_are_enough_to_begin_with(dropped, rows):
    case = dropped(**SMALL, rows=400)
    solution = solve(case.pile, case.records, rows=rows)
    assert solution.exact
    assert solution.permutation == case.permutation


def test_an_activation_that_fits_few_rows_by_chance_is_given_up(make_dropped):
    """On two rows another activation fits better; once there are more, the right one does."""
    rng = np.random.default_rng(3)
    case = make_dropped(rng, rows=400, blocks=6, width=4, hidden=8)
    solution = solve(case.pile, case.records, rows=2)
    assert solution.exact
    assert solution.activation == "relu"
    assert len(solution.trace) < 1000


def test_what_only_fits_the_rows_of_the_search_is_not_the_end(loose, bench_of):
    """Rows that the search has not seen must agree, or else more rows are taken."""
    net = loose(rows=400, blocks=4)
    asked = []

    class EasilySatisfied:
        def reproduces(self, judge, run):
            asked.append(len(judge.inputs))
            return len(asked) == 1 or run.error < 1e-20

        def explains(self, problem, arrangement):
            return False

    bench, start = bench_of(net.problem(np.zeros((4, 4))), goal=EasilySatisfied(), rows=1)
    states = [*advance(start, bench)]
    assert "more rows" in {state.step.phase for state in states}
    np.testing.assert_array_equal(states[-1].best.arrangement, net.right)


def test_inputs_without_predictions_still_guide_the_seeds(dropped, bench_of):
    case = dropped(**SMALL, rows=400)
    predictions = case.records.predictions.copy()
    predictions[60:] = np.nan
    records = with_predictions(case.records, predictions)
    solution = solve(case.pile, records)
    assert solution.exact
    assert solution.permutation == case.permutation
    assert solution.rows == 60
    bench, state = bench_of(Problems(case.pile, records, Options()).problems[0])
    seen = bench.some_inputs(0, 1000, state.generator())
    assert {*map(bytes, seen)} == {*map(bytes, case.records.inputs)}
    assert len(bench.known) == 60


@pytest.mark.parametrize("rows", [0, 300])
def test_without_predictions_there_is_an_estimate(dropped, rows):
    case = dropped(**SMALL, rows=rows)
    for nothing in (np.zeros((rows, 0)), np.full((rows, 1), np.nan)):
        solution = solve(case.pile, with_predictions(case.records, nothing))
        assert solution.outcome is Outcome.ESTIMATE
        assert not solution.exact
        assert set(solution.blocks) == case.pairs
        assert sorted(solution.permutation) == sorted(case.permutation)
        assert (solution.rows, solution.summary()["mse"]) == (0, None)
        if rows:
            ranking = smallest_step(case.network, case.records.inputs)
            assert solution.blocks == tuple(case.blocks[block] for block in ranking)


@pytest.mark.parametrize("noise", ["rounded", "Gaussian"])
def test_noise_gives_the_right_order_and_is_called_approximate(dropped, rng, noise):
    case = dropped(blocks=4, width=8, hidden=12, rows=3000)
    predictions = case.records.predictions
    if noise == "rounded":
        predictions = np.round(predictions, 3)
    else:
        predictions = predictions + 1e-3 * predictions.std() * rng.normal(size=predictions.shape)
    records = with_predictions(case.records, predictions)
    solution = solve(case.pile, records)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    assert len(solution.trace) < 100  # noise is recognised, and not searched against
    assert verify(case.pile, records, case.permutation).outcome is Outcome.APPROXIMATE
    inp, out, inp2, out2, *rest = case.permutation
    wrong = (inp2, out2, inp, out, *rest)
    assert verify(case.pile, records, wrong).outcome is Outcome.MISFIT


def test_a_wrong_record_is_refused_after_a_bounded_search(dropped):
    case, other = dropped(blocks=3, rows=300), dropped(blocks=3, rows=300)
    records = with_predictions(case.records, other.records.predictions)
    solution = solve(case.pile, records)
    assert solution.outcome is Outcome.LOCAL_OPTIMUM
    assert len(solution.trace) < 3000
    # The best so far stands in every step; its error rises only where more rows are judged.
    judged = {"seeds", "rivals", "more rows"}
    for before, after in pairwise(solution.trace.steps):
        assert after.error <= before.error or after.phase in judged
        if not after.kept and after.phase not in judged:
            np.testing.assert_array_equal(after.arrangement, before.arrangement)
    assert solution.blocks == solution.trace.names(solution.trace.steps[-1].arrangement)


def test_what_stands_was_tested_with_the_error_that_it_has(dropped):
    case = dropped(blocks=6, width=12, hidden=20, rows=400)
    trace = solve(case.pile, case.records).trace
    assert trace.steps[0].phase == "seeds"
    assert len(trace) > 1
    for step in trace.steps:
        assert not step.kept or step.error in step.tested


@pytest.mark.parametrize("hidden", [20, 12])
def test_names_and_file_order_do_not_matter(dropped, rng, hidden):
    """Not even where the search is long: with few rows, several outputs, tanh."""
    shape = {"blocks": 4, "width": 12, "hidden": hidden, "outputs": 2, "activation": "tanh"}
    case = dropped(**shape)
    expected = solve(case.pile, case.records, rows=6)
    mix = rng.permutation(len(case.pile))
    renamed = Pile(
        Piece.linear(int(mix[p.id]), p.weight, p.bias) for p in reversed(case.pile.pieces)
    )
    actual = solve(renamed, case.records, rows=6)
    assert_same_search(actual, expected)
    assert actual.permutation == tuple(int(mix[name]) for name in expected.permutation)


def test_neither_cores_nor_threads_change_the_search(dropped, monkeypatch):
    case = dropped(**SMALL, outputs=2, activation="silu", rows=300)
    searches, threads = [], set()

    def watch(trace):
        threads.update(
            library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
        )

    for cores in (1, 2, 5):
        pool.cache_clear()
        monkeypatch.setattr("unshuffle.blocks.threads.cores", lambda cores=cores: cores)
        with threadpool_limits(cores, "blas"):
            searches.append(solve(case.pile, case.records, rows=10, on_step=watch))
        assert pool()._max_workers == cores
    pool.cache_clear()
    assert threads == {1}
    assert len(searches[0].trace) > 10
    for other in searches[1:]:
        assert_same_search(searches[0], other)


@pytest.mark.parametrize("steps", [1, 5, 12, 20])
def test_the_best_so_far_is_kept_wherever_a_search_is_cut_off(dropped, steps):
    case = dropped(**SMALL, activation="tanh")  # ReLU is tried first, in vain
    best = []

    def interrupt(trace):
        best.append(trace.steps[-1].arrangement)
        if len(trace) == steps:
            raise KeyboardInterrupt

    solution = solve(case.pile, case.records, rows=4, on_step=interrupt)
    assert solution.outcome is Outcome.INTERRUPTED
    assert len(solution.trace) == steps
    assert sorted(solution.permutation) == sorted(case.permutation)
    assert solution.blocks == solution.trace.names(best[-1])


def test_a_single_block_is_solved_whatever_its_record(dropped, rng):
    case = dropped(blocks=1, rows=300)
    assert solve(case.pile, case.records).permutation == case.permutation
    noise = rng.normal(size=case.records.predictions.shape)
    off = with_predictions(case.records, case.records.predictions + noise)
    solution = solve(case.pile, off)
    assert solution.outcome is Outcome.LOCAL_OPTIMUM
    assert solution.permutation == case.permutation


def test_a_row_that_is_repeated_is_one_row(dropped):
    case = dropped(**SMALL, rows=300)
    repeated = case.records.take(np.zeros(300, np.intp))
    assert solve(case.pile, repeated).rows == 1
    # What tells nothing of the predictions ends in no exact answer, and it is said why.
    unlike = replace(repeated, predictions=repeated.predictions + 1)
    solution = solve(case.pile, unlike, time_limit=5)
    assert not solution.exact
    assert "299 of 300 rows repeat another one" in solution.findings.notes[-1]
