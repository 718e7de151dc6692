"""The registry of approaches: what others registered as signals and seeds, and the lab's own."""

from collections.abc import Callable
from functools import partial

import numpy as np

from unshuffle.errors import UsageError
from unshuffle.grouping.consensus import template
from unshuffle.grouping.fusion import fuse
from unshuffle.grouping.matching import MATCHINGS
from unshuffle.grouping.signals import SIGNALS, Clues, Scores, Signal
from unshuffle.lab import searches
from unshuffle.lab.approach import (
    Approach,
    Kind,
    Order,
    Task,
    clues_of,
    on_ordering,
    on_pairing,
    order_found,
    pairs_found,
    task_of,
    whole_found,
)
from unshuffle.lab.causes import balance, growth, signs, spectrum, without_skips
from unshuffle.lab.landscape import landscape
from unshuffle.lab.looks import bits
from unshuffle.lab.metrics import Measurements
from unshuffle.lab.published import BASELINES, Baseline, stack_pairs
from unshuffle.lab.signals import OTHER_SIGNALS
from unshuffle.lab.sinkhorn import learned_order
from unshuffle.lab.subjects import Subject, load
from unshuffle.oracle.workers import stop_if_asked
from unshuffle.ordering.seeds import SEEDS, Seed
from unshuffle.ordering.trace import Trace
from unshuffle.solver import solve

SEED_ROWS = 1000
"""Inputs that seeds look at."""

BUDGET = 30_000
"""Candidates that a strategy may judge: a search that a clock ends would not repeat."""


def _pairing(signal: Signal, matching: str = "optimal") -> Approach:
    """A signal with a matching; the optimal one is not mentioned in the name."""
    name = signal.name if matching == "optimal" else f"{signal.name}-{matching}"
    measure = on_pairing(signal.score, MATCHINGS[matching][0])
    return Approach(name, Kind.PAIRING, signal.sees, signal.source, measure)


def _fused(subject: Subject) -> Measurements:
    clues, truth = clues_of(load(subject))
    return pairs_found(fuse(clues, MATCHINGS["optimal"][0]).pairs, truth)


def _template(clues: Clues) -> Scores:
    """Likeness to the products of the pairs that the trace finds."""
    return template(clues.layers, MATCHINGS["optimal"][0](SIGNALS["trace"].score(clues)))


def _seed(seed: Seed) -> Approach:
    measure = on_ordering(partial(_rank, seed), reversible=True)
    return Approach(seed.name, Kind.ORDERING, seed.sees, seed.source, measure)


def _rank(seed: Seed, task: Task) -> Order:
    return seed.rank(task.network, task.records.inputs[:SEED_ROWS])


def _published(baseline: Baseline) -> Approach:
    def measure(subject: Subject) -> Measurements:
        case = load(subject)
        task, depth = task_of(case, subject.rng())
        pairs = [case.pairs[place] for place in depth]
        search = baseline.search(stack_pairs(case.pile, pairs, case.answer[-1]), case.records)
        return order_found(task, depth, np.array(search.order, np.intp))

    bets = "the seed is close enough for local repair"
    return Approach(baseline.name, Kind.ORDERING, bets, baseline.source, measure)


def _strategy(strategy: str, bets: str, source: str) -> Approach:
    def measure(subject: Subject) -> Measurements:
        case = load(subject)
        solution = solve(
            case.pile, case.records, strategy=strategy, seed=subject.seed, on_step=stop
        )
        return whole_found(case, solution.permutation, subject)

    def stop(trace: Trace) -> None:
        stop_if_asked()
        if trace.tested >= BUDGET:
            raise KeyboardInterrupt  # which `solve` turns into a result

    return Approach(strategy, Kind.WHOLE, bets, source, measure)


def _joint(subject: Subject) -> Measurements:
    case = load(subject)
    clues, truth = clues_of(case)
    assert clues.last is not None
    assert clues.records is not None
    return pairs_found(searches.joint_growth(clues.layers, clues.last, clues.records), truth)


def _from_seed(
    search: Callable[[Task, Order], Order], seed: Callable[[Task], Order]
) -> Callable[[Task], Order]:
    """A search from the better direction of a seed."""

    def order(task: Task) -> Order:
        judge, start = task.judge(searches.EFFORT.rows), seed(task)
        ends = [start, start[::-1]]
        return search(task, min(ends, key=lambda one: judge.run(task.arranged(one)).error))

    return order


_PARK = 'Park, "I Dropped a Neural Net", arXiv:2602.19845'
_DROPPED = 'the write-up "dropped" at gardberg.xyz'

_OWN_ORDERINGS: dict[str, tuple[Callable[[Task], Order], bool, str, str]] = {
    "random-order": (searches.random_order, False, "nothing", "what there is to beat"),
    "delta-norm": (
        searches.step_sizes,
        True,
        "how far a block moves the inputs changes along the depth",
        _PARK,
    ),
    "frobenius-norm": (
        searches.frobenius,
        True,
        "the size of what blocks write changes steadily along the depth",
        _PARK,
    ),
    "bradley-terry": (
        searches.bradley_terry,
        False,
        "which of two blocks should run first shows in any company",
        "Bradley & Terry 1952, Hunter 2004",
    ),
    "bubble": (
        _from_seed(searches.bubble, partial(_rank, SEEDS["out-norm"])),
        False,
        "from the sorted norms the right order is a walk of improving swaps away",
        f"bubble repair, {_PARK}",
    ),
    "bubble-from-steps": (
        _from_seed(searches.bubble, partial(_rank, SEEDS["smallest-step"])),
        False,
        "from the smallest steps the right order is a walk of improving swaps away",
        "alyxya/janestreet-droppedaneuralnet",
    ),
    "bubble-from-random": (
        _from_seed(searches.bubble, searches.random_order),
        False,
        "from anywhere the right order is a walk of improving swaps away",
        _DROPPED,
    ),
    "annealing": (
        _from_seed(searches.annealing, searches.random_order),
        False,
        "a search that also climbs leaves local optima",
        "Kirkpatrick, Gelatt & Vecchi 1983",
    ),
    "beam-from-scratch": (
        searches.beam_from_scratch,
        False,
        "the beginning of the right order predicts better than other beginnings",
        "beam search, Lowerre 1976",
    ),
    "sinkhorn": (
        learned_order,
        False,
        "a soft order can follow the gradient to the right one",
        "Gumbel-Sinkhorn, Mena et al. 2018, arXiv:1802.08665",
    ),
}


_CAUSES = (
    Approach(
        "spectrum",
        Kind.CAUSE,
        "true blocks contract: dynamic isometry puts the eigenvalues of their products around −1",
        f"dynamic isometry, {_PARK}; Saxe et al. 2014, Pennington et al. 2017",
        lambda subject: spectrum(load(subject)),
    ),
    Approach(
        "signs",
        Kind.CAUSE,
        "both factors get the same gradients, so the products behind a true trace share a sign",
        _DROPPED,
        lambda subject: signs(load(subject)),
    ),
    Approach(
        "balance",
        Kind.CAUSE,
        "gradient flow keeps both sides of a hidden unit balanced, so their norms agree",
        "Du, Hu & Lee 2018, arXiv:1806.00900",
        lambda subject: balance(load(subject)),
    ),
    Approach(
        "growth",
        Kind.CAUSE,
        "the trace grows while a network is trained",
        _DROPPED,
        growth,
    ),
    Approach(
        "growth-without-skips",
        Kind.CAUSE,
        "the trace needs skip connections, through which both factors see the same stream",
        "reported by others",
        partial(growth, prepare=without_skips),
    ),
    Approach(
        "landscape",
        Kind.CAUSE,
        "the error falls towards the right order from everywhere",
        _DROPPED,
        lambda subject: landscape(*task_of(load(subject), subject.rng())),
    ),
)


def _own_ordering(name: str) -> Approach:
    rank, reversible, bets, source = _OWN_ORDERINGS[name]
    measure = on_ordering(rank, reversible=reversible)
    return Approach(name, Kind.ORDERING, bets, source, measure)


APPROACHES = {
    approach.name: approach
    for approach in (
        *(_pairing(signal, matching) for signal in SIGNALS.values() for matching in MATCHINGS),
        Approach(
            "fused",
            Kind.PAIRING,
            "all signals together, weighed by what the pile says each is worth",
            "Fisher 1936, Blum & Mitchell 1998; see unshuffle.grouping.fusion",
            _fused,
        ),
        Approach(
            "template",
            Kind.PAIRING,
            "training leaves the same pattern in all true products, which the trace's pairs show",
            "this project; see unshuffle.grouping.consensus",
            on_pairing(_template, MATCHINGS["optimal"][0]),
        ),
        *(_pairing(signal) for signal in OTHER_SIGNALS),
        *(_pairing(one, "greedy") for one in OTHER_SIGNALS if one.name == "prediction-error"),
        *(_seed(seed) for seed in SEEDS.values()),
        *(_own_ordering(name) for name in _OWN_ORDERINGS),
        *(_published(baseline) for baseline in BASELINES.values() if not baseline.slow),
        _strategy(
            "classic",
            "with the trace's pairs, greedy insertion ends near enough for exchanges and moves",
            _DROPPED,
        ),
        _strategy(
            "auto",
            "many first-order moves at once, from the best of several seeds, pairs corrected too",
            "this project; see unshuffle.ordering.auto",
        ),
        Approach(
            "joint-growth",
            Kind.PAIRING,
            "the right pairs in the right order predict better at every length than others",
            f"{_DROPPED}, among what did not work",
            _joint,
        ),
        *_CAUSES,
        Approach(
            "bits",
            Kind.LOOK,
            "inputs are readings of bits, and targets levels that depend on sums of them",
            _DROPPED,
            lambda subject: bits(load(subject)),
        ),
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
