"""The pieces of a pile as blocks of a PyTorch module, and what stands before and behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch

from unshuffle.blocks.bank import LoopBank, LoopStack, Slots, Weights
from unshuffle.blocks.capture import Tensors
from unshuffle.blocks.replay import Replay
from unshuffle.errors import UsageError
from unshuffle.pieces.blueprint import Arrangement, Kind
from unshuffle.pieces.pile import Floats

# Names of the tensors of a block in its module, by role and by name in the role.
Keys = Mapping[str, Mapping[str, str]]


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
                for role in self.kind.roles
            )
            for place in range(len(self))
        )

    def _name(self, place: int, role: str, name: str) -> str:
        """The name in the module of a tensor in a slot."""
        return f"{self.replay.blocks[place]}.{self.keys[role][name]}"


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

        def in_block(weights: Weights) -> Tensors:
            return {
                keys[role][name]: torch.from_numpy(values)
                for role, tensors in weights.items()
                for name, values in tensors.items()
            }

        def run(weights: Weights, x: Floats) -> Floats:
            return replay.in_dtype(x.dtype).run(in_block(weights), x)

        def pull(weights: Weights, x: Floats, g: Floats) -> Floats:
            return replay.in_dtype(x.dtype).pull(in_block(weights), x, g)

        return cls(kind, run, pull, tensors, keys, replay)

    def take(self, arrangement: Arrangement) -> ModuleStack:
        """The blocks of an arrangement in a row."""
        blocks = [self._weights(parts) for parts in arrangement]
        return ModuleStack(
            self.kind, self.run, self.pull, blocks, self.keys, self.replay, work=self.work
        )


@dataclass(frozen=True, eq=False)
class ModuleEnds:
    """What stands before and behind the blocks of a module, with its own weights."""

    replay: Replay

    def __str__(self) -> str:
        return type(self.replay.module).__name__

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The dtype that the network computes in."""
        return np.dtype(str(self.replay.dtype).removeprefix("torch."))

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
        return {name: one.numpy() for name, one in self.replay.module.state_dict().items()}

    def astype(self, dtype: np.typing.DTypeLike) -> "ModuleEnds":
        """The same ends with their numbers in another dtype."""
        return ModuleEnds(self.replay.in_dtype(dtype))
