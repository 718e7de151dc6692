from dataclasses import replace

import pytest

from unshuffle.errors import UnshuffleError, UsageError
from unshuffle.lab.experiment import Verdict, read_experiment, read_experiments
from unshuffle.lab.plan import findings, render_plan, results
from unshuffle.oracle.recipe import find_recipe


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": "[0, true]"}, "is True, but a whole number"),
        ({"seeds": "[]"}, "seeds is empty"),
        ({"seeds": "[-1]"}, "whole numbers from 0 on"),
        ({"methods": '["trace", "trace"]'}, "names one twice"),
        ({"methods": '["magic"]'}, "claim.toml: there is no approach 'magic'"),
        (
            {"subjects": '["moon"]'},
            "claim.toml: there is no subject 'moon'.*; there are: puzzle",
        ),
        ({"metrics": '["beauty"]'}, "claim.toml: there is no metric 'beauty'"),
        ({"color": "1"}, "unknown key color"),
        ({"title": None}, "lacks the key title"),
        ({"confirmed_if": None, "refuted_if": None}, "lacks confirmed_if"),
        ({"confirmed_if": '["min(pairs_right of ratio) >= 1"]'}, "no method and subject"),
        ({"confirmed_if": '["min(pairs_right on puzzle) >= 1"]'}, "no method and subject"),
        ({"confirmed_if": '["min(pairs_right)"]'}, "confirmed_if has the condition"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(sheet, change, said):
    with pytest.raises(UsageError, match=said):
        read_experiment(sheet(**change))


def test_folders_are_read_whole(sheet, tmp_path):
    folder = sheet("b").parent
    sheet("a")
    assert [one.name for one in read_experiments([folder])] == ["a", "b"]
    with pytest.raises(UsageError, match="two experiments are called a"):
        read_experiments([folder, folder / "a.toml"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnshuffleError, match="has no experiments"):
        read_experiments([tmp_path / "empty"])


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        ((1.0, 1.0), Verdict.CONFIRMED),
        ((1.0, 0.9), Verdict.UNDECIDED),
        ((1.0, 0.1), Verdict.REFUTED),
        ((1.0,), Verdict.OPEN),
    ],
)
def test_the_criterion_decides(sheet, make_run, pairs, verdict):
    experiment = read_experiment(sheet(methods='["trace"]'))
    runs = [make_run(seed=seed, pairs_right=value) for seed, value in enumerate(pairs)]
    strangers = [
        make_run(seed=7, pairs_right=0.0),
        make_run(rows=61, pairs_right=0.0),
        make_run("ratio", pairs_right=0.0),
        make_run(subject="other", pairs_right=0.0),
    ]
    (found,) = findings([experiment], [*strangers, *runs])
    assert found.runs == runs
    assert found.verdict is verdict


def test_a_changed_recipe_is_another_subject(sheet, make_run):
    path = sheet(subjects='["tiny-adam"]', methods='["trace"]')
    experiment = read_experiment(path)
    keys = {seed: find_recipe("tiny-adam").with_seed(seed).key() for seed in (0, 1)}
    runs = [
        replace(make_run(subject="tiny-adam", seed=seed, pairs_right=1.0), content=key)
        for seed, key in keys.items()
    ]
    assert experiment.of(runs) == runs
    before = replace(runs[0], content="another")
    assert experiment.of([before, runs[1]]) == runs[1:]


def test_contradicting_conditions_decide_nothing(sheet, make_run):
    path = sheet(methods='["trace"]', refuted_if='["min(pairs_right of trace) < 2"]')
    runs = [make_run(seed=seed, pairs_right=1.0) for seed in (0, 1)]
    assert read_experiment(path).verdict(runs) is Verdict.UNDECIDED


def test_the_plan_tells_what_holds_and_what_is_open(sheet, make_run):
    done = read_experiment(sheet("done", methods='["trace"]'))
    left = read_experiment(sheet("left", title='"Something else"', subjects='["tiny-adam"]'))
    runs = [make_run(seed=seed, pairs_right=1 - seed / 10) for seed in (0, 1)]
    plan = render_plan(findings([done, left], runs), "make plan")
    assert "0.9 >= 1" in plan
    assert "0.95 ± 0.071 (0.9–1)" in plan
    assert "> *Interpretation.* We think so." in plan
    assert plan.count("*Interpretation.*") == 1  # nothing to interpret where nothing was run
    assert "- Something else ([left](#left): open). More seeds." in plan
    assert "\n### left\n" in plan
    assert "/experiments/left.toml --ledger build/lab.sqlite`" in plan
    assert "Use it." not in plan
    runs = [make_run(seed=seed, pairs_right=1.0) for seed in (0, 1)]
    assert "- Use it. ([done](#done): " in render_plan(findings([done], runs), "make plan")


def test_names_cannot_speak_to_the_terminal(sheet, make_run):
    experiment = read_experiment(sheet(title='"a\\u001b[31m|<b>"', methods='["trace"]'))
    plan = render_plan(findings([experiment], [make_run(failure="\x1b[2J")]), "x")
    assert "\x1b" not in plan
    assert "a�[31m¦&lt;b>" in plan


def test_failures_are_told(sheet, make_run):
    experiment = read_experiment(sheet(methods='["trace"]'))
    runs = [make_run(failure="ValueError: a | b"), make_run(seed=1, pairs_right=1.0)]
    (found,) = findings([experiment], runs)
    assert results(found)[1][3] == "1, 1 failed"
    assert "- example, trace: ValueError: a ¦ b" in render_plan([found], "x")
    assert found.verdict is Verdict.UNDECIDED
