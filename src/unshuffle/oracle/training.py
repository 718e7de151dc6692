"""Training an oracle network; needs the extra `torch`.

The same recipe gives the same network, bit for bit, on one machine with one PyTorch. NumPy draws
all random numbers. PyTorch runs in one thread, so sums keep their sequence. Layers this small gain
nothing from more threads.

One safetensors file keeps the state of a training. It is written as a whole or not at all. All in
it is a tensor, so reading executes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from math import cos, isfinite, pi
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from safetensors import SafetensorError

from unshuffle.blocks.activations import find_activation
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import FileError, MissingExtraError, UsageError, shown
from unshuffle.files import write_bytes
from unshuffle.files.opening import read_bytes
from unshuffle.oracle.data import NO_TOKEN
from unshuffle.oracle.recipe import OPTIMISERS, FamilyPlan, Recipe, TrainingPlan
from unshuffle.oracle.storage import Oracle

try:
    import torch
    from safetensors.torch import load, save
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer
except ImportError as error:
    raise MissingExtraError("PyTorch", "torch", "training an oracle network") from error

from unshuffle.blocks.torch_module import to_torch

SECONDS_BETWEEN_CHECKPOINTS = 10.0

Loss = Callable[[Tensor, Tensor], Tensor]


def _each_token(scores: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy of scores (rows, tokens, vocabulary) where a token is asked for."""
    return torch.nn.functional.cross_entropy(
        scores.flatten(0, 1), tokens.flatten().long(), ignore_index=NO_TOKEN
    )


# By name, what maps predictions and targets of a batch to the mean loss.
LOSSES: dict[str, Loss] = {
    "squared": torch.nn.functional.mse_loss,
    "cross-entropy": torch.nn.functional.cross_entropy,
    "tokens": _each_token,
}


@dataclass(frozen=True)
class Epoch:
    """A pass over all rows that is done: its number from 1 on, and its mean loss."""

    number: int
    loss: float


def train(
    recipe: Recipe,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_network: Callable[["MlpNetwork | Module"], None] = lambda network: None,
    prepare: Callable[[Module], None] | None = None,
    pause: float = SECONDS_BETWEEN_CHECKPOINTS,
) -> Oracle:
    """Train a network from a recipe.

    The checkpoint is a file that keeps the state of the training. It is read if it exists. It is
    written after the first epoch, and then every `pause` seconds. It stays after an interruption,
    and after the end.

    `on_epoch` is called after every epoch, `on_network` before the first one and after each.
    `prepare` is called with the module before it is trained. So an experiment may change what it
    computes. The resulting network has its weights, and not its function.

    Raises `FileError` if the checkpoint cannot be read or written, or belongs to another recipe.
    Raises `UsageError` if the loss is no longer a finite number.
    """
    plan, key = recipe.training, recipe.key()
    data_rng, initial_rng, order_rng = np.random.default_rng(recipe.seed).spawn(3)
    examples = recipe.data.draw(recipe.network.inputs, recipe.network.outputs, data_rng)
    order_rngs = order_rng.spawn(plan.epochs)  # one an epoch, so that none needs to be kept
    with _one_thread():
        module = _module(recipe, initial_rng)
        if prepare is not None:
            prepare(module)
        optimiser = _optimiser(plan, module)
        losses, before = resume(checkpoint, key, module, optimiser)
        inputs, targets = torch.from_numpy(examples.inputs), torch.from_numpy(examples.targets)
        if recipe.data.loss == "cross-entropy":
            targets = targets[:, 0].long()
        on_network(_network(module, recipe))
        started, written = perf_counter() - before, before
        for number in range(len(losses), plan.epochs):
            order = torch.from_numpy(order_rngs[number].permutation(len(inputs)))
            loss = _run_epoch(recipe, number, module, optimiser, order, inputs, targets)
            losses.append(loss)
            seconds = perf_counter() - started
            if checkpoint is not None and (number == 0 or seconds - written >= pause):
                state = TrainingState.of(module, optimiser, losses, seconds)
                write_checkpoint(checkpoint, state, key)
                written = seconds
            on_network(_network(module, recipe))
            on_epoch(Epoch(number + 1, losses[-1]))
        seconds = perf_counter() - started
    network = _network(module, recipe)
    made_with = {"torch": torch.__version__, "numpy": np.__version__}
    return Oracle(recipe, network, examples, tuple(losses), seconds, made_with)


def _optimiser(plan: TrainingPlan, module: Module) -> Optimizer:
    """The plan's optimiser for a module's parameters, in PyTorch's fused form."""
    name, more = OPTIMISERS[plan.optimiser]
    options: dict[str, Any] = {"lr": plan.learning_rate, "weight_decay": plan.weight_decay, **more}
    if name == "SGD":
        options["momentum"] = plan.momentum
    kind = getattr(torch.optim, name)
    optimiser: Optimizer = kind(module.parameters(), fused=True, **options)
    return optimiser


def rate_factor(schedule: str, done: float) -> float:
    """Factor of the learning rate after a share of all steps.

    The cosine is from Loshchilov & Hutter 2017, one cycle from Smith & Topin 2018.
    """
    rise = 0.3
    if schedule == "cosine":
        return (1 + cos(pi * done)) / 2
    if schedule == "one-cycle":
        return done / rise if done < rise else (1 + cos(pi * (done - rise) / (1 - rise))) / 2
    return 1.0


def _run_epoch(
    recipe: Recipe, number: int, module: Module, optimiser: Optimizer, *rows: Tensor
) -> float:
    """Take a step for each batch of an epoch; returns the mean loss over the rows.

    The rows are their order, inputs and targets. Raises `UsageError` if the loss is not finite.
    """
    plan, loss_of = recipe.training, LOSSES[recipe.data.loss]
    order, inputs, targets = rows
    total = 0.0
    parts = order.split(plan.batch_rows)
    for step, part in enumerate(parts):
        done = (number + step / len(parts)) / plan.epochs
        for group in optimiser.param_groups:
            group["lr"] = plan.learning_rate * rate_factor(plan.schedule, done)
        loss = loss_of(module(inputs[part]), targets[part])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item() * len(part)
    if not isfinite(total):
        raise UsageError(
            f"recipe {recipe.name}: the loss is {total} after epoch {number + 1}, but a finite "
            "number is needed; lower the learning rate, or bring the columns of the data to a "
            "common scale"
        )
    return total / len(inputs)


def _module(recipe: Recipe, rng: np.random.Generator) -> Module:
    """The module to train, with initial weights."""
    plan = recipe.network
    if isinstance(plan, FamilyPlan):
        from unshuffle.oracle.families import build

        return build(plan, int(rng.integers(2**32)))
    return to_torch(plan.draw(rng))


def _network(module: Module, recipe: Recipe) -> "MlpNetwork | Module":
    """What was trained: in NumPy, or a copy of the module, in evaluation mode."""
    if isinstance(recipe.network, FamilyPlan):
        return deepcopy(module).eval()
    tensors = [tensor.numpy().copy() for tensor in module.state_dict().values()]
    layers = [Linear(w, b) for w, b in zip(tensors[::2], tensors[1::2], strict=True)]
    return MlpNetwork.from_layers(layers, find_activation(recipe.network.activation))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch run in one thread for a while."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Where a training stands at the end of an epoch.

    The weights are the module's state dict. The moments are what the optimiser remembers, as
    `<parameter>.<name>`. Each epoch has its mean loss. The seconds are the wall time of them all.
    """

    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    losses: tuple[float, ...]
    seconds: float

    @classmethod
    def of(
        cls, module: Module, optimiser: Optimizer, losses: Sequence[float], seconds: float
    ) -> "TrainingState":
        """Where a module and its optimiser stand."""
        moments = {
            f"{parameter}.{name}": value
            for parameter, remembered in optimiser.state_dict()["state"].items()
            for name, value in remembered.items()
        }
        return cls(module.state_dict(), moments, tuple(losses), seconds)


def write_checkpoint(path: Path, state: TrainingState, key: str) -> None:
    """Write the checkpoint of a recipe, by its key, over the one before."""
    tensors = {f"weights/{name}": value for name, value in state.weights.items()}
    tensors |= {f"moments/{name}": value for name, value in state.moments.items()}
    tensors["losses"] = torch.tensor(state.losses, dtype=torch.float64)
    tensors["seconds"] = torch.tensor(state.seconds, dtype=torch.float64)
    tensors["key"] = torch.tensor(list(key.encode()), dtype=torch.uint8)
    write_bytes(path, save(tensors), force=True)


def read_checkpoint(path: Path, key: str) -> TrainingState:
    """Read the checkpoint of a recipe, by its key.

    Raises `FileError` if the file is damaged, or belongs to another recipe or another trainer.
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
    weights, moments = (
        {name.removeprefix(head): tensors[name] for name in tensors if name.startswith(head)}
        for head in ("weights/", "moments/")
    )
    return TrainingState(weights, moments, tuple(losses), seconds)


def resume(
    path: Path | None, key: str, module: Module, optimiser: Optimizer
) -> tuple[list[float], float]:
    """Put a module and its optimiser into the state of a checkpoint, if there is one.

    Returns the losses and the seconds so far. Raises `FileError` as `read_checkpoint` does, and if
    the state is that of another network.
    """
    if path is None or not path.exists():
        return [], 0.0
    found = read_checkpoint(path, key)
    try:
        module.load_state_dict(found.weights)
        state: dict[int, dict[str, Tensor]] = {}
        for place, value in found.moments.items():
            parameter, name = place.split(".")
            state.setdefault(int(parameter), {})[name] = value
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    except (RuntimeError, ValueError) as error:
        raise FileError(
            f"{shown(path)}: does not hold the state of this network; remove it to begin anew"
        ) from error
    return list(found.losses), found.seconds
