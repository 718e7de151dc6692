"""The plan in the repository is the one that its experiments and its ledger make."""

import re
from contextlib import chdir
from pathlib import Path

import pytest

from unshuffle.lab.approach import ApproachKind
from unshuffle.lab.approaches import APPROACHES
from unshuffle.lab.experiment import Verdict, read_experiments
from unshuffle.lab.ledger import ledger_text, read_runs
from unshuffle.lab.plan import findings, render_plan

PROJECT = Path(__file__).parents[2]
COMMAND = "unshuffle lab plan experiments --ledger experiments/ledger.jsonl --out docs/plan.md"


@pytest.fixture(scope="module")
def ours():
    with chdir(PROJECT):  # since the plan names the files
        experiments = read_experiments([Path("experiments")])
    return findings(experiments, read_runs(PROJECT / "experiments" / "ledger.jsonl"))


def test_the_plan_is_not_stale(ours):
    plan = (PROJECT / "docs" / "plan.md").read_text(encoding="utf-8")
    assert plan == render_plan(ours, COMMAND), "run `make plan`"


def test_the_ledger_is_as_it_is_written():
    path = PROJECT / "experiments" / "ledger.jsonl"
    assert path.read_text(encoding="utf-8") == ledger_text(read_runs(path))


def test_nearly_every_experiment_was_run(ours):
    """A new hypothesis may wait for its runs, but most are there."""
    assert len(ours) > 20
    lacking = [one.experiment.name for one in ours if len(one.runs) < one.experiment.size()]
    assert len(lacking) < len(ours) / 2


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (ApproachKind.PAIRING, ["pairing-small"]),
        (ApproachKind.PAIRING, ["pairing-puzzle"]),
        (ApproachKind.PAIRING, ["pairing-zoo"]),
        (ApproachKind.ORDERING, ["ordering-small"]),
        (ApproachKind.ORDERING, ["ordering-puzzle"]),
        (ApproachKind.ORDERING, ["ordering-zoo", "searches-zoo", "annealing-zoo"]),
        (ApproachKind.WHOLE, ["strategies"]),
        (ApproachKind.WHOLE, ["strategies-puzzle"]),
        (ApproachKind.PART, ["parts-zoo"]),
    ],
)
def test_every_approach_was_tried_on_the_example_the_puzzle_and_the_zoo(ours, kind, names):
    tried = {m for one in ours if one.experiment.name in names for m in one.experiment.methods}
    assert {name for name, one in APPROACHES.items() if one.kind is kind} <= tried


def test_every_approach_stands_in_an_experiment(ours):
    assert set(APPROACHES) == {method for one in ours for method in one.experiment.methods}


def test_what_is_not_settled_says_what_comes_next(ours):
    unsettled = [one for one in ours if one.verdict in (Verdict.OPEN, Verdict.UNDECIDED)]
    assert [one.experiment.name for one in unsettled if not one.experiment.next] == []


def test_every_experiment_is_known_by_its_heading(ours):
    plan = (PROJECT / "docs" / "plan.md").read_text(encoding="utf-8")
    for one in ours:
        assert re.fullmatch("[a-z][a-z0-9-]*", one.experiment.name)
        assert plan.count(f"\n### {one.experiment.name}\n") == 1


def test_verdicts_in_the_documents_are_those_of_the_plan(ours):
    verdicts = {one.experiment.name: str(one.verdict) for one in ours}
    stated = [
        (path.name, name, verdict)
        for path in (PROJECT / "README.md", *PROJECT.glob("docs/*.md"))
        for name, verdict in re.findall(
            r"\[([a-z0-9-]+)\]\([\w./]*plan\.md#\1\): (\w+)", path.read_text(encoding="utf-8")
        )
    ]
    assert len(stated) > 15
    assert [one for one in stated if verdicts[one[1]] != one[2]] == []
