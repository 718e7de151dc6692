"""A whole network is read in the order in which its layers are applied."""

import numpy as np
import pytest

from unshuffle.blocks.activations import ACTIVATIONS
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import FileError
from unshuffle.files import read_network, write_network


@pytest.fixture
def network(dropped):
    return dropped(blocks=12, width=4, hidden=6).network  # 12: layer 10 sorts before layer 2


def named(network, names):
    tensors = {}
    for name, layer in zip(names, network.layers(), strict=True):
        tensors |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
    return tensors


def assert_same(found: MlpNetwork, network: MlpNetwork):
    for one, other in zip(found.layers(), network.layers(), strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
        np.testing.assert_array_equal(one.bias, other.bias)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
@pytest.mark.parametrize(
    "scheme",
    [
        ("blocks.{}.inp", "blocks.{}.out", "last"),
        ("{}.0", "{}.2", "12"),  # nn.Sequential
        ("layers.{}.up", "layers.{}.down", "head"),  # out sorts before inp, and the last first
    ],
)
def test_names_and_sequence(network, tmp_path, suffix, scheme):
    if suffix == ".pth":
        pytest.importorskip("torch")
    inp, out, last = scheme
    names = [text.format(k) for k in range(12) for text in (inp, out)] + [last]
    path = tmp_path / f"network{suffix}"
    write_network(path, named(network, names))
    found = read_network(path, ACTIVATIONS["tanh"])
    assert_same(found, network)
    assert found.blocks.activation is ACTIVATIONS["tanh"]


def test_the_sequence_of_a_file_counts_where_its_format_has_one(network, tmp_path):
    names = [f"layer{(7 * k) % 25}" for k in range(25)]
    write_network(tmp_path / "network.npz", named(network, names))
    assert_same(read_network(tmp_path / "network.npz"), network)


def test_the_content_of_a_file_tells_whether_its_format_has_a_sequence(network, tmp_path):
    names = [text.format(k) for k in range(12) for text in ("{}.0", "{}.2")] + ["12"]
    write_network(tmp_path / "network.safetensors", named(network, names))
    (tmp_path / "network.safetensors").rename(tmp_path / "network.bin")
    assert_same(read_network(tmp_path / "network.bin"), network)


@pytest.mark.parametrize(
    "places",
    [
        (0, 1, 2, 3),  # no last layer
        (0,),
        (0, 1, 3, 2, 24),  # one block the other way round
        (0, 1, 24, 24, 24),
    ],
)
def test_what_is_no_residual_network_is_a_mistake(network, tmp_path, places):
    layers = network.layers()
    tensors = {}
    for k, place in enumerate(places):
        tensors |= {f"{k}.weight": layers[place].weight, f"{k}.bias": layers[place].bias}
    path = tmp_path / "network.npz"
    write_network(path, tensors)
    with pytest.raises(FileError, match=rf"holds {len(places)} layers of shapes 6 × 4") as caught:
        read_network(path)
    assert str(caught.value).startswith(str(path))
