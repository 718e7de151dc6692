"""Training an oracle network; needs the extra `torch`.

The same recipe gives the same network, bit for bit, on one machine with one PyTorch: NumPy draws
all that is random, and PyTorch runs in one thread, so that sums keep their sequence. Layers this
small gain nothing from more threads.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, isfinite, pi
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from unshuffle.blocks.activations import find_activation
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import FileError, MissingExtraError, UsageError
from unshuffle.files.opening import shown
from unshuffle.oracle.data import Examples
from unshuffle.oracle.initialisation import initial_network
from unshuffle.oracle.model import Oracle
from unshuffle.oracle.recipe import OPTIMISERS, NetworkPlan, Recipe, TrainingPlan

try:
    import torch
except ImportError as error:
    raise MissingExtraError("PyTorch", "torch", "training an oracle network") from error

from unshuffle.blocks.torch_module import ResidualNetwork, to_torch
from unshuffle.oracle.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

SECONDS_BETWEEN_CHECKPOINTS = 10.0

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

LOSSES: dict[str, Loss] = {
    "squared": torch.nn.functional.mse_loss,
    "cross-entropy": torch.nn.functional.cross_entropy,
}
"""By name: maps predictions and targets of a batch to the mean loss."""


@dataclass(frozen=True)
class Epoch:
    """A pass over all rows that is done.

    Parameters
    ----------
    number, of
        Its number, counted from 1, and the number of all.
    loss
        Mean over the rows, each at the moment of its batch.
    """

    number: int
    of: int
    loss: float


OnEpoch = Callable[[Epoch], None]
"""Called after every epoch."""


def train(
    recipe: Recipe,
    *,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
    on_network: Callable[[MlpNetwork], None] | None = None,
    prepare: Callable[[torch.nn.Module], None] | None = None,
) -> Oracle:
    """Train a network.

    Parameters
    ----------
    recipe
        What from.
    checkpoint
        A file that keeps the state of the training: read if it is there, written after the first
        epoch and then every few seconds. It stays when the training is interrupted, and also when
        it ends.
    on_epoch
        Called after every epoch.
    on_network
        Called with the network that the training starts from, and after every epoch.
    prepare
        Called with the module before it is trained: an experiment may change what it computes. The
        network that comes out then has its weights, and not its function.

    Raises
    ------
    FileError
        If the checkpoint cannot be read or written, or belongs to another recipe.
    UsageError
        If the loss is no longer a finite number.
    """
    plan = recipe.training
    data_rng, initial_rng, order_rng = np.random.default_rng(recipe.seed).spawn(3)
    examples = recipe.data.draw(recipe.network.width, recipe.network.outputs, data_rng)
    order_rngs = order_rng.spawn(plan.epochs)  # one an epoch, so that none needs to be kept
    key = recipe.key()
    losses: list[float] = []
    before = 0.0
    with _one_thread():
        module = _initial_module(recipe.network, initial_rng)
        if prepare is not None:
            prepare(module)
        optimiser = make_optimiser(plan, module)
        if checkpoint is not None and checkpoint.exists():
            found = read_checkpoint(checkpoint, key)
            _restore(module, optimiser, found, checkpoint)
            losses, before = list(found.losses), found.seconds
        inputs, targets = _tensors(examples, recipe.data.loss)
        if on_network is not None:
            on_network(_to_numpy(module, recipe.network))
        started = written = perf_counter()
        for number in range(len(losses), plan.epochs):
            order = torch.from_numpy(order_rngs[number].permutation(len(inputs)))
            parts = order.split(plan.batch_rows)
            rates = _rates(plan, number, len(parts))
            batches = (
                (rate, inputs[rows], targets[rows]) for rate, rows in zip(rates, parts, strict=True)
            )
            total = _run_epoch(module, optimiser, LOSSES[recipe.data.loss], batches)
            losses.append(total / len(inputs))
            if not isfinite(losses[-1]):
                raise UsageError(
                    f"recipe {recipe.name}: the loss is {losses[-1]} after epoch {number + 1}, but "
                    "a finite number is needed; lower the learning rate, or bring the columns of "
                    "the data to a common scale"
                )
            now = perf_counter()
            is_due = number == 0 or now - written >= SECONDS_BETWEEN_CHECKPOINTS
            if checkpoint is not None and is_due:
                moments = _moments(optimiser)
                seconds = before + now - started
                state = Checkpoint(module.state_dict(), moments, tuple(losses), seconds)
                write_checkpoint(checkpoint, state, key)
                written = now
            if on_network is not None:
                on_network(_to_numpy(module, recipe.network))
            if on_epoch is not None:
                on_epoch(Epoch(number + 1, plan.epochs, losses[-1]))
        seconds = before + perf_counter() - started
    network = _to_numpy(module, recipe.network)
    made_with = {"torch": torch.__version__, "numpy": np.__version__}
    return Oracle(recipe, network, examples, tuple(losses), seconds, made_with)


def make_optimiser(plan: TrainingPlan, module: torch.nn.Module) -> torch.optim.Optimizer:
    """The plan's optimiser for a module's parameters, in PyTorch's fused form."""
    options: dict[str, Any] = {"lr": plan.learning_rate, "weight_decay": plan.weight_decay}
    if plan.optimiser == "sgd":
        options["momentum"] = plan.momentum
    kind = getattr(torch.optim, OPTIMISERS[plan.optimiser])
    optimiser: torch.optim.Optimizer = kind(module.parameters(), fused=True, **options)
    return optimiser


def rate_factor(schedule: str, done: float) -> float:
    """What a schedule multiplies the learning rate with.

    Parameters
    ----------
    schedule
        A name in `unshuffle.oracle.recipe.SCHEDULES`.
    done
        The share of all steps that was taken, from 0 to 1.

    Notes
    -----
    The cosine is from Loshchilov & Hutter 2017, one cycle from Smith & Topin 2018.
    """
    rise = 0.3
    if schedule == "cosine":
        return (1 + cos(pi * done)) / 2
    if schedule == "one-cycle":
        return done / rise if done < rise else (1 + cos(pi * (done - rise) / (1 - rise))) / 2
    return 1.0


def _tensors(examples: Examples, loss: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs, and targets as the loss wants them."""
    targets = torch.from_numpy(examples.targets)
    if loss == "cross-entropy":
        targets = targets[:, 0].long()
    return torch.from_numpy(examples.inputs), targets


def _rates(plan: TrainingPlan, number: int, steps: int) -> list[float]:
    """The learning rate of each step of an epoch."""
    return [
        plan.learning_rate * rate_factor(plan.schedule, (number + step / steps) / plan.epochs)
        for step in range(steps)
    ]


def _run_epoch(
    module: ResidualNetwork,
    optimiser: torch.optim.Optimizer,
    loss_of: Loss,
    batches: Iterable[tuple[float, torch.Tensor, torch.Tensor]],
) -> float:
    """Take a step for each batch of learning rate, inputs and targets; returns the summed loss."""
    total = 0.0
    for rate, inputs, targets in batches:
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = loss_of(module(inputs), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item() * len(inputs)
    return total


def _initial_module(plan: NetworkPlan, rng: np.random.Generator) -> ResidualNetwork:
    network = initial_network(
        plan.initialisation,
        blocks=plan.blocks,
        width=plan.width,
        hidden=plan.hidden,
        outputs=plan.outputs,
        activation=find_activation(plan.activation),
        rng=rng,
    )
    return to_torch(network)


def _to_numpy(module: ResidualNetwork, plan: NetworkPlan) -> MlpNetwork:
    tensors = [tensor.numpy().copy() for tensor in module.state_dict().values()]
    layers = [Linear(w, b) for w, b in zip(tensors[::2], tensors[1::2], strict=True)]
    return MlpNetwork.from_layers(layers, find_activation(plan.activation))


def _moments(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What the optimiser remembers, as `<parameter>.<name>`."""
    return {
        f"{parameter}.{name}": value
        for parameter, remembered in optimiser.state_dict()["state"].items()
        for name, value in remembered.items()
    }


def _restore(
    module: ResidualNetwork, optimiser: torch.optim.Optimizer, found: Checkpoint, path: Path
) -> None:
    """Put a module and its optimiser into the state of a checkpoint."""
    try:
        module.load_state_dict(found.weights)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in found.moments.items():
            parameter, name = key.split(".")
            state.setdefault(int(parameter), {})[name] = value
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    except (RuntimeError, ValueError) as error:
        raise FileError(
            f"{shown(path)}: does not hold the state of this network; remove it to begin anew"
        ) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch run in one thread for a while."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
