"""Pieces of any kind of network, as files and as names in one file."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from unshuffle.errors import FileError
from unshuffle.files import read_pile


@pytest.fixture
def tensors(rng):
    return {
        "weight": rng.normal(size=(3, 2, 4)).astype(np.float32),
        "bias": rng.normal(size=3).astype(np.float32),
        "scale": np.array(rng.normal(), np.float32),
    }


def same(piece, tensors):
    assert piece.shapes == {name: one.shape for name, one in tensors.items()}
    for name, one in tensors.items():
        np.testing.assert_array_equal(piece.tensors[name], one)


def test_a_file_is_a_piece_with_the_names_that_it_has(tmp_path, tensors):
    save_file(tensors, tmp_path / "part_7.safetensors")
    np.savez(tmp_path / "part_12.npz", **{f"norm.{n}": one for n, one in tensors.items()})
    np.save(tmp_path / "part_3.npy", tensors["bias"])
    pile = read_pile(tmp_path, linear=False)
    assert sorted(pile.ids) == [3, 7, 12]
    same(pile["7"], tensors)
    same(pile["12"], {f"norm.{n}": one for n, one in tensors.items()})
    same(pile["3"], {"": tensors["bias"]})


@pytest.mark.parametrize(
    ("head", "names", "ids"),
    [
        ("", ("4", "11"), (4, 11)),
        ("state.loose.", ("4", "11"), (4, 11)),
        ("", ("left", "right"), ("left", "right")),
        ("blocks.", ("p_1", "p_2"), (1, 2)),
    ],
)
def test_in_one_file_the_first_part_that_differs_is_the_piece(tmp_path, tensors, head, names, ids):
    held = {f"{head}{p}.up.{n}": one for p in names for n, one in tensors.items()}
    save_file(held, tmp_path / "all.safetensors")
    pile = read_pile(tmp_path / "all.safetensors", linear=False)
    assert {*pile.ids} == {*ids}
    for piece in pile:
        same(piece, {f"up.{n}": one for n, one in tensors.items()})


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["layers.0.weight", "layers.0.bias", "norms.0.weight"], ["layers.0", "norms.0"]),
        (["layers.0.weight", "layers.1.weight", "head.bias"], ["head", "layers.0", "layers.1"]),
        (["gamma.0", "gamma.1", "layers.0.w"], ["gamma.0", "gamma.1", "layers.0"]),
        (["a.0.w", "a.2.w", "b.0.w", "b.2.w"], ["a", "b"]),
        (["b1.0.w", "b1.2.w", "b2.0.w"], [1, 2]),
    ],
)
def test_numbers_of_a_list_count_pieces(tmp_path, names, ids):
    np.savez(tmp_path / "all.npz", **{each: np.ones(2, np.float32) for each in names})
    assert sorted(read_pile(tmp_path / "all.npz", linear=False).ids) == ids


def test_names_without_parts_are_single_tensors(tmp_path, tensors):
    np.savez(tmp_path / "all.npz", a=tensors["weight"], b=tensors["bias"])
    pile = read_pile(tmp_path / "all.npz", linear=False)
    assert {piece.id: piece.shapes for piece in pile} == {"a": {"": (3, 2, 4)}, "b": {"": (3,)}}


def test_counts_and_masks_are_no_weights(tmp_path, tensors):
    others = {"count": np.array(3), "mask": np.ones(4, bool), "index": np.arange(4, dtype=np.int16)}
    save_file({**tensors, **others}, tmp_path / "1.safetensors")
    save_file(others, tmp_path / "2.safetensors")
    save_file(tensors, tmp_path / "3.safetensors")
    pile = read_pile(tmp_path, linear=False)
    assert sorted(pile.ids) == [1, 3]
    same(pile["1"], tensors)
    only = tmp_path / "only"
    only.mkdir()
    save_file(others, only / "2.safetensors")
    with pytest.raises(FileError, match="holds no tensor of real numbers"):
        read_pile(only, linear=False)


def test_the_coarsest_number_format_of_a_piece_counts(tmp_path, tensors):
    mixed = {**tensors, "weight": tensors["weight"].astype(np.float16)}
    save_file(mixed, tmp_path / "1.safetensors")
    save_file(tensors, tmp_path / "2.safetensors")
    pile = read_pile(tmp_path, linear=False)
    assert (pile["1"].stored_as, pile["2"].stored_as) == ("float16", "float32")


def test_names_that_act_on_a_terminal_are_refused(tmp_path, tensors):
    save_file({"up\x1b[31m": tensors["bias"]}, tmp_path / "1.safetensors")
    with pytest.raises(FileError, match=r"a tensor is called 'up\\x1b\[31m'") as found:
        read_pile(tmp_path, linear=False)
    assert str(found.value).isprintable()
