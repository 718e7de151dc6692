import numpy as np
import pytest

from unshuffle.grouping.matching import normalised
from unshuffle.lab.approach import task_of
from unshuffle.lab.sinkhorn import learned_order, sinkhorn_adjoint, soft_error_gradient
from unshuffle.oracle.evaluation import DroppedOracle


@pytest.mark.parametrize("normalisations", [1, 20])
def test_its_adjoint_is_that_of_finite_differences(rng, normalisations):
    def logs(scores):
        return normalised(scores, normalisations)

    scores, g, direction = rng.normal(size=(3, 4, 4))
    step = 1e-5
    ends = [float(np.sum(g * logs(scores + sign * step * direction)[-1])) for sign in (1, -1)]
    adjoint = sinkhorn_adjoint(g, logs(scores))
    assert np.sum(adjoint * direction) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


@pytest.fixture
def task(dropped):
    made = dropped(rows=40, blocks=4, width=6, hidden=8, dtype=np.float64, outputs=2)
    case = DroppedOracle(
        "m", 0, made.pile, made.records, made.permutation, made.network.blocks.activation
    )
    return task_of(case, np.random.default_rng(0))


def test_the_error_gradient_is_that_of_finite_differences(task, rng):
    one, _ = task
    scores, direction = rng.normal(size=(2, 4, 4))
    step = 1e-6
    _, gradient = soft_error_gradient(scores, 0.7, one.network, one.records)
    ends = [
        soft_error_gradient(scores + sign * step * direction, 0.7, one.network, one.records)[0]
        for sign in (1, -1)
    ]
    expected = (ends[0] - ends[1]) / (2 * step)
    assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-4)


def test_a_sharp_right_order_has_no_error(task):
    one, depth = task
    scores = np.zeros((4, 4))
    scores[depth, np.arange(4)] = 1
    sharp, _ = soft_error_gradient(scores, 0.01, one.network, one.records)
    soft, _ = soft_error_gradient(scores, 10.0, one.network, one.records)
    assert sharp < 1e-3 * soft
    assert sorted(learned_order(one).tolist()) == [0, 1, 2, 3]
