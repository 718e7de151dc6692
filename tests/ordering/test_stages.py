"""Whose turn it is: among the stages of a search, and among populations of rival problems."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from unshuffle import Records
from unshuffle.blocks.activations import ACTIVATIONS
from unshuffle.grouping.evidence import Evidence
from unshuffle.ordering.auto import advance, begin, next_stage
from unshuffle.ordering.linearization import shifts
from unshuffle.ordering.mean_field import MeanFieldParameters
from unshuffle.ordering.moves import shifted
from unshuffle.ordering.parameters import SearchParameters
from unshuffle.ordering.population import PopulationParameters
from unshuffle.ordering.race import rival
from unshuffle.ordering.restarts import RestartParameters, disturbed
from unshuffle.ordering.stages import (
    FIRST_STAGES,
    STAGES,
    SeedDescents,
)
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.blueprint import Kind, Role, key, same_pieces

FEW = PopulationParameters(
    head_start=4,
    turn=6,
    predictions=8,
    samples=4,
    samples_of_orders=2,
    warm_up=2,
    pause=2,
    generations=6,
)
NONE = MeanFieldParameters(searches=0)
BY = SearchParameters(quick=16, few_blocks=2, mean_field=NONE, population=FEW)
SOME = MeanFieldParameters(equations=40, searches=2, steps=3, hopeless=1e9)
MEAN = replace(BY, mean_field=SOME, near=0.0, far=1e9)
POPULATIONS = next(stage for stage in STAGES if stage.name == "populations")
FIRST = next(stage for stage in STAGES if stage.name == "first mean field")


def rivals(net, made=None):
    """Problems of each activation; what was made of them is noted."""
    problem = net.problem(np.zeros((4, 4)))
    for activation in ACTIVATIONS.values():
        if made is not None:
            made.append(activation.name)
        yield replace(problem, bank=replace(problem.bank, activation=activation))


@pytest.fixture
def wrong(loose, rng):
    """Four blocks and a record of nothing but noise."""
    net = loose(blocks=4, rows=80)
    return net.judging(Records(net.judge.inputs, rng.normal(size=net.judge.predictions.shape)))


def raced(bench, state):
    """All states of the stage of populations, and the problem that each step was taken with."""
    stage, states, diary = POPULATIONS, [state], []
    while states[-1].stage or len(states) == 1:
        before, after = states[-1].race, stage.advance(states[-1], bench)
        states.append(after)
        if (after.race.turn == before.turn and after.race.taken > before.taken) or (
            not after.stage and before.contenders and not before.contenders[before.turn].ended
        ):
            diary.append(before.contenders[before.turn].alternative)
    return states, diary


def all_rows_in_use(bench, state):
    """The state with the blocks in any order, judged on all the rows asked for."""
    rows = bench.asked_rows
    best = bench.found(0, rows, bench.run(0, rows, bench.problem(0).grouped))
    return replace(state, best=best, rows=rows)


def first_state(bench_of, *problems, rows=40, **given):
    """A workbench, and a state in which populations are drawn in."""
    bench, state = bench_of(*problems, rows=rows, **given)
    return bench, all_rows_in_use(bench, state)


def test_each_population_begins_when_those_before_it_have_had_their_chance(bench_of, wrong, fit):
    bench, start = first_state(bench_of, *rivals(wrong), by=BY, goal=fit(0.0))
    states, diary = raced(bench, start)
    races = [state.race for state in states if state.race.contenders]
    assert [each.alternative for each in races[-1].contenders] == [0, 1, 2, 3]
    for before, after in pairwise(races):
        assert len(after.contenders) - len(before.contenders) in (0, 1)
        if len(after.contenders) > len(before.contenders):
            assert before.turn + 1 == len(before.contenders)  # all have had their turn
            assert all(
                each.ended or each.generations > FEW.head_start for each in before.contenders
            )
            assert after.turn == 0
    # In a turn the n-th takes one n-th as many steps as the first, as long as it has any to take.
    taken = {(race.turn, race.taken) for race in races}
    for turn in range(4):
        assert max(steps for each, steps in taken if each == turn) == FEW.turn // (turn + 1)
    assert all(diary.count(each) > FEW.head_start for each in range(4))
    assert diary[: FEW.turn + 1] == [0] * (FEW.turn + 1)


def test_a_population_that_suffices_ends_the_race_and_no_other_is_asked_for(bench_of, wrong, fit):
    made, rng = [], np.random.default_rng(0)
    bench = Workbench(rivals(wrong, made), rng, fit(0.0), replace(BY, near=1e9), rows=40)
    states, diary = raced(bench, all_rows_in_use(bench, begin(bench, rng)))
    assert {*diary} == {0}
    assert made == ["relu"]
    assert [*states[-1].ended] == ["populations"]
    assert states[-1].race.contenders == ()
    # It ends with its first descent, which is due after the warm-up.
    assert max(each.race.contenders[0].generations for each in states[1:-1]) == FEW.warm_up


def test_a_population_that_has_ended_makes_room(bench_of, wrong, fit):
    by = replace(BY, population=replace(FEW, head_start=10**6, populations=1))
    problems = [*rivals(wrong)][:2]
    bench, start = first_state(bench_of, *problems, by=by, goal=fit(0.0))
    states, diary = raced(bench, start)
    assert diary == sorted(diary)
    assert {*diary} == {0, 1}
    races = [state.race for state in states if len(state.race.contenders) == 2]
    assert all(race.contenders[0].ended for race in races)


def test_so_many_populations_are_drawn_in(bench_of, wrong, fit):
    for populations in (1, 3):
        by = replace(BY, population=replace(FEW, populations=populations))
        bench, start = first_state(bench_of, next(rivals(wrong)), by=by, goal=fit(0.0))
        states, _ = raced(bench, start)
        begun = [each.race.contenders[0].begun for each in states if each.race.contenders]
        assert max(begun) == populations


@pytest.mark.parametrize("far", [0.0, 1e9])
def test_far_from_the_answer_descents_from_a_population_are_short(bench_of, wrong, fit, far):
    by = replace(BY, near=0.0, far=far)
    bench, start = first_state(bench_of, next(rivals(wrong)), by=by, goal=fit(0.0))
    states, _ = raced(bench, start)
    racers = [each for state in states for each in state.race.contenders]
    open_ones = [each for each in racers if each.population and not each.population.settled(FEW)]
    assert {each.descent.short for each in open_ones if each.descent} == {far == 0.0}


def test_a_population_finds_the_right_arrangement(bench_of, loose, fit):
    net = loose(blocks=4, rows=200)
    by = SearchParameters(few_blocks=2)
    problem = net.problem(np.zeros((4, 4)), [(k, (k + 1) % 4) for k in range(4)])
    bench, start = first_state(bench_of, problem, by=by, goal=fit(), rows=200)
    states, _ = raced(bench, start)
    np.testing.assert_array_equal(states[-1].best.arrangement, net.right)
    assert states[-1].best.error < 1e-20


def test_the_stage_under_way_is_asked_first_and_then_the_first_that_is_wanted(bench_of, wrong, fit):
    bench, start = bench_of(*rivals(wrong), by=BY, goal=fit(0.0))
    assert next_stage(STAGES, start, bench).name == "quick"
    for state, _ in zip(advance(start, bench), range(40), strict=False):
        stage = next_stage(STAGES, state, bench)
        wanted = [each for each in STAGES if each.wanted(state, bench)]
        assert stage is (wanted[0] if not state.stage else stage)
        if state.stage:
            assert stage.name == state.stage
    assert next_stage((), start, bench) is None


def test_names_of_stages_are_different():
    names = [stage.name for stage in STAGES]
    assert len({*names}) == len(names) == 12
    assert {stage.name for stage in FIRST_STAGES} < {*names}


def test_only_the_stages_that_are_given_take_turns(bench_of, wrong, fit):
    bench, start = bench_of(*rivals(wrong), by=BY, goal=fit(0.0))
    states = [*advance(start, bench, FIRST_STAGES)]
    assert {*states[-1].ended} == {stage.name for stage in FIRST_STAGES}
    assert next_stage(FIRST_STAGES, states[-1], bench) is None
    assert next_stage(STAGES, states[-1], bench) is not None


def test_seeds_are_descended_from_unless_distributions_have_been_drawn_in(bench_of, wrong, fit):
    by = replace(BY, many=40, mean_field=SOME)
    bench, start = bench_of(*rivals(wrong), by=by, goal=fit(0.0))
    best = replace(start.best, error=2 * bench.variance)
    state = replace(start, ended=("quick", "polish"), best=best)
    assert bench.large(state.rows)
    assert next_stage(STAGES, state, bench).name == "first mean field"
    assert next_stage(FIRST_STAGES, state, bench).name == "seeds"
    near = replace(state, best=replace(start.best, error=0.0))
    assert next_stage(STAGES, near, bench).name == "seeds"
    few, _ = bench_of(*rivals(wrong), by=replace(by, many=10**6), goal=fit(0.0))
    assert next_stage(STAGES, state, few).name == "seeds"
    for name in ("seeds", "first mean field"):
        assert not SeedDescents().wanted(replace(near, ended=(name,)), bench)


def test_far_from_the_record_the_likeliest_problem_goes_on_with_pieces_of_its_own(
    bench_of, loose, fit
):
    """With another piece as the last layer there are other blocks."""
    net = loose(rows=80)
    likeliest, other = (
        net.problem(np.zeros((5, 5)), [(k, k) for k in range(first, first + 4)]) for first in (0, 1)
    )
    bench, start = bench_of(likeliest, other, by=BY, goal=fit(0.0))
    best = bench.found(1, start.rows, bench.run(1, start.rows, other.grouped))
    state = replace(start, ended=("quick", "polish"), best=best)
    after = FIRST.advance(state, bench)
    assert after.best.alternative == 0
    assert same_pieces(after.best.arrangement, likeliest.grouped, net.bank.kind)


def test_a_search_begins_with_nothing_found(bench_of, loose):
    _, start = bench_of(loose(rows=300).problem(np.zeros((5, 5))))
    assert start.best.error == np.inf
    assert (start.rows, start.stage, start.ended) == (128, "", ())
    _, asked = bench_of(loose(rows=300).problem(np.zeros((5, 5))), rows=7)
    assert asked.rows == 7


def single_moves(arrangement, kind, reach):
    """All arrangements one random move away, the same one included."""
    made = [arrangement]
    length, roles = arrangement.shape
    made += [shifted(arrangement, *move) for move in shifts(length, reach).tolist()]
    for a in range(length):
        for one, other in kind.turns():
            turned = arrangement.copy()
            turned[a, [one, other]] = turned[a, [other, one]]
            made.append(turned)
        for b in range(a):
            for role in range(roles):
                swapped = arrangement.copy()
                swapped[[a, b], role] = swapped[[b, a], role]
                made.append(swapped)
        for b in range(length):
            for one, other in kind.turns():
                crossed = arrangement.copy()
                crossed[a, one], crossed[b, other] = crossed[b, other], crossed[a, one]
                made.append(crossed)
    return {key(each) for each in made}


@pytest.mark.parametrize("roles", ["known", "unknown"])
def test_a_disturbance_is_made_of_single_moves(loose, square, rng, roles):
    net = loose() if roles == "known" else square(5)
    evidence = net.evidence(np.zeros((5, 5)) if roles == "known" else np.zeros((10, 10)))
    kind, near = net.bank.kind, single_moves(net.right, net.bank.kind, 2)
    found = {
        key(disturbed(net.right, evidence, kind, rng, RestartParameters(moves=1, reach=2)))
        for _ in range(2000)
    }
    assert found <= near
    # Inp layers change places only together with their blocks, or with the outs of two others.
    assert len(found) == len(near) - 10
    for _ in range(50):
        far = disturbed(net.right, evidence, kind, rng, RestartParameters(moves=4, reach=6))
        assert same_pieces(far, net.right, kind)


def test_a_disturbance_keeps_to_what_the_evidence_admits(loose, rng):
    net = loose()
    kind = net.bank.kind
    sure = net.evidence(np.where(np.eye(5), 3.0, -np.inf))
    for _ in range(100):
        made = disturbed(net.right, sure, kind, rng, RestartParameters(moves=4, reach=6))
        assert sorted(made.tolist()) == sorted(net.right.tolist())
    # Two wrong pairs lose the log-odds of two right ones; five blocks admit a loss below five.
    for log_odds, swaps in ((2.4, True), (2.6, False)):
        evidence = net.evidence(log_odds * np.eye(5))
        made = (
            disturbed(net.right, evidence, kind, rng, RestartParameters(moves=1, reach=6))
            for _ in range(200)
        )
        assert any(sorted(each.tolist()) != sorted(net.right.tolist()) for each in made) == swaps


def test_a_disturbance_reaches_every_role_of_any_kind(rng):
    square, tall = {"weight": (4, 4)}, {"weight": (6, 4)}
    kind = Kind("three roles", (Role("a", square), Role("b", tall), Role("c", square)))
    right = np.arange(15).reshape(5, 3)
    found = [
        disturbed(right, Evidence(()), kind, rng, RestartParameters(moves=1, reach=2))
        for _ in range(300)
    ]
    assert all(same_pieces(made, right, kind) for made in found)
    changed = {tuple((made != right).any(axis=0).tolist()) for made in found}
    # Nothing; pieces of one role; the two roles that shapes do not tell apart; whole blocks.
    assert changed == {
        (False, False, False),
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (True, False, True),
        (True, True, True),
    }


def test_a_disturbance_of_one_block_is_none(loose, rng):
    net = loose(blocks=1)
    evidence = net.evidence([[0.0]])
    for _ in range(20):
        made = disturbed(
            net.right, evidence, net.bank.kind, rng, RestartParameters(moves=4, reach=6)
        )
        np.testing.assert_array_equal(made, net.right)


def drawn_in(stage, bench, state):
    """Phases of the steps by which a stage draws distributions in, and the state that it ends."""
    phases, told = [], 0
    while state.stage or not told:
        before, state = state, stage.advance(state, bench)
        told += 1
        if state.stage and state.step is not before.step:
            phases.append(state.step.phase)
    return [phase for phase in phases if phase in ("mean field", "population")], state


@pytest.mark.parametrize(("hopeless", "searches"), [(1e9, 6), (0.0, 1)])
def test_mean_field_searches_come_before_populations(bench_of, wrong, fit, hopeless, searches):
    by = replace(MEAN, mean_field=replace(SOME, hopeless=hopeless))
    bench, start = first_state(bench_of, next(rivals(wrong)), by=by, goal=fit(0.0))
    phases, _ = drawn_in(POPULATIONS, bench, start)
    assert phases == ["mean field"] * searches + ["population"] * (len(phases) - searches)
    assert len(phases) > searches


def test_near_the_answer_there_are_mean_field_searches_alone(bench_of, wrong, fit):
    stage = next(stage for stage in STAGES if stage.name == "mean field")
    bench, start = first_state(
        bench_of, *rivals(wrong), by=replace(MEAN, near=1e9), goal=fit(0.0), rows=80
    )
    assert stage.wanted(start, bench)
    assert not POPULATIONS.wanted(start, bench)
    phases, after = drawn_in(stage, bench, start)
    assert phases == ["mean field"] * len(phases)
    assert 0 < len(phases) <= 6  # a rival activation ends it at once
    assert not stage.wanted(after, bench)
    none, start = first_state(
        bench_of,
        *rivals(wrong),
        by=replace(MEAN, near=1e9, mean_field=NONE),
        goal=fit(0.0),
        rows=80,
    )
    assert not stage.wanted(start, none)


def test_a_rival_is_another_activation_that_fits_the_same_arrangement_better(bench_of, loose, fit):
    net = loose(blocks=4, rows=200, activation="tanh")
    bench, _ = first_state(bench_of, *rivals(net), by=BY, goal=fit(), rows=200)
    found = bench.judged(0, 200, net.right)
    other = rival(found, 200, bench)
    assert bench.problem(other.alternative).bank.activation.name == "tanh"
    np.testing.assert_array_equal(other.arrangement, net.right)
    assert rival(other, 200, bench) is None


def test_far_from_the_answer_the_activation_least_alike_follows(bench_of, wrong, fit):
    bench, start = first_state(bench_of, *rivals(wrong), by=MEAN, goal=fit(0.0))
    asked, state = [], start
    while state.stage or state is start:
        state = FIRST.advance(state, bench)
        asked += [each.alternative for each in state.race.contenders]
    names = [bench.problem(number).bank.activation.name for number in dict.fromkeys(asked)]
    assert names == ["relu", "tanh"]
    alone = replace(MEAN, mean_field=replace(SOME, hopeless=0.0))
    bench, start = first_state(bench_of, *rivals(wrong), by=alone, goal=fit(0.0))
    _, after = drawn_in(FIRST, bench, start)
    assert after.ended[-1] == FIRST.name
    assert not bench.__dict__["_made"][1:]  # what explodes asks for no other


def test_only_what_makes_room_for_another_activation_is_given_up_half_way(bench_of, wrong, fit):
    by = replace(MEAN, far=0.0, mean_field=replace(SOME, steps=4, searches=1))
    bench, state = first_state(bench_of, *rivals(wrong), by=by, goal=fit(0.0))
    steps = {}
    while state.stage or not steps:
        state = FIRST.advance(state, bench)
        steps |= {each.alternative: each.generations for each in state.race.contenders}
    assert [*steps.values()] == [2, 4]
