"""Whether a record can be of these pieces at all: told by records of which it is known.

A search that does not come to a record may have failed, or the record may be of another network.
To tell, the pieces are put together as they might have been, what that network predicts for the
record's inputs is taken for a record, and the same search is set on it. If all such controls
are solved with half of the work that the record itself has taken in vain, then a record of these
pieces, for which seeds are better, would have been solved too.

A control is no easier than a true record, as far as that can be told without an answer: its pairs
are drawn by the evidence (perturb and MAP, Papandreou & Yuille 2011), and its order is twice as far
from what a seed says as the two seeds that agree most are from one another. Were their errors
independent, the better of the two would be half as far from the truth as they are from one another;
that they are not is what the factor allows for. Where seeds know little they disagree; then
controls are hard, are not solved, and nothing is said. Nor is it where the search has come no
nearer to the record than its mean: what training has made may vary little where arrangements differ
by much.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np

from unshuffle.blocks.activations import Activation
from unshuffle.blocks.network import Network
from unshuffle.grouping.matching import optimal_matching
from unshuffle.ordering.auto import auto
from unshuffle.ordering.journal import Journal
from unshuffle.ordering.judge import Judge, Order
from unshuffle.ordering.seeds import SEEDS, Ranking
from unshuffle.ordering.trace import Step
from unshuffle.pieces.records import Records
from unshuffle.proof.tolerance import arithmetic_of
from unshuffle.solution.arranging import Cases, reproduces_rows

CONTROLS = 5
"""Records that are searched for, in turn,"""
NEEDED = 4
"""and of which so many have to be solved before anything is said of another one."""

STRAY = 2.0
"""How far the order of a control is from a seed, over the least distance of two seeds,"""
LEAST_STRAY = 0.05
"""and in couples of blocks that are put in opposite sequence, at least this part of all, or one
couple in as many as there are blocks."""

DOUBT = 2.0
"""Pairs are drawn as if their log-odds were divided by this, since those may be too sure."""

SEED_ROWS = 64
"""Inputs that seeds look at."""


class Trial:
    """Records that the pieces make themselves, each searched for as the given one is.

    Parameters
    ----------
    cases
        What the search orders.
    """

    def __init__(self, cases: Cases) -> None:
        self.cases = cases
        self.journal = cases.options.journal or Journal()
        self.solved = 0
        """Controls that were solved."""
        # Nothing is said where the roles of pieces are open, or the evidence is no probability.
        decidable = (
            cases.pairing.evidence is not None
            and not cases.anatomy.interchangeable
            and bool(np.isfinite(cases.problems[0].log_odds).all())
        )
        self._controls: list[Iterator[tuple[Step, bool]]] = []
        self._unmade = CONTROLS if decidable else 0
        self.spent = 0
        """Work that the controls have taken."""

    @property
    def passed(self) -> bool:
        """Whether enough controls were solved."""
        return self.solved == NEEDED

    def advance(self, order: Order, budget: int) -> None:
        """Go on with the controls as far as so much work reaches.

        Parameters
        ----------
        order
            The best one that the search has found; the first tells the controls' activation.
        budget
            Rows of all steps of all controls, added up, from the first on.
        """
        if self._unmade and self.spent < budget:
            activation = self._activation_of(order)
            self._controls = [self._search(number, activation) for number in range(self._unmade)]
            self._unmade = 0
        while self.spent < budget and not self.passed:
            if len(self._controls) + self.solved < NEEDED:
                self._controls.clear()
                return
            control = self._controls.pop(0)
            step, solved = next(control, (None, False))
            if step is None:  # it has not been solved, and never will be
                continue
            self.spent += step.rows
            self.solved += solved
            if not solved:
                self._controls.append(control)

    def evidence(self, unexplained: float) -> str:
        """Why the record is of no arrangement of all pieces, in a sentence.

        Parameters
        ----------
        unexplained
            Mean squared error over the predictions' variance.
        """
        return (
            f"no arrangement of all pieces fits: {self.solved} of {CONTROLS} records that these "
            "pieces made themselves, in arrangements about which the weights tell no more, were "
            "solved from the same inputs with half of the work each; of this record "
            f"{100 * unexplained:.2g} % of the variance stays unexplained, and it follows from the "
            "inputs, so it is no noise"
        )

    def _activation_of(self, order: Order) -> Activation:
        """The activation with which an order fits best, of those that were looked at."""
        some = self.cases.problems[0].known
        some = some.take(np.arange(min(SEED_ROWS, len(some))))
        fitting = min(
            self.cases.problems,
            key=lambda one: Judge(one.layers, one.last, some).run(order).error,
        )
        return fitting.layers.activation

    def _search(self, number: int, activation: Activation) -> Iterator[tuple[Step, bool]]:
        """Search for a control's arrangement; each step, and whether it ends in it."""
        options = self.cases.options
        rng = np.random.default_rng([options.seed, number])
        known = self._control_record(activation, rng)
        arithmetic = arithmetic_of(self.cases.pile.dtype, known.predictions)
        cases = Cases(self.cases.pile, known, self.cases.anatomy, options)
        reproduces = partial(
            reproduces_rows, blocks=self.cases.anatomy.blocks, arithmetic=arithmetic
        )
        steps = auto(
            cases,
            rng,
            journal=self.journal,
            rows=options.rows,
            reproduces=reproduces,
            explains=lambda *_: False,
            decides=lambda *_: False,
        )
        last = next(steps)
        for step in steps:
            yield last, False
            last = step
        judges = [Judge(problem.layers, problem.last, known) for problem in cases.problems]
        yield last, any(reproduces(judge, judge.run(last.order)) for judge in judges)

    def _control_record(self, activation: Activation, rng: np.random.Generator) -> Records:
        """What these pieces predict in an arrangement in which they might have been."""
        problem = self.cases.problems[0]
        layers = replace(problem.layers, activation=activation)
        inputs = problem.known.inputs
        drawn = problem.log_odds + DOUBT * rng.gumbel(size=problem.log_odds.shape)
        pairs = replace(problem, pairs=optimal_matching(drawn), layers=layers)
        network = pairs.network(tuple(pairs.blocks.tolist()))
        some = inputs[:SEED_ROWS].astype(network.last.weight.dtype)
        rankings = [seed.rank(network, some) for seed in SEEDS.values()]
        closest = min(combinations(rankings, 2), key=lambda two: disagreement(*two))
        distance = max(STRAY * disagreement(*closest), LEAST_STRAY, 1 / len(network.blocks))
        ranking = strayed(closest[rng.integers(2)], distance, rng)
        chosen = Network(network.blocks.take(ranking), network.last)
        return Records(inputs, chosen.predict(inputs), name=problem.records.name)


def disagreement(one: Ranking, other: Ranking) -> float:
    """Part of all couples of blocks that two rankings put in opposite sequence.

    Which end comes first is left open, so that it is at most a half (Kendall 1938).
    """
    depth = np.argsort(other)[one]
    couples = len(depth) * (len(depth) - 1) / 2
    opposed = float(np.triu(depth[:, None] > depth).sum()) / max(couples, 1)
    return min(opposed, 1 - opposed)


def strayed(ranking: Ranking, distance: float, rng: np.random.Generator) -> Ranking:
    """A ranking that disagrees with a given one by at least `distance`, or that is random."""
    for spread in np.geomspace(0.01, 10, 40):
        places = np.arange(len(ranking)) / len(ranking)
        drawn = ranking[np.argsort(places + spread * rng.normal(size=len(ranking)))]
        if disagreement(drawn, ranking) >= distance:
            return drawn
    return rng.permutation(ranking)
