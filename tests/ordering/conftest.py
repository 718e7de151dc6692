"""Loose layers, with a judge over all blocks that they could make."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from unshuffle import Network, Records
from unshuffle.blocks.network import Layers, Linear
from unshuffle.ordering.judge import Judge, Run, Search
from unshuffle.ordering.moves import Moves
from unshuffle.ordering.trace import Step


@dataclass(frozen=True, eq=False)
class Loose:
    """Loose layers whose true pairs are (k, k), and the order in which these blocks ran."""

    layers: Layers
    judge: Judge
    right: tuple[int, ...]

    @property
    def outs(self) -> int:
        return len(self.layers.out_weight)

    def predict(self, order: tuple[int, ...]) -> np.ndarray:
        """Predictions by a full evaluation, outputs first."""
        network = Network(self.layers.take(order), self.judge.last)
        return network.predict(self.judge.inputs).T.reshape(-1)


def _loose(layers: Layers, last: Linear, inputs: np.ndarray, right: tuple[int, ...]) -> Loose:
    predictions = Network(layers.take(right), last).predict(inputs)
    return Loose(layers, Judge(layers, last, Records(inputs, predictions)), right)


def _rescaled(net: Loose, scale: float) -> Loose:
    layers = Layers(
        net.layers.inp_weight,
        net.layers.inp_bias,
        scale * net.layers.out_weight,
        scale * net.layers.out_bias,
        net.layers.activation,
    )
    return _loose(layers, net.judge.last, net.judge.inputs, net.right)


@pytest.fixture(scope="session")
def rescaled() -> Callable[[Loose, float], Loose]:
    """The same with smaller blocks, and the record that they make: `rescaled(net, 0.1)`."""
    return _rescaled


@pytest.fixture(scope="session")
def make_loose(make_dropped) -> Callable[..., Loose]:
    """Make loose layers, float64 unless told otherwise: `make_loose(rng, rows=40, blocks=5)`."""

    def make(rng: np.random.Generator, *, rows: int = 40, scale: float = 1.0, **shape) -> Loose:
        case = make_dropped(rng, rows=rows, **({"dtype": np.float64} | shape))
        count = len(case.network.blocks)
        mix = rng.permutation(count)
        blocks = case.network.blocks.take(mix)
        layers = Layers(
            blocks.inp_weight,
            blocks.inp_bias,
            blocks.out_weight,
            blocks.out_bias,
            blocks.activation,
        )
        right = tuple(((count + 1) * np.argsort(mix)).tolist())
        return _rescaled(_loose(layers, case.network.last, case.records.inputs, right), scale)

    return make


@pytest.fixture
def loose(make_loose, rng) -> Callable[..., Loose]:
    """Make loose layers from the test's own generator: `loose(rows=40, blocks=5)`."""
    return partial(make_loose, rng)


@pytest.fixture(scope="session")
def finish() -> Callable[[Search], tuple[list[Step], Run]]:
    """Run a search to its end: its steps and what it returns."""

    def run(search: Search) -> tuple[list[Step], Run]:
        steps = []
        while True:
            try:
                steps.append(next(search))
            except StopIteration as end:
                return steps, end.value

    return run


@pytest.fixture(scope="session")
def moves_of() -> Callable[..., Moves]:
    """Moves from a list of (kind, first, second), without effects unless these are given."""

    def make(listed, effects=None, gains=None) -> Moves:
        kind, first, second = np.array(listed, np.intp).reshape(-1, 3).T
        return Moves(
            kind,
            first,
            second,
            np.zeros((len(kind), 1)) if effects is None else effects,
            np.zeros(len(kind)) if gains is None else np.asarray(gains, float),
        )

    return make
