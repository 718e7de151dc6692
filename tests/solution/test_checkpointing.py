"""A search that is cut off goes on where it was, and ends where it would have."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import unshuffle.solution.checkpointing
from unshuffle import Outcome, Pile, Records, checkpoint, read_solution, solve
from unshuffle.commands import main
from unshuffle.errors import FileError
from unshuffle.files import write_network, write_npz
from unshuffle.oracle.dropping import Hardening, drop
from unshuffle.ordering import descent
from unshuffle.ordering.journal import Entry, Journal
from unshuffle.solution.checkpointing import read_checkpoint, write_checkpoint


def wrong_record(make):
    """Populations, restarts and other blocks: no order of these pieces reproduces the record."""
    case, other = (make(np.random.default_rng(n), rows=100, blocks=2) for n in (2, 3))
    return case.pile, other.records, {}


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
    "a lost layer": (a_lost_layer, {"gaps", "around", "estimate", "descent"}),
    "standardised": (standardised, {"descent"}),
}


@pytest.fixture(scope="module", params=CASES)
def whole(request, make_dropped):
    """What is solved, the solution of a search that nothing cut off, and its journal."""
    make, phases = CASES[request.param]
    pile, records, options = make(make_dropped)
    journal = Journal()
    met: set[str] = set()

    def meet(trace):
        met.add(trace.steps[-1].phase)

    solution = solve(pile, records, journal=journal, on_step=meet, **options)
    assert phases <= met
    assert len(journal.entries) > 3
    return pile, records, options, solution, journal


def assert_same(one, other):
    """The same but for the seconds."""
    facts = [solution.summary() | {"seconds": None} for solution in (one, other)]
    assert facts[0] == facts[1]
    traces = [solution.trace.arrays() | {"seconds": np.empty(0)} for solution in (one, other)]
    for name, values in traces[0].items():
        np.testing.assert_array_equal(values, traces[1][name])
    for name, values in one.network.tensors().items():
        np.testing.assert_array_equal(values, other.network.tensors()[name])


def test_from_wherever_it_was_cut_off(whole, tmp_path):
    pile, records, options, solution, journal = whole
    rounds = len(journal.entries)
    for done in sorted({1, rounds // 2, rounds - 1}):
        path = tmp_path / f"{done}.npz"
        part = Journal(journal.entries[:done], journal.key)
        write_checkpoint(path, part)
        with checkpoint(path) as resumed:
            assert_same(solve(pile, records, journal=resumed, **options), solution)
        for mine, theirs in zip(read_checkpoint(path).entries, journal.entries, strict=True):
            np.testing.assert_array_equal(mine.numbers, theirs.numbers)
            np.testing.assert_array_equal(mine.errors, theirs.errors)


def test_what_is_written_down_is_not_worked_out_again(make_dropped, monkeypatch):
    pile, records, _ = square(make_dropped)
    journal = Journal()
    solution = solve(pile, records, journal=journal)

    def worked(*_, **__):
        raise AssertionError("worked out")

    monkeypatch.setattr(descent, "_round", worked)
    assert_same(solve(pile, records, journal=journal), solution)
    with pytest.raises(AssertionError, match="worked out"):
        solve(pile, records)


def test_a_time_limit_counts_the_seconds_before(make_dropped, monkeypatch):
    pile, records, _ = wrong_record(make_dropped)
    journal = Journal()
    scaled: list[object] = []
    monkeypatch.setattr(
        "unshuffle.repair.scaled_inputs.solve_scaled", lambda *given: scaled.append(given)
    )
    solve(pile, records, journal=journal)
    assert len(scaled) == 1
    rounds = len(journal.entries)
    for n, entry in enumerate(journal.entries):
        journal.entries[n] = replace(entry, seconds=10.0 * (n + 1))
    quarter = rounds // 4  # which is in the first of its searches
    solution = solve(pile, records, journal=journal, time_limit=10.0 * quarter)
    assert solution.outcome is Outcome.BUDGET_SPENT
    # Steps that judge one run are no rounds of the journal and take the second of the one before.
    assert {*solution.trace.seconds} <= {10.0 * (n + 1) for n in range(quarter)}
    assert solution.trace.seconds[-1] == 10.0 * quarter
    # Whichever search is cut off, none is begun after it, which would ask for other rounds.
    for done in (rounds // 2, rounds - 5):
        solution = solve(pile, records, journal=journal, time_limit=10.0 * done)
        assert solution.outcome is Outcome.BUDGET_SPENT
    assert len(scaled) == 1
    assert solve(pile, records, journal=journal, time_limit=1e9).outcome is Outcome.LOCAL_OPTIMUM


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
    with checkpoint(tmp_path / "a") as journal:
        solve(pile, records, journal=journal)
    before = (tmp_path / "a").read_bytes()
    other = make_dropped(np.random.default_rng(2), blocks=6, width=16, hidden=16)
    pile = other.pile if "pile" in change else pile
    records = other.records if "record" in change else records
    options = {name: value for name, value in change.items() if name in ("seed", "rows")}
    with (
        pytest.raises(FileError, match=f"a: is the checkpoint of a search with {says}; "),
        checkpoint(tmp_path / "a") as journal,
    ):
        solve(pile, records, journal=journal, **options)
    assert (tmp_path / "a").read_bytes() == before


def test_the_options_that_count_are_all_but_three(make_dropped):
    pile, records, _ = square(make_dropped)
    journal = Journal()
    solve(pile, records, journal=journal)
    solve(pile, records, journal=journal, time_limit=1e9, on_step=lambda _: None)
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
            solve(pile, records, journal=journal, **{name: value})


def test_forged_rounds_are_refused_or_lead_to_an_answer(whole):
    """Whatever a checkpoint holds, each piece is used once, or one line says what is wrong."""
    pile, records, options, _, journal = whole
    rng = np.random.default_rng(5)
    refused = 0

    def stop(trace):
        if len(trace) > 12:
            raise KeyboardInterrupt

    for _ in range(15):
        entries = journal.entries[: int(rng.integers(1, 12))]
        entry = entries[-1]
        numbers, errors = entry.numbers.copy(), entry.errors.copy()
        match int(rng.integers(5)):
            case 0 if len(numbers):
                numbers[rng.integers(len(numbers))] = rng.choice([-1, 0, 7, 2**31 - 1])
            case 1:
                numbers = np.append(numbers, np.int32(1))
            case 2:
                errors = errors[:-1]
            case 3:
                errors = rng.choice([0.0, np.inf, 1e-300, 3.0], len(errors))
            case _:
                numbers = rng.permutation(numbers)
        forged = Journal([*entries[:-1], Entry(numbers, errors, entry.seconds)], journal.key)
        said = ""
        try:
            solution = solve(pile, records, journal=forged, on_step=stop, **options)
            assert len({*solution.permutation}) == len(solution.permutation)
            estimated = () if solution.findings is None else solution.findings.stand_ins
            assert {*solution.permutation} <= {*pile.ids, *estimated}
        except FileError as error:
            said, refused = str(error), refused + 1
        assert not said or (said.isprintable() and "remove it to begin anew" in said)
    assert refused > 1


@pytest.mark.parametrize(
    "change",
    [
        {"number": np.zeros(3, np.int64)},
        {"errors": np.array([-1, 1])},
        {"numbers": np.array([2**60, 1 - 2**60])},
        {"error": np.array([np.nan])},
        {"error": np.array([-1.0])},
        {"seconds": np.array([2.0, 1.0])},
        {"seconds": np.array([1.0, np.inf])},
        {"seconds": np.array([1.0])},
        {"of": np.array(["\x1b[2J"])},
        {"part": np.array(["a", "b"])},
        {"error": np.zeros((1, 1))},
    ],
)
def test_arrays_that_make_no_checkpoint_are_refused(tmp_path, change):
    path = tmp_path / "a.npz"
    sound = {
        "part": np.array(["a"]),
        "of": np.array(["b"]),
        "number": np.zeros(1, np.int32),
        "numbers": np.array([1, 0]),
        "error": np.array([0.5]),
        "errors": np.array([0, 1]),
        "seconds": np.array([1.0, 2.0]),
    }
    write_npz(path, sound)
    assert len(read_checkpoint(path).entries) == 2
    write_npz(path, sound | change, force=True)
    with pytest.raises(FileError, match=r"a\.npz.*remove it to begin anew"):
        read_checkpoint(path)


def test_a_file_that_is_no_checkpoint_stays(make_dropped, tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("dear Mr. Schmidt")
    with pytest.raises(FileError, match=r"letter\.txt"), checkpoint(path):
        pytest.fail("the search has begun")
    assert path.read_text() == "dear Mr. Schmidt"


def test_a_checkpoint_that_cannot_be_written_costs_no_search(make_dropped, tmp_path, monkeypatch):
    """The disk is full all the time: the search ends as ever, and only then the file is missed."""
    pile, records, _ = square(make_dropped)
    monkeypatch.setattr(unshuffle.solution.checkpointing, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    solution = None
    with (
        pytest.raises(FileError, match=r"cannot be written \(No space left"),
        checkpoint(tmp_path / "a") as journal,
    ):
        solution = solve(pile, records, journal=journal)
    assert solution.exact
    assert [*tmp_path.iterdir()] == []


def test_an_interrupt_keeps_the_rounds(make_dropped, tmp_path):
    pile, records, options = classic(make_dropped)
    whole = solve(pile, records, **options)

    def interrupt(trace):
        if len(trace) == 10:
            raise KeyboardInterrupt

    with checkpoint(tmp_path / "a") as journal:
        stopped = solve(pile, records, journal=journal, on_step=interrupt, **options)
    assert stopped.outcome is Outcome.INTERRUPTED
    assert 10 <= len(read_checkpoint(tmp_path / "a").entries) < len(whole.trace)
    with checkpoint(tmp_path / "a") as journal:
        assert_same(solve(pile, records, journal=journal, **options), whole)


KILLED = """
import os, random, signal, sys
import unshuffle.solution.checkpointing
from unshuffle.commands import main
from unshuffle.ordering.journal import Journal

# A writing a round, so that few rounds are enough.
unshuffle.solution.checkpointing.LEAST_SECONDS = 0.0
unshuffle.solution.checkpointing.SHARE = 1e9
moment = random.Random(int(sys.argv[1]))
left = moment.randint(2, 5)
module, name = moment.choice([(os, "fsync"), (os, "replace"), (Journal, "keep")])
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
            seen.append(len(read_checkpoint(tmp_path / "search.npz").entries))
    assert seen == sorted(seen)
    assert seen
    assert run("-m", "unshuffle", *resumable, "--force").returncode == ends
    whole, resumed = (read_solution(tmp_path / name) for name in ("whole", "resumed"))
    assert_same(resumed, whole)
    assert (tmp_path / "resumed" / "network.safetensors").read_bytes() == (
        tmp_path / "whole" / "network.safetensors"
    ).read_bytes()
