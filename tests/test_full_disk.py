"""Where nothing can be written, or what is read goes away: one line, and nothing by halves."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unshuffle import read_pile, read_records, solve, write_solution
from unshuffle.errors import FileError
from unshuffle.files import opening, write_files, write_network, write_records

FULL = """
import resource, signal, sys
from unshuffle.commands import main

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python has it; a write fails with EFBIG
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def run(*command, **options):
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False, **options
    )


@pytest.fixture(scope="module")
def small(make_dropped, tmp_path_factory) -> tuple[Path, Path]:
    """Pieces and record of a network that is solved at once."""
    case = make_dropped(np.random.default_rng(3), blocks=5, width=16, hidden=24)
    folder = tmp_path_factory.mktemp("small")
    (folder / "pieces").mkdir()
    for piece in case.pile:
        tensors = {"weight": piece.weight, "bias": piece.bias}
        write_network(folder / "pieces" / f"piece_{piece.id}.safetensors", tensors)
    write_records(folder / "record.csv", case.records)
    return folder / "pieces", folder / "record.csv"


@pytest.mark.parametrize("room", [0, 5_000, 15_000])
def test_a_folder_with_room_for_some_of_the_files(small, tmp_path: Path, room: int):
    """The network is larger than each of these; the answer would have fit into the second."""
    out = tmp_path / "out"
    solving = ("solve", *small, "--quiet", "--out", out)
    result = run("-c", FULL, room, *solving, "--checkpoint", tmp_path / "search.npz")
    assert result.returncode == 2
    assert result.stdout.startswith("exact")  # what was found is said all the same
    assert result.stderr.count("\n") == 1
    assert "cannot be written (File too large)" in result.stderr
    assert not out.exists()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert run("-m", "unshuffle", *solving).returncode == 0


@pytest.mark.parametrize("room", [0, 3_000, 9_000])
def test_a_drop_that_does_not_fit_leaves_nothing_behind(small, tmp_path: Path, room: int):
    """The record is larger than each of these; all pieces would have fit into the last."""
    out = tmp_path / "out"
    assert run("-m", "unshuffle", "solve", *small, "--quiet", "--out", tmp_path / "kept").stdout
    model = tmp_path / "kept" / "network.safetensors"
    dropping = (
        "drop",
        model,
        "--records",
        500,
        "--seed",
        3,
        "--format",
        "safetensors",
        "--out",
        out,
    )
    result = run("-c", FULL, room, *dropping)
    assert result.returncode == 2
    assert "what was there stays; make room, or choose another path" in result.stderr
    assert not out.exists()
    assert run("-m", "unshuffle", *dropping).returncode == 0


def test_the_folder_of_a_checkpoint_is_made(small, tmp_path: Path):
    kept = tmp_path / "none" / "c.npz"
    result = run("-m", "unshuffle", "solve", *small, "--quiet", "--checkpoint", kept)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("quiet", [(), ("--json",)])
def test_a_full_standard_output_is_one_line(small, quiet):
    solving = ("solve", *small, *quiet)
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "unshuffle", *map(str, solving)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert result.returncode == 2
        assert result.stderr.splitlines()[-1] == (
            "unshuffle: the output cannot be written (No space left on device)"
        )
        assert "Traceback" not in result.stderr
        result = subprocess.run(
            [sys.executable, "-m", "unshuffle", *map(str, solving)],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=False,
        )
    assert result.returncode == 0  # progress that nobody sees costs nothing
    assert "exact" in result.stdout


@pytest.mark.parametrize("option", ["--out", "--report", "--checkpoint"])
def test_a_folder_that_may_not_be_written_into(example: Path, tmp_path: Path, option: str):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("whoever runs this may write anywhere, as root does")
    solving = ("solve", example / "pieces", example / "record.csv", option, tmp_path / "a" / "b")
    result = run("-m", "unshuffle", *solving)
    assert result.returncode == 2
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert "Permission denied" in result.stderr


@pytest.mark.parametrize("option", ["--out", "--report", "--checkpoint"])
def test_a_folder_below_a_file(example: Path, option: str):
    path = example / "record.csv" / "a"
    result = run(
        "-m", "unshuffle", "solve", example / "pieces", example / "record.csv", option, path
    )
    assert result.returncode == 2
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert "is a file, not a folder" in result.stderr


def test_files_that_belong_together_are_written_together(tmp_path, monkeypatch):
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    (tmp_path / "b").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"b: cannot be written .No space"):
        write_files({tmp_path / "a": b"1", tmp_path / "b": b"2"}, force=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"b": b"old"}


def test_a_solution_replaces_another_only_as_a_whole(dropped, tmp_path, monkeypatch):
    old, new = (solve(case.pile, case.records) for case in (dropped(blocks=2), dropped(blocks=3)))
    write_solution(old, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(FileError, match="No space left"):
        write_solution(new, tmp_path, force=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["piece_3.npz", "record.npz"])
@pytest.mark.parametrize("fate", ["gone", "shorter", "longer", "unreadable", "a folder"])
def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, name, fate):
    """Listed, or opened, and then it is not what it was."""
    for n in range(5):
        np.savez(tmp_path / f"piece_{n}.npz", weight=np.ones((3, 2)), bias=np.ones(3))
    np.savez(tmp_path / "record.npz", a=np.ones(9), pred=np.ones(9))
    path, real = tmp_path / name, os.open

    def change(opened, flags, *rest, **options):
        if os.fspath(opened) != os.fspath(path):
            return real(opened, flags, *rest, **options)
        if fate in ("gone", "a folder"):
            path.unlink()
        if fate == "a folder":
            path.mkdir()
        if fate == "unreadable":
            raise OSError(5, "Input/output error")
        descriptor = real(opened, flags, *rest, **options)
        if fate == "longer":
            changed_after(path.read_bytes() + b"more")
        if fate == "shorter":
            changed_after(path.read_bytes()[:-9])
        return descriptor

    def changed_after(content):
        status = os.fstat

        def later(descriptor):
            found = status(descriptor)
            path.write_bytes(content)
            monkeypatch.setattr(opening.os, "fstat", status)
            return found

        monkeypatch.setattr(opening.os, "fstat", later)

    monkeypatch.setattr(opening.os, "open", change)
    read = read_records if name == "record.npz" else read_pile
    with pytest.raises(FileError) as caught:
        read(path if name == "record.npz" else tmp_path)
    message = str(caught.value)
    assert message.isprintable()
    assert name in message
