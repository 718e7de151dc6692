"""Results as text: on terminals, in pipes, in narrow windows, with names that look like markup."""

import re
from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork, solve
from unshuffle.grouping import pair
from unshuffle.pieces.pile import Piece, Pile
from unshuffle.pieces.records import Records
from unshuffle.views.terminal import print_pairing, print_solution

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38;[\d;]+)m")
ANY_STYLE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def test_colours_on_a_terminal_but_not_if_they_are_unwanted(example, on_terminal):
    command = ("solve", example / "pieces", example / "record.csv", "--quiet")
    _, text = on_terminal(*command)
    assert COLOUR.search(text)
    _, text = on_terminal(*command, NO_COLOR="1")
    assert not COLOUR.search(text)


def test_the_summary_fits_on_one_screen_and_the_answer_is_last(example, on_terminal):
    status, text = on_terminal("solve", example / "pieces", example / "record.csv", "--quiet")
    assert status == 0
    lines = ANY_STYLE.sub("", text).splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("exact")
    assert re.fullmatch(r"[\d,]+", lines[-1])
    (weakest,) = [line for line in lines if line.startswith("weakest pair")]
    assert "4 with 15, margin 10.13" in weakest
    (curve,) = [line for line in lines if line.startswith("search error")]
    assert re.search("█.*▁ ", curve)


def test_where_the_screen_is_too_small_the_summary_is_last(example, on_terminal):
    command = ("solve", example / "pieces", example / "record.csv", "--quiet")
    _, text = on_terminal(*command, lines=10)
    lines = ANY_STYLE.sub("", text).splitlines()
    assert re.fullmatch(r"[\d,]+", lines[0])
    assert lines[1].startswith("exact")


def test_a_narrow_window_breaks_between_words_but_no_hash(example, on_terminal):
    command = ("solve", example / "pieces", example / "record.csv", "--quiet")
    _, text = on_terminal(*command, columns=40)
    lines = ANY_STYLE.sub("", text).splitlines()
    assert any(re.match(r"\d+ candidates tested,", line) for line in lines)
    assert any(re.fullmatch("[0-9a-f]{64}", line) for line in lines)
    others = [line for line in lines if not re.fullmatch(r"[0-9a-f]{64}|[\d,]+", line)]
    assert max(map(len, others)) <= 40


@pytest.mark.parametrize(("lines", "weakest_last"), [(24, False), (19, True)])
def test_tables_in_a_narrow_window_keep_their_numbers_whole(
    example, on_terminal, lines, weakest_last
):
    status, text = on_terminal("pair", example / "pieces", columns=40, lines=lines)
    assert status == 0
    lines = ANY_STYLE.sub("", text).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 40
    rows = [line.split() for line in lines if re.match(r" *\d+ +\d+ ", line)]
    assert len(rows) == 14
    margins = [float(row[4]) for row in rows]
    assert margins == sorted(margins, reverse=weakest_last)
    status, text = on_terminal("inspect", example / "pieces", columns=40)
    assert status == 0
    assert max(len(line.rstrip()) for line in ANY_STYLE.sub("", text).splitlines()) <= 40


@pytest.fixture
def odd(dropped):
    """A dropped network whose pieces have names like markup, and longer than a window."""
    case = dropped(blocks=3, width=8, hidden=12)
    names = ["[red]a", "b[/]", "$c$", "<b>d</b>", "e & f", "[link=x]g", "h" * 150]
    pieces = [
        Piece.linear(name, piece.weight, piece.bias)
        for name, piece in zip(names, sorted(case.pile, key=lambda p: p.id), strict=True)
    ]
    return replace(case, pile=Pile(pieces))


def test_names_with_markup_appear_as_text_and_uncut(odd, capsys):
    print_pairing(pair(odd.pile))
    text = capsys.readouterr().out
    for name in odd.pile.ids:
        assert name in text


def test_names_with_markup_appear_in_the_summary(odd, capsys):
    solution = solve(odd.pile, odd.records)
    print_solution(solution, kept_in="[bold]here", page="[red]page")
    text = capsys.readouterr().out
    inp, out = min(solution.margins, key=solution.margins.get)
    assert f"{inp} with {out}, margin" in text
    assert "[bold]here" in text
    assert "[red]page" in text
    assert text.splitlines()[-1] == solution.answer


def test_an_estimate_has_no_errors_to_state(odd, capsys):
    nothing = Records(odd.records.inputs, np.empty((len(odd.records), 0), np.float32))
    solution = solve(odd.pile, nothing)
    print_solution(solution)
    text = capsys.readouterr().out
    assert text.startswith(f"estimate  {solution.outcome.advice}\n")  # no terminal: not wrapped
    assert "nan" not in text
    assert "0 candidates tested, 1 move kept" in text
    assert "error" not in text
    assert "search  " not in text  # nothing was searched


def test_gaps_of_predictions_that_do_not_vary_are_in_no_percent(dropped, capsys):
    case = dropped(blocks=3, width=8, hidden=12)
    constant = Records(case.records.inputs, np.full_like(case.records.predictions, 0.25))
    print_solution(solve(Pile([*case.pile][:-1]), constant))
    text = capsys.readouterr().out
    assert "left unexplained" in text
    assert "%" not in text


def test_what_computes_the_same_does_so_on_this_record(dropped, capsys):
    case = dropped(rows=150, blocks=3, width=8, hidden=12)
    blocks = case.network.blocks.take([0, 1, 1])
    network = MlpNetwork(blocks, case.network.last)
    pieces = [Piece.linear(k, one.weight, one.bias) for k, one in enumerate(network.layers())]
    records = Records(case.records.inputs, network.predict(case.records.inputs))
    print_solution(solve(Pile(pieces), records))
    text = capsys.readouterr().out
    assert "compute the same on this record, so the answer holds up to their exchange" in text


@pytest.mark.parametrize("columns", [40, 50, 80])
def test_the_outcome_stays_in_sight_at_any_height(dropped, monkeypatch, capsys, columns):
    """What scrolls away is the answer, where both need more lines than there are."""
    case = dropped(blocks=9)
    solution = solve(case.pile, case.records)
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", str(columns))):
        monkeypatch.setenv(name, value)
    first = set()
    for height in range(10, 30):
        monkeypatch.setenv("LINES", str(height))
        print_solution(solution)
        lines = ANY_STYLE.sub("", capsys.readouterr().out).splitlines()
        needed = sum(-(-len(line) // columns) for line in lines)
        fits = needed < height  # the prompt takes one more
        assert lines[0].startswith("exact") is fits
        first.add(fits)
    assert first == {True, False}
