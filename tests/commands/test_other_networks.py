"""Networks that are not quite those of the puzzle, as a user meets them on the command line."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from unshuffle.blocks.ends import Linear
from unshuffle.commands import main
from unshuffle.pieces.pile import GIVE_CODE


@pytest.fixture
def run(capsys):
    """Run a command in this process: its exit status, and what it printed."""

    def run(*args):
        status = main([*map(str, args)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def write_record(path, inputs, predictions):
    names = [f"x{k}" for k in range(inputs.shape[1])] + ["pred"]
    rows = np.column_stack([inputs, predictions]).astype(np.float32)
    lines = [",".join(names), *(",".join(f"{value:.9g}" for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def network(rng, widths=(12, 12, 12, 12), width=6):
    """Layers in sequence: residual blocks of some hidden widths, and a last layer."""
    layers = []
    for hidden in widths:
        inp = rng.normal(size=(hidden, width)) / np.sqrt(width)
        out = -0.3 * inp.T + 0.05 * rng.normal(size=(width, hidden))
        layers += [
            Linear(inp, 0.3 * rng.normal(size=hidden)),
            Linear(out, 0.1 * rng.normal(size=width)),
        ]
    layers.append(Linear(rng.normal(size=(1, width)), rng.normal(size=1)))
    return [layer.astype(np.float32) for layer in layers]


def predict(layers, x):
    for inp, out in zip(layers[:-1:2], layers[1::2], strict=True):
        x = x + out(np.maximum(inp(x), 0))
    return layers[-1](x)


def drop(folder, rng, layers, *, bare=(), rows=300):
    """Write the layers as shuffled pieces, some without biases, and a record; their sequence."""
    ids = rng.permutation(len(layers)).tolist()
    tensors = {}
    for place, (name, layer) in enumerate(zip(ids, layers, strict=True)):
        tensors[f"layers.{name}.weight"] = layer.weight
        if place not in bare:
            tensors[f"layers.{name}.bias"] = layer.bias
    save_file(tensors, folder / "model.safetensors")
    x = rng.normal(size=(rows, layers[0].weight.shape[1])).astype(np.float32)
    write_record(folder / "record.csv", x, predict(layers, x))
    return ",".join(map(str, ids))


def without_biases(layers, places):
    return [
        Linear(layer.weight, 0 * layer.bias) if place in places else layer
        for place, layer in enumerate(layers)
    ]


@pytest.mark.parametrize("bare", [range(9), range(1, 9, 2), [2]], ids=["all", "out", "one"])
def test_layers_without_biases_get_zeros(run, tmp_path, rng, bare):
    layers = without_biases(network(rng), bare)
    answer = drop(tmp_path, rng, layers, bare=bare)
    files = tmp_path / "model.safetensors", tmp_path / "record.csv"
    status, out, _ = run("inspect", *files)
    assert status == 0
    assert f"{len([*bare])} of 9 layers have no bias" in " ".join(out.split())
    status, out, _ = run("solve", *files, "--quiet", "--out", tmp_path / "solved")
    assert (status, out.splitlines()[-1]) == (0, answer)
    assert run("verify", *files, tmp_path / "solved" / "answer.txt")[0] == 0
    assert run("pair", *files)[0] == 0


def test_loose_biases_of_some_lengths_leave_the_other_layers_without(run, tmp_path, rng):
    layers = without_biases(network(rng), range(1, 8, 2))
    arrays = [
        half
        for place, layer in enumerate(layers)
        for half in ([layer.weight] if place % 2 else [layer.weight, layer.bias])
    ]
    sequence = rng.permutation(len(arrays))
    np.savez(tmp_path / "weights.npz", *(arrays[k] for k in sequence))
    x = rng.normal(size=(300, 6)).astype(np.float32)
    write_record(tmp_path / "record.csv", x, predict(layers, x))
    files = tmp_path / "weights.npz", tmp_path / "record.csv"
    status, out, _ = run("solve", *files, "--quiet")
    assert status == 0
    found = [int(name.removeprefix("arr_")) for name in out.splitlines()[-1].split(",")]
    assert [int(k) for k in sequence[found]] == [*range(len(arrays))]
    assert run("verify", *files, out.splitlines()[-1])[0] == 0


@pytest.mark.parametrize("widths", [(8, 12, 10, 8, 14), (8, 6, 10, 6, 8)])
@pytest.mark.parametrize("signal", ["fused", "ratio"])
def test_blocks_of_several_hidden_widths_are_solved(run, tmp_path, rng, widths, signal):
    answer = drop(tmp_path, rng, network(rng, widths=widths))
    files = tmp_path / "model.safetensors", tmp_path / "record.csv"
    status, out, _ = run("inspect", *files)
    assert status == 0
    assert f"5 blocks 6 → {min(widths)} … {max(widths)} → 6, last layer 6 → 1" in out
    status, out, _ = run(
        "solve", *files, "--quiet", "--signal", signal, "--out", tmp_path / "solved"
    )
    assert (status, out.splitlines()[-1]) == (0, answer)
    assert run("verify", *files, tmp_path / "solved" / "answer.txt")[0] == 0
    status, out, _ = run("pair", *files, "--json")
    pairs = {frozenset((one["inp"], one["out"])) for one in json.loads(out)["pairs"]}
    names = [int(name) for name in answer.split(",")]
    assert pairs == {frozenset(names[k : k + 2]) for k in range(0, 10, 2)}


def test_inspect_and_solve_say_the_same_of_a_stem_and_a_head(run, tmp_path, rng):
    layers = network(rng)
    head = Linear(rng.normal(size=(1, 3)), rng.normal(size=1)).astype(np.float32)
    layers[-1] = Linear(rng.normal(size=(3, 6)), rng.normal(size=3)).astype(np.float32)
    tensors = {f"{name}.weight": layer.weight for name, layer in enumerate([*layers, head])}
    save_file(tensors, tmp_path / "model.safetensors")
    x = rng.normal(size=(50, 6)).astype(np.float32)
    write_record(tmp_path / "record.csv", x, head(predict(layers, x)))
    files = tmp_path / "model.safetensors", tmp_path / "record.csv"
    (one, _, said), (other, _, again) = run("inspect", *files), run("solve", *files, "--quiet")
    assert (one, other) == (2, 2)
    assert said == again
    assert "4 blocks 6 → 12 → 6, a head 6 → 3 → 1; give the network's code with --model" in said


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"norms.0.weight": 6, "norms.0.bias": 6, "norms.0.running_mean": 6}, "has norms"),
        ({"gamma.0": 6}, "has scales"),
        ({"alpha.0": ()}, "has scales"),
        ({"norms.0.weight": 6}, "a network with norms, scales or convolutions"),
        ({"conv.0.weight": (2, 2, 3, 3)}, "a network with norms, scales or convolutions"),
        ({"extra.bias": 7}, "1 loose biases have 7 numbers"),
        ({f"layers.{k}.weight": (6, 6) for k in range(9, 25)}, "transformers with attention"),
        (
            {f"layers.{k}.weight": (6 if k % 2 else 18, 6) for k in range(9, 17)},
            "4 are 6 × 6, 4 are 18 × 6 and 4",
        ),
    ],
)
def test_norms_and_scales_are_named_with_the_next_step(run, tmp_path, rng, tensors, said):
    held = {f"layers.{k}.weight": layer.weight for k, layer in enumerate(network(rng))}
    held |= {f"layers.{k}.bias": layer.bias for k, layer in enumerate(network(rng))}
    held |= {name: np.array(rng.normal(size=n), np.float32) for name, n in tensors.items()}
    save_file(held, tmp_path / "model.safetensors")
    x = rng.normal(size=(50, 6)).astype(np.float32)
    write_record(tmp_path / "record.csv", x, x[:, 0])
    files = tmp_path / "model.safetensors", tmp_path / "record.csv"
    (_, shown, error), (_, _, again) = run("inspect", *files), run("solve", *files, "--quiet")
    assert again == error
    assert "-1 of" not in shown
    assert said in error
    end = GIVE_CODE if len(tensors) < 4 else "what is no block: piece 8 (1 × 6)"
    assert error.endswith(f"{end}\n")
    assert GIVE_CODE in error


def test_a_factor_on_what_blocks_add_is_found_and_said(run, tmp_path, rng):
    layers = network(rng)
    answer = drop(tmp_path, rng, layers)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    halved = [
        Linear(one.weight / 2, one.bias / 2) if k % 2 else one for k, one in enumerate(layers)
    ]
    write_record(tmp_path / "record.csv", x, predict(halved, x))
    files = tmp_path / "model.safetensors", tmp_path / "record.csv"
    status, out, _ = run("solve", *files, "--quiet")
    assert (status, out.splitlines()[-1]) == (3, answer)
    assert "what each block adds is multiplied by 0.5" in " ".join(out.split())
