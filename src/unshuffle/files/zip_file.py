"""A zip archive whose every member is checked before one is read."""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass

from unshuffle.errors import FileError, shown
from unshuffle.files import limits
from unshuffle.pieces.pile import twice

_ENTRY = b"PK\x01\x02"  # begins each entry of a zip's directory

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # a zip version or method that Python does not read
    OSError,
    OverflowError,  # a position that no file has
    RuntimeError,  # a member that asks for a password
    struct.error,
    ValueError,
)


def open_zip(where: str, content: bytes) -> "Archive":
    """Read a zip's directory and check what its members declare, before reading any.

    `where` names the file in messages.
    """
    # Python's reader builds an object for each entry: count them before it does.
    if content.count(_ENTRY) > limits.MEMBERS:
        raise FileError(f"{where}: has more than {limits.MEMBERS} members; is it the right file?")
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except _DAMAGE as error:
        raise FileError(
            f"{where}: is not a complete zip archive ({shown(error)}); was it copied or downloaded "
            "completely?"
        ) from error
    members = archive.infolist()
    for member in members:
        _check_member(member, where)
    if doubled := twice(member.filename for member in members):
        raise FileError(f"{where}: two members are called {shown(doubled[0])}; save it again")
    limits.check_growth(sum(member.file_size for member in members), len(content), where)
    return Archive(where, len(content), archive, {member.filename: member for member in members})


def _check_member(member: zipfile.ZipInfo, where: str) -> None:
    name = f"{where}: member {shown(member.filename)}"
    limits.check_name(member.filename, name)
    if member.flag_bits & 0x1:
        raise FileError(f"{name} is encrypted; save the file again without a password")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileError(
            f"{name} is compressed by method {member.compress_type}, but only stored and deflated "
            "members are read; save the file again"
        )
    limits.check_growth(member.file_size, member.compress_size, name)


@dataclass(frozen=True, eq=False)
class Archive:
    """An open zip of so many bytes, held in memory, and its members by name."""

    where: str  # its path, for messages
    size: int
    zip: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """Read a member or its first `max_bytes`: exactly as many bytes as are declared."""
        member, what = self.members[name], f"{self.where}: member {shown(name)}"
        size = member.file_size if max_bytes is None else min(max_bytes, member.file_size)
        try:
            with self.zip.open(member) as stream:
                content = stream.read(size)  # a size, so that a lying member cannot unpack more
        except _DAMAGE as error:
            raise FileError(
                f"{what} is damaged ({shown(error)}); copy or download the file again"
            ) from error
        if len(content) != size:
            raise FileError(
                f"{what} holds {len(content)} bytes where {size} are declared; copy or download "
                "the file again"
            )
        return content
