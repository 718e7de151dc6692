"""What a repair is: it mends one kind of damage to a pile or a record."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from unshuffle.blocks.blueprints import Blueprint
from unshuffle.errors import PileError
from unshuffle.pieces.anatomy import Anatomy, read_anatomy
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import FINAL, SETTLED
from unshuffle.repair.anatomy import partial_anatomy
from unshuffle.repair.copies import identical_copies, near_copies
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution


@dataclass(frozen=True, eq=False)
class Case:
    """A pile and a record that are to be put together.

    `solve` solves another case as this one is solved, such as one with some pieces set aside.
    Repairs whose names are in `without` are not asked.
    """

    pile: Pile
    records: Records
    options: Options
    solve: "Callable[[Case], Solution]"
    blueprint: Blueprint | None = None
    permuted_units: bool = False
    without: frozenset[str] = frozenset()

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
        return partial_anatomy(self.pile, self.records) if self.rebuilds else None

    @cached_property
    def identical_copies(self) -> dict[int, int]:
        """Positions of pieces that equal an earlier one, with that one's position."""
        return identical_copies(self.pile)

    @cached_property
    def near_copies(self) -> list[tuple[int, int, float]]:
        """Positions of each two pieces that nearly equal each other, with their difference."""
        return near_copies(self.pile)

    @property
    def rebuilds(self) -> bool:
        """Whether pieces may be left out: that takes predictions, and the fused evidence."""
        return self.options.rebuilds and len(self.records.predicted()) > 1


@dataclass(frozen=True)
class Repair:
    """Mends one kind of damage.

    Parameters
    ----------
    name
        What results call it.
    suspects
        How likely this is what is wrong, from 0 to 1, by what a search came to; that is None before
        there was one.
    run
        Mends it; None where nothing came of it.
    requires
        Why it cannot serve a case, in a sentence; None where it can.
    """

    name: str
    suspects: Callable[[Case, Solution | None], float]
    run: Callable[[Case, Solution | None], Solution | None]
    requires: Callable[[Case], str | None] = lambda _: None


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
