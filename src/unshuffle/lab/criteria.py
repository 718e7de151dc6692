"""Criteria: when a hypothesis counts as confirmed or refuted, as text that code evaluates.

For example::

    mean(pairs_right of trace) >= 0.9
    min(pairs_right of trace on tiny-*) > max(pairs_right of log-norm on tiny-*)
    mean(funnel where greedy_right >= 1) > mean(funnel where greedy_right < 1)

A statistic of a metric is taken over all methods and subjects, or those of a pattern, and over
chosen runs. Nothing is evaluated as code.
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isfinite, nan
from statistics import fmean, median

from unshuffle.errors import UsageError, shown
from unshuffle.lab.ledger import LedgerRun
from unshuffle.lab.metrics import METRICS, in_words

STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": fmean,
    "median": median,
    "min": min,
    "max": max,
}

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}

# How statistics and comparisons are told.
TOLD = {"mean": "on average", "median": "in the median", "min": "at the least", "max": "at most"}
COMPARED = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}

_NAME = r"[\w.*?-]+"
_TERM = re.compile(
    rf"(?P<statistic>\w+)\(\s*(?P<metric>\w+)"
    rf"(?:\s+of\s+(?P<method>{_NAME}))?(?:\s+on\s+(?P<subject>{_NAME}))?"
    r"(?:\s+where\s+(?P<by>\w+)\s*(?P<comparison>>=|<=|>|<)\s*(?P<number>\S+?))?\s*\)"
)
_CONDITION = re.compile(
    r"(?P<left>[^()<>]*(?:\([^()]*\))?)\s*(?P<comparison>>=|<=|>|<)\s*(?P<right>.+)"
)


@dataclass(frozen=True)
class Term:
    """A statistic of a metric over runs of methods on subjects, both patterns, perhaps limited."""

    statistic: str
    metric: str
    method: str = "*"
    subject: str = "*"
    where: tuple[str, str, float] | None = None  # a metric, how it compares, and with what

    def chooses(self, method: str, subject: str) -> bool:
        """Whether runs of a method on a subject count."""
        return fnmatchcase(method, self.method) and fnmatchcase(subject, self.subject)

    def said(self, value: float) -> str:
        """A value of it, in words."""
        parts = [TOLD[self.statistic], in_words(self.metric, value)]
        parts += [f"by {self.method}"] if self.method != "*" else []
        parts += [f"on {self.subject}"] if self.subject != "*" else []
        if self.where is not None:
            by, comparison, number = self.where
            parts.append(f"where {by} is {COMPARED[comparison]} {number:g}")
        return " ".join(parts)

    def value(self, runs: Sequence[LedgerRun]) -> float | None:
        """Its value; None where a chosen run failed, or none measured the metric."""
        chosen = [run for run in runs if self.chooses(run.method, run.subject)]
        if any(run.failure for run in chosen):
            return None
        if self.where is not None:  # a run that lacks the metric does not count
            by, comparison, number = self.where
            compare = COMPARISONS[comparison]
            chosen = [run for run in chosen if compare(run.measurements.get(by, nan), number)]
        values = [
            run.measurements[self.metric] for run in chosen if self.metric in run.measurements
        ]
        return STATISTICS[self.statistic](values) if values else None


@dataclass(frozen=True)
class Condition:
    """A comparison of two terms, or of a term with a number, and its text."""

    text: str
    left: Term
    comparison: str
    right: Term | float

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms in it."""
        return (self.left, self.right) if isinstance(self.right, Term) else (self.left,)

    def holds(self, runs: Sequence[LedgerRun]) -> bool | None:
        """Whether it holds; None where a term has no value."""
        left, right = self._values(runs)
        if left is None or right is None:
            return None
        return COMPARISONS[self.comparison](left, right)

    def found(self, runs: Sequence[LedgerRun]) -> str:
        """The numbers that were compared, and how it came out, such as "0.97 >= 0.9 yes"."""
        left, right = ("no number" if v is None else f"{v:.3g}" for v in self._values(runs))
        outcome = {True: "yes", False: "no", None: "unknown"}[self.holds(runs)]
        return f"{left} {self.comparison} {right} {outcome}"

    def said(self, runs: Sequence[LedgerRun]) -> str:
        """The same in words, such as "on average 95 % of …; at least 90 % was asked"."""
        left, right = self._values(runs)
        if left is None or right is None:
            return f"no number yet for {self.text}"
        number = in_words(self.left.metric, right)
        short = number[: number.index("%") + 1] if "% of" in number else f"{right:.3g}"
        bound = self.right.said(right) if isinstance(self.right, Term) else short
        return f"{self.left.said(left)}; {COMPARED[self.comparison]} {bound} was asked"

    def _values(self, runs: Sequence[LedgerRun]) -> tuple[float | None, float | None]:
        right = self.right.value(runs) if isinstance(self.right, Term) else self.right
        return self.left.value(runs), right


def read_condition(text: str, where: str) -> Condition:
    """Read a condition of a file and key. `UsageError` if it is none or names what is not there."""
    found = _CONDITION.fullmatch(text.strip())
    left = _read_side(found["left"], where) if found else None
    if found is None or not isinstance(left, Term):
        raise UsageError(
            f"{where} has the condition {shown(text)}, but one such as "
            "'mean(pairs_right of trace) >= 0.9' is expected"
        )
    return Condition(text.strip(), left, found["comparison"], _read_side(found["right"], where))


def _read_side(text: str, where: str) -> Term | float:
    if (number := _finite(text)) is not None:
        return number
    found = _TERM.fullmatch(text.strip())
    bound = _finite(found["number"] or "") if found else None
    if found is None or (found["by"] is not None and bound is None):
        raise UsageError(
            f"{where} has {shown(text)} on one side of a condition, but a number or a term such as "
            "mean(pairs_right of trace on tiny-*) is expected"
        )
    for noun, name, known in (
        ("statistic", found["statistic"], STATISTICS),
        ("metric", found["metric"], METRICS),
        ("metric", found["by"] or found["metric"], METRICS),
    ):
        if name not in known:
            raise UsageError(
                f"{where} has a condition with the {noun} {shown(name)}, but one of "
                f"{', '.join(known)} is expected"
            )
    limit = None if bound is None else (found["by"], found["comparison"], bound)
    return Term(
        found["statistic"], found["metric"], found["method"] or "*", found["subject"] or "*", limit
    )


def _finite(text: str) -> float | None:
    """The finite number that a text is, if it is one."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None
