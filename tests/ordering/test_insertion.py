from itertools import pairwise

import numpy as np
import pytest

from unshuffle import Records
from unshuffle.ordering.adjoint import linearize
from unshuffle.ordering.insertion import insertion, insertion_errors


def inserted(order, place, block):
    return (*order[:place], block, *order[place:])


@pytest.mark.parametrize("outputs", [1, 3])
def test_errors_after_insertions_hold_to_second_order(loose, rescaled, outputs):
    net = loose(activation="tanh", outputs=outputs)

    def off(net):
        stand, new = net.right[:2] + net.right[3:], net.right[2]
        run = net.judge.run(stand)
        predicted = insertion_errors(net.judge, linearize(net.judge, run), [new])[0]
        exact = [net.judge.run(inserted(stand, place, new)).error for place in range(5)]
        assert predicted[4] == pytest.approx(exact[4], rel=1e-9)  # the last layer is linear
        return np.abs(predicted - exact)[:4]

    # Errors are squares of changes of first order in the scale, predicted to second order.
    assert np.all(off(rescaled(net, 0.01)) < off(rescaled(net, 0.02)) / 2**2.5)


def test_insertion_builds_an_order_of_all_blocks(loose, finish):
    net = loose(rows=100, scale=0.5)
    steps, run = finish(insertion(net.judge, net.right[::-1]))
    built = [step for step in steps if step.phase == "insertion"]
    assert [len(step.order) for step in built] == [1, 2, 3, 4, 5]
    for before, after in pairwise(built):
        (new,) = {*after.order} - {*before.order}
        assert tuple(block for block in after.order if block != new) == before.order
        assert after.error == min(after.tested)
    errors = [step.error for step in steps if len(step.order) == 5]
    assert errors == sorted(errors, reverse=True)
    assert run.order == net.right


def test_each_insertion_is_the_best_where_effects_are_small(loose, finish):
    net = loose(scale=0.01, rows=60)
    steps, _ = finish(insertion(net.judge, net.right))
    order = ()
    for step in steps[:5]:
        rivals = [
            net.judge.run(inserted(order, place, block))
            for block in set(net.right) - {*order}
            for place in range(len(order) + 1)
        ]
        assert step.order == min(rivals, key=lambda run: run.error).order
        order = step.order


def test_putting_back_never_raises_the_error(loose, finish, rng):
    for _ in range(3):
        net = loose(rows=30, blocks=9, scale=3.0)  # too curved for first-order effects
        noise = rng.normal(size=net.judge.predictions.shape)
        records = Records(net.judge.inputs, net.judge.predictions + noise)
        judge = type(net.judge)(net.layers, net.judge.last, records)
        steps, run = finish(insertion(judge, net.right))
        stands = steps[8]
        for step in steps[9:]:
            assert step.phase == "re-insertion"
            assert step.error == (min(step.tested) if step.kept else stands.error)
            assert step.error < stands.error if step.kept else step.order == stands.order
            stands = step
        assert run.order == stands.order


def test_a_single_block_is_inserted(loose, finish):
    net = loose(blocks=1)
    assert finish(insertion(net.judge, net.right))[1].order == net.right
