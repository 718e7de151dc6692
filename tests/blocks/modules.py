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


class Recurrent(GatedNetwork):
    """Runs each block three times, one behind the other, as groups of ALBERT do."""

    def forward(self, rows):
        rows = self.stem(rows)
        for block in self.blocks:
            rows = block(block(block(rows)))
        return self.head(rows)


class Shared(GatedNetwork):
    """The first and the third block are one module."""

    def __init__(self):
        super().__init__()
        self.blocks[2] = self.blocks[0]


class DecoderBlock(nn.Module):
    """Looks at what the encoder has made, too."""

    def __init__(self, width, hidden, heads):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.across = nn.MultiheadAttention(width, heads, kdim=width, batch_first=True)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x, memory):
        own = self.norm1(x)
        x = x + self.attention(own, own, own)[0]
        x = x + self.across(self.norm2(x), memory, memory)[0]
        return x + self.down(functional.gelu(self.up(self.norm3(x))))


class Translator(nn.Module):
    """An encoder, and a decoder that reads other tokens."""

    bridge = nn.LayerNorm

    def __init__(self, blocks=3, width=16, hidden=32):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Parameter(torch.randn(TOKENS, width) / 10)
        self.encoder = nn.ModuleList(TransformerBlock(width, hidden, 4) for _ in range(blocks))
        self.decoder = nn.ModuleList(DecoderBlock(width, hidden, 4) for _ in range(blocks))
        self.between, self.norm = self.bridge(width), nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, source, target):
        memory = self.tokens(source) + self.positions
        for block in self.encoder:
            memory = block(memory)
        memory, x = self.between(memory), self.tokens(target) + self.positions
        for block in self.decoder:
            x = block(x, memory)
        return self.head(self.norm(x))


class Handing(Translator):
    """One whose decoder reads just what the last block of the encoder gives."""

    bridge = nn.Identity


class RelativeBlock(nn.Module):
    """Adds a bias to its scores, which the first block makes and all others hand on."""

    def __init__(self, width, heads, *, first):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        if first:
            self.bias = nn.Parameter(torch.randn(heads, TOKENS, TOKENS))

    def forward(self, x, mask, bias=None):
        bias = self.bias[None] if bias is None else bias
        scores = bias + mask.view(len(x), -1, TOKENS, TOKENS)
        return x + self.attention(self.norm(x), mask=scores), bias


class Relative(nn.Module):
    """Its mask has the heads of one row after the other on the first axis."""

    def __init__(self, blocks=4, width=16, heads=4):
        super().__init__()
        self.tokens, self.heads = nn.Embedding(VOCABULARY, width), heads
        self.blocks = nn.ModuleList(
            RelativeBlock(width, heads, first=not number) for number in range(blocks)
        )
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, ids, seen):
        x, bias = self.tokens(ids), None
        mask = torch.where(seen, 0.0, -torch.inf).to(x.dtype).repeat_interleave(self.heads, 0)
        for block in self.blocks:
            x, bias = block(x, mask[:, None].expand(-1, TOKENS, -1), bias)
        return self.head(x)


class JoiningBlock(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(width), Gated(width, hidden)

    def forward(self, x, other):
        return x + self.mlp(self.norm(x + other))


class Growing(Gated):
    """A block without a norm: a product grows faster than what it is of."""

    def forward(self, x):
        return x + super().forward(x)


class Widths(nn.Module):
    """Two stages, the second twice as wide."""

    def __init__(self, blocks=3, width=8, hidden=16):
        super().__init__()
        self.stem, self.head = nn.Linear(6, width), nn.Linear(2 * width, 4)
        self.stage1 = nn.Sequential(*(Growing(width, hidden) for _ in range(blocks)))
        self.between = nn.Linear(width, 2 * width)
        self.stage2 = nn.Sequential(*(Growing(2 * width, hidden) for _ in range(blocks)))

    def forward(self, rows):
        return self.head(self.stage2(self.between(self.stage1(self.stem(rows)))))


class Returning(nn.Module):
    """The blocks of its second half read what those of the first half gave, the last one first."""

    def __init__(self, blocks=3, width=16, hidden=40):
        super().__init__()
        self.stem, self.head = nn.Linear(6, width), nn.Linear(width, 4)
        self.encoder = nn.ModuleList(ScaledBlock(width, hidden) for _ in range(blocks))
        self.decoder = nn.ModuleList(JoiningBlock(width, hidden) for _ in range(blocks))

    def forward(self, rows):
        rows, given = self.stem(rows), []
        for block in self.encoder:
            rows = block(rows)
            given.append(rows)
        for block in self.decoder:
            rows = block(rows, given.pop())
        return self.head(rows)


class Mixing(nn.Module):
    """Mixes tokens: the first of two kinds that take turns."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads)

    def forward(self, x):
        return x + self.attention(self.norm(x))


class Thinking(nn.Module):
    """The second kind, which looks at one token."""

    def __init__(self, width, hidden):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(width), Gated(width, hidden)

    def forward(self, x):
        return x + self.mlp(self.norm(x))


class Turns(nn.Module):
    """Two kinds of blocks in one list."""

    def __init__(self, blocks=3, width=16, hidden=32):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        kinds = [lambda: Mixing(width, 4), lambda: Thinking(width, hidden)]
        self.layers = nn.ModuleList(kind() for _ in range(blocks) for kind in kinds)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, ids):
        x = self.tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Stages(nn.Module):
    """Two stages, the second half as long and twice as wide; its first block is of another form."""

    def __init__(self, blocks=3, channels=8):
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.stage1 = nn.Sequential(*(ConvolutionBlock(channels) for _ in range(blocks)))
        wide = [Widening(channels), *(ConvolutionBlock(2 * channels) for _ in range(blocks))]
        self.stage2 = nn.Sequential(*wide)
        self.head = nn.Linear(2 * channels, 6)

    def forward(self, image):
        return self.head(self.stage2(self.stage1(self.stem(image))).mean((2, 3)))


class Widening(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(2 * channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 3, 2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, bias=False)
        self.beside = nn.Conv2d(channels, 2 * channels, 1, 2, bias=False)

    def forward(self, x):
        made = self.conv1(functional.relu(self.norm1(x)))
        return self.beside(x) + self.conv2(functional.relu(self.norm2(made)))


def inputs_of(module, rows, rng):
    """Random inputs by the names that a module's forward has for them."""
    ids = rng.integers(VOCABULARY, size=(rows, TOKENS))
    match module:
        case Transformer() | Turns():
            return {"ids": ids}
        case Translator():
            return {"source": ids, "target": rng.integers(VOCABULARY, size=(rows, TOKENS))}
        case Stages():
            return {"image": rng.normal(size=(rows, 1, 6, 6)).astype(np.float32)}
        case Llama() | Relative():
            return {"ids": ids, "seen": np.arange(TOKENS) < rng.integers(3, TOKENS, size=(rows, 1))}
        case ResNet():
            return {"image": rng.normal(size=(rows, 1, 5, 5)).astype(np.float32)}
    return {"rows": rng.normal(size=(rows, 6)).astype(np.float32)}


STACKS = ("blocks", "layers", "stage", "encoder", "decoder", "stage1", "stage2")


def blocks_of(module):
    """The blocks of a module in the order in which they run, whatever stack they are in."""
    return [block for name in STACKS if hasattr(module, name) for block in getattr(module, name)]


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
    found = []
    for block in blocks_of(module):
        layers = {}
        for name, tensor in block.state_dict().items():
            layer = layers.setdefault("" if whole else name.rpartition(".")[0], {})
            layer[name if told else name.rpartition(".")[2]] = tensor.numpy()
        found.append([*layers.values()])
    ids = iter(rng.permutation(sum(map(len, found))).tolist())
    blocks = tuple(tuple(next(ids) for _ in layers) for layers in found)
    pieces = [
        Piece(number, layer)
        for numbers, layers in zip(blocks, found, strict=True)
        for number, layer in zip(numbers, layers, strict=True)
    ]
    return Pile(pieces), blocks


def emptied(module):
    """A new module of the same class that has the weights of all but the blocks."""
    other, stacks = type(module)(), tuple(f"{name}." for name in STACKS)
    kept = {n: t for n, t in module.state_dict().items() if not n.startswith(stacks)}
    other.load_state_dict(kept, strict=False)
    return other.eval()
