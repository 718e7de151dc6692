"""Oracles on disk: a folder with the network, the data it learned from, and how it came about."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from unshuffle.blocks.activations import ACTIVATIONS
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import FileError
from unshuffle.files import (
    make_folder,
    read_network,
    read_records,
    write_network,
    write_npz,
    write_text,
)
from unshuffle.files.opening import shown
from unshuffle.files.plain import read_json
from unshuffle.oracle.model import Oracle
from unshuffle.pieces.records import Records

NETWORK, DATA, STORY, CHECKPOINT = (
    "network.safetensors",
    "data.npz",
    "oracle.json",
    "checkpoint.safetensors",
)
"""The network, what it learned from, how it came about, and where its training stands."""


def write_oracle(folder: Path, oracle: Oracle, *, force: bool = False) -> None:
    """Write an oracle; its story comes last, so that a folder with one is complete.

    Raises
    ------
    FileError
        If a file is there already, or cannot be written.
    """
    make_folder(folder)
    write_network(folder / NETWORK, oracle.network.tensors(), force=force)
    arrays = {"input": oracle.examples.inputs, "target": oracle.examples.targets}
    write_npz(folder / DATA, arrays, force=force)
    write_text(folder / STORY, json.dumps(oracle.story(), indent=1) + "\n", force=force)


def is_oracle(folder: Path) -> bool:
    """Whether a complete oracle lies there."""
    return (folder / STORY).is_file()


def clear(folder: Path) -> None:
    """Remove what lies there of an oracle, its story first, so that nothing half-removed counts.

    Raises
    ------
    FileError
        If a file cannot be removed.
    """
    for name in (STORY, CHECKPOINT, NETWORK, DATA):
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise FileError(
                f"{shown(folder / name)}: cannot be removed ({error.strerror}); choose another "
                "folder"
            ) from error


def read_oracle(folder: Path) -> tuple[MlpNetwork, Records]:
    """Read an oracle.

    Returns
    -------
    tuple
        The network, and its data: inputs and targets, without predictions.

    Raises
    ------
    FileError
        If a file is missing or damaged, or the files do not belong together.
    """
    activation = read_story(folder).get("activation")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise FileError(
            f"{shown(folder / STORY)}: the activation is {shown(repr(activation))}, but one of "
            f"{', '.join(ACTIVATIONS)} is expected; train the oracle again"
        )
    network = read_network(folder / NETWORK, ACTIVATIONS[activation])
    data = read_records(folder / DATA)
    if data.targets is None or data.width != network.blocks.width:
        raise FileError(
            f"{shown(folder / DATA)}: has {data.width} inputs "
            f"{'without' if data.targets is None else 'with'} targets, but the network beside it "
            f"has {network.blocks.width} inputs and learned from targets; train the oracle again"
        )
    return network, Records(
        data.inputs.astype(np.float32),
        np.empty((len(data), 0), np.float32),
        data.targets.astype(np.float32),
    )


def read_story(folder: Path) -> dict[str, Any]:
    """Read how an oracle came about.

    Raises
    ------
    FileError
        If the file is missing or is not a JSON object.
    """
    return read_json(folder / STORY, "train the oracle again")
