"""Replacement: small pieces of each class in turn find all of their slots at once."""

import numpy as np
import pytest

from unshuffle import Records
from unshuffle.blocks.bank import LoopBank
from unshuffle.blocks.ends import Linear
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.replacement import reassigned
from unshuffle.pieces.blueprint import Kind, Role

BLOCKS, WIDTH = 5, 6


@pytest.fixture
def judge():
    """A judge of blocks that each have a gain and a shift; pieces lie in the right order."""
    rng = np.random.default_rng(4)
    roles = ("gain", "shift")
    tensors = [{name: rng.normal(size=WIDTH)} for name in roles for _ in range(BLOCKS)]

    def run(weights, x):
        turned = np.roll(x, 1, axis=1) + weights["shift"]["shift"]
        return x + 0.1 * weights["gain"]["gain"] * np.tanh(turned)

    kind = Kind("scaled", tuple(Role(name, {name: (WIDTH,)}) for name in roles))
    bank = LoopBank(kind, run, None, tensors)
    ends, inputs = Linear(rng.normal(size=(4, WIDTH)), np.zeros(4)), rng.normal(size=(60, WIDTH))
    known = Records(inputs, np.zeros((60, 4)))
    last = Judge(bank, ends, known).run(right()).states[-1]
    return Judge(bank, ends, Records(inputs, ends.leave(last)))


def right():
    return np.arange(2 * BLOCKS).reshape(2, BLOCKS).T


def wrong():
    """Two gains, and two shifts, are exchanged."""
    made = right()
    made[[0, 1], 0] = made[[1, 0], 0]
    made[[2, 4], 1] = made[[4, 2], 1]
    return made


def told(role):
    """Evidence on a role."""
    return EdgeOdds(role, role, np.zeros((1, 1)), *np.zeros((2, 2 * BLOCKS), np.intp))


def test_all_classes_are_put_right_one_after_the_other(judge):
    run = judge.run(wrong())
    found, tested = reassigned(judge, run, Evidence(()), 2000, lambda run: run.error)
    # What the first class comes to stands when the second one is judged.
    assert run.error > tested[0] > tested[1] == found.error
    assert (found.arrangement != wrong()).any(axis=0).all()


def test_pieces_stay_where_others_are_no_better(judge):
    run = judge.run(wrong())
    found, tested = reassigned(judge, run, Evidence(()), 2000, lambda run: -run.error)
    assert found is run
    assert tested


@pytest.mark.parametrize(("edges", "most"), [((told(0), told(1)), 2000), ((), BLOCKS**2 - 1)])
def test_pieces_with_evidence_and_large_classes_are_left_alone(judge, edges, most):
    run = judge.run(wrong())
    assert reassigned(judge, run, Evidence(edges), most, lambda run: run.error) == (run, [])
