"""The numbers that steer the strategy `auto`: its own, and those of each of its parts."""

from dataclasses import dataclass, field

from unshuffle.ordering.beam import BeamParameters
from unshuffle.ordering.descent import DescentParameters
from unshuffle.ordering.groupings import EnumerationParameters
from unshuffle.ordering.insertions import InsertionParameters
from unshuffle.ordering.judge import JudgeParameters
from unshuffle.ordering.mean_field import MeanFieldParameters
from unshuffle.ordering.population import PopulationParameters
from unshuffle.ordering.responses import ResponseParameters
from unshuffle.ordering.restarts import RestartParameters
from unshuffle.ordering.seeds import SeedParameters


@dataclass(frozen=True)
class SearchParameters:
    """Numbers that steer the strategy `auto`.

    Parameters
    ----------
    quick
        Predictions (rows times outputs) for a first descent from the best seed.
    equations
        Predictions that the search proper begins with.
    many
        Predictions without which a search far from the answer makes no headway.
    growth
        Factor by which the rows grow when nothing helps on those in use.
    starts
        Seeds that are descended from.
    likely
        Problems that are tried before anything long: of many, the others wait.
    few_blocks
        Blocks up to which a whole descent takes no time.
    convincing
        Part of the error from which on another problem is believed in.
    near, far
        Shares of the predictions' variance, below the first of which an error is small, and large
        above the second.
    judge, seeds, descent, beam, enumeration, insertions, responses
        What steers these.
    mean_field, population, restarts
        What steers these.
    """

    quick: int = 128
    equations: int = 256
    many: int = 1024
    growth: int = 4
    starts: int = 3
    likely: int = 8
    few_blocks: int = 8
    convincing: float = 0.8
    near: float = 0.03
    far: float = 0.5
    judge: JudgeParameters = field(default_factory=JudgeParameters)
    seeds: SeedParameters = field(default_factory=SeedParameters)
    descent: DescentParameters = field(default_factory=DescentParameters)
    beam: BeamParameters = field(default_factory=BeamParameters)
    enumeration: EnumerationParameters = field(default_factory=EnumerationParameters)
    insertions: InsertionParameters = field(default_factory=InsertionParameters)
    responses: ResponseParameters = field(default_factory=ResponseParameters)
    mean_field: MeanFieldParameters = field(default_factory=MeanFieldParameters)
    population: PopulationParameters = field(default_factory=PopulationParameters)
    restarts: RestartParameters = field(default_factory=RestartParameters)
