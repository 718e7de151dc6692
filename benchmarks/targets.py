"""What reads a file that may be hostile: each with sound files to begin from, for fuzzing."""

import gzip
import io
import json
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from unshuffle import (
    Piece,
    Pile,
    Records,
    checkpoint,
    read_pile,
    read_records,
    read_solution,
    solve,
)
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.files import pack_npz, read_network, read_text, write_network
from unshuffle.files.pickle_machine import read_pickle
from unshuffle.files.plain import read_json
from unshuffle.lab.experiment import Experiment, read_experiments
from unshuffle.lab.ledger import add_runs, ledger_text, read_runs
from unshuffle.lab.plan import comparison, findings, render_plan
from unshuffle.oracle.recipe import SHIPPED, read_recipe
from unshuffle.pieces.answer import parse_answer
from unshuffle.pieces.pile import Floats
from unshuffle.solution.checkpointing import Checkpoint
from unshuffle.solution.storage import FILES, write_solution
from unshuffle.views.report import report_page

Inner = tuple[bytes, Callable[[bytes], bytes]]
"""What a container holds, and how something else is put in its place."""


@dataclass(frozen=True)
class Target:
    """A reader.

    Parameters
    ----------
    name
        Of the file that it reads; may lie in a folder beside others.
    read
        Reads that file, and uses what it gives as far as that is done with files of others.
    sound
        Contents that are read without complaint.
    """

    name: str
    read: Callable[[Path], object]
    sound: tuple[bytes, ...]


def inner(content: bytes, choice: int) -> Inner | None:
    """One of the parts that lie behind a checksum; None where there are none."""
    if content[:2] == b"\x1f\x8b":
        try:
            return gzip.decompress(content), gzip.compress
        except (OSError, EOFError, zlib.error):
            return None
    if content[:2] != b"PK":
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {each: archive.read(each) for each in archive.namelist()}
    except Exception:
        return None
    if not members:
        return None
    name = sorted(members)[choice % len(members)]

    def repack(part: bytes) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for each, held in members.items():
                archive.writestr(each, part if each == name else held)
        return packed.getvalue()

    return members[name], repack


def make_targets(scratch: Path) -> dict[str, Target]:
    """Every reader by a name; the sound files are made in a scratch folder."""
    pile, records = _dropped()
    with checkpoint(scratch / "search.npz") as kept:
        solution = solve(pile, records, checkpoint=kept)
    folder = scratch / "solution"
    write_solution(solution, folder, force=True)

    network = partial(_networks, solution.network.tensors(), scratch)
    kinds = (".pth", ".safetensors", ".npz")
    (asked,) = read_experiments([EXPERIMENTS / "matching.toml"])
    recipes = [path.read_bytes() for path in sorted(SHIPPED.glob("*.toml"))]
    return {
        **{f"pile{kind}": Target(f"p{kind}", read_pile, network(kind)) for kind in kinds},
        **{f"network{kind}": Target(f"n{kind}", read_network, network(kind)) for kind in kinds},
        **_other_piles(solution.network.tensors()),
        **_tables(),
        **{
            f"solution/{name}": Target(
                f"solution/{name}", _read_and_show, ((folder / name).read_bytes(),)
            )
            for name in FILES[1:]
        },
        "answer": Target("a.txt", partial(_answer, pile), (b"0,1,2", b"\xef\xbb\xbf1\n2, 0")),
        "checkpoint": Target(
            "c.npz", partial(_resumed, pile, records), ((scratch / "search.npz").read_bytes(),)
        ),
        "recipe": Target("a.toml", read_recipe, tuple(recipes[::9])),
        "pickle": Target("state.pkl", _pickle, _pickles(network(".pth"))),
        "training": Target("t.safetensors", _training, (_trained(scratch),)),
        "experiment": Target("a.toml", _experiment, _experiments()),
        **{
            f"ledger{kind}": Target(f"l{kind}", partial(_ledger, asked), _runs(scratch, kind))
            for kind in (".jsonl", ".sqlite")
        },
        "story": Target("s.json", partial(read_json, advice="remove it"), (STORY,)),
    }


STORY = b'{"activation": "relu", "losses": [1.0, 2e-3, null], "by": {"a\\u00e4": [true]}}'


def _dropped() -> tuple[Pile, Records]:
    """A network of two blocks, dropped."""
    rng = np.random.default_rng(0)
    shapes = [(4, 3), (3, 4), (4, 3), (3, 4), (1, 3)]
    layers = [
        Linear(rng.normal(size=shape).astype("f4"), rng.normal(size=shape[0]).astype("f4"))
        for shape in shapes
    ]
    inputs = rng.normal(size=(40, 3)).astype("f4")
    pieces = [Piece.linear(n, layer.weight, layer.bias) for n, layer in enumerate(layers)]
    return Pile(pieces), Records(inputs, MlpNetwork.from_layers(layers).predict(inputs))


def _networks(tensors: Mapping[str, Floats], scratch: Path, suffix: str) -> tuple[bytes, ...]:
    """A network in a file of each number format."""
    path, contents = scratch / f"network{suffix}", []
    for stored_as in ("float32", "float16", "int8"):
        write_network(path, tensors, stored_as=stored_as, force=True)
        contents.append(path.read_bytes())
    return tuple(contents)


def _other_piles(tensors: Mapping[str, Floats]) -> dict[str, Target]:
    """A network as other programs keep one."""
    import torch

    state = {name: torch.from_numpy(values.copy()) for name, values in tensors.items()}
    piece = pack_npz({"weight": np.ones((2, 3)), "bias": np.ones(2)})
    layer = torch.nn.Linear(3, 4)
    optimiser = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    module = torch.nn.Sequential(layer, torch.nn.ReLU(), torch.nn.Linear(4, 3)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises against TorchScript
        script, frozen = torch.jit.script(module), io.BytesIO()
        torch.jit.save(torch.jit.freeze(script), frozen)
    flax = {name.replace("weight", "kernel"): values.T for name, values in tensors.items()}
    contents: dict[str, Callable[[io.BytesIO], object]] = {
        "legacy": lambda to: torch.save(state, to, _use_new_zipfile_serialization=False),
        "module": lambda to: torch.save(module, to),
        "checkpoint": lambda to: torch.save({"m": state, "opt": optimiser.state_dict()}, to),
        "pickled": lambda to: pickle.dump(state, to),
        "arrays": lambda to: pickle.dump([*flax.values()], to),
        "objects": lambda to: np.savez(to, params=np.array(flax)),
        "rows": lambda to: [np.save(to, values) for values in tensors.values()],
        "script": lambda to: torch.jit.save(script, to),
        "frozen": lambda to: to.write(frozen.getvalue()),
        "exported": lambda to: torch.export.save(
            torch.export.export(module, (torch.ones(1, 3),)), to
        ),
        "normed": lambda to: torch.save(torch.nn.utils.weight_norm(layer).state_dict(), to),
        "zipped": lambda to: _zip(to, {"a/p_0.npz": piece, "b/p_1.npz": piece, "r.csv": b"a"}),
    }
    piles = {}
    for name, write in contents.items():
        packed = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(packed)
        piles[f"pile/{name}"] = Target("p.bin", read_pile, (packed.getvalue(),))
    return piles


def _tensors(values: Mapping[str, Floats]) -> Iterator[bytes]:
    """Arrays as torch keeps them, in a dictionary and as a pair."""
    import torch

    tensors = {name: torch.from_numpy(each.copy()) for name, each in values.items()}
    for given in (tensors, (tensors["x"], tensors["y"])):
        to = io.BytesIO()
        torch.save(given, to)
        yield to.getvalue()


def _zipped(members: Mapping[str, bytes]) -> bytes:
    to = io.BytesIO()
    _zip(to, members)
    return to.getvalue()


def _zip(to: io.BytesIO, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _runs(scratch: Path, kind: str) -> tuple[bytes, ...]:
    """Three of the runs that are kept."""
    path = scratch / f"ledger{kind}"
    path.unlink(missing_ok=True)
    add_runs(path, read_runs(EXPERIMENTS / "ledger.jsonl")[::400][:3])
    return (path.read_bytes(),)


def _tables() -> dict[str, Target]:
    columns = {
        "a": np.linspace(-1, 1, 20),
        "b": np.linspace(0, 3, 20).astype(np.float32),
        "n": np.arange(20),
        "pred": np.linspace(5, 6, 20),
    }
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    text = "\n".join([",".join(columns), *rows, ""]).encode()

    def parquet(**options: object) -> bytes:
        packed = io.BytesIO()
        pq.write_table(pa.table(columns), packed, **options)
        return packed.getvalue()

    table = np.column_stack([*columns.values()])
    rows = [dict(zip(columns, row, strict=True)) for row in table[:4].tolist()]
    values = {"x": table[:, :2], "y": table[:, 3], "z": table[:, 2].astype("i2")}
    text_of_numpy, packed = io.BytesIO(), io.BytesIO()
    np.savetxt(text_of_numpy, table, header=" ".join(columns))
    np.savez_compressed(packed, **columns)
    parquets = (
        parquet(),
        parquet(compression="zstd", data_page_version="2.0"),
        parquet(compression="gzip", use_dictionary=False, row_group_size=7),
    )
    return {
        "record.csv": Target("r.csv", read_records, (text, b'"a",pred\r\n"1",\r\n')),
        "record.csv.gz": Target("r.csv.gz", read_records, (gzip.compress(text),)),
        "record.tsv": Target("r.tsv", read_records, (text.replace(b",", b"\t"), b"a;y\r1;2\r")),
        "record.txt": Target("r.txt", read_records, (text_of_numpy.getvalue(), b"1 2\n 3  4")),
        "record.json": Target(
            "r.json",
            read_records,
            (
                json.dumps(rows).encode(),
                "\n".join(map(json.dumps, rows)).encode(),
                json.dumps({"x": table[:3].tolist(), "y": [1, None, 2]}).encode(),
                json.dumps({"columns": ["a", "y"], "data": [[1, 2]]}).encode(),
                b'{"a": {"0": 1.5}, "pred": {"0": 2}}',
            ),
        ),
        "record.zip": Target("r.zip", read_records, (_zipped({"r.csv.gz": gzip.compress(text)}),)),
        "record.pt": Target("r.pt", read_records, tuple(_tensors(values))),
        "record.pkl": Target("r.pkl", read_records, (pickle.dumps(values),)),
        "record.npz": Target("r.npz", read_records, (packed.getvalue(),)),
        "record.parquet": Target("r.parquet", read_records, parquets),
    }


def _pickles(files: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The programs in files of `torch.save`."""
    programs = []
    for content in files:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            programs += [archive.read(n) for n in archive.namelist() if n.endswith("data.pkl")]
    return tuple(programs)


def _pickle(path: Path) -> object:
    return read_pickle(path.read_bytes(), path.name)


def _trained(scratch: Path) -> bytes:
    """The state of a training, after two epochs."""
    import torch

    from unshuffle.oracle.training import TrainingState, write_checkpoint

    weights, moments = {"0.weight": torch.ones(2, 3)}, {"0.weight.exp_avg": torch.zeros(2, 3)}
    write_checkpoint(scratch / "t", TrainingState(weights, moments, (0.5, 0.25), 3.0), "a" * 24)
    return (scratch / "t").read_bytes()


def _training(path: Path) -> object:
    from unshuffle.oracle.training import read_checkpoint

    return read_checkpoint(path, "a" * 24)


EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def _experiments() -> tuple[bytes, ...]:
    """Some of those that name no recipe beside them."""
    contents = [path.read_bytes() for path in sorted(EXPERIMENTS.glob("*.toml"))]
    return tuple([content for content in contents if b".toml" not in content][::9])


def _experiment(path: Path) -> object:
    return render_plan(findings(read_experiments([path]), []), "a command").encode()


def _ledger(asked: Experiment, path: Path) -> object:
    """Read a ledger and show what is in it."""
    runs = read_runs(path)
    ledger_text(runs).encode()
    methods = sorted({run.method for run in runs})
    tables = [comparison(runs, methods, name) for run in runs for name in run.measurements]
    assert all(cell.isprintable() for table in tables for row in table for cell in row)
    for run in runs:
        subject, method, seed = ("example",), (run.method,), (run.seed,)
        one = replace(asked, subjects=subject, methods=method, seeds=seed, rows=run.rows)
        text = render_plan(findings([one], [replace(run, subject="example")]), "a command")
        assert text.replace("\n", "").isprintable()
    return runs


def _answer(pile: Pile, path: Path) -> object:
    return parse_answer(read_text(path), pile)


def _resumed(pile: Pile, records: Records, path: Path) -> object:
    return solve(pile, records, checkpoint=Checkpoint(path))


def _read_and_show(path: Path) -> object:
    solution = read_solution(path.parent)
    assert repr(solution).replace("\n", "").isprintable()
    return report_page(solution)
