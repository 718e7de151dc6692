"""Readers and writers: the only place of the package that opens files."""

from unshuffle.files.atomic import (
    check_folder,
    check_free,
    make_folder,
    write_bytes,
    write_files,
    write_text,
)
from unshuffle.files.network_reader import read_network
from unshuffle.files.network_writer import (
    pack_network,
    pack_npz,
    pack_safetensors,
    write_network,
    write_npz,
)
from unshuffle.files.opening import read_text, shown
from unshuffle.files.pile_reader import read_pile
from unshuffle.files.records_reader import read_records
from unshuffle.files.records_writer import records_text, write_records

__all__ = [
    "check_folder",
    "check_free",
    "make_folder",
    "pack_network",
    "pack_npz",
    "pack_safetensors",
    "read_network",
    "read_pile",
    "read_records",
    "read_text",
    "records_text",
    "shown",
    "write_bytes",
    "write_files",
    "write_network",
    "write_npz",
    "write_records",
    "write_text",
]
