"""The time of a solve: phases are exclusive, and add up."""

from math import inf
from time import sleep

import pytest

from unshuffle.pieces.clock import OTHER, Clock, OutOfTimeError


class Wall:
    """A clock on the wall that moves only when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self, seconds):
        self.now += seconds


@pytest.fixture
def time():
    return Wall()


@pytest.fixture
def make(time):
    """Make a clock that counts the time on that wall."""
    return lambda *args: Clock(*args, now=lambda: time.now)


def test_phases_are_exclusive_and_add_up_to_the_total(make, time):
    clock = make()
    time(1)
    with clock.phase("pair"):
        time(2)
        with clock.phase("order"):
            time(4)
            with clock.phase("pair"):
                time(8)
            time(16)
        time(32)
    time(64)
    expected = {OTHER: 65.0, "pair": 42.0, "order": 20.0, "total": 127.0}
    assert clock.seconds == expected
    assert clock.total == 127
    # To look does not count twice, and what goes on is counted on.
    assert clock.seconds == expected
    with clock.phase("order"):
        time(3)
        assert clock.seconds == expected | {"order": 23.0, "total": 130.0}
    assert sum(clock.seconds.values()) == 2 * clock.total


def test_a_phase_that_fails_is_over(make, time):
    clock = make()

    def failing():
        with clock.phase("pair"):
            time(2)
            raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        failing()
    time(5)
    assert clock.seconds == {OTHER: 5.0, "pair": 2.0, "total": 7.0}


def test_time_runs_out_at_the_limit(make, time):
    clock = make(10.0)
    assert (clock.left, clock.out) == (10, False)
    time(9)
    clock.check()
    assert clock.left == 1
    time(1)
    assert (clock.left, clock.out) == (0, True)
    with pytest.raises(OutOfTimeError):
        clock.check()


def test_what_was_used_before_counts_against_the_limit_only(make, time):
    clock = make(10.0, 7.0)
    time(2)
    assert (clock.left, clock.total, clock.out) == (1, 2, False)
    time(2)
    assert clock.out
    assert clock.seconds["total"] == 4


def test_without_a_limit_there_is_always_time(make, time):
    clock = make()
    time(1e9)
    assert (clock.left, clock.out) == (inf, False)
    clock.check()


def test_a_clock_counts_real_time():
    clock = Clock(1e3)
    with clock.phase("asleep"):
        sleep(0.05)
    seconds = clock.seconds
    assert seconds["asleep"] >= 0.05
    assert seconds["total"] == pytest.approx(seconds["asleep"] + seconds[OTHER])
    assert clock.total >= seconds["total"]
    assert clock.total - seconds["total"] < 1
