"""Parts of the strategy: the stages that each has, and where they end."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle.lab import parts
from unshuffle.lab.parts import PARTS, measure_part
from unshuffle.lab.subjects import Subject
from unshuffle.oracle.evaluation import DroppedOracle

SUBJECT = Subject("made", "content", 0, 300)


@pytest.fixture
def case(monkeypatch, dropped):
    """A small network as the subject that is loaded."""
    made = dropped(rows=300, blocks=3, width=6, hidden=8, activation="tanh")
    activation = made.network.blocks.activation
    found = DroppedOracle("made", 0, made.pile, made.records, made.permutation, activation)
    monkeypatch.setattr(parts, "load", lambda subject: found)
    return found


@pytest.mark.usefixtures("case")
@pytest.mark.parametrize("name", PARTS)
def test_each_part_solves_what_is_easy_and_says_its_work(name):
    one, other = (measure_part(PARTS[name], SUBJECT) for _ in range(2))
    assert one["solved"] == 1
    assert 0 < one["passes"] < PARTS[name].most
    assert one == other


def test_a_part_ends_when_its_work_is_done(case):
    """On a record of noise there is no end but this."""
    noise = np.random.default_rng(0).normal(size=case.records.predictions.shape)
    object.__setattr__(case, "records", replace(case.records, predictions=noise))
    found = measure_part(replace(PARTS["auto-descents"], most=5.0), SUBJECT)
    assert found["solved"] == 0
    assert 5 <= found["passes"] < 50


def test_no_part_has_the_stages_of_another():
    stages = {name: {stage.name for stage in part.stages} for name, part in PARTS.items()}
    assert "populations" not in stages["auto-descents"] | stages["auto-mean-field"]
    assert "populations" in stages["auto-populations"]
    assert [part.searches for part in PARTS.values()] == [0, 0, 1]
