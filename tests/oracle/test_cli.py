"""`unshuffle oracle train` and `unshuffle drop`, run as a user runs them."""

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys

import numpy as np
import pytest

from unshuffle.files import read_pile, read_records, write_network

from .conftest import run

pytest.importorskip("torch")

SMALL = """
summary = "A test."
[network]
blocks = 3
width = 12
hidden = 20
activation = "tanh"
[data]
kind = "bits"
rows = 300
[training]
optimiser = "adam"
learning_rate = 1e-3
epochs = 3
batch_rows = 32
"""


def hear_ctrl_c():
    """What is started in the background of a shell is deaf to Ctrl-C, its children too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def assert_mistake(result, *parts):
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("unshuffle: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert str(part) in result.stderr


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def oracle(recipe):
    """The folder of a trained oracle."""
    folder = recipe.parent / "oracle"
    result = run("oracle", "train", recipe, "--out", folder)
    assert result.returncode == 0, result.stderr
    assert "Network(3 × [12 → 20 tanh → 12], last 12 → 1, float32)" in result.stdout
    assert "epoch 1 of 3: loss" in result.stderr
    assert "epoch 3 of 3: loss" in result.stderr
    assert "\x1b" not in result.stderr
    return folder


def test_training_leaves_an_oracle_and_overwrites_none(oracle, recipe, tmp_path):
    names = ["data.npz", "network.safetensors", "oracle.json"]
    assert sorted(path.name for path in oracle.iterdir()) == names
    story = json.loads((oracle / "oracle.json").read_text())
    assert story["recipe"] == "small"
    assert len(story["losses"]) == 3
    assert_mistake(run("oracle", "train", recipe, "--out", oracle), oracle, "--force")
    before = (oracle / "network.safetensors").read_bytes()
    again = run("oracle", "train", recipe, "--out", oracle, "--force", "--quiet")
    assert (again.returncode, again.stderr) == (0, "")
    other = run("oracle", "train", recipe, "--out", tmp_path, "--seed", 1, "--quiet")
    assert other.returncode == 0
    assert (oracle / "network.safetensors").read_bytes() == before
    assert (tmp_path / "network.safetensors").read_bytes() != before


def test_ctrl_c_keeps_a_checkpoint_from_which_the_same_command_goes_on(recipe, tmp_path):
    text = SMALL.replace("epochs = 3", "epochs = 60")
    longer = tmp_path / "longer.toml"
    longer.write_text(text)
    command = ["oracle", "train", longer, "--out", tmp_path / "out"]
    whole = run("oracle", "train", longer, "--out", tmp_path / "whole", "--quiet")
    assert whole.returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "unshuffle", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509
    )
    assert "epoch 1 of 60" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert "interrupted" in stderr
    assert "goes on" in stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint.safetensors"]
    result = run(*command)
    assert result.returncode == 0, result.stderr
    assert "epoch 1 of 60" not in result.stderr
    names = ["data.npz", "network.safetensors", "oracle.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    one, other = (tmp_path / f / "network.safetensors" for f in ("out", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_a_terminal_gets_a_bar(recipe, tmp_path):
    leader, follower = pty.openpty()
    command = ["oracle", "train", str(recipe), "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "unshuffle", *command],
        stdout=subprocess.DEVNULL,
        stderr=follower,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    os.close(leader)
    assert process.wait(timeout=60) == 0
    assert b"\x1b[" in seen
    assert b"epoch 3 of 3" in seen


@pytest.mark.parametrize("pieces", ["pth", "safetensors"])
def test_drop_then_verify_with_the_sealed_answer(oracle, tmp_path, pieces):
    out = tmp_path / "dropped"
    command = ("drop", oracle, "--records", 100, "--out", out, "--seed", 3, "--format", pieces)
    result = run(*command)
    assert result.returncode == 0, result.stderr
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "answer.sha256",
        "manifest.json",
        *(f"pieces/piece_{n}.{pieces}" for n in range(7)),
        "record.csv",
        "sealed/answer.txt",
        "sealed/drop.json",
    ]
    from unshuffle.solution.checking import verify

    answer = (out / "sealed" / "answer.txt").read_text().strip()
    assert (out / "answer.sha256").read_text().strip() == hashlib.sha256(
        answer.encode()
    ).hexdigest()
    secrets = json.loads((out / "sealed" / "drop.json").read_text())
    assert secrets == {"seed": 3, "activation": "tanh", "decoys": [], "copies": []}
    pile, records = read_pile(out / "pieces"), read_records(out / "record.csv")
    assert len(records) == 100
    assert records.targets is not None
    permutation = tuple(map(int, answer.split(",")))
    assert verify(pile, records, permutation, activation="tanh").mse < 1e-12
    assert_mistake(run(*command), out, "--force")
    assert run(*command, "--force").returncode == 0
    assert (out / "sealed" / "answer.txt").read_text().strip() == answer


def test_what_is_handed_out_betrays_nothing(oracle, tmp_path):
    out = tmp_path / "dropped"
    options = ("--hash-only", "--seed", 71, "--lose", 1, "--weights", "bfloat16", "--noise", 0.01)
    result = run("drop", oracle, "--records", 50, "--out", out, *options)
    assert result.returncode == 0, result.stderr
    assert not (out / "sealed").exists()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest == {
        "pieces": 6,
        "format": "pth",
        "records": 50,
        "outputs": 1,
        "decoys": 0,
        "weights": "bfloat16",
        "noise": 0.01,
        "decimals": None,
        "lose": 1,
        "lose_blocks": 0,
        "copies": 0,
        "networks": 1,
        "duplicate": 0,
        "duplicate_noise": 0.0,
        "prune": 0.0,
        "clip": None,
        "shuffle_columns": False,
        "standardise": False,
        "detach_biases": False,
        "scramble_hidden": False,
        "permute_hidden": False,
    }
    everything = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    for secret in (b"tanh", b"small", b"inp", b"blocks.", str(oracle).encode()):
        assert secret not in everything
    assert read_pile(out / "pieces").stored_as == ("bfloat16",)


def test_a_drop_does_not_mix_with_another(oracle, tmp_path):
    command = ("drop", oracle, "--records", 50, "--out", tmp_path, "--seed", 1)
    assert run(*command).returncode == 0
    stale = run(*command, "--lose", 2, "--force")
    assert_mistake(stale, "piece_", "no part of this drop")
    assert_mistake(run(*command, "--hash-only", "--force"), "sealed", "no part of this drop")


def test_a_state_dict_is_dropped_with_inputs_of_ones_choice(make_dropped, tmp_path):
    network = make_dropped(np.random.default_rng(2), blocks=3, width=5, hidden=8).network
    model = tmp_path / "network.safetensors"
    write_network(model, network.tensors())
    lines = ["a,b,c,d,e,true", "1,2,3,4,5,6", "0,1,0,1,0,1"]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    command = ("drop", model, "--seed", 0, "--format", "safetensors", "--out", tmp_path / "out")
    assert run(*command, "--records", 2, "--inputs", tmp_path / "rows.csv").returncode == 0
    records = read_records(tmp_path / "out" / "record.csv")
    rows = {tuple(row) for row in records.inputs.tolist()}
    assert rows == {(1, 2, 3, 4, 5), (0, 1, 0, 1, 0)}
    np.testing.assert_allclose(records.predictions, network.predict(records.inputs), rtol=1e-6)
    assert run(*command, "--records", 400, "--force").returncode == 0
    records = read_records(tmp_path / "out" / "record.csv")
    assert len(records) == 400
    assert abs(records.inputs.std() - 1) < 0.1
    answer = tmp_path / "out" / "sealed" / "answer.txt"
    result = run("verify", tmp_path / "out" / "pieces", tmp_path / "out" / "record.csv", answer)
    assert result.returncode == 0, result.stdout


def test_decoys(oracle, recipe, tmp_path):
    other = tmp_path / "other"
    assert run("oracle", "train", recipe, "--out", other, "--seed", 9, "--quiet").returncode == 0
    out = tmp_path / "out"
    options = ("--decoys", other, "--decoy-pieces", 3, "--detach-biases", "--format", "safetensors")
    result = run("drop", oracle, "--records", 9, "--out", out, "--seed", 0, *options)
    assert result.returncode == 0, result.stderr
    assert len(list((out / "pieces").iterdir())) == 2 * (7 + 3)
    decoys = json.loads((out / "sealed" / "drop.json").read_text())["decoys"]
    assert len(decoys) == 6
    assert json.loads((out / "manifest.json").read_text())["decoys"] == 6
    answer = (out / "sealed" / "answer.txt").read_text().strip().split(",")
    assert sorted([*map(int, answer), *decoys]) == list(range(20))


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (("oracle", "train", "adm", "--out", "x"), ["no recipe adm", "adamw"]),
        (("oracle", "train", "no.toml", "--out", "x"), ["no.toml", "no such file"]),
        (("oracle", "train", "bad.toml", "--out", "x"), ["bad.toml", "width is -12"]),
        (("oracle", "train", "adam", "--out", "bad.toml"), ["bad.toml", "is a file"]),
        (("drop", "nowhere", "--records", 1, "--out", "x", "--seed", 0), ["nowhere"]),
        (("drop", ".", "--records", 1, "--out", "x", "--seed", 0), ["oracle.json"]),
        (("drop", "ORACLE", "--records", 301, "--out", "x", "--seed", 0), ["301", "300"]),
        (
            ("drop", "ORACLE", "--records", 1, "--out", "x", "--seed", 0, "--lose", 7),
            ["7 pieces", "there are 7"],
        ),
        (
            ("drop", "ORACLE", "--records", 1, "--out", "x", "--seed", 0, "--activation", "relu"),
            ["knows its activation"],
        ),
        (
            ("drop", "ORACLE", "--records", 1, "--out", "x", "--seed", 0, "--inputs", "rows.csv"),
            ["rows.csv", "1 input columns", "12 inputs"],
        ),
    ],
)
def test_mistakes_get_one_clear_line(oracle, tmp_path, command, parts):
    (tmp_path / "bad.toml").write_text(SMALL.replace("width = 12", "width = -12"))
    (tmp_path / "rows.csv").write_text("a,true\n1,2\n")
    filled = [oracle if word == "ORACLE" else word for word in command]
    assert_mistake(run(*filled, cwd=tmp_path), *parts)
    assert not (tmp_path / "x" / "pieces").exists()


def test_without_pytorch_training_names_the_extra_and_safetensors_pieces_need_none(oracle):
    code = f"""
import sys, tempfile
sys.modules["torch"] = None  # importing it raises ImportError
from unshuffle.commands import main
out = tempfile.mkdtemp()
assert main(["oracle", "train", "adam", "--out", out]) == 2
drop = ["drop", {str(oracle)!r}, "--records", "9", "--seed", "0", "--out", out + "/x"]
assert main(drop) == 2
assert main([*drop, "--format", "safetensors"]) == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pip install 'unshuffle[torch]'") == 2


@pytest.mark.parametrize("command", [["oracle"], ["oracle", "train"], ["drop"]])
def test_help_imports_nothing_heavy(command):
    code = f"""
import sys
from unshuffle.commands import main
try:
    main([*{command!r}, "--help"])
except SystemExit as end:
    assert not end.code
heavy = {{"numpy", "torch", "tomllib", "rich", "dask", "distributed", "concurrent.futures"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pieces", ["pth", "safetensors"])
def test_int8_with_scales_from_drop_to_verify(oracle, tmp_path, pieces):
    """The record is of the unrounded network; that of the rounded one is reproduced exactly."""
    options = ("--records", 80, "--seed", 5, "--weights", "int8-scales", "--format", pieces)
    assert run("drop", oracle, *options, "--out", tmp_path / "one").returncode == 0
    first = (tmp_path / "one" / "pieces", tmp_path / "one" / "record.csv")
    noticed = run("inspect", *first)
    assert "noticed: 7 of 7 weights are stored as int8 with scales" in noticed.stdout
    answer = (tmp_path / "one" / "sealed" / "answer.txt").read_text().strip()
    network = tmp_path / "network.safetensors"
    assert run("assemble", first[0], answer, "--to", network).returncode == 0
    said = json.loads(run("verify", *first, answer, "--json").stdout)
    assert said["outcome"] == "approximate"
    again = ("drop", network, *options, "--activation", "tanh", "--out", tmp_path / "two")
    assert run(*again).returncode == 0
    second = (tmp_path / "two" / "pieces", tmp_path / "two" / "record.csv")
    answer = (tmp_path / "two" / "sealed" / "answer.txt").read_text().strip()
    said = json.loads(run("verify", *second, answer, "--json").stdout)
    assert said["outcome"] == "exact"
