"""Tables for the terminal. Plain text where there is none."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from unshuffle.errors import listed
from unshuffle.pieces.clock import OTHER
from unshuffle.proof.outcome import SETTLED, Outcome
from unshuffle.proof.verification import VAST
from unshuffle.views.sparkline import log_sparkline
from unshuffle.views.tables import Terminal, empty_table, show_table

if TYPE_CHECKING:
    from unshuffle.grouping import Pairing
    from unshuffle.pieces.pile import PieceId
    from unshuffle.proof.certificate import Certificate
    from unshuffle.proof.verification import Verification
    from unshuffle.solution.findings import Gap
    from unshuffle.solution.solution import Solution

CURVE_COLUMNS = 30
LINES_BESIDE_PAIRS = 6  # of a terminal: the head, what stands below the table, and the prompt

# Facts of a solution that may be left out, those first that are missed least.
LEAST_NEEDFUL = (
    *("time", "search error", "search", "weakest pair", "nearest rivals", "sha256"),
    *("max absolute error", "mean squared error"),
)


def print_pairing(pairing: "Pairing") -> None:
    """Print each pair with its score, its best rival and its margin, least sure first.

    If the terminal cannot show all of them, the least sure come last, and stay in sight.
    """
    console = Terminal(highlight=False)
    table = empty_table(("inp", "out", "score", "best rival", "margin", "sure"), words=())
    long = console.is_terminal and len(pairing.matches) + LINES_BESIDE_PAIRS > console.height
    for match in sorted(pairing.matches, key=lambda match: match.margin, reverse=long):
        table.add_row(
            _name(match.inp),
            _name(match.out),
            f"{match.score:.3f}",
            "–" if match.rival is None else _name(match.rival),
            "∞" if math.isinf(match.margin) else f"{match.margin:.2f}",
            "–" if match.confidence is None else f"{100 * match.confidence:.1f} %",
        )
    show_table(table, console)
    console.print(
        f"{len(pairing.matches)} pairs by {pairing.signal}, {pairing.matching} matching; last "
        f"layer: {_name(pairing.last)}"
    )
    console.print(
        "margin: lead over the best rival, in standard deviations of the unmatched scores; "
        "sure: that the two belong together"
    )


def print_record(name: str, number: str) -> None:
    """Print which of several records the solution that follows is of."""
    Terminal(highlight=False).print(Text(f"record {number}: {name}", "bold"), soft_wrap=True)


def print_solution(
    solution: "Solution",
    *,
    kept_in: str | None = None,
    page: str | None = None,
    below: str = "",
) -> None:
    """Print how it ended, the errors, the hash and the answer.

    The answer comes last. If the terminal cannot show it all, it comes first, so that the rest
    stays in sight. If it cannot show it all below a text, the least needful lines are left out.
    """
    console = Terminal(highlight=False)
    facts = _facts(solution, console)
    facts |= {"kept in": kept_in} if kept_in is not None else {}
    facts |= {"report": page} if page is not None else {}
    parts = _parts(solution, facts, console)
    for name in LEAST_NEEDFUL if below else ():
        if not _on_one_screen(console, "".join([below, *parts])):
            facts.pop(name, None)
            parts = _parts(solution, facts, console)
    if not below and not _on_one_screen(console, "".join(parts)):
        parts.reverse()
    console.file.write("".join(parts))


def _parts(solution: "Solution", facts: dict[str, str], console: Console) -> list[str]:
    """How it ended, with facts, and the answer."""
    with console.capture() as summary:
        _print_outcome(console, solution.outcome)
        _print_facts(console, facts)
    with console.capture() as answer:
        console.print(Text(solution.answer), soft_wrap=True)  # one line, to be copied or piped
    return [summary.get(), answer.get()]


def _on_one_screen(console: Console, text: str) -> bool:
    """Whether a text and the prompt behind it can be seen at once."""
    if not console.is_terminal:
        return True
    lengths = [Text.from_ansi(line).cell_len for line in text.splitlines()]
    return sum(max(1, math.ceil(length / console.width)) for length in lengths) < console.height


def _facts(solution: "Solution", console: Console) -> dict[str, str]:
    """The lines of a summary by their names; a curve of the error only where somebody looks."""
    facts = {}
    if solution.rows:
        facts["mean squared error"] = f"{solution.mse:.3g} over {solution.rows} rows"
        facts["max absolute error"] = f"{solution.max_abs_error:.3g}"
    margins = {pair: margin for pair, margin in solution.margins.items() if math.isfinite(margin)}
    if margins:
        pair, margin = min(margins.items(), key=lambda item: item[1])
        facts["weakest pair"] = f"{' with '.join(map(str, pair))}, margin {margin:.2f}"
    if names := solution.as_given:
        facts["weights as given"] = f"{listed(names, 4)}: those of the module"
    if count := len(solution.biases):
        facts["biases"] = f"{count} matched; in the answer each follows its weight"
    if count := len(solution.units):
        facts["hidden units"] = (
            f"put in sequence in {count} out layers; the network kept has them so"
        )
    facts |= _certificate_facts(solution.certificate, solution.blocks) | _finding_facts(solution)
    trace = solution.trace
    if trace.work:
        facts["search"] = f"{trace.told}, work of {solution.passes:.3g} forward passes"
    errors = [step.error for step in trace.steps]
    if console.is_terminal and len(errors) > 1:
        curve = log_sparkline(errors, CURVE_COLUMNS)
        facts["search error"] = f"{errors[0]:.2g} {curve} {errors[-1]:.2g}"
    seconds = {**solution.seconds}
    total = seconds.pop("total")
    phases = [f"{phase} {seconds[phase]:.2f}" for phase in sorted(seconds, key=OTHER.__eq__)]
    facts["time"] = f"{total:.2f} s: {', '.join(phases)}"
    return facts | {"sha256": solution.sha256}


def _certificate_facts(
    certificate: "Certificate | None", blocks: Sequence[Sequence["PieceId"]]
) -> dict[str, str]:
    """How far ahead of its nearest rivals the arrangement is, or what is undecided."""
    if certificate is None or not (certificate.pairs or certificate.alike):
        return {}
    names = ["+".join(map(str, block)) for block in blocks]
    alike = [
        f"{', '.join(first)} and {last} compute the same on this record"
        for *first, last in (
            ["+".join(map(str, part)) for part in group]
            for group in certificate.interchangeable(blocks)
        )
    ]
    same = f"{'; '.join(alike)}, so the answer holds up to their exchange" if alike else ""
    if certificate.decided:
        contests = {"order": certificate.neighbours, "pairs": certificate.pairs}
        nearest = {
            name: min(one.mse for one in each if not one.same)
            for name, each in contests.items()
            if not all(one.same for one in each)
        }
        rivals = ", ".join(f"{name} {mse:.2g}" for name, mse in nearest.items())
        ahead = f"mean squared error {rivals}" if nearest else ""
        facts = {"nearest rivals": ahead, "interchangeable": same}
        return {name: text for name, text in facts.items() if text}
    groups = [group for group in certificate.groups if len(group) > 1]
    doubtful = [names[one.places[0]] for one in certificate.pairs if not one.decided]
    orders = [" → ".join(names[place] for place in group) for group in groups]
    accident = f"{certificate.chance:.2g} expected among what was tested"
    needed = certificate.rows_needed
    facts = {
        "fits by chance": accident if certificate.accidental else "",
        "undecided order": "; ".join(orders),
        "undecided pairs": ", ".join(doubtful),
        "rows it would take": "" if needed is None else str(needed),
        "interchangeable": same,
    }
    return {name: text for name, text in facts.items() if text}


def _finding_facts(solution: "Solution") -> dict[str, str]:
    """What was left over, and what is missing where."""
    findings = solution.findings
    if findings is None:
        return {}
    reasons: dict[str, list[PieceId]] = {}
    for one in findings.leftovers:
        reasons.setdefault(one.reason, []).append(one.id)
    facts = {}
    if reasons:
        lists = [f"{', '.join(map(str, names))} ({reason})" for reason, names in reasons.items()]
        facts["left over"] = "; ".join(lists)
    if findings.gaps:
        facts["missing"] = "; ".join(_gap(gap, solution) for gap in findings.gaps)
    for number, note in enumerate(findings.notes, start=1):
        facts["noticed" if number == 1 else f"noticed ({number})"] = note
    if findings.leftovers or findings.gaps:
        facts["left unexplained"] = _of_variance(findings.unexplained)
    return facts


def _gap(gap: "Gap", solution: "Solution") -> str:
    """A gap in words: which layer of which block, what stands in for it, what it carries."""
    if gap.missing == "last":
        return f"the last layer, estimated as {gap.stand_in}"
    carries = f"carries {_of_variance(gap.share)}"
    likely = "" if solution.outcome in SETTLED else "probably "
    if gap.missing == "block":
        before = "the first block" if gap.place == 0 else f"block {gap.place}"
        where = "before" if gap.place == 0 else "after"
        return f"{likely}a whole block {where} {before}, which {carries}"
    inp, out = solution.blocks[gap.place]
    partner = out if gap.missing == "inp" else inp
    return (
        f"{likely}{gap.missing} layer of block {gap.place + 1}, beside {partner}, estimated as "
        f"{gap.stand_in}; the block {carries}"
    )


def _of_variance(share: float) -> str:
    """A share of the predictions' variance in words; predictions that do not vary have none."""
    return f"{100 * share:.2g} % of the variance" if share < VAST else "all, for nothing varies"


def print_verification(found: "Verification") -> None:
    """Print what a check of blocks in their order found."""
    console = Terminal(highlight=False)
    bound = found.tolerance
    facts = {
        "mean squared error": f"{found.mse:.3g} over {found.rows} rows",
        "max absolute error": f"{found.max_abs_error:.3g}",
        "explained by rounding": f"mean squared {bound.mse:.2g}, maximum {bound.max_abs_error:.2g}",
        **_certificate_facts(found.certificate, found.blocks),
        "sha256": found.sha256,
    }
    _print_outcome(console, found.outcome)
    _print_facts(console, facts)


def _print_outcome(console: Console, outcome: Outcome) -> None:
    colour = {Outcome.EXACT: "green", Outcome.APPROXIMATE: "yellow"}.get(outcome, "red")
    line = f"[bold {colour}]{outcome}[/]  {outcome.advice}"
    console.print(line, soft_wrap=not console.is_terminal)


def _print_facts(console: Console, facts: dict[str, str]) -> None:
    """One fact a line; in a window too narrow for one, on lines of its own.

    What has no spaces is never cut or wrapped: hashes and paths are there to be copied.
    """
    indent = _indent(facts)
    for name, value in facts.items():
        if _fits(console, indent, value):
            line = Text.assemble((f"{name:<{indent}}", "dim"), value)
            console.print(line, soft_wrap=True)
        else:
            console.print(Text(name, "dim"))
            console.print(Text(value), soft_wrap=" " not in value)


def _indent(facts: dict[str, str]) -> int:
    return max(map(len, facts), default=0) + 2


def _fits(console: Console, indent: int, value: str) -> bool:
    return not console.is_terminal or indent + len(value) <= console.width


def _name(name: "PieceId") -> str:
    return escape(str(name))
