"""A file is written as a whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from unshuffle.errors import FileError
from unshuffle.files import (
    check_folder,
    make_folder,
    read_text,
    write_bytes,
    write_files,
    write_text,
)


def test_writing(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"\x00\xff")
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    write_text(str(tmp_path / "b"), "ä\r\n\n")
    assert (tmp_path / "b").read_bytes() == "ä\r\n\n".encode()
    write_bytes(tmp_path / "c", b"")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_the_permissions_are_the_usual_ones(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_nothing_is_replaced_without_force(tmp_path: Path, refused) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with refused(FileError, path, "exists already", "--force"):
        write_text(path, "new")
    assert path.read_text() == "old"
    write_text(path, "new", force=True)
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_to_nothing_is_something(tmp_path: Path, refused) -> None:
    path = tmp_path / "a"
    path.symlink_to("nowhere")
    with refused(FileError, path, "exists already"):
        write_text(path, "new")


def test_folders_pipes_and_devices_are_never_replaced(tmp_path: Path, refused) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with refused(FileError, path, "cannot be replaced"):
            write_text(path, "new", force=True)


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path, refused, monkeypatch) -> None:
    path = tmp_path / "a"
    sync = os.fsync

    def appear(descriptor: int) -> None:
        path.write_text("other")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", appear)
    with refused(FileError, path, "appeared while it was being written"):
        write_text(path, "new")
    assert path.read_text() == "other"
    assert os.listdir(tmp_path) == ["a"]


def test_without_hard_links(tmp_path: Path, refused, monkeypatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    with refused(FileError, "exists already"):
        write_text(tmp_path / "a", "newer")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("force", [False, True])
def test_a_full_disk_leaves_nothing_behind(
    code: int, force: bool, tmp_path: Path, refused, monkeypatch
) -> None:
    path = tmp_path / "a"
    if force:
        path.write_text("old")

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with refused(FileError, path, os.strerror(code)):
        write_text(path, "new", force=force)
    assert os.listdir(tmp_path) == (["a"] if force else [])
    assert not force or path.read_text() == "old"


def test_an_interruption_leaves_nothing_behind(tmp_path: Path, monkeypatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a", "new")
    assert os.listdir(tmp_path) == []


def test_folders_are_made_and_go_again_where_writing_fails(tmp_path: Path, refused, monkeypatch):
    write_text(tmp_path / "b" / "c" / "a", "new")
    assert (tmp_path / "b" / "c" / "a").read_text() == "new"

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with refused(FileError, "No space left"):
        write_files({tmp_path / "b" / "d" / "e" / "a": b"1", tmp_path / "f" / "a": b"2"})
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c"]


def test_a_folder_that_cannot_be_made_leaves_none_of_those_around_it(tmp_path: Path, refused):
    with refused(FileError, "cannot be made", "File name too long"):
        make_folder(tmp_path / "a" / ("x" * 300) / "b")
    assert os.listdir(tmp_path) == []


def test_permissions(tmp_path: Path, refused, monkeypatch) -> None:
    def deny(*_: object) -> None:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(os, "fsync", deny)  # whoever runs the tests as root may write anywhere
    with refused(FileError, tmp_path / "a", "may not be written", "permissions"):
        write_text(tmp_path / "a", "new")


def test_folders_are_checked_without_making_them(tmp_path: Path, refused, monkeypatch) -> None:
    (tmp_path / "a").touch()
    for path in (tmp_path / "a", tmp_path / "a" / "b" / "c"):
        with refused(FileError, tmp_path / "a", "is a file, not a folder"):
            check_folder(path)
    check_folder(tmp_path)
    check_folder(tmp_path / "b" / "c")
    assert os.listdir(tmp_path) == ["a"]
    make_folder(tmp_path / "b" / "c")
    assert (tmp_path / "b" / "c").is_dir()

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(Path, "touch", deny)
    with refused(FileError, tmp_path / "d", "may not be written", "permissions of"):
        check_folder(tmp_path / "d")
    assert not (tmp_path / "d").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_a_folder_below_one_that_only_seems_writable_is_refused(refused) -> None:
    """As root may write everywhere, so that permissions alone say nothing."""
    with refused(FileError, "/proc/none/a", "cannot be made"):
        check_folder(Path("/proc/none/a"))


def test_strange_paths(tmp_path: Path, refused) -> None:
    with refused(FileError, r"\x00"):
        write_text(tmp_path / "a\0", "new")
    with refused(FileError, "cannot be written"):
        write_text(tmp_path / ("a" * 300), "new")
    write_text(tmp_path / ("a" * 250), "new")


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "1,2,ä\n")
    assert read_text(tmp_path / "a") == "1,2,ä\n"
