"""The state of a training in one safetensors file, written as a whole or not at all.

Everything is a tensor, so reading executes nothing: weights, the optimiser's moments, the losses
so far, the seconds so far, and the key of the recipe.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from unshuffle.errors import FileError
from unshuffle.files import write_bytes
from unshuffle.files.opening import read_bytes, shown


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a training stands at the end of an epoch.

    Parameters
    ----------
    weights
        The module's state dict.
    moments
        What the optimiser remembers, as `<parameter>.<name>`.
    losses
        Mean loss of each epoch that is done.
    seconds
        Wall time that they took.
    """

    weights: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor]
    losses: tuple[float, ...]
    seconds: float


def write_checkpoint(path: Path, state: Checkpoint, key: str) -> None:
    """Write a checkpoint over the one before.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    tensors = {f"weights/{name}": value for name, value in state.weights.items()}
    tensors |= {f"moments/{name}": value for name, value in state.moments.items()}
    tensors["losses"] = torch.tensor(state.losses, dtype=torch.float64)
    tensors["seconds"] = torch.tensor(state.seconds, dtype=torch.float64)
    tensors["key"] = torch.tensor(list(key.encode()), dtype=torch.uint8)
    write_bytes(path, save(tensors), force=True)


def read_checkpoint(path: Path, key: str) -> Checkpoint:
    """Read the checkpoint of a recipe.

    Parameters
    ----------
    path
        The file.
    key
        Of the recipe that is to go on.

    Raises
    ------
    FileError
        If the file is damaged, or belongs to another recipe or another version of the trainer.
    """
    try:
        tensors = load(read_bytes(path))
        found = bytes(tensors["key"].tolist()).decode()
        losses, seconds = tensors["losses"].tolist(), tensors["seconds"].item()
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise FileError(
            f"{shown(path)}: is not a complete checkpoint; remove it to begin anew"
        ) from error
    if found != key:
        raise FileError(
            f"{shown(path)}: is the checkpoint of another recipe, seed or version of the trainer; "
            "choose another folder, or remove it to begin anew"
        )

    def under(head: str) -> dict[str, torch.Tensor]:
        return {
            name.removeprefix(head): value
            for name, value in tensors.items()
            if name.startswith(head)
        }

    return Checkpoint(under("weights/"), under("moments/"), tuple(losses), seconds)
