"""Content decides what a file is; what is not read is told what to do."""

import io
import os
import pickle
import shlex
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from unshuffle.errors import FileError
from unshuffle.files import read_pile
from unshuffle.pieces.pile import Pile


def piece(n: int) -> dict[str, np.ndarray]:
    return {"weight": np.full((2, 3), n, "f4"), "bias": np.full(2, n, "f4")}


def saved(kind: str, to: Path) -> None:
    """A piece, by the library of a format."""
    if kind == "npz":
        with open(to, "wb") as stream:
            np.savez(stream, **piece(1))
    elif kind == "safetensors":
        from safetensors.numpy import save_file

        save_file(piece(1), to)
    else:
        torch = pytest.importorskip("torch")
        tensors = {name: torch.from_numpy(values) for name, values in piece(1).items()}
        torch.save(tensors, to, _use_new_zipfile_serialization=kind != "legacy")


def converted(path: str | Path, ending: str = "npz") -> Pile:
    """The pile that the command makes which the refusal of a file names."""
    with pytest.raises(FileError) as caught:
        read_pile(path)
    command = str(caught.value).partition(": python ")[2]
    subprocess.run([sys.executable, *shlex.split(command)], check=True)
    return read_pile(f"{path}.{ending}")


@pytest.mark.parametrize("suffix", ["", ".bin", ".ckpt", ".tar", ".h5", ".npz", ".pth"])
@pytest.mark.parametrize("kind", ["npz", "safetensors", "torch", "legacy"])
def test_no_suffix_says_what_a_file_is(kind: str, suffix: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"piece_7{suffix}"
    saved(kind, path)
    for given in (path, tmp_path):
        (found,) = read_pile(given)
        assert found.id == 7
        np.testing.assert_array_equal(found.weight, piece(1)["weight"], strict=True)


def zipped(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


FOREIGN = {
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "HDF5, as Keras and MATLAB": b"MATLAB 7.3 MAT-file" + bytes(600) + b"\x89HDF\r\n\x1a\n",
    "MATLAB": b"MATLAB 5.0 MAT-file Platform: posix" + bytes(99),
    "ONNX": b"\x08\x09\x3a\xd6\x4f\x0a" + bytes(9),
    "GGUF": b"GGUF\x03\x00\x00\x00" + bytes(99),
    "TensorFlow Lite": b"\x1c\x00\x00\x00TFL3" + bytes(99),
    "MessagePack": b"\x81\xa6params\x8b\xa7Dense_0\x82\xa6kernel",
    "Keras": zipped(**{"config.json": b"{}", "model.weights.h5": b"\x89HDF\r\n"}),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", ["model.bin", "it's here.pth"])
def test_other_formats_are_told_how_to_be_converted(
    kind: str, name: str, tmp_path: Path, refused
) -> None:
    path = tmp_path / name
    path.write_bytes(FOREIGN[kind])
    with refused(FileError, path, kind, f"give {path}.npz: python -c"):
        read_pile(path)
    with pytest.raises(FileError) as caught:
        read_pile(path)
    option, program, given = shlex.split(str(caught.value).partition(": python ")[2])
    assert (option, given) == ("-c", str(path))
    compile(program, "told", "exec")


OTHER_PICKLES = {
    "a pickle of protocol 0 or 1": pickle.dumps({"0.weight": [1.5]}, protocol=0),
    "a pickle of protocol 0 or 1; if": pickle.dumps([[1.5]], protocol=1),
    "a file of joblib": b"\x80\x04}\x94\x8c\x13joblib.numpy_pickle\x94" + bytes(99),
    "a file of joblib; if": zlib.compress(bytes(range(99)), 3),
}


@pytest.mark.parametrize("kind", OTHER_PICKLES)
def test_other_pickles_are_told_how_to_be_converted(kind: str, tmp_path: Path, refused) -> None:
    path = tmp_path / "all.pkl"
    path.write_bytes(OTHER_PICKLES[kind])
    with refused(
        FileError, f"{path}: is {kind}", f"if you trust it, convert it and give {path}.pkl"
    ):
        read_pile(path)


def test_the_command_for_old_pickles_works(tmp_path: Path) -> None:
    path = tmp_path / "all.pkl"
    arrays = {f"{n}.{name}": values for n in (5, 6) for name, values in piece(n).items()}
    path.write_bytes(pickle.dumps(arrays, protocol=0))
    assert sorted(converted(path, "pkl").ids) == [5, 6]


@pytest.mark.parametrize(
    ("names", "given", "subject"),
    [
        (["_METADATA", "d/3f"], "", ""),
        (["7/default/_METADATA", "7/default/d/3f"], "", "/7/default"),
        (["ck-1.index", "ck-1.data-00000-of-00001"], "", "/ck-1"),
        (["ck-1.index", "ck-1.data-00000-of-00001"], "ck-1.index", "/ck-1"),
        (["ck-1.data-00000-of-00001"], "ck-1.data-00000-of-00001", "/ck-1"),
        (["saved_model.pb", "variables/variables.index"], "", "/variables/variables"),
    ],
)
def test_checkpoints_are_known_by_the_names_of_their_files(
    names: list[str], given: str, subject: str, tmp_path: Path, refused
) -> None:
    folder = tmp_path / "kept"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\x00\x01\x02 of its own")
    path = f"{folder}{subject}"
    kind = "Orbax" if any("_METADATA" in name for name in names) else "TensorFlow"
    with refused(FileError, f"{path}: is a checkpoint of {kind}", f"give {path}.npz: python -c"):
        read_pile(folder / given)


def test_the_command_for_hdf5_works(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        for n in range(2):
            group = file.create_group(f"layers/dense_{n}/vars")
            group.attrs["name"] = f"mine_{n + 5}"
            group["0"], group["1"] = piece(n)["weight"].T, piece(n)["bias"]
    assert sorted(converted(path).ids) == [5, 6]


def test_the_command_for_gguf_works(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path := str(tmp_path / "model.gguf"), "mlp")
    for n in (5, 6):
        for name, values in piece(n).items():
            writer.add_tensor(f"{n}.{name}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    pile = converted(path)
    assert sorted(pile.ids) == [5, 6]
    np.testing.assert_array_equal(pile["5"].weight, piece(5)["weight"])


def test_the_command_for_matlab_works(tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    path = tmp_path / "net.mat"
    layers = {f"W{n}": piece(n)["weight"] for n in (5, 6)}
    io.savemat(path, layers | {f"b{n}": piece(n)["bias"][:, None] for n in (5, 6)})
    pile = converted(path)
    assert sorted(pile.ids) == [5, 6]
    np.testing.assert_array_equal(pile["5"].bias, piece(5)["bias"])


def test_a_folder_of_another_format_is_converted_by_one_line(tmp_path: Path, refused) -> None:
    folder = tmp_path / "its pieces"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.h5").write_bytes(FOREIGN["HDF5"])
    (folder / "note.txt").write_text("mine")
    loop = f"give the folder: for f in '{folder}'/*.h5; do python -c "
    with refused(FileError, f"{folder}/0.h5: is a file of HDF5", loop, ' "$f"; done'):
        read_pile(folder)


def tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "is a web page; download the file itself"),
        (b'{"layer0": {"weight": [[1.5, 2]]}}', "is text; save the numbers of each layer by numpy"),
        (b"-1.5e-01,2\n3,4\n", "is text; save the numbers of each layer by numpy.savez"),
        (b"\x1f\x8b\x08" + bytes(9), "unpack it with tar -xf"),
        (tar(), "is a tar archive; unpack it with tar -xf"),
        (b"a,b\n1,2\n", "is not a complete torch, safetensors or NumPy file"),
        (zipped(notes=b"?"), "is a zip without files of arrays; found notes; unpack it"),
    ],
)
def test_what_else_is_found(content: bytes, told: str, tmp_path: Path, refused) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with refused(FileError, path, told):
        read_pile(path)


def npz(n: int) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, **piece(n))
    return packed.getvalue()


def test_a_zip_of_pieces(tmp_path: Path, refused) -> None:
    members = {f"drop/pieces/piece_{n}.npz": npz(n) for n in (3, 11)}
    others = {"drop/record.csv": b"a", "__MACOSX/drop/._piece_3.npz": b"?", "drop/.DS_Store": b"?"}
    path = tmp_path / "drop.zip"
    path.write_bytes(zipped(**members, **others))
    assert sorted(read_pile(path).ids) == [3, 11]
    path.write_bytes(zipped(**members, **{"drop/piece_4.pth": b"?"}))
    with refused(FileError, f"{path}: drop/piece_4.pth", "is not a complete"):
        read_pile(path)


def test_folders_in_folders(tmp_path: Path) -> None:
    for n in (3, 11):
        (tmp_path / "drop" / f"part{n}").mkdir(parents=True)
        (tmp_path / "drop" / f"part{n}" / f"piece_{n}.npz").write_bytes(npz(n))
    (tmp_path / "drop" / "record.csv").write_text("a,b\n1,2\n")
    (tmp_path / "drop" / "part3" / "._piece_3.npz").write_bytes(b"?")
    for folder in (tmp_path, tmp_path / "drop"):
        assert sorted(read_pile(folder).ids) == [3, 11]
    (tmp_path / "drop" / "again").symlink_to(tmp_path / "drop")
    assert sorted(read_pile(tmp_path).ids) == [3, 11]


def test_files_of_one_name_in_several_folders(tmp_path: Path) -> None:
    for n in (3, 11):
        (tmp_path / f"layer_{n}").mkdir()
        for part, values in piece(n).items():
            np.save(tmp_path / f"layer_{n}" / part, values)
    assert sorted(read_pile(tmp_path).ids) == [3, 11]


@pytest.mark.parametrize("mark", [" (1)", " copy", " copy 2", " - Copy", " - Copy (2)", " 2"])
def test_copies_are_set_aside(mark: str, tmp_path: Path) -> None:
    for n in (3, 11):
        (tmp_path / f"piece_{n}.npz").write_bytes(npz(n))
    copy = tmp_path / f"piece_3{mark}.npz"
    copy.write_bytes(npz(3))
    assert sorted(read_pile(tmp_path).ids) == [3, 11]
    copy.write_bytes(npz(4))  # another piece, whatever it is called
    assert len(read_pile(tmp_path)) == 3
    (tmp_path / "piece_3.npz").rename(tmp_path / "else.npz")
    copy.write_bytes(npz(3))
    assert len(read_pile(tmp_path)) == 3


def shards(folder: Path, suffix: str) -> None:
    """Layer 1 is torn between two files."""
    arrays = {f"layers.{n}.{part}": v for n in range(3) for part, v in piece(n).items()}
    names = sorted(arrays)
    for n, some in enumerate((names[:3], names[3:]), start=1):
        packed = io.BytesIO()
        np.savez(packed, **{name: arrays[name] for name in some})
        (folder / f"model-0000{n}-of-00002{suffix}").write_bytes(packed.getvalue())
    (folder / f"model{suffix}.index.json").write_text("{}")
    (folder / "config.json").write_text("{}")


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_parts_of_one_network(suffix: str, tmp_path: Path, refused) -> None:
    shards(tmp_path, suffix)
    one, other = (tmp_path / f"model-0000{n}-of-00002{suffix}" for n in (1, 2))
    for path in (tmp_path, one, other, tmp_path / f"model{suffix}.index.json"):
        assert sorted(read_pile(path).ids) == [0, 1, 2]
    other.write_bytes(one.read_bytes())
    with refused(FileError, other, "holds layers.0.bias", f"and {one} does too"):
        read_pile(tmp_path)
    os.remove(other)
    for path in (tmp_path, one):
        with refused(FileError, "model", "saved in 2 files, but 1 of them"):
            read_pile(path)
    os.remove(one)
    with refused(FileError, "index.json", "lists files that are not beside it"):
        read_pile(tmp_path / f"model{suffix}.index.json")


def test_a_folder_of_a_training(tmp_path: Path, refused) -> None:
    arrays = {f"layers.{n}.{part}": v for n in range(3) for part, v in piece(n).items()}
    np.savez(tmp_path / "model.npz", **arrays)
    np.savez(tmp_path / "optimizer.npz", **{"state.0.exp_avg": np.ones((2, 3))})
    np.savez(tmp_path / "rng.npz", rng=np.arange(9))
    assert sorted(read_pile(tmp_path).ids) == [0, 1, 2]
    np.savez(tmp_path / "best.npz", **{name: values + 1 for name, values in arrays.items()})
    with refused(FileError, tmp_path, "two pieces are called layers.0", "best.npz and "):
        read_pile(tmp_path)
    os.remove(tmp_path / "best.npz")
    np.savez(tmp_path / "copy.npz", **arrays)  # one network in two files
    assert sorted(read_pile(tmp_path).ids) == [0, 1, 2]
