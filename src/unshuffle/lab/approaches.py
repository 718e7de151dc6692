"""The registry of approaches: what others registered as signals and seeds, and the lab's own."""

from functools import partial

from unshuffle.errors import UsageError
from unshuffle.lab.approach import Approach, Kind, Order, Task, on_ordering, on_pairing
from unshuffle.ordering.seeds import SEEDS, Seed
from unshuffle.pairing.matching import MATCHINGS
from unshuffle.pairing.signals import SIGNALS, Signal

SEED_ROWS = 1000
"""Inputs that seeds look at."""


def _pairing(signal: Signal, matching: str) -> Approach:
    """A signal with a matching; the optimal one is not mentioned in the name."""
    name = signal.name if matching == "optimal" else f"{signal.name}-{matching}"
    measure = on_pairing(signal.score, MATCHINGS[matching][0])
    return Approach(name, Kind.PAIRING, signal.sees, signal.source, measure)


def _ordering(seed: Seed) -> Approach:
    measure = on_ordering(partial(_rank, seed), reversible=True)
    return Approach(seed.name, Kind.ORDERING, seed.sees, seed.source, measure)


def _rank(seed: Seed, task: Task) -> Order:
    return seed.rank(task.network, task.records.inputs[:SEED_ROWS])


APPROACHES = {
    approach.name: approach
    for approach in (
        *(_pairing(signal, matching) for signal in SIGNALS.values() for matching in MATCHINGS),
        *(_ordering(seed) for seed in SEEDS.values()),
    )
}


def find_approach(name: str) -> Approach:
    """Look an approach up by its name.

    Raises
    ------
    UsageError
        If there is no approach of that name.
    """
    if name not in APPROACHES:
        raise UsageError.unknown("approach", name, APPROACHES)
    return APPROACHES[name]
