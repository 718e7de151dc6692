"""The command line, run as a user runs it."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from unshuffle import Outcome, Piece, Pile, solve, write_solution
from unshuffle.commands import main
from unshuffle.errors import FileError
from unshuffle.files import read_pile, write_network
from unshuffle.grouping import SIGNALS
from unshuffle.solution.findings import Findings


def run(*args, **options):
    return subprocess.run(
        [sys.executable, "-m", "unshuffle", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


class Result(NamedTuple):
    """What a command came to in this process."""

    returncode: int
    stdout: str
    stderr: str


def run_code(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def case(make_dropped):
    return make_dropped(np.random.default_rng(3), blocks=5, width=16, hidden=24)


@pytest.fixture(scope="module")
def here(case, tmp_path_factory):
    """A folder with pieces, a record and the answer."""
    folder = tmp_path_factory.mktemp("dropped")
    (folder / "pieces").mkdir()
    for piece in case.pile:
        tensors = {"weight": piece.weight, "bias": piece.bias}
        write_network(folder / "pieces" / f"piece_{piece.id}.safetensors", tensors)
    columns = [*(f"measurement_{i}" for i in range(16)), "pred"]
    rows = np.hstack([case.records.inputs, case.records.predictions])
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    (folder / "record.csv").write_text("\n".join(lines) + "\n")
    (folder / "answer.txt").write_text(",".join(map(str, case.permutation)))
    return folder


def assert_mistake(result, *parts):
    """Exit 2, nothing on stdout, one clear line on stderr behind those of progress."""
    assert result.returncode == 2
    assert result.stdout == ""
    *progress, mistake = result.stderr.splitlines()
    assert all(re.match(r" +[0-9.]+ s  ", line) for line in progress)
    assert mistake.startswith("unshuffle: ")
    for part in parts:
        assert str(part) in mistake


def test_solve_prints_the_answer_and_its_hash(here, case):
    result = run("solve", here / "pieces", here / "record.csv", "--strategy", "classic")
    assert result.returncode == 0
    answer = ",".join(map(str, case.permutation))
    assert result.stdout.splitlines()[0].startswith("exact")
    assert result.stdout.splitlines()[-1] == answer
    assert hashlib.sha256(answer.encode()).hexdigest() in result.stdout
    assert "greedy insertion: 1 blocks placed" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_solve_json_is_one_object(here, case):
    result = run("solve", here / "pieces", here / "record.csv", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    solution = json.loads(result.stdout)
    assert solution["outcome"] == "exact"
    assert solution["exact"] is True
    assert solution["permutation"] == list(case.permutation)
    assert [name for block in solution["blocks"] for name in block] == list(case.permutation[:-1])
    assert solution["mse"] < 1e-10
    assert solution["max_abs_error"] < 1e-4
    assert solution["rows"] == 200
    text = ",".join(map(str, case.permutation))
    assert solution["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    total = solution["seconds"].pop("total")
    assert solution["seconds"].keys() == {"import", "read", "pair", "order", "verify", "other"}
    assert sum(solution["seconds"].values()) <= total + 1e-5


def test_solve_keeps_its_results_and_overwrites_nothing(here, case, tmp_path):
    out = tmp_path / "deep" / "run"
    command = ("solve", here / "pieces", here / "record.csv", "--quiet", "--out")
    first = run(*command, out)
    assert (first.returncode, first.stderr) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == [
        "answer.txt",
        "evidence.npz",
        "network.safetensors",
        "solution.json",
        "trace.npz",
    ]
    assert (out / "answer.txt").read_text() == ",".join(map(str, case.permutation)) + "\n"
    assert json.loads((out / "solution.json").read_text())["exact"] is True
    tensors = load_file(out / "network.safetensors")
    for name, values in case.network.tensors().items():
        np.testing.assert_array_equal(tensors[name], values)
    with np.load(out / "trace.npz") as trace:
        assert trace["candidates"].sum() == len(trace["tested"])
    assert_mistake(run(*command, out), "answer.txt", "--force")
    assert run(*command, out, "--force").returncode == 0


def test_the_report_is_written_at_once_or_from_what_was_kept(here, tmp_path):
    out, page = tmp_path / "run", tmp_path / "deep" / "page.html"
    command = ("solve", here / "pieces", here / "record.csv", "--quiet", "--out", out)
    assert run(*command, "--report", page).returncode == 0
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert_mistake(run(*command, "--force", "--report", out), out, "is a folder")
    again = run("report", out, here / "record.csv")
    assert again.returncode == 0, again.stderr
    assert "exact, 5 blocks" in again.stdout
    assert (out / "report.html").read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
    assert_mistake(run("report", out), "report.html", "--force")
    assert run("report", out, "--out", page, "--force").returncode == 0  # without the record
    (out / "trace.npz").write_bytes(b"PK")
    assert_mistake(run("report", out, "--force"), "trace.npz")
    assert_mistake(run("report", tmp_path / "nowhere"), "nowhere")


def test_solve_refuses_what_it_could_not_keep_before_it_begins(here, tmp_path):
    both = tmp_path / "both"
    asked = ("--out", both, "--report", both)
    told = run("solve", here / "pieces", here / "record.csv", "--quiet", *asked)
    assert_mistake(told, "the folder of --out; name a file in it")
    assert not both.exists()
    told = run("solve", here / "pieces", here / "record.csv", "--out", here / "pieces")
    assert_mistake(told, "is the folder of the pieces; name a new one")
    command = ("solve", here / "pieces", here / "record.csv", "--force", "--out")
    (tmp_path / "trace.npz").mkdir()
    # One line on stderr: the search has shown no progress.
    assert_mistake(run(*command, here / "record.csv"), "record.csv", "is a file")
    assert_mistake(run(*command, here / "record.csv" / "run"), "record.csv", "is a file")
    assert_mistake(run(*command, tmp_path), "trace.npz", "is a folder")
    assert_mistake(run(*command, tmp_path / "a" / ("x" * 300)), "cannot be made", "too long")
    assert [path.name for path in tmp_path.iterdir()] == ["trace.npz"]


def test_solve_prints_its_result_even_if_it_cannot_be_kept(
    here, case, tmp_path, monkeypatch, capsys
):
    def fail(*_, **__):
        raise FileError("the disk was taken away")

    monkeypatch.setattr("unshuffle.write_solution", fail)
    command = ("solve", here / "pieces", here / "record.csv", "--quiet", "--out", tmp_path / "run")
    assert main([*map(str, command)]) == 2
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == ",".join(map(str, case.permutation))
    assert "kept in" not in told.out
    assert told.err == "unshuffle: the disk was taken away\n"


def test_solve_that_does_not_succeed_exits_with_3(here, tmp_path):
    header, *lines = (here / "record.csv").read_text().splitlines()
    off = [f"{line.rsplit(',', 1)[0]},{k % 7}.5" for k, line in enumerate(lines)]
    (tmp_path / "other.csv").write_text("\n".join([header, *off]))
    command = ("solve", here / "pieces", tmp_path / "other.csv", "--strategy", "classic")
    result = run(*command, "--json")
    assert result.returncode == 3
    assert json.loads(result.stdout)["exact"] is False
    result = run(*command, "--time-limit", 1e-6)
    assert result.returncode == 3
    assert result.stdout.startswith("budget spent")


def test_a_record_that_no_arrangement_fits_has_a_status_of_its_own(here, monkeypatch, capsys):
    def refuted(*args, **options):
        findings = Findings(unexplained=0.4, notes=("four records were solved",))
        return replace(solve(*args, **options), outcome=Outcome.NO_FIT, findings=findings)

    monkeypatch.setattr("unshuffle.solve", refuted)
    assert main(["solve", str(here / "pieces"), str(here / "record.csv"), "--quiet"]) == 4
    shown = capsys.readouterr().out
    assert shown.startswith("no arrangement fits  In blocks x + out(a(inp(x))) all these pieces")
    assert "noticed             four records were solved" in shown


@pytest.mark.parametrize(("stop", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_solve_reports_and_keeps_its_best_when_stopped(example, tmp_path, stop, status):
    out = tmp_path / "run"
    command = ["solve", example / "pieces", example / "record.csv", "--strategy", "classic"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "unshuffle",
            *map(str, command),
            "--rows",
            "2000",
            "--out",
            str(out),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "reading and pairing" in process.stderr.readline()
    assert "greedy insertion" in process.stderr.readline()  # the search has begun
    time.sleep(0.2)
    process.send_signal(stop)
    time.sleep(0.05)
    process.send_signal(stop)  # the second of two impatient ones costs nothing
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == status
    assert stdout.startswith("interrupted")
    answer = (out / "answer.txt").read_text().strip()
    assert sorted(map(int, answer.split(","))) == list(range(len(read_pile(example / "pieces"))))


def test_verify_takes_ids_or_a_file(here, case):
    right = run("verify", here / "pieces", here / "record.csv", here / "answer.txt")
    assert right.returncode == 0
    assert right.stdout.startswith("exact")
    inp, out, inp2, out2, *rest = case.permutation
    other = ",".join(map(str, (inp2, out2, inp, out, *rest)))
    wrong = run("verify", here / "pieces", here / "record.csv", other, "--json")
    assert wrong.returncode == 3
    verdict = json.loads(wrong.stdout)
    assert verdict["outcome"] == "misfit"
    assert verdict["mse"] > 1e-6


@pytest.mark.parametrize("answer", ["", "answer.txt", "solution.json"])
def test_what_was_kept_is_an_answer_also_where_a_piece_was_set_aside(here, case, tmp_path, answer):
    pile = read_pile(here / "pieces")
    other = pile[0]
    decoy = Piece.linear(99, other.weight[::-1].copy(), other.bias)
    write_solution(solve(Pile([*pile, decoy]), case.records), tmp_path / "solved")
    (tmp_path / "pieces").mkdir()
    for piece in Pile([*pile, decoy]):
        write_network(tmp_path / "pieces" / f"p{piece.id}.npz", piece.tensors)
    command = ["verify", tmp_path / "pieces", here / "record.csv", tmp_path / "solved" / answer]
    assert main([*map(str, command)]) == 0
    assert main([*map(str, command), "--activation", "relu"]) == 2


def test_a_folder_without_an_answer_is_refused(here):
    command = ("verify", here / "pieces", here / "record.csv", here / "pieces")
    assert_mistake(run(*command), "pieces: is a folder", "stands where the answer belongs")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt", ".pth"])
def test_assemble_writes_the_network(here, case, tmp_path, suffix, capsys):
    if suffix.startswith(".pt"):
        pytest.importorskip("torch")
    file = tmp_path / f"network{suffix}"
    command = [*map(str, ("assemble", here / "pieces", here / "answer.txt", "--to", file))]
    # In this process, which loads PyTorch once.
    assert main(command) == 0
    assert "Network(5 × [16 → 24 relu → 16]" in capsys.readouterr().out
    weights = {piece.weight.tobytes() for piece in read_pile(file)}
    assert weights == {piece.weight.tobytes() for piece in case.pile}
    assert_mistake(Result(main(command), *capsys.readouterr()), file, "--force")
    assert main([*command, "--force"]) == 0


def test_pair_prints_a_table_or_json(here, case):
    result = run("pair", here / "pieces", "--signal", "ratio", "--matching", "greedy")
    assert result.returncode == 0
    assert "5 pairs by ratio, greedy matching" in result.stdout
    result = run("pair", here / "pieces", "--json")
    pairs = json.loads(result.stdout)["pairs"]
    assert {(pair["inp"], pair["out"]) for pair in pairs} == case.pairs


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("argparse", "inspect"),
        ("unshuffle.commands.pile", "inspect"),
        ("numpy", "inspect"),
        ("unshuffle.ordering.trace", "solve"),
    ],
)
@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "RuntimeError"])
def test_ctrl_c_during_imports_is_one_line(module, command, raised, tmp_path):
    result = run_code(f"""
import runpy, signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == {module!r}:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise {raised}

sys.modules.pop({module!r}, None)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["unshuffle", {command!r}, {str(tmp_path)!r}, *[{__file__!r}] * ({command!r} == "solve")]
runpy.run_module("unshuffle", run_name="__main__")
""")
    assert result.returncode == 130
    assert_one_line = result.stderr.splitlines()
    assert len(assert_one_line) == 1, result.stderr
    assert "interrupted before" in result.stderr


def test_the_package_itself_imports_next_to_nothing():
    """Ctrl-C during what it imports could only end in a traceback."""
    result = run_code(
        "import sys, importlib; before = {*sys.modules}; import unshuffle;"
        "print(*({*sys.modules} - before))"
    )
    assert result.stdout.split() == ["unshuffle"]


def test_inspect_json_holds_what_the_table_shows(here, case):
    found = json.loads(run("inspect", here / "pieces", here / "record.csv", "--json").stdout)
    assert found["pieces"] == len(case.pile)
    assert {tuple(one["shape"]): one["roles"] for one in found["shapes"]} == {
        (24, 16): ["inp"],
        (16, 24): ["out"],
        (1, 16): ["last"],
    }
    assert sorted(name for one in found["shapes"] for name in one["ids"]) == sorted(case.pile.ids)
    assert found["record"]["rows"] == found["record"]["rows_with_predictions"] == 200


def test_help_names_every_signal():
    words = re.sub(r"-\n\s+", "-", run("pair", "--help").stdout)  # lines break at hyphens too
    assert set(SIGNALS) <= set(re.findall(r"[a-z-]+", words))


def test_inspect_prints_what_is_there(here):
    result = run("inspect", here / "pieces", here / "record.csv")
    assert result.returncode == 0
    assert "network: 5 blocks 16 → 24 → 16, last layer 16 → 1" in result.stdout
    assert "record: 200 rows of 16 inputs, 200 with 1 prediction" in result.stdout


def test_inspect_shows_a_broken_pile_and_says_what_is_wrong(here, case, tmp_path):
    (tmp_path / "pieces").mkdir()
    for piece in case.pile:
        if piece.id != case.permutation[-1]:
            name = f"piece_{piece.id}.safetensors"
            os.link(here / "pieces" / name, tmp_path / "pieces" / name)
    result = run("inspect", tmp_path / "pieces")
    assert result.returncode == 2
    assert "24 × 16" in result.stdout
    assert "no last layer" in result.stderr


@pytest.mark.parametrize(
    ("front", "last", "advice"),
    [
        (["measurement_16"], "pred", "name the input columns with --inputs"),
        (["id"], "pred", "if id is no input, leave it out: --targets id"),
        ([], "result", "if result holds the predictions: --predictions result"),
        (["id"], "result", "--predictions result --targets id"),
    ],
)
def test_inspect_knows_roles_where_a_record_has_an_odd_column(here, tmp_path, front, last, advice):
    header, *rows = (here / "record.csv").read_text().splitlines()
    header = ",".join([*front, header.replace("pred", last)])
    rows = [",".join(["0.5"] * len(front) + [row]) for row in rows]
    (tmp_path / "odd.csv").write_text("\n".join([header, *rows]))
    result = run("inspect", here / "pieces", tmp_path / "odd.csv")
    assert result.returncode == 2
    assert "network: 5 blocks 16 → 24 → 16" in result.stdout
    assert "?" not in result.stdout
    assert "odd.csv has 1" in result.stderr
    assert advice in result.stderr


def test_a_narrow_terminal_breaks_nothing(here, case):
    environment = os.environ | {"COLUMNS": "20"}
    result = run("solve", here / "pieces", here / "record.csv", "--quiet", env=environment)
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == ",".join(map(str, case.permutation))


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (("inspect", "nowhere"), ["nowhere"]),
        (("pair", "PIECES", "--signal", "x"), ["no signal 'x'", "trace"]),
        (("solve", "PIECES", "nothing.csv"), ["nothing.csv"]),
        (("solve", "PIECES", "RECORD", "--strategy", "x"), ["no strategy 'x'", "classic"]),
        (("solve", "PIECES", "RECORD", "--placement", "x"), ["no placement 'x'"]),
        (("solve", "PIECES", "RECORD", "--predictions", "prod"), ["prod"]),
        (("verify", "PIECES", "RECORD", "1,2,3"), ["3 of 11 pieces"]),
        (("verify", "PIECES", "RECORD", "1,2,x"), ["'x'"]),
        (("verify", "PIECES", "RECORD", "1," * 200), ["names piece 1 twice"]),
        (("verify", "PIECES", "RECORD", "nothing.txt"), ["nothing.txt", "separated by commas"]),
        (("verify", "PIECES", "RECORD", "1-99"), ["1-99 is neither", "or the ids"]),
        (("verify", "PIECES", "RECORD", "1;0"), ["2 of 11 pieces"]),
        (("verify", "PIECES", "RECORD", ""), ["argument 4 is empty"]),
        (("solve", "", "RECORD"), ["argument 2 is empty", "give it a value"]),
        (("slove",), ["did you mean solve?"]),
        (("solve", "PIECES", "RECORD", "--out-dir", "x"), ["did you mean --out?"]),
        (("solve", "PIECES", "nothing.csv", "--activation", "Gleu"), ["did you mean gelu?"]),
        (("verify", "PIECES", "nothing.csv", "1,2", "--activation", "x"), ["no activation 'x'"]),
        (("pair", "PIECES", "nothing.csv", "--signal", "fusd"), ["did you mean fused?"]),
        (("pair", "PIECES", "--signal", "trase"), ["did you mean trace?", "fused"]),
        (("oracle", "train", "tiny-adm", "--out", "x"), ["did you mean tiny-adam?"]),
        (("lab", "try", "l1-buble"), ["did you mean l1-bubble?"]),
        (("lab", "shwo"), ["did you mean show?"]),
        (
            ("lab", "try", "trace", "--on", "exmple"),
            ["no subject 'exmple' (did you mean example?)"],
        ),
        (("--verison",), ["--verison (did you mean --version?)"]),
        (("-v",), ["-v (did you mean -V?)"]),
        (("inspect", "PIECES", "--jsn"), ["did you mean --json?", "see unshuffle inspect --help"]),
        (("inspect", "PIECES", "--json=3"), ["--json: takes no value, but is given '3'"]),
        (("lab", "list", "--processes", "2"), ["(an option of unshuffle lab run)"]),
        (("assemble", "PIECES", "ANSWER", "--to", "network.onnx"), ["network.onnx", ".npz"]),
        (("assemble", "PIECES", "ANSWER", "--out", "n.npz"), ["--out is called --to here"]),
        (("report", "PIECES"), ["pieces: is a folder", "a folder with solution.json belongs"]),
        (("inspect", "PIECES", "RECORD", "ANSWER"), ["takes PIECES and RECORDS", "inspect --help"]),
        (("solve", "PIECES", "RECORD", "--time-limit", "10x"), ["'10x'", "10s, 1.5m or 2h"]),
        ((), ["COMMAND", "unshuffle --help"]),
        (("solve",), ["PIECES and RECORDS", "unshuffle solve --help"]),
        (("ponder",), ["'ponder'", "inspect", "solve"]),
        (("solve", "PIECES", "RECORD", "--\x1b[31m\n"), [r"--\x1b[31m\n"]),
    ],
)
def test_mistakes_get_one_clear_line(here, tmp_path, command, parts):
    places = {"PIECES": "pieces", "RECORD": "record.csv", "ANSWER": "answer.txt"}
    filled = [here / places[word] if word in places else word for word in command]
    assert_mistake(run(*filled, cwd=tmp_path), *parts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option", [("--rows", "0"), ("--rows", "x"), ("--seed", "-1"), ("--time-limit", "0")]
)
def test_numbers_out_of_range_are_usage_errors(here, option):
    result = run("solve", here / "pieces", here / "record.csv", *option)
    assert_mistake(result, f"argument {option[0]}", option[1])


def test_control_characters_in_paths_are_not_printed(here, tmp_path):
    file = tmp_path / "\x1b[31mred.npz"
    result = run("assemble", here / "pieces", here / "answer.txt", "--to", file)
    assert result.returncode == 0
    out = ("--quiet", "--out", tmp_path / "\x1b[31mrun")
    solved = run("solve", here / "pieces", here / "record.csv", *out)
    assert solved.returncode == 0
    for text in (result.stdout, solved.stdout):
        assert r"\x1b[31mr" in text
        assert "\x1b" not in text


def test_names_with_markup_are_printed_as_they_are(case, tmp_path):
    folder = tmp_path / "pieces"
    folder.mkdir()
    for piece in case.pile:
        tensors = {"weight": piece.weight, "bias": piece.bias}
        save_file(tensors, folder / f"[red]x{'abcdefghijk'[piece.id]}[.safetensors")
    result = run("pair", folder)
    assert result.returncode == 0, result.stderr
    assert "[red]xa[" in result.stdout


HEAVY = {"numpy", "pyarrow", "lap", "threadpoolctl", "zipfile", "safetensors"}
"""What takes long to import, though nothing is solved without most of it."""

NEEDLESS = {"torch", "scipy", "networkx", "rich", "matplotlib", "PIL", "mlflow", "distributed"}
"""What takes long to import, and a whole pile is solved without."""


def imported(words):
    """Modules that a command has imported by its end."""
    result = run_code(f"""
import sys
from unshuffle.commands import main
from unshuffle.errors import FileError
try:
    status = main({[*map(str, words)]!r})
except SystemExit as end:
    status = end.code
print()
print(*sys.modules)
sys.exit(status)
""")
    assert result.returncode == 0, result.stderr
    return {*result.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(argument):
    modules = imported([argument])
    assert not modules & (HEAVY | NEEDLESS)
    assert not [name for name in modules if name.startswith("unshuffle.commands.lab")]


def test_solving_imports_no_more_than_it_needs(here):
    modules = imported(["solve", here / "pieces", here / "record.csv", "--json"])
    assert not modules & NEEDLESS
    ours = {
        "commands": {"arguments", "places", "solve"},
        "views": {"progress", "sparkline"},
        "solution": {"alternatives", "arranging", "findings", "goal", "options", "solution"},
    }
    for room, needed in ours.items():
        prefix = f"unshuffle.{room}."
        found = {name.removeprefix(prefix) for name in modules if name.startswith(prefix)}
        assert found == needed
    prefix = "unshuffle.files."
    found = {name.removeprefix(prefix) for name in modules if name.startswith(prefix)}
    assert not found & {"network_reader", "network_writer", "npz_file", "parquet_file", "torch_zip"}


@pytest.mark.parametrize(("told", "threads"), [(None, "1"), ("2", "2")])
def test_solving_starts_no_blas_threads_unless_told_to(told, threads, here, monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if told is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", told)
    pieces, record = str(here / "pieces"), str(here / "record.csv")
    result = run_code(f"""
import os
from unshuffle.commands import main
from unshuffle.errors import FileError
assert main(["solve", {pieces!r}, {record!r}, "--json"]) == 0
assert os.environ["OPENBLAS_NUM_THREADS"] == {threads!r}
""")
    assert result.returncode == 0, result.stderr


def test_no_garbage_is_looked_for_at_the_end():
    result = run_code("""
import atexit, gc
atexit.register(lambda: print("frozen", gc.get_freeze_count() > 0))
from unshuffle.commands import main
from unshuffle.errors import FileError
main(["--version"])
""")
    assert result.stdout.splitlines()[-1] == "frozen True"


def test_each_command_is_imported_only_where_it_is_called():
    modules = imported(["verify", "--help"])
    prefix = "unshuffle.commands."
    found = {name.removeprefix(prefix) for name in modules if name.startswith(prefix)}
    assert found == {"arguments", "pile"}


def test_solving_a_whole_pile_needs_no_torch_and_nothing_that_mends_piles(here):
    pieces, record, answer = (str(here / name) for name in ("pieces", "record.csv", "answer.txt"))
    result = run_code(f"""
import sys
sys.modules["torch"] = None  # importing it raises ImportError
from unshuffle.commands import main
from unshuffle.errors import FileError
assert main(["solve", {pieces!r}, {record!r}, "--quiet"]) == 0
prefix = "unshuffle.repair."
print("loaded", *(name.removeprefix(prefix) for name in sys.modules if name.startswith(prefix)))
assert main(["assemble", {pieces!r}, {answer!r}, "--to", "x.pt"]) == 2
""")
    assert result.returncode == 0, result.stderr
    assert "pip install 'unshuffle[torch]'" in result.stderr
    (loaded,) = re.findall("^loaded (.*)$", result.stdout, re.MULTILINE)
    # The interface, and the file of each repair that says whether it is to be asked.
    asked = {"case", "repair", "registry", "detached_biases", "identical_copies", "missing_pieces"}
    asked |= {"other_activation", "permuted_units", "scaled_inputs", "shuffled_columns", "versions"}
    asked |= {
        "foreign_blocks",
        "no_skip",
        "other_block",
        "other_units",
        "in_turn",
        "least_squares",
        "assumptions",
    }
    assert set(loaded.split()) == asked | {"wrong_record", "controls"}


@pytest.mark.parametrize(
    "words",
    [
        ["pair", "PIECES"],
        ["verify", "PIECES", "RECORD", "ANSWER"],
        ["inspect", "PIECES", "RECORD"],
        ["solve", "PIECES", "RECORD", "--quiet"],
        ["lab", "list"],
    ],
)
def test_the_reader_of_the_output_may_leave_early(here, words):
    places = {"PIECES": "pieces", "RECORD": "record.csv", "ANSWER": "answer.txt"}
    filled = [here / places[word] if word in places else word for word in words]
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "unshuffle", *filled],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"")


def test_the_example_is_solved(example):
    result = run("solve", example / "pieces", example / "record.csv", "--json")
    assert result.returncode == 0, result.stderr
    published = (example / "answer.sha256").read_text().split()[0]
    assert json.loads(result.stdout)["sha256"] == published
