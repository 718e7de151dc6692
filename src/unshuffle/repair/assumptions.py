"""What may be wrong with the assumptions of a search that has not reproduced its record.

Each assumption has odds of being the wrong one. Cheap tests of the weights and the record raise or
lower them. What a search without the assumption has shown comes before all that.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from unshuffle.blocks.network import Network
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.pile import TINY, Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import Outcome
from unshuffle.repair.case import Case
from unshuffle.repair.no_skip import NO_SKIP
from unshuffle.repair.other_activation import OTHER_ACTIVATION
from unshuffle.repair.other_block import FORM, Factor
from unshuffle.repair.other_units import BothUnits, ScaledPredictions, Sigmoid
from unshuffle.repair.repair import far_from, needs_predictions, was_tried
from unshuffle.repair.scaled_inputs import Scaling
from unshuffle.repair.shuffled_columns import COLUMNS, standardised_columns
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class AssumptionParameters:
    """Numbers that say what is named, and in which sequence."""

    shown: float = 0.5  # Part of the error that a search with the true form leaves at most.
    # The same with fitted numbers: fitted to other records they left 0.2 and more.
    fitted: float = 0.1
    speaks: float = 8.0  # Factor on its odds where a test speaks for an assumption being wrong.
    against: float = 0.25  # The same where one speaks against that.
    units: float = 4.0  # Spreads, or factor of them, by which predictions are in other units.
    centred: float = 0.5  # Mean, and part of their spread, by which inputs miss being standardised.
    alike: float = 0.01  # Share of the variance that an activation much like the true one leaves.
    rows: int = 512  # Rows on which predictions are compared.
    equations: int = 256  # Predictions below which more rows help a search.
    least: int = 4096  # Rows of all steps below which a search that was cut off tells nothing.
    near: int = 16_384  # The same of a search that came near its record.


STANDARD = AssumptionParameters()

ACTIVATION = "the activation is another one"
NO_SKIP_CONNECTION = "blocks have no skip connection"
HEAD = "square layers are a stem's or a head's, which --model serves"
PREDICTED = "the predictions are in another column, which --predictions names"

# What may be otherwise, and its odds before any test, by what is known of how often it is.
ODDS = {
    HEAD: 8.0,  # where other blocks have another hidden width
    ACTIVATION: 1.0,
    PREDICTED: 0.9,  # where columns have numbers and no names
    Scaling.assumption: 0.9,
    COLUMNS: 0.8,
    ScaledPredictions.assumption: 0.7,
    Sigmoid.assumption: 0.6,
    "blocks have another form, or norms, gates or scales, which --model serves": 0.5,
    NO_SKIP_CONNECTION: 0.4,
    Factor.assumption: 0.3,
    BothUnits.assumption: 0.2,
}


# What a test says where it speaks for an assumption.
REASONS = {
    COLUMNS: "moments of the predictions fit another one better",
    ScaledPredictions.assumption: "those of the pieces lie elsewhere, or spread otherwise",
    NO_SKIP_CONNECTION: "by their weights, each reads what one other writes",
}


def may_be_wrong(case: Case, solution: Solution, by: AssumptionParameters = STANDARD) -> str | None:
    """What may be otherwise, in a sentence: what searches have shown first, then the likeliest.

    None where time ended too early to tell, or the record has no predictions.
    """
    if case.blueprint is not None:
        return "repairs of a damaged pile or record serve blocks x + out(a(inp(x))) alone"
    near = solution.mse <= far_from(case.records)
    early = not case.left and solution.trace.row_steps < (by.near if near else by.least)
    if needs_predictions(case) or (early and solution.outcome is Outcome.BUDGET_SPENT):
        return None
    if not case.records.variances.any():
        return "the predictions do not vary, so they tell nothing of any block; give others"
    share = solution.mse / case.records.variance
    shown = {
        name: left
        for name, left in sorted(case.left.items(), key=lambda each: each[1])
        if left < _most_left(name, by) * min(share, 1.0)
    }
    named = [f"{name} ({100 * left:.2g} % is left of it then)" for name, left in shown.items()]
    tests = _tests(case, solution, by)
    odds = _odds(case, tests, by)
    for name in sorted((each for each in odds if each not in shown), key=lambda name: -odds[name]):
        reason = REASONS.get(name, "") if all(tests.get(name, [False])) else ""
        named.append(f"{name} ({reason})" if reason else name)
    forms = [name for name in case.left if name.startswith(FORM) and name not in shown]
    vain = ", ".join(name.removeprefix(FORM) for name in forms)
    return (
        f"{100 * share:.3g} % of the predictions' variance is unexplained; what may be otherwise, "
        f"the likeliest first: {'; '.join(named)}"
        + (f" (short searches came no nearer with {vain})" if vain else "")
        + _more(case, by)
    )


def _most_left(name: str, by: AssumptionParameters) -> float:
    """Part of the error that a search without an assumption leaves at most where that is wrong."""
    return by.shown if name.startswith((FORM, Sigmoid.assumption)) else by.fitted


def _odds(case: Case, tests: dict[str, list[bool]], by: AssumptionParameters) -> dict[str, float]:
    """The odds of each assumption after tests; a search in vain without it is weak evidence too."""
    found = {}
    for name, odds in ODDS.items():
        factors = [by.speaks if speaks else by.against for speaks in tests.get(name, [])]
        found[name] = odds * prod(factors) * (by.against if name in case.left else 1.0)
    if not _within_sigmoid(case.records):
        found.pop(Sigmoid.assumption)
    if not isinstance(case.whole, Anatomy) or case.whole.width not in case.whole.widths:
        found.pop(HEAD)
    inputs, predictions, *_ = case.records.columns
    if not predictions or not all(map(str.isdecimal, (*inputs, *predictions))):
        found.pop(PREDICTED)
    if without := sum(piece.detached for piece in case.pile) - len(case.pile.biases):
        # Where none has a bias, none is likely to have had one.
        lost = np.inf if without < len(case.pile) else 0.0
        found[f"the {without} layers without a bias had one"] = lost
    return found


def _tests(case: Case, solution: Solution, by: AssumptionParameters) -> dict[str, list[bool]]:
    """What cheap tests say of each assumption: whether they speak for its being wrong."""
    tests: dict[str, list[bool]] = {}
    known = case.records.predicted().thinned(by.rows)
    inputs, network = _unlike_standardised(case.records, by), solution.network
    tests[Scaling.assumption] = [inputs]
    tests[ScaledPredictions.assumption] = [_lie_elsewhere(network, known, known.inputs, by)]
    standard = standardised_columns(known.inputs)
    tests[BothUnits.assumption] = [inputs, _lie_elsewhere(network, known, standard, by)]
    chain = NO_SKIP.requires(case) is None and NO_SKIP.suspects(case, None) > 0
    tests[NO_SKIP_CONNECTION] = [chain]
    if COLUMNS in case.tests and not chain:  # moments are compared with those of a stream
        tests[COLUMNS] = [case.tests[COLUMNS]]
    close = solution.mse < by.alike * case.records.variance  # as with one that nobody has tried
    if was_tried(OTHER_ACTIVATION.name, solution) and not close:
        tests[ACTIVATION] = [False]
    return tests


def _within_sigmoid(records: Records) -> bool:
    y = records.predicted().predictions
    return bool((y >= 0).all() and (y <= 1).all())


def _unlike_standardised(records: Records, by: AssumptionParameters) -> bool:
    """Whether some input column's mean is far from 0, or its spread from 1."""
    x = records.inputs.astype(np.float64)
    off = np.maximum(np.abs(x.mean(axis=0)), np.abs(x.std(axis=0) - 1))
    return bool((off > by.centred).any())


def _lie_elsewhere(
    network: Network, known: Records, inputs: Floats, by: AssumptionParameters
) -> bool:
    """Whether predictions lie elsewhere than a network's of some inputs, or spread otherwise."""
    own = network.predict(inputs.astype(known.inputs.dtype)).astype(np.float64)
    theirs = known.predictions.astype(np.float64)
    spreads = np.stack([own.std(axis=0), theirs.std(axis=0)]) + TINY
    apart = np.abs(own.mean(axis=0) - theirs.mean(axis=0)) / spreads.max(axis=0)
    factor = spreads.max(axis=0) / spreads.min(axis=0)
    return bool((np.maximum(apart, factor) > by.units).any())


def _more(case: Case, by: AssumptionParameters) -> str:
    """Whether more rows or another seed may help, where they may."""
    few = case.records.predicted().predictions.size < by.equations
    many = len(case.pile) // 2 > case.options.parameters.few_blocks
    advice = ["more rows"] * few + ["another seed"] * many
    return f"; {' or '.join(advice)} may help too" if advice else ""
