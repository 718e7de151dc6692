import numpy as np
import pytest

from unshuffle.ordering.linearization import linearize
from unshuffle.repair.membership import insertion_errors


@pytest.mark.parametrize("outputs", [1, 3])
def test_errors_after_insertions_hold_to_second_order(loose, rescaled, outputs):
    net = loose(activation="tanh", outputs=outputs)

    def off(net):
        stand, new = np.delete(net.right, 2, axis=0), net.right[2]
        run = net.judge.run(stand)
        predicted = insertion_errors(net.judge, linearize(net.judge, run), new[None])[0]
        made = [np.insert(stand, place, new, axis=0) for place in range(5)]
        exact = [net.judge.run(each).error for each in made]
        assert predicted[4] == pytest.approx(exact[4], rel=1e-9)  # the last layer is linear
        return np.abs(predicted - exact)[:4]

    # Errors are squares of changes of first order in the scale, predicted to second order.
    assert np.all(off(rescaled(net, 0.01)) < off(rescaled(net, 0.02)) / 2**2.5)
