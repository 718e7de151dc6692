import pytest

from unshuffle.errors import UsageError
from unshuffle.lab.criteria import read_condition


@pytest.fixture
def runs(make_run):
    return [
        make_run("trace", "a", 0, pairs_right=0.5),
        make_run("trace", "a", 1, pairs_right=1.0),
        make_run("trace", "b", 0, pairs_right=0.0),
        make_run("ratio", "a", 0, pairs_right=0.25),
    ]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("mean(pairs_right of trace on a) >= 0.75", True),
        ("mean(pairs_right of trace on a) > 0.75", False),
        ("mean(pairs_right of trace) <= 0.5", True),
        ("median(pairs_right) < 0.375", False),
        ("min(pairs_right on a) < 0.26", True),
        ("max(pairs_right of r* on ?) > min(pairs_right of trace)", True),
        ("max(pairs_right of ratio) > max(pairs_right of trace)", False),
        ("mean(pairs_right of bias) > -1e9", None),
        ("mean(error) > -1e9", None),
    ],
)
def test_conditions_hold_as_arithmetic_says(runs, text, holds):
    assert read_condition(text, "x").holds(runs) is holds


def test_what_was_compared_is_told(runs):
    condition = read_condition("mean(pairs_right of trace on a)>=0.9", "x")
    assert condition.found(runs) == "0.75 >= 0.9 no"


def test_a_failed_run_leaves_it_undecided(runs, make_run):
    condition = read_condition("mean(pairs_right of trace) >= 0", "x")
    assert condition.holds([*runs, make_run("trace", "a", 2, failure="ValueError: no")]) is None
    assert condition.holds([*runs, make_run("ratio", "a", 2, failure="ValueError: no")]) is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__import__('os') >= 1", "a number or a term"),
        ("0.5 < mean(pairs_right)", "but one such as"),
        ("mean(pairs_right)", "but one such as"),
        ("mean(beauty) > 1", "metric beauty"),
        ("mode(error) > 1", "statistic mode"),
        ("mean(error of a b) > 1", "a number or a term"),
        ("mean(error) > one", "a number or a term"),
        ("mean(error) > nan", "a number or a term"),
    ],
)
def test_other_text_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        read_condition(text, "file: confirmed_if")


def test_runs_are_chosen_by_what_they_measured(make_run):
    runs = [
        make_run(seed=0, funnel=0.9, greedy_right=1.0),
        make_run(seed=1, funnel=0.8, greedy_right=1.0),
        make_run(seed=2, funnel=0.1, greedy_right=0.0),
        make_run(seed=3, funnel=0.0),
    ]
    text = "mean(funnel where greedy_right >= 1) > max(funnel of trace where greedy_right<1)"
    condition = read_condition(text, "here")
    assert condition.found(runs) == "0.85 > 0.1 yes"
    assert condition.found(runs[:2]) == "0.85 > no number unknown"
    for bad, said in (
        ("mean(funnel where beauty > 1) > 0", "metric beauty"),
        ("mean(funnel where greedy_right > nan) > 0", "on one side"),
        ("mean(funnel where greedy_right) > 0", "on one side"),
    ):
        with pytest.raises(UsageError, match=said):
            read_condition(bad, "here")
