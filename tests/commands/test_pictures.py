"""`unshuffle plot` and `unshuffle animate`, run as a user runs them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unshuffle import solve, write_solution
from unshuffle.commands import main
from unshuffle.files import write_records

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """A run of the shipped example that was kept, and its record."""
    example = Path(__file__).parents[2] / "examples" / "dropped"
    folder = tmp_path_factory.mktemp("solved") / "run"
    record = example / "record.csv"
    command = ["solve", str(example / "pieces"), str(record), "--quiet", "--out", str(folder)]
    assert main(command) == 0
    return folder, record


def run(capsys, *args):
    status = main([*map(str, args)])
    return status, *capsys.readouterr()


def assert_mistake(result, *parts):
    status, out, err = result
    assert (status, out) == (2, "")
    assert err.startswith("unshuffle: ")
    assert err.count("\n") == 1
    for part in parts:
        assert str(part) in err


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")]
)
def test_plot_writes_one_figure(solved, tmp_path, capsys, suffix, magic):
    file = tmp_path / f"margins{suffix}"
    status, out, err = run(capsys, "plot", "margins", solved[0], "--out", file)
    assert (status, err) == (0, "")
    assert out == f"{file}: lead of each pair over its best rival\n"
    assert file.read_bytes().startswith(magic)


def test_plot_all_writes_every_figure(solved, tmp_path, capsys):
    out = tmp_path / "figures"
    status, text, _ = run(capsys, "plot", "all", *solved, "--out", out, "--format", "svg")
    assert status == 0
    assert sorted(path.stem for path in out.iterdir()) == [
        "certificate",
        "chain",
        "contrast",
        "features",
        "inputs",
        "margins",
        "norms",
        "outputs",
        "path",
        "products",
        "ranks",
        "rivals",
        "scores",
        "search",
        "spectrum",
        "traces",
    ]
    assert len(text.splitlines()) == 16
    assert {path.suffix for path in out.iterdir()} == {".svg"}
    assert_mistake(run(capsys, "plot", "all", *solved, "--out", out, "--format", "svg"), "--force")


def test_plot_all_leaves_out_what_needs_the_record_and_says_so(solved, tmp_path, capsys):
    status, out, err = run(capsys, "plot", "all", solved[0], "--out", tmp_path / "figures")
    assert status == 0
    assert len(out.splitlines()) == 12
    left_out = [line.split(": left out: ")[0] for line in err.splitlines()]
    assert left_out == ["inputs", "features", "outputs", "norms"]
    assert len(list((tmp_path / "figures").iterdir())) == 12


def test_plot_explains_mistakes(solved, tmp_path, capsys):
    folder, record = solved
    png = tmp_path / "x.png"
    assert_mistake(run(capsys, "plot", "serach", folder, "--out", png), "serach", "search")
    assert_mistake(run(capsys, "plot", "search", folder, "--out", "x.jpg"), "x.jpg", ".svg")
    assert_mistake(run(capsys, "plot", "norms", folder, "--out", png), "name its file")
    assert_mistake(run(capsys, "plot", "search", tmp_path / "no", "--out", png), "no such file")
    assert_mistake(
        run(capsys, "plot", "search", folder, "--out", png, "--format", "png"), "--format"
    )
    assert_mistake(
        run(capsys, "plot", "all", folder, "--out", tmp_path, "--format", "gif"), "gif", "pdf"
    )
    assert_mistake(run(capsys, "plot", "all", folder, "--out", record), "is a file")
    narrow = tmp_path / "narrow.csv"
    narrow.write_text("a,pred\n1,2\n")
    assert_mistake(run(capsys, "plot", "norms", folder, narrow, "--out", png), "48", "(1, 1)")
    assert not png.exists()
    png.write_bytes(b"mine")
    assert_mistake(run(capsys, "plot", "search", folder, "--out", png), "exists", "--force")
    assert png.read_bytes() == b"mine"
    assert run(capsys, "plot", "search", folder, "--out", png, "--force")[0] == 0
    assert png.read_bytes() != b"mine"


def test_animate_writes_a_film(solved, tmp_path, capsys):
    file = tmp_path / "search.gif"
    status, out, err = run(capsys, "animate", solved[0], "--out", file)
    assert status == 0
    assert re.fullmatch(rf"{re.escape(str(file))}: \d+ frames, \d+ candidates\n", out)
    assert re.search(r"frame (\d+) of \1: descent", err)
    assert file.read_bytes().startswith(b"GIF89a")
    assert_mistake(run(capsys, "animate", solved[0], "--out", file), "exists", "--force")
    again = run(capsys, "animate", solved[0], "--out", file, "--force", "--quiet")
    assert (again[0], again[2]) == (0, "")


def test_animate_explains_mistakes(solved, tmp_path, capsys, monkeypatch):
    assert_mistake(run(capsys, "animate", solved[0], "--out", tmp_path / "x.avi"), "avi", ".gif")
    assert_mistake(
        run(capsys, "animate", tmp_path, "--out", tmp_path / "x.gif"), "solve --out kept"
    )
    monkeypatch.setenv("PATH", "")
    assert_mistake(run(capsys, "animate", solved[0], "--out", tmp_path / "x.mp4"), "ffmpeg", ".gif")


def test_the_pictures_of_96_blocks(make_dropped, tmp_path, capsys):
    case = make_dropped(np.random.default_rng(96), rows=100, blocks=96, width=16, hidden=24)
    folder = tmp_path / "run"
    write_solution(solve(case.pile, case.records, time_limit=1.0), folder)
    record = tmp_path / "record.csv"
    write_records(record, case.records)
    status, out, err = run(capsys, "plot", "all", folder, record, "--out", tmp_path / "figures")
    assert status == 0
    assert len(out.splitlines()) + len(err.splitlines()) == 16
    assert len(out.splitlines()) >= 15  # the certificate, where the record is not reproduced
    assert run(capsys, "animate", folder, "--out", tmp_path / "film.gif", "--quiet")[0] == 0


def test_without_matplotlib_it_is_said_how_to_get_it(solved, tmp_path):
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from unshuffle.commands import main; sys.exit(main(sys.argv[1:]))"
    )
    commands = {"x.png": ["plot", "search"], "figures": ["plot", "all"], "x.gif": ["animate"]}
    for name, command in commands.items():
        out = tmp_path / name
        done = subprocess.run(
            [sys.executable, "-c", program, *command, str(solved[0]), "--out", str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert_mistake((done.returncode, done.stdout, done.stderr), "pip install", "pictures")
        assert not out.exists()


def test_the_help_names_every_figure(capsys):
    from unshuffle.views.figures import FIGURES

    with pytest.raises(SystemExit):
        main(["plot", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"{', '.join(FIGURES)}, or all" in text
