"""The registry of approaches: what others registered as signals and seeds, and the lab's own."""

from collections.abc import Callable
from functools import partial

import numpy as np

from unshuffle.errors import find_name
from unshuffle.grouping.fusion import fuse
from unshuffle.grouping.matching import MATCHINGS
from unshuffle.grouping.resemblance import template
from unshuffle.grouping.signals import SIGNALS, Clues, Scores, Signal
from unshuffle.lab import approach, families, searches
from unshuffle.lab.approach import Approach, ApproachKind, Order, Task
from unshuffle.lab.metrics import Measurements
from unshuffle.lab.parts import PARTS, measure_part
from unshuffle.lab.probes import balance, bits, growth, signs, spectrum, without_skips
from unshuffle.lab.published import BASELINES, Baseline
from unshuffle.lab.signals import OTHER_SIGNALS
from unshuffle.lab.sinkhorn import learned_order
from unshuffle.lab.subjects import Subject, load
from unshuffle.oracle.workers import stop_if_asked
from unshuffle.ordering.seeds import SEEDS, Seed
from unshuffle.ordering.trace import Trace
from unshuffle.solver import solve

SEED_ROWS = 1000  # inputs that seeds look at

# Candidates that a strategy may judge: a search that a clock ends would not repeat.
BUDGET = 30_000

_optimal = MATCHINGS["optimal"][0]


def _pairing(signal: Signal, matching: str = "optimal") -> Approach:
    """A signal with a matching; the optimal one is not mentioned in the name."""
    name = signal.name if matching == "optimal" else f"{signal.name}-{matching}"
    measure = partial(approach.measure_scores, signal.score, MATCHINGS[matching][0])
    return Approach(name, ApproachKind.PAIRING, signal.sees, signal.source, measure)


def _template(clues: Clues) -> Scores:
    """Likeness to the products of the pairs that the trace finds."""
    return template(clues.layers, _optimal(SIGNALS["trace"].score(clues)))


def _ordering(
    name: str, rank: Callable[[Task], Order], bets: str, source: str, *, reversible: bool = False
) -> Approach:
    measure = partial(approach.measure_order, rank, reversible)
    return Approach(name, ApproachKind.ORDERING, bets, source, measure)


def _rank(seed: Seed, task: Task) -> Order:
    return seed.rank(task.network, task.records.inputs[:SEED_ROWS])


def _repaired(baseline: Baseline, task: Task) -> Order:
    return np.array(baseline.search(task.network, task.records).order, np.intp)


def _solved(strategy: str, subject: Subject) -> Measurements:
    case = load(subject)
    held = case.pile, case.records
    solution = solve(*held, strategy=strategy, seed=subject.seed, on_step=_stop)
    found = approach.whole_found(case, solution.permutation, subject)
    return found | {"passes": solution.passes}


def _edges(signal: str, subject: Subject) -> Measurements:
    return families.measure_edges(signal, families.task_of_module(subject))


def _stop(trace: Trace) -> None:
    stop_if_asked()
    if trace.tested >= BUDGET:
        raise KeyboardInterrupt  # which `solve` turns into a result


def _from_seed(
    search: Callable[[Task, Order], Order], seed: Callable[[Task], Order], task: Task
) -> Order:
    """A search from the better direction of a seed."""
    judge, start = task.judge(searches.SEARCH_EFFORT.rows), seed(task)
    ends = [start, start[::-1]]
    return search(task, min(ends, key=lambda one: judge.run(task.arranged(one)).error))


_REPAIR = "the seed is close enough for local repair"
_PARK = 'Park, "I Dropped a Neural Net", arXiv:2602.19845'
_DROPPED = 'the write-up "dropped" at gardberg.xyz'
_ALYXYA = "alyxya/janestreet-droppedaneuralnet"

_WALKS: tuple[tuple[str, Callable[[Task], Order], str, str], ...] = (
    ("bubble", partial(_rank, SEEDS["out-norm"]), "the sorted norms", f"bubble repair, {_PARK}"),
    ("bubble-from-steps", partial(_rank, SEEDS["smallest-step"]), "the smallest steps", _ALYXYA),
    ("bubble-from-random", searches.random_order, "anywhere", _DROPPED),
)

_PARTS = (
    (
        "auto-descents",
        "many first-order moves at once, and a few random ones, are enough",
        "iterated local search, Lourenço, Martin & Stützle 2003",
    ),
    (
        "auto-populations",
        "far from the answer the mean error over many arrangements still falls towards it",
        "cross-entropy method, Rubinstein 1999",
    ),
    (
        "auto-mean-field",
        "one regression on all moves at once, around soft pieces and places, sees the answer",
        "this project; see unshuffle.ordering.mean_field",
    ),
)

_ALL = (
    *(_pairing(signal, matching) for signal in SIGNALS.values() for matching in MATCHINGS),
    Approach(
        "fused",
        ApproachKind.PAIRING,
        "all signals together, weighed by what the pile says each is worth",
        "Fisher 1936, Blum & Mitchell 1998; see unshuffle.grouping.fusion",
        partial(approach.measure_pairs, lambda clues: fuse(clues, _optimal).pairs),
    ),
    Approach(
        "template",
        ApproachKind.PAIRING,
        "training leaves the same pattern in all true products, which the trace's pairs show",
        "this project; see unshuffle.grouping.resemblance",
        partial(approach.measure_scores, _template, _optimal),
    ),
    *(_pairing(signal) for signal in OTHER_SIGNALS),
    *(_pairing(one, "greedy") for one in OTHER_SIGNALS if one.name == "prediction-error"),
    *(
        _ordering(one.name, partial(_rank, one), one.sees, one.source, reversible=True)
        for one in SEEDS.values()
    ),
    _ordering("random-order", searches.random_order, "nothing", "what there is to beat"),
    _ordering(
        "delta-norm",
        searches.step_sizes,
        "how far a block moves the inputs changes along the depth",
        _PARK,
        reversible=True,
    ),
    _ordering(
        "frobenius-norm",
        searches.frobenius,
        "the size of what blocks write changes steadily along the depth",
        _PARK,
        reversible=True,
    ),
    _ordering(
        "bradley-terry",
        searches.bradley_terry,
        "which of two blocks should run first shows in any company",
        "Bradley & Terry 1952, Hunter 2004",
    ),
    *(
        _ordering(
            name,
            partial(_from_seed, searches.bubble, seed),
            f"from {start} the right order is a walk of improving swaps away",
            source,
        )
        for name, seed, start, source in _WALKS
    ),
    _ordering(
        "annealing",
        partial(_from_seed, searches.annealing, searches.random_order),
        "a search that also climbs leaves local optima",
        "Kirkpatrick, Gelatt & Vecchi 1983",
    ),
    _ordering(
        "beam-from-scratch",
        searches.beam_from_scratch,
        "the beginning of the right order predicts better than other beginnings",
        "beam search, Lowerre 1976",
    ),
    _ordering(
        "sinkhorn",
        learned_order,
        "a soft order can follow the gradient to the right one",
        "Gumbel-Sinkhorn, Mena et al. 2018, arXiv:1802.08665",
    ),
    *(
        _ordering(one.name, partial(_repaired, one), _REPAIR, one.source)
        for one in BASELINES.values()
        if not one.slow
    ),
    Approach(
        "classic",
        ApproachKind.WHOLE,
        "with the trace's pairs, greedy insertion ends near enough for exchanges and moves",
        _DROPPED,
        partial(_solved, "classic"),
    ),
    Approach(
        "auto",
        ApproachKind.WHOLE,
        "many first-order moves at once, from the best of several seeds, pairs corrected too",
        "this project; see unshuffle.ordering.auto",
        partial(_solved, "auto"),
    ),
    *(
        Approach(name, ApproachKind.PART, bets, source, partial(measure_part, PARTS[name]))
        for name, bets, source in _PARTS
    ),
    Approach(
        "joint-growth",
        ApproachKind.PAIRING,
        "the right pairs in the right order predict better at every length than others",
        f"{_DROPPED}, among what did not work",
        partial(approach.measure_pairs, searches.joint_growth),
    ),
    Approach(
        "spectrum",
        ApproachKind.CAUSE,
        "true blocks contract: dynamic isometry puts the eigenvalues of their products around −1",
        f"dynamic isometry, {_PARK}; Saxe et al. 2014, Pennington et al. 2017",
        lambda subject: spectrum(load(subject)),
    ),
    Approach(
        "signs",
        ApproachKind.CAUSE,
        "both factors get the same gradients, so the products behind a true trace share a sign",
        _DROPPED,
        lambda subject: signs(load(subject)),
    ),
    Approach(
        "balance",
        ApproachKind.CAUSE,
        "gradient flow keeps both sides of a hidden unit balanced, so their norms agree",
        "Du, Hu & Lee 2018, arXiv:1806.00900",
        lambda subject: balance(load(subject)),
    ),
    Approach(
        "growth", ApproachKind.CAUSE, "the trace grows while a network is trained", _DROPPED, growth
    ),
    Approach(
        "growth-without-skips",
        ApproachKind.CAUSE,
        "the trace needs skip connections, through which both factors see the same stream",
        "reported by others",
        partial(growth, prepare=without_skips),
    ),
    Approach(
        "landscape",
        ApproachKind.CAUSE,
        "the error falls towards the right order from everywhere",
        _DROPPED,
        lambda subject: searches.landscape(*approach.task_of(load(subject), subject.rng())),
    ),
    Approach(
        "module-landscape",
        ApproachKind.CAUSE,
        "the error falls towards the right order of the blocks of a module, from everywhere",
        "this project",
        lambda subject: families.measure_landscape(families.task_of_module(subject)),
    ),
    Approach(
        "module-path",
        ApproachKind.LOOK,
        "what blocks of a module do with the stream changes slowly with depth",
        "this project",
        lambda subject: families.measure_path(families.task_of_module(subject), subject.rng()),
    ),
    *(
        Approach(
            f"edges-{name}",
            ApproachKind.LOOK,
            f"of two roles that share hidden units, the {what} of true pairs stand out",
            source,
            partial(_edges, name),
        )
        for name, what, source in (
            ("trace", "traces", _DROPPED),
            ("cosines", "squared cosines", "this project"),
            ("grams", "correlations of Gram matrices", "this project"),
            ("norms", "correlations of norms", "this project"),
        )
    ),
    Approach(
        "bits",
        ApproachKind.LOOK,
        "inputs are readings of bits, and targets levels that depend on sums of them",
        _DROPPED,
        lambda subject: bits(load(subject)),
    ),
)
APPROACHES = {one.name: one for one in _ALL}


def find_approach(name: str) -> Approach:
    """Look an approach up; raises `UsageError` if there is none of that name."""
    return APPROACHES[find_name("approach", name, APPROACHES)]
