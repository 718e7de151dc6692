"""Blueprints that compute: from the pieces of a pile to a bank and its ends."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from unshuffle.blocks.bank import Apply, Bank, LoopBank, Pullback
from unshuffle.blocks.ends import Ends
from unshuffle.errors import PileError, UsageError
from unshuffle.pieces.blueprint import Kind
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records


class Blueprint(Protocol):
    """A network without its weights, and what its blocks compute."""

    def fitted(self, pile: Pile) -> Pile:
        """The pieces of its blocks in the same sequence, with tensors of the names of roles."""

    def check_record(self, records: Records) -> None:
        """Raise `RecordError` if the network does not read the arrays of a record."""

    def parts(self, pile: Pile, records: Records) -> tuple[Bank, Ends]:
        """The blocks that the pieces of a fitted pile can make, and their ends."""


def check_blueprint(given: object) -> None:
    """Raise `UsageError` for what is no blueprint, such as a module itself."""
    if given is not None and not hasattr(given, "parts"):
        raise UsageError(f"the blueprint is a {type(given).__name__}; give blueprint(module)")


@dataclass(frozen=True)
class LoopBlueprint:
    """Blocks that are known by two functions on their tensors, between two given ends.

    Parameters
    ----------
    kind
        The roles of a block, with the names and shapes of their tensors.
    apply
        Runs a block: its tensors by role and name, and rows (n, width), give rows (n, width).
    pullback
        Its vector-Jacobian product. Tensors, rows, and adjoints (outputs, n, width) behind the
        block give adjoints before it.
    given_ends
        What stands before and behind the blocks, with its own weights.

    Examples
    --------
    >>> solve(pile, records, blueprint=LoopBlueprint(kind, apply, pullback, Linear(weight, bias)))
    """

    kind: Kind
    apply: Apply
    pullback: Pullback
    given_ends: Ends

    def fitted(self, pile: Pile) -> Pile:
        """The pile itself: its tensors are called as in the roles, or fit none."""
        return pile

    def check_record(self, records: Records) -> None:
        """Nothing: what the blocks are given is a matrix."""

    def parts(self, pile: Pile, records: Records) -> tuple[Bank, Ends]:
        """The blocks that the pieces of a pile can make, and ends in the pile's dtype."""
        return self.bank(pile), self.ends(pile)

    def bank(self, pile: Pile) -> Bank:
        """The blocks that the pieces of a pile can make.

        Raises `PileError` if a piece fits no role, or a class has more or fewer pieces than slots.
        """
        kind, dtype = self.kind, pile.dtype
        fitting = {
            each: [p for p, piece in enumerate(pile) if piece.shapes == kind.shapes(each[0])]
            for each in kind.classes
        }
        blocks = {len(found) / len(each) for each, found in fitting.items()}
        if len(blocks) > 1 or blocks.pop() % 1 or sum(map(len, fitting.values())) < len(pile):
            counts = "; ".join(
                f"{len(found)} pieces fit {' or '.join(kind.roles[role].name for role in each)}"
                for each, found in fitting.items()
            )
            raise PileError(
                f"the {len(pile)} pieces make no whole number of {kind.name} blocks: {counts}; a "
                "block needs one piece for each role, so add what is missing or take the rest out"
            )
        tensors = [
            {name: np.ascontiguousarray(values, dtype) for name, values in piece.tensors.items()}
            for piece in pile
        ]
        return LoopBank(kind, self.apply, self.pullback, tensors)

    def ends(self, pile: Pile) -> Ends:
        """The given ends, in the dtype of the pile."""
        return self.given_ends.astype(pile.dtype)
