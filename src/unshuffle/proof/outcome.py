"""How a solve or a check ended: named values, each with a sentence of advice."""

from enum import Enum

from unshuffle.pieces.fact_table import fact_table


class _Advised:
    """What a notebook shows of an outcome. An `Enum` itself takes no method of such a name."""

    label: str
    advice: str

    def _repr_html_(self) -> str:
        """Name and advice as a table for notebooks."""
        return fact_table({self.label: self.advice})


class Outcome(_Advised, Enum):
    """How it ended; `str(outcome)` is the name, `outcome.advice` the sentence."""

    EXACT = "exact", "The record is reproduced to rounding: this is the lost network."
    APPROXIMATE = (
        "approximate",
        "Noise, coarsely stored numbers or fitted ones explain the error, and every place is "
        "decided.",
    )
    AMBIGUOUS = (
        "ambiguous",
        "The record is reproduced, but something else fits about as well. The certificate says "
        "which places are open; give more rows.",
    )
    UNDECIDED = (
        "undecided",
        "What is left of the error shows no pattern, but these rows would not show that of a wrong "
        "arrangement either. Give more rows.",
    )
    MISFIT = "misfit", "This arrangement does not reproduce the record."
    LOCAL_OPTIMUM = (
        "local optimum",
        "No move lowers the error, yet the record is not reproduced: what was assumed of the "
        "network or the record is likely to be wrong; what it may be is listed. With blueprint=, "
        "check that what is no piece, such as stem and head, has the right weights.",
    )
    NO_FIT = (
        "no arrangement fits",
        "In blocks x + out(a(inp(x))) all these pieces reproduce the record in no arrangement, and "
        "no part of them was found that does; the evidence is listed, and what may be otherwise. "
        "The record may also be of another network, or blocks may be missing or too many.",
    )
    INCOMPLETE = (
        "incomplete",
        "Pieces are missing or do not belong, and the record is not reproduced. Nothing proves "
        "this arrangement, the best that was found. Where gaps are listed, find their pieces. "
        "More rows help only where one out layer is missing.",
    )
    ESTIMATE = (
        "estimate",
        "There are no predictions to check against. This is the likeliest arrangement by the "
        "weights and by what the blocks do to the inputs; any place may be wrong.",
    )
    BUDGET_SPENT = (
        "budget spent",
        "The time limit came first. This is the best arrangement found so far; allow more time.",
    )
    INTERRUPTED = (
        "interrupted",
        "The search was interrupted. This is the best arrangement found so far.",
    )

    def __init__(self, label: str, advice: str) -> None:
        self.label = label
        self.advice = advice

    def __repr__(self) -> str:
        return f"Outcome.{self.name}"

    def __str__(self) -> str:
        return self.label


CONVERGED = (Outcome.LOCAL_OPTIMUM, Outcome.UNDECIDED)
"""Outcomes of a search that has ended by itself without reproducing the record."""

SETTLED = (Outcome.EXACT, Outcome.APPROXIMATE, Outcome.AMBIGUOUS)
"""Outcomes that reproduce the record."""

FINAL = (*SETTLED, Outcome.INTERRUPTED, Outcome.BUDGET_SPENT)
"""Outcomes after which nothing else is tried."""
