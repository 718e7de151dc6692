"""A network of any kind through the command line: its code is a file that a user names."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

torch = pytest.importorskip("torch")

from unshuffle import read_pile, read_records, read_solution  # noqa: E402
from unshuffle.commands import main  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

CODE = '''
import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    def forward(self, x):
        return x + self.down(functional.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    """Reads rows of numbers and their signs; gives logits and what they are made of."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(5, 8), nn.Linear(8, 6)
        self.blocks = nn.ModuleList(Block() for _ in range(4))

    def forward(self, rows, flip):
        x = self.stem(torch.where(flip[:, None], -rows, rows))
        for block in self.blocks:
            x = block(x)
        return {"last": x, "logits": self.head(x)}


class Silent(nn.Sequential):
    def forward(self, rows):
        super().forward(rows)
        return 3


def make():
    print("a file may print")
    torch.manual_seed(0)
    net = Net()
    for block in net.blocks:
        nn.init.normal_(block.norm.weight)
        nn.init.normal_(block.norm.bias)
    return net.eval()


def bare():
    """Has the right weights but in the blocks."""
    net = make()
    for block in net.blocks:
        for module in (block.norm, block.up, block.down):
            module.reset_parameters()
    return net


def wide():
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(3))).eval()


def silent():
    return Silent(*(nn.Linear(5, 5) for _ in range(3))).eval()


def trained():
    return make().train()


def broken():
    raise ValueError("no weights here\\nand more")


def flat():
    return nn.Linear(5, 6).eval()


def number():
    return 3


def needing(depth):
    return make()


class Numbers(nn.Sequential):
    def __init__(self, last):
        super().__init__(*(nn.Linear(5, 5) for _ in range(3)))
        self.last = last

    def forward(self, rows):
        return self.last(super().forward(rows))


def counting():
    return Numbers(lambda x: x.argmax(1)).eval()


def summing():
    return Numbers(lambda x: x.mean()).eval()


def kind():
    return Net


size = 4
'''


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with the code, and two drops of the network."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "net.py").write_text(CODE)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 5)).astype(np.float32)
    np.savez(folder / "inputs.npz", rows=rows, flip=rng.random(60) < 0.5)
    for level in ("blocks", "layers", "unnamed-layers", "tensors"):
        dropped = drop(folder, level, folder / level)
        assert dropped == 0
    return folder


def drop(folder, level, out, *options):
    words = ["drop", "--model", f"{folder}/net.py:make", "--inputs", folder / "inputs.npz"]
    words += ["--records", 40, "--seed", 3, "--level", level, "--out", out, *options]
    return main([*map(str, words), "--format", "safetensors"])


def run(capsys, *words):
    """What a command printed, after its exit status."""
    capsys.readouterr()
    status = main([*map(str, words)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_what_is_dropped_is_everything_once(here):
    rest = load_file(here / "layers" / "rest.safetensors")
    assert {*rest} == {"stem.weight", "stem.bias", "head.weight", "head.bias"}
    manifest = json.loads((here / "layers" / "manifest.json").read_text())
    assert (manifest["pieces"], manifest["level"], manifest["outputs"]) == (12, "layers", 8)
    assert [len(read_pile(here / level / "pieces", linear=False)) for level in LEVELS] == [
        4,
        12,
        12,
        24,
    ]


LEVELS = ("blocks", "layers", "unnamed-layers", "tensors")


@pytest.fixture(scope="module")
def solved(here):
    out = here / "solved"
    words = ["solve", here / "blocks" / "pieces", here / "blocks" / "record.npz"]
    words += ["--model", f"{here}/net.py:bare", "--out", out, "--quiet"]
    assert main([*map(str, words)]) == 0
    return out


def test_a_solution_is_kept_under_the_names_of_the_module(here, solved):
    right = (here / "blocks" / "sealed" / "answer.txt").read_text().strip()
    assert (solved / "answer.txt").read_text().strip() == right
    found = read_solution(solved)
    assert found.exact
    assert found.slots == dict(
        zip((f"blocks.{k}" for k in range(4)), map(int, right.split(",")), strict=True)
    )
    assert {*found.as_given} == {*load_file(here / "blocks" / "rest.safetensors")}
    module = code(here)["make"]()
    tensors = load_file(solved / "network.safetensors")
    assert {*tensors} == {*module.state_dict()}
    for name, values in module.state_dict().items():
        np.testing.assert_array_equal(values.numpy(), tensors[name])
        assert torch.equal(values, found.state_dict()[name])


def test_a_solution_is_drawn_and_reported(here, capsys, solved, tmp_path):
    record = here / "blocks" / "record.npz"
    status, out, err = run(capsys, "report", solved, record, "--out", tmp_path / "page.html")
    assert (status, err) == (0, "")
    assert "exact, 4 blocks" in out
    page = (tmp_path / "page.html").read_text()
    assert "unshuffle: exact, 4 blocks" in page
    pytest.importorskip("matplotlib")
    for name in ("chain", "path", "search"):
        status, _, err = run(capsys, "plot", name, solved, "--out", tmp_path / f"{name}.svg")
        assert (status, err) == (0, "")
    status, _, err = run(capsys, "plot", "scores", solved, "--out", tmp_path / "scores.svg")
    assert status == 2
    assert "weights say nothing" in err
    assert err.count("\n") == 1


def code(folder):
    names = {}
    exec((folder / "net.py").read_text(), names)
    return names


def test_without_its_code_a_kept_network_says_so(solved):
    from unshuffle.errors import UsageError

    found = read_solution(solved)
    with pytest.raises(UsageError, match=r"module\.load_state_dict"):
        found.to_torch()
    with pytest.raises(UsageError, match=r"module\.load_state_dict"):
        found.network.predict(np.zeros((3, 6)))


def test_parts_of_two_solutions_are_refused(here, solved, tmp_path):
    from unshuffle.errors import FileError

    for name in ("solution.json", "trace.npz", "evidence.npz"):
        (tmp_path / name).write_bytes((solved / name).read_bytes())
    save_file({"blocks.0.up.weight": np.ones((2, 2))}, tmp_path / "network.safetensors")
    with pytest.raises(FileError, match=r"holds no tensor of slot blocks\.1"):
        read_solution(tmp_path)


@pytest.mark.parametrize("level", LEVELS)
def test_verify_knows_the_right_answer_at_every_level(here, capsys, level):
    pieces, record = here / level / "pieces", here / level / "record.npz"
    answer = (here / level / "sealed" / "answer.txt").read_text().strip()
    model = ("--model", f"{here}/net.py:bare")
    status, out, _ = run(capsys, "verify", pieces, record, answer, *model, "--json")
    assert json.loads(out)["mse"] < 1e-12
    assert json.loads(out)["outcome"] in ("exact", "ambiguous")
    if level != "layers":
        return
    assert status == 0
    assert json.loads(out)["blocks"][0] == [*map(int, answer.split(",")[:3])]
    ids = answer.split(",")
    swapped = ",".join([*ids[3:6], *ids[:3], *ids[6:]])
    status, out, _ = run(capsys, "verify", pieces, record, swapped, *model)
    assert status == 3
    assert out.startswith("misfit")
    wrong = ",".join([ids[1], ids[0], *ids[2:]])
    status, _, err = run(capsys, "verify", pieces, record, wrong, *model)
    assert status == 2
    assert "in place 1, where norm of block 1 belongs" in err


def test_inspect_shows_stack_roles_slots_and_pieces(here, capsys):
    words = ("inspect", here / "layers" / "pieces", "--model", f"{here}/net.py:bare")
    status, out, _ = run(capsys, *words, "--json")
    assert status == 0
    found = json.loads(out)
    (stack,) = found["stacks"]
    assert stack["name"] == "blocks.*"
    assert stack["blocks"] == [f"blocks.{k}" for k in range(4)]
    assert [each["roles"] for each in stack["classes"]] == [["norm"], ["up"], ["down"]]
    assert [each["slots"] for each in stack["classes"]] == [4, 4, 4]
    assert stack["classes"][1]["tensors"] == {"up.weight": [16, 8], "up.bias": [16]}
    ids = [name for each in stack["classes"] for name in each["ids"]]
    assert sorted(ids) == [*range(12)]
    assert {*found["as_given"]} == {*load_file(here / "layers" / "rest.safetensors")}
    _, out, _ = run(capsys, *words)
    assert "stack blocks.*: 4 blocks" in out


def test_inspect_of_single_tensors_by_their_last_names(here, capsys):
    words = ("inspect", here / "unnamed-layers" / "pieces", "--model", f"{here}/net.py:bare")
    _, out, _ = run(capsys, *words, "--json")
    assert [each["roles"] for each in json.loads(out)["stacks"][0]["classes"]] == [
        ["norm"],
        ["up"],
        ["down"],
    ]


def test_pair_shows_which_pieces_may_share_a_block(here, capsys):
    pieces, record = here / "layers" / "pieces", here / "layers" / "record.npz"
    words = ("pair", pieces, record, "--model", f"{here}/net.py:bare")
    status, out, _ = run(capsys, *words, "--json")
    assert status == 0
    found = json.loads(out)
    told = {role for each in found["links"] for role in each}
    assert told.union(found["without_link"]) == {"norm", "up", "down"}
    assert "links by weights: " in run(capsys, *words)[1]


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pt"])
def test_assemble_writes_the_module_that_an_answer_makes(here, tmp_path, capsys, suffix):
    folder = here / "blocks"
    out = tmp_path / f"network.{suffix}"
    words = ("assemble", folder / "pieces", folder / "sealed" / "answer.txt", "--to", out)
    words += ("--model", f"{here}/net.py:bare", "--record", folder / "record.npz")
    assert run(capsys, *words)[0] == 0
    module, right = code(here)["bare"](), code(here)["make"]().state_dict()
    read = {"safetensors": load_file, "npz": np.load, "pt": torch.load}[suffix](out)
    module.load_state_dict({name: torch.as_tensor(read[name]) for name in right})
    assert all(torch.equal(one, right[name]) for name, one in module.state_dict().items())


def test_all_pieces_may_lie_in_one_file(here, tmp_path):
    pile = read_pile(here / "layers" / "pieces", linear=False)
    tensors = {
        f"loose.{piece.id}.{name}": values
        for piece in pile
        for name, values in piece.tensors.items()
    }
    save_file(tensors, tmp_path / "all.safetensors")
    np.savez(tmp_path / "all.npz", **tensors)
    for name in ("all.safetensors", "all.npz"):
        other = read_pile(tmp_path / name, linear=False)
        assert other.ids == pile.ids
        assert [piece.shapes for piece in other] == [piece.shapes for piece in pile]


def test_names_that_say_nothing_leave_it_to_shapes(here, tmp_path, capsys):
    for piece in read_pile(here / "layers" / "pieces", linear=False):
        if "norm.weight" in piece.tensors:  # of one shape, so their last names have to tell
            renamed = {f"x.{n.rpartition('.')[2]}": v for n, v in piece.tensors.items()}
        else:
            renamed = {f"t{k}": v for k, v in enumerate(piece.tensors.values())}
        save_file(renamed, tmp_path / f"{piece.id}.safetensors")
    answer = here / "layers" / "sealed" / "answer.txt"
    words = ("verify", tmp_path, here / "layers" / "record.npz", answer)
    status, out, _ = run(capsys, *words, "--model", f"{here}/net.py:bare", "--json")
    assert status == 0
    assert json.loads(out)["exact"]


def test_a_record_may_be_safetensors_and_name_a_field(here, tmp_path, capsys):
    record = read_records(here / "blocks" / "record.npz", named=True)
    with torch.no_grad():
        arrays = record.arrays(record.inputs)
        given = {name: torch.from_numpy(one) for name, one in arrays.items()}
        logits = code(here)["make"]()(**given)["logits"].numpy()
    save_file({**arrays, "prediction.logits": logits}, tmp_path / "record.safetensors")
    words = ("solve", here / "blocks" / "pieces", tmp_path / "record.safetensors", "--quiet")
    status, out, _ = run(capsys, *words, "--model", f"{here}/net.py:bare", "--json")
    assert status == 0
    assert json.loads(out)["slots"]
    save_file({**arrays, "prediction.loss": logits}, tmp_path / "other.safetensors")
    words = ("solve", here / "blocks" / "pieces", tmp_path / "other.safetensors", "--quiet")
    status, _, err = run(capsys, *words, "--model", f"{here}/net.py:bare")
    assert status == 2
    assert "has the output 'loss', but the module gives a dict with last, logits" in err


def test_a_search_goes_on_from_its_checkpoint(here, tmp_path, capsys):
    words = ["solve", here / "blocks" / "pieces", here / "blocks" / "record.npz", "--quiet"]
    words += ["--model", f"{here}/net.py:bare", "--checkpoint", tmp_path / "kept.npz"]
    first, second = (run(capsys, *words, "--json") for _ in range(2))
    assert first[0] == second[0] == 0
    assert json.loads(first[1])["permutation"] == json.loads(second[1])["permutation"]


def test_the_real_command_line_prints_nothing_but_the_answer(here):
    words = ["verify", here / "layers" / "pieces", here / "layers" / "record.npz"]
    words += [here / "layers" / "sealed" / "answer.txt", "--model", "net.py:bare", "--json"]
    command = [sys.executable, "-m", "unshuffle", *map(str, words)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=here)
    assert found.returncode == 0
    assert json.loads(found.stdout)["exact"]
    assert "a file may print" in found.stderr
    assert not (here / "__pycache__").exists()


def changed(here, tmp_path, **arrays):
    """A record with other arrays; None takes one away."""
    with np.load(here / "blocks" / "record.npz") as record:
        held = {**record, **arrays}
    path = tmp_path / "record.npz"
    np.savez(path, **{name: one for name, one in held.items() if one is not None})
    return path


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ("net.py", "names no function; write FILE.py:FUNCTION"),
        ("nowhere.py:make", "there is no such file or folder"),
        ("net.py:mkae", "has no function mkae (did you mean make?); it defines "),
        ("net.py:size", "size is of type int, but a function is needed"),
        ("net.py:needing", "needing cannot be called without arguments (missing a required"),
        (
            "net.py:broken",
            "broken fails (line 70: ValueError: no weights here); correct it there, where",
        ),
        ("net.py:number", "number returns no torch.nn.Module but int; return the network"),
        ("net.py:kind", "kind returns no torch.nn.Module but class Net; return the network"),
        ("net.py:Net", "a module in training mode, in which dropout and batch norms"),
        ("net.py:trained", "dropout and batch norms compute something else; return module.eval()"),
        ("net.py:flat", "Linear has no stack"),
        ("net.py:wide", "fits no slot of the"),
        ("syntax.py:make", "cannot be run (line 2: "),
        ("failing.py:make", "cannot be run (line 3: ModuleNotFoundError: No module named 'nowhere"),
        ("leaving.py:make", "cannot be run (line 1: SystemExit"),
    ],
)
def test_every_misuse_of_the_code_is_one_line(here, capsys, model, what):
    (here / "syntax.py").write_text("def make():\n    return (\n")
    (here / "failing.py").write_text("import torch\n\nimport nowhere_at_all\n")
    (here / "leaving.py").write_text("raise SystemExit\n")
    words = ("solve", here / "blocks" / "pieces", here / "blocks" / "record.npz", "--quiet")
    refused(run(capsys, *words, "--model", f"{here}/{model}"), what)


def refused(result, what):
    status, out, err = result
    assert status == 2
    assert out == ""
    err = err.replace("a file may print\n", "")
    assert err.startswith("unshuffle: ")
    assert err.count("\n") == 1
    assert what in err


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"rows": None}, "missing a required argument"),
        ({"colour": np.zeros(40)}, "no parameter 'colour', only rows, flip; leave it out"),
        (
            {"flip": np.zeros(39, bool)},
            "holds rows (40 rows), flip (39 rows), prediction (40 rows), but",
        ),
        ({"prediction": np.zeros((40, 5))}, "5 numbers of prediction a row, but"),
        ({"prediction.logits": np.zeros((40, 6))}, "but one output is compared"),
        ({"rows": np.full((40, 5), np.inf)}, "rows holds NaN or an infinity"),
        ({"rows": np.array(["a"] * 40)}, "rows"),
    ],
)
def test_every_misuse_of_a_record_is_one_line(here, tmp_path, capsys, arrays, what):
    record = changed(here, tmp_path, **arrays)
    words = ("solve", here / "blocks" / "pieces", record, "--quiet")
    if what == "missing a required argument":
        what = "missing 1 required"
    refused(run(capsys, *words, "--model", f"{here}/net.py:bare"), what)


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        (
            {"output": np.zeros((40, 6)), "flip": None, "prediction": None},
            "'output', only rows, flip; rename the array as one of: flip, or call it prediction",
        ),
        (
            {"y": np.zeros((40, 6)), "prediction": None},
            "'y', only rows, flip; call it prediction if",
        ),
        (
            {"flip": np.zeros(40, bool), "y": np.zeros((40, 6))},
            "'y', only rows, flip; leave it out",
        ),
    ],
)
def test_every_command_names_an_array_that_is_no_parameter(here, tmp_path, capsys, arrays, what):
    record, pieces = changed(here, tmp_path, **arrays), here / "blocks" / "pieces"
    answer, to = here / "blocks" / "sealed" / "answer.txt", tmp_path / "net.npz"
    for words in (
        ("solve", pieces, record, "--quiet"),
        ("pair", pieces, record),
        ("verify", pieces, record, answer),
        ("assemble", pieces, answer, "--record", record, "--to", to),
    ):
        refused(run(capsys, *words, "--model", f"{here}/net.py:bare"), f"has no parameter {what}")
    _, out, err = run(capsys, "inspect", pieces, record, "--model", f"{here}/net.py:bare")
    assert "stack blocks.*" in out
    assert f"has no parameter {what}" in err


def test_pieces_that_are_too_few_or_fit_nowhere_are_one_line(here, tmp_path, capsys):
    for path in sorted((here / "layers" / "pieces").iterdir())[1:]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = ("--model", f"{here}/net.py:bare")
    record = here / "layers" / "record.npz"
    refused(run(capsys, "solve", tmp_path, record, *model, "--quiet"), "3 pieces fit ")
    save_file({"weight": np.ones((3, 3), np.float32)}, tmp_path / "piece_99.safetensors")
    what = "piece 99 (weight (3, 3)) fits no slot"
    refused(run(capsys, "solve", tmp_path, record, *model, "--quiet"), what)
    status, out, err = run(capsys, "inspect", tmp_path, *model)
    assert status == 2
    assert "stack blocks.*: 4 blocks" in out
    assert "fits no slot" in err


def test_who_forgets_the_code_is_told_how_to_give_it(here, capsys):
    for level in ("blocks", "layers"):
        words = ("solve", here / level / "pieces", here / level / "record.npz", "--quiet")
        refused(run(capsys, *words), "give the network's code with --model FILE.py:FUNCTION")
    refused(run(capsys, *words, "--device", "cpu"), "--device says where the module of --model")


@pytest.mark.parametrize(
    ("model", "what", "dropped"),
    [
        (
            "silent",
            "gives an object of type int without tensors, but its output must be a tensor",
            None,
        ),
        ("counting", "gives torch.int64 alone, but its output must be a tensor of real", None),
        (
            "summing",
            "of shape (); record its output, rows on the first axis",
            "a tensor of shape () for 9 rows, but the first axis",
        ),
    ],
)
def test_outputs_that_cannot_be_compared_are_one_line(
    here, tmp_path, capsys, *, model, what, dropped
):
    module, pieces = code(here)[model](), tmp_path / "pieces"
    pieces.mkdir()
    for number, layer in enumerate([*module][:3]):
        tensors = {name: one.numpy() for name, one in layer.state_dict().items()}
        save_file(tensors, pieces / f"{number}.safetensors")
    np.savez(tmp_path / "record.npz", rows=np.ones((9, 5), np.float32), prediction=np.ones((9, 1)))
    words = ("solve", pieces, tmp_path / "record.npz", "--quiet")
    refused(run(capsys, *words, "--model", f"{here}/net.py:{model}"), what)
    words = ("drop", "--inputs", tmp_path / "record.npz", "--records", 9, "--seed", 1)
    words += ("--out", tmp_path / "out", "--model", f"{here}/net.py:{model}")
    refused(run(capsys, *words), dropped or what)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["solve", "{p}", "{r}", "--signal", "trace"], "--signal says something of blocks"),
        (["solve", "{p}", "{r}", "--permuted-units"], "--permuted-units says something"),
        (["solve", "{p}", "{r}", "{r}"], "--model is of one record"),
        (["verify", "{p}", "{r}", "0 1", "--activation", "relu"], "--activation says something"),
        (["verify", "{p}", "{r}", "0,1,2"], "names 3 of 4 pieces"),
        (["verify", "{p}", "{r}", "0,1,2", "--device", "cpu"], "names 3 of 4 pieces"),
        (["solve", "{p}", "{r}", "--device", "cuda:99"], "on the device 'cuda:99' here; choose"),
        (["pair", "{p}", "{r}", "--device", "gpu"], "on the device 'gpu' here; choose one of: cpu"),
        (["pair", "{p}"], "needs the record too"),
        (["assemble", "{p}", "0,1,2,3", "--to", "x.npz"], "needs --record"),
        (["solve", "{p}", "{r}", "--quiet", "--inputs", "rows"], "names of columns are for tables"),
        (["drop", "--records", "5", "--seed", "1", "--out", "x"], "needs --inputs"),
    ],
)
def test_what_does_not_go_with_a_model_is_one_line(here, capsys, words, what):
    folder = here / "blocks"
    words = [word.format(p=folder / "pieces", r=folder / "record.npz") for word in words]
    refused(run(capsys, *words, "--model", f"{here}/net.py:bare"), what)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--lose", "1"], "--lose serves networks of blocks x + out(a(inp(x))) only"),
        (["--weights", "int8"], "--weights int8 serves networks"),
        (["--records", "61"], "61 records are asked for, but there are 60 rows"),
    ],
)
def test_what_a_module_cannot_be_dropped_with_is_one_line(here, tmp_path, capsys, options, what):
    capsys.readouterr()
    status = drop(here, "blocks", tmp_path / "out", *options)
    printed = capsys.readouterr()
    refused((status, printed.out, printed.err), what)


def test_a_forward_that_fails_on_the_inputs_is_one_line(here, tmp_path, capsys):
    np.savez(tmp_path / "inputs.npz", rows=np.ones((60, 4), np.float32), flip=np.ones(60, bool))
    words = ("drop", "--model", f"{here}/net.py:make", "--inputs", tmp_path / "inputs.npz")
    words += ("--records", 5, "--seed", 3, "--out", tmp_path / "out")
    refused(run(capsys, *words), "forward fails on the inputs of")


def test_a_module_is_dropped_with_the_weights_of_a_state_dict(here, tmp_path, capsys):
    module = code(here)["make"]()
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    words = ["drop", tmp_path / "weights.pth", "--model", f"{here}/net.py:bare"]
    words += ["--inputs", here / "inputs.npz", "--records", 40, "--seed", 3, "--level", "blocks"]
    words += ["--format", "safetensors"]
    assert run(capsys, *words, "--out", tmp_path / "out")[0] == 0
    for name in ("record.npz", "answer.sha256", "rest.safetensors"):
        one, other = (folder / name for folder in (tmp_path / "out", here / "blocks"))
        assert one.read_bytes() == other.read_bytes(), name
    state = module.state_dict()
    del state["stem.bias"]
    torch.save(state, tmp_path / "weights.pth")
    refused(run(capsys, *words, "--out", tmp_path / "again"), "only the module has stem.bias")


def test_a_damaged_pile_of_another_kind_is_told_that_repairs_do_not_serve_it(
    here, tmp_path, capsys
):
    with np.load(here / "blocks" / "record.npz") as record:
        wrong = np.random.default_rng(0).permutation(record["prediction"])
    path = changed(here, tmp_path, prediction=wrong)
    words = ("solve", here / "blocks" / "pieces", path, "--time-limit", 2, "--quiet", "--json")
    status, out, _ = run(capsys, *words, "--model", f"{here}/net.py:bare")
    assert status == 3
    found = json.loads(out)
    assert "repairs of a damaged pile or record serve blocks" in " ".join(
        found["findings"]["notes"]
    )
    repairs = found["repairs"]
    assert repairs
    for said in repairs.values():
        assert said == "not tried: it serves blocks x + out(a(inp(x))) alone"


def test_the_commands_of_the_page_run(here, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "modules.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert {words[1] for words in commands} == {"inspect", "solve", "verify", "assemble", "drop"}
    shutil.copytree(here / "blocks" / "pieces", tmp_path / "pieces")
    for name in ("record.npz", "sealed/answer.txt"):
        shutil.copy(here / "blocks" / name, tmp_path)
    for name in ("net.py", "inputs.npz"):
        shutil.copy(here / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    for words in commands:
        assert main(words[1:]) == 0, (words, capsys.readouterr().err)


def test_the_readme_puts_a_module_back_in_six_lines(here, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    commands, session = re.findall(r"^```(?:text|py)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len([*filter(None, f"{commands}{session}".splitlines())]) == 6
    for name in ("net.py", "inputs.npz"):
        shutil.copy(here / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for line in commands.splitlines():
        assert main(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    names = {}
    exec(session, names)
    right, found = code(here)["make"]().state_dict(), names["module"].state_dict()
    assert all(torch.equal(values, found[name]) for name, values in right.items())
