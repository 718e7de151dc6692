"""What a repair is: it mends one kind of damage to a pile or a record."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from unshuffle.blocks.blueprints import Blueprint
from unshuffle.errors import PileError
from unshuffle.pieces.anatomy import Anatomy, read_anatomy
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import FINAL, SETTLED
from unshuffle.repair.anatomy import partial_anatomy
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution


@dataclass(frozen=True, eq=False)
class Case:
    """A pile and a record that are to be put together.

    Parameters
    ----------
    pile, records, options
        The pieces, the record, and how to search.
    solve
        Solves another case, as this one is solved: one with some pieces set aside, for example.
    blueprint
        What the network is made of, where that is known; else the shapes of the pieces tell.
    permuted_units
        Whether inp and out layers are said to list hidden units in different sequences.
    without
        Names of the repairs that are not asked any more.
    """

    pile: Pile
    records: Records
    options: Options
    solve: "Callable[[Case], Solution]"
    blueprint: Blueprint | None = None
    permuted_units: bool = False
    without: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def whole(self) -> Anatomy | PileError:
        """The roles of the pieces if they are as many as a network has; else what is wrong."""
        try:
            return read_anatomy(self.pile, self.records)
        except PileError as error:
            return error

    @cached_property
    def partial(self) -> Anatomy | None:
        """The roles of the pieces where some may be missing or too many; None if unknown."""
        if not self.rebuilds:
            return None
        return partial_anatomy(self.pile, self.records)

    @property
    def rebuilds(self) -> bool:
        """Whether pieces may be left out: that takes predictions, and the fused evidence."""
        return self.options.rebuilds and len(self.records.predicted()) > 1

    def of(self, pile: Pile, *, without: str) -> "Case":
        """The same case with other pieces, and without one of the repairs."""
        return replace(self, pile=pile, without=self.without | {without})


class Repair(Protocol):
    """Mends one kind of damage."""

    @property
    def name(self) -> str:
        """What results call it."""
        ...

    def requires(self, case: Case) -> str | None:
        """Why it cannot serve this case, in a sentence; None where it can."""
        ...

    def suspects(self, case: Case, solution: Solution | None) -> float:
        """How likely this is what is wrong, from 0 to 1.

        Parameters
        ----------
        case
            What is to be put together.
        solution
            What a search came to; None before there was one.
        """
        ...

    def run(self, case: Case, solution: Solution | None) -> Solution | None:
        """Mend it; None where nothing came of it."""
        ...


def better(one: Solution | None, other: Solution | None) -> Solution | None:
    """The one that reproduces the record, else the one with the lower error, else the first."""
    if one is None or other is None:
        return one or other
    if one.outcome in SETTLED or not (other.outcome in SETTLED or other.mse < one.mse):
        return one
    return other


def cut_off(best: Solution, last: Solution) -> Solution:
    """The best so far, with the outcome of the last search where that was cut off."""
    stopped = last.outcome in FINAL and last.outcome not in SETTLED
    return replace(best, outcome=last.outcome) if stopped and best is not last else best
