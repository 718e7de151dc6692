"""All repairs. What one needs beside its own file is imported when it runs."""

from collections.abc import Iterator

from unshuffle.repair.case import Case
from unshuffle.repair.detached_biases import DETACHED_BIASES
from unshuffle.repair.foreign_blocks import FOREIGN_BLOCKS
from unshuffle.repair.identical_copies import IDENTICAL_COPIES
from unshuffle.repair.missing_pieces import MISSING_PIECES
from unshuffle.repair.no_skip import NO_SKIP
from unshuffle.repair.other_activation import OTHER_ACTIVATION
from unshuffle.repair.other_block import OTHER_BLOCK, OTHER_BLOCK_LONGER
from unshuffle.repair.other_units import OTHER_UNITS, OTHER_UNITS_LONGER
from unshuffle.repair.permuted_units import PERMUTED_UNITS
from unshuffle.repair.repair import Repair
from unshuffle.repair.scaled_inputs import SCALED_INPUTS
from unshuffle.repair.shuffled_columns import SHUFFLED_COLUMNS
from unshuffle.repair.versions import NEAR_COPIES
from unshuffle.repair.wrong_record import WRONG_RECORD
from unshuffle.solution.solution import Solution

# Of equal suspicion, and of those that look at a search in vain, the first is asked first.
REPAIRS = (
    PERMUTED_UNITS,
    DETACHED_BIASES,
    IDENTICAL_COPIES,
    NEAR_COPIES,
    FOREIGN_BLOCKS,
    WRONG_RECORD,
    SHUFFLED_COLUMNS,
    MISSING_PIECES,
    OTHER_ACTIVATION,
    OTHER_UNITS,
    NO_SKIP,
    OTHER_BLOCK,
    OTHER_UNITS_LONGER,
    OTHER_BLOCK_LONGER,
    SCALED_INPUTS,
)


def serving(case: Case) -> Iterator[Repair]:
    """The repairs that can serve a case."""
    able = (repair for repair in REPAIRS if repair.name not in case.without)
    return (repair for repair in able if repair.requires(case) is None)


def suspected(case: Case, solution: Solution | None, least: float = 0.0) -> Iterator[Repair]:
    """The repairs that are suspected by more than that, the likeliest first."""
    suspicions = {repair: repair.suspects(case, solution) for repair in serving(case)}
    ranked = sorted(suspicions, key=lambda repair: -suspicions[repair])
    return (repair for repair in ranked if suspicions[repair] > least)
