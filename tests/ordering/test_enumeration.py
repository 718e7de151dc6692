"""Every arrangement of few blocks is judged: none is left out, and the right one is found."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from math import factorial

import numpy as np
import pytest

from unshuffle import Pile, Records, solve
from unshuffle.ordering.auto import advance
from unshuffle.ordering.enumeration import Enumeration
from unshuffle.ordering.groupings import EnumerationParameters, groupings
from unshuffle.ordering.parameters import SearchParameters
from unshuffle.pieces.pile import Piece

BY = EnumerationParameters()
FREE = 0.0
RULED_OUT = -np.inf


def as_sets(found: Sequence[np.ndarray]) -> set[frozenset[tuple[int, ...]]]:
    return {frozenset(map(tuple, grouped.tolist())) for grouped in found}


def visited(state, bench):
    """All states of the stage by itself."""
    return [*advance(state, bench, (Enumeration(),))]


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_every_grouping_comes_once(loose, blocks):
    net = loose(blocks=blocks)
    problem = net.problem(np.full((blocks, blocks), FREE))
    wanted = [net.blocks([*enumerate(outs)]) for outs in permutations(range(blocks))]
    found = [*groupings(problem, BY)]
    assert len(found) == factorial(blocks)
    assert as_sets(found) == as_sets(wanted)


def test_layers_of_either_role_are_grouped_both_ways(square):
    net = square(blocks=3)
    found = [*groupings(net.problem(np.zeros((6, 6))), BY)]
    # Six layers have 6! sequences. The order of three blocks does not count.
    assert len(found) == len(as_sets(found)) == factorial(6) // factorial(3)
    assert all(len({*grouped.ravel().tolist()}) == 6 for grouped in found)


def test_what_is_ruled_out_is_in_no_grouping(loose):
    odds = np.zeros((3, 3))
    odds[0, 1] = RULED_OUT
    net = loose(blocks=3)
    assert len([*groupings(net.problem(odds), BY)]) == 4
    assert not [*groupings(net.problem(odds), replace(BY, most_made=8))]


@pytest.mark.parametrize("at_once", [1, 50, 10_000])
def test_the_right_arrangement_is_found_from_the_worst_evidence(loose, bench_of, at_once):
    net = loose(blocks=4, rows=40)
    enumeration = EnumerationParameters(at_once=at_once, kept=1)
    by = SearchParameters(enumeration=enumeration)
    against = np.full((4, 4), 50.0) - 100.0 * np.eye(4)
    bench, state = bench_of(net.problem(against), by=by)
    states = visited(state, bench)
    assert (states[-1].best.arrangement == net.right).all()
    assert all(len(each.step.tested) == 1 for each in states if each.step is not state.step)


def test_the_least_error_of_all_arrangements_is_found(loose, bench_of, rng):
    net = loose(blocks=3, rows=8)
    wrong = net.judging(Records(net.judge.inputs, rng.normal(size=net.judge.predictions.shape)))
    bench, state = bench_of(wrong.problem(np.zeros((3, 3))))
    best = visited(state, bench)[-1].best
    every = np.array(
        [
            wrong.blocks([*zip(inps, outs, strict=True)])
            for inps in permutations(range(3))
            for outs in permutations(range(3))
        ]
    )
    errors = wrong.judge.errors(wrong.judge.run(every[0]), every)
    assert best.error == pytest.approx(errors.min(), rel=1e-12)


def test_the_problem_of_the_best_comes_first_and_then_the_others(loose, bench_of, rng):
    nets = [loose(blocks=2, rows=8) for _ in range(3)]
    record = Records(nets[0].judge.inputs, rng.normal(size=nets[0].judge.predictions.shape))
    bench, state = bench_of(*(net.judging(record).problem(np.zeros((2, 2))) for net in nets))
    best = bench.found(1, state.rows, bench.run(1, state.rows, nets[1].right))
    states = visited(replace(state, best=best), bench)
    turns = [(each.cursor[0], each.cursor[1]) for each in states if each.cursor]
    assert [*dict.fromkeys(turns)] == [(1, 0), (1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize(
    "enumeration",
    [
        EnumerationParameters(numbers=1000),
        EnumerationParameters(most_blocks=3),
        EnumerationParameters(most_made=15),
    ],
)
def test_many_arrangements_are_not_judged(loose, bench_of, enumeration):
    net = loose(blocks=4, rows=40)
    bench, state = bench_of(
        net.problem(np.zeros((4, 4))), by=SearchParameters(enumeration=enumeration)
    )
    assert not Enumeration().wanted(state, bench)


@pytest.mark.parametrize("blocks", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(6))
def test_few_random_blocks_are_put_back(blocks, seed):
    """Nothing about the weights of a random network tells which layers share a block."""
    rng = np.random.default_rng([seed, blocks])
    width, hidden = 6, 10
    inps = rng.normal(size=(blocks, hidden, width)) / np.sqrt(width)
    outs = rng.normal(size=(blocks, width, hidden)) / np.sqrt(hidden)
    biases = 0.3 * rng.normal(size=(blocks, hidden)), 0.3 * rng.normal(size=(blocks, width))
    head, x = rng.normal(size=(1, width)), rng.normal(size=(300, width))
    y = x
    for inp, bias, out, shift in zip(inps, biases[0], outs, biases[1], strict=True):
        y = y + np.maximum(y @ inp.T + bias, 0) @ out.T + shift
    layers = [*zip(inps, biases[0], strict=True), *zip(outs, biases[1], strict=True)]
    pieces = [Piece.linear(k, *layer) for k, layer in enumerate([*layers, (head, np.zeros(1))])]
    pile = Pile([pieces[k] for k in rng.permutation(len(pieces))])
    solution = solve(pile, Records(x, y @ head.T), activation="relu")
    assert solution.exact
    # Norms of few random layers may match by chance. Nothing else was asked.
    assert {*solution.repairs} <= {"no skip connection"}
