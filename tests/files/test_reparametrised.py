"""Weights that are kept in parts are those that torch computes of them."""

from pathlib import Path

import numpy as np
import pytest

from unshuffle.errors import FileError
from unshuffle.files import read_pile

torch = pytest.importorskip("torch")
utils = torch.nn.utils


def pruned(layer):
    from torch.nn.utils import prune

    return prune.l1_unstructured(layer, "weight", 0.4)


@pytest.mark.parametrize(
    "keep",
    [
        utils.weight_norm,
        lambda layer: utils.weight_norm(layer, dim=1),
        lambda layer: utils.weight_norm(layer, dim=None),
        utils.parametrizations.weight_norm,
        utils.spectral_norm,
        utils.parametrizations.spectral_norm,
        pruned,
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_parts_make_the_weight(keep, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight *= torch.arange(1.0, 13).reshape(3, 4)
    whole = layer.weight.detach().clone()
    keep(layer)
    layer.train()
    layer(torch.ones(1, 4))  # spectral norms take a step
    layer.eval()
    layer(torch.ones(1, 4))
    parts = {f"{n}.{name}": tensor for n in (2, 3) for name, tensor in layer.state_dict().items()}
    torch.save(parts, tmp_path / "pile.pth")
    pile = read_pile(tmp_path / "pile.pth")
    assert sorted(pile.ids) == [2, 3]
    expected = layer.weight.detach().numpy()
    np.testing.assert_allclose(pile[0].weight, expected, rtol=5e-7, atol=1e-9)
    assert pile[0].weight.dtype == np.float32
    assert keep is not pruned or not np.array_equal(expected, whole.numpy())


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("norm", [utils.weight_norm, utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_half_of_a_weight_norm_is_refused_with_what_joins_them(norm, lost, tmp_path, refused):
    layer = norm(torch.nn.Linear(4, 3))
    state = {f"7.{name}": tensor for name, tensor in layer.state_dict().items()}
    held, gone = ([name for name in state if "weight" in name][half] for half in (1 - lost, lost))
    del state[gone]
    torch.save(state, tmp_path / "pile.pth")
    what = "directions" if held.endswith(("_v", "1")) else "lengths"
    line = r"torch.nn.utils.remove_weight_norm(layer)"
    if "original" in held:
        line = "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
    with refused(FileError, f"holds {held}, the {what} of a weight norm, without {gone};", line):
        read_pile(tmp_path / "pile.pth")
    eval(line, {"torch": torch, "layer": layer})
    torch.save(layer.state_dict(), tmp_path / "pile.pth")
    assert len(read_pile(tmp_path / "pile.pth")) == 1


def test_matrices_that_only_have_such_names_stay(tmp_path: Path) -> None:
    tensors = {"a.w_g": np.ones((3, 4)), "a.w_v": np.ones((3, 4)), "a.w_orig": np.ones((4, 3))}
    np.savez(tmp_path / "pile.npz", **tensors)
    assert sorted(read_pile(tmp_path / "pile.npz").ids) == ["a.g", "a.orig", "a.v"]


def test_factors_of_lora_are_left_out_where_they_add_nothing(tmp_path: Path, refused) -> None:
    name = "base_model.model.7"
    tensors = {
        f"{name}.base_layer.weight": np.ones((3, 4)),
        f"{name}.base_layer.bias": np.ones(3),
        f"{name}.lora_A.default.weight": np.ones((2, 4)),
        f"{name}.lora_B.default.weight": np.zeros((3, 2)),
    }
    np.savez(tmp_path / "pile.npz", **tensors)
    assert [piece.shape for piece in read_pile(tmp_path / "pile.npz")] == [(3, 4)]
    tensors[f"{name}.lora_B.default.weight"] += 1
    np.savez(tmp_path / "pile.npz", **tensors)
    with refused(FileError, f"holds {name}.lora_B.default.weight", "model.merge_and_unload()"):
        read_pile(tmp_path / "pile.npz")
