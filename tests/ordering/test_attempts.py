"""Descents of kinds without named edges, whose links may be wrong."""

import numpy as np
import pytest

from unshuffle import Records
from unshuffle.blocks.bank import LoopBank
from unshuffle.blocks.ends import Linear
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.ordering.attempts import descended
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.state import Descent
from unshuffle.pieces.blueprint import Edge, Kind, Role

BLOCKS, WIDTH = 4, 5
ROLES = tuple(Role(name, {"weight": (WIDTH, WIDTH)}) for name in ("first", "second"))


def run(weights, x):
    return x + np.tanh(x @ weights["first"]["weight"].T) @ weights["second"]["weight"].T


def pull(weights, x, g):
    slope = 1 - np.tanh(x @ weights["first"]["weight"].T) ** 2
    return g + ((g @ weights["second"]["weight"]) * slope) @ weights["first"]["weight"]


@pytest.mark.parametrize(("edges", "right"), [((), True), ((Edge(0, 1, 0, 1),), False)])
def test_links_that_are_wrong_are_doubted_where_a_descent_is_stuck(bench_of, rng, edges, right):
    tensors = [{"weight": 0.4 * rng.normal(size=(WIDTH, WIDTH))} for _ in range(2 * BLOCKS)]
    bank = LoopBank(Kind("two layers", ROLES, edges), run, pull, tensors)
    ends = Linear(rng.normal(size=(1, WIDTH)), rng.normal(size=1))
    truth = np.arange(2 * BLOCKS).reshape(2, BLOCKS).T
    wrong = truth.copy()
    wrong[:2, 1] = truth[[1, 0], 1]
    odds = np.full((2 * BLOCKS, 2 * BLOCKS), -1000.0)
    odds[wrong[:, 0], wrong[:, 1]] = 1000.0
    every = np.arange(2 * BLOCKS)
    evidence = Evidence((EdgeOdds(0, 1, odds, every, every),))
    inputs = rng.normal(size=(30, WIDTH))
    asked = Records(inputs, np.zeros((30, 1)))
    network = Problem(bank, ends, truth, evidence, asked).network(truth)
    problem = Problem(bank, ends, wrong, evidence, Records(inputs, network.predict(inputs)))
    bench, _ = bench_of(problem)
    descent, efforts = Descent(wrong), []
    while descent is not None:
        efforts.append((descent.trust, descent.effort))
        descent, found, _ = descended(descent, 0, 30, bench)
    assert np.array_equal(found.arrangement, truth) is right
    assert any(trust == 0 for trust, _ in efforts) is right
