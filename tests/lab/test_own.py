"""Own approaches and metrics, and verdicts in words."""

import pytest

from unshuffle.commands import main
from unshuffle.errors import UsageError
from unshuffle.lab.approaches import APPROACHES
from unshuffle.lab.criteria import read_condition
from unshuffle.lab.experiment import Verdict, read_experiment
from unshuffle.lab.ledger import OWN, code_version, read_runs
from unshuffle.lab.metrics import METRICS, in_words
from unshuffle.lab.own import use
from unshuffle.lab.plan import ExperimentRuns, overview

MINE = """
from unshuffle.lab.approach import Approach, ApproachKind
from unshuffle.lab.subjects import load

METRICS = {"rows_there": "number of rows of the record"}
APPROACHES = [
    Approach("count-rows", ApproachKind.LOOK, "a record has rows", "this page",
             lambda subject: {"rows_there": len(load(subject).records)})
]
"""


@pytest.fixture
def mine(tmp_path):
    """A file of own approaches; what it registers goes again."""
    before = dict(APPROACHES), dict(METRICS)
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    yield file
    for known, kept in zip((APPROACHES, METRICS), before, strict=True):
        known.clear()
        known.update(kept)
    OWN.clear()
    code_version.cache_clear()


def test_a_claim_of_ones_own_is_run_in_other_processes_and_judged(
    mine, sheet, example, tmp_path, capsys
):
    path = sheet(
        methods='["count-rows"]',
        metrics='["rows_there"]',
        confirmed_if='["min(rows_there) >= 60"]',
        refuted_if='["max(rows_there) < 60"]',
    )
    with pytest.raises(UsageError, match="rows_there"):
        read_experiment(path)
    ledger = tmp_path / "ledger.sqlite"
    given = ["--ledger", str(ledger), "--with", str(mine)]
    running = [*given, "--example", str(example), "--processes", "1", "--quiet"]
    assert main(["lab", "run", str(path), *running]) == 0
    assert {run.measurements["rows_there"] for run in read_runs(ledger)} == {60}
    capsys.readouterr()
    assert main(["lab", "show", str(path), *given]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "confirmed" in said
    assert "at the least 60 as number of rows of the record; at least 60 was asked" in said


def test_a_changed_file_is_other_code(mine):
    before = code_version()
    use(mine)
    with_it = code_version()
    mine.write_text(MINE + "# changed")
    code_version.cache_clear()
    assert len({before, with_it, code_version()}) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def", "SyntaxError"),
        ("APPROACHES = [3]", "3 is no Approach"),
        ("METRICS = 3", "no dictionary"),
        ("METRICS = {'solved': 'x'}", "solved already"),
    ],
)
def test_what_is_no_such_file_is_refused(mine, text, said):
    mine.write_text(text)
    with pytest.raises(UsageError, match=said):
        use(mine)
    assert not OWN


def test_verdicts_are_told_in_words(sheet, make_run):
    runs = [
        make_run(method, seed=seed, pairs_right=0.95, inversions=0.1)
        for method in ("trace", "inp-norm")
        for seed in (0, 1)
    ]
    asked = read_experiment(
        sheet(
            confirmed_if='["min(pairs_right of trace) >= 0.9"]',
            refuted_if='["max(pairs_right on example) < 0.5"]',
        )
    )
    finding = ExperimentRuns(asked, runs)
    said = "at the least 95 % of the true pairs that were found by trace; at least 90 % was asked"
    assert finding.verdict is Verdict.CONFIRMED
    assert finding.reason == said
    assert overview([finding])[1][2:4] == ("confirmed", said)
    assert ExperimentRuns(asked, []).reason == "–"
    assert ExperimentRuns(asked, runs[:1]).reason.count("was asked") == 2  # open: all that is asked


def test_conditions_on_two_terms_and_on_some_runs_are_told(make_run):
    runs = [make_run("a", greedy_right=1, funnel=0.9), make_run("b", greedy_right=0, funnel=0.4)]
    condition = read_condition(
        "mean(funnel where greedy_right >= 1) > mean(funnel where greedy_right < 1)", "x"
    )
    said = condition.said(runs)
    assert said.startswith("on average 0.9 as rank correlation of the error of an order")
    assert "where greedy_right is at least 1; more than on average 0.4 as rank" in said
    assert said.endswith("where greedy_right is less than 1 was asked")
    assert "no number" in condition.said(runs[:1])


def test_what_is_the_same_is_told_in_full():
    assert in_words("negative_wrong", 0.5) == (
        "50 % of the eigenvalues of W_out W_in with a negative real part, of wrong pairs"
    )
    assert in_words("pairs_exact", 1) == "100 % of the runs where all pairs are right"
    assert not [name for name in METRICS if "the same" in in_words(name, 1.0)[:25]]
