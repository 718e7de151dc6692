"""Safetensors files are read exactly, or refused."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from unshuffle.errors import FileError
from unshuffle.files import limits
from unshuffle.files.formats import arrays_of
from unshuffle.files.layers import natural


def read(content: bytes, folder: Path):
    path = folder / "pile.safetensors"
    return {name: array.read() for name, array in arrays_of(content, str(path)).items()}


def packed(header: object, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5).filter(lambda name: name != "__metadata__"),
        hnp.arrays(
            st.sampled_from([np.float16, np.float32, np.float64]),
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        ),
        max_size=4,
    )
)
def test_round_trip(scratch: Path, arrays: dict[str, np.ndarray]) -> None:
    tensors = read(save(arrays), scratch)
    assert list(tensors) == sorted(arrays, key=lambda name: (natural(name), name))
    for name, array in arrays.items():
        exact = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
        np.testing.assert_array_equal(tensors[name].values, exact, strict=True)
        assert tensors[name].stored_as == array.dtype.name


def test_bfloat16_is_exact(tmp_path: Path) -> None:
    every = np.arange(2**16, dtype="<u2")
    header = {"a": {"dtype": "BF16", "shape": [2**16], "data_offsets": [0, 2**17]}}
    tensor = read(packed(header, every.tobytes()), tmp_path)["a"]
    assert tensor.stored_as == "bfloat16"
    bits = tensor.values.view(np.uint32)
    np.testing.assert_array_equal(bits, every.astype(np.uint32) * 2**16)


def test_bfloat16_as_torch_writes_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save as save_torch

    values = torch.randn(5, 3).to(torch.bfloat16)
    tensor = read(save_torch({"a": values}), tmp_path)["a"]
    np.testing.assert_array_equal(tensor.values, values.float().numpy(), strict=True)


def test_other_dtypes_are_named(tmp_path: Path, refused) -> None:
    with refused(FileError, "pile.safetensors", "tensor a", "stored as int16", "float32"):
        read(save({"a": np.zeros(2, np.int16)}), tmp_path)


def entry(shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"abc",
        bytes(100),
        packed(b"{"),
        packed(b"\xff\xff"),
        packed(b"[" * 100_000),
        packed(b'{"a":' * 100_000),
        packed({"a": entry([2], 0, 8)}, bytes(7)),
        packed({"a": entry([2], 0, 8)}, bytes(9)),
        packed({"a": entry([2], 4, 12)}, bytes(12)),
        packed({"a": entry([3], 0, 8)}, bytes(8)),
        packed({"a": entry([2**40, 2**40], 0, 8)}, bytes(8)),
        packed({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, bytes(8)),
        packed({"a": entry([-1], 0, 8)}, bytes(8)),
        packed({"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        packed({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, bytes(8)),
        packed({"a": None}),
    ],
)
def test_damage(content: bytes, tmp_path: Path, refused) -> None:
    with refused(FileError, "pile.safetensors", "not a complete"):
        read(content, tmp_path)


def test_no_header_takes_the_memory(tmp_path: Path, refused) -> None:
    with refused(FileError, "pile.safetensors", "its header claims more than"):
        read(struct.pack("<Q", limits.HEADER_BYTES + 1) + b"{}", tmp_path)


def test_endless_names(tmp_path: Path, refused) -> None:
    with refused(FileError, "pile.safetensors", "a name of 5000 characters"):
        read(save({"1" * 5000: np.zeros(2, np.float32)}), tmp_path)


def test_too_many_axes(tmp_path: Path, refused) -> None:
    with refused(FileError, "pile.safetensors", "tensor a", "9 axes"):
        read(save({"a": np.zeros((1,) * 9, np.float32)}), tmp_path)
