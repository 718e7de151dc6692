from itertools import permutations

import numpy as np
import pytest

from unshuffle.network import Layers
from unshuffle.ordering.beam import beam
from unshuffle.ordering.judge import Judge


def last_step(search):
    steps = []
    while True:
        try:
            steps.append(next(search))
        except StopIteration as end:
            return steps, end.value


@pytest.fixture
def few_rows(dropped):
    """A judge of a five-block network on three rows; block b of it is number 6 b."""
    case = dropped(blocks=5, rows=3)
    blocks = case.network.blocks
    layers = Layers(*blocks.inp, *blocks.out)
    return Judge(layers, case.network.last, case.records)


def test_a_beam_reaches_the_best_of_all_orders(few_rows):
    numbers = [6 * block for block in range(5)]
    for start in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        first = few_rows.run([numbers[block] for block in start])
        steps, run = last_step(beam(few_rows, first, done=lambda run: False))
        every = [few_rows.run(order).error for order in permutations(numbers)]
        assert run.error == pytest.approx(min(every), rel=1e-3, abs=1e-12)
        assert sum(len(step.tested) for step in steps) < len(every)  # no order is judged twice
        errors = [step.error for step in steps]
        assert errors == sorted(errors, reverse=True)
        assert steps[-1].order == run.order


def test_a_beam_ends_when_it_is_done(few_rows):
    right = few_rows.run([6 * block for block in range(5)])
    steps, run = last_step(beam(few_rows, right, done=lambda run: True))
    assert (steps, run) == ([], right)


def test_the_errors_it_reports_are_those_of_the_judge(few_rows):
    first = few_rows.run([24, 18, 12, 6, 0])
    steps, run = last_step(beam(few_rows, first, done=lambda run: False))
    for step in steps:
        assert step.error == pytest.approx(few_rows.run(step.order).error, rel=1e-4, abs=1e-12)
        assert np.all(step.tested >= run.error - 1e-12)
