import numpy as np
import pytest

from unshuffle.ordering.adjoint import linearize
from unshuffle.ordering.insertion import insertion_errors


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
