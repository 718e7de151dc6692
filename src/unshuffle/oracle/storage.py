"""Trained oracles, and the folder that holds one: network, data, and how it came about."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unshuffle import files
from unshuffle.blocks.activations import EXPECTED, find_activation, is_activation
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import FileError, shown
from unshuffle.files.opening import read_bytes
from unshuffle.files.plain import read_json
from unshuffle.files.schema import read_value
from unshuffle.oracle.data import Examples
from unshuffle.oracle.recipe import TRAINER, FamilyPlan, Recipe
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records

if TYPE_CHECKING:
    from torch import nn

NETWORK, DATA, STORY = "network.safetensors", "data.npz", "oracle.json"
CHECKPOINT = "checkpoint.safetensors"  # where a training stands that is under way


@dataclass(frozen=True, eq=False)
class Oracle:
    """A trained network, and all that is known of it.

    The network is float32, and a module where it is of a family. The examples are what it learned
    from. Each epoch has its mean loss. The seconds are the wall time of all epochs, with those
    before an interruption. The versions of the libraries that trained it are `made_with`.
    """

    recipe: Recipe
    network: "MlpNetwork | nn.Module"
    examples: Examples
    losses: tuple[float, ...]
    seconds: float
    made_with: Mapping[str, str]

    @property
    def title(self) -> str:
        """What the network is, in one line."""
        plan = self.recipe.network
        if isinstance(plan, FamilyPlan):
            return f"{plan.blocks} blocks of the family {plan.family}, {plan.width} wide"
        return repr(self.network)

    def story(self) -> dict[str, Any]:
        """How it came about, as plain values, ready for JSON."""
        return {
            "recipe": self.recipe.name,
            "summary": self.recipe.summary,
            "activation": getattr(self.recipe.network, "activation", None),
            "trainer": TRAINER,
            "key": self.recipe.key(),
            "content": self.recipe.content(),
            "losses": list(self.losses),
            "seconds": self.seconds,
            "made_with": dict(self.made_with),
        }


def write_oracle(folder: Path, oracle: Oracle, *, force: bool = False) -> None:
    """Write an oracle; its story comes last, so that a folder with one is complete."""
    files.write_network(folder / NETWORK, _tensors(oracle.network), force=force)
    arrays = {"input": oracle.examples.inputs, "target": oracle.examples.targets}
    files.write_npz(folder / DATA, arrays, force=force)
    files.write_text(folder / STORY, json.dumps(oracle.story(), indent=1) + "\n", force=force)


def _tensors(network: "MlpNetwork | nn.Module") -> Mapping[str, Floats]:
    """The real tensors of a network by name; counts of batches have no use in it."""
    if isinstance(network, MlpNetwork):
        return network.tensors()
    tensors = network.state_dict().items()
    return {name: one.numpy() for name, one in tensors if one.is_floating_point()}


def is_oracle(folder: Path) -> bool:
    """Whether a complete oracle lies there."""
    return (folder / STORY).is_file()


def clear(folder: Path) -> None:
    """Remove what lies there of an oracle, its story first, so that nothing half-removed counts."""
    for name in (STORY, CHECKPOINT, NETWORK, DATA):
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise FileError(
                f"{shown(folder / name)}: cannot be removed ({error.strerror}); choose another "
                "folder"
            ) from error


def read_oracle(folder: Path) -> tuple[MlpNetwork, Records]:
    """Read a network, and its data as a record with inputs and targets, without predictions.

    Raises `FileError` if a file is missing or damaged, or files do not belong together.
    """
    activation = read_story(folder).get("activation")
    if activation is None and is_module_oracle(folder):
        raise FileError(
            f"{shown(folder)}: is the oracle of a module, and this serves blocks "
            "x + out(a(inp(x))) alone; name an oracle of such a network"
        )
    if not isinstance(activation, str) or not is_activation(activation):
        raise FileError(
            f"{shown(folder / STORY)}: the activation is {shown(repr(activation))}, but "
            f"{EXPECTED} is expected; train the oracle again"
        )
    network = files.read_network(folder / NETWORK, find_activation(activation))
    return network, _read_data(folder, network.blocks.width)


def _read_data(folder: Path, width: int) -> Records:
    """The rows that a network of so many inputs learned from, without predictions."""
    data = files.read_records(folder / DATA)
    if data.targets is None or data.width != width:
        raise FileError(
            f"{shown(folder / DATA)}: has {data.width} inputs "
            f"{'without' if data.targets is None else 'with'} targets, but the network beside it "
            f"has {width} inputs and learned from targets; train the oracle again"
        )
    nothing = np.empty((len(data), 0), np.float32)
    return Records(data.inputs.astype(np.float32), nothing, data.targets.astype(np.float32))


def is_module_oracle(folder: Path) -> bool:
    """Whether the oracle that lies there is a module."""
    content = read_story(folder).get("content", {})
    return bool(content.get("network", {}).get("kind") == FamilyPlan.kind)


def read_module_oracle(folder: Path) -> "tuple[nn.Module, Records]":
    """Read a network of a family as a module, and its data as `read_oracle` does.

    Raises `FileError` if a file is missing or damaged, or files do not belong together. Raises
    `MissingExtraError` if PyTorch is not installed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from unshuffle.oracle.families import build

    story = shown(folder / STORY)
    if not is_module_oracle(folder):
        raise FileError(f"{story}: is not the story of a module; name the folder of one")
    network = {**read_story(folder)["content"]["network"]}
    del network["kind"]
    plan: FamilyPlan = read_value(FamilyPlan, network, f"{story}: network")
    module = build(plan, 0)
    try:
        missing, other = module.load_state_dict(load(read_bytes(folder / NETWORK)), strict=False)
    except (SafetensorError, RuntimeError) as error:
        raise FileError(
            f"{shown(folder / NETWORK)}: does not hold the module of {story}; train the oracle "
            "again"
        ) from error
    lacking = [name for name in missing if not name.endswith("num_batches_tracked")] + other
    if lacking:
        raise FileError(
            f"{shown(folder / NETWORK)}: the tensor {lacking[0]} is not in both this file and the "
            "module that was trained; train the oracle again"
        )
    return module.eval(), _read_data(folder, plan.inputs)


def read_story(folder: Path) -> dict[str, Any]:
    """Read how an oracle was made. Raises `FileError` if that is missing or no JSON object."""
    return read_json(folder / STORY, "train the oracle again")
