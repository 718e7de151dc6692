"""How a solve or a check ended: named values, each with a sentence of advice."""

from enum import Enum


class Outcome(Enum):
    """How it ended; `str(outcome)` is the name, `outcome.advice` the sentence."""

    EXACT = "exact", "The record is reproduced to rounding: this is the lost network."
    APPROXIMATE = (
        "approximate",
        "The record is reproduced as well as coarsely stored numbers or noise in it allow, and "
        "every sequence of neighbours and every pair fits it better than what could replace it.",
    )
    AMBIGUOUS = (
        "ambiguous",
        "The record is reproduced as far as rounding or noise allow, yet it cannot tell this "
        "arrangement from others: the certificate says which blocks are undecided.",
    )
    UNDECIDED = (
        "undecided",
        "What this arrangement leaves of the record shows no pattern, but these rows would not "
        "show the pattern of a wrong arrangement either: noise and a wrong arrangement look alike "
        "here. Give more rows.",
    )
    MISFIT = "misfit", "This arrangement does not reproduce the record."
    LOCAL_OPTIMUM = (
        "local optimum",
        "No move lowers the error, yet the record is not reproduced: what was assumed of the "
        "network or the record is likely to be wrong; what it may be is listed. With a module of "
        "your own, check that what is no piece, such as stem and head, has the right weights.",
    )
    NO_FIT = (
        "no arrangement fits",
        "In blocks x + out(a(inp(x))) all these pieces reproduce the record in no arrangement, and "
        "no part of them was found that does; the evidence is listed, and what may be otherwise. "
        "The record may also be of another network, or blocks may be missing or too many.",
    )
    INCOMPLETE = (
        "incomplete",
        "Pieces are missing or do not belong, and the record is not reproduced: this is the "
        "arrangement that fits best, and nothing proves it. What is known of the gaps is listed; "
        "find those pieces, or add rows from which they can be estimated.",
    )
    ESTIMATE = (
        "estimate",
        "There are no predictions to check against: this is the likeliest arrangement by the "
        "weights and by what the blocks do to the inputs; it may be wrong in any place.",
    )
    BUDGET_SPENT = (
        "budget spent",
        "The time limit came first: this is the best arrangement found so far; allow more time.",
    )
    INTERRUPTED = (
        "interrupted",
        "The search was interrupted: this is the best arrangement found so far.",
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
