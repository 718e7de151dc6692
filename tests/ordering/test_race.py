"""Populations of rival problems that take turns."""

import numpy as np
import pytest

from unshuffle.ordering.judge import Run
from unshuffle.ordering.race import HEAD_START, STEPS, race
from unshuffle.ordering.trace import Step

STATES = np.zeros((1, 1, 1))


@pytest.fixture
def scripted():
    """Make a search of so many generations that ends with an error, and a diary of all searches."""
    diary = []

    def search(name, generations, error):
        for _ in range(generations):
            diary.append(name)
            yield Step("population", np.array([error]), False, (), error, 1)
        return Run((), STATES, error)

    return diary, search


def test_each_begins_when_those_before_it_have_had_their_chance(scripted, finish):
    diary, search = scripted
    searches = (search(name, 4 * STEPS, 1.0) for name in "abc")
    _, ended = finish(race(searches, suffices=lambda _number, _run: False))
    assert [*ended] == [0, 1, 2]
    text = "".join(diary)
    first, second, third = "a" * STEPS, "b" * (STEPS // 2), "c" * (STEPS // 3)
    assert STEPS < HEAD_START < 2 * STEPS
    assert text.startswith(2 * first + 2 * (first + second) + 3 * second + third)
    assert sorted(text) == sorted(4 * STEPS * "abc")


def test_one_that_suffices_ends_it_and_the_others_are_not_even_asked_for(scripted, finish):
    diary, search = scripted
    errors = {"a": 1.0, "b": 0.1, "c": 0.0}
    searches = (search(name, 1 if name == "b" else 99, errors[name]) for name in errors)
    steps, ended = finish(race(searches, suffices=lambda number, run: number == 1))
    assert [*ended] == [1]
    assert ended[1].error == 0.1
    assert "c" not in diary
    assert len(steps) == len(diary)


def test_a_search_that_ends_early_makes_room(scripted, finish):
    diary, search = scripted
    searches = (search(name, 2, 1.0) for name in "ab")
    _, ended = finish(race(searches, suffices=lambda _number, _run: False))
    assert "".join(diary) == "aabb"
    assert [*ended] == [0, 1]


def test_nothing_to_race_is_nothing():
    assert [*race((), suffices=lambda _number, _run: True)] == []
