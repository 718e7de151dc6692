"""Whole blocks of another network, of which both layers are in the pile.

They do harm wherever they stand. So a search in vain is asked which of its blocks it misses least.
The order of all others is then searched for, from where they stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from unshuffle.blocks.mlp import as_mlp_bank
from unshuffle.errors import PileError
from unshuffle.ordering.judge import Judge, Run
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.blueprint import Arrangement, names
from unshuffle.pieces.pile import Pile
from unshuffle.proof.outcome import SETTLED, Outcome
from unshuffle.proof.verification import Explanation
from unshuffle.repair.case import Case
from unshuffle.repair.repair import Looks, Repair, hard_row_steps, needs_predictions
from unshuffle.solution.alternatives import Problems
from unshuffle.solution.arranging import Searching, Start, arrange
from unshuffle.solution.findings import NOT_NEEDED, Findings, Leftover
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class ForeignParameters:
    """Numbers that say how long others are searched for. Row steps are the rows of all steps."""

    longer: float = 3.0  # Factor by which row steps grow from one look to the next.
    rows: int = 1024  # Rows on which blocks are missed, after a search.
    tried: int = 4  # Blocks that are left out, each by itself.
    least: int = 2048  # Row steps of each of these, at least.
    share: float = 0.125  # The same as a part of those of the search of all pieces.


STANDARD = ForeignParameters()


def looks(case: Case, searching: Searching, by: ForeignParameters = STANDARD) -> Looks:
    """Leave out the blocks that are missed least, each by itself, then all that do harm."""
    due = hard_row_steps(searching)  # most are in order before that
    while True:
        spent = searching.row_steps
        if spent < due:
            yield None
            continue
        due = round(by.longer * spent)
        yield partial(_left_out, case, *searching.standing, spent, by)


def _suspects(case: Case, solution: Solution | None) -> float:
    """After every search in vain, since a short one has not paused."""
    return 0.9 * (solution is not None and solution.outcome is Outcome.LOCAL_OPTIMUM)


def _run(
    case: Case, solution: Solution | None, by: ForeignParameters = STANDARD
) -> Solution | None:
    """The same at the end of a search."""
    assert solution is not None
    options = replace(case.options, activation=solution.activation)
    problem = Problems(case.pile, case.records, options).problems[0]
    judge = problem.judge(problem.known.first(by.rows))
    return _left_out(case, judge, judge.run(solution.arrangement), solution.trace.row_steps, by)


def _left_out(
    case: Case, judge: Judge, run: Run, spent: int, by: ForeignParameters
) -> Solution | None:
    """What a search without some blocks comes to, after so many row steps of the whole search."""
    from unshuffle.repair.membership import without_blocks

    limit = max(by.least, by.share * spent)
    activation = as_mlp_bank(judge.bank).activation.name  # that of the best arrangement
    options = replace(case.options, row_steps=limit, activation=activation)
    shorter = [rest.arrangement for rest in without_blocks(judge, run, by.tried)]
    return _found(replace(case, options=options), run.arrangement, shorter)


def _found(case: Case, blocks: Arrangement, shorter: Sequence[Arrangement]) -> Solution | None:
    """The first that reproduces the record. Of what was chosen, noise is no explanation."""
    pile = case.pile
    for rest in shorter:
        out = sorted({*blocks.flat} - {*rest.flat})
        kept = Pile(piece for position, piece in enumerate(pile) if position not in out)
        start = np.array([[kept.index[name] for name in row] for row in names(rest, pile.ids)])
        try:
            found = arrange(kept, case.records, case.options, start=Start(start, Trace(kept.ids)))
        except PileError:  # square layers may be a head's, beside blocks of one width
            continue
        if found.outcome in SETTLED and found.explanation is not Explanation.NOISE:
            leftovers = tuple(Leftover(pile.ids[position], NOT_NEEDED) for position in out)
            left = found.mse / case.records.variance
            return found.ended(found.outcome, Findings(leftovers, unexplained=left))
    return None


FOREIGN_BLOCKS = Repair(
    "foreign blocks",
    suspects=_suspects,
    run=_run,
    requires=needs_predictions,
    looks=looks,
    near=True,
)
