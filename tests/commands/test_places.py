"""Arguments in each other's place: what was found is said, and a line that works."""

import shlex

import numpy as np
import pytest

from unshuffle import solve, write_solution
from unshuffle.commands import main
from unshuffle.files import write_network, write_records
from unshuffle.files.found import Found, found_at


@pytest.fixture(scope="module")
def here(make_dropped, tmp_path_factory):
    """A folder with pieces, a record, an answer, and what solve kept."""
    folder = tmp_path_factory.mktemp("places")
    case = make_dropped(np.random.default_rng(3), blocks=3, width=8, hidden=12)
    for piece in case.pile:
        write_network(folder / "pieces" / f"piece_{piece.id}.npz", piece.tensors)
    write_records(folder / "record.csv", case.records)
    (folder / "answer.txt").write_text(",".join(map(str, case.permutation)))
    (folder / "pairs.csv").write_text("\n".join(f"{a},{b}" for a, b in case.blocks))
    (folder / "names.csv").write_text("last,up.0.1,down.0")
    (folder / "others").mkdir()
    (folder / "others" / "solution.json").write_text("{}")
    write_solution(solve(case.pile, case.records), folder / "kept")
    return folder


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("solve record.csv pieces", "solve pieces record.csv"),
        ("solve record.csv pieces --rows 9", "solve pieces record.csv --rows 9"),
        ("solve answer.txt record.csv", "solve PIECES record.csv"),
        ("solve record.txt pieces", "solve pieces record.txt"),
        ("verify pieces answer.txt record.csv", "verify pieces record.csv answer.txt"),
        ("verify kept record.csv answer.txt", "verify PIECES record.csv answer.txt"),
        ("verify pieces record.csv pieces", "verify pieces record.csv ANSWER"),
        ("verify 3,1,2 record.csv pieces", "verify pieces record.csv 3,1,2"),
        ("assemble kept pieces --to n.npz", "assemble pieces kept --to n.npz"),
        ("assemble answer.txt pieces --to n.npz", "assemble pieces answer.txt --to n.npz"),
        ("assemble record.csv kept --to n.npz", "assemble PIECES kept --to n.npz"),
        ("assemble pieces record.csv --to n.npz", "assemble pieces ANSWER --to n.npz"),
        ("assemble pieces kept/evidence.npz --to n.npz", "assemble pieces kept --to n.npz"),
        ("pair pieces answer.txt", "pair pieces"),
        ("inspect kept", "inspect PIECES"),
        ("inspect record.csv", "inspect PIECES record.csv"),
        ("verify record.csv pieces answer.txt", "verify pieces record.csv answer.txt"),
        ("report record.csv kept", "report kept record.csv"),
        ("report pieces kept", "report kept"),
        ("report kept/answer.txt", "report kept"),
        ("plot Scores record.csv kept", "plot scores kept record.csv"),
        ("plot kept scores", "plot scores kept"),
        ("plot pieces kept", "plot FIGURE kept"),
        ("animate kept/trace.npz", "animate kept"),
    ],
)
def test_swapped_arguments_are_told_with_the_line_that_was_meant(
    here, monkeypatch, capsys, given, meant
):
    monkeypatch.chdir(here)
    before = {*here.rglob("*")}
    assert main(shlex.split(given)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.endswith(f"; write: unshuffle {meant}\n")
    assert len(told.err.splitlines()) == 1
    assert {*here.rglob("*")} == before


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("pieces", Found.FOLDER),
        ("pieces/piece_0.npz", Found.ARRAYS),
        ("record.csv", Found.TABLE),
        ("nowhere.csv", Found.TABLE),
        ("answer.txt", Found.ANSWER),
        ("pairs.csv", Found.ANSWER),
        ("names.csv", None),
        ("kept", Found.KEPT),
        ("others", None),
        ("kept/solution.json", Found.ANSWER),
        ("(3, 1)\n(2, 0)", Found.ANSWER),
        ("3,1", None),
        ("nowhere", None),
    ],
)
def test_what_lies_at_a_path(here, monkeypatch, name, found):
    monkeypatch.chdir(here)
    assert found_at(name) is found


def test_a_folder_may_be_called_as_a_figure(here, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(here)
    (here / "scores").mkdir()
    assert main(["plot", "scores", "kept", "--force"]) == 0
    assert "kept/scores.png" in capsys.readouterr().out
