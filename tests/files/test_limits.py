"""Files that ask for too much are refused before memory is taken."""

import gzip
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from unshuffle.errors import FileError
from unshuffle.files import limits, read_pile, read_records, write_network

ZIPS = [".pth", ".pt", ".npz"]
PILES = [*ZIPS, ".safetensors"]
TEXTS_AND_TABLES = [".csv", ".csv.gz", ".parquet"]

MEGABYTE = 2**20


@contextmanager
def little_memory(most: int = 6 * MEGABYTE) -> Iterator[None]:
    """Allow some memory, but not what a bomb would take."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most


def reader(suffix: str):
    return read_pile if suffix in PILES else read_records


@pytest.mark.parametrize("suffix", PILES + TEXTS_AND_TABLES)
def test_oversized(suffix: str, tmp_path: Path, refused) -> None:
    path = tmp_path / f"a{suffix}"
    with open(path, "wb") as stream:
        stream.truncate(limits.FILE_BYTES + 1)  # without taking space on the disk
    with (
        little_memory(),
        refused(FileError, path, limits.FILE_BYTES + 1, f"at most {limits.FILE_BYTES}"),
    ):
        reader(suffix)(path)


@pytest.mark.parametrize("suffix", PILES + TEXTS_AND_TABLES)
def test_empty(suffix: str, tmp_path: Path, refused) -> None:
    path = tmp_path / f"a{suffix}"
    path.touch()
    with refused(FileError, path, "is empty"):
        reader(suffix)(path)


@pytest.mark.parametrize("suffix", PILES)
@pytest.mark.parametrize("content", [b"hello, world\n" * 9, bytes(99), b"PK\x05\x06" * 9, b"\x1f"])
def test_another_format(suffix: str, content: bytes, tmp_path: Path, refused) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with refused(FileError, path, "not a complete"):
        reader(suffix)(path)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


@pytest.mark.parametrize("suffix", ZIPS)
@pytest.mark.parametrize("name", ["a/data.pkl", "a/data/0", "a.weight.npy", "other"])
def test_a_member_that_unpacks_too_far(suffix: str, name: str, tmp_path: Path, refused) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(zipped({name: bytes(10 * MEGABYTE)}))
    with little_memory(), refused(FileError, path, name, "unpack to"):
        read_pile(path)


@pytest.mark.parametrize("suffix", ZIPS)
def test_members_that_unpack_too_far_together(
    suffix: str, tmp_path: Path, refused, monkeypatch
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(zipped({str(n): bytes(MEGABYTE - 1) for n in range(10)}))
    with refused(FileError, path, "unpack to"):
        read_pile(path)
    monkeypatch.setattr(limits, "TOTAL_BYTES", MEGABYTE // 2)
    path.write_bytes(zipped({"a": bytes(MEGABYTE)}, zipfile.ZIP_STORED))
    with refused(FileError, path, "at most 524288"):
        read_pile(path)


def test_a_member_that_lies_about_its_size(tmp_path: Path, refused) -> None:
    member = io.BytesIO()
    np.lib.format.write_array(member, np.zeros(5 * MEGABYTE, np.float32))
    true_size = struct.pack("<I", member.tell())
    small = io.BytesIO()
    np.lib.format.write_array(small, np.zeros(2, np.float32))
    path = tmp_path / "a.npz"
    content = zipped({"weight.npy": member.getvalue()})
    path.write_bytes(content.replace(true_size, struct.pack("<I", small.tell())))
    with little_memory(), refused(FileError, path, "weight"):
        read_pile(path)


def test_text_that_unpacks_too_far(tmp_path: Path, refused) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a\n" + b"1\n" * 10 * MEGABYTE))
    with little_memory(16 * MEGABYTE), refused(FileError, path, "unpack to"):
        read_records(path)


@pytest.mark.parametrize("suffix", ZIPS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_strange_members(suffix: str, tmp_path: Path, refused) -> None:
    path = tmp_path / f"a{suffix}"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    path.write_bytes(content.getvalue())
    with refused(FileError, path, "two members are called a"):
        read_pile(path)

    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path.write_bytes(zipped({"a": b"1"}, method))
        with refused(FileError, path, "member a", f"method {method}"):
            read_pile(path)

    encrypted = bytearray(zipped({"a": b"1"}))
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(encrypted)
    with refused(FileError, path, "member a", "encrypted"):
        read_pile(path)

    path.write_bytes(zipped({"a" * 1001: b"1"}))
    with refused(FileError, path, "a name of 1001 characters"):
        read_pile(path)

    path.write_bytes(zipped({"\x1b[2J\n": b"1"}))
    with refused(FileError, path):
        read_pile(path)


def test_a_position_that_no_file_has(tmp_path: Path, refused, layer) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    write_network(path, layer)
    content = bytearray(path.read_bytes())
    # torch writes 64-bit directories: the highest byte of where this one begins.
    content[content.rindex(b"PK\x06\x07") - 1] = 0xFF
    path.write_bytes(content)
    with refused(FileError, path, "too large"):
        read_pile(path)


@pytest.mark.parametrize("suffix", ZIPS)
def test_too_many_members(suffix: str, tmp_path: Path, refused, monkeypatch) -> None:
    monkeypatch.setattr(limits, "MEMBERS", 3)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(zipped({str(n): b"" for n in range(4)}))
    with refused(FileError, path, "more than 3 members"):
        read_pile(path)


def test_a_wrong_checksum(tmp_path: Path, refused, layer) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **layer)
    content = bytearray(path.read_bytes())
    content[content.index(layer["bias"].tobytes())] ^= 1
    path.write_bytes(content)
    with refused(FileError, path, "member bias.npy is damaged", "CRC"):
        read_pile(path)


def test_what_compresses_well_but_is_small_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, weight=np.zeros((200, 200)), bias=np.zeros(200))
    assert path.stat().st_size * limits.GROWTH < 200 * 200 * 8
    assert read_pile(path)[0].shape == (200, 200)
