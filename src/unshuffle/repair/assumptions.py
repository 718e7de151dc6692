"""What may be wrong with the assumptions of a search that has not reproduced its record."""

from dataclasses import dataclass

from unshuffle.blocks.forms import FORMS
from unshuffle.proof.outcome import Outcome
from unshuffle.repair.case import Case
from unshuffle.repair.other_block import OtherForm
from unshuffle.repair.repair import far_from, needs_predictions
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class AssumptionParameters:
    """Numbers that say what is named."""

    helpful: float = 0.9  # Part of the error that a search with another assumption leaves at most.
    nothing: float = 0.9  # Share of the variance from which on a search explains next to nothing.
    equations: int = 256  # Predictions below which more rows help a search.
    least: int = 4096  # Rows of all steps below which a search that was cut off tells nothing.
    near: int = 16_384  # The same of a search that came near its record.


STANDARD = AssumptionParameters()

# What leaves a search with nothing, since no block then adds to a stream that goes through.
# Each stands for what searches with the forms of FORMS call it.
OTHER_STREAMS = {
    "blocks have no skip connection": {
        OtherForm(form).assumption for form in FORMS if not form.skip
    },
    "the activation comes behind the sum": {
        OtherForm(form).assumption for form in FORMS if form.skip and form.after == "a"
    },
}

# What may be otherwise, by what is known of how often it is; some of it is tried, in these words.
POSSIBLE = (
    "the activation is another one",
    "the network read the inputs scaled and shifted",
    "the input columns are in another sequence",
    "the predictions were scaled and shifted behind the last layer",
    "a softmax or a sigmoid came behind the last layer",
    "blocks have norms, gates or scales, which --model serves",
    "what each block adds is multiplied by one factor",
    "inputs and predictions are both in other units than those of the network",
    *OTHER_STREAMS,
)


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
    tried = sorted(case.left.items(), key=lambda each: each[1])
    helpful = {name for name, left in tried if left < by.helpful * min(share, 1.0)}
    named = [
        f"{name} ({100 * left:.2g} % is left of it then)" for name, left in tried if name in helpful
    ]
    if without := sum(piece.detached for piece in case.pile) - len(case.pile.biases):
        named.append(f"the {without} layers without a bias had one")
    rest = [
        name
        for name in POSSIBLE
        if name not in case.left and helpful.isdisjoint(OTHER_STREAMS.get(name, ()))
    ]
    # A short search in vain is weak evidence: what it tried comes last, and stays in the list.
    untried = [name for name, forms in OTHER_STREAMS.items() if not forms <= case.left.keys()]
    first = [name for name in rest if name in untried and share > by.nothing]
    named += [*first, *(name for name in rest if name not in first)]
    vain = [name for name, _ in tried if name not in helpful and name.startswith("blocks are ")]
    text = (
        f"{100 * share:.3g} % of the predictions' variance is unexplained; what may be otherwise, "
        f"the likeliest first: {'; '.join(named)}"
    )
    forms = ", ".join(name.removeprefix("blocks are ") for name in vain)
    return (
        text + (f" (short searches came no nearer with {forms})" if vain else "") + _more(case, by)
    )


def _more(case: Case, by: AssumptionParameters) -> str:
    """Whether more rows or another seed may help, where they may."""
    few = case.records.predicted().predictions.size < by.equations
    many = len(case.pile) // 2 > case.options.parameters.few_blocks
    advice = ["more rows"] * few + ["another seed"] * many
    return f"; {' or '.join(advice)} may help too" if advice else ""
