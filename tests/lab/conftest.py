"""Runs that are made up, and experiments on the example that take no time."""

import pytest

from unshuffle.lab.ledger import LedgerRun

SHEET = """
title = "The trace finds all pairs of the example"
hypothesis = "It does."
source = "nobody"
subjects = ["example"]
methods = ["trace", "inp-norm"]
seeds = [0, 1]
metrics = ["pairs_right", "inversions"]
rows = 60
confirmed_if = ["min(pairs_right of trace) >= 1"]
refuted_if = ["min(pairs_right of trace) < 0.5"]
interpretation = "We think so."
next = "More seeds."
if_confirmed = "Use it."
"""


@pytest.fixture
def sheet(tmp_path):
    """Write an experiment's file: `sheet("name", seeds="[0]")`."""

    def write(name="claim", **changes):
        lines = dict(line.split(" = ", 1) for line in SHEET.strip().splitlines())
        lines |= changes
        folder = tmp_path / "experiments"
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.toml"
        path.write_text("\n".join(f"{k} = {v}" for k, v in lines.items() if v is not None))
        return path

    return write


@pytest.fixture
def make_run():
    """Make a run up: `make_run("trace", pairs_right=0.5)`."""

    def make(method="trace", subject="example", seed=0, *, rows=60, failure="", **measurements):
        return LedgerRun(
            key=f"{method}-{subject}-{seed}-{rows}",
            subject=subject,
            method=method,
            seed=seed,
            rows=rows,
            content="c",
            code="1",
            environment="here",
            started="2026-01-02T03:04:05.000+00:00",
            seconds=1.5,
            measurements=measurements,
            failure=failure,
        )

    return make
