"""A state of a search is complete: a search that is cut off goes on from it to the last bit."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise

import numpy as np
import pytest

from unshuffle import Records
from unshuffle.blocks.activations import find_activation
from unshuffle.ordering.auto import advance
from unshuffle.ordering.beam import BeamParameters
from unshuffle.ordering.classic import classic
from unshuffle.ordering.descent import DescentParameters
from unshuffle.ordering.insertions import InsertionParameters
from unshuffle.ordering.mean_field import MeanFieldParameters
from unshuffle.ordering.parameters import SearchParameters
from unshuffle.ordering.population import PopulationParameters
from unshuffle.ordering.restarts import RestartParameters
from unshuffle.ordering.seeds import SeedParameters
from unshuffle.ordering.stages import STAGES
from unshuffle.ordering.sweeps import PLACEMENTS

SHORT = SearchParameters(
    quick=16,
    equations=32,
    many=64,
    growth=4,
    starts=2,
    few_blocks=2,
    seeds=SeedParameters(quick_ranked_rows=4, ranked_rows=8, rows=8, many_rows=16),
    descent=DescentParameters(screened_rows=8, swaps=6, singles=4),
    mean_field=MeanFieldParameters(equations=32, searches=1, steps=3, hopeless=1e3),
    population=PopulationParameters(
        populations=1,
        head_start=1,
        turn=2,
        predictions=8,
        samples=4,
        samples_of_orders=2,
        warm_up=2,
        pause=2,
        generations=4,
    ),
    beam=BeamParameters(widths=(2, 3), judged=2, precedence_rows=16),
    restarts=RestartParameters(patience=2, patience_before=1),
)
"""Numbers so small that a search soon passes through all of its stages."""


def rebuilt(value):
    """The same value with nothing in common with it, as if read from a file."""
    if is_dataclass(value):
        return type(value)(**{f.name: rebuilt(getattr(value, f.name)) for f in fields(value)})
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {name: rebuilt(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(rebuilt(each) for each in value)
    return value


def assert_same(one, other):
    """Equal to the last bit, whatever it is; but the first may have done anew what it forgot."""
    assert type(one) is type(other)
    if is_dataclass(one):
        for each in fields(one):
            if each.name == "work":
                assert one.work >= other.work
            else:
                assert_same(getattr(one, each.name), getattr(other, each.name))
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert one == other


def noisy(net, share):
    """The same layers with a record that no arrangement reproduces."""
    records, noise = net.judge.records, np.random.default_rng(1)
    deviation = share * records.predictions.std() * noise.normal(size=records.predictions.shape)
    return net.judging(Records(records.inputs, records.predictions + deviation))


def with_tanh(problem):
    """The same problem with another activation."""
    return replace(problem, bank=replace(problem.bank, activation=find_activation("tanh")))


@pytest.fixture(scope="module")
def searches(make_loose, bench_of, fit):
    """By name: make a new workbench, and the state before the first round."""
    rng = np.random.default_rng(20260101)
    small, large = make_loose(rng, blocks=3, rows=80), make_loose(rng, blocks=4, rows=80)
    wrong, close = noisy(large, 1.0), noisy(make_loose(rng, blocks=4, rows=80, scale=0.3), 0.02)
    sure = 5 * np.eye(4)

    def far(**given):
        problem = wrong.problem(sure)
        return bench_of(problem, with_tanh(problem), by=SHORT, goal=fit(0.0), **given)

    def near(**goal):
        problem = close.problem(sure)
        return bench_of(problem, with_tanh(problem), by=SHORT, goal=fit(0.0, **goal))

    def exploding():
        insertions = InsertionParameters(explosive=0.0, turn=1, turns=2, starts=3)
        by = replace(SHORT, near=0.0, insertions=insertions)
        return bench_of(wrong.problem(sure), by=by, goal=fit(0.0))

    return {
        "exploding": exploding,
        "solved": lambda: bench_of(small.problem(np.zeros((3, 3))), by=SHORT),
        "far": far,
        "far on few rows": lambda: far(rows=3),
        "in doubt": lambda: bench_of(wrong.problem(np.zeros((4, 4))), by=SHORT, goal=fit(0.0)),
        "near": near,
        "noisy": lambda: near(noise=1.0, decided=False),
        "noisy and decided": lambda: near(noise=1.0),
    }


NAMES = (
    "exploding",
    "solved",
    "far",
    "far on few rows",
    "in doubt",
    "near",
    "noisy",
    "noisy and decided",
)


@pytest.fixture(scope="module")
def whole(searches):
    """All states of each search, the first one included."""
    made = {}
    for name, make in searches.items():
        bench, start = make()
        made[name] = [start, *advance(start, bench)]
    return made


def test_all_stages_are_passed_through(whole):
    assert [*whole] == [*NAMES]
    passed = {state.stage for states in whole.values() for state in states}
    ended = {name for states in whole.values() for name in states[-1].ended}
    assert passed | ended == {"", *(stage.name for stage in STAGES)}
    # Each stage is met between two of its rounds, but for the one that takes a single round.
    assert passed == {"", *(stage.name for stage in STAGES)} - {"noise"}
    held = [state for states in whole.values() for state in states]
    assert any(state.attempt is not None and state.attempt.beam is not None for state in held)
    assert any(state.attempt is not None and state.attempt.waiting for state in held)
    assert any(len(state.race.contenders) == 2 for state in held)
    assert any(each.field is not None for state in held for each in state.race.contenders)
    assert any(state.trials for state in held)
    assert any(state.noisy for state in held)
    assert any(state.decided for state in held)


def test_work_is_counted_from_round_to_round(searches, whole):
    for name, states in whole.items():
        assert states[0].work == 0
        bench, start = searches[name]()
        for before, after in pairwise(states):
            assert after.work >= before.work
            if after.step is not before.step:
                assert after.step.work == after.work
        # Beside what is confirmed at the end, it is all that passed through blocks.
        again = [*advance(start, bench)]
        assert again[-1].work == states[-1].work <= bench.work
        assert states[-1].work > 0


def test_every_state_is_known_for_one_of_its_own_search(searches, whole):
    """What `Checkpoint` asks of a state that it has read."""
    for name, states in whole.items():
        bench, _ = searches[name]()
        problem = bench.problem(0)
        for state in states:
            state.check(problem.bank, len(problem.grouped), len(problem.known))


@pytest.mark.parametrize(
    ("pairs", "rows"),
    [([(1, 1), (2, 2), (3, 3), (4, 4)], None), ([(0, 1), (1, 2), (2, 3), (3, 0)], 3)],
)
def test_states_of_a_problem_of_other_blocks_are_known_too(make_loose, bench_of, fit, pairs, rows):
    """Where another piece could be the last layer, and where another activation pairs otherwise."""
    net = noisy(make_loose(np.random.default_rng(1), blocks=5, rows=60), 1.0)
    odds = np.zeros((5, 5))
    first = net.problem(odds, [(k, k) for k in range(4)])
    bench, start = bench_of(
        first, with_tanh(net.problem(odds, pairs)), by=SHORT, goal=fit(0.0), rows=rows
    )
    for state in advance(start, bench):
        state.check(first.bank, len(first.grouped), 60)


def test_a_state_of_other_pieces_or_rows_is_refused(whole, searches):
    bench, _ = searches["far"]()
    bank, blocks = bench.problem(0).bank, len(bench.problem(0).grouped)
    state = whole["far"][-1]
    wrong = state.best.arrangement.copy()
    wrong[0, 0] = wrong[1, 0]
    with pytest.raises(ValueError, match="it names a piece twice"):
        replace(state, best=replace(state.best, arrangement=wrong)).check(bank, blocks, 80)
    with pytest.raises(ValueError, match="it uses 80 of 79 rows"):
        state.check(bank, blocks, 79)
    wide = replace(state.best, arrangement=np.concatenate([wrong, wrong], axis=1))
    with pytest.raises(ValueError, match="blocks of another kind"):
        replace(state, best=wide).check(bank, blocks, 80)
    drawn = next(s for s in whole["far"] if any(each.population for each in s.race.contenders))
    with pytest.raises(ValueError, match=r"^it "):
        drawn.check(bank, blocks - 1, 80)


@pytest.mark.parametrize("name", NAMES)
def test_a_search_that_was_cut_off_goes_on_to_the_last_bit(searches, whole, name):
    """Cut off after every few rounds, each time in a new workbench."""
    states, few = whole[name], 4
    for cut in range(0, len(states), few):
        bench, _ = searches[name]()
        ahead = advance(rebuilt(states[cut]), bench)
        for expected in states[cut + 1 : cut + few + 1]:
            assert_same(next(ahead), expected)
        if cut + few >= len(states):
            assert next(ahead, None) is None


def test_a_search_for_roles_is_known_and_goes_on_to_the_last_bit(square, bench_of, fit):
    problem = noisy(square(3), 1.0).problem(np.zeros((6, 6)), [(0, 4), (5, 1), (2, 3)])

    def make():
        return bench_of(problem, with_tanh(problem), by=SHORT, goal=fit(0.0), rows=30)

    bench, start = make()
    states = [start, *advance(start, bench)]
    fields = [each.field for state in states for each in state.race.contenders if each.field]
    assert any(field.belief.coupled for field in fields)
    for state in states:
        state.check(problem.bank, 3, 60)
    for cut in range(0, len(states), 8):
        ahead = advance(rebuilt(states[cut]), make()[0])
        for expected in states[cut + 1 : cut + 9]:
            assert_same(next(ahead), expected)


def test_a_state_is_not_changed_by_going_on(searches):
    bench, start = searches["far"]()
    seen = []
    for state in advance(start, bench):
        seen.append((state, rebuilt(state)))
        if len(seen) > 60:
            break
    for state, kept in seen:
        assert_same(state, kept)


def test_the_best_so_far_stands_in_every_state(whole):
    for states in whole.values():
        for before, after in pairwise(states[1:]):
            if after.step is not before.step:  # a round may do nothing but decide what comes next
                assert (after.step.error, after.step.rows) == (after.best.error, after.rows)
                np.testing.assert_array_equal(after.step.arrangement, after.best.arrangement)
            if after.rows == before.rows and after.best.alternative == before.best.alternative:
                assert after.best.error <= before.best.error


@pytest.fixture(params=["roles known", "roles unknown"])
def wrong(request, loose, square):
    """A problem of a record that no arrangement reproduces, and the names of its sweeps."""
    if request.param == "roles known":
        return noisy(loose(blocks=4), 1.0).problem(np.zeros((4, 4))), {"2-opt", "or-opt"}
    return noisy(square(3), 1.0).problem(np.zeros((6, 6))), {"2-opt", "or-opt", "roles"}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_classic_goes_on_to_the_last_bit(wrong, bench_of, fit, placement):
    problem, sweeps = wrong

    def make():
        return bench_of(problem, goal=fit(0.0), rows=30)

    bench, start = make()
    states = [start, *classic(start, bench, placement)]
    assert {state.stage for state in states} == {"", "greedy insertion"} | sweeps
    for cut in range(len(states)):
        bench, _ = make()
        ahead = classic(rebuilt(states[cut]), bench, placement)
        for expected in states[cut + 1 : cut + 4]:
            assert_same(next(ahead), expected)
        if cut + 4 > len(states):
            assert next(ahead, None) is None
