"""A dropped network on disk: what is handed out, and apart from it what gives the answer away.

    pieces/piece_0.pth …   the pieces
    record.csv             inputs, predictions, targets
    manifest.json          what was done to the network, which betrays no order
    answer.sha256          the hash by which an answer is recognised
    sealed/answer.txt      the answer
    sealed/drop.json       what betrays it or the anatomy: seed, activation, decoys

Of a second network in the pile there are record_2.csv, answer_2.sha256 and sealed/answer_2.txt.
Pieces are written in the sequence of their numbers, so that their times tell nothing either.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from unshuffle.errors import FileError
from unshuffle.files import make_folder, pack_network, records_text, write_files
from unshuffle.files.opening import shown
from unshuffle.oracle.dropping import Dropped, Hardening, answer_text, manifest

PIECES, SEALED = "pieces", "sealed"
ANSWER, SECOND_ANSWER, SECRETS = "answer.txt", "answer_2.txt", "drop.json"


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

    Parameters
    ----------
    folder
        Where to; made if it is not there.
    dropped, hardening
        The dropped network, and what was done to it.
    file_format
        "pth" or "safetensors".
    secrets
        What is sealed beside the answer; None keeps no answer, only its hash.
    force
        Whether files may be replaced.

    Raises
    ------
    FileError
        If a file is there already or cannot be written, or if files of another drop would remain
        among those of this one.
    MissingExtraError
        If the format is "pth" and torch is not installed.
    """
    pieces = {f"piece_{n}.{file_format}": tensors for n, tensors in enumerate(dropped.pieces)}
    _check_room(folder / PIECES, set(pieces), force=force)
    sealed = {ANSWER, SECRETS} | ({SECOND_ANSWER} if dropped.second else set())
    _check_room(folder / SEALED, set() if secrets is None else sealed, force=force)
    contents: dict[Path, bytes] = {}
    for name, tensors in pieces.items():
        path = folder / PIECES / name
        contents[path] = pack_network(path, tensors, stored_as=dropped.stored_as)
    contents[folder / "manifest.json"] = _json(manifest(dropped, hardening, file_format))
    if secrets is not None:
        contents[folder / SEALED / SECRETS] = _json(
            {**secrets, "decoys": list(dropped.decoys), "copies": list(dropped.copies)}
        )
    networks = [("", dropped.records, dropped.answer)]
    if dropped.second is not None:
        networks.append(("_2", dropped.second.records, dropped.second.answer))
    for suffix, records, numbers in networks:
        contents[folder / f"record{suffix}.csv"] = records_text(records).encode()
        answer = answer_text(numbers)
        digest = sha256(answer.encode()).hexdigest()
        contents[folder / f"answer{suffix}.sha256"] = f"{digest}\n".encode()
        if secrets is not None:
            contents[folder / SEALED / f"answer{suffix}.txt"] = f"{answer}\n".encode()
    for parent in sorted({path.parent for path in contents}):
        make_folder(parent)
    write_files(contents, force=force)


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
