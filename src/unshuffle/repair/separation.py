"""Several networks in one pile: for each record the network that it is of.

The pieces of a solved network are taken out before the others are looked for. A record that could
not be solved among all pieces is tried again once there are fewer. Pieces of other networks are
tried only where the rest does not reproduce a record. If they do, two networks claim the pieces,
and both say so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from unshuffle.errors import PileError, listed
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import SETTLED, Outcome
from unshuffle.solution.findings import Findings, Leftover
from unshuffle.solution.solution import Solution

# Solves one record within so many seconds, or without a limit.
Solve = Callable[[Pile, Records, float | None], Solution]


@dataclass(frozen=True)
class SeparationParameters:
    """Numbers of a search for several networks."""

    least: float = 1e-9  # Seconds of a search whose time is up before it begins: it takes one step.
    named: int = 8  # Pieces that are named where more are claimed twice.


STANDARD = SeparationParameters()


def separate(
    pile: Pile,
    records: Sequence[Records],
    solve: Solve,
    *,
    time_limit: float | str | Clock | None = None,
    by: SeparationParameters = STANDARD,
) -> tuple[Solution, ...]:
    """Find a network for each record of one pile; fewer if the search was interrupted.

    Each record has an equal part of the seconds left. Leftovers that stand in another network are
    said to be of that one. Networks that share pieces say so in their notes. Errors are those of
    `solve`.
    """
    clock, found = Clock.of(time_limit), dict[int, Solution]()
    for number, part in _attempts(pile, len(records), found):
        share = clock.left / (len(records) - len(_settled(found)))
        seconds = None if clock.limit is None else max(share, by.least)
        try:
            solution = solve(part, records[number], seconds)
        except PileError:
            if part is pile:
                raise
            continue  # what other networks leave need not be a network
        before = found.get(number)
        if before is None or solution.outcome in SETTLED or solution.mse < before.mse:
            found[number] = solution
        if solution.outcome is Outcome.INTERRUPTED:
            break
    return tuple(_told(number, pile, found, by) for number in sorted(found))


def claimed_twice(solutions: Sequence[Solution]) -> bool:
    """Whether two networks that reproduce their records share pieces."""
    claims = [{*one.permutation} for one in solutions if one.outcome in SETTLED]
    return any(one & other for one, other in combinations(claims, 2))


def _attempts(pile: Pile, count: int, found: Mapping[int, Solution]) -> Iterator[tuple[int, Pile]]:
    """Which record is to be solved next, among which pieces, by what has been found meanwhile."""
    tried: set[tuple[int, int]] = set()

    def each(part_of: Callable[[], Pile | None]) -> Iterator[tuple[int, Pile]]:
        for number in range(count):
            part = None if number in _settled(found) else part_of()
            if part is not None and (number, len(part)) not in tried:
                tried.add((number, len(part)))
                yield number, part

    solved = -1
    while solved < len(_settled(found)):
        solved = len(_settled(found))
        yield from each(lambda: _rest(pile, found))
    yield from each(lambda: pile)


def _settled(found: Mapping[int, Solution]) -> list[int]:
    return [number for number, one in found.items() if one.outcome in SETTLED]


def _rest(pile: Pile, found: Mapping[int, Solution]) -> Pile | None:
    """The pieces that no network has which reproduces its record; None where there are none."""
    used = {name for number in _settled(found) for name in found[number].permutation}
    pieces = [piece for piece in pile if piece.id not in used]
    if not used or not pieces:
        return None if used else pile
    return Pile(pieces, [bias for bias in pile.biases if bias.id not in used])


def _told(
    number: int, pile: Pile, found: Mapping[int, Solution], by: SeparationParameters
) -> Solution:
    """A solution with what the other networks mean for it among its findings."""
    solution, own = found[number], {*found[number].permutation}
    findings = solution.findings or Findings()
    leftovers, notes = {one.id: one for one in findings.leftovers}, [*findings.notes]
    for other in (each for each in _settled(found) if each != number):
        theirs = [name for name in pile.ids if name in found[other].permutation]
        reason = f"of the network of record {other + 1}"
        leftovers |= {name: Leftover(name, reason) for name in theirs if name not in own}
        shared = [name for name in theirs if name in own]
        if shared and solution.outcome in SETTLED:
            notes.append(_contradiction(other, shared, by.named, same=len(shared) == len(own)))
    if not leftovers and not notes:
        return solution
    changed = replace(findings, leftovers=tuple(leftovers.values()), notes=tuple(notes))
    return replace(solution, findings=changed)


def _contradiction(other: int, shared: Sequence[PieceId], most: int, *, same: bool) -> str:
    if same:
        return f"the network of record {other + 1} has the same pieces: both records are of it"
    return (
        f"the network of record {other + 1} claims {listed(shared, most)} too, and no piece is in "
        "two networks: at most one of the two is right"
    )
