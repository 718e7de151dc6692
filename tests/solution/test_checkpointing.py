"""A search that is cut off goes on where it was, and ends where it would have."""

import json
import os
import signal
import subprocess
import sys
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np
import pytest

from unshuffle import Outcome, Pile, Records, checkpoint, read_solution, solve
from unshuffle.commands import main
from unshuffle.errors import FileError
from unshuffle.files import write_network, write_npz
from unshuffle.files.npz_file import read_arrays
from unshuffle.oracle.dropping import Hardening, drop
from unshuffle.solution.checkpointing import Checkpoint


def wrong_record(make):
    """Populations, restarts and other blocks: no order of these pieces reproduces the record."""
    case, other = (make(np.random.default_rng(n), rows=100, blocks=2) for n in (2, 3))
    # Searches with other activations would take most of the time.
    return case.pile, other.records, {"activation": "relu"}


def few_predictions(make):
    case = make(np.random.default_rng(1), blocks=7, width=16, hidden=24)
    predictions = case.records.predictions.copy()
    predictions[3:] = np.nan
    return case.pile, Records(case.records.inputs, predictions), {}


def square(make):
    case = make(np.random.default_rng(1), blocks=6, width=16, hidden=16)
    return case.pile, case.records, {}


def classic(make):
    case = make(np.random.default_rng(1), blocks=8, width=16, hidden=16)
    return case.pile, case.records, {"strategy": "classic"}


def permuted_units(make):
    case = make(np.random.default_rng(2), rows=500, blocks=3, width=8, hidden=12)
    hardening = Hardening(scramble_hidden=True)
    scrambled = drop(case.network, case.records, rng=np.random.default_rng(1), hardening=hardening)
    return scrambled.pile(), scrambled.records, {"permuted_units": True}


def a_lost_layer(make):
    case = make(np.random.default_rng(1), rows=400, blocks=5, width=12, hidden=20)
    lost = case.permutation[5]
    return Pile(piece for piece in case.pile if piece.id != lost), case.records, {}


def standardised(make):
    case = make(np.random.default_rng(2), rows=150, blocks=2, width=6, hidden=8)
    inputs = case.records.inputs
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    return case.pile, Records(inputs, case.records.predictions), {}


CASES = {
    "wrong record": (
        wrong_record,
        {"seeds", "descent", "repair", "population", "membership", "growth"},
    ),
    "few predictions": (few_predictions, {"beam"}),
    "square": (square, {"seeds", "descent"}),
    "classic": (classic, {"greedy insertion", "2-opt", "or-opt"}),
    "permuted units": (permuted_units, {"units"}),
    "a lost layer": (a_lost_layer, {"around", "estimate", "descent"}),
    "standardised": (standardised, {"descent"}),
}


STUDIES = {"standardised"}  # what is searched on for a minute


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow, pytest.mark.study] * (name in STUDIES))
        for name in CASES
    ],
)
def whole(request, make_dropped):
    """What is solved, and the solution of a search that nothing cut off."""
    make, phases = CASES[request.param]
    pile, records, options = make(make_dropped)
    met: set[str] = set()

    def meet(trace):
        met.add(trace.steps[-1].phase)

    solution = solve(pile, records, on_step=meet, **options)
    assert phases <= met
    return pile, records, options, solution


def assert_same(one, other):
    """The same but for the seconds, and for the work of what the first one did anew."""
    assert one.passes >= other.passes
    rest = {"seconds": None, "passes": None}
    facts = [solution.summary() | rest for solution in (one, other)]
    assert facts[0] == facts[1]
    nothing = {"seconds": np.empty(0), "work": np.empty(0)}
    traces = [solution.trace.arrays() | nothing for solution in (one, other)]
    for name, values in traces[0].items():
        np.testing.assert_array_equal(values, traces[1][name])
    for name, values in one.network.tensors().items():
        np.testing.assert_array_equal(values, other.network.tensors()[name])


def cut_off(path, pile, records, options, steps):
    """Solve until so many steps were taken; the file is written after every round."""
    kept, count = Checkpoint(path, pause=0.0), 0

    def interrupt(_):
        nonlocal count
        count += 1
        if count == steps:
            raise KeyboardInterrupt

    solution = solve(pile, records, checkpoint=kept, on_step=interrupt, **options)
    kept.write()
    return solution


def test_from_wherever_it_was_cut_off(whole, tmp_path):
    pile, records, options, solution = whole
    steps = len(solution.trace)
    for done in sorted({1, steps // 3, steps - 1} - {0}):
        path = tmp_path / f"{done}.npz"
        cut_off(path, pile, records, options, done)
        with checkpoint(path) as kept:
            assert_same(solve(pile, records, checkpoint=kept, **options), solution)


def test_what_was_done_is_not_done_again(make_dropped, tmp_path):
    pile, records, options = wrong_record(make_dropped)
    steps = []
    options = {**options, "on_step": lambda trace: steps.append(len(trace))}
    with checkpoint(tmp_path / "a") as kept:
        whole = solve(pile, records, checkpoint=kept, **options)
    all_steps = len(steps)
    with checkpoint(tmp_path / "a") as kept:
        assert_same(solve(pile, records, checkpoint=kept, **options), whole)
    saved = all_steps - (len(steps) - all_steps)  # repairs begin anew, the search does not
    assert saved > len(whole.trace) / 2


def test_a_time_limit_counts_the_seconds_before(make_dropped, tmp_path):
    pile, records, _ = wrong_record(make_dropped)
    cut_off(tmp_path / "a", pile, records, {}, 20)
    kept = Checkpoint(tmp_path / "a")
    assert kept.seconds > 0
    kept.seconds = 10.0
    solution = solve(pile, records, checkpoint=kept, time_limit=9.0)
    assert solution.outcome is Outcome.BUDGET_SPENT
    assert len(solution.trace) <= 21
    assert solution.seconds["total"] < 9
    solution = solve(pile, records, checkpoint=Checkpoint(tmp_path / "a"), time_limit=1e9)
    assert solution.outcome is Outcome.LOCAL_OPTIMUM


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pile": 1}, "another pile"),
        ({"record": 1}, "another record"),
        ({"seed": 1}, "another set of options"),
        ({"rows": 9, "record": 1}, "another record and another set of options"),
    ],
)
def test_a_checkpoint_of_another_search_is_refused(make_dropped, tmp_path, change, says):
    pile, records, _ = square(make_dropped)
    with checkpoint(tmp_path / "a") as kept:
        solve(pile, records, checkpoint=kept)
    before = (tmp_path / "a").read_bytes()
    other = make_dropped(np.random.default_rng(2), blocks=6, width=16, hidden=16)
    pile = other.pile if "pile" in change else pile
    records = other.records if "record" in change else records
    options = {name: value for name, value in change.items() if name in ("seed", "rows")}
    with (
        pytest.raises(FileError, match=f"a: is the checkpoint of a search with {says}; "),
        checkpoint(tmp_path / "a") as kept,
    ):
        solve(pile, records, checkpoint=kept, **options)
    assert (tmp_path / "a").read_bytes() == before


def test_the_options_that_count_are_all_but_two(make_dropped, tmp_path):
    pile, records, _ = square(make_dropped)
    kept = Checkpoint(tmp_path / "a")
    solve(pile, records, checkpoint=kept)
    solve(pile, records, checkpoint=kept, time_limit=1e9, on_step=lambda _: None)
    for name, value in {
        "strategy": "classic",
        "signal": "trace",
        "matching": "greedy",
        "activation": "tanh",
        "placement": "ends",
        "rows": 5,
        "seed": 5,
    }.items():
        with pytest.raises(FileError, match="another set of options"):
            solve(pile, records, checkpoint=kept, **{name: value})


@pytest.fixture(scope="module")
def stored(make_dropped, tmp_path_factory):
    """What is solved, and the arrays of a checkpoint of it."""
    path = tmp_path_factory.mktemp("stored") / "a.npz"
    pile, records, options = wrong_record(make_dropped)
    cut_off(path, pile, records, options, 40)
    arrays = read_arrays(path)
    return pile, records, options, arrays


def test_a_forged_state_is_refused_or_leads_to_an_answer(stored, tmp_path):
    """Whatever a checkpoint holds, each piece is used once, or one line says what is wrong."""
    pile, records, options, arrays = stored
    rng = np.random.default_rng(5)
    said: list[str] = []

    def stop(trace):
        if len(trace) > 30:
            raise KeyboardInterrupt

    names = [name for name in arrays if arrays[name].dtype.kind in "if" and arrays[name].size]
    for _ in range(15):
        name = str(rng.choice(names))
        forged = arrays[name].copy()
        flat = forged.reshape(-1)
        match int(rng.integers(4)):
            case 0:
                flat[rng.integers(len(flat))] = rng.choice([-1, 0, 7, 2**31 - 1])
            case 1:
                forged = np.append(flat, flat[:1])
            case 2:
                forged = flat[:-1]
            case _:
                flat[:] = rng.permutation(flat)
        write_npz(tmp_path / "a.npz", arrays | {name: forged}, force=True)
        try:
            kept = Checkpoint(tmp_path / "a.npz")
            solution = solve(pile, records, checkpoint=kept, on_step=stop, **options)
            assert sorted(solution.permutation) == sorted(pile.ids)
        except FileError as error:
            said.append(str(error))
    assert len(said) > 5
    assert all(each.isprintable() and "remove it to begin anew" in each for each in said)


@pytest.mark.parametrize(
    "change",
    [
        {"key": {"a": "\u001b"}},
        {"seconds": -1.0},
        {"seconds": float("inf")},
        {"number": "x"},
        {"number": None},
        {"state": {"best": 1}},
        {"state": {"array": "no such array"}},
        {"state": {"array": []}},
        {"state": {"array": "0"}},
        {"steps": []},
        {"more": 1},
    ],
)
def test_values_that_make_no_checkpoint_are_refused(stored, tmp_path, change):
    values = json.loads(str(stored[-1]["values"])) | change
    write_npz(tmp_path / "a.npz", stored[-1] | {"values": np.array(json.dumps(values))})
    with pytest.raises(FileError, match=r"a\.npz.*remove it to begin anew"):
        Checkpoint(tmp_path / "a.npz")


@pytest.mark.parametrize("values", [np.array("[]"), np.array("{}"), np.array("{"), np.zeros(3)])
def test_arrays_that_make_no_checkpoint_are_refused(stored, tmp_path, values):
    write_npz(tmp_path / "a.npz", stored[-1] | {"values": values})
    with pytest.raises(FileError, match=r"a\.npz.*remove it to begin anew"):
        Checkpoint(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("place", "name", "number"),
    [
        *((("draws", "state"), "state", number) for number in (-1, 2**200, "x", None, [])),
        *((("best",), "alternative", number) for number in (-1, 99)),
    ],
)
def test_a_state_that_cannot_be_is_refused(stored, tmp_path, place, name, number):
    pile, records, options, arrays = stored
    values = json.loads(str(arrays["values"]))
    reduce(getitem, place, values["state"])[name] = number
    write_npz(tmp_path / "a.npz", arrays | {"values": np.array(json.dumps(values))})
    kept = Checkpoint(tmp_path / "a.npz")
    with pytest.raises(FileError, match=r"its state is of another search .*remove it to begin"):
        solve(pile, records, checkpoint=kept, **options)


def test_errors_beyond_all_numbers_come_back(make_dropped, tmp_path):
    """A network that overflows on most orders has infinite errors, which JSON does not have."""
    pile, records, _ = square(make_dropped)
    with checkpoint(tmp_path / "a") as kept:
        solve(pile, records, checkpoint=kept)
    values = read_arrays(tmp_path / "a")
    changed = json.loads(str(values["values"]))
    changed["state"]["best"]["error"] = changed["state"]["before"] = None
    write_npz(tmp_path / "a", values | {"values": np.array(json.dumps(changed))}, force=True)
    kept = Checkpoint(tmp_path / "a")._kept
    assert kept.state.best.error == kept.state.before == np.inf


def test_a_file_that_is_no_checkpoint_stays(make_dropped, tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("dear Mr. Schmidt")
    with pytest.raises(FileError, match=r"letter\.txt"), checkpoint(path):
        pytest.fail("the search has begun")
    assert path.read_text() == "dear Mr. Schmidt"


def test_a_checkpoint_that_cannot_be_written_costs_no_search(make_dropped, tmp_path, monkeypatch):
    """The disk is full all the time: the search ends as ever, and only then the file is missed."""
    pile, records, _ = square(make_dropped)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    kept = Checkpoint(tmp_path / "a", pause=0.0)
    assert solve(pile, records, checkpoint=kept).exact
    with pytest.raises(FileError, match=r"cannot be written \(No space left"):
        kept.write()
    assert [*tmp_path.iterdir()] == []


KILLED = """
import os, random, signal, sys
from unshuffle.commands import main
from unshuffle.solution import checkpointing

# A writing a round, so that few rounds are enough.
checkpointing.LEAST_SECONDS = 0.0
checkpointing.SHARE = 1e9
moment = random.Random(int(sys.argv[1]))
left = moment.randint(2, 5)
module, name = moment.choice([(os, "fsync"), (os, "replace"), (checkpointing.Checkpoint, "write")])
real = getattr(module, name)

def last(*args):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)

setattr(module, name, last)
sys.exit(main(sys.argv[2:]))
"""


def run(*command):
    # The colleagues' cores have no say in how often this runs, only in how long.
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def piles(example, make_dropped, tmp_path):
    """Pieces, record and options of solves that take some rounds."""
    case = make_dropped(np.random.default_rng(2), rows=1, blocks=8, width=8, hidden=12)
    write_network(tmp_path / "network.safetensors", case.network.tensors())

    def dropped(*damage):
        out, *rest = tmp_path / damage[0], "--format", "safetensors", "--seed", "4"
        model = str(tmp_path / "network.safetensors")
        assert main(["drop", model, "--records", "300", "--out", str(out), *rest, *damage]) == 0
        return out / "pieces", out / "record.csv"

    classic = ("--strategy", "classic", "--rows", 100)
    return {
        "classic": (example / "pieces", example / "record.csv", *classic),
        "lost": dropped("--lose", "1"),
        "scrambled": (*dropped("--scramble-hidden"), "--permuted-units"),
    }


@pytest.mark.parametrize(
    ("pile", "kills"),
    [
        ("lost", 2),
        pytest.param("classic", 3, marks=pytest.mark.slow),
        pytest.param("scrambled", 3, marks=pytest.mark.slow),
    ],
)
def test_kill_nine(piles, tmp_path: Path, pile, kills):
    """Killed in the middle of a round or of a writing, time and again, the same comes out."""
    solving = ("solve", *piles[pile], "--quiet")
    ends = run("-m", "unshuffle", *solving, "--out", tmp_path / "whole").returncode
    resumable = (*solving, "--checkpoint", tmp_path / "search.npz", "--out", tmp_path / "resumed")
    seen = []
    for seed in range(kills):
        killed = run("-c", KILLED, seed, *resumable)
        if killed.returncode == ends:  # it had fewer rounds left
            break
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        if (tmp_path / "search.npz").exists():
            seen.append(Checkpoint(tmp_path / "search.npz").seconds)
    assert seen == sorted(seen)
    assert seen or pile != "classic"
    assert run("-m", "unshuffle", *resumable, "--force").returncode == ends
    whole, resumed = (read_solution(tmp_path / name) for name in ("whole", "resumed"))
    assert_same(resumed, whole)
    assert (tmp_path / "resumed" / "network.safetensors").read_bytes() == (
        tmp_path / "whole" / "network.safetensors"
    ).read_bytes()
