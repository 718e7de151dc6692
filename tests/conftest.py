"""Networks with a known answer, and the way to the real puzzle."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from unshuffle import MlpNetwork, Piece, Pile, Records
from unshuffle.blocks.activations import find_activation
from unshuffle.blocks.bank import LoopBank
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpBank, MlpStack

# No test watches the clock: other processes may have the machine.
settings.register_profile("unshuffle", deadline=None, max_examples=60)
settings.load_profile("unshuffle")

PROJECT = Path(__file__).parent.parent
PUZZLE = PROJECT.parent / "shared" / "puzzle"


@dataclass(frozen=True)
class Dropped:
    """A network that was dropped, with its answer."""

    network: MlpNetwork
    pile: Pile
    records: Records
    permutation: tuple[int, ...]

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """Ids of the inp and the out layer of each block, in the order in which they run."""
        return tuple(zip(self.permutation[:-1:2], self.permutation[1::2], strict=True))

    @property
    def pairs(self) -> set[tuple[int, int]]:
        return set(self.blocks)


def make_network(
    rng: np.random.Generator,
    *,
    blocks: int = 5,
    width: int = 6,
    hidden: int = 10,
    outputs: int = 1,
    dtype: type = np.float32,
    activation: str = "relu",
    coupling: float = 0.12,
) -> MlpNetwork:
    """A random network whose blocks couple inp and out the way that training does.

    The product W_out W_in leans towards minus identity, as far as `coupling` says, and the norms of
    a hidden unit's weights agree on its two sides.
    """
    strength = np.exp(0.5 * rng.normal(size=(blocks, hidden, 1)))
    inp = rng.normal(size=(blocks, hidden, width)) / np.sqrt(width) * strength
    out = -coupling * inp.transpose(0, 2, 1)
    out += 0.1 * rng.normal(size=out.shape) * strength.transpose(0, 2, 1) / np.sqrt(hidden)
    return MlpNetwork(
        MlpStack(
            inp,
            0.3 * rng.normal(size=(blocks, hidden)),
            out,
            0.1 * rng.normal(size=(blocks, width)),
            find_activation(activation),
        ),
        Linear(rng.normal(size=(outputs, width)) / np.sqrt(width), rng.normal(size=outputs)),
    ).astype(dtype)


def drop_network(rng: np.random.Generator, network: MlpNetwork, *, rows: int) -> Dropped:
    """Shuffle a network's layers into numbered pieces and record its predictions."""
    tensors = list(network.tensors().values())
    layers = list(zip(tensors[::2], tensors[1::2], strict=True))
    ids = rng.permutation(len(layers)).tolist()
    pieces = [
        Piece.linear(name, weight, bias) for name, (weight, bias) in zip(ids, layers, strict=True)
    ]
    inputs = rng.normal(size=(rows, network.blocks.width)).astype(np.float32)
    records = Records(inputs, network.predict(inputs))
    return Dropped(network, Pile(pieces), records, tuple(ids))


def loop_bank(bank: MlpBank) -> LoopBank:
    """The same blocks, known by two functions on their tensors."""

    def stack(weights) -> MlpStack:
        inp, out = weights["inp"], weights["out"]
        tensors = inp["weight"], inp["bias"], out["weight"], out["bias"]
        return MlpStack(*(values[None] for values in tensors), bank.activation)

    tensors = [{}] * len(bank.rows)
    for position in bank.inp_positions:
        layer = bank.inp_layer(position)
        tensors[position] = {"weight": layer.weight, "bias": layer.bias}
    for position in bank.out_positions:
        layer = bank.out_layer(position)
        tensors[position] = {"weight": layer.weight, "bias": layer.bias}
    return LoopBank(
        bank.kind,
        lambda weights, x: stack(weights).apply(0, x),
        lambda weights, x, g: stack(weights).pullback(0, x, g),
        tensors,
    )


@pytest.fixture(scope="session")
def looped() -> Callable[[MlpBank], LoopBank]:
    """The same blocks, run one by one by two functions: `looped(bank)`."""
    return loop_bank


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.fixture(scope="session")
def make_dropped() -> Callable[..., Dropped]:
    """Make a dropped network: `make_dropped(rng, rows=200, blocks=5, width=6, hidden=10)`."""

    def make(rng: np.random.Generator, rows: int = 200, **shape: object) -> Dropped:
        return drop_network(rng, make_network(rng, **shape), rows=rows)  # type: ignore[arg-type]

    return make


@pytest.fixture
def dropped(
    make_dropped: Callable[..., Dropped], rng: np.random.Generator
) -> Callable[..., Dropped]:
    """Make a dropped network from the test's own generator: `dropped(rows=200, blocks=5)`."""
    return partial(make_dropped, rng)


@pytest.fixture(scope="session")
def drop() -> Callable[..., Dropped]:
    """Drop a given network: `drop(rng, network, rows=200)`."""
    return drop_network


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch in one thread: in small networks, threads mostly wait for each other."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def example() -> Path:
    """The example that ships with the project."""
    return PROJECT / "examples" / "dropped"


@pytest.fixture
def puzzle() -> Path:
    """The published puzzle, which is not ours to ship."""
    if not PUZZLE.exists():
        pytest.skip(f"the published puzzle is not at {PUZZLE.relative_to(PROJECT.parent)}")
    return PUZZLE
