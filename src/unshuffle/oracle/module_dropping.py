"""Dropping a PyTorch module: from its stack of blocks to loose pieces."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from unshuffle.blocks.module_blueprint import blueprint
from unshuffle.errors import UsageError, hint
from unshuffle.pieces.pile import Floats, Piece, Pile
from unshuffle.pieces.records import Records

if TYPE_CHECKING:
    import torch
    from torch import nn

# By name: what a piece is, and how far its names tell the role.
LEVELS = {
    "blocks": "whole blocks",
    "layers": "the tensors of a layer, with their names in the block",
    "unnamed-layers": "the tensors of a layer, with their names in the layer alone",
    "tensors": "single tensors, with their names in the block",
}


@dataclass(frozen=True, eq=False)
class DroppedModule:
    """A dropped module.

    Parameters
    ----------
    pieces
        Tensors by name; the number of a piece is its position among them.
    records
        Inputs by the parameters of forward, and what the module gave.
    answer
        The numbers of the pieces of each block, blocks in the order in which they run.
    """

    pieces: tuple[Mapping[str, Floats], ...]
    records: Records
    answer: tuple[tuple[int, ...], ...]

    def pile(self) -> Pile:
        """The pieces as a pile."""
        return Pile([Piece(number, tensors) for number, tensors in enumerate(self.pieces)])


def drop_module(
    module: "nn.Module",
    inputs: Mapping[str, ArrayLike],
    *,
    level: str,
    rng: np.random.Generator,
) -> DroppedModule:
    """Break the stacks of a module into shuffled numbered pieces, and record its output.

    Parameters
    ----------
    module
        Any module that `blueprint` takes. It is run in evaluation mode, and is not changed.
    inputs
        By parameter of forward: arrays of shape (rows, …).
    level
        A name in `LEVELS`.
    rng
        Draws the numbers of the pieces.

    Returns
    -------
    DroppedModule
        With every parameter and persistent buffer of real numbers of the blocks, and no other.

    Raises
    ------
    UsageError
        If there is no such level, the module has no stack, or its blocks cannot be run one by one.
    """
    if level not in LEVELS:
        raise UsageError(
            f"there is no level {level!r}{hint(level, LEVELS)}; there are: {', '.join(LEVELS)}"
        )
    tensors = {name: as_array(values) for name, values in module.state_dict().items()}
    cut = [(block, names) for block, held in _blocks(module).items() for names in _cut(held, level)]
    numbers = rng.permutation(len(cut)).tolist()
    pieces: list[Mapping[str, Floats]] = [{}] * len(cut)
    answer: dict[str, list[int]] = {}
    for number, (block, names) in zip(numbers, cut, strict=True):
        pieces[number] = {told: tensors[f"{block}.{key}"].copy() for told, key in names.items()}
        answer.setdefault(block, []).append(number)
    records = record_module(module, inputs)
    dropped = DroppedModule(tuple(pieces), records, tuple(map(tuple, answer.values())))
    _check_replay(module, dropped)
    return dropped


def _check_replay(module: "nn.Module", dropped: DroppedModule) -> None:
    """Refuse a module whose blocks `solve` could not run one by one, such as one that draws."""
    from unshuffle.blocks.replay import Replay, torch_dtype

    layouts = blueprint(module).layouts
    Replay(module, layouts, dropped.records, torch_dtype(dropped.pile().dtype))


def as_array(values: "torch.Tensor") -> Floats:
    """The numbers of a tensor; raises `UsageError` where NumPy has none of its dtype."""
    try:
        array: Floats = values.detach().numpy()
    except TypeError as error:
        kind = str(values.dtype).removeprefix("torch.")
        raise UsageError(
            f"the module is in {kind}, which NumPy does not have; let the function return "
            "module.float()"
        ) from error
    return array


def _blocks(module: "nn.Module") -> dict[str, list[str]]:
    """Names of the tensors of each block that is dropped, in the block, by its name."""
    layouts = blueprint(module).layouts
    return {block: [name for name, _ in held] for block, (_, held) in layouts.items()}


def _cut(tensors: Sequence[str], level: str) -> Iterator[dict[str, str]]:
    """The pieces of a block: names of its tensors by the names that a piece tells."""
    layers: dict[str, list[str]] = {}
    for name in tensors:
        layer = {"blocks": "", "tensors": name}.get(level, name.rpartition(".")[0])
        layers.setdefault(layer, []).append(name)
    for names in layers.values():
        told = [n.rpartition(".")[2] if level == "unnamed-layers" else n for n in names]
        yield dict(zip(told, names, strict=True))


def record_module(module: "nn.Module", inputs: Mapping[str, ArrayLike]) -> Records:
    """What a module gives for inputs by the parameters of its forward: its first real tensor."""
    import torch

    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            given = {name: torch.as_tensor(np.asarray(values)) for name, values in inputs.items()}
            rows = len(next(iter(given.values())))
            output = first_tensor(module(**given), rows)
    finally:
        module.train(was_training)
    return Records.named(inputs, output.numpy())


def first_tensor(output: object, rows: int) -> "torch.Tensor":
    """The first tensor of real numbers among what a module gives for rows; raises `UsageError`."""
    import torch
    from torch.utils._pytree import tree_flatten

    from unshuffle.blocks.capture import no_output

    leaves = tree_flatten([*output.values()] if isinstance(output, Mapping) else output)[0]
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    real = next((one for one in tensors if one.is_floating_point()), None)
    if real is None:
        raise no_output(output, tensors)
    if real.shape[:1] != (rows,):
        raise UsageError(
            f"the module gives a tensor of shape {tuple(real.shape)} for {rows} rows, but the "
            "first axis of its output must be that of the rows; let forward return one output a row"
        )
    return real


def emptied(module: "nn.Module", rng: np.random.Generator) -> "nn.Module":
    """A copy of a module with random weights in its stack, as whoever lost the pieces has it.

    Positive tensors, such as gains and variances, are set to one. Others are drawn with the
    standard deviation 0.02.
    """
    import copy

    import torch

    found = copy.deepcopy(module).eval()
    tensors = found.state_dict()
    for block, names in _blocks(module).items():
        for key in names:
            values = tensors[f"{block}.{key}"]
            drawn = torch.from_numpy(0.02 * rng.standard_normal(tuple(values.shape)))
            positive = values.ndim == 1 and bool((values > 0).all())
            values.copy_(torch.ones_like(values) if positive else drawn)
    return found
