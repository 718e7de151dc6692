"""What a search looks like while it runs."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest

from unshuffle.ordering.trace import Step, Trace
from unshuffle.pieces.clock import Clock
from unshuffle.views.progress import Display, fill, show_progress


@pytest.fixture
def trace():
    trace = Trace()
    for k in range(30):
        blocks = np.arange(96).reshape(48, 2)
        trace.add(Step("greedy insertion", np.ones(4), k % 3 == 0, blocks, 10.0**-k, 500), 0.1 * k)
    return trace


@pytest.mark.parametrize("width", [80, 40, 20])
def test_the_display_says_everything_within_the_width(trace, width):
    display = Display(Clock(1000.0))
    display.show(trace)
    lines = display.lines(width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    for part in ("greedy insertion", "s left", "error 1.00e-29", "48 blocks placed", "120 tested"):
        assert part in text
    assert "10 kept" in text
    assert "500 rows" in text
    if width >= 40:
        assert re.search("█.*▅.*▁$", text, re.MULTILINE)


def test_the_display_says_that_pairs_are_being_found_before_the_first_step():
    assert re.fullmatch(r"reading and pairing · 0\.\d s", *Display(Clock()).lines(80))


def test_without_a_limit_no_time_is_left():
    assert "left" not in "".join(Display(Clock()).lines(80))


def test_parts_stay_whole():
    assert fill(["one two", "three", "four"], 15) == ["one two · three", "four"]
    assert fill(["longer than the width"], 5) == ["longer than the width"]


class Stopped(Clock):
    total = 2.9


def test_lines_where_there_is_no_terminal(trace, capsys):
    with show_progress(quiet=False, clock=Stopped(60.0)) as on_step:
        on_step(Trace())
        assert capsys.readouterr().err == "    2.9 s  reading and pairing\n"
        on_step(trace)
        on_step(trace)  # the phase is the same, and no time has passed
    assert capsys.readouterr().err == (
        "    2.9 s  greedy insertion: 48 blocks placed, 120 tested, 10 kept, 500 rows, "
        "mse 1e-29, 57 s left\n"
    )


def test_phases_that_come_again_soon_get_no_line(trace, capsys):
    with show_progress(quiet=False, clock=Stopped(60.0)) as on_step:
        for phase in ("seeds", "descent", "seeds", "descent"):
            trace.add(replace(trace.steps[-1], phase=phase), 3.0)
            on_step(trace)
    assert re.findall(r"s  (\w+):", capsys.readouterr().err) == ["seeds", "descent"]


def test_a_long_search_fills_no_log(trace, capsys):
    clock, step = Stopped(), trace.steps[0]
    with show_progress(quiet=False, clock=clock) as on_step:
        for second in range(4000):  # two phases take turns, as restarts and descents do
            clock.total = float(second)
            trace.add(replace(step, phase=("restart", "descent")[second % 2]), float(second))
            on_step(trace)
    lines = capsys.readouterr().err.splitlines()
    assert 15 < len(lines) < 25
    assert any("restart" in line for line in lines)
    assert any("descent" in line for line in lines)


def test_quiet_shows_nothing(capsys):
    with show_progress(quiet=True, clock=Clock()) as on_step:
        assert on_step is None
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_the_search_while_it_runs(example, on_terminal):
    command = ("solve", example / "pieces", example / "record.csv", "--strategy", "classic")
    status, text = on_terminal(*command, columns=40)
    assert status == 0
    assert "14 blocks placed" in text or "blocks placed" in text
    assert re.search("error .*[▁▂▃▄▅▆▇█]", text)


def test_a_dumb_terminal_gets_lines(example, on_terminal):
    status, text = on_terminal("solve", example / "pieces", example / "record.csv", TERM="dumb")
    assert status == 0
    assert "seeds: 14 blocks placed" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("command", ["oracle", "solve"])
def test_a_sign_of_life_is_shown_before_pytorch_is_imported(command, tmp_path, on_terminal):
    (tmp_path / "torch.py").write_text("raise ImportError")  # whoever gets here is told so
    (tmp_path / "net.py").write_text("import torch\ndef make(): ...\n")
    commands = {
        "oracle": ("oracle", "train", "tiny-adam", "--out", tmp_path / "out"),
        "solve": ("solve", tmp_path, tmp_path / "r.npz", "--model", f"{tmp_path}/net.py:make"),
    }
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    status, text = on_terminal(*commands[command], PYTHONPATH=path)
    assert status == 2
    assert {"oracle": "epoch 0 of", "solve": "reading and pairing"}[command] in text
    assert "torch" in text
