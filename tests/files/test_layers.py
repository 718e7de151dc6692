"""One network in the forms in which frameworks keep arrays gives the same layers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unshuffle.errors import FileError, PileError
from unshuffle.files import read_pile
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.pile import Pile

WIDTH, HIDDEN, BLOCKS = 4, 6, 3
Layers = list[tuple[np.ndarray, np.ndarray]]
Arrays = dict[str, np.ndarray]


def layers(outputs: int = 1, hidden: int = HIDDEN) -> Layers:
    """Layers of a network in a sequence that is none of its own."""
    rng = np.random.default_rng(1)
    shapes = [(WIDTH, hidden), (hidden, WIDTH)] * BLOCKS
    shapes.insert(2, (outputs, WIDTH))
    return [(rng.normal(size=s).astype("f4"), rng.normal(size=s[0]).astype("f4")) for s in shapes]


def read(arrays: Arrays, folder: Path) -> Pile:
    np.savez(folder / "pile.npz", **arrays)
    return read_pile(folder / "pile.npz")


def named(weight: str, bias: str) -> Callable[[Layers], Arrays]:
    """Arrays with names of which the number of the layer is a part."""

    def arrays(given: Layers) -> Arrays:
        weights = {weight.format(n): matrix for n, (matrix, _) in enumerate(given)}
        return weights | {bias.format(n): vector for n, (_, vector) in enumerate(given)}

    return arrays


NAMED = {
    "torch": named("layers.{}.weight", "layers.{}.bias"),
    "underscores": named("fc{}_weight", "fc{}_bias"),
    "flax": named("params/Dense_{}/kernel", "params/Dense_{}/bias"),
    "nnx": named("layers/{}/kernel/value", "layers/{}/bias/value"),
    "haiku": named("net/~/linear_{}/w", "net/~/linear_{}/b"),
    "tensorflow": named("dense_{}/kernel:0", "dense_{}/bias:0"),
    "keras": named("layers/dense_{}/vars/0", "layers/dense_{}/vars/1"),
    "by hand": named("W{}", "b{}"),
    "by hand, of two parts": named("w_layer_{}", "b_layer_{}"),
    "scikit-learn": named("coefs_.{}", "intercepts_.{}"),
    "lists": named("weights.{}", "biases.{}"),
    "by hand, with biases as rows": lambda given: {
        name: array[None] if array.ndim == 1 else array
        for name, array in named("W{}", "b{}")(given).items()
    },
    "two arrays below a name": named("piece_{}/matrix", "piece_{}/vector"),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("form", NAMED)
def test_names_join_what_belongs_together(form: str, turned: bool, tmp_path: Path) -> None:
    given = layers()
    kept = [(weight.T if turned else weight, bias) for weight, bias in given]
    pile = read(NAMED[form](kept), tmp_path)
    assert sorted(pile.ids) == [*range(len(given))]
    assert bool(pile.notes) == turned
    for n, (weight, bias) in enumerate(given):
        piece = pile[pile.index[n]]
        np.testing.assert_array_equal(piece.weight, weight, strict=True)
        np.testing.assert_array_equal(piece.bias, bias, strict=True)


def assert_detached(pile: Pile, given: Layers) -> None:
    """The weights stand as they map columns to rows, and each array is a piece of its own."""
    assert sorted(piece.weight.tobytes() for piece in pile) == sorted(w.tobytes() for w, _ in given)
    assert sorted(bias.values.tobytes() for bias in pile.biases) == sorted(
        b.tobytes() for _, b in given
    )


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("form", ["arr_{}", "onnx::MatMul_{}", "{}"])
def test_arrays_by_position(form: str, turned: bool, tmp_path: Path) -> None:
    given = layers()
    arrays = [part for w, b in given for part in (w.T if turned else w, b)]
    pile = read({form.format(n): array for n, array in enumerate(arrays)}, tmp_path)
    assert_detached(pile, given)
    first = pile.index[0 if form == "{}" else form.format(0)]  # nothing but a number is one
    np.testing.assert_array_equal(pile[first].weight, given[0][0])


@pytest.mark.parametrize("hidden", [WIDTH, HIDDEN])
def test_a_bias_right_behind_each_weight_is_likely_to_be_its_own(
    hidden: int, tmp_path: Path
) -> None:
    given = layers(hidden=hidden)
    arrays = [part for layer in given for part in layer]
    folder = tmp_path / "numbered"
    folder.mkdir()
    for n, array in enumerate(arrays):  # 10.npy comes behind 9.npy, and not behind 1.npy
        np.save(folder / f"{n}.npy", array)
    for pile in (
        read({f"arr_{n}": one for n, one in enumerate(arrays)}, tmp_path),
        read_pile(folder),
    ):
        biases = {bias.id: bias.values for bias in pile.biases}
        behind = {bias.behind: bias.id for bias in pile.biases}
        found = {pile[pile.index[w]].weight.tobytes(): b for w, b in behind.items()}
        assert all(np.array_equal(biases[found[w.tobytes()]], b) for w, b in given)
    others = [arrays[1], *arrays[2:], arrays[0]]
    pile = read({f"arr_{n}": one for n, one in enumerate(others)}, tmp_path)
    assert all(bias.behind is None for bias in pile.biases)


def test_weights_without_names_beside_biases_with(tmp_path: Path) -> None:
    given = layers()
    arrays = {f"onnx::MatMul_{n}": w.T for n, (w, _) in enumerate(given)}
    pile = read(arrays | {f"layers.{n}.bias": b for n, (_, b) in enumerate(given)}, tmp_path)
    assert_detached(pile, given)
    assert {bias.id for bias in pile.biases} == {f"layers.{n}.bias" for n in range(len(given))}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("hidden", [WIDTH, HIDDEN])
def test_matrices_alone_are_turned_by_the_last_one(
    turned: bool, hidden: int, tmp_path: Path
) -> None:
    given = layers(outputs=3, hidden=hidden)
    pile = read({f"a{n}": w.T if turned else w for n, (w, _) in enumerate(given)}, tmp_path)
    assert sorted(piece.weight.tobytes() for piece in pile) == sorted(w.tobytes() for w, _ in given)
    assert read_anatomy(pile).outputs == 3


@pytest.mark.parametrize("turned", [False, True])
def test_the_bias_that_comes_next_turns_what_shapes_leave_open(
    turned: bool, tmp_path: Path
) -> None:
    given = layers(outputs=WIDTH)  # as many of each shape, whichever way they are turned
    arrays = [part for w, b in given for part in (w.T if turned else w, b)]
    assert_detached(read({f"arr_{n}": array for n, array in enumerate(arrays)}, tmp_path), given)


@pytest.mark.parametrize("word", ["kernel", "weight"])
def test_names_turn_what_no_shape_does(word: str, tmp_path: Path) -> None:
    given = layers(outputs=WIDTH, hidden=WIDTH)
    pile = read(named("{}." + word, "{}.bias")(given), tmp_path)
    found = pile[pile.index[0]].weight
    np.testing.assert_array_equal(found, given[0][0].T if word == "kernel" else given[0][0])


def test_weights_turned_each_its_way_are_refused(tmp_path: Path, refused) -> None:
    given = layers()
    mixed = [(given[0][0].T, given[0][1]), *given[1:]]
    with refused(PileError, "pile.npz", "piece 0: its bias has shape (4,)"):
        read(NAMED["torch"](mixed), tmp_path)


@pytest.mark.parametrize(
    "names",
    [("inp.weight", "inp.bias", "out.weight", "out.bias"), ("W1", "b1", "W2", "b2")],
)
def test_stacks_are_cut(names: tuple[str, ...], tmp_path: Path) -> None:
    given = layers()
    last = given.pop(2)
    stacks = [
        np.stack(part) for two in (given[1::2], given[::2]) for part in zip(*two, strict=True)
    ]
    arrays = dict(zip(names, stacks, strict=True)) | {"last.weight": last[0], "last.bias": last[1]}
    pile = read(arrays, tmp_path)
    inp = "inp" if names[0].startswith("inp") else "1"
    assert {f"{inp}.0", f"{inp}.2", "last"} <= {*pile.ids}
    np.testing.assert_array_equal(pile[pile.index[f"{inp}.2"]].weight, given[5][0])
    np.testing.assert_array_equal(pile[pile.index[f"{inp}.2"]].bias, given[5][1])
    assert str(read_anatomy(pile)).startswith("3 blocks 4 → 6 → 4")
    positions = read({f"arr_{n}": a for n, a in enumerate([*stacks, *last])}, tmp_path)
    assert_detached(positions, [*given, last])


def test_a_stack_that_is_too_high(tmp_path: Path, refused) -> None:
    with refused(FileError, "pile.npz", "stack of 10001 matrices"):
        read({"a.weight": np.ones((10_001, 1, 1))}, tmp_path)


def test_one_output_as_a_vector(tmp_path: Path) -> None:
    pile = read({"last.weight": np.ones(3), "last.bias": np.ones(1)}, tmp_path)
    assert pile[0].shapes == {"weight": (1, 3), "bias": (1,)}


def test_counters_are_left_aside(tmp_path: Path) -> None:
    extra = {"steps": np.array(3), "positions": np.arange(5), "0.scale": np.array(1.0)}
    assert len(read(NAMED["torch"](layers()) | extra, tmp_path)) == 7


@pytest.mark.parametrize("name", ["blocks.0.gamma", "mean", "0/scale"])
def test_what_belongs_to_no_layer_is_named(name: str, tmp_path: Path, refused) -> None:
    with refused(FileError, "pile.npz", f"it holds {name}; a network that has them has"):
        read(NAMED["torch"](layers()) | {name: np.ones(4)}, tmp_path)


def test_norms_are_no_layers(tmp_path: Path, refused) -> None:
    extra = {"norm.weight": np.ones(4, "f4"), "norm.bias": np.ones(4, "f4")}
    with refused(PileError, "pile.npz", "piece norm", "norms"):
        read(NAMED["torch"](layers()) | extra, tmp_path)
