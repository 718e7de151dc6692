"""NumPy archives are read exactly, or refused before their numbers are."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unshuffle.errors import FileError
from unshuffle.files.formats import arrays_of
from unshuffle.files.npz_file import open_npz

NAMES = st.text("abcXYZ019._/ é", min_size=1, max_size=6).filter(lambda name: name != "file")


def read(content: bytes, folder: Path):
    path = folder / "pile.npz"
    return {name: array.read() for name, array in arrays_of(content, str(path)).items()}


def packed(member: bytes, name: str = "a.npy") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, member)
    return content.getvalue()


def npy(header: bytes, numbers: bytes = bytes(24), version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + numbers


HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n"


@given(
    st.dictionaries(
        NAMES,
        hnp.arrays(
            st.sampled_from(["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]),
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        ),
        max_size=4,
    ),
    st.booleans(),
    st.booleans(),
)
def test_round_trip(scratch: Path, arrays, compressed: bool, fortran: bool) -> None:
    if fortran:
        arrays = {name: np.asarray(array, order="F") for name, array in arrays.items()}
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)
    tensors = read(content.getvalue(), scratch)
    assert list(tensors) == list(arrays)
    for name, array in arrays.items():
        exact = np.float64 if array.dtype.itemsize == 8 else np.float32
        np.testing.assert_array_equal(tensors[name].values, array.astype(exact), strict=True)
        assert tensors[name].values.flags.c_contiguous
        assert tensors[name].values.dtype.isnative
        assert tensors[name].stored_as == array.dtype.name


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format(version: tuple[int, int], tmp_path: Path) -> None:
    member = io.BytesIO()
    values = np.arange(6.0).reshape(2, 3)
    np.lib.format.write_array(member, values, version=version)
    np.testing.assert_array_equal(read(packed(member.getvalue()), tmp_path)["a"].values, values)


@pytest.mark.parametrize("dtype", ["int16", "uint32", "longdouble"])
def test_other_dtypes_are_named(dtype: str, tmp_path: Path, refused) -> None:
    content = io.BytesIO()
    np.savez(content, steps=np.zeros(2, dtype))
    with refused(FileError, "pile.npz", "array steps", f"stored as {np.dtype(dtype).name}"):
        read(content.getvalue(), tmp_path)


def test_objects_are_not_unpickled(tmp_path: Path, refused) -> None:
    content = io.BytesIO()
    np.savez(content, a=np.array([print, None]))
    assert read(content.getvalue(), tmp_path) == {}
    np.savez(content, a=np.array([os.system, None]))
    with refused(FileError, "pile.npz", "array a", "would use posix.system", "nothing was run"):
        read(content.getvalue(), tmp_path)


def test_arrays_are_found_in_an_array_of_objects(tmp_path: Path) -> None:
    params = {"net/~/linear_3": {"w": np.arange(6.0).reshape(2, 3), "b": np.ones(3, "f4")}}
    content = io.BytesIO()
    np.savez(content, params=np.array(params), steps=np.array([{"a": [np.arange(3)]}, None]))
    tensors = read(content.getvalue(), tmp_path)
    assert list(tensors) == ["params.w", "params.b", "steps.0.a.0"]
    np.testing.assert_array_equal(tensors["params.w"].values, params["net/~/linear_3"]["w"])
    np.testing.assert_array_equal(tensors["steps.0.a.0"].values, [0, 1, 2])


def test_arrays_one_behind_the_other(tmp_path: Path) -> None:
    arrays = [np.arange(6.0).reshape(2, 3), np.ones(2, "f4"), np.array(3)]
    for line in (b"", b'{"width": 3}\n'):
        content = io.BytesIO(line)
        content.seek(0, io.SEEK_END)
        for array in arrays:
            np.save(content, array)
        tensors = read(content.getvalue(), tmp_path)
        assert list(tensors) == ["0", "1", "2"]
        for array, tensor in zip(arrays, tensors.values(), strict=True):
            np.testing.assert_array_equal(tensor.values, array)
        with pytest.raises(FileError, match=r"not a complete \.npy file"):
            read(content.getvalue()[:-1], tmp_path)


def test_one_array_alone_has_no_name(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    (found,) = read(content.getvalue(), tmp_path).items()
    assert found[0] == ""
    np.testing.assert_array_equal(found[1].values, np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("values", [np.zeros(2, "i4,f4"), np.array(["x"]), np.zeros(2, complex)])
def test_other_arrays_are_refused(values: np.ndarray, tmp_path: Path, refused) -> None:
    content = io.BytesIO()
    np.savez(content, a=values)
    with refused(FileError, "pile.npz", "array a", "numbers"):
        read(content.getvalue(), tmp_path)


def test_other_members_are_refused(tmp_path: Path, refused) -> None:
    with refused(FileError, "pile.npz", "a zip of notes.txt"):
        read(packed(b"hello", "notes.txt"), tmp_path)
    (tmp_path / "record.npz").write_bytes(packed(b"hello", "notes.txt"))
    with refused(FileError, "record.npz", "member notes.txt is not a .npy array", "numpy.savez"):
        open_npz(tmp_path / "record.npz")


@pytest.mark.parametrize(
    ("member", "complaint"),
    [
        (b"", "not in the .npy format"),
        (b"hello, this is text", "not in the .npy format"),
        (npy(HEADER, version=b"\x09\x00"), "not in the .npy format"),
        (npy(HEADER)[:20], "not a plain array"),
        (npy(b"__import__('os').system('true')"), "not a plain array"),
        (npy(b"(" * 5000), "not a plain array"),
        (npy(HEADER.replace(b"<f4", b"<f4'*9**9,'")), "not a plain array"),
        (npy(HEADER.replace(b"<f4", b"<f3")), "unknown number format <f3"),
        (npy(HEADER.replace(b"<f4", b"<f99999")), "unknown number format"),
        (npy(HEADER.replace(b"2, 3", b"-2, -3")), "not a plain array"),
        (npy(HEADER.replace(b"2, 3", b"2, 4")), "declares shape (2, 4) of float32, but holds 24"),
        (npy(HEADER, bytes(23)), "but holds 23 bytes"),
        (npy(HEADER, bytes(25)), "but holds 25 bytes"),
        (npy(HEADER.replace(b"2, 3", b"999999999999, 999999999999")), "but holds 24 bytes"),
        (npy(HEADER.replace(b"2, 3", b"0, 9999999999999999999"), b""), "beyond any memory"),
        (npy(HEADER.replace(b"2, 3", b"0, 4611686018427387904"), b""), "beyond any memory"),
        (npy(HEADER.replace(b"2, 3", b"1, 1, 1, 1, 1, 1, 1, 2, 3")), "9 axes"),
    ],
)
def test_damage(member: bytes, complaint: str, tmp_path: Path, refused) -> None:
    with refused(FileError, "pile.npz", "array a", complaint):
        read(packed(member), tmp_path)


def test_a_lone_array_beyond_memory(tmp_path: Path, refused) -> None:
    path = tmp_path / "1.npy"
    path.write_bytes(npy(HEADER.replace(b"2, 3", b"0, 4611686018427387904"), b""))
    with refused(FileError, "1.npy: array 0 declares shape", "beyond any memory; leave the array"):
        arrays_of(path.read_bytes(), str(path))


def test_headers_come_without_numbers(tmp_path: Path) -> None:
    path = tmp_path / "pile.npz"
    np.savez(path, a=np.zeros((2, 3)), b=np.zeros(4, ">i2"))
    arrays = open_npz(path)
    assert {name: (array.shape, array.dtype.str) for name, array in arrays.items()} == {
        "a": ((2, 3), "<f8"),
        "b": ((4,), ">i2"),
    }
