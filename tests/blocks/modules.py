"""Small networks of several families, as their users would write them, with their data."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from unshuffle import Piece, Pile, Records

VOCABULARY, TOKENS = 40, 6


class Attention(nn.Module):
    """Self-attention, with rotary positions and a mask where they are given."""

    def __init__(self, width, heads, *, bias=True):
        super().__init__()
        names = ("query", "key", "value", "output")
        for name in names:
            setattr(self, name, nn.Linear(width, width, bias=bias))
        self.heads = heads

    def forward(self, x, rotary=None, mask=None):
        shape = (*x.shape[:2], self.heads, -1)
        query, key, value = (
            layer(x).view(shape).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        if rotary is not None:
            query, key = (turned(each, *rotary) for each in (query, key))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        if mask is not None:
            scores = scores + mask
        mixed = torch.softmax(scores, -1) @ value
        return self.output(mixed.transpose(1, 2).reshape(x.shape))


def turned(x, cosines, sines):
    first, second = x.chunk(2, -1)
    return x * cosines + torch.cat([-second, first], -1) * sines


class TransformerBlock(nn.Module):
    def __init__(self, width, hidden, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Norms before attention and MLP; positions are learned."""

    def __init__(self, blocks=4, width=16, hidden=32):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Parameter(torch.randn(TOKENS, width) / 10)
        self.blocks = nn.ModuleList(TransformerBlock(width, hidden, 4) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class RootMeanSquare(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


class Gated(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class LlamaBlock(nn.Module):
    """Gives a tuple, and is given masks that depend on the row and tables that do not."""

    def __init__(self, width, hidden, heads):
        super().__init__()
        self.norm1, self.norm2 = RootMeanSquare(width), RootMeanSquare(width)
        self.attention, self.mlp = Attention(width, heads, bias=False), Gated(width, hidden)

    def forward(self, x, *, rotary, mask):
        x = x + self.attention(self.norm1(x), rotary, mask)
        return x + self.mlp(self.norm2(x)), None


class Llama(nn.Module):
    def __init__(self, blocks=4, width=18, hidden=36, heads=3):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.layers = nn.ModuleList(LlamaBlock(width, hidden, heads) for _ in range(blocks))
        self.norm, self.head = RootMeanSquare(width), nn.Linear(width, VOCABULARY, bias=False)
        self.each = width // heads

    def forward(self, ids, seen):
        x = self.tokens(ids)
        speeds = 100 ** (-torch.arange(0, self.each, 2).to(x.dtype) / self.each)
        angles = (torch.arange(TOKENS).to(x.dtype)[:, None] * speeds).repeat(1, 2)
        mask = torch.full((TOKENS, TOKENS), -torch.inf, dtype=x.dtype).triu(1)
        mask = mask + torch.where(seen, 0.0, -torch.inf).to(x.dtype)[:, None, None]
        for block in self.layers:
            x, _ = block(x, rotary=(angles.cos(), angles.sin()), mask=mask)
        return {"logits": self.head(self.norm(x)), "last": x}


class ConvolutionBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.conv1, self.conv2 = (
            nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)
        )

    def forward(self, x):
        made = self.conv1(functional.relu(self.norm1(x)))
        return x + self.conv2(functional.relu(self.norm2(made)))


class ResNet(nn.Module):
    def __init__(self, blocks=4, channels=12):
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.stage = nn.Sequential(*(ConvolutionBlock(channels) for _ in range(blocks)))
        self.head = nn.Linear(channels, 6)

    def forward(self, image):
        return self.head(self.stage(self.stem(image)).mean((2, 3)))


class ScaledBlock(nn.Module):
    """Owns a tensor itself."""

    def __init__(self, width, hidden):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(width), Gated(width, hidden)
        self.scale = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x):
        return x + self.scale * self.mlp(self.norm(x))


class GatedNetwork(nn.Module):
    """Reads rows of numbers."""

    def __init__(self, blocks=4, width=16, hidden=40):
        super().__init__()
        self.stem = nn.Linear(6, width)
        self.blocks = nn.ModuleList(ScaledBlock(width, hidden) for _ in range(blocks))
        self.head = nn.Linear(width, 4)

    def forward(self, rows):
        rows = self.stem(rows)
        for block in self.blocks:
            rows = block(rows)
        return self.head(rows)


def inputs_of(module, rows, rng):
    """Random inputs by the names that a module's forward has for them."""
    ids = rng.integers(VOCABULARY, size=(rows, TOKENS))
    match module:
        case Transformer():
            return {"ids": ids}
        case Llama():
            return {"ids": ids, "seen": np.arange(TOKENS) < rng.integers(3, TOKENS, size=(rows, 1))}
        case ResNet():
            return {"image": rng.normal(size=(rows, 1, 5, 5)).astype(np.float32)}
    return {"rows": rng.normal(size=(rows, 6)).astype(np.float32)}


def stack_of(module):
    """The name of a module's stack, and its blocks."""
    name = next(name for name in ("blocks", "layers", "stage") if hasattr(module, name))
    return name, [*getattr(module, name)]


def output_of(module, inputs):
    """What a module makes of inputs by name."""
    dtype = next(module.parameters()).dtype
    tensors = {name: torch.from_numpy(one) for name, one in inputs.items()}
    output = module(**{n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors.items()})
    return output["logits"] if isinstance(output, dict) else output


def recorded(module, rows, rng):
    """A record of a module."""
    inputs = inputs_of(module, rows, rng)
    with torch.no_grad():
        return Records.named(inputs, output_of(module, inputs))


def dropped(module, rng, *, whole=False, told=True):
    """The pieces of a module's blocks, shuffled, and the ids of those of each block.

    They are whole blocks, or layers with names as in the block, or only those of their own.
    """
    blocks = stack_of(module)[1]
    tensors = [{n: t.numpy() for n, t in block.state_dict().items()} for block in blocks]
    layers = {}
    for name in tensors[0]:
        layers.setdefault("" if whole else name.rpartition(".")[0], []).append(name)
    ids = rng.permutation(len(blocks) * len(layers)).reshape(len(blocks), -1).tolist()
    pieces = [
        Piece(number, {n if told else n.rpartition(".")[2]: block[n] for n in names})
        for numbers, block in zip(ids, tensors, strict=True)
        for number, names in zip(numbers, layers.values(), strict=True)
    ]
    return Pile(pieces), tuple(map(tuple, ids))


def emptied(module):
    """A new module of the same class that has the weights of all but the blocks."""
    other, (stack, _) = type(module)(), stack_of(module)
    kept = {n: t for n, t in module.state_dict().items() if not n.startswith(f"{stack}.")}
    other.load_state_dict(kept, strict=False)
    return other.eval()
