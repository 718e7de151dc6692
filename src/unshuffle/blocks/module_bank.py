"""The pieces of a pile as blocks of a PyTorch module, and its ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Self

import numpy as np
import torch

from unshuffle.blocks.bank import LoopBank, LoopStack, Slots, Weights
from unshuffle.blocks.capture import TorchTensors, real_tensors
from unshuffle.blocks.fitting import Keys
from unshuffle.blocks.replay import Replay
from unshuffle.errors import UsageError
from unshuffle.pieces.blueprint import Arrangement, Kind, Parts
from unshuffle.pieces.pile import Floats


@dataclass(frozen=True, eq=False)
class ModuleStack(LoopStack):
    """Blocks of a module in a row."""

    keys: Keys
    replay: Replay

    def tensors(self) -> dict[str, Floats]:
        """Every tensor by its name in the module."""
        return {
            self._name(place, role, name): values
            for place, block in enumerate(self.blocks)
            for role, tensors in block.items()
            for name, values in tensors.items()
        }

    def slots(self) -> Slots:
        """The names of the slots: the paths of modules or tensors."""
        return tuple(
            tuple(
                shared_path([self._name(place, role.name, name) for name in role.tensors])
                if role.name in block
                else None
                for role in self.kind.roles
            )
            for place, block in enumerate(self.blocks)
        )

    def astype(self, dtype: np.typing.DTypeLike) -> Self:
        """The same blocks: their numbers are converted to the dtype of the states as they run."""
        return self

    def _name(self, place: int, role: str, name: str) -> str:
        """The name in the module of a tensor in a slot."""
        return self.replay.names(place)[self.keys[role][name]]


def shared_path(names: Sequence[str]) -> str:
    """The path that dotted names begin with in common, as ``a.b`` of ``a.b.c`` and ``a.b.d.e``."""
    parts = zip(*(name.split(".") for name in names), strict=False)
    return ".".join(same[0] for same in takewhile(lambda each: len({*each}) == 1, parts))


@dataclass(frozen=True, eq=False)
class ModuleBank(LoopBank):
    """Runs any pieces as a block of a module."""

    keys: Keys
    replay: Replay

    @classmethod
    def of(
        cls, kind: Kind, keys: Keys, tensors: Sequence[Mapping[str, Floats]], replay: Replay
    ) -> "ModuleBank":
        """A bank of pieces with tensors that have these names in a block."""

        def run(weights: Weights, x: Floats) -> Floats:
            there = replay.in_dtype(x.dtype)
            return there.run(_in_block(keys, there, weights), x)

        def pull(weights: Weights, x: Floats, g: Floats) -> Floats:
            there = replay.in_dtype(x.dtype)
            return there.pull(_in_block(keys, there, weights), x, g)

        return cls(kind, run, pull, tensors, keys, replay)

    @cached_property
    def _moving(self) -> frozenset[str]:
        """Names in a place of the tensors that are statistics."""
        replay = self.replay
        each = zip(range(len(replay.places)), replay.states(), strict=True)
        return frozenset(
            name for place, x in each for name in replay.statistics(replay.own(place), x)
        )

    @cached_property
    def recording(self) -> Sequence[int]:
        """The roles whose pieces keep statistics of states."""
        names = [self.keys[role.name].values() for role in self.kind.roles]
        return [number for number, own in enumerate(names) if self._moving & {*own}]

    def recorded(self, role: int, position: int) -> Mapping[str, Floats]:
        """The statistics that a piece of such a role holds."""
        keys = self.keys[self.kind.roles[role].name]
        return {n: self.tensors[position][n] for n, key in keys.items() if key in self._moving}

    def statistics(self, parts: Parts, x: Floats) -> Mapping[int, Mapping[str, Floats]]:
        """The statistics that the block of these pieces has for rows x, by role."""
        in_block = _in_block(self.keys, self.replay, self._weights(parts))
        found = self.replay.statistics(in_block, x)
        keys = [self.keys[role.name].items() for role in self.kind.roles]
        return {
            number: {n: found[key] for n, key in own if key in found}
            for number, own in enumerate(keys)
        }

    def take(self, arrangement: Arrangement) -> ModuleStack:
        """The blocks of an arrangement in a row."""
        blocks = [self._weights(parts) for parts in arrangement]
        return ModuleStack(
            self.kind, self.run, self.pull, blocks, self.keys, self.replay, work=self.work
        )


def _in_block(keys: Keys, replay: Replay, weights: Weights) -> TorchTensors:
    """The tensors of a block by their names in its place, as a replay needs them."""
    return {
        keys[role][name]: torch.from_numpy(values).to(replay.device, replay.dtype)
        for role, tensors in weights.items()
        for name, values in tensors.items()
    }


@dataclass(frozen=True, eq=False)
class ModuleEnds:
    """What stands before and behind the blocks of a module, with its own weights."""

    replay: Replay

    def __str__(self) -> str:
        return type(self.replay.module).__name__

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The dtype that the network computes in."""
        return self.replay.numpy_dtype

    def enter(self, inputs: Floats) -> Floats:
        """The first state of rows of inputs; raises `UsageError` for rows of another width."""
        width = self.replay.records.width
        if inputs.ndim != 2 or inputs.shape[1] != width:
            raise UsageError(
                f"the network reads rows of {width} inputs, but got an array of shape "
                f"{inputs.shape}; give it one of shape (rows, {width})"
            )
        return self.replay.enter(inputs)

    def leave(self, state: Floats) -> Floats:
        """The output, shape (rows, outputs), of last states."""
        return self.replay.leave(state)

    def pull(self, state: Floats, probes: Floats | None = None) -> Floats:
        """Derivatives of the outputs, or of mixtures of them, by the last state."""
        return self.replay.pull_ends(state, probes)

    def tensors(self) -> dict[str, Floats]:
        """Every tensor of the module under its own name, those of its blocks too."""
        tensors = self.replay.module.state_dict()
        return {name: one.cpu().numpy() for name, one in tensors.items()}

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the module's parameters and buffers that keep its own weights."""
        replay = self.replay
        placed = {n for place in range(len(replay.places)) for n in replay.names(place).values()}
        return tuple(name for name in real_tensors(replay.module) if name not in placed)

    def astype(self, dtype: np.typing.DTypeLike) -> "ModuleEnds":
        """The same ends with their numbers in another dtype."""
        return ModuleEnds(self.replay.in_dtype(dtype))
