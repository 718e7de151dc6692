"""Several networks in one pile, each with a record of its own."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Outcome, Pile, read_solution, solve
from unshuffle.errors import PileError
from unshuffle.files import write_network, write_records
from unshuffle.ordering.trace import Trace
from unshuffle.repair.separation import claimed_twice, separate

SHAPE = {"blocks": 2, "width": 12, "hidden": 20, "rows": 400}


@pytest.fixture(scope="module")
def two(make_dropped):
    rng = np.random.default_rng(3)
    return make_dropped(rng, **SHAPE), make_dropped(rng, **SHAPE)


@pytest.fixture(scope="module")
def pile(two):
    first, second = two
    return Pile([*first.pile, *(replace(piece, id=piece.id + 50) for piece in second.pile)])


@pytest.fixture(scope="module")
def here(two, pile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    (folder / "pieces").mkdir()
    for piece in pile:
        tensors = {"weight": piece.weight, "bias": piece.bias}
        write_network(folder / "pieces" / f"piece_{piece.id}.safetensors", tensors)
    for number, case in enumerate(two, start=1):
        write_records(folder / f"record_{number}.csv", case.records)
    return folder


@pytest.fixture(scope="module")
def found(two, pile):
    """The solution of each record, had it been found among all pieces."""
    parts = [[piece for piece in pile if (piece.id >= 50) == of_second] for of_second in (0, 1)]
    return [solve(Pile(part), case.records) for part, case in zip(parts, two, strict=True)]


def run(*args):
    return subprocess.run(
        [sys.executable, "-m", "unshuffle", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_each_record_gets_its_network(two, here, tmp_path):
    records = (here / "record_1.csv", here / "record_2.csv")
    result = run("solve", here / "pieces", *records, "--out", tmp_path / "out", "--quiet")
    assert result.returncode == 0, result.stderr
    assert f"record 1: {records[0]}" in result.stdout
    assert "(of the network of record 2)" in result.stdout
    answers = [read_solution(tmp_path / "out" / name).permutation for name in ("1", "2")]
    assert answers[0] == two[0].permutation
    assert answers[1] == tuple(name + 50 for name in two[1].permutation)


def test_two_records_of_one_network_are_told(two, here, tmp_path):
    (tmp_path / "pieces").mkdir()
    for name in two[0].permutation:
        file = here / "pieces" / f"piece_{name}.safetensors"
        (tmp_path / "pieces" / file.name).write_bytes(file.read_bytes())
    record = here / "record_1.csv"
    result = run("solve", tmp_path / "pieces", record, record, "--json")
    assert result.returncode == 0  # all records are reproduced exactly
    told = json.loads(result.stdout)
    assert told["claimed_twice"]
    assert [one["outcome"] for one in told["solutions"]] == ["exact", "exact"]
    for other, one in zip((2, 1), told["solutions"], strict=True):
        note = f"the network of record {other} has the same pieces: both records are of it"
        assert one["findings"]["notes"] == [note]


@pytest.mark.parametrize("option", ["report", "checkpoint"])
def test_what_is_of_one_record_is_refused_with_two(here, tmp_path, option):
    records = [here / "record_1.csv", here / "record_2.csv"]
    result = run("solve", here / "pieces", *records, f"--{option}", tmp_path / "file")
    assert result.returncode == 2
    assert f"--{option} is of one record, and there are 2" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_record_is_tried_again_without_what_another_one_took(two, pile, found):
    asked = []

    def hard_first(part, records, _):
        number = 0 if records is two[0].records else 1
        asked.append((number, len(part)))
        if number == 0 and len(part) > 5:
            return replace(found[0], outcome=Outcome.LOCAL_OPTIMUM, mse=1.0)
        return found[number]

    solutions = separate(pile, [case.records for case in two], hard_first)
    assert asked == [(0, 10), (1, 10), (0, 5)]
    assert [one.outcome for one in solutions] == [Outcome.EXACT] * 2
    assert not claimed_twice(solutions)
    for one, other in zip(solutions, found[::-1], strict=True):
        assert {each.id for each in one.findings.leftovers} == {*other.permutation}


def test_networks_that_share_some_pieces_contradict_each_other(two, pile, found):
    shared, claimed = found[0].permutation[0], found[1].permutation[0]
    ids = (shared if name == claimed else name for name in found[1].trace.ids)
    claiming_it = replace(found[1], trace=Trace([*ids]))

    def claiming(part, records, _):
        if records is two[0].records:
            return found[0]
        if len(part) < len(pile):
            raise PileError("no network")
        return claiming_it

    solutions = separate(pile, [case.records for case in two], claiming)
    assert claimed_twice(solutions)
    for one in solutions:
        assert f"claims {shared} too, and no piece is in two networks" in one.findings.notes[-1]


def test_the_time_is_shared_and_an_interruption_ends_it(two, pile, found):
    given = []

    def interrupted(_, __, time_limit):
        given.append(time_limit)
        return replace(found[0], outcome=Outcome.INTERRUPTED)

    solutions = separate(pile, [case.records for case in two], interrupted, time_limit=60)
    assert len(solutions) == len(given) == 1
    assert 0 < given[0] <= 30


def test_a_pile_that_is_no_network_is_refused(two, pile):
    def refused(*_):
        raise PileError("no network")

    with pytest.raises(PileError, match="no network"):
        separate(pile, [case.records for case in two], refused)
