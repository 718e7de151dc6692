"""The plan in the repository is the one that its experiments and its ledger make."""

from pathlib import Path

import pytest

from unshuffle.lab.experiment import read_experiments
from unshuffle.lab.ledger import ledger_text, read_runs
from unshuffle.lab.plan import findings, render_plan

PROJECT = Path(__file__).parents[2]
COMMAND = "unshuffle lab plan experiments --ledger experiments/ledger.jsonl --out docs/plan.md"


@pytest.fixture(scope="module")
def ours():
    experiments = read_experiments([PROJECT / "experiments"])
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
