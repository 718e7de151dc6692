"""Loose layers, with a judge over all blocks that they could make."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest

from unshuffle import MlpNetwork, Records
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpBank
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.ordering.auto import begin
from unshuffle.ordering.descent import DescentSteps
from unshuffle.ordering.judge import Judge, Run
from unshuffle.ordering.moves import Moves
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.state import State
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.blueprint import Arrangement


@dataclass(frozen=True, eq=False)
class Loose:
    """Loose layers whose true pairs are (k, k), and the order in which these blocks ran."""

    bank: MlpBank
    judge: Judge
    right: Arrangement

    def blocks(self, pairs) -> Arrangement:
        """Blocks of pairs given as indices of an inp and an out layer."""
        return self.bank.arranged(np.array(pairs, np.intp).reshape(-1, 2))

    def predict(self, arrangement: Arrangement) -> np.ndarray:
        """Predictions by a full evaluation, outputs first."""
        network = MlpNetwork(self.bank.take(arrangement), self.judge.ends)
        return network.predict(self.judge.inputs).T.reshape(-1)

    def evidence(self, log_odds) -> Evidence:
        """Evidence on the pairs: shape (inps, outs)."""
        odds = np.asarray(log_odds, float)
        return Evidence((EdgeOdds(INP, OUT, odds, self.bank.rows, self.bank.columns),))

    def problem(self, log_odds, pairs=None, **given) -> Problem:
        """The layers as a problem, with the true pairs unless others are given."""
        pairs = [(k, k) for k in range(len(self.right))] if pairs is None else pairs
        grouped, evidence = self.blocks(pairs), self.evidence(log_odds)
        records = given.pop("records", self.judge.records)
        return Problem(self.bank, self.judge.ends, grouped, evidence, records, **given)

    def judging(self, records: Records) -> "Loose":
        """The same layers with another record."""
        return replace(self, judge=Judge(self.bank, self.judge.ends, records))


def _loose(bank: MlpBank, ends: Linear, inputs: np.ndarray, right: Arrangement) -> Loose:
    predictions = MlpNetwork(bank.take(right), ends).predict(inputs)
    return Loose(bank, Judge(bank, ends, Records(inputs, predictions)), right)


def _rescaled(net: Loose, scale: float) -> Loose:
    bank = replace(
        net.bank, out_weight=scale * net.bank.out_weight, out_bias=scale * net.bank.out_bias
    )
    return _loose(bank, net.judge.ends, net.judge.inputs, net.right)


@pytest.fixture(scope="session")
def rescaled() -> Callable[[Loose, float], Loose]:
    """The same with smaller blocks, and the record that they make: `rescaled(net, 0.1)`."""
    return _rescaled


@pytest.fixture(scope="session")
def make_loose(make_dropped) -> Callable[..., Loose]:
    """Make loose layers, float64 unless told otherwise: `make_loose(rng, rows=40, blocks=5)`."""

    def make(rng: np.random.Generator, *, rows: int = 40, scale: float = 1.0, **shape) -> Loose:
        case = make_dropped(rng, rows=rows, **({"dtype": np.float64} | shape))
        mix = rng.permutation(len(case.network.blocks))
        blocks = case.network.blocks.take(mix)
        bank = MlpBank(*blocks.inp, *blocks.out, blocks.activation)
        right = bank.arranged(np.repeat(np.argsort(mix)[:, None], 2, axis=1))
        return _rescaled(_loose(bank, case.network.last, case.records.inputs, right), scale)

    return make


@pytest.fixture
def loose(make_loose, rng) -> Callable[..., Loose]:
    """Make loose layers from the test's own generator: `loose(rows=40, blocks=5)`."""
    return partial(make_loose, rng)


@pytest.fixture
def square(dropped) -> Callable[..., Loose]:
    """Make loose layers of which each can be inp or out: layers (k, k + blocks) are true pairs."""

    def make(blocks: int, rows: int = 60, width: int = 6, **shape) -> Loose:
        shape = {"dtype": np.float64} | shape
        case = dropped(rows=rows, blocks=blocks, width=width, hidden=width, **shape)
        stack, positions = case.network.blocks, range(2 * blocks)
        layers = [np.concatenate(both) for both in zip(stack.inp, stack.out, strict=True)] * 2
        bank = MlpBank(*layers, stack.activation, positions, positions)
        right = np.column_stack([np.arange(blocks), np.arange(blocks) + blocks])
        return _loose(bank, case.network.last, case.records.inputs, right)

    return make


@dataclass(frozen=True)
class Fit:
    """The goal of an error below a limit; noise explains what is below another one."""

    limit: float = 1e-20
    noise: float = 0.0
    decided: bool = True

    def reproduces(self, judge: Judge, run: Run) -> bool:
        return run.error < self.limit

    def explains(self, problem: Problem, arrangement: Arrangement) -> bool:
        return problem.judge(problem.known).run(arrangement).error < self.noise

    def decides(self, problem: Problem, arrangement: Arrangement, rows: Records) -> bool:
        return self.decided


@pytest.fixture(scope="session")
def bench_of() -> Callable[..., tuple[Workbench, State]]:
    """Make a workbench of problems, and the state before the first round.

    `bench_of(problem, other, seed=0, goal=Fit(1e-9), by=SearchParameters(), rows=None)`
    """

    def make(*problems: Problem, seed: int = 0, goal: Fit | None = None, **given):
        rng = np.random.default_rng(seed)
        bench = Workbench(problems, rng, goal or Fit(), **given)
        return bench, begin(bench, rng)

    return make


@pytest.fixture(scope="session")
def fit() -> type[Fit]:
    """Make a goal: `fit(limit, noise)`."""
    return Fit


@pytest.fixture(scope="session")
def finish() -> Callable[[DescentSteps], tuple[list[Step], Run]]:
    """Run a search to its end: its steps and what it returns."""

    def run(search: DescentSteps) -> tuple[list[Step], Run]:
        steps = []
        while True:
            try:
                steps.append(next(search))
            except StopIteration as end:
                return steps, end.value

    return run


@pytest.fixture(scope="session")
def moves_of() -> Callable[..., Moves]:
    """Moves from a list of (first, second, first role, second role), of which shifts have no roles.

    They are without effects unless these are given.
    """

    def make(listed, effects=None, gains=None) -> Moves:
        slots = [(*move, -1, -1)[:4] for move in listed]
        columns = np.array(slots, np.intp).reshape(-1, 4).T
        count = len(slots)
        return Moves(
            *columns,
            np.zeros((count, 1)) if effects is None else effects,
            np.zeros(count) if gains is None else np.asarray(gains, float),
        )

    return make
