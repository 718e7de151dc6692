"""From a claim in the documents to what made it: an experiment, or the command beside it."""

import re
from pathlib import Path

import pytest

from unshuffle.lab.experiment import read_experiments

PROJECT = Path(__file__).parent.parent
PLAN = PROJECT / "docs" / "plan.md"  # is made by a command, and names one for each experiment
DOCUMENTS = sorted(
    str(path.relative_to(PROJECT))
    for path in {PROJECT / "README.md", PROJECT / "ARCHITECTURE.md", *PROJECT.glob("docs/*.md")}
    - {PLAN}
)

FIGURE = re.compile(r"\b\d[\d,]* of (the |its )?\d|\d ?(%|s\b|ms\b|minutes?\b|seconds?\b)")
"""What was counted, or measured in time or parts."""

RUN = r"(python (benchmarks|examples)/|unshuffle |make )"
SOURCE = re.compile(
    rf"^```\w*\n(.*\n)*?{RUN}|^```python"  # a block of commands, a session
    rf"|^ {{4}}{RUN}"
    rf"|`{RUN}"  # a command in the text
    r"|\]\([\w./:-]*(plan|zoo|benchmarks|damage|claims|results|README)\.md[#)]",  # its place
    re.MULTILINE,
)


def sections(document):
    return re.split(r"^(?=##? )", (PROJECT / document).read_text("utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_figures_have_a_source_in_their_section(document):
    for section in sections(document):
        if FIGURE.search(section):
            assert SOURCE.search(section), f"{document}: {section.splitlines()[0]}"


def test_links_to_the_plan_lead_to_experiments():
    names = {one.name for one in read_experiments([PROJECT / "experiments"])} | {"verdicts"}
    linked = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"plan\.md#([^)]*)\)", (PROJECT / document).read_text("utf-8"))
    }
    assert linked <= names
    assert len(linked) > 12


@pytest.mark.parametrize("document", ["docs/method.md", "docs/why.md", "docs/zoo.md"])
def test_what_was_found_out_links_to_its_experiments(document):
    assert len(set(re.findall(r"plan\.md#[a-z-]+", (PROJECT / document).read_text("utf-8")))) > 2
