"""Of what a checkpoint holds, the network is read; where there are several, they are named."""

from pathlib import Path

import numpy as np
import pytest

from unshuffle.errors import FileError
from unshuffle.files import read_pile
from unshuffle.pieces.anatomy import read_anatomy

Arrays = dict[str, np.ndarray]


def network(head: str, number: int, width: int = 4) -> Arrays:
    """Seven layers, the numbers of which are all the same."""
    shapes = [(6, width), (width, 6)] * 3 + [(1, width)]
    arrays = {}
    for n, shape in enumerate(shapes):
        arrays[f"{head}layers.{n}.weight"] = np.full(shape, number, "f4")
        arrays[f"{head}layers.{n}.bias"] = np.full(shape[0], number, "f4")
    return arrays


def moments(head: str) -> Arrays:
    arrays = {}
    for n, values in enumerate(network("", 9).values()):
        arrays[f"{head}state.{n}.step"] = np.array(1.0)
        for kind in ("exp_avg", "exp_avg_sq"):
            arrays[f"{head}state.{n}.{kind}"] = values
    return arrays


def read(arrays: Arrays, folder: Path, choice: str = ""):
    np.savez(folder / "all.npz", **arrays)
    return read_pile(f"{folder / 'all.npz'}{choice}")


OTHERS = {
    "nothing": {},
    "an optimiser": moments("optimizer_state_dict."),
    "optimisers": moments("optimizer_states.0."),
    "optax": {f"opt_state/0/mu/{name}": values for name, values in network("", 9).items()},
    "optax by key": {
        f"['opt'][0].{moment}['{name}']": values
        for moment in ("mu", "nu")
        for name, values in network("", 9).items()
    },
    "optax alone": {
        f"{moment}/{name}": values
        for moment in ("mu", "nu")
        for name, values in network("", 9).items()
    },
    "keras's moments": {
        f"Adam/{kind}/{name}:0": values for kind in "mv" for name, values in network("", 9).items()
    },
    "tensorflow": {f"net/{name}/Adam_1": values for name, values in network("", 9).items()},
    "keras": {"optimizer/vars/0": np.ones((6, 4)), "optimizer/vars/1": np.ones(4)},
    "a loss": {"criterion.weight": np.ones(3), "loss.pos_weight": np.ones(1)},
    "no weights": {
        "rng": np.arange(9, dtype="u4"),
        "mask": np.arange(5, dtype="i2"),
        "n": np.array(1),
    },
    "another kind": {f"head.{n}.weight": np.ones((3, 4)) for n in range(6)},
}


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("head", ["", "model.", "state_dict.net."])
def test_the_network_is_found(head: str, others: str, tmp_path: Path) -> None:
    pile = read(network(head, 1) | OTHERS[others], tmp_path)
    assert sorted(pile.ids) == [*range(7)]
    assert {float(value) for piece in pile for value in piece.weight.ravel()} == {1.0}
    assert read_anatomy(pile).blocks == 3


def test_names_begin_behind_what_they_have_in_common(tmp_path: Path) -> None:
    arrays = {name.replace("layers.0", "first"): v for name, v in network("a.b.", 1).items()}
    assert "first" in read(arrays | moments("optim."), tmp_path).ids


def test_several_networks_are_named_and_one_can_be_chosen(tmp_path: Path, refused) -> None:
    both = network("state_dict.model.", 1) | network("state_dict.ema.", 2) | moments("optim.")
    path = tmp_path / "all.npz"
    told = "holds 2 networks, state_dict.model and state_dict.ema; give the one that made the "
    with refused(FileError, path, told, f"{path}::state_dict.model"):
        read(both, tmp_path)
    for number, name in enumerate(["state_dict.model", "state_dict.ema"], start=1):
        pile = read(both, tmp_path, f"::{name}")
        assert {float(value) for piece in pile for value in piece.weight.ravel()} == {number}
    with refused(FileError, path, "holds nothing called swa", "state_dict.ema"):
        read(both, tmp_path, "::swa")
    with refused(FileError, path, "holds nothing called swa; none has a name: leave out ::swa"):
        read(network("", 1), tmp_path, "::swa")


def test_lists_of_weights_and_biases_beside_others_stay_together(tmp_path: Path) -> None:
    best = {"_best_weights.0": np.ones((6, 5)), "_best_biases.0": np.ones(5)}  # of another width
    arrays = network("", 1)
    lists = {
        f"{'weights' if name.endswith('weight') else 'biases'}.{name.split('.')[1]}": values
        for name, values in arrays.items()
    }
    pile = read(lists | best, tmp_path)
    assert len(pile) == 7
    assert all(piece.bias.all() for piece in pile)


def test_blocks_are_no_networks_of_their_own(tmp_path: Path) -> None:
    shapes = [(6, 4), (4, 6), (6, 4), (4, 6), (1, 4)]
    arrays = {f"blocks.{n}.{k}.weight": np.ones(s) for n in range(3) for k, s in enumerate(shapes)}
    assert len(read(arrays, tmp_path)) == 15


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        (moments(""), "exp_avg, exp_avg_sq and step"),
        (moments("optimizer."), "optimizer"),
        ({"state.0.momentum_buffer": np.ones((3, 4))}, "momentum_buffer"),
        ({"state.0.sum": np.ones((3, 4)), "state.0.step": np.array(1.0)}, "(step and sum)"),
        ({"Adam/m/dense/kernel:0": np.ones((3, 4)), "Adam/iter:0": np.array(1)}, "Adam/m"),
        ({"training/Adam/v/batch_norm/gamma:0": np.ones(4)}, "Adam/v"),
        ({"mu/Dense_0/kernel": np.ones((3, 4)), "nu/Dense_0/kernel": np.ones((3, 4))}, "mu and nu"),
        ({"SGD.momentum.dense.kernel": np.ones((3, 4))}, "SGD.momentum"),
        ({"dense/kernel/RMSProp": np.ones((3, 4))}, "RMSProp"),
    ],
)
def test_moments_are_no_weights(arrays: Arrays, what: str, tmp_path: Path, refused) -> None:
    with refused(FileError, "all.npz", "state of an optimiser", what, "the model's state dict"):
        read(arrays, tmp_path)


def test_a_layer_may_be_called_as_a_state(tmp_path: Path) -> None:
    arrays = {name.replace("layers", "state"): v for name, v in network("", 1).items()}
    assert len(read(arrays, tmp_path)) == 7


def test_a_layer_may_be_called_as_one_moment(tmp_path: Path) -> None:
    arrays = {name.replace("layers.6", "mu"): v for name, v in network("", 1).items()}
    assert len(read(arrays, tmp_path)) == 7


def test_networks_may_be_called_as_optimisers(tmp_path: Path) -> None:
    arrays = network("adam.", 1) | network("sgd.", 2)
    assert len(read(arrays, tmp_path, "::adam")) == 7


@pytest.mark.parametrize("head", [".", "..", "." * 900, "a." * 450])
def test_a_name_of_many_parts_is_read(tmp_path, head):
    arrays = {f"{head}{n}.weight": np.zeros((5, 5), "f4") for n in range(8)}  # no whole network
    assert len(read(arrays, tmp_path)) == 8
