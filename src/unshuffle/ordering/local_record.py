"""The local record: what blocks have kept of the states at their depth.

Some modules keep statistics of their states, such as running means, in buffers. These tell at which
depth a piece ran, without predictions: the states there give the same statistics. So blocks are
chosen from the front, one depth after the other.

Nothing here knows what the statistics are. The bank says what the rows would make of them, and
which of them are compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.bank import Recording
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement, Parts
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import TINY, Floats

Statistics = Mapping[str, Floats]  # statistics by the name of their tensor


@dataclass(frozen=True)
class LocalRecordParameters:
    """Numbers that steer comparisons of statistics."""

    rows: int = 256  # Rows, spread over the record, whose statistics are compared.
    combined: int = 1  # Roles of which all pieces are tried; of more, what was grouped together.


STANDARD = LocalRecordParameters()


def recorded_arrangements(
    problem: Problem, clock: Clock, by: LocalRecordParameters = STANDARD
) -> list[Arrangement]:
    """The blocks in the order, and of the pieces, that their statistics speak for.

    Nothing comes where no piece keeps any, or no time is left.
    """
    bank = problem.bank
    if not isinstance(bank, Recording) or len(problem.grouped) < 2 or not bank.recording:
        return []
    rows = problem.records.thinned(by.rows)
    with np.errstate(over="ignore", invalid="ignore"):
        made = _RecordedSearch(problem, bank, clock, by).run(problem.ends.enter(rows.inputs))
    return [] if made is None else [made]


@dataclass(eq=False)
class _RecordedSearch:
    """A search from the front for blocks whose statistics are those of the states."""

    problem: Problem
    bank: Recording
    clock: Clock
    by: LocalRecordParameters
    free: set[int] = field(default_factory=set)  # positions of the pieces that are left
    # By the roles of a block, those on which the statistics of each depend.
    needs: dict[tuple[int, ...], dict[int, set[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        grouped = self.problem.grouped
        self.free = {*grouped[grouped != NO_PIECE].tolist()}
        self.held = {
            role: {p: self.bank.recorded(role, p) for p in self.bank.positions(role)}
            for role in self.bank.recording
        }
        self.scales = {role: _scales([*held.values()]) for role, held in self.held.items()}

    def run(self, state: Floats) -> Arrangement | None:
        """Choose the pieces of each depth, from the first states on."""
        grouped, made = self.problem.grouped, []
        for place in range(len(grouped)):
            block = np.full(grouped.shape[1], NO_PIECE, np.intp)
            open_roles = self._roles(place)
            needs = self._needs(place, state)
            for role in sorted(needs, key=lambda one: (len(needs[one]), one)):
                if role in open_roles:
                    self._settle(block, role, needs[role] & open_roles, open_roles, state)
                    open_roles -= {*np.flatnonzero(block != NO_PIECE).tolist()}
            if open_roles and not self._look_ahead(place, block, open_roles, state):
                return None
            self.free -= {*block.tolist()}
            made.append(block)
            state = self.bank.apply(block, state)
            if self.clock.out:
                return None
        return np.stack(made)

    def _roles(self, place: int) -> set[int]:
        """The roles of which the block in a place has slots."""
        return {*np.flatnonzero(self.problem.grouped[place] != NO_PIECE).tolist()}

    def _needs(self, place: int, state: Floats) -> dict[int, set[int]]:
        """The roles on whose pieces the statistics of a role depend: asked of a block."""
        form = tuple(sorted(self._roles(place)))
        if form in self.needs:
            return self.needs[form]
        block = self.problem.grouped[place]
        own = self.bank.statistics(block, state)
        needs: dict[int, set[int]] = {role: set() for role in form if role in self.bank.recording}
        for role in form:
            changed = block.copy()
            others = (p for p in self.bank.positions(role) if p != block[role])
            changed[role] = next(others, block[role])
            other = self.bank.statistics(changed, state)
            for recording, needed in needs.items():
                if any((own[recording][n] != other[recording][n]).any() for n in own[recording]):
                    needed.add(role)
        self.needs[form] = needs
        return needs

    def _settle(
        self, block: Parts, role: int, needed: set[int], open_roles: set[int], state: Floats
    ) -> None:
        """Put pieces into a role and those that it needs, by the statistics of the role."""
        best, lowest = None, np.inf
        filled = self._filled(block, open_roles)
        for parts in self._choices(block, sorted(needed)):
            trial = np.where(parts == NO_PIECE, filled, parts)
            seen = self.bank.statistics(trial, state)[role]
            own = [int(parts[role])] if role in needed else self._free(role, parts)
            for piece in own:
                off = self._off(role, seen, piece)
                if best is None or off < lowest:
                    best, lowest = parts.copy(), off
                    best[role] = piece
        if best is not None:
            block[:] = best

    def _look_ahead(self, place: int, block: Parts, open_roles: set[int], state: Floats) -> bool:
        """Fill what no statistics of the block depend on, by those of the next block."""
        best, lowest = None, np.inf
        for parts in self._choices(block, sorted(open_roles)):
            off = np.inf
            if place + 1 < len(self.problem.grouped):
                after = self.bank.apply(parts, state)
                if np.isfinite(after).all():
                    off = self._seen(place + 1, parts, after)
            if best is None or off < lowest:
                best, lowest = parts, off
        if best is not None:
            block[:] = best
        return best is not None

    def _seen(self, place: int, before: Parts, state: Floats) -> float:
        """How far the states before a place are from what the best of its free pieces holds."""
        needs = self._needs(place, state)
        role = next((role for role in needs if not needs[role]), None)
        pieces = [] if role is None else self._free(role, before)
        if role is None or not pieces:
            return np.inf
        seen = self.bank.statistics(self._filled(before, self._roles(place)), state)[role]
        return min(self._off(role, seen, piece) for piece in pieces)

    def _filled(self, block: Parts, open_roles: set[int]) -> Parts:
        """Any pieces in the roles that are open, where they do not matter."""
        filled = np.full(len(block), NO_PIECE, np.intp)
        for role in sorted(open_roles):
            filled[role] = self.bank.positions(role)[0]
        return filled

    def _free(self, role: int, parts: Parts) -> list[int]:
        """The pieces that can still be in a role, beside those of a block."""
        taken = {*parts.tolist()}
        return [p for p in self.bank.positions(role) if p in self.free and p not in taken]

    def _choices(self, block: Parts, roles: Sequence[int]) -> Iterator[Parts]:
        """A block with free pieces in some roles: all of them, or those that were grouped."""
        if len(roles) <= self.by.combined:
            combined = [*product(*(self._free(role, block) for role in roles))]
        else:
            left = self.free - {*block.tolist()}
            rows = self.problem.grouped[:, [*roles]].tolist()
            combined = [tuple(row) for row in rows if {*row} <= left]
        for pieces in combined:
            parts = block.copy()
            for role, piece in zip(roles, pieces, strict=True):
                parts[role] = piece
            yield parts

    def _off(self, role: int, seen: Statistics, piece: int) -> float:
        """How far the statistics of states are from those that a piece holds: a mean square."""
        held = self.held[role][piece]
        if not held.keys() <= seen.keys():  # states that overflow have no statistics
            return np.inf
        off = [
            np.mean(np.square((_plain(seen[n], logs) - _plain(values, logs)) / spread))
            for n, values in held.items()
            for logs, spread in [self.scales[role][n]]
        ]
        value = float(np.mean(off))
        return value if np.isfinite(value) else np.inf


def _plain(values: Floats, logs: bool) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    return np.log(np.maximum(wide, TINY)) if logs else wide


def _scales(held: Sequence[Statistics]) -> dict[str, tuple[bool, float]]:
    """Whether statistics are compared by their logarithms, and their spread over the pieces."""
    scales = {}
    for name in held[0]:
        each = np.stack([one[name] for one in held])
        logs = bool((each > 0).all())
        spread = float(np.sqrt(np.mean(np.var(_plain(each, logs), axis=0))))
        scales[name] = logs, max(spread, TINY)
    return scales
