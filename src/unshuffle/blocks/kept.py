"""Networks without code: tensors under the names of their slots, read from a file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from unshuffle.blocks.bank import LoopStack, Slots, Weights
from unshuffle.blocks.network import Network
from unshuffle.errors import UsageError
from unshuffle.pieces.blueprint import Kind
from unshuffle.pieces.pile import Floats


@dataclass(frozen=True, eq=False, repr=False)
class KeptStack(LoopStack):
    """Blocks that cannot run."""

    held: Mapping[str, Floats]
    places: Slots

    def tensors(self) -> dict[str, Floats]:
        """Every tensor in a slot by its name."""
        slots = [slot for each in self.places for slot in each if slot is not None]
        return {
            name: values
            for name, values in self.held.items()
            if any(within(name, slot) for slot in slots)
        }

    def slots(self) -> Slots:
        """The names of the slots."""
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class KeptEnds:
    """Ends that cannot run."""

    held: Mapping[str, Floats]

    def __str__(self) -> str:
        return f"{len(self.held)} tensors"

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The widest dtype of real numbers among the tensors."""
        return np.result_type(*(one.dtype for one in self.held.values() if one.dtype.kind == "f"))

    def enter(self, inputs: Floats) -> Floats:
        """Raise `UsageError`."""
        raise without_code()

    def leave(self, state: Floats) -> Floats:
        """Raise `UsageError`."""
        raise without_code()

    def pull(self, state: Floats, probes: Floats | None = None) -> Floats:
        """Raise `UsageError`."""
        raise without_code()

    def tensors(self) -> dict[str, Floats]:
        """Every tensor by its name."""
        return dict(self.held)

    def astype(self, dtype: np.typing.DTypeLike) -> "KeptEnds":
        """The same: nothing computes with it."""
        return self


def kept_network(tensors: Mapping[str, Floats], slots: Slots) -> Network:
    """A network of tensors by name, in slots by name, that computes nothing."""

    def apply(_: Weights, __: Floats) -> Floats:
        raise without_code()

    def pullback(_: Weights, __: Floats, ___: Floats) -> Floats:
        raise without_code()

    blocks: list[Weights] = [{} for _ in slots]
    stack = KeptStack(Kind("blocks", ()), apply, pullback, blocks, tensors, slots)
    return Network(stack, KeptEnds(tensors))


def within(name: str, slot: str) -> bool:
    """Whether a tensor is in a slot, by their names."""
    return name == slot or name.startswith(f"{slot}.")


def outside(names: Iterable[str], blocks: Iterable[str]) -> list[str]:
    """The names of tensors that are in none of some blocks."""
    blocks = [*blocks]
    return [name for name in names if not any(within(name, block) for block in blocks)]


def without_code() -> UsageError:
    """What is said where the network would have to run."""
    return UsageError(
        "the code of this network's blocks was not kept, only its tensors: load "
        "solution.state_dict() into the module, by module.load_state_dict, and run that"
    )
