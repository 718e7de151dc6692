"""Readers and writers: the only place of the package that opens files."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unshuffle.files.atomic import check_folder as check_folder
    from unshuffle.files.atomic import check_free as check_free
    from unshuffle.files.atomic import make_folder as make_folder
    from unshuffle.files.atomic import write_bytes as write_bytes
    from unshuffle.files.atomic import write_files as write_files
    from unshuffle.files.atomic import write_text as write_text
    from unshuffle.files.network_reader import read_network as read_network
    from unshuffle.files.network_writer import pack_network as pack_network
    from unshuffle.files.network_writer import pack_npz as pack_npz
    from unshuffle.files.network_writer import pack_safetensors as pack_safetensors
    from unshuffle.files.network_writer import write_network as write_network
    from unshuffle.files.network_writer import write_npz as write_npz
    from unshuffle.files.opening import read_text as read_text
    from unshuffle.files.pile_reader import read_pile as read_pile
    from unshuffle.files.records_file import read_records as read_records
    from unshuffle.files.records_file import records_text as records_text
    from unshuffle.files.records_file import write_records as write_records

# Names are imported when first used, so that who reads need not wait for what writes.
_NAMES = {
    "atomic": "check_folder check_free make_folder write_bytes write_files write_text",
    "network_reader": "read_network",
    "network_writer": "pack_network pack_npz pack_safetensors write_network write_npz",
    "opening": "read_text",
    "pile_reader": "read_pile",
    "records_file": "read_records records_text write_records",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [*_HOME]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
