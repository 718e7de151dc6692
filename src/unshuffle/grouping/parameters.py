"""The numbers that steer which pieces are taken to share a block."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Typical of the zoo.
WORTH = {
    "trace": 0.7,
    "ratio": 0.9,
    "log-norm": 0.55,
    "squared-cosine": 0.15,
    "magnitude": 0.15,
    "hidden-gram": 0.35,
    "bias": 0.3,
    "first-order": 0.85,
    "first-order-regression": 1.2,
    "first-order-slope": 0.4,
    "resemblance": 0.6,
    "template": 0.4,
}


@dataclass(frozen=True)
class GroupingParameters:
    """Numbers that steer signals and their fusion.

    Parameters
    ----------
    sample_rows
        Rows, spread evenly over the record, that signals look at.
    regressed
        Equations of the joint regression (rows times outputs) times inp layers, …
    least_regressed, most_regressed
        … within these bounds of equations.
    ridge
        Of that regression, in mean squared norms of an effect.
    worth
        Prior separation of matched pairs, by signal, in standard deviations.
    prior_pairs
        Matched pairs as much as which the prior counts.
    rounds
        Rounds of self-training, at most.
    resemblance_blocks
        Number of blocks above which only the template speaks for matched pairs. Resemblance takes
        time that grows with its cube.
    witnesses
        Signals each of which sees something of its own.
    agreeing
        Number of these that must match all pairs alike to leave no doubt.
    least_agreed
        Pairs from which on such an agreement is no accident.
    decisive
        Spreads between the best wrong ratio and the worst true one that make other evidence
        needless. Wrong ratios of the zoo do not reach so far.
    least_decisive
        Pairs from which on they can be. Ratios of 4 are so by chance once in 20,000 times, those
        of 3 once in 200.
    """

    sample_rows: int = 1000
    regressed: int = 50_000
    least_regressed: int = 128
    most_regressed: int = 1024
    ridge: float = 10.0
    worth: Mapping[str, float] = field(default_factory=lambda: WORTH)
    prior_pairs: int = 24
    rounds: int = 8
    resemblance_blocks: int = 128
    witnesses: tuple[str, ...] = (
        "trace",
        "log-norm",
        "squared-cosine",
        "hidden-gram",
        "first-order",
    )
    agreeing: int = 3
    least_agreed: int = 6
    decisive: float = 3.0
    least_decisive: int = 4
