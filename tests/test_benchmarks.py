"""The benchmarks' own code: baselines that solve what they can, and figures that are right."""

import sys
from pathlib import Path

import numpy as np
import pytest

from unshuffle import Records, read_pile, read_records
from unshuffle.assembly import answer_hash

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

# From their seeds the others end in a local optimum on the shipped example.
SOLVE_THE_EXAMPLE = ("l1-bubble", "step-bubble", "step-bubble-all")
ADJOINT = ("adjoint-rounds", "adjoint-single")


@pytest.fixture(scope="module")
def modules():
    """The benchmarks' modules, importable as they are to the scripts beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        before = set(sys.modules)
        import baselines
        import common

        yield baselines, common
        for name in set(sys.modules) - before:
            if getattr(sys.modules[name], "__file__", None) in map(str, BENCHMARKS.glob("*.py")):
                del sys.modules[name]


@pytest.fixture(scope="module")
def material():
    example = BENCHMARKS.parent / "examples" / "dropped"
    answer = (example / "answer.sha256").read_text().split()[0]
    return read_pile(example / "pieces"), read_records(example / "record.csv"), answer


@pytest.mark.parametrize("name", SOLVE_THE_EXAMPLE)
def test_baselines_reproduce_the_example(modules, material, name):
    pile, records, answer = material
    result = modules[0].BASELINES[name].solve(pile, records)
    assert result.error < 1e-12
    assert answer_hash(result.permutation) == answer


@pytest.fixture(scope="module")
def begun(modules, material):
    """Start a search at the right order but for some adjacent swaps: `begun(2, 5)`."""
    baselines, _ = modules
    pile, records, _ = material
    names = baselines.BASELINES["step-bubble"].solve(pile, records).permutation
    blocks = baselines.pair_by_trace(pile, records)
    right = [blocks.ids.index(pair) for pair in zip(names[:-1:2], names[1::2], strict=True)]

    def begin(*swaps):
        order = right.copy()
        for t in swaps:
            order[t], order[t + 1] = order[t + 1], order[t]
        search = baselines.Search(blocks, records, baselines.ROWS, adjoint=True)
        search.begin(order)
        return blocks, search

    return begin


@pytest.mark.parametrize("name", ADJOINT)
def test_adjoint_baselines_repair_swaps(modules, material, begun, name):
    baselines, _ = modules
    *_, answer = material
    blocks, search = begun(2, 5, 8)
    assert search.error > 1e-6
    getattr(baselines, name.replace("-", "_"))(search)
    assert search.error < 1e-12
    assert answer_hash(blocks.permutation(search.order)) == answer


@pytest.mark.parametrize("name", ["frobenius-bubble", *ADJOINT])
def test_baselines_lower_the_error_of_their_seed(modules, material, name):
    baselines, _ = modules
    pile, records, _ = material
    blocks = baselines.pair_by_trace(pile, records)
    search = baselines.Search(blocks, records, baselines.ROWS)
    search.begin(baselines.norm_seed(blocks, 2 if "frobenius" in name else 1))
    assert baselines.BASELINES[name].solve(pile, records).error < search.error


def test_predicted_gains_are_the_exact_ones_to_first_order(modules, begun):
    baselines, _ = modules
    _, search = begun(4)
    predicted, _ = baselines._predictions(search, 0)
    for t in range(len(search.order) - 1):
        order = search.order.copy()
        order[t], order[t + 1] = order[t + 1], order[t]
        exact = search.trial_error(order, t) - search.error
        assert predicted[t] == pytest.approx(exact, rel=0.5, abs=0.1 * search.error), t


def test_kept_states_are_those_of_the_order(modules, material, begun):
    baselines, _ = modules
    _, records, _ = material
    blocks, search = begun(3, 6)
    assert search.swap(6, 7, 0.0)
    assert search.swap(3, 4, 0.0)
    fresh = baselines.Search(blocks, records, baselines.ROWS, adjoint=True)
    fresh.begin(search.order)
    for mine, other in zip(search.parts, fresh.parts, strict=True):
        np.testing.assert_array_equal(mine.states, other.states)
        np.testing.assert_array_equal(mine.gates, other.gates)
        np.testing.assert_array_equal(mine.residual, other.residual)


def test_several_outputs_are_refused(modules, dropped):
    baselines, _ = modules
    of_two = dropped(outputs=2)
    with pytest.raises(ValueError, match="one output, not 2"):
        baselines.pair_by_trace(of_two.pile, of_two.records)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # The bounds of 20 of 20 and of 0 of 20 by hand: n / (n + z²).
    [(20, 20, 0.8389, 1.0), (0, 20, 0.0, 0.1611), (5, 10, 0.2366, 0.7634), (0, 0, 0.0, 1.0)],
)
def test_wilson_intervals(modules, successes, trials, low, high):
    assert modules[1].wilson(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_growth_exponents(modules):
    sizes = [12, 24, 48]
    assert modules[1].growth_exponent(sizes, [3 * k**1.7 for k in sizes]) == pytest.approx(1.7)


def test_curves_leave_what_they_say(modules, rng):
    import rows

    records = Records(rng.normal(size=(50, 3)), rng.normal(size=(50, 1)))
    few = rows.rows_only(records, 8, rng)
    assert len(few) == len(few.predicted()) == 8
    some = rows.predicted_only(records, 8, rng)
    assert len(some) == 50
    assert len(some.predicted()) == 8


@pytest.mark.usefixtures("modules")
def test_statements_are_held_against_the_truth(dropped, rng, monkeypatch):
    import calibration

    case = dropped(rows=400, blocks=4, width=8, hidden=12)
    data = Records(case.records.inputs, case.records.predictions)
    order, pairs = calibration.statements(case.network, data, 0.01, 300, rng)
    assert [one.holds for one in order] == [True] * 3
    assert [one.holds for one in pairs] == [True] * 4
    # An order that is wrong in its first two places makes one wrong statement.
    monkeypatch.setattr(
        calibration, "best_fitting", lambda problem: tuple(problem.blocks[[1, 0, 2, 3]].tolist())
    )
    order, _ = calibration.statements(case.network, data, 0.01, 300, rng)
    assert [one.holds for one in order] == [False, True, True]


@pytest.mark.usefixtures("modules")
def test_small_networks_are_solved_from_random_pairs(dropped, rng):
    import repair

    case = dropped(rows=400, blocks=3, width=8, hidden=12)
    assert repair.solve_from_random(case.network, case.records, 300, 20.0, rng) == (3, True)
