"""Recipes: what an oracle is trained from, as data."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.resources import files
from math import isqrt
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from unshuffle.blocks.activations import EXPECTED, find_activation, is_activation
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import FileError, UsageError, hint, listed, shown
from unshuffle.files import limits
from unshuffle.files.opening import read_bytes
from unshuffle.files.plain import read_toml
from unshuffle.files.schema import (
    BESIDE,
    Expected,
    Kinds,
    at_least,
    encode,
    more_than,
    one_of,
    read_fields,
    share,
)
from unshuffle.oracle.data import DATA, Count, Data, OwnTable
from unshuffle.pieces.pile import Floats

TRAINER = 1  # the trainer's version: raised whenever a recipe comes to mean another network

SHIPPED = Path(str(files("unshuffle.oracle") / "recipes"))

# By name: the class in `torch.optim`, and what else it is given.
OPTIMISERS: dict[str, tuple[str, dict[str, bool]]] = {
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
    "sgd": ("SGD", {}),
    "nesterov": ("SGD", {"nesterov": True}),
}

SCHEDULES = {
    "constant": "the learning rate stays",
    "cosine": "half a cosine from the learning rate down to 0",
    "one-cycle": "a straight rise over the first 30 % of the steps, then half a cosine down to 0",
}


def _uniform(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """Uniform within ±1/√columns, PyTorch's default for a linear layer."""
    weight: Floats = rng.uniform(-1, 1, (rows, columns)) / np.sqrt(columns)
    return weight


def _orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """Orthonormal rows or columns, whichever are fewer (Saxe, McClelland & Ganguli 2014)."""
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diag(r))  # makes the distribution uniform (Mezzadri 2007)
    return q if rows >= columns else q.T


# By name: how a weight is drawn, and whether out layers start at zero instead, so that every block
# starts as the identity (Zhang, Dauphin & Ma 2019).
INITIALISATIONS: dict[str, tuple[Callable[[np.random.Generator, int, int], Floats], bool]] = {
    "uniform": (_uniform, False),
    "orthogonal": (_orthogonal, False),
    "zero-out": (_uniform, True),
}


@dataclass(frozen=True)
class NetworkPlan:
    """A network of `blocks` times ``x + out(activation(inp(x)))``, then a last layer.

    Parameters
    ----------
    blocks
        Number K of residual blocks.
    width, hidden, outputs
        Width d of inputs and stream, hidden width h of a block, number o of outputs.
    activation
        A name that `unshuffle.blocks.activations.find_activation` knows.
    initialisation
        A name in `INITIALISATIONS`.
    """

    kind: ClassVar[str] = "mlp"

    blocks: Count
    width: Count
    hidden: Count
    outputs: Count = 1
    activation: Annotated[str, Expected(EXPECTED, is_activation)] = "relu"
    initialisation: Annotated[str, one_of(INITIALISATIONS)] = "uniform"

    @property
    def inputs(self) -> int:
        """Numbers in a row of inputs."""
        return self.width

    def draw(self, rng: np.random.Generator) -> MlpNetwork:
        """Draw initial layers, float32, in the order in which they run, weights before biases.

        NumPy draws, so a seed gives the same ones whatever the version of PyTorch. Biases are
        uniform within ±1/√columns, PyTorch's default, but for zeroed layers.
        """
        draw, zero_out = INITIALISATIONS[self.initialisation]

        def linear(rows: int, columns: int, *, zero: bool = False) -> Linear:
            weight = draw(rng, rows, columns)
            bias = rng.uniform(-1, 1, rows) / np.sqrt(columns)
            return Linear(weight * (not zero), bias * (not zero)).astype(np.float32)

        layers = []
        for _ in range(self.blocks):
            layers.append(linear(self.hidden, self.width))
            layers.append(linear(self.width, self.hidden, zero=zero_out))
        layers.append(linear(self.outputs, self.width))
        return MlpNetwork.from_layers(layers, find_activation(self.activation))


# By name: what a family is.
FAMILIES = {
    "gpt": "a causal transformer with norms before its parts, and fused query, key and value",
    "bert": "a transformer with norms behind its parts",
    "llama": "a causal transformer with RMSNorm, SwiGLU, rotary positions and grouped queries",
    "vit": "a transformer on patches of an image, with a class token",
    "mixer": "MLPs across patches and across channels in turn",
    "resnet": "convolutions with batch norms",
    "convnext": "depthwise convolutions, and MLPs on each pixel",
    "gated": "gated MLPs with norms and a scale for each channel",
}


ATTENTIVE = ("gpt", "bert", "llama", "vit")  # families with heads
SEEING = ("vit", "mixer", "resnet", "convnext")  # families that read images


@dataclass(frozen=True)
class FamilyPlan:
    """A network that is a PyTorch module of a family.

    Parameters
    ----------
    family
        A name in `FAMILIES`.
    blocks
        Number of residual blocks.
    width, hidden
        Width of the stream, and of what lies inside a block.
    inputs
        Numbers in a row of inputs: tokens, pixels of a square image, or columns.
    outputs
        Size of the vocabulary, or number of classes.
    heads
        Heads of the attention, if there is any; their number divides the width.
    queries_per_key
        Heads of queries that share a head of keys and values, in the family "llama".
    """

    kind: ClassVar[str] = "module"

    family: Annotated[str, one_of(FAMILIES)]
    blocks: Count
    width: Count
    hidden: Count
    inputs: Count
    outputs: Count
    heads: Count = 4
    queries_per_key: Count = 1

    @property
    def side(self) -> int:
        """Pixels along a side of an image."""
        return isqrt(self.inputs)

    def misfit(self) -> str | None:
        """What about the numbers makes no network, and what would. None where they do."""
        each, rest = divmod(self.width, self.heads)
        if self.family in ATTENTIVE and rest:
            return f"width is {self.width}, but heads is {self.heads}; it must divide the width"
        if self.family == "llama" and (self.heads % self.queries_per_key or each % 2):
            return (
                f"heads is {self.heads}, of {each} units each, but queries_per_key "
                f"({self.queries_per_key}) must divide the heads, and the units must be even"
            )
        if self.family in SEEING and (self.side**2 != self.inputs or self.side % 2):
            return f"inputs is {self.inputs}, but a square of an even number of pixels is needed"
        return None


NETWORKS = {plan.kind: plan for plan in (NetworkPlan, FamilyPlan)}


@dataclass(frozen=True)
class TrainingPlan:
    """How the network learns.

    Parameters
    ----------
    optimiser
        "adam", "adamw", "sgd" or "nesterov", each as in PyTorch. Momentum is for the last two.
    learning_rate
        At its highest.
    epochs, batch_rows
        Passes over all rows, and rows in a batch. The last batch of a pass may be smaller.
    schedule
        A name in `SCHEDULES`.
    weight_decay
        Decoupled for AdamW, added to the gradient for the others.
    """

    optimiser: Annotated[str, one_of(OPTIMISERS)]
    learning_rate: Annotated[float, more_than(0)]
    epochs: Count
    batch_rows: Count
    schedule: Annotated[str, one_of(SCHEDULES)] = "constant"
    momentum: Annotated[float, share(below_one=True)] = 0.0
    weight_decay: Annotated[float, at_least(0)] = 0.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which network comes out.

    Parameters
    ----------
    name
        Of the file, without its suffix.
    summary
        A sentence on what the recipe is there for.
    seed
        Of everything random: data, initial weights, the sequence of the rows.
    network, data, training
        The file's tables.
    """

    name: Annotated[str, BESIDE]
    summary: str
    seed: Annotated[int, at_least(0)] = field(default=0, kw_only=True)
    network: Annotated[NetworkPlan | FamilyPlan, Kinds(NETWORKS, NetworkPlan.kind)]
    data: Annotated[Data, Kinds(DATA)]
    training: TrainingPlan

    def with_seed(self, seed: int) -> "Recipe":
        """The same recipe with another seed."""
        return replace(self, seed=seed)

    def content(self) -> dict[str, Any]:
        """All that decides which network comes out, as plain values; neither name nor summary."""
        content = encode(self)
        del content["summary"]
        if isinstance(self.data, OwnTable):  # the table decides, not where it lies
            table = read_bytes(Path(self.data.file))
            content["data"]["file"] = hashlib.sha256(table).hexdigest()
        return content

    def key(self) -> str:
        """Name of the network that this recipe becomes in the hands of this version's trainer."""
        content = json.dumps({"trainer": TRAINER, **self.content()}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:24]


def shipped_names() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def find_recipe(name: str) -> Recipe:
    """Read a recipe by the name of a shipped one, or from a file. Raises as `read_recipe` does."""
    names = shipped_names()
    if name in names:
        return read_recipe(SHIPPED / f"{name}.toml")
    if not name.endswith(".toml"):
        raise UsageError(
            f"there is no recipe {shown(name)}{hint(name, names)}; shipped are "
            f"{listed(names, most=60)}, and a recipe of your own is a file that ends in .toml"
        )
    return read_recipe(Path(name))


def find_recipes(patterns: list[str]) -> list[Recipe]:
    """Read shipped recipes by name or by pattern with `*` and `?`, and files, each once."""
    names: list[str] = []
    for pattern in patterns:
        names += [name for name in shipped_names() if fnmatchcase(name, pattern)] or [pattern]
    return [find_recipe(name) for name in dict.fromkeys(names)]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises `FileError` if the file cannot be read, is not TOML, or names a missing table. Raises
    `UsageError` if a key is unknown or lacking or has an impossible value.
    """
    file = shown(path)
    fields = read_fields(read_toml(path), f"{file}:", Recipe)
    recipe = Recipe(path.stem, **fields)
    training = recipe.training
    descends = OPTIMISERS[training.optimiser][0] == "SGD"
    if training.momentum and not descends:
        raise UsageError(
            f"{file}: training.momentum is {training.momentum}, but {training.optimiser} has "
            "none; leave it out, or choose the optimiser sgd"
        )
    if training.optimiser == "nesterov" and not training.momentum:
        raise UsageError(
            f"{file}: the optimiser nesterov needs training.momentum above 0, such as 0.9"
        )
    if isinstance(recipe.network, FamilyPlan) and (misfit := recipe.network.misfit()):
        raise UsageError(f"{file}: network.{misfit}")
    _check_size(recipe.network, recipe.data, file)
    if not isinstance(recipe.data, OwnTable):
        return recipe
    table = path.parent.resolve() / recipe.data.file
    if not table.is_file():
        raise FileError(
            f"{file}: data.file is {shown(recipe.data.file)}, but there is no file {shown(table)}; "
            "a relative path starts at the recipe's folder"
        )
    return replace(recipe, data=replace(recipe.data, file=str(table)))


def _check_size(network: NetworkPlan | FamilyPlan, data: Data, file: str) -> None:
    """Refuse what no memory would hold."""
    weights = 2 * network.blocks * network.width * network.hidden
    numbers = {"the network's weights": weights}
    if not isinstance(data, OwnTable):
        numbers["the inputs"] = data.rows * network.inputs  # type: ignore[attr-defined]
    for name, count in numbers.items():
        if count > limits.CELLS:
            raise UsageError(
                f"{file}: {name} would be {count} numbers, but at most {limits.CELLS} are "
                "attempted; make the network or the data smaller"
            )
