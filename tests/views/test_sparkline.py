import math

import pytest

from unshuffle.views.sparkline import LEVELS, log_sparkline


def test_each_power_takes_the_same_step():
    assert log_sparkline([10.0**-k for k in range(8)], 8) == LEVELS[::-1]


def test_of_too_many_values_some_are_shown_the_last_among_them():
    curve = log_sparkline([2.0**k for k in range(100)], 10)
    assert len(curve) == 10
    assert curve[-1] == "█"
    assert sorted(curve) == list(curve)


@pytest.mark.parametrize("values", [[], [0.0, -1.0, math.nan, math.inf]])
def test_what_has_no_logarithm_is_left_out(values):
    assert log_sparkline(values, 10) == ""
    assert log_sparkline([*values, 1.0, *values, 0.1], 10) == "█▁"


def test_no_room_is_no_curve_and_one_value_is_flat():
    assert log_sparkline([1.0, 2.0], 0) == ""
    assert log_sparkline([1.0, 2.0], -3) == ""
    assert log_sparkline([5.0, 5.0], 9) == "▁▁"
