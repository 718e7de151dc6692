"""Simulated controls: records that the pieces make themselves, each searched for as the given one.

A search in vain may have failed, or the record may be of another network. So the pieces are put
together as they might have been. The network's own predictions are solved as a record. Are all such
controls solved with half of the row steps of the record? Then a record of these pieces would have
been solved too.

A control is no easier than a true record. Its pairs are drawn by the evidence (perturb and MAP,
Papandreou & Yuille 2011). Take the distance of the two seeds that agree most. A control's order is
twice as far from a seed. Were the errors of seeds independent, half of it would do. The factor
allows for their dependence. Where seeds disagree, controls are not solved, and nothing is said.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from unshuffle.blocks.activations import Activation
from unshuffle.blocks.mlp import as_mlp_bank
from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.auto import advance, begin
from unshuffle.ordering.seeds import SEEDS, Ranking
from unshuffle.ordering.state import State
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.records import Records
from unshuffle.proof.tolerance import arithmetic_of
from unshuffle.solution.alternatives import Problems
from unshuffle.solution.goal import Reproduction


@dataclass(frozen=True)
class ControlParameters:
    """Numbers that steer simulated controls."""

    controls: int = 5  # Records that are searched for, in turn.
    needed: int = 4  # Controls that have to be solved before anything is said of another record.
    stray: float = 2.0  # Distance of a control's order from a seed, over the least of two seeds.
    spreads: tuple[float, float] = (0.01, 10.0)  # Spread of places that makes an order stray.
    drawn: int = 40  # Spreads that are tried between these, evenly in their logarithms.
    least_stray: float = 0.05  # That distance at least, as a part of all couples of blocks.
    caution: float = 2.0  # Log-odds are divided by it to draw pairs, since they may be too sure.
    seed_rows: int = 64  # Inputs that seeds look at.


class Controls:
    """The controls of a search: those that are `solved`, and rows of all their steps, `spent`."""

    def __init__(self, alternatives: Problems, by: ControlParameters) -> None:
        self.alternatives, self.by = alternatives, by
        self.solved = self.spent = 0
        self._running: list[tuple[Workbench, Iterator[State]]] = []
        self._unmade = self.by.controls if self._decidable() else 0

    def _decidable(self) -> bool:
        """Whether roles are known and the evidence is a probability."""
        pairing, anatomy = self.alternatives.pairing, self.alternatives.anatomy
        if pairing is None or pairing.fusion is None or anatomy is None or anatomy.interchangeable:
            return False
        evidence = self.alternatives.problems[0].evidence
        return all(bool(np.isfinite(edge.log_odds).all()) for edge in evidence.edges)

    @property
    def passed(self) -> bool:
        """Whether enough controls were solved."""
        return self.solved == self.by.needed

    def advance(self, best: Arrangement, budget: int) -> None:
        """Go on while all row steps are below a budget. The best arrangement tells the activation.

        Each look begins one control, and another whenever none is under way. To begin one costs
        seconds, and where the first are hard nothing will be said.
        """
        begins, clock = True, self.alternatives.options.clock
        while self.spent < budget and not self.passed and not clock.out:
            if self._unmade + len(self._running) + self.solved < self.by.needed:
                self._running.clear()
                return
            if self._unmade and (begins or not self._running):
                number = self.by.controls - self._unmade
                self._running.insert(0, self._begun(number, self._activation_of(best)))
                self._unmade, begins = self._unmade - 1, False
            bench, states = self._running.pop(0)
            state = next(states, None)
            if state is None:  # it has not been solved, and never will be
                continue
            self.spent += state.step.rows
            if bench.confirmed(state) and _reproduces_all(bench, state):
                self.solved += 1
            else:
                self._running.append((bench, states))

    def told(self, unexplained: float) -> str:
        """Why the record is of no arrangement, by the share of its variance that is unexplained."""
        return (
            f"no arrangement of all pieces fits: of this record {100 * unexplained:.2g} % of the "
            "variance stays unexplained, and it follows from the inputs, so it is no noise. "
            f"{self.solved} of {self.by.controls} records that these pieces made themselves were "
            "solved from the same inputs, with half of the work each. The weights told no more "
            "about those arrangements"
        )

    def _activation_of(self, best: Arrangement) -> Activation:
        """The activation with which an arrangement fits best, of those that were looked at."""
        some = self.alternatives.problems[0].known.first(self.by.seed_rows)
        fitting = min(self.alternatives.problems, key=lambda one: one.judge(some).run(best).error)
        return as_mlp_bank(fitting.bank).activation

    def _begun(self, number: int, activation: Activation) -> tuple[Workbench, Iterator[State]]:
        options, pile = self.alternatives.options, self.alternatives.pile
        rng = np.random.default_rng([options.seed, number])
        known = self._record(activation, rng)
        alternatives = Problems(pile, known, options, anatomy=self.alternatives.anatomy)
        blocks = len(alternatives.problems[0].grouped)
        arithmetic = arithmetic_of(pile.dtype, known.predictions)
        rows, clock = options.rows, options.clock
        goal = Reproduction(arithmetic, blocks, clock, by=options.goal)
        bench = Workbench(alternatives, rng, goal, options.parameters, rows, clock=clock)
        return bench, advance(begin(bench, rng), bench)

    def _record(self, activation: Activation, rng: np.random.Generator) -> Records:
        """What these pieces predict in an arrangement in which they might have been."""
        problem, by = self.alternatives.problems[0], self.by
        bank = replace(as_mlp_bank(problem.bank), activation=activation)
        (edge,) = problem.evidence.edges
        drawn = edge.log_odds + by.caution * rng.gumbel(size=edge.log_odds.shape)
        problem, blocks = replace(problem, bank=bank), bank.arranged(optimal_matching(drawn))
        network, inputs = problem.network(blocks), problem.known.inputs
        rankings = [seed.rank(network, inputs[: by.seed_rows]) for seed in SEEDS.values()]
        closest = min(combinations(rankings, 2), key=lambda two: disagreement(*two))
        least = max(by.least_stray, 1 / len(blocks))
        distance = max(by.stray * disagreement(*closest), least)
        ranking = strayed(closest[rng.integers(2)], distance, rng, by)
        predictions = problem.network(blocks[ranking]).predict(inputs)
        return Records(inputs, predictions, name=problem.records.name)


def _reproduces_all(bench: Workbench, state: State) -> bool:
    judge = bench.judge(state.best.alternative, len(bench.known))
    return bench.goal.reproduces(judge, judge.run(state.best.arrangement))


def disagreement(one: Ranking, other: Ranking) -> float:
    """Part of all couples that rankings put in opposite sequence, at most a half (Kendall 1938)."""
    depth = np.argsort(other)[one]
    couples = len(depth) * (len(depth) - 1) / 2
    opposed = float(np.triu(depth[:, None] > depth).sum()) / max(couples, 1)
    return min(opposed, 1 - opposed)


def strayed(
    ranking: Ranking, distance: float, rng: np.random.Generator, by: ControlParameters
) -> Ranking:
    """A ranking that disagrees with a given one by at least `distance`, or that is random."""
    for spread in np.geomspace(*by.spreads, by.drawn):
        places = np.arange(len(ranking)) / len(ranking)
        drawn = ranking[np.argsort(places + spread * rng.normal(size=len(ranking)))]
        if disagreement(drawn, ranking) >= distance:
            return drawn
    return rng.permutation(ranking)
