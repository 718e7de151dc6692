"""What a search works on: outputs by their spreads, not by their units."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle.blocks.assembly import last_layer, mlp_bank
from unshuffle.blocks.ends import Linear, Projected, in_units
from unshuffle.grouping.evidence import Evidence
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.records import Records
from unshuffle.solution.goal import Reproduction


@pytest.fixture
def problem(dropped):
    """A problem whose two outputs have spreads of 1 and of 4,096 times that."""
    case = dropped(rows=200, blocks=4, outputs=2)
    bank = mlp_bank(
        case.pile, read_anatomy(case.pile, case.records), case.network.blocks.activation
    )
    ends = last_layer(case.pile, case.permutation[-1])
    positions = [case.pile.index[name] for name in case.permutation[:-1]]
    grouped = np.array(positions, np.intp).reshape(-1, 2)
    spreads = case.records.predictions.std(axis=0)
    units = np.array([1, 2.0 ** np.round(np.log2(4096 * spreads[0] / spreads[1]))], np.float32)
    large = Linear(units[:, None] * ends.weight, units * ends.bias)
    records = Records(case.records.inputs, case.records.predictions * units)
    return Problem(bank, large, grouped, Evidence(()), records)


def test_an_output_has_a_say_by_its_spread(problem):
    """Wrong arrangements err in the small output as in the large one, part for part."""
    sketch, wrong = problem.sketch, problem.grouped[[1, 0, 2, 3]]
    errors = sketch.judge(sketch.known).run(wrong).error
    residual = problem.network(wrong).predict(problem.known.inputs) - problem.known.predictions
    relative = np.mean(np.square(residual), axis=0) / problem.known.variances
    assert errors == pytest.approx(problem.known.variance * relative.mean(), rel=0.5)
    assert relative[0] > 0.01 * relative[1]  # which a mean over raw outputs would not show
    spreads = sketch.known.predictions.std(axis=0)
    assert max(spreads) < 2 * min(spreads)


def test_units_round_nothing(problem):
    """What is right is so to the last bit, and what rounding explains is scaled as well."""
    sketch = problem.sketch
    assert sketch.judge(sketch.known).run(problem.grouped).error == 0
    rms = np.array([1e-6, 1e-3])
    ratios = sketch.known.predictions / problem.known.predictions
    np.testing.assert_allclose(problem.projected(rms), rms * ratios[0], rtol=1e-12)
    other = replace(problem, ends=Projected(problem.ends, np.eye(2)))
    np.testing.assert_allclose(other.projected(rms), rms * ratios[0], rtol=1e-12)


@pytest.mark.parametrize("size", [2.0**-100, 2.0**-36])
def test_a_dead_output_drowns_no_other_where_an_arrangement_revives_it(problem, size):
    """Its spread is next to nothing where the arrangement is right, and only there."""
    dead = np.array([1.0, size], np.float32)
    ends = Linear(dead[:, None] * problem.ends.weight, dead * problem.ends.bias)
    records = replace(problem.records, predictions=problem.records.predictions * dead)
    sketch = replace(problem, ends=ends, records=records).sketch
    assert sketch.judge(sketch.known).run(problem.grouped).error == 0
    units = sketch.known.predictions[0] / records.predictions[0]
    revived = replace(sketch, ends=in_units(problem.ends, units))
    assert revived.judge(sketch.known).run(problem.grouped).error < 1e3 * problem.known.variance


def test_outputs_of_one_spread_are_left_as_they_are(problem):
    one = Linear(problem.ends.weight[:1], problem.ends.bias[:1])
    records = replace(problem.records, predictions=problem.records.predictions[:, :1])
    alone = replace(problem, ends=one, records=records)
    assert alone.sketch is alone
    constant = replace(alone, records=replace(records, predictions=0 * records.predictions))
    assert constant.sketch is constant


def test_ends_of_any_kind_are_taken_in_units(problem, rng):
    state, units = rng.normal(size=(5, 6)).astype(np.float32), np.array([2.0, 0.25])
    whole = Projected(problem.ends, np.eye(2))
    for ends in (problem.ends, whole):
        scaled = in_units(ends, units)
        np.testing.assert_allclose(scaled.leave(state), ends.leave(state) * units, rtol=1e-6)
        pulled = ends.pull(state) * units[:, None, None]
        np.testing.assert_allclose(scaled.pull(state), pulled, rtol=1e-6)
        assert in_units(ends, np.ones(2)) is ends


def test_decimals_are_sought_in_the_outputs_themselves(problem):
    few = problem.records.first(12)
    kept = np.round(few.predictions, 3).astype(np.float32)
    coarse = replace(problem, records=replace(few, predictions=kept))
    goal = Reproduction("float32", len(problem.grouped), Clock(), ("float32",))
    assert coarse.sketch.whole is coarse
    assert goal.explains(coarse.sketch, coarse.grouped)
    assert not goal.explains(coarse.sketch, coarse.grouped[[1, 0, 2, 3]])
