"""Names from files: never a path, never markup, never a control character on a terminal."""

import io
import json
import subprocess
import sys
import zipfile
from html import escape
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from unshuffle.commands import main

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[red]bold[/red]",
    "$\\frac{1}{0}$",
    "`rm -rf ~`",
    "../../../../etc/passwd",
    "'; DROP TABLE pieces; --",
    "%s%n{0}{x}",
    "&lt;b&gt;",
    "=cmd|' /C calc'!A0",
    "javascript:alert(1)",
]
"""Printable: they may be names, and must be seen as what they are."""

INVISIBLE = {
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "bidi override": "\u202egpj.exe",
    "zero width": "a\u200bb",
    "line break": "a\nunshuffle: all is well",
    "carriage return": "a\rb",
    "C1": "a\x9b31m",
    "line separator": "a\u2028b",
    "tag": "a\U000e0041",
    "nothing": "",
}


def check(text):
    """Nothing in what a command has printed acts on a terminal."""
    assert all(line.isprintable() for line in text.split("\n")), text


@pytest.fixture
def run(capfd):
    """Run a command line in this process: its status and what it printed."""

    def run(*args):
        status = main([*map(str, args)])
        text = "".join(capfd.readouterr())
        check(text)
        return status, text

    return run


@pytest.fixture(scope="module")
def case(make_dropped):
    return make_dropped(np.random.default_rng(3), blocks=5, width=16, hidden=24)


@pytest.fixture(scope="module")
def tensors(case):
    """One file's tensors, each piece called by something nasty."""
    called = dict(zip(sorted(case.pile.ids), NASTY, strict=True))
    return {
        f"{called[piece.id]}.{part}": np.ascontiguousarray(getattr(piece, part))
        for piece in case.pile
        for part in ("weight", "bias")
    }


def columns(case, names):
    values = [*case.records.inputs.T, case.records.predictions[:, 0]]
    return dict(zip([*names, "pred"], values, strict=True))


@pytest.fixture(scope="module")
def solved(case, tensors, tmp_path_factory):
    """A folder in which everything nasty was solved."""
    folder = tmp_path_factory.mktemp("nasty")
    save_file(tensors, folder / "pieces.safetensors")
    names = [*NASTY, "\x1b[31m", "\u202ex", "a\nb", "\x9b", "é"]
    pq.write_table(pa.table(columns(case, names)), folder / "record.parquet")
    command = "solve pieces.safetensors record.parquet --out out --checkpoint search.npz --report"
    done = subprocess.run(
        [sys.executable, "-m", "unshuffle", *command.split(), "page.html"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    check(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_nasty_names_are_names(solved, case, run):
    folder, text = solved
    answer = text.splitlines()[-1]
    assert answer.count(",") == len(case.pile) - 1
    assert all(name in answer for name in NASTY)
    pieces = folder / "pieces.safetensors"
    status, text = run("pair", pieces)
    assert status == 0
    assert all(name in text for name in NASTY)
    assert run("inspect", pieces, folder / "record.parquet")[0] == 0


def test_no_name_is_a_path(solved):
    folder, _ = solved
    assert sorted(path.name for path in folder.iterdir() if path.name != "figures") == [
        "out",
        "page.html",
        "pieces.safetensors",
        "record.parquet",
        "search.npz",
    ]
    assert len([*(folder / "out").iterdir()]) == 5


class Scripts(HTMLParser):
    """The elements that a browser would see."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


def elements(page):
    parser = Scripts()
    parser.feed(page)
    return parser.seen


def test_the_report_has_no_element_more(solved, example, tmp_path, run):
    folder, _ = solved
    status, _ = run("solve", example / "pieces", example / "record.csv", "--report", tmp_path / "p")
    assert status == 0
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert elements(page) == elements((tmp_path / "p").read_text(encoding="utf-8"))
    values = json.loads(page.partition('id="values"')[2].partition(">")[2].partition("</")[0])
    assert {*NASTY} <= {*values["ids"]}


def test_figures_have_no_element_more(solved, run):
    pytest.importorskip("matplotlib")
    folder, _ = solved
    file = folder / "figures" / "products.svg"
    file.parent.mkdir()
    status, text = run("plot", "products", folder / "out", "--out", file)
    assert status == 0, text
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(file).iter()}
    assert tags.isdisjoint({"script", "img", "foreignObject", "a"})
    svg = file.read_text(encoding="utf-8")
    assert sum(escape(name)[:10] in svg for name in NASTY) > 1


@pytest.mark.parametrize("name", INVISIBLE.values(), ids=INVISIBLE)
def test_what_cannot_be_seen_is_no_name(case, tensors, tmp_path, run, name):
    first = next(iter(tensors)).rpartition(".")[0]
    renamed = {key.replace(first, f"x{name}" if name else " "): v for key, v in tensors.items()}
    save_file(renamed, tmp_path / "p.safetensors")
    for command in ("inspect", "pair"):
        status, text = run(command, tmp_path / "p.safetensors")
        assert status == 2
        assert text.count("\n") == 1
    table = columns(case, [f"x{name}", *(f"c{n}" for n in range(15))])
    table[f"x{name}"] = np.full(len(table["pred"]), np.nan)
    pq.write_table(pa.table(table), tmp_path / "r.parquet")
    np.savez(tmp_path / "r.npz", **{key.replace("\0", ""): value for key, value in table.items()})
    save_file(tensors, tmp_path / "p.safetensors")
    for record in ("r.parquet", "r.npz"):
        status, text = run("inspect", tmp_path / "p.safetensors", tmp_path / record)
        assert status == 2
        assert text.count("\n") == 1
        assert "row 1" in text


@pytest.mark.parametrize(
    ("key", "forged"),
    [
        ("last", "\x1b[2J"),
        ("last", "a,b"),
        ("last", 10**30),
        ("signal", "\u202e"),
        ("outcome", "\x1b[2J"),
        ("sha256", "\n"),
        ("seconds", {"total": 1.0, "\x1b[2J": 1.0}),
    ],
)
def test_forged_solutions_are_refused_in_one_line(solved, tmp_path, run, key, forged):
    folder, _ = solved
    copy = tmp_path / "out"
    copy.mkdir()
    for path in (folder / "out").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    values = json.loads((copy / "solution.json").read_text())
    (values if key in values and key != "signal" else values["pairing"])[key] = forged
    (copy / "solution.json").write_text(json.dumps(values))
    status, text = run("report", copy)
    assert status == 2
    assert text.count("\n") == 1
    assert "solution.json" in text
    assert not (copy / "report.html").exists()


def test_forged_phases_are_refused(solved, tmp_path, run):
    folder, _ = solved
    copy = tmp_path / "out"
    copy.mkdir()
    for path in (folder / "out").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with np.load(copy / "trace.npz") as stored:
        arrays = dict(stored)
    arrays["phase"] = np.array(["\x1b[2J"] * len(arrays["phase"]))
    np.savez(copy / "trace.npz", **arrays)
    status, text = run("report", copy)
    assert status == 2
    assert "trace.npz" in text


def test_members_that_climb_out_of_a_zip_are_read_in_memory(tmp_path, run):
    weights = {"../../evil.weight": np.ones((2, 2)), "../../evil.bias": np.ones(2)}
    packed = io.BytesIO()
    np.savez(packed, **weights)
    folder = tmp_path / "a" / "b" / "pieces"
    folder.mkdir(parents=True)
    (folder / "one.npz").write_bytes(packed.getvalue())
    assert "../../evil.weight.npy" in zipfile.ZipFile(packed).namelist()
    status, text = run("inspect", folder)
    assert status in (0, 2), text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "one.npz", "pieces"]


def test_numbers_that_no_array_holds_are_names(case, tmp_path, run):
    (tmp_path / "pieces").mkdir()
    for piece in case.pile:
        name = f"{piece.id + 10**40}.safetensors"
        tensors = {"weight": np.ascontiguousarray(piece.weight), "bias": piece.bias}
        save_file(tensors, tmp_path / "pieces" / name)
    table = columns(case, [f"c{n}" for n in range(16)])
    np.savez(tmp_path / "r.npz", **table)
    status, text = run("solve", tmp_path / "pieces", tmp_path / "r.npz", "--out", tmp_path / "out")
    assert status == 0, text
    assert run("report", tmp_path / "out")[0] == 0
