"""The zoo trains what it lacks, keeps what it has, and goes on after an interruption."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from unshuffle.errors import UsageError
from unshuffle.files import read_network
from unshuffle.oracle.recipe import find_recipes, read_recipe
from unshuffle.oracle.zoo import grid, oracle_folder, train_zoo

from .conftest import run

pytest.importorskip("torch")

SLOW = """
summary = "Trains for longer than a test waits."
[network]
blocks = 3
width = 8
hidden = 12
[data]
kind = "bits"
rows = 300
[training]
optimiser = "adam"
learning_rate = 1e-3
epochs = {}
batch_rows = 16
"""


@pytest.fixture
def quick(tmp_path):
    """A recipe that trains at once."""
    path = tmp_path / "quick.toml"
    path.write_text(SLOW.format(2))
    return path


def here(function, items, _):
    """Train in this process: another one loads PyTorch for seconds."""
    for at, item in enumerate(items):
        yield at, function(item)


PROCESSES = "unshuffle.oracle.zoo.in_processes"


@pytest.fixture
def one_process(monkeypatch):
    monkeypatch.setattr(PROCESSES, here)


def hear_ctrl_c():
    """What is started in the background of a shell is deaf to Ctrl-C, its children too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def arrivals_of(recipes, zoo, **options):
    arrivals = []
    train_zoo(recipes, zoo, processes=2, on_arrival=arrivals.append, **options)
    return {(a.recipe.name, a.recipe.seed): a for a in arrivals}


def test_a_zoo_keeps_what_it_has_and_its_oracles_are_those_of_the_trainer(
    quick, tmp_path, monkeypatch
):
    from unshuffle.oracle.training import train

    recipes = grid([read_recipe(quick)], [0, 1])
    zoo = tmp_path / "zoo"
    with monkeypatch.context() as patch:
        patch.setattr(PROCESSES, here)
        first = arrivals_of(recipes[:1], zoo)
    assert first["quick", 0].remark.startswith("trained")
    second = arrivals_of(recipes, zoo)
    assert second["quick", 0].remark == "kept"
    assert second["quick", 1].remark.startswith("trained")
    for recipe in recipes:
        found = read_network(oracle_folder(zoo, recipe) / "network.safetensors")
        expected = train(recipe).network
        for one, other in zip(found.layers(), expected.layers(), strict=True):
            assert one.weight.tobytes() == other.weight.tobytes()


@pytest.mark.usefixtures("one_process")
def test_a_changed_recipe_is_another_oracle_and_a_renamed_one_is_not(quick, tmp_path):
    recipe = read_recipe(quick)
    zoo = tmp_path / "zoo"
    arrivals_of([recipe], zoo)
    renamed = quick.rename(tmp_path / "renamed.toml")
    assert arrivals_of([read_recipe(renamed)], zoo)["renamed", 0].remark == "kept"
    renamed.write_text(SLOW.format(3))
    changed = arrivals_of([read_recipe(renamed)], zoo)
    assert changed["renamed", 0].remark.startswith("trained")


def test_one_failure_costs_one_oracle(quick, tmp_path):
    wild = tmp_path / "wild.toml"
    text = SLOW.format(2).replace('"adam"', '"sgd"').replace("1e-3", "1e9")
    wild.write_text(text)
    zoo = tmp_path / "zoo"
    result = run("oracle", "zoo", wild, quick, "--zoo", zoo, "--quiet", "--processes", 1)
    assert result.returncode == 3
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"wild  seed 0  UsageError: .*the loss is (nan|inf) .*", lines[0])
    assert re.fullmatch(r"quick  seed 0  trained in .* s  .*", lines[1])
    assert not (oracle_folder(zoo, read_recipe(wild)) / "oracle.json").exists()


def test_an_interrupted_run_goes_on_where_it_stopped(quick, tmp_path):
    slow = tmp_path / "slow.toml"
    slow.write_text(SLOW.format(100_000))
    zoo = tmp_path / "zoo"
    command = ["oracle", "zoo", quick, slow, "--zoo", zoo, "--processes", 1]
    process = subprocess.Popen(
        [sys.executable, "-m", "unshuffle", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509
        start_new_session=True,
    )
    try:
        assert "oracle 1 of 2: quick, seed 0, trained" in process.stderr.readline()
        checkpoint = oracle_folder(zoo, read_recipe(slow)) / "checkpoint.safetensors"
        deadline = time.monotonic() + 30
        while not checkpoint.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
        stdout, stderr = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, stdout) == (130, "")
    assert "interrupted with 1 of 2" in stderr
    assert "Traceback" not in stderr
    assert checkpoint.exists()
    result = run("oracle", "zoo", quick, "--zoo", zoo)
    assert "kept" in result.stdout


@pytest.mark.usefixtures("one_process")
def test_what_was_under_way_goes_on_from_its_checkpoint(quick, tmp_path):
    from unshuffle.oracle.training import TrainingState, read_checkpoint, train, write_checkpoint

    recipe, zoo = read_recipe(quick), tmp_path / "zoo"
    folder = oracle_folder(zoo, recipe)
    folder.mkdir(parents=True)
    checkpoint = folder / "checkpoint.safetensors"
    train(recipe, checkpoint=checkpoint)  # leaves the state after the first epoch
    state = read_checkpoint(checkpoint, recipe.key())
    marked = TrainingState(state.weights, state.moments, state.losses, seconds=1e6)
    write_checkpoint(checkpoint, marked, recipe.key())
    arrivals_of([recipe], zoo)
    assert json.loads((folder / "oracle.json").read_text())["seconds"] > 1e6
    assert not checkpoint.exists()


@pytest.mark.usefixtures("one_process")
def test_a_cluster_trains_the_same_oracles(quick, tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    recipes = grid([read_recipe(quick)], [0, 1, 2])
    here, there = tmp_path / "here", tmp_path / "there"
    arrivals_of(recipes, here)
    options = {"processes": False, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=3, **options) as cluster:
        address = cluster.scheduler_address
        arrived = arrivals_of(recipes, there, scheduler=address)
    assert len(arrived) == 3
    assert not any(arrival.failed for arrival in arrived.values())
    for recipe in recipes:
        one, other = (oracle_folder(zoo, recipe) / "network.safetensors" for zoo in (here, there))
        assert one.read_bytes() == other.read_bytes()


def test_a_scheduler_that_does_not_answer_is_a_mistake(quick, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    monkeypatch.setattr("unshuffle.oracle.workers.SECONDS_TO_CONNECT", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(UsageError, match="no Dask scheduler answers"):
            arrivals_of([read_recipe(quick)], tmp_path / "zoo", scheduler=address)


def test_without_dask_the_extra_is_named(quick, tmp_path):
    code = f"""
import sys
sys.modules["distributed"] = None  # importing it raises ImportError
from unshuffle.commands import main
zoo = ["oracle", "zoo", {str(quick)!r}, "--zoo", {str(tmp_path / "zoo")!r}]
assert main([*zoo, "--scheduler", "tcp://127.0.0.1:9"]) == 2
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'unshuffle[dask]'" in done.stderr


@pytest.fixture(scope="module")
def slice_of_the_zoo(tmp_path_factory):
    """The zoo's small slice, trained."""
    zoo = tmp_path_factory.mktemp("slice")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PROCESSES, here)
        result = run("oracle", "zoo", "tiny-*", "--zoo", zoo)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(result.stdout.splitlines()) == len(find_recipes(["tiny-*"]))
    return zoo


def test_the_slice_is_evaluated_failures_and_all(slice_of_the_zoo, tmp_path):
    from unshuffle.grouping import SIGNALS
    from unshuffle.grouping.matching import MATCHINGS
    from unshuffle.ordering.seeds import SEEDS
    from unshuffle.solution.options import STRATEGIES

    out = tmp_path / "out"
    command = ("oracle", "evaluate", "tiny-*", "--zoo", slice_of_the_zoo)
    result = run(*command, "--out", out, "--records", 200, "--time-limit", 1)
    assert result.returncode == 0, result.stderr
    recipes = find_recipes(["tiny-*"])
    found = json.loads((out / "scores.json").read_text())
    methods = (1 + len(SIGNALS)) * len(MATCHINGS) + len(SEEDS) + len(STRATEGIES)
    assert len(found["scores"]) == len(recipes) * methods
    assert len(found["summaries"]) == len(recipes) * methods
    assert len((out / "scores.csv").read_text().splitlines()) == 1 + len(recipes) * methods
    assert {score["exact"] for score in found["scores"]} == {True, False}
    for score in found["scores"]:
        assert score["kind"] == "seed" or score["pairs"] <= score["blocks"]
        if score["kind"] == "strategy":
            assert score["exact"] == (score["remark"] == "exact")
            assert 0 < score["rows"] <= 200
            assert score["error"] is not None
        elif score["kind"] == "seed":
            assert score["exact"] == (score["inversions"] == 0)
            assert score["pairs"] is None
        else:
            assert score["exact"] == (score["pairs"] == score["blocks"])
            assert score["error"] is None
    text = result.stdout
    assert "Pairs recovered, optimal matching" in text
    assert "Pairs recovered, greedy matching" in text
    assert "Couples of blocks that a seed puts in the wrong order" in text
    assert "Networks put back together" in text
    assert "local optimum" in text
    assert all(recipe.name in text for recipe in recipes)
    markdown = (out / "scores.md").read_text()
    assert markdown.count("\n| tiny-adam |") == len(MATCHINGS) + 1 + len(STRATEGIES)
    assert found["conditions"]["records"] == 200
    again = run(*command, "--out", out)
    assert again.returncode == 2
    assert "scores.csv" in again.stderr


def test_evaluating_what_is_not_there_is_a_mistake(slice_of_the_zoo, tmp_path):
    for options, part in (
        (("--zoo", tmp_path), "tiny-adam with seed 0"),
        (("--zoo", slice_of_the_zoo, "--seeds", "7"), "tiny-adam with seed 7"),
        (("--zoo", slice_of_the_zoo, "--only", "nothing*"), "trace, optimal"),
        (("--zoo", slice_of_the_zoo, "--only", "trase*"), "did you mean trace*?"),
    ):
        result = run("oracle", "evaluate", "tiny-adam", *options)
        assert (result.returncode, result.stdout) == (2, "")
        assert part in result.stderr
        assert result.stderr.count("\n") == 1
