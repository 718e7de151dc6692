"""The benchmarks' own code: figures that are right, curves that leave what they say."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from unshuffle import Records

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def modules():
    """The benchmarks' common module, importable as it is to the scripts beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        before = set(sys.modules)
        import common

        yield common
        for name in set(sys.modules) - before:
            if getattr(sys.modules[name], "__file__", None) in map(str, BENCHMARKS.glob("*.py")):
                del sys.modules[name]


@pytest.mark.parametrize(
    "script",
    sorted(path for path in BENCHMARKS.glob("*.py") if "def main(" in path.read_text()),
    ids=lambda path: path.stem,
)
def test_every_benchmark_says_what_it_takes(script):
    run = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("usage: ")


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # The bounds of 20 of 20 and of 0 of 20 by hand: n / (n + z²).
    [(20, 20, 0.8389, 1.0), (0, 20, 0.0, 0.1611), (5, 10, 0.2366, 0.7634), (0, 0, 0.0, 1.0)],
)
def test_wilson_intervals(modules, successes, trials, low, high):
    assert modules.wilson(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_growth_exponents(modules):
    sizes = [12, 24, 48]
    assert modules.growth_exponent(sizes, [3 * k**1.7 for k in sizes]) == pytest.approx(1.7)


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
    noisy = calibration.noisy(case.network, data.inputs[:300], 0.01, rng)
    order, pairs = calibration.statements(case.network, noisy, 10.0)
    assert [one.holds for one in order] == [True] * 3
    assert [one.holds for one in pairs] == [True] * 4
    for rows in (0, 300):
        found = calibration.matches(case.network, data, rows, rng)
        assert len(found) == 4
        assert all(0 <= one.confidence <= 1 for one in found)
    # Where the record is not reproduced nothing is stated.
    monkeypatch.setattr(calibration, "best_fitting", lambda problem: problem.grouped[[1, 0, 2, 3]])
    assert calibration.statements(case.network, noisy, 10.0) == ([], [])
    # An order that is wrong in its first two places makes one wrong statement.
    judged = calibration.certified
    monkeypatch.setattr(
        calibration,
        "certified",
        lambda problem, _, stored, clock: judged(problem, problem.grouped, stored, clock=clock),
    )
    order, _ = calibration.statements(case.network, noisy, 10.0)
    assert [one.holds for one in order] == [False, True, True]


@pytest.mark.usefixtures("modules")
def test_small_networks_are_solved_from_random_pairs(dropped, rng):
    import repair

    case = dropped(rows=400, blocks=3, width=8, hidden=12)
    assert repair.solve_from_random(case.network, case.records, 300, 20.0, rng) == (3, True)


def test_a_false_claim_is_counted(modules, rng, monkeypatch):
    """A wrong order that is called exact, and statements about it, count against the solver."""
    import claims
    from claim_families import drop, network

    trial = drop(rng, network(rng, blocks=4), rng.normal(size=(100, 8)))
    held = claims.judge("plain", 0, trial, rng)
    assert (held.outcome, held.confident, held.wrong) == ("exact", True, [])
    assert (held.neighbours.made, held.pairs.made) == (3, 4)
    assert not any(tally.false for tally in held.tallies)
    assert held.neighbours == claims.Tally(made=3, false=0, possible=3, stated=3)
    right = claims.solve(trial.pile, trial.records)
    wrong = replace(
        right,
        arrangement=right.arrangement[[1, 0, 2, 3]],
        network=type(trial.truth)(trial.truth.blocks.take([1, 0, 2, 3]), trial.truth.last),
    )
    monkeypatch.setattr(claims, "solve", lambda *_, **__: wrong)
    held = claims.judge("plain", 1, trial, rng)
    assert held.wrong == ["another network"]
    assert held.neighbours == claims.Tally(made=3, false=1, possible=0, stated=0)


def test_what_is_called_interchangeable_is_exchanged(modules, rng):
    """Others than twins, and twins on the record alone, are found out."""
    import claims
    from claim_families import drop, network

    truth = network(rng, blocks=4)
    truth = replace(truth, blocks=truth.blocks.take([0, 1, 2, 1]))
    rows = drop(rng, truth, rng.uniform(-1, 1, size=(100, 8))).records
    twins, others = (((1, 0),), ((3, 0),)), (((1, 0),), ((2, 0),))
    whole = ((1, 0), (1, 1)), ((3, 0), (3, 1))
    held = claims.Held("twins", 0)
    claims.count_exchanges(held, truth, [twins], rng, rows)
    assert (held.exchanges, held.wrong) == (claims.Tally(1, 0, 1, 1), [])
    claims.count_exchanges(held, truth, [others], rng, rows)
    assert (held.exchanges.made, held.exchanges.false, len(held.wrong)) == (2, 1, 1)
    # A unit that no row of the record reaches tells twins apart on fresh inputs alone.
    most = truth.states(rows.inputs)[..., 0].max()
    truth.blocks.inp_weight[[1, 3], 0] = 0
    truth.blocks.inp_weight[1, 0, 0], truth.blocks.inp_bias[1, 0] = 1, -1.01 * most
    truth.blocks.out_weight[[1, 3], 0, 0] = 100
    claims.count_exchanges(held, truth, [whole], rng, rows)
    assert held.exchanges == claims.Tally(made=3, false=1, possible=2, stated=1)


def test_silence_about_a_right_network_is_counted(modules, rng, monkeypatch):
    """What a search that has ended owes counts, though it calls the record undecided."""
    import claims
    from claim_families import drop, network
    from unshuffle import Outcome

    trial = drop(rng, network(rng, blocks=4), rng.normal(size=(100, 8)))
    right = claims.solve(trial.pile, trial.records)
    undecided = replace(right, outcome=Outcome.UNDECIDED, certificate=None)
    order = [1, 0, 2, 3]
    wrong = replace(
        undecided.ended(Outcome.LOCAL_OPTIMUM),
        arrangement=right.arrangement[order],
        network=type(trial.truth)(trial.truth.blocks.take(order), trial.truth.last),
    )
    given = [(undecided, True, 3), (undecided.ended(Outcome.BUDGET_SPENT), False, 0)]
    for solution, silent, owed in [*given, (wrong, True, 0)]:
        monkeypatch.setattr(claims, "solve", lambda *_, solution=solution, **__: solution)
        held = claims.judge("plain", 0, trial, rng)
        assert held.silent is silent
        assert held.neighbours == claims.Tally(made=0, false=0, possible=owed, stated=0)


@pytest.mark.usefixtures("modules")
def test_a_campaign_goes_on_where_it_was_left(tmp_path, monkeypatch, capsys):
    """What a file holds is not solved again, and is read as it was written."""
    import claims

    made = []

    def judge(family, seed, trial, rng):
        made.append((family, seed))
        return claims.Held(family, seed, "exact", neighbours=claims.Tally(made=2, false=1))

    monkeypatch.setattr(claims, "judge", judge)
    file = tmp_path / "claims.jsonl"
    for solves in ("2", "6"):
        arguments = ["claims.py", "narrow", "plain", "--solves", solves, "--out", str(file)]
        monkeypatch.setattr(sys, "argv", arguments)
        claims.main()
    assert sorted(made) == [(name, seed) for name in ("narrow", "plain") for seed in range(3)]
    assert [(one.family, one.seed) for one in claims.made_before(file)] == made
    assert claims.made_before(file)[0].neighbours == claims.Tally(made=2, false=1)
    assert "| 6 of 12 |" in capsys.readouterr().out


@pytest.mark.usefixtures("modules")
def test_a_search_can_be_cut_off_by_processor_time_or_after_so_many_looks():
    from common import ProcessorClock

    clock = ProcessorClock(5.0, looks=3)
    assert [clock.out for _ in range(4)] == [False, False, True, True]
    assert not ProcessorClock(60.0).out
    assert ProcessorClock(1e-9).out


@pytest.mark.usefixtures("modules")
def test_the_zoo_is_all_that_is_trained_where_no_recipe_is_named(monkeypatch):
    import zoo

    monkeypatch.setattr(zoo, "is_oracle", lambda folder: True)
    every = [recipe.name for recipe in zoo.networks([], [0], Path("zoo"))]
    assert {"adam", "depth-12", "tiny-adam"} < {*every}
    assert not any(name.startswith("module-") for name in every)


def test_tables_of_the_zoo_name_what_led_near(modules):
    import zoo

    line = {"recipe": "sgd", "blocks": "24", "exact": "True", "pairs": "24", "rows": "128"}
    line |= {"seconds": "2", "passes": "3", "near": "first mean field"}
    line["stages"] = "quick 1.5 first-mean-field 0.25"
    lost = line | {"recipe": "a", "exact": "False", "near": "quick", "stages": "quick 9.5"}
    _, rows = zoo.by_network([line, lost])
    assert [row[2] for row in rows] == ["0 of 1", "1 of 1", "1 of 2"]
    _, rows = zoo.by_stage([line, lost])
    found = {row[0]: row[1:] for row in rows}
    assert found["quick"] == ["0", "2", "11", ""]
    assert found["first mean field"] == ["1", "1", "0", "`sgd`"]
    assert found["populations"] == ["0", "0", "0", ""]
