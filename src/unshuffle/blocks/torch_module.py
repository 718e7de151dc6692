"""The assembled network as a PyTorch module; needs the extra `torch`."""

from collections.abc import Callable
from functools import partial

from unshuffle.blocks.activations import LEAKY
from unshuffle.blocks.kept import KeptStack, without_code
from unshuffle.blocks.mlp import as_mlp
from unshuffle.blocks.module_bank import ModuleStack
from unshuffle.blocks.network import Network
from unshuffle.errors import MissingExtraError

try:
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtraError("PyTorch", "torch", "handing the network back as a module") from error


class Block(nn.Module):
    """A residual block ``x + out(a(inp(x)))``."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.inp = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, width)
        self.activation = _function(activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map states (rows, width) to states."""
        return x + self.out(self.activation(self.inp(x)))


def _function(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """An activation by the name that this library has for it."""
    if name == "gelu_tanh":
        return partial(nn.functional.gelu, approximate="tanh")
    if name.startswith(f"{LEAKY}_"):
        slope = float(name.removeprefix(f"{LEAKY}_"))
        return partial(nn.functional.leaky_relu, negative_slope=slope)
    function: Callable[[torch.Tensor], torch.Tensor] = getattr(nn.functional, name)
    return function


class ResidualNetwork(nn.Module):
    """Residual blocks in sequence, and a last layer that reads the stream."""

    def __init__(self, width: int, hidden: int, blocks: int, outputs: int, activation: str) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width, hidden, activation) for _ in range(blocks)))
        self.last = nn.Linear(width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map inputs (rows, width) to predictions (rows, outputs)."""
        return self.last(self.blocks(x))


def tensors_of(network: Network) -> dict[str, torch.Tensor]:
    """Copies of all tensors of a network by name."""
    return {name: torch.tensor(values) for name, values in network.tensors().items()}


def to_torch(network: Network) -> nn.Module:
    """Copy a network into a module of the same dtype on the CPU, in evaluation mode."""
    if isinstance(network.blocks, ModuleStack):
        return network.blocks.replay.filled(network.tensors())
    if isinstance(network.blocks, KeptStack):
        raise without_code()
    network = as_mlp(network)
    blocks = network.blocks
    module = ResidualNetwork(
        blocks.width, blocks.hidden, len(blocks), len(network.last.bias), blocks.activation.name
    )
    tensors = tensors_of(network)
    module.to(next(iter(tensors.values())).dtype).load_state_dict(tensors)
    module.eval()
    return module
