"""A dropped network on disk: what is handed out, and what gives the answer away.

    pieces/piece_0.pth …   the pieces
    record.csv             inputs, predictions, targets
    manifest.json          what was done to the network, which betrays no order
    answer.sha256          the hash by which an answer is recognised
    sealed/answer.txt      the answer
    sealed/drop.json       what betrays it or the anatomy: seed, activation, decoys

A second network in the pile adds record_2.csv, answer_2.sha256 and sealed/answer_2.txt. Of a module
the record is record.npz, and rest.safetensors has stem and head. Pieces are written in the sequence
of their numbers. So their times tell nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unshuffle.errors import FileError, shown
from unshuffle.files import (
    pack_network,
    pack_npz,
    pack_safetensors,
    records_text,
    write_files,
)
from unshuffle.oracle.dropping import Dropped, Hardening, Tensors, answer_text
from unshuffle.oracle.module_dropping import DroppedModule
from unshuffle.pieces.records import Records


def write_dropped(
    folder: Path,
    dropped: Dropped,
    hardening: Hardening,
    *,
    file_format: str,
    secrets: Mapping[str, Any] | None,
    force: bool,
) -> None:
    """Write pieces, record, manifest and the answer's hash, and seal the answer.

    The format is "pth" or "safetensors". The secrets are sealed beside the answer. None keeps only
    the answer's hash. Raises `FileError` if a file exists already or cannot be written. Raises it
    too if files of another drop would remain beside these. Raises `MissingExtraError` if the format
    is "pth" and torch is not installed.
    """
    sealed = {"drop.json", "answer.txt"} | ({"answer_2.txt"} if dropped.second else set())
    contents = _pieces(folder, dropped.pieces, file_format, dropped.stored_as, force=force)
    _check_room(folder / "sealed", set() if secrets is None else sealed, force=force)
    contents[folder / "manifest.json"] = _json(_manifest(dropped, hardening, file_format))
    if secrets is not None:
        contents[folder / "sealed" / "drop.json"] = _json(
            {**secrets, "decoys": list(dropped.decoys), "copies": list(dropped.copies)}
        )
    for suffix, one in (("", dropped), ("_2", dropped.second)):
        if one is None:
            continue
        contents[folder / f"record{suffix}.csv"] = records_text(one.records).encode()
        contents |= _answer(folder, answer_text(one.answer), suffix, sealed=secrets is not None)
    write_files(contents, force=force)


def write_dropped_module(
    folder: Path,
    dropped: DroppedModule,
    records: Records,
    rest: Mapping[str, NDArray[Any]],
    done: Mapping[str, Any],
    *,
    file_format: str,
    stored_as: str | None,
    secrets: Mapping[str, Any] | None,
    force: bool,
) -> None:
    """Write the pieces of a module, its record, and the tensors that are no piece.

    `done` is for the manifest: what may be known beside the pieces. The rest is as of
    `write_dropped`.
    """
    contents = _pieces(folder, dropped.pieces, file_format, stored_as, force=force)
    names = set() if secrets is None else {"drop.json", "answer.txt"}
    _check_room(folder / "sealed", names, force=force)
    known = {"pieces": len(dropped.pieces), "format": file_format, "records": len(records)}
    arrays = {**records.arrays(records.inputs), "prediction": records.predictions}
    contents[folder / "record.npz"] = pack_npz(arrays)
    contents[folder / "rest.safetensors"] = pack_safetensors(rest, {})
    contents[folder / "manifest.json"] = _json({**known, "outputs": records.outputs, **done})
    if secrets is not None:
        contents[folder / "sealed" / "drop.json"] = _json(secrets)
    numbers = [number for block in dropped.answer for number in block]
    contents |= _answer(folder, answer_text(numbers), "", sealed=secrets is not None)
    write_files(contents, force=force)


def _pieces(
    folder: Path, pieces: Sequence[Tensors], file_format: str, stored_as: str | None, *, force: bool
) -> dict[Path, bytes]:
    """The files of the pieces, if there is room for them."""
    named = {f"piece_{number}.{file_format}": one for number, one in enumerate(pieces)}
    _check_room(folder / "pieces", set(named), force=force)
    paths = {folder / "pieces" / name: one for name, one in named.items()}
    return {path: pack_network(path, one, stored_as=stored_as) for path, one in paths.items()}


def _answer(folder: Path, answer: str, suffix: str, *, sealed: bool) -> dict[Path, bytes]:
    """The hash of an answer, and the answer itself if it is to be kept."""
    digest = sha256(answer.encode()).hexdigest()
    contents = {folder / f"answer{suffix}.sha256": f"{digest}\n".encode()}
    if sealed:
        contents[folder / "sealed" / f"answer{suffix}.txt"] = f"{answer}\n".encode()
    return contents


def _manifest(dropped: Dropped, hardening: Hardening, file_format: str) -> dict[str, Any]:
    """What may be known beside the pieces: all that was done, and nothing that orders them."""
    return {
        "pieces": len(dropped.pieces),
        "format": file_format,
        "records": len(dropped.records),
        "outputs": dropped.records.outputs,
        "decoys": len(dropped.decoys),
        "copies": len(dropped.copies),
        "networks": 1 if dropped.second is None else 2,
        **asdict(hardening),
    }


def _check_room(folder: Path, names: set[str], *, force: bool) -> None:
    """Refuse a folder in which something else lies, or anything at all without `force`."""
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in there if name not in names]
    if others:
        raise FileError(
            f"{shown(folder)}: holds {shown(others[0])}, which is no part of this drop; remove it "
            "or choose another folder"
        )
    if there and not force:
        raise FileError(
            f"{shown(folder / there[0])}: exists already; choose another folder, or replace what "
            "is there with --force"
        )


def _json(values: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(values, indent=1)}\n".encode()
