"""Small networks of several families, as their users would write them. Needs the extra `torch`.

Each reads rows of numbers. So any table can be their record: ids of tokens, pixels of a square
image, or columns. The peculiarities of a family stand in its class.
"""

# What a forward is stands in PyTorch.
# ruff: noqa: D102

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from unshuffle.oracle.recipe import FamilyPlan

KERNEL = 5  # pixels along a side of a depthwise convolution
PATCH = 2  # pixels along a side of a patch
ROTARY_BASE = 100.0  # ratio of the fastest to the slowest rotation, about


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, *, causal: bool) -> Tensor:
    """Attention (Vaswani et al. 2017) of so many heads; fewer keys serve groups of queries."""
    rows, tokens, width = query.shape
    each = width // heads
    query, key, value = (
        one.view(rows, tokens, -1, each).transpose(1, 2) for one in (query, key, value)
    )
    key, value = (one.repeat_interleave(heads // one.shape[1], 1) for one in (key, value))
    scores = query @ key.transpose(-1, -2) / each**0.5
    if causal:
        scores = scores.masked_fill(torch.ones(tokens, tokens).triu(1).bool(), -torch.inf)
    return (torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(rows, tokens, width)


def turned(x: Tensor, each: int) -> Tensor:
    """Queries or keys with rotary positions (Su et al. 2021), in heads of so many units."""
    heads = x.view(*x.shape[:2], -1, each)
    speeds = ROTARY_BASE ** (-torch.arange(0, each, 2).to(x.dtype) / each)
    angles = (torch.arange(x.shape[1]).to(x.dtype)[:, None] * speeds).repeat(1, 2)[:, None]
    first, second = heads.chunk(2, -1)
    swapped = torch.cat([-second, first], -1)
    return (heads * angles.cos() + swapped * angles.sin()).view(x.shape)


class Attention(nn.Module):
    """Query, key, value and output as layers of their own."""

    def __init__(self, plan: FamilyPlan) -> None:
        super().__init__()
        for name in ("query", "key", "value", "output"):
            setattr(self, name, nn.Linear(plan.width, plan.width))
        self.heads = plan.heads

    def forward(self, x: Tensor) -> Tensor:
        mixed = attend(self.query(x), self.key(x), self.value(x), self.heads, causal=False)
        output: Tensor = self.output(mixed)
        return output


class GroupedAttention(nn.Module):
    """Fewer keys and values than queries (Ainslie et al. 2023), rotary positions, no biases."""

    def __init__(self, plan: FamilyPlan) -> None:
        super().__init__()
        self.each = plan.width // plan.heads
        fewer = self.each * (plan.heads // plan.queries_per_key)
        self.q_proj = nn.Linear(plan.width, plan.width, bias=False)
        self.k_proj = nn.Linear(plan.width, fewer, bias=False)
        self.v_proj = nn.Linear(plan.width, fewer, bias=False)
        self.o_proj = nn.Linear(plan.width, plan.width, bias=False)
        self.heads = plan.heads

    def forward(self, x: Tensor) -> Tensor:
        query, key = turned(self.q_proj(x), self.each), turned(self.k_proj(x), self.each)
        mixed = attend(query, key, self.v_proj(x), self.heads, causal=True)
        output: Tensor = self.o_proj(mixed)
        return output


class FusedAttention(nn.Module):
    """Query, key and value as one layer."""

    def __init__(self, plan: FamilyPlan, *, causal: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(plan.width, 3 * plan.width)
        self.proj = nn.Linear(plan.width, plan.width)
        self.heads, self.causal = plan.heads, causal

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, -1)
        output: Tensor = self.proj(attend(query, key, value, self.heads, causal=self.causal))
        return output


class Mlp(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.down(functional.gelu(self.up(x)))
        return output


class GatedMlp(nn.Module):
    """SwiGLU (Shazeer 2020): what one layer makes is a gate for what another one makes."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return output


class RootMeanSquare(nn.Module):
    """RMSNorm (Zhang & Sennrich 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


class PreNormBlock(nn.Module):
    """Norms stand before fused attention and MLP."""

    def __init__(self, plan: FamilyPlan, *, causal: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(plan.width), nn.LayerNorm(plan.width)
        self.attention = FusedAttention(plan, causal=causal)
        self.mlp = Mlp(plan.width, plan.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        output: Tensor = x + self.mlp(self.norm2(x))
        return output


class PostNormBlock(nn.Module):
    """Norms stand behind attention and MLP, on the stream."""

    def __init__(self, plan: FamilyPlan) -> None:
        super().__init__()
        self.attention, self.norm1 = Attention(plan), nn.LayerNorm(plan.width)
        self.mlp, self.norm2 = Mlp(plan.width, plan.hidden), nn.LayerNorm(plan.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x))
        output: Tensor = self.norm2(x + self.mlp(x))
        return output


class LlamaBlock(nn.Module):
    """RMSNorm, grouped queries with rotary positions, and a gated MLP."""

    def __init__(self, plan: FamilyPlan) -> None:
        super().__init__()
        self.input_norm, self.mlp_norm = RootMeanSquare(plan.width), RootMeanSquare(plan.width)
        self.attention, self.mlp = GroupedAttention(plan), GatedMlp(plan.width, plan.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.input_norm(x))
        output: Tensor = x + self.mlp(self.mlp_norm(x))
        return output


class ResNetBlock(nn.Module):
    """Two convolutions, each behind a batch norm and a ReLU (He et al. 2016)."""

    def __init__(self, plan: FamilyPlan) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(plan.width), nn.BatchNorm2d(plan.hidden)
        self.conv1 = nn.Conv2d(plan.width, plan.hidden, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(plan.hidden, plan.width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv1(functional.relu(self.norm1(x)))
        output: Tensor = x + self.conv2(functional.relu(self.norm2(made)))
        return output


class ConvNextBlock(nn.Module):
    """A depthwise convolution, a norm, and an MLP on each pixel with a scale (Liu et al. 2022)."""

    def __init__(self, plan: FamilyPlan) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            plan.width, plan.width, KERNEL, padding=KERNEL // 2, groups=plan.width
        )
        self.norm, self.mlp = nn.LayerNorm(plan.width), Mlp(plan.width, plan.hidden)
        self.scale = nn.Parameter(torch.full((plan.width,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        made = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.mlp(made)).permute(0, 3, 1, 2)


class MixerBlock(nn.Module):
    """An MLP across patches, then one across channels (Tolstikhin et al. 2021)."""

    def __init__(self, plan: FamilyPlan, patches: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(plan.width), nn.LayerNorm(plan.width)
        self.tokens, self.channels = Mlp(patches, plan.hidden), Mlp(plan.width, plan.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        output: Tensor = x + self.channels(self.norm2(x))
        return output


class GatedBlock(nn.Module):
    """A gated MLP behind a norm, with a LayerScale (Touvron et al. 2021)."""

    def __init__(self, plan: FamilyPlan) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(plan.width), GatedMlp(plan.width, plan.hidden)
        self.scale = nn.Parameter(torch.full((plan.width,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.mlp(self.norm(x))


class Chain(nn.Module):
    """A stem, blocks in a row, a norm, and a head."""

    def __init__(
        self, plan: FamilyPlan, stem: nn.Module, blocks: Iterable[nn.Module], norm: nn.Module
    ) -> None:
        super().__init__()
        self.stem, self.blocks = stem, nn.ModuleList(blocks)
        self.norm, self.head = norm, nn.Linear(plan.width, plan.outputs)

    def forward(self, rows: Tensor) -> Tensor:
        x = self.stem(rows)
        for block in self.blocks:
            x = block(x)
        output: Tensor = self.head(self.norm(x))
        return output


class TokenEmbedding(nn.Module):
    """Ids of tokens as vectors. Positions are learned, unless attention knows them itself."""

    def __init__(self, plan: FamilyPlan, *, positions: bool = True) -> None:
        super().__init__()
        self.tokens = nn.Embedding(plan.outputs, plan.width)
        self.positions = (
            nn.Parameter(torch.randn(plan.inputs, plan.width) / 10) if positions else None
        )

    def forward(self, rows: Tensor) -> Tensor:
        x: Tensor = self.tokens(rows.long())
        return x if self.positions is None else x + self.positions


class Patches(nn.Module):
    """The patches of an image as vectors with learned positions, behind any class token."""

    def __init__(self, plan: FamilyPlan, *, class_token: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, plan.width, PATCH, PATCH)
        patches = (plan.side // PATCH) ** 2
        self.first = nn.Parameter(torch.randn(plan.width) / 10) if class_token else None
        self.positions = nn.Parameter(torch.randn(patches + class_token, plan.width) / 10)

    def forward(self, rows: Tensor) -> Tensor:
        x = self.patches(images(rows)).flatten(2).transpose(1, 2)
        if self.first is not None:
            x = torch.cat([self.first.expand(len(x), 1, -1), x], 1)
        output: Tensor = x + self.positions
        return output


class Pixels(nn.Module):
    """An image as channels, by a convolution."""

    def __init__(self, plan: FamilyPlan) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, plan.width, 3, padding=1)

    def forward(self, rows: Tensor) -> Tensor:
        output: Tensor = self.conv(images(rows))
        return output


class Pooled(nn.Module):
    """The mean over the places, or the first of them, behind a norm."""

    def __init__(self, plan: FamilyPlan, places: tuple[int, ...], *, first: bool = False) -> None:
        super().__init__()
        self.norm, self.places, self.first = nn.LayerNorm(plan.width), places, first

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.norm(x[:, 0] if self.first else x.mean(self.places))
        return output


def images(rows: Tensor) -> Tensor:
    """Rows of pixels as square images of one channel."""
    side = round(rows.shape[1] ** 0.5)
    return rows.view(len(rows), 1, side, side)


def _gpt(plan: FamilyPlan) -> nn.Module:
    blocks = (PreNormBlock(plan, causal=True) for _ in range(plan.blocks))
    return Chain(plan, TokenEmbedding(plan), blocks, nn.LayerNorm(plan.width))


def _bert(plan: FamilyPlan) -> nn.Module:
    blocks = (PostNormBlock(plan) for _ in range(plan.blocks))
    return Chain(plan, TokenEmbedding(plan), blocks, nn.Identity())


def _llama(plan: FamilyPlan) -> nn.Module:
    blocks = (LlamaBlock(plan) for _ in range(plan.blocks))
    return Chain(plan, TokenEmbedding(plan, positions=False), blocks, RootMeanSquare(plan.width))


def _vit(plan: FamilyPlan) -> nn.Module:
    blocks = (PreNormBlock(plan, causal=False) for _ in range(plan.blocks))
    return Chain(plan, Patches(plan, class_token=True), blocks, Pooled(plan, (1,), first=True))


def _mixer(plan: FamilyPlan) -> nn.Module:
    patches = (plan.side // PATCH) ** 2
    blocks = (MixerBlock(plan, patches) for _ in range(plan.blocks))
    return Chain(plan, Patches(plan, class_token=False), blocks, Pooled(plan, (1,)))


def _resnet(plan: FamilyPlan) -> nn.Module:
    blocks = (ResNetBlock(plan) for _ in range(plan.blocks))
    return Chain(plan, Pixels(plan), blocks, Pooled(plan, (2, 3)))


def _convnext(plan: FamilyPlan) -> nn.Module:
    blocks = (ConvNextBlock(plan) for _ in range(plan.blocks))
    return Chain(plan, Pixels(plan), blocks, Pooled(plan, (2, 3)))


def _gated(plan: FamilyPlan) -> nn.Module:
    blocks = (GatedBlock(plan) for _ in range(plan.blocks))
    return Chain(plan, nn.Linear(plan.inputs, plan.width), blocks, nn.LayerNorm(plan.width))


BUILDERS: dict[str, Callable[[FamilyPlan], nn.Module]] = {
    "gpt": _gpt,
    "bert": _bert,
    "llama": _llama,
    "vit": _vit,
    "mixer": _mixer,
    "resnet": _resnet,
    "convnext": _convnext,
    "gated": _gated,
}


def build(plan: FamilyPlan, seed: int) -> nn.Module:
    """A module with initial weights. Seed and version of PyTorch decide them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BUILDERS[plan.family](plan)
