"""The tables of an evaluation show means, spreads and failures."""

from dataclasses import replace

import pytest

from unshuffle.oracle.evaluation import Score, summarise
from unshuffle.views.scoreboard import markdown, print_scores, tables


def pairing(recipe, seed, method, pairs):
    return Score(recipe, seed, 4, "pairing", method, pairs, None, pairs == 4, None, 0, 0.5, "")


def strategy(recipe, seed, inversions, error, remark):
    pairs = None if error is None else 4
    exact = remark == "exact"
    return Score(recipe, seed, 4, "strategy", "s", pairs, inversions, exact, error, 99, 2.0, remark)


@pytest.fixture
def summaries():
    return summarise(
        [
            pairing("a", 0, "x, optimal", 4),
            pairing("a", 1, "x, optimal", 3),
            pairing("a", 0, "x, greedy", 1),
            pairing("a", 1, "x, greedy", 1),
            pairing("b", 0, "x, optimal", None),
            pairing("b", 0, "y, optimal", 4),
            strategy("a", 0, 0, 1e-14, "exact"),
            strategy("a", 1, 3, 0.3, "local optimum"),
            strategy("b", 0, None, None, "failed: no | go"),
        ]
    )


def test_a_table_for_each_matching_and_one_for_the_strategies(summaries):
    found = tables(summaries)
    assert list(found) == [
        "Pairs recovered, optimal matching",
        "Pairs recovered, greedy matching",
        "Networks put back together",
    ]
    assert found["Pairs recovered, optimal matching"] == [
        ("recipe", "blocks", "seeds", "x", "y"),
        ("a", "4", "2", "3.5 (3–4)", "–"),
        ("b", "4", "1", "failed", "4"),
        ("all pairs", "", "", "1 of 3", "1 of 1"),
        ("seconds", "", "", "0.5", "0.5"),
    ]
    assert found["Networks put back together"][1:] == [
        (
            "a",
            "s",
            "1 of 2",
            "4 of 4",
            "1.5 (0–3)",
            "0.15 (1e-14–0.3)",
            "99",
            "2",
            "exact; local optimum",
        ),
        ("b", "s", "0 of 1", "failed", "–", "–", "99", "2", "failed: no | go"),
    ]


def test_markdown_has_as_many_cells_in_every_row(summaries):
    text = markdown(summaries)
    for block in text.split("**")[2::2]:
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) == 1
    assert "failed: no ¦ go" in text


def test_names_are_no_markup(summaries, capsys):
    name = "<b>|[x](y)`*\x1b[2J"
    nasty = [replace(summary, recipe=name) for summary in summaries]
    text = markdown(nasty)
    assert "&lt;b&gt;¦\\[x\\](y)\\`\\*\\\\x1b\\[2J" in text
    assert "<b>" not in text
    print_scores(nasty)
    assert all(line.isprintable() for line in capsys.readouterr().out.split("\n"))


def test_nothing_is_cut_where_the_terminal_is_narrow(summaries, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_scores(summaries)
    text = capsys.readouterr().out
    assert "0.15 (1e-14–0.3)" in text
    assert "local optimum" in text
    assert "…" not in text
