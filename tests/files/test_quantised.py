"""Weights that lie in a file as int8 or uint8 with scales."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unshuffle.errors import FileError, PileError
from unshuffle.files import limits, read_network, read_pile, write_network
from unshuffle.files.network_writer import pack_npz
from unshuffle.files.quantised import quantise, restored

LEVELS = np.array([[-127, 0, 5], [127, 1, -3]], np.int8)
BIAS = np.array([0.5, -1.0], np.float32)
BY_ROW = np.array([0.5, 2.0], np.float32)


def piece_of(folder: Path, suffix: str = ".npz", **tensors: np.ndarray) -> Path:
    path = folder / f"1{suffix}"
    if suffix == ".npz":
        path.write_bytes(pack_npz(tensors))
    elif suffix == ".safetensors":
        from safetensors.numpy import save

        path.write_bytes(save(tensors))
    else:
        torch = pytest.importorskip("torch")
        torch.save({name: torch.from_numpy(np.array(v)) for name, v in tensors.items()}, path)
    return folder


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
@pytest.mark.parametrize("scale_name", ["weight_scale", "weight.scale", "scale"])
@pytest.mark.parametrize("scale", [np.float32(0.25), np.ones(1), BY_ROW, BY_ROW[:, None]])
def test_scales_of_a_tensor_or_of_its_rows(tmp_path, suffix, scale_name, scale) -> None:
    tensors = {"weight": LEVELS, "bias": BIAS, scale_name: np.asarray(scale)}
    (piece,) = read_pile(piece_of(tmp_path, suffix, **tensors))
    by_row = np.broadcast_to(np.ravel(scale), 2)[:, None]
    np.testing.assert_array_equal(piece.weight, (LEVELS * by_row).astype("f4"), strict=True)
    np.testing.assert_array_equal(piece.bias, BIAS, strict=True)
    assert piece.stored_as == "int8"


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32"])
def test_zero_points_and_quantised_biases(tmp_path: Path, dtype: str) -> None:
    (piece,) = read_pile(
        piece_of(
            tmp_path,
            weight=np.array([[0, 128], [255, 7]], np.uint8),
            weight_scale=BY_ROW,
            weight_zero_point=np.array([128, 7], dtype),
            bias=np.array([-4, 3], np.int8),
            bias_scale=np.array(0.5, np.float16),
        )
    )
    np.testing.assert_array_equal(piece.weight, [[-64, 0], [496, 0]])
    np.testing.assert_array_equal(piece.bias, [-2, 1.5])
    assert piece.stored_as == "uint8"


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_a_network_is_written_and_read_with_scales(tmp_path: Path, suffix: str, layer) -> None:
    if suffix == ".pth":
        pytest.importorskip("torch")
    path = tmp_path / f"pile{suffix}"
    tensors = {f"a.{part}": values for part, values in layer.items()}
    write_network(path, tensors, stored_as="int8")
    (piece,) = read_pile(path)
    assert (piece.id, piece.stored_as) == ("a", "int8")
    half_step = np.abs(layer["weight"]).max(axis=1, keepdims=True) / 127 / 2
    error = np.abs(piece.weight - layer["weight"])
    assert (error <= half_step * (1 + 1e-5)).all()
    assert error.max() > 0
    assert np.abs(piece.bias - layer["bias"]).max() <= np.abs(layer["bias"]).max() / 127 / 1.99
    np.testing.assert_array_equal(piece.weight, restored(*quantise(layer["weight"])))
    with pytest.raises(FileError, match="expected K times an inp"):  # the layers are read, too few
        read_network(path)


@given(arrays(np.float32, (3, 4), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_what_was_rounded_once_stays(values: np.ndarray) -> None:
    once = restored(*quantise(values))
    step = np.abs(values).max(axis=1, keepdims=True) / 127
    assert (np.abs(once - values) <= step * 0.5001 + 1e-37).all()
    np.testing.assert_allclose(restored(*quantise(once)), once, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weight_scale": None}, "stored as int8 without a scale; add weight_scale"),
        ({"weight_scale": np.float32(0)}, "a scale of 0, but scales are positive and finite"),
        ({"weight_scale": np.float32(-2)}, "a scale of -2,"),
        ({"weight_scale": np.array([1, np.nan])}, "a scale of nan,"),
        ({"weight_scale": np.array([1, np.inf])}, "a scale of inf,"),
        ({"weight_scale": np.float64(1e-300)}, "a scale of 0,"),
        ({"weight_scale": np.ones(3)}, "a scale of shape (3,), but one number, or one for each"),
        ({"weight_scale": np.ones((1, 2))}, "a scale of shape (1, 2)"),
        ({"weight_scale": np.ones((2, 3))}, "a scale of shape (2, 3)"),
        ({"weight_scale": np.ones(0)}, "a scale of shape (0,)"),
        ({"scale": np.float32(1)}, "has weight_scale and scale, but one is needed"),
        ({"weight_zero_point": np.int32(128)}, "a zero point of 128, but it is one of the levels"),
        ({"zero_point": np.float32(0.5)}, "a zero point of 0.5,"),
        ({"zero_point": np.float32(np.nan)}, "a zero point of nan,"),
        ({"zero_point": np.zeros(3, np.int8)}, "a zero point of shape (3,)"),
        ({"weight": LEVELS.astype("i4")}, "stored as int32, but of integers only int8 and uint8"),
        ({"weight": BIAS[:, None]}, "it holds weight_scale"),
        ({"bias": np.ones(2, np.int8)}, "tensor bias is stored as int8 without a scale"),
        ({"bias": np.ones(2)}, "a weight of int8 and a bias of float64"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_what_does_not_fit_is_refused(tmp_path: Path, refused, changes, says, suffix) -> None:
    tensors = {"weight": LEVELS, "bias": BIAS, "weight_scale": BY_ROW, **changes}
    present = {name: np.asarray(values) for name, values in tensors.items() if values is not None}
    piece_of(tmp_path, suffix, **present)
    with refused(FileError, f"1{suffix}", says):
        read_pile(tmp_path)


@pytest.mark.parametrize(
    "weight", [np.int8(3), np.ones(2, np.int8), np.ones((2, 0), np.int8), np.ones((2, 2, 2), "i1")]
)
def test_quantised_numbers_that_are_no_matrix(tmp_path: Path, refused, weight) -> None:
    piece_of(tmp_path, weight=np.asarray(weight), scale=np.float32(1), bias=BIAS)
    with refused(PileError, "1.npz", "its weight has shape"):
        read_pile(tmp_path)


def test_scales_that_make_infinite_weights(tmp_path: Path, refused) -> None:
    piece_of(tmp_path, weight=LEVELS, scale=np.float32(3e38), bias=BIAS)
    with refused(PileError, "1.npz", "its weight holds -inf"):
        read_pile(tmp_path)


def test_names_of_scales_are_shown_escaped(tmp_path: Path, refused) -> None:
    (tmp_path / "pile.npz").write_bytes(pack_npz({"\x1b[31mweight": LEVELS}))
    with refused(FileError, "pile.npz", r"'\x1b[31mweight' is stored as int8 without a scale"):
        read_pile(tmp_path / "pile.npz")


def test_the_numbers_are_counted_before_they_grow(tmp_path: Path, refused, monkeypatch) -> None:
    piece_of(tmp_path, weight=np.ones((20, 20), np.int8), scale=np.float32(1), bias=np.ones(20))
    monkeypatch.setattr(limits, "TOTAL_BYTES", 1_500)
    monkeypatch.setattr(limits, "FREE_BYTES", 10_000)
    monkeypatch.setattr("unshuffle.files.quantised.restored", lambda *_: pytest.fail("too late"))
    with refused(FileError, "1.npz", "unpack to 1764 or more, but at most 1500"):
        read_pile(tmp_path)
