"""Alternatives: the blueprints, one of which is right, and the problem of each."""

from collections.abc import Hashable, Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from unshuffle.blocks.activations import Activation
from unshuffle.blocks.assembly import last_layer, mlp_bank
from unshuffle.blocks.bank import Bank
from unshuffle.blocks.blueprints import Blueprint
from unshuffle.blocks.ends import Ends
from unshuffle.blocks.forms import RESIDUAL, Form
from unshuffle.errors import UsageError
from unshuffle.grouping.groups import group
from unshuffle.grouping.pairs import Pairing, pair
from unshuffle.grouping.signals import Scores
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.anatomy import Anatomy, read_anatomy
from unshuffle.pieces.blueprint import Arrangement, Parts
from unshuffle.pieces.pile import TINY, Floats, PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.solution.options import Options


class Problems:
    """What there is to order: a problem for each blueprint, the likeliest first.

    Each is made only when the search asks for it, and remembered. Without a blueprint they are the
    activations. Where shapes leave a choice, they are also the possible last layers, and whether
    weights map columns to rows. `start` is an arrangement to try first, from an earlier search.
    """

    def __init__(
        self,
        pile: Pile,
        records: Records,
        options: Options,
        *,
        anatomy: Anatomy | None = None,
        blueprint: Blueprint | None = None,
        start: Arrangement | None = None,
    ) -> None:
        self.pile, self.records, self.options, self.start = pile, records, options, start
        self.pairing: Pairing | None = None
        self.anatomy: Anatomy | None = None
        # Scores that follow from the weights alone, by the pile and the layers that they are of.
        self._of_weights: dict[Hashable, dict[Hashable, Scores]] = {}
        if blueprint is not None:
            self._unmade: Iterator[Problem] = iter([self._of(blueprint)])
        else:
            self.anatomy = anatomy or read_anatomy(pile, records)
            self._unmade = self._of_shapes(self.anatomy)
        self.problems = [next(self._unmade)]

    def __iter__(self) -> Iterator[Problem]:
        yield from [*self.problems]
        for problem in self._unmade:
            self.problems.append(problem)
            yield problem

    def has(self, number: int) -> bool:
        """Whether there is an alternative of a number."""
        return any(at == number for at, _ in enumerate(self))

    def last_of(self, arrangement: Arrangement) -> PieceId | None:
        """Id of the piece that is the last layer. None where that is no piece of the pile."""
        placed = {*arrangement.ravel().tolist()}
        left = (self.pile[p].id for p in range(len(self.pile)) if p not in placed)
        return None if self.anatomy is None else next(left)

    def _of(self, blueprint: Blueprint) -> Problem:
        bank, ends = blueprint.parts(self.pile, self.records)
        with self.options.clock.phase("pair"):
            options = self.options
            grouped, evidence = group(self.pile, bank.kind, options.clock, options.grouping)
        problem = Problem(bank, ends, grouped, evidence, self.records, self.start)
        _check_functions(bank, problem.sketch.ends, grouped[0], problem.sketch.records)
        return problem

    def _of_shapes(self, anatomy: Anatomy) -> Iterator[Problem]:
        # Frameworks differ in how weights lie; where all are square, no shape tells.
        turned = self.pile.turned()
        piles = [self.pile] if turned is None else [self.pile, turned]
        ways = [*product(anatomy.last, piles)]
        if len(ways) > 1:
            linear = _linear(self.records.predicted())
            ways.sort(key=lambda way: -_likeness(way[1][way[0]].weight, linear))
        for (last, pile), activation in product(ways, self.options.activations):
            pairing, problem = self._paired(anatomy, anatomy.with_last(last), activation, pile)
            self.pairing = self.pairing or pairing
            yield problem

    def _paired(
        self, whole: Anatomy, anatomy: Anatomy, activation: Activation, pile: Pile
    ) -> tuple[Pairing, Problem]:
        layers = pile is self.pile, anatomy.inp, anatomy.out
        with self.options.clock.phase("pair"):
            pairing = pair(
                pile,
                self.records,
                signal=self.options.chosen_signal,
                matching=self.options.matching,
                anatomy=anatomy,
                activation=activation,
                clock=self.options.clock,
                by=self.options.grouping,
                of_weights=self._of_weights.setdefault(layers, {}),
            )
        form = self.options.form
        problem = problem_of(pile, self.records, whole, pairing, activation, form=form)
        return pairing, replace(problem, start=self.start)


def _linear(known: Records) -> Floats:
    """The linear map of inputs that comes nearest to predictions, shape (outputs, width).

    What blocks add is not like any one piece, so this is most like the last layer.
    """
    inputs, predictions = (
        (each - each.mean(axis=0)) if len(known) else each
        for each in (known.inputs.astype(np.float64), known.predictions.astype(np.float64))
    )
    linear: Floats = np.linalg.lstsq(inputs, predictions)[0].T
    return linear


def _likeness(weight: Floats, linear: Floats) -> float:
    """Cosine of the angle between two maps of the same spaces; 0 where one of them is none."""
    if weight.shape != linear.shape:
        return 0.0
    norms = float(np.linalg.norm(weight) * np.linalg.norm(linear))
    return float((weight * linear).sum()) / max(norms, TINY)


def _check_functions(bank: Bank, ends: Ends, parts: Parts, records: Records) -> None:
    """Raise `UsageError` where a user's block or ends give no arrays of the right shapes."""
    try:
        x = ends.enter(records.inputs[:2])
        after, left, g = bank.apply(parts, x.copy()), ends.leave(x), ends.pull(x)
        back = bank.pullback(parts, x, g)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"the functions of a {bank.kind.name} block fail on two rows: {error!r}; try them on "
            f"states of shape {records.inputs[:2].shape} first"
        ) from error
    expected = (x.shape, (len(x), records.outputs or left.shape[1]), g.shape)
    for name, found, right in zip(
        ("apply of the block", "leave of the ends", "pullback of the block"),
        (after.shape, left.shape, back.shape),
        expected,
        strict=True,
    ):
        if found != right:
            raise UsageError(f"{name} gives an array of shape {found}, but {right} is expected")


def problem_of(
    pile: Pile,
    records: Records,
    anatomy: Anatomy,
    pairing: Pairing,
    activation: Activation,
    *,
    form: Form = RESIDUAL,
) -> Problem:
    """What is to be ordered, in terms of all pieces that can be inp or out layers.

    The pairing may be of an anatomy whose last layer is decided. What it leaves out belongs to no
    block. Without fused log-odds only the matched pairs are considered.
    """
    bank = mlp_bank(pile, anatomy, activation, form)
    grouped, evidence = pairing.grouped(pile), pairing.evidence(pile, bank)
    last, regrouped = last_layer(pile, pairing.last), pairing.regrouped()
    return Problem(bank, last, grouped, evidence, records, regrouped=regrouped)
