"""Every reader on mutated files: few of them here, ten thousand each with benchmarks/fuzz.py."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from unshuffle.errors import UnshuffleError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

NAMES = [
    *(f"{what}{kind}" for what in ("pile", "network") for kind in (".pth", ".safetensors", ".npz")),
    *(f"pile/{kind}" for kind in ("legacy", "module", "checkpoint", "pickled", "objects", "rows")),
    *(f"pile/{kind}" for kind in ("arrays", "script", "frozen", "exported", "normed", "zipped")),
    *(f"record{kind}" for kind in (".csv", ".csv.gz", ".tsv", ".npz", ".parquet")),
    *(f"record{kind}" for kind in (".txt", ".json", ".zip", ".pt", ".pkl")),
    *(f"solution/{name}" for name in ("solution.json", "network.safetensors")),
    *(f"solution/{name}" for name in ("evidence.npz", "trace.npz")),
    *("answer", "checkpoint", "recipe", "story", "pickle", "training"),
    *("experiment", "ledger.jsonl", "ledger.sqlite"),
]

MUTANTS = 60


@pytest.fixture(scope="module")
def modules():
    """The benchmarks' modules."""
    pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import fuzz
        import targets

        yield fuzz, targets
        for name in ("fuzz", "targets"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readers")


@pytest.fixture(scope="module")
def targets(modules, folder):
    return modules[1].make_targets(folder)


@pytest.fixture(scope="module")
def guard(modules, folder):
    return modules[0].Guard(folder)


def mutated(content: bytes, dice: random.Random) -> bytes:
    """Bytes changed, doubled, taken out, or turned into a number that matters."""
    mutant = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(mutant) + 1)
        match dice.randrange(4):
            case 0:
                mutant[at : at + 1] = dice.randbytes(1)
            case 1:
                mutant[at:at] = mutant[at : at + dice.randint(1, 30)] * dice.randint(1, 3)
            case 2:
                del mutant[at : at + dice.randint(1, 30)]
            case _:
                number = dice.choice([0, 1, 127, 255, 2**31 - 1, 2**32 - 1, 2**63])
                mutant[at : at + 4] = number.to_bytes(8, "little")[: dice.choice([1, 2, 4, 8])]
    return bytes(mutant)


def test_the_readers_are_these(targets):
    assert sorted(targets) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_mutated_files_do_no_harm(modules, targets, guard, folder, name):
    target, dice = targets[name], random.Random(name)
    path = folder / target.name
    for content in target.sound:
        path.write_bytes(content)
        target.read(path)
    refused = 0
    for n in range(MUTANTS):
        content = dice.choice(target.sound)
        inner = modules[1].inner(content, n) if n % 2 else None
        if inner is None:
            path.write_bytes(mutated(content, dice))
        else:
            part, repack = inner
            path.write_bytes(repack(mutated(part, dice)))
        said = ""
        with guard:
            try:
                target.read(path)
            except UnshuffleError as error:
                said = str(error)
        assert not said or (said.isprintable() and len(said) < 1_000)
        refused += bool(said)
        assert not guard.seen
    path.write_bytes(target.sound[0])
    assert refused > MUTANTS // 10


def test_the_guard_sees_what_no_reader_may_do(modules, guard, tmp_path):
    (tmp_path / "other").write_bytes(b"")
    for deed in (
        (tmp_path / "other").read_bytes,
        lambda: (tmp_path / "new").write_bytes(b""),
        lambda: os.remove(tmp_path / "other"),
        lambda: subprocess.run(["true"], check=True),
    ):
        with guard:
            deed()
        with pytest.raises(AssertionError, match=r"other|new|true"):
            guard.check()
        guard.seen.clear()
    with guard:
        pass
    guard.slowest = 0.0
    assert not guard.seen
