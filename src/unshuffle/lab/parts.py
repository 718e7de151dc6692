"""Parts of the strategy `auto` alone: descents, populations and mean-field searches.

Each is the strategy without the stages of the others. All know the activation, and end after equal
work. So a run repeats to the last bit on any machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unshuffle.blocks.work import passes
from unshuffle.lab.approach import whole_found
from unshuffle.lab.metrics import Measurements
from unshuffle.lab.subjects import Subject, load
from unshuffle.oracle.workers import stop_if_asked
from unshuffle.ordering.parameters import SearchParameters
from unshuffle.ordering.race import Populations
from unshuffle.ordering.search import Ending
from unshuffle.ordering.stages import STAGES, Stage
from unshuffle.ordering.trace import Trace
from unshuffle.solution.arranging import Searching
from unshuffle.solution.options import Options


@dataclass(frozen=True)
class Part:
    """A part of the strategy: its stages, and the mean-field searches of each of them.

    Parameters
    ----------
    stages
        The stages, in the sequence in which they are asked.
    searches
        Mean-field searches of a stage; none in stages of other parts.
    most
        Work, in forward passes of the record through the network, after which it ends.
    """

    stages: Sequence[Stage]
    searches: int = 0
    most: float = 400.0


WITHOUT_POPULATIONS = tuple(stage for stage in STAGES if not isinstance(stage, Populations))

PARTS = {
    "auto-descents": Part(WITHOUT_POPULATIONS),
    "auto-populations": Part(STAGES),
    "auto-mean-field": Part(WITHOUT_POPULATIONS, searches=1),
}


def measure_part(part: Part, subject: Subject) -> Measurements:
    """What a part comes to, and the work that it takes."""
    case, by = load(subject), SearchParameters()
    by = replace(by, mean_field=replace(by.mean_field, searches=part.searches))
    told = case.activation.name
    options = Options(activation=told, seed=subject.seed, parameters=by)
    searching = replace(Searching.of(case.pile, case.records, options), stages=part.stages)
    blocks, rows = len(case.pairs), len(case.records.predicted())

    def spent(trace: Trace) -> Ending | None:
        stop_if_asked()
        done = passes(trace.steps[-1].work, blocks, rows)
        return Ending.STOPPED if done >= part.most else None

    searching.go_on((spent,))
    solution = searching.solution()
    found = whole_found(case, solution.permutation, subject)
    return found | {"passes": solution.passes}
