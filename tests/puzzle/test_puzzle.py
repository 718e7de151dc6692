"""The published puzzle, through the real command line."""

import json
import os
import subprocess
import sys

import pytest

from unshuffle.files import read_pile, write_network

PUBLISHED = "093be1cf2d24094db903cbc3e8d33d306ebca49c6accaa264e44b0b675e7d9c4"


def run(*args):
    command = [sys.executable, "-m", "unshuffle", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def converted(puzzle, folder, kind):
    """The puzzle's pieces under other names, in another sequence, or in another format."""
    if kind == "as published":
        return puzzle / "pieces"
    folder.mkdir()
    if kind == "renamed":
        for file in sorted((puzzle / "pieces").iterdir(), reverse=True):
            number = int(file.stem.removeprefix("piece_"))
            os.symlink(file, folder / f"layer-{number}.pth")
        return folder
    pile = read_pile(puzzle / "pieces")
    for piece in pile:
        path = folder / f"{piece.id}.{kind}"
        write_network(path, {"weight": piece.weight, "bias": piece.bias})
    return folder


@pytest.mark.slow
@pytest.mark.study
def test_classic_finds_the_published_answer(puzzle):
    record = puzzle / "historical_data.csv"
    result = run("solve", puzzle / "pieces", record, "--strategy", "classic", "--json")
    assert result.returncode == 0, result.stderr
    solution = json.loads(result.stdout)
    assert solution["sha256"] == PUBLISHED
    assert solution["rows"] == 10_000
    assert solution["mse"] < 1e-12
    assert solution["max_abs_error"] < 1e-5


@pytest.mark.parametrize("kind", ["as published", "renamed", "safetensors", "npz"])
def test_auto_finds_the_published_answer(puzzle, tmp_path, kind):
    pieces = converted(puzzle, tmp_path / "pieces", kind)
    result = run("solve", pieces, puzzle / "historical_data.csv", "--json")
    assert result.returncode == 0, result.stderr
    solution = json.loads(result.stdout)
    assert solution["sha256"] == PUBLISHED
    assert solution["activation"] == "relu"
    assert solution["rows"] == 10_000
    assert solution["max_abs_error"] < 1e-5


@pytest.mark.parametrize("matching", ["optimal", "greedy"])
@pytest.mark.parametrize("signal", ["trace", "ratio"])
def test_both_signals_and_matchings_agree(puzzle, signal, matching):
    result = run("pair", puzzle / "pieces", "--signal", signal, "--matching", matching, "--json")
    assert result.returncode == 0, result.stderr
    pairing = json.loads(result.stdout)
    assert len(pairing["pairs"]) == 48
    assert pairing["last"] == 85
    assert min(pair["margin"] for pair in pairing["pairs"]) > 5
    reference = json.loads(run("pair", puzzle / "pieces", "--json").stdout)  # fused
    assert [(p["inp"], p["out"]) for p in pairing["pairs"]] == [
        (p["inp"], p["out"]) for p in reference["pairs"]
    ]


def test_inspect_knows_the_puzzle(puzzle):
    result = run("inspect", puzzle / "pieces", puzzle / "historical_data.csv")
    assert result.returncode == 0
    assert "network: 48 blocks 48 → 96 → 48, last layer 48 → 1" in result.stdout
    assert "record: 10000 rows of 48 inputs, 10000 with 1 prediction, with targets" in result.stdout


def test_its_pictures_are_drawn(puzzle, tmp_path):
    pytest.importorskip("matplotlib")
    record, kept = puzzle / "historical_data.csv", tmp_path / "run"
    assert run("solve", puzzle / "pieces", record, "--quiet", "--out", kept).returncode == 0
    result = run("plot", "all", kept, record, "--out", tmp_path / "figures")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(list((tmp_path / "figures").iterdir())) == 16
    result = run("animate", kept, "--quiet", "--out", tmp_path / "search.gif")
    assert (result.returncode, result.stderr) == (0, "")
