"""Networks come back from every format as they were, and always as the same bytes."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file

from unshuffle.errors import FileError, MissingExtraError
from unshuffle.files import write_network
from unshuffle.files.formats import arrays_of

SUFFIXES = [".safetensors", ".npz", ".pt", ".pth"]


def read(path: Path):
    arrays = arrays_of(path.read_bytes(), str(path))
    return {name: array.read() for name, array in arrays.items()}


TENSORS = st.dictionaries(
    st.text("ab.019_/", min_size=1, max_size=6),
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4),
    ),
    min_size=1,
    max_size=3,
)


@given(st.sampled_from(SUFFIXES), TENSORS, st.booleans())
def test_round_trip(scratch: Path, suffix: str, tensors, transpose: bool) -> None:
    if suffix.startswith(".pt"):
        pytest.importorskip("torch")
    if transpose:
        tensors = {name: values.T for name, values in tensors.items()}
    path = scratch / f"network{suffix}"
    write_network(path, tensors, force=True)
    first = path.read_bytes()
    write_network(path, tensors, force=True)
    assert path.read_bytes() == first
    found = read(path)
    assert set(found) == set(tensors)
    assert suffix == ".safetensors" or list(found) == list(tensors)
    for name, values in tensors.items():
        np.testing.assert_array_equal(found[name].values, values, strict=True)


def test_other_programs_read_it(tmp_path: Path, layer) -> None:
    layer["weight"].flags.writeable = False  # as read from a file
    write_network(tmp_path / "a.npz", layer)
    write_network(str(tmp_path / "a.safetensors"), layer)
    for found in (np.load(tmp_path / "a.npz"), load_file(tmp_path / "a.safetensors")):
        for name, values in layer.items():
            np.testing.assert_array_equal(found[name], values, strict=True)
    torch = pytest.importorskip("torch")
    write_network(tmp_path / "a.pt", layer)
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    module = torch.nn.Linear(3, 4)
    module.load_state_dict(state)
    np.testing.assert_array_equal(module.weight.detach().numpy(), layer["weight"], strict=True)


def test_the_sequence_of_the_tensors_does_not_matter_to_safetensors(tmp_path: Path, layer) -> None:
    write_network(tmp_path / "a.safetensors", layer)
    write_network(tmp_path / "b.safetensors", dict(reversed(layer.items())))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
def test_nothing_is_replaced_without_force(suffix: str, tmp_path: Path, layer, refused) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("old")
    with refused(FileError, path, "--force"):
        write_network(path, layer)
    assert path.read_text() == "old"


@pytest.mark.parametrize("name", ["a", "a.txt", "a.onnx", ".npz"])
def test_other_suffixes(name: str, tmp_path: Path, layer, refused) -> None:
    with refused(FileError, name, ".safetensors, .npz, .pt, .pth"):
        write_network(tmp_path / name, layer)
    assert not list(tmp_path.iterdir())


def test_strange_paths(tmp_path: Path, layer, refused) -> None:
    with refused(FileError, "cannot be written"):
        write_network(tmp_path / f"{'a' * 300}.npz", layer)
    with refused(FileError, r"\x00"):
        write_network(tmp_path / "a\0.npz", layer)


def test_without_torch(tmp_path: Path, layer, refused, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with refused(MissingExtraError, "writing a torch state dict", "unshuffle[torch]"):
        write_network(tmp_path / "a.pt", layer)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("stored_as", ["float64", "float32", "float16", "bfloat16"])
def test_numbers_are_stored_as_asked(tmp_path: Path, suffix: str, stored_as: str, layer) -> None:
    if suffix.startswith(".pt"):
        pytest.importorskip("torch")
    path = tmp_path / f"network{suffix}"
    if (suffix, stored_as) == (".npz", "bfloat16"):
        with pytest.raises(FileError, match="knows no bfloat16"):
            write_network(path, layer, stored_as=stored_as)
        return
    write_network(path, layer, stored_as=stored_as)
    for name, tensor in read(path).items():
        assert tensor.stored_as == stored_as
        unit = {"float64": 0, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
        np.testing.assert_allclose(tensor.values, layer[name], rtol=unit[stored_as], atol=1e-6)


def test_the_library_reads_what_is_laid_out_by_hand(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch

    tensors = {
        "b": np.array([[1.5, -2.0]], np.float32),
        "a": np.array([np.inf, -np.inf, np.nan, 3.0e38], np.float32),
        "nan": np.array([0xFFFFFFFF], np.uint32).view(
            np.float32
        ),  # its bits leave no room to round
        "leer": np.zeros((0, 3), np.float32),
        "scalar": np.array(7.0),
    }
    for stored_as in ("float64", "float32", "bfloat16"):
        path = tmp_path / f"{stored_as}.safetensors"
        write_network(path, tensors, stored_as=stored_as)
        assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0  # numbers are aligned
        found = load_torch(path)
        for name, values in tensors.items():
            expected = torch.from_numpy(values).to(getattr(torch, stored_as))
            assert torch.equal(found[name].nan_to_num(0), expected.nan_to_num(0))
            assert torch.equal(found[name].isnan(), expected.isnan())
