"""torch.save files of every kind are read exactly, or refused with advice."""

import argparse
import io
import pickle
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.errors import FileError
from unshuffle.files import limits
from unshuffle.files.formats import arrays_of

torch = pytest.importorskip("torch")

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def saved(state: object, **options: object) -> bytes:
    packed = io.BytesIO()
    torch.save(state, packed, **options)
    return packed.getvalue()


def read(content: bytes, folder: Path):
    path = folder / "piece.pth"
    return {name: array.read() for name, array in arrays_of(content, str(path)).items()}


def check(state, folder: Path, **options: object) -> None:
    tensors = read(saved(state, **options), folder)
    assert list(tensors) == list(state)
    for name, tensor in state.items():
        expected = tensor.detach()
        exact = torch.float64 if expected.dtype is torch.float64 else torch.float32
        found = tensors[name]
        assert DTYPES[found.stored_as] is expected.dtype
        assert found.values.flags.c_contiguous
        assert found.values.flags.writeable
        np.testing.assert_array_equal(found.values, expected.to(exact).numpy(), strict=True)


@given(
    st.sampled_from(list(DTYPES)),
    st.lists(st.integers(0, 5), min_size=0, max_size=4),
    st.sampled_from([2, 3, 4, 5]),
    st.integers(0, 99),
)
def test_round_trip(scratch: Path, dtype: str, shape: list[int], protocol: int, seed: int) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    check({"a": values.to(DTYPES[dtype])}, scratch, pickle_protocol=protocol)


@given(st.data())
def test_views_of_shared_storages(scratch: Path, data: st.DataObject) -> None:
    whole = torch.arange(720, dtype=DTYPES[data.draw(st.sampled_from(list(DTYPES)))])
    views = {"whole": whole}
    for name in "abc":
        view = whole.reshape(8, 9, 10)
        for axis in range(3):
            begin = data.draw(st.integers(0, 5))
            view = view.narrow(axis, begin, view.shape[axis] - begin)
        step = data.draw(st.integers(1, 3))
        views[name] = view.permute(data.draw(st.permutations(range(3))))[::step]
    check(views, scratch)


def test_overlapping_and_repeated_numbers(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    check(
        {
            "windows": whole.as_strided((4, 3), (1, 1)),
            "repeated": whole.expand(5, 6),
            "transposed": whole.reshape(2, 3).T,
            "diagonal": whole.reshape(2, 3).diagonal(),
            "number": whole[3],
        },
        tmp_path,
    )


def test_modules_and_parameters(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    check(module.state_dict(), tmp_path)
    check(dict(module.named_parameters()), tmp_path)
    check(OrderedDict(weight=torch.nn.Parameter(torch.ones(2), requires_grad=False)), tmp_path)
    tensors = read(saved({"state_dict": module.state_dict()}), tmp_path)
    assert list(tensors) == list(module.state_dict())


def test_many_tensors(tmp_path: Path) -> None:
    check({f"{i}.weight": torch.full((2,), float(i)) for i in range(2_500)}, tmp_path)


def test_big_endian(tmp_path: Path, repack) -> None:
    for name, dtype in DTYPES.items():
        values = torch.arange(-3, 3).to(dtype)
        swapped = values.view(torch.uint8).reshape(6, -1).flip(1).numpy().tobytes()
        content = repack(saved({"a": values}), {"byteorder": b"big", "data/0": swapped})
        found = read(content, tmp_path)["a"]
        np.testing.assert_array_equal(found.values, np.arange(-3, 3))
        assert found.stored_as == name


def test_without_byteorder_as_torch_wrote_before_2_1(tmp_path: Path, repack) -> None:
    content = repack(saved({"a": torch.arange(3.0)}), {"byteorder": None})
    np.testing.assert_array_equal(read(content, tmp_path)["a"].values, [0, 1, 2])


def test_from_a_gpu(tmp_path: Path, repack) -> None:
    content = saved({"a": torch.arange(3.0)})
    program = zipfile.ZipFile(io.BytesIO(content)).read("archive/data.pkl")
    assert b"X\x03\x00\x00\x00cpu" in program
    moved = program.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    found = read(repack(content, {"data.pkl": moved}), tmp_path)
    np.testing.assert_array_equal(found["a"].values, [0, 1, 2])


def test_compressed_by_another_program(tmp_path: Path) -> None:
    packed = io.BytesIO()
    old = zipfile.ZipFile(io.BytesIO(saved({"a": torch.arange(300.0)})))
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    np.testing.assert_array_equal(read(packed.getvalue(), tmp_path)["a"].values, np.arange(300))


@pytest.mark.parametrize("dtype", ["int16", "bool", "complex64", "complex128"])
def test_other_dtypes_are_named(dtype: str, tmp_path: Path, refused) -> None:
    content = saved({"steps": torch.zeros(2, dtype=getattr(torch, dtype))})
    with refused(FileError, "piece.pth", "tensor steps", f"stored as {dtype}", "float32"):
        read(content, tmp_path)


def test_dtypes_without_a_storage_of_their_own_are_refused(tmp_path: Path, refused) -> None:
    with refused(FileError, "piece.pth", "tensor a", "stored as float8_e4m3fn"):
        read(saved({"a": torch.zeros(2, dtype=torch.float8_e4m3fn)}), tmp_path)


def test_files_of_torch_before_1_6(tmp_path: Path, refused) -> None:
    check(torch.nn.Linear(3, 4).state_dict(), tmp_path, _use_new_zipfile_serialization=False)
    whole = torch.arange(6.0)
    check({"a": whole[1:3], "b": whole}, tmp_path, _use_new_zipfile_serialization=False)
    content = saved({"a": whole}, _use_new_zipfile_serialization=False)
    with refused(FileError, "piece.pth", "cut short"):
        read(content[:-1], tmp_path)
    size = len(content) - 32
    for number in (5, 7, 2**40):
        wrong = content[:size] + number.to_bytes(8, "little") + content[size + 8 :]
        with refused(FileError, "piece.pth", "declares another length for storage"):
            read(wrong, tmp_path)


def test_bare_pickles(tmp_path: Path) -> None:
    state = torch.nn.Linear(3, 4).state_dict()
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    for protocol in (2, 3, 4, 5):
        for held in (state, arrays, {"opt": 0.5, "net": arrays}):
            found = read(pickle.dumps(held, protocol), tmp_path)
            values = [tensor.values for tensor in found.values()]
            for one, other in zip(values, arrays.values(), strict=True):
                np.testing.assert_array_equal(one, other, strict=True)
    assert read(pickle.dumps({"a": 1}), tmp_path) == {}


@pytest.mark.parametrize("code", ["f1", "u9", "f\0"])
def test_dtypes_that_numpy_does_not_know(tmp_path: Path, code: str) -> None:
    content = pickle.dumps({"a": np.zeros(4, np.float32), "b": np.ones(4)})
    assert content.count(b"f4") == 1
    assert [*read(content.replace(b"f4", code.encode()), tmp_path)] == ["b"]


def test_files_of_another_format(tmp_path: Path, refused) -> None:
    # The length of a safetensors header may begin with the byte that begins a pickle.
    for begins in (b"\x80\x00", b"\x80\x02", b"\x1f\x8b"):
        spaces = b" " * (int.from_bytes(begins, "little") - 2)
        assert read(begins + bytes(6) + b"{}" + spaces, tmp_path) == {}
    with refused(FileError, "piece.pth", "is a web page"):
        read(b"<html>", tmp_path)


class Lost(torch.nn.Module):
    """A module of a class that nobody has any more."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)])
        self.register_buffer("mean", torch.ones(3))
        self.activation = torch.nn.functional.relu
        self.settings = {"lr": 1e-3, "names": {"a", "b"}}


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_whole_modules(options, tmp_path: Path) -> None:
    module = Lost()
    found = read(saved(module, **options), tmp_path)
    state = module.state_dict()
    assert {*found} == {*state}
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name].values, tensor.numpy(), strict=True)
    found = read(saved(module.layers[0], **options), tmp_path)
    assert list(found) == ["weight", "bias"]


def scripted(module: torch.nn.Module, *, freeze: bool) -> bytes:
    packed = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises against TorchScript
        program = torch.jit.script(module.eval())
        torch.jit.save(torch.jit.freeze(program) if freeze else program, packed)
    return packed.getvalue()


def test_torchscript(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    values = [tensor.numpy() for tensor in module.state_dict().values()]
    found = read(scripted(module, freeze=False), tmp_path)
    assert list(found) == list(module.state_dict())
    frozen = read(scripted(module, freeze=True), tmp_path)
    for tensors in (found, frozen):
        for tensor, value in zip(tensors.values(), values, strict=True):
            np.testing.assert_array_equal(tensor.values, value, strict=True)


@pytest.fixture(scope="module")
def exported() -> bytes:
    packed = io.BytesIO()
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape))
    torch.export.save(torch.export.export(module, (torch.ones(1, 2),)), packed)
    return packed.getvalue()


def test_exported_programs(exported: bytes, tmp_path: Path) -> None:
    found = read(exported, tmp_path)
    assert list(found) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    np.testing.assert_array_equal(found["0.weight"].values, [[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"as_int": 3', b'"as_int": -3'),
        (b'"as_int": 3', b'"as_int": "3"'),
        (b'"sizes": [', b'"sizes": [[]'),
        (b'"dtype": 7', b'"dtype": 99'),
        (b'"dtype": 7', b'"dtype": {}'),
        (b'"weight_1"', b'"../data"'),
        (b'"config"', b'"other"'),
        (b'"config": {', b'"config": [{'),
        (b'"strides": [{"as_int": 2}', b'"strides": [{"as_int": 4}'),
    ],
)
def test_exported_programs_that_lie(
    old, new, exported: bytes, tmp_path: Path, *, repack, harmless
) -> None:
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("weights_config.json")]
        listed = archive.read(name)
    assert old in listed
    with harmless():
        found = read(repack(exported, {"weights_config.json": listed.replace(old, new)}), tmp_path)
        assert found == {}  # no weights are listed


def test_checkpoints_hold_all_that_is_in_them(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 3)
    optimiser = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    held = {"model": layer.state_dict(), "opt": optimiser.state_dict(), "loss": [0.5, 1 << 70]}
    found = read(saved({**held, "args": argparse.Namespace(lr=1e-3)}), tmp_path)
    assert [name for name in found if name.startswith("model")] == ["model.weight", "model.bias"]
    assert "opt.state.0.exp_avg" in found
    assert read(saved({"epoch": 3, "step": 4}), tmp_path) == {}


def test_lists_and_lone_tensors(tmp_path: Path) -> None:
    assert list(read(saved([torch.ones(3), (torch.ones(2), 1)]), tmp_path)) == ["0", "1.0"]
    assert list(read(saved(torch.ones(3)), tmp_path)) == [""]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"data.pkl": None}, ["is a zip of"]),
        ({"byteorder": b"middle"}, ["byte order is middle"]),
        ({"byteorder": b"\xff\n"}, ["byte order is"]),
        ({"data/0": None}, ["storage 0 is missing"]),
        ({"data/0": b""}, ["storage 0 holds 0 bytes", "take 24"]),
        ({"data/0": bytes(25)}, ["storage 0 holds 25 bytes", "take 24"]),
        ({"data.pkl": b""}, ["cut short"]),
        ({"data.pkl": bytes(limits.HEADER_BYTES + 1)}, ["data.pkl"]),
    ],
)
def test_damage(changes, parts, tmp_path: Path, repack, refused) -> None:
    with refused(FileError, "piece.pth", *parts):
        read(repack(saved({"a": torch.arange(6.0)}), changes), tmp_path)


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((7,), (1,), 0), ((6,), (1,), 1), ((2,), (6,), 0), ((2, 3), (4, 1), 0), ((1,), (1,), 255)],
)
def test_no_tensor_reaches_beyond_its_storage(
    shape, strides, offset, tmp_path: Path, *, repack, refused
) -> None:
    content = saved({"a": torch.arange(6.0).as_strided((1,) * len(shape), strides)})
    program = zipfile.ZipFile(io.BytesIO(content)).read("archive/data.pkl")
    ones = b"".join(b"K\x01" for _ in shape) + (b"\x85" if len(shape) == 1 else b"\x86")
    begin = program.index(b"K\x00" + ones)
    mutant = bytearray(program)
    mutant[begin + 1] = offset
    for axis, extent in enumerate(shape):
        mutant[begin + 3 + 2 * axis] = extent
    with refused(FileError, "piece.pth", "tensor a", "reaches to number", "holds 6"):
        read(repack(content, {"data.pkl": bytes(mutant)}), tmp_path)


def test_repeated_numbers_may_not_fill_the_memory(tmp_path: Path, refused) -> None:
    with refused(FileError, "piece.pth", "unpack to"):
        read(saved({"a": torch.ones(1).expand(2**31 - 1)}), tmp_path)
    shared = torch.ones(1000, 1000)
    with refused(FileError, "piece.pth", "unpack to"):
        read(saved({str(i): shared for i in range(500)}), tmp_path)
    with refused(FileError, "piece.pth", "unpack to"):
        read(saved({"a": torch.empty(0).expand(2**31 - 1, 2**31 - 1, 0)}), tmp_path)
