"""Blocks that do something else with their layers than ``x + out(a(inp(x)))``.

They may have an activation or a norm elsewhere, or no skip connection. Or one factor that no piece
holds, such as 0.5, multiplies what each adds. Each form gets a short search of its own. A factor is
fitted to what searches with others near it have found.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from unshuffle.blocks.forms import FORMS, RESIDUAL, Form
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import Outcome
from unshuffle.repair.case import Case
from unshuffle.repair.in_turn import repair_by
from unshuffle.repair.least_squares import Linearized, fit
from unshuffle.solution.findings import Findings
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution


@dataclass(frozen=True)
class BlockParameters:
    """Numbers that steer the search for another block."""

    factors: tuple[float, ...] = (0.5, 0.7, 0.25, 0.1, 1.5)  # Factors that searches begin with.
    rows: int = 512  # Rows that a factor is fitted to, at most.
    digits: int = 6  # Decimal places to which a factor is rounded, if that changes next to nothing.
    close: float = 1e-6  # Part of a factor that rounding it may change.
    patience: float = 16.0  # How many times as long each form is searched with in the end.
    after: int = 32_768  # Row steps of the main search before that.


STANDARD = BlockParameters()

FORM = "blocks are "  # what the assumption of a form begins with


@dataclass(frozen=True)
class OtherForm:
    """Blocks of another form."""

    form: Form
    begun: Arrangement | None = None
    patience: float = 1.0

    @property
    def assumption(self) -> str:
        """What is wrong where this is right."""
        return f"{FORM}{self.form.formula}"

    def undone(self, case: Case) -> tuple[Records, Options]:
        """The record as it is, searched with blocks of this form."""
        return case.records, replace(case.options, form=self.form)

    def fitted(self, network: MlpNetwork, case: Case) -> None:
        """There is nothing to fit."""

    def told(self, solution: Solution) -> Solution:
        """The solution, with the form of its blocks."""
        return solution.noted(
            f"the blocks are {self.form.formula}, and not {RESIDUAL.formula}: so the record is "
            "reproduced"
        )


@dataclass(frozen=True)
class Factor:
    """A factor on what each block adds to the stream."""

    patience, begun = 1.0, None
    assumption = "what each block adds is multiplied by one factor"
    value: float
    by: BlockParameters = STANDARD

    def undone(self, case: Case) -> tuple[Records, Options]:
        """The record as it is, searched with this factor."""
        return case.records, replace(case.options, form=RESIDUAL.scaled(self.value))

    def fitted(self, network: MlpNetwork, case: Case) -> "Factor":
        """The factor with which a network that has this one errs least."""
        some = case.records.predicted().thinned(self.by.rows)
        change = fit(_linearized(network.astype(np.float64), some), np.ones(1), case.options.clock)
        return replace(self, value=_rounded(self.value * float(change[0]), self.by))

    def told(self, solution: Solution) -> Solution:
        """The solution with its factor. A number that is fitted leaves it approximate."""
        note = (
            f"what each block adds is multiplied by {self.value:.7g}, which no piece holds: with "
            "this factor, fitted to the record, all rows are reproduced to rounding; the network "
            "has it in its out layers"
        )
        findings = Findings(notes=(note,), factor=self.value)
        return solution.ended(Outcome.APPROXIMATE, findings)


def _linearized(network: MlpNetwork, some: Records) -> Linearized:
    """Residuals by one factor on what all blocks add, outputs first."""
    blocks, inputs = network.blocks, some.inputs.astype(np.float64)

    def at(numbers: Floats) -> tuple[Floats, Floats]:
        out, bias = (numbers[0] * each for each in blocks.out)
        scaled = MlpNetwork(replace(blocks, out_weight=out, out_bias=bias), network.last)
        with np.errstate(over="ignore", invalid="ignore"):
            states = scaled.states(inputs)
            adjoints, added = scaled.adjoints(states)[1:], np.diff(states, axis=0)
            residual = network.last(states[-1]) - some.predictions
        slopes = np.einsum("kond,knd->on", adjoints, added) / numbers[0]
        return residual.T.reshape(-1), slopes.reshape(-1, 1)

    return at


def _rounded(value: float, by: BlockParameters) -> float:
    """The number with the fewest decimal places that is next to the same."""
    each = (round(value, places) for places in range(1, by.digits + 1))
    return next((one for one in each if abs(one - value) <= by.close * abs(value)), value)


def _candidates(_: Case, by: BlockParameters = STANDARD) -> Iterator[OtherForm | Factor]:
    first, *others = (Factor(value, by) for value in by.factors)
    yield first
    yield from (OtherForm(form) for form in FORMS if form.skip)
    yield from others


def _patient(case: Case, by: BlockParameters = STANDARD) -> list[OtherForm]:
    """Each form again, those first that came nearest before."""
    forms = [OtherForm(form, patience=by.patience) for form in FORMS if form.skip]
    return sorted(forms, key=lambda each: case.left.get(each.assumption, np.inf))


OTHER_BLOCK = repair_by("another form of block", 0.4, _candidates)
OTHER_BLOCK_LONGER = repair_by(
    "another form of block, for longer", 0.35, _patient, after=STANDARD.after
)
