"""The assembled network as a PyTorch module. Needs the extra `torch`."""

from collections.abc import Callable
from functools import partial

from unshuffle.blocks.activations import LEAKY, QUICK
from unshuffle.blocks.forms import RESIDUAL, Form, form_of
from unshuffle.blocks.kept import KeptStack, without_code
from unshuffle.blocks.mlp import MlpStack, as_mlp
from unshuffle.blocks.module_bank import ModuleStack
from unshuffle.blocks.network import Network
from unshuffle.errors import MissingExtraError

try:
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtraError("PyTorch", "torch", "handing the network back as a module") from error


class Block(nn.Module):
    """A residual block ``x + out(a(inp(x)))``, or one of another form."""

    def __init__(self, width: int, hidden: int, activation: str, form: Form = RESIDUAL) -> None:
        super().__init__()
        self.inp = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, width)
        self.activation = _function(activation)
        self.form = form

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map states (rows, width) to states."""
        form = self.form
        written = self.out(self.activation(self.inp(self._stepped(form.before, x))))
        behind = self._stepped(form.behind, written)
        return self._stepped(form.after, x + behind if form.skip else behind)

    def _stepped(self, step: str, x: torch.Tensor) -> torch.Tensor:
        if step == "a":
            return self.activation(x)
        return nn.functional.layer_norm(x, x.shape[-1:]) if step else x


def _function(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """An activation by the name that this library has for it."""
    if name == "gelu_tanh":
        return partial(nn.functional.gelu, approximate="tanh")
    if name in _OWN:
        return _OWN[name]
    if name.startswith(f"{LEAKY}_"):
        slope = float(name.removeprefix(f"{LEAKY}_"))
        return partial(nn.functional.leaky_relu, negative_slope=slope)
    function: Callable[[torch.Tensor], torch.Tensor] = getattr(nn.functional, name)
    return function


def _squared_relu(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.relu(x).square()


def _quick_gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(QUICK * x)


# What torch.nn.functional has not. No function without a name, since a module may be pickled.
_OWN = {"relu2": _squared_relu, "quick_gelu": _quick_gelu}


class ResidualNetwork(nn.Module):
    """Residual blocks in sequence, and a last layer that reads the stream."""

    def __init__(self, blocks: MlpStack, outputs: int) -> None:
        super().__init__()
        shape = blocks.width, blocks.hidden, blocks.activation.name, form_of(blocks)
        self.blocks = nn.Sequential(*(Block(*shape) for _ in range(len(blocks))))
        self.last = nn.Linear(blocks.width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map inputs (rows, width) to predictions (rows, outputs)."""
        return self.last(self.blocks(x))


def tensors_of(network: Network) -> dict[str, torch.Tensor]:
    """Copies of all tensors of a network by name."""
    return {name: torch.tensor(values) for name, values in network.tensors().items()}


def to_torch(network: Network) -> nn.Module:
    """Copy a network into a module of its dtype on the CPU, in evaluation mode."""
    if isinstance(network.blocks, ModuleStack):
        return network.blocks.replay.filled(network.tensors())
    if isinstance(network.blocks, KeptStack):
        raise without_code()
    network = as_mlp(network)
    module = ResidualNetwork(network.blocks, len(network.last.bias))
    tensors = tensors_of(network)
    module.to(next(iter(tensors.values())).dtype).load_state_dict(tensors)
    module.eval()
    return module
