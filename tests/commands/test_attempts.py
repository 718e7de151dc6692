"""Attempts side by side come to what they come to one after another."""

import numpy as np
import pytest

from unshuffle import Outcome, Records, solve
from unshuffle.commands import attempts, main
from unshuffle.commands.attempts import solve_attempts
from unshuffle.errors import UsageError


def assert_same(one, other):
    """Equal to the last bit, but for the seconds."""
    facts = [solution.summary() | {"seconds": None} for solution in (one, other)]
    assert facts[0] == facts[1]
    np.testing.assert_array_equal(one.trace.errors, other.trace.errors)
    for name, values in one.network.tensors().items():
        np.testing.assert_array_equal(values, other.network.tensors()[name])


@pytest.fixture
def case(dropped):
    """Three blocks with tanh, so that attempts with another activation fail."""
    return dropped(rows=200, blocks=3, width=6, hidden=8, activation="tanh")


# The first has no time, and fails at once.
TRIED = [{"activation": "relu", "time_limit": 1e-9}, {"activation": "tanh"}, {"activation": "tanh"}]


def in_sequence(case, tried=TRIED, **given):
    return solve_attempts(case.pile, case.records, tried, time_limit=600, **given)


def test_the_first_attempt_that_succeeds_has_the_word(case, monkeypatch):
    made = []

    def noted(pile, records, **options):
        made.append(options["activation"])
        return solve(pile, records, **options)

    monkeypatch.setattr(attempts, "solve", noted)
    solution = in_sequence(case)
    assert solution.outcome is Outcome.EXACT
    assert made == ["relu", "tanh"]
    expected = solve(case.pile, case.records, activation="tanh", time_limit=600)
    assert_same(solution, expected)


def test_where_none_succeeds_the_lowest_error_has_the_word(case):
    tried = [{"activation": name, "time_limit": 1e-9} for name in ("gelu", "relu")]
    solution = in_sequence(case, tried)
    each = [in_sequence(case, [one]) for one in tried]
    assert not solution.exact
    assert_same(solution, min(each, key=lambda one: one.mse))


def test_results_count_in_sequence_however_they_arrive(case):
    failed, good = in_sequence(case, TRIED[:1]), in_sequence(case, TRIED[1:2])

    def arriving(*positions):
        """Results in this sequence; whoever asks for more than are needed fails."""
        found = {0: failed, 1: good, 2: good}
        yield from ((at, found[at]) for at in positions)
        raise AssertionError("more was waited for")

    for positions in ((0, 1), (1, 0), (2, 1, 0), (1, 2, 0)):
        assert attempts._first(arriving(*positions), 3) is good
    with pytest.raises(UsageError, match="at least one"):
        in_sequence(case, [])


def test_processes_come_to_the_same_answer(case):
    assert_same(in_sequence(case, processes=2), in_sequence(case))


def test_a_cluster_comes_to_the_same_answer(case):
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    options = {"processes": False, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, **options) as cluster:
        found = in_sequence(case, scheduler=cluster.scheduler_address)
    assert_same(found, in_sequence(case))


def test_what_an_attempt_raises_is_raised(case):
    nothing = Records(case.records.inputs[:, :3], case.records.predictions)
    with pytest.raises(UsageError):
        solve_attempts(case.pile, case.records, [{"activation": "magic"}])
    with pytest.raises(Exception, match="3"):
        solve_attempts(case.pile, nothing, [{}])


def test_attempts_are_made_by_the_command_line(example, capsys):
    command = ["solve", str(example / "pieces"), str(example / "record.csv"), "--quiet"]
    answers = []
    for more in ([], ["--attempts", "2"]):
        assert main([*command, *more]) == 0
        answers.append(capsys.readouterr().out.splitlines()[-1])
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("--attempts 2 --checkpoint search.npz", "--checkpoint keeps a single search"),
        ("--processes 2", "give --attempts too"),
        ("--attempts 2 --processes 2 --model net.py:make", "cannot have --model"),
        ("second.csv --attempts 2", "--attempts is of one record, and there are 2"),
    ],
)
def test_what_attempts_cannot_have_is_refused(capsys, more, told):
    assert main(["solve", "pieces", "record.csv", *more.split()]) == 2
    assert told in capsys.readouterr().err
