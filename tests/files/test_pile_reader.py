"""Folders and single files become piles; ids come from names."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.errors import FileError, PileError
from unshuffle.files import limits, read_pile, write_network

SUFFIXES = [".pth", ".pt", ".safetensors", ".npz"]


def save(path: Path, tensors: dict[str, np.ndarray]) -> None:
    if path.suffix.lower() in (".pth", ".pt"):
        pytest.importorskip("torch")
    write_network(path, tensors)


def numbered(n: int) -> dict[str, np.ndarray]:
    return {"weight": np.full((2, 3), n, np.float32), "bias": np.full(2, n, np.float32)}


def folder_of(tmp_path: Path, *names: str) -> Path:
    for n, name in enumerate(names):
        save(tmp_path / name, numbered(n))
    return tmp_path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_of_pieces(suffix: str, tmp_path: Path) -> None:
    pile = read_pile(folder_of(tmp_path, *(f"piece_{n}{suffix}" for n in (7, 0, 12))))
    for n, name in enumerate([7, 0, 12]):
        piece = pile[pile.index[name]]
        np.testing.assert_array_equal(piece.weight, numbered(n)["weight"], strict=True)
        np.testing.assert_array_equal(piece.bias, numbered(n)["bias"], strict=True)
        assert piece.stored_as == "float32"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("separator", "./_")
def test_one_file_of_pieces(suffix: str, separator: str, tmp_path: Path) -> None:
    path = tmp_path / f"pile{suffix}"
    save(
        path,
        {
            f"net{separator}{name}{separator}{part}": values
            for n, name in enumerate(["a3", "a20"])
            for part, values in numbered(n).items()
        },
    )
    pile = read_pile(str(path))
    assert sorted(pile.ids) == [3, 20]
    np.testing.assert_array_equal(pile[pile.index[20]].weight, numbered(1)["weight"])


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["piece_1", "piece_02"], (1, 2)),
        (["p1", "p01"], ("p1", "p01")),
        (["p1", "q1"], ("p1", "q1")),
        (["p1", "last"], ("p1", "last")),
        (["v2_a_3", "v2_a_4"], (3, 4)),
        (["3.v2", "4.v2"], ("3.v2", "4.v2")),
        (["a,1", "b,2"], (1, 2)),
        (["²", "³"], ("²", "³")),
        (["ein Stück", "noch eins"], ("ein Stück", "noch eins")),
    ],
)
def test_ids(names: list[str], ids: tuple[int | str, ...], tmp_path: Path) -> None:
    assert read_pile(folder_of(tmp_path, *(f"{name}.npz" for name in names))).ids == ids


@pytest.mark.parametrize("name", ["a,b", "a\nb", "\x1b[31m", " a", "a\t", "\udcff"])
def test_names_that_no_answer_can_list(name: str, tmp_path: Path, refused) -> None:
    folder = folder_of(tmp_path, f"{name}.npz", "other.npz")
    with refused(FileError, tmp_path.name, repr(name), "rename it"):
        read_pile(folder)


def test_the_same_piece_twice(tmp_path: Path, refused) -> None:
    with refused(FileError, tmp_path.name, "two pieces are called a"):
        read_pile(folder_of(tmp_path, "a.npz", "a.safetensors"))


def test_formats_may_be_mixed_and_suffixes_be_loud(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "1.npz", "2.safetensors")
    os.rename(folder / "1.npz", folder / "1.NPZ")
    assert read_pile(folder).ids == (1, 2)


def test_hidden_and_other_files_are_left_aside(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "1.npz")
    (folder / ".2.npz").write_bytes(b"?")
    (folder / "README.md").write_bytes(b"?")
    (folder / "notes").mkdir()
    folder_of(folder / "notes", "network.safetensors", "evidence.npz")
    (folder / "notes" / "solution.json").write_text("{}")  # as solve --out keeps it
    assert read_pile(folder).ids == (1,)


def test_nothing_left(tmp_path: Path, refused) -> None:
    with refused(FileError, tmp_path.name, "has no files of arrays", "found none; give the"):
        read_pile(tmp_path)
    for n in range(20):
        (tmp_path / f"{n:02}.txt").touch()
    with refused(FileError, "found 00.txt, 01.txt", "and 12 more"):
        read_pile(tmp_path)
    (tmp_path / "b0.csv").write_text("0.5\n1.5\n")
    with refused(FileError, "b0.csv: is text; save the numbers of each layer by numpy.savez"):
        read_pile(tmp_path)


def test_a_folder_of_files_that_are_not_read_says_how_to_convert_them(
    tmp_path: Path, refused
) -> None:
    (tmp_path / "notes.txt").write_text("?")
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with refused(FileError, "model.h5: is a file of HDF5", f"give {tmp_path / 'model.h5'}.npz"):
        read_pile(tmp_path)


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder_of(tmp_path / "elsewhere", "9.npz")
    (tmp_path / "pieces").mkdir()
    (tmp_path / "pieces" / "1.npz").symlink_to(tmp_path / "elsewhere" / "9.npz")
    (tmp_path / "link").symlink_to(tmp_path / "pieces")
    assert read_pile(tmp_path / "link").ids == (1,)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_regular_file(suffix: str, tmp_path: Path, refused) -> None:
    path = tmp_path / f"1{suffix}"
    os.mkfifo(path)
    with refused(FileError, path, "pipe"):
        read_pile(tmp_path)
    with refused(FileError, path, "pipe"):
        read_pile(path)
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with refused(FileError, path, "no such file"):
        read_pile(tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with refused(FileError, path, "device"):
        read_pile(tmp_path)


def test_missing(tmp_path: Path, refused) -> None:
    with refused(FileError, "nowhere", "no such file or folder"):
        read_pile(tmp_path / "nowhere")
    (tmp_path / "notes.txt").touch()
    with refused(FileError, "notes.txt", "is empty"):
        read_pile(tmp_path / "notes.txt")
    with refused(FileError, "nowhere.npz", "no such file or folder"):
        read_pile(tmp_path / "nowhere.npz")
    with refused(FileError, "no such file or folder"):
        read_pile(tmp_path / ("a" * 300))
    with refused(FileError, "no such file or folder"):
        read_pile(tmp_path / ("a" * 300 + ".npz"))
    with refused(FileError, r"\x00"):
        read_pile(tmp_path / "a\0.npz")


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({}, "holds no arrays of NumPy or torch"),
        ({"weight": np.ones((2, 2)), "scale": np.ones((1, 2))}, "it holds scale"),
        ({"weight": np.ones((2, 2)), "bias": np.ones(2), "scale": np.ones(2)}, "it holds scale"),
    ],
)
def test_what_is_in_no_piece(tensors, complaint, tmp_path: Path, refused) -> None:
    save(tmp_path / "1.npz", tensors)
    save(tmp_path / "2.npz", numbered(2))
    with refused(FileError, tmp_path / "1.npz", complaint):
        read_pile(tmp_path)


def test_a_file_of_a_folder_may_hold_many_pieces(tmp_path: Path) -> None:
    many = {f"{n}.{part}": v for n in range(2) for part, v in numbered(n).items()}
    save(tmp_path / "some.npz", many)
    save(tmp_path / "9.npz", numbered(9))
    assert sorted(read_pile(tmp_path).ids) == [0, 1, 9]


def test_any_prefix_will_do_in_a_folder(tmp_path: Path) -> None:
    save(tmp_path / "1.npz", {f"net.linear.{part}": v for part, v in numbered(1).items()})
    assert read_pile(tmp_path).ids == (1,)


def test_a_piece_without_a_name_is_called_like_its_file(tmp_path: Path) -> None:
    save(tmp_path / "last.npz", numbered(1))
    assert read_pile(tmp_path / "last.npz").ids == ("last",)


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({}, "holds no arrays of NumPy or torch"),
        ({"a.weight": np.ones((2, 2)), "a_bias": np.ones(2)}, "two pieces are called a"),
        (
            {f"a{s}{part}": v for s in "._" for part, v in numbered(1).items()},
            "two pieces are called a",
        ),
        ({"a.weight": np.ones((2, 2)), "a.bias": np.ones(2), "mean": np.ones(2)}, "holds mean"),
        ({"all": np.ones(9)}, "holds vectors (all) and no matrix; save each weight"),
        ({"a.weight\n": np.ones((2, 2))}, r"a piece is called 'a.weight\n'"),
    ],
)
def test_one_file_holds_nothing_but_pieces(tensors, complaint, tmp_path: Path, refused) -> None:
    save(tmp_path / "pile.npz", tensors)
    with refused(FileError, tmp_path / "pile.npz", complaint):
        read_pile(tmp_path / "pile.npz")


def test_a_weight_or_a_bias_alone_is_a_piece(tmp_path: Path) -> None:
    save(tmp_path / "1.npz", {"weight": np.ones((3, 2), np.float32)})
    save(tmp_path / "2.npz", {"bias": np.full(3, 2, np.float16)})
    pile = read_pile(tmp_path)
    assert [piece.detached for piece in pile] == [True]
    assert [(bias.id, bias.stored_as) for bias in pile.biases] == [(2, "float16")]
    save(tmp_path / "both.npz", {"a.weight": np.ones((3, 2)), "b.bias": np.ones(3)})
    pile = read_pile(tmp_path / "both.npz")
    assert (pile.ids, pile.biases[0].id) == (("a",), "b")


def test_biases_alone_are_no_pile(tmp_path: Path, refused) -> None:
    save(tmp_path / "2.npz", {"bias": np.ones(3)})
    with refused(FileError, tmp_path, "holds vectors (2) and no matrix; save each weight"):
        read_pile(tmp_path)


def test_errors_of_pieces_name_their_file(tmp_path: Path, refused) -> None:
    save(tmp_path / "3.npz", {"weight": np.ones((2, 2)), "bias": np.ones(3)})
    with refused(PileError, tmp_path / "3.npz", "piece 3"):
        read_pile(tmp_path)
    write_network(tmp_path / "3.npz", {"weight": np.ones(2), "bias": np.ones(2)}, force=True)
    with refused(PileError, tmp_path / "3.npz", "piece 3"):
        read_pile(tmp_path)


def test_a_piece_has_one_dtype(tmp_path: Path, refused) -> None:
    save(tmp_path / "3.npz", {"weight": np.ones((2, 2)), "bias": np.ones(2, np.float16)})
    with refused(FileError, tmp_path / "3.npz", "piece 3", "float64", "float16"):
        read_pile(tmp_path)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_stored_dtype_is_remembered(dtype: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(3, 2).to(getattr(torch, dtype))
    torch.save(layer.state_dict(), tmp_path / "0.pth")
    (piece,) = read_pile(tmp_path)
    assert piece.stored_as == dtype
    expected = layer.weight.detach().to(torch.float64 if dtype == "float64" else torch.float32)
    np.testing.assert_array_equal(piece.weight, expected.numpy(), strict=True)


def test_too_many_pieces(tmp_path: Path, refused, monkeypatch) -> None:
    monkeypatch.setattr(limits, "PIECES", 2)
    with refused(FileError, tmp_path.name, "holds 3 pieces, but at most 2"):
        read_pile(folder_of(tmp_path, "1.npz", "2.npz", "3.npz"))
    monkeypatch.setattr(limits, "MEMBERS", 2)
    with refused(FileError, tmp_path.name, "more than 2 files"):
        read_pile(tmp_path)


def test_too_many_bytes_in_all(tmp_path: Path, refused, monkeypatch) -> None:
    monkeypatch.setattr(limits, "TOTAL_BYTES", 1_000)
    folder_of(tmp_path, *(f"{n}.safetensors" for n in range(40)))
    with refused(FileError, tmp_path.name, "at most 1000"):
        read_pile(tmp_path)


@given(st.permutations(range(6)))
def test_names_do_not_influence_the_sequence(scratch: Path, numbers: list[int]) -> None:
    folder = scratch / "pieces"
    folder.mkdir(exist_ok=True)
    for n, number in enumerate(numbers):
        write_network(folder / f"{number}.npz", numbered(n), force=True)
    pile = read_pile(folder)
    assert [numbers.index(number) for number in pile.ids] == [0, 2, 3, 1, 4, 5]


def test_the_puzzle(puzzle: Path) -> None:
    pile = read_pile(puzzle / "pieces")
    assert sorted(pile.ids) == list(range(97))
    assert pile.stored_as == ("float32",)
    torch = pytest.importorskip("torch")
    for piece in pile:
        state = torch.load(puzzle / "pieces" / f"piece_{piece.id}.pth", map_location="cpu")
        np.testing.assert_array_equal(piece.weight, state["weight"].numpy(), strict=True)
        np.testing.assert_array_equal(piece.bias, state["bias"].numpy(), strict=True)
