"""The living plan: one document from experiments and ledger, nothing in it decided by hand."""

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, product
from statistics import fmean, stdev

from unshuffle.lab.approaches import APPROACHES
from unshuffle.lab.experiment import Experiment, Verdict
from unshuffle.lab.ledger import LedgerRun, newest
from unshuffle.lab.metrics import METRICS

Rows = list[tuple[str, ...]]  # a table; the first row is the head

# Lines of a table of subjects and methods; beyond that they are gathered.
MOST_LINES = 60


@dataclass(frozen=True, eq=False)
class ExperimentRuns:
    """An experiment with its runs, the newest of each configuration."""

    experiment: Experiment
    runs: Sequence[LedgerRun]

    @property
    def verdict(self) -> Verdict:
        """What the criterion says."""
        return self.experiment.verdict(self.runs)

    @property
    def reason(self) -> str:
        """What the verdict rests on: the conditions that hold, or else all of them."""
        if not self.runs:
            return "–"
        conditions = self.experiment.conditions
        keys = {Verdict.CONFIRMED: ["confirmed_if"], Verdict.REFUTED: ["refuted_if"]}
        chosen = chain(*(conditions[key] for key in keys.get(self.verdict, conditions)))
        return "; ".join(dict.fromkeys(condition.said(self.runs) for condition in chosen))

    def select(self, method: str, subject: str | None = None) -> list[LedgerRun]:
        """The runs of a method, on one subject or on all."""
        runs = [run for run in self.runs if run.method == method]
        return [run for run in runs if subject in (run.subject, None)]


def findings(experiments: Iterable[Experiment], runs: Iterable[LedgerRun]) -> list[ExperimentRuns]:
    """Each experiment with its runs."""
    runs = list(runs)
    return [ExperimentRuns(experiment, experiment.of(runs)) for experiment in experiments]


def overview(found: Sequence[ExperimentRuns]) -> Rows:
    """A line for each experiment: what it claims, and what became of that."""
    rows: Rows = [("experiment", "claim", "verdict", "since", "runs")]
    for one in found:
        count = f"{len(one.runs)} of {one.experiment.size()}"
        rows.append(
            (one.experiment.name, one.experiment.title, str(one.verdict), one.reason, count)
        )
    return rows


def results(found: ExperimentRuns) -> Rows:
    """A line for each subject and method: mean, spread and range of each metric over the seeds."""
    experiment = found.experiment
    rows: Rows = [("subject", "method", "runs", *experiment.metrics, "seconds")]
    for subject, method in product(experiment.subject_names, experiment.methods):
        if runs := found.select(method, subject):
            cells = [_cell(runs, metric) for metric in experiment.metrics]
            seconds = f"{fmean(run.seconds for run in runs):.2g}"
            rows.append((subject, method, str(len(runs)), *cells, seconds))
    return rows


def pooled(found: ExperimentRuns) -> Rows:
    """A line for each method: mean, spread and range over all subjects and seeds."""
    metrics = found.experiment.metrics
    rows: Rows = [("method", "runs", *metrics)]
    for method in found.experiment.methods:
        if runs := found.select(method):
            rows.append((method, str(len(runs)), *(_cell(runs, metric) for metric in metrics)))
    return rows


def means(found: ExperimentRuns) -> Rows:
    """A line for each subject, a column for each method: means of the first metric."""
    experiment, metric = found.experiment, found.experiment.metrics[0]

    def cell(subject: str, method: str) -> str:
        values = _values(found.select(method, subject), metric)
        return f"{fmean(values):.2g}" if values else "–"

    return _grid(f"{metric} of", experiment.subject_names, experiment.methods, cell)


def comparison(runs: Iterable[LedgerRun], methods: Sequence[str], metric: str) -> Rows:
    """A line for each subject, a column for each method: one metric with its spread."""
    last = newest(runs)

    def cell(subject: str, method: str) -> str:
        some = [run for run in last if (run.subject, run.method) == (subject, method)]
        return _cell(some, metric)

    subjects = sorted({run.subject for run in last if run.method in methods})
    return _grid("subject", subjects, methods, cell)


def _grid(
    corner: str, lines: Sequence[str], columns: Sequence[str], cell: Callable[[str, str], str]
) -> Rows:
    return [
        (corner, *columns),
        *((line, *(cell(line, each) for each in columns)) for line in lines),
    ]


def approaches_table() -> Rows:
    """Every approach that is registered."""
    rows: Rows = [("approach", "kind", "bets on", "source")]
    rows += [(one.name, one.kind, one.hypothesis, one.source) for one in APPROACHES.values()]
    return rows


def render_plan(found: Sequence[ExperimentRuns], command: str) -> str:
    """The whole document in Markdown, which a command makes anew."""
    head, *rows = overview(found)
    verdicts = [head, *((_linked(name), *rest) for name, *rest in rows)]
    without_reasons = [(*line[:3], line[4]) for line in verdicts]
    parts = [
        "# Plan",
        "Each experiment states a claim and when it falls. The verdict comes from that alone. "
        f"Made by `{command}`; do not edit it by hand.",
        "## Verdicts",
        markdown_table(without_reasons),
        *_consequences(found),
        "## Experiments",
    ]
    for one in found:
        parts += _experiment_parts(one)
    parts += ["## What was run", _what_was_run(found), *_glossary(found)]
    text = "\n\n".join(parts) + "\n"
    # Names and messages come from files, and the text may go to a terminal.
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def markdown_table(rows: Rows) -> str:
    """A table in Markdown."""
    head, *body = [[_escaped(cell) for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in body]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines])


def _experiment_parts(one: ExperimentRuns) -> list[str]:
    experiment = one.experiment
    criteria: Rows = [("verdict", "where", "measured", "in words")]
    criteria += [
        (
            key.removesuffix("_if"),
            condition.text.replace("*", r"\*"),
            condition.found(one.runs) if one.runs else "–",
            condition.said(one.runs) if one.runs else "–",
        )
        for key, conditions in experiment.conditions.items()
        for condition in conditions
    ]
    command = ["unshuffle", "lab", "run", experiment.path.as_posix()]
    command += ["--ledger", "build/lab.sqlite"]  # one of whoever runs it
    command += ["--puzzle", "DIR"] if "puzzle" in experiment.subjects else []
    count = len(experiment.seeds)
    size = f"{count} seed{'s' if count != 1 else ''}, {experiment.rows} rows"
    parts = [
        f"### {experiment.name}",
        f"**{_escaped(experiment.title)}: {one.verdict}** · {size}",
        "<details><summary>Criterion, command and measurements</summary>",
        f"Hypothesis: {experiment.hypothesis} (Source: {experiment.source}.)",
        f"Run it: `{shlex.join(command)}`",
        markdown_table(criteria),
    ]
    if len(experiment.subjects) * len(experiment.methods) > MOST_LINES:
        parts += [markdown_table(table) for table in (pooled(one), means(one)) if one.runs]
    elif one.runs:
        parts.append(markdown_table(results(one)))
    failures = {(run.subject, run.method, run.failure) for run in one.runs if run.failure}
    if failures:
        parts.append("\n".join(f"- {s}, {m}: {_escaped(why)}" for s, m, why in sorted(failures)))
    if experiment.interpretation and one.runs:
        parts.append(f"> *Interpretation.* {experiment.interpretation}")
    return [*parts, "</details>"]


def _linked(name: str) -> str:
    return f"[{name}](#{name})"


def _consequences(found: Sequence[ExperimentRuns]) -> list[str]:
    """What comes next where a claim is open, and what follows where it is not."""
    nexts, decisions = [], []
    for one in found:
        asked, verdict = one.experiment, one.verdict
        name = _linked(asked.name)
        decision = asked.if_confirmed if verdict is Verdict.CONFIRMED else asked.if_refuted
        if verdict in (Verdict.OPEN, Verdict.UNDECIDED):
            nexts.append(f"- {asked.title} ({name}: {verdict}). {asked.next}".rstrip())
        elif decision:
            decisions.append(f"- {decision} ({name}: {asked.title}: {verdict}.)")
    sections = {"Open, with what comes next": nexts, "Decisions that follow": decisions}
    return [
        part for key, lines in sections.items() if lines for part in (f"## {key}", "\n".join(lines))
    ]


def _what_was_run(found: Sequence[ExperimentRuns]) -> str:
    runs = list({run.key: run for one in found for run in one.runs}.values())
    if not runs:
        return "Nothing yet."
    rows: Rows = [("code", "environment", "runs", "seconds of one core", "first", "last")]
    for code, where in sorted({(run.code, run.environment) for run in runs}):
        some = [run for run in runs if (run.code, run.environment) == (code, where)]
        days = sorted(run.started[:10] for run in some)
        seconds = f"{sum(run.seconds for run in some):.0f}"
        rows.append((code, where, str(len(some)), seconds, days[0], days[-1]))
    return markdown_table(rows)


def _glossary(found: Sequence[ExperimentRuns]) -> list[str]:
    shown = {metric for one in found for metric in one.experiment.metrics}
    tried = {method for one in found for method in one.experiment.methods}
    metrics: Rows = [("metric", "what it is")]
    metrics += [(name, text) for name, text in METRICS.items() if name in shown]
    head, *approaches = approaches_table()
    return [
        "## Metrics",
        markdown_table(metrics),
        "## Approaches",
        markdown_table([head, *(row for row in approaches if row[0] in tried)]),
    ]


def _cell(runs: Sequence[LedgerRun], metric: str) -> str:
    """Mean ± standard deviation (least–most); how many failed, where some did."""
    values = _values(runs, metric)
    failed = sum(bool(run.failure) for run in runs)
    note = f"{failed} failed" if failed else ""
    if not values:
        return note or "–"
    if min(values) == max(values):
        text = f"{values[0]:.3g}"
    else:
        text = f"{fmean(values):.3g} ± {stdev(values):.2g} ({min(values):.3g}–{max(values):.3g})"
    return f"{text}, {note}" if note else text


def _values(runs: Sequence[LedgerRun], metric: str) -> list[float]:
    return [run.measurements[metric] for run in runs if metric in run.measurements]


def _escaped(text: str) -> str:
    """Text that stays within its cell and is no markup."""
    plain = " ".join(text.split())
    return plain.replace("|", "¦").replace("<", "&lt;")
