"""Reading text, and names in messages."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.errors import FileError, listed, shown
from unshuffle.files import limits, read_text
from unshuffle.files.opening import read_bytes


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "answer.txt"
    path.write_bytes("\ufeffä,1\r\n".encode())
    assert read_text(path) == "ä,1\r\n"
    assert read_text(str(path), max_bytes=9) == "ä,1\r\n"


def test_what_is_no_text(tmp_path: Path, refused) -> None:
    path = tmp_path / "answer.txt"
    path.write_bytes(b"ab\xff")
    with refused(FileError, path, "byte 2 is not UTF-8"):
        read_text(path)


def test_too_much_text(tmp_path: Path, refused) -> None:
    path = tmp_path / "answer.txt"
    path.write_text("12345")
    with refused(FileError, path, "holds 5 bytes, but at most 4"):
        read_text(path, max_bytes=4)
    os.truncate(path, limits.TEXT_BYTES + 1)
    with refused(FileError, path, f"at most {limits.TEXT_BYTES}"):
        read_text(path)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "/dev/null"])
def test_devices(path: str, refused) -> None:
    with refused(FileError, path):
        read_text(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path, refused) -> None:
    os.mkfifo(tmp_path / "pipe")
    with refused(FileError, "pipe", "is a pipe or device"):
        read_text(tmp_path / "pipe")


def test_permissions(tmp_path: Path, refused, monkeypatch) -> None:
    path = tmp_path / "answer.txt"
    path.write_text("1")

    def deny(*_: object) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(os, "open", deny)  # whoever runs the tests as root may read anything
    with refused(FileError, path, "may not be read", "permissions"):
        read_bytes(path)


@given(st.text(st.characters(), max_size=300))
def test_names_are_shown_on_one_line(name: str) -> None:
    text = shown(name)
    assert text.isprintable()
    assert text
    assert len(text) < 3_000
    if name.isprintable() and 0 < len(name) <= 200:
        assert text == name


def test_lists_are_short() -> None:
    assert listed([]) == "none"
    assert listed(["a", "b\n"]) == r"a and 'b\n'"
    assert listed([str(n) for n in range(100)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 92 more"
