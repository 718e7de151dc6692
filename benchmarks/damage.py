"""What comes out of damaged piles: each kind of damage, in several degrees, on many networks.

    python benchmarks/damage.py MODEL … [--cases NAME …] [--again] [--rows N]
                                [--time-limit SECONDS] [--csv FILE]

Limits are processor seconds, so that other work on the machine changes nothing.

A MODEL is the folder of an oracle, or the file of a network's state dict. It may be a folder with
pieces/ and one CSV file, like that of the puzzle, whose network is had by solving it. Each is
dropped with each damage and solved. Lines are added to the CSV file as they come. What is in it is
not done again unless --again is said. The last line of a case counts. At the end the table of the
file is printed as Markdown.

"Wrong and confident" counts answers that are called exact or approximate and are another network.
It counts records that no arrangement of all pieces is said to fit though one does. Any makes the
exit status 1.
"""

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray

from common import ProcessorClock, count, find_material, print_markdown, refuse_unknown
from unshuffle import Outcome, Pile, Records, Solution, UnshuffleError, solve
from unshuffle.blocks.mlp import MlpNetwork, as_mlp
from unshuffle.files import read_network
from unshuffle.oracle.dropping import Dropped, Hardening, Second, draw_decoys, drop
from unshuffle.oracle.storage import read_oracle, read_story
from unshuffle.repair.separation import separate

DECOYS, BLOCKS, BOTH, RECORD = "decoys", "decoy network", "two records", "wrong record"
SHUFFLED = "columns shuffled"

CASES: dict[str, Hardening | tuple[str, int]] = {
    "nothing": Hardening(),
    "biases detached": Hardening(detach_biases=True),
    "units permuted": Hardening(scramble_hidden=True),
    **{f"{n} lost": Hardening(lose=n) for n in (1, 2, 4, 8)},
    **{f"{n} blocks lost": Hardening(lose_blocks=n) for n in (1, 2)},
    **{f"{n} decoys": (DECOYS, n) for n in (1, 2, 4, 8)},
    "a whole second network": (BLOCKS, 0),
    "a whole second network with its record": (BOTH, 0),
    **{f"{n} copies": Hardening(duplicate=n) for n in (1, 2, 4)},
    **{f"{n} noisy copies": Hardening(duplicate=n, duplicate_noise=0.02) for n in (1, 2, 4)},
    **{name: Hardening(weights=name) for name in ("float16", "bfloat16", "int8", "int8-scales")},
    **{f"pruned by {n} %": Hardening(prune=n / 100) for n in (1, 2, 4, 8)},
    **{f"{n} decimals": Hardening(decimals=n) for n in (4, 3, 2, 1)},
    **{f"noise of {n}": Hardening(noise=n) for n in (0.01, 0.02, 0.04, 0.08)},
    **{f"clipped at {n} sd": Hardening(clip=float(n)) for n in (4, 2, 1)},
    SHUFFLED: Hardening(shuffle_columns=True),
    "inputs standardised": Hardening(standardise=True),
    RECORD: (RECORD, 0),
}
"""By name: what is done, or what of another network is mixed in and how much of it."""

FIELDS = ("model", "case", "verdict", "outcome", "mse", "seconds")
EXACT, ABOUT, RIGHT, OPEN, REFUSED, WRONG = KINDS = (
    "exact",
    "approximate",
    "right, not claimed",
    "said to be unsolved",
    "refused",
    "wrong and confident",
)
CLAIMS = {Outcome.EXACT: EXACT, Outcome.APPROXIMATE: ABOUT}


def name_of(path: Path) -> str:
    """What a model is called in the table: an oracle by its recipe and seed."""
    if path.is_dir() and not (path / "pieces").is_dir():
        story = read_story(path)
        return f"{story['recipe']}/{story['content']['seed']}"
    return path.name


def read_model(path: Path) -> tuple[MlpNetwork, Records]:
    """A network, and rows that a record can be drawn from."""
    if (path / "pieces").is_dir():
        pile, records = find_material(path).read()
        solution = solve(pile, records)
        if not solution.exact:
            sys.exit(
                f"{path}: solved by itself it is {solution.outcome}, so nothing is known of it"
            )
        return as_mlp(solution.network), Records(records.inputs, np.empty((len(records), 0)))
    if path.is_dir():
        network, data = read_oracle(path)
        return network, data
    network = read_network(path)
    inputs = np.random.default_rng(0).standard_normal((4000, network.blocks.width))
    return network, Records(inputs.astype(np.float32), np.empty((4000, 0)))


def scrambled(network: MlpNetwork, rng: np.random.Generator) -> MlpNetwork:
    """Another network of the same shapes: the same blocks in another sequence, turned about."""
    flips = rng.permutation(network.blocks.width)
    blocks = network.blocks.take(rng.permutation(len(network.blocks)))
    return turned(MlpNetwork(blocks, network.last), flips)


def unlike(network: MlpNetwork, rng: np.random.Generator) -> MlpNetwork:
    """A network of the same shapes and distributions that no arrangement of these layers makes.

    The stream's dimensions are in another sequence for each layer.
    """
    blocks = network.blocks
    inp_weight, out_weight = blocks.inp_weight.copy(), blocks.out_weight.copy()
    for block in range(len(blocks)):
        inp_weight[block] = inp_weight[block][:, rng.permutation(blocks.width)]
        out_weight[block] = out_weight[block][rng.permutation(blocks.width)]
    return MlpNetwork(replace(blocks, inp_weight=inp_weight, out_weight=out_weight), network.last)


def turned(network: MlpNetwork, flips: NDArray[np.intp]) -> MlpNetwork:
    """The network with the features of its stream, and so its inputs, in another sequence."""
    blocks = network.blocks
    flipped = replace(
        blocks,
        inp_weight=blocks.inp_weight[:, :, flips],
        out_weight=blocks.out_weight[:, flips],
        out_bias=blocks.out_bias[:, flips],
    )
    return MlpNetwork(flipped, replace(network.last, weight=network.last.weight[:, flips]))


def damaged(network: MlpNetwork, data: Records, case: str, rows: int) -> Dropped:
    """Drop a network with some damage."""
    kind = CASES[case]
    rng = np.random.default_rng(7)
    rows = min(rows, len(data))
    if isinstance(kind, Hardening):
        return drop(network, data, rng=rng, rows=rows, hardening=kind)
    what, many = kind
    other = scrambled(network, np.random.default_rng(8))
    if what == RECORD:
        dropped = drop(network, data, rng=rng, rows=rows)
        inputs = dropped.records.inputs
        lost = unlike(network, np.random.default_rng(8))
        return replace(dropped, records=Records(inputs, lost.predict(inputs)))
    if what == BOTH:
        flips = np.random.default_rng(8).permutation(network.blocks.width)
        second = turned(network, flips), replace(data, inputs=data.inputs[:, flips])
        return drop(network, data, rng=rng, rows=rows, second=second)
    size = many if what == DECOYS else len(other.layers())
    decoys = draw_decoys(other, network, size, np.random.default_rng(9))
    return drop(network, data, rng=rng, rows=rows, decoys=decoys)


def verdict(dropped: Dropped, case: str, time_limit: float) -> tuple[str, str, float]:
    """Solve, and compare with the answer: the verdict, the outcome and the error.

    Of two networks with a record each, those of the one that came out worse.
    """
    if dropped.second is not None:
        return verdict_of_both(dropped, dropped.second, time_limit)
    try:
        solution = solve(
            dropped.pile(),
            dropped.records,
            permuted_units=case == "units permuted",
            time_limit=ProcessorClock(time_limit),
        )
    except UnshuffleError as error:
        return REFUSED, type(error).__name__, float("nan")
    right = case != RECORD and solution.answer == dropped.answer_text()
    if not right and dropped.copies and case != RECORD:  # an equal copy is as good
        names = [dropped.pieces[name] for name in solution.permutation if isinstance(name, int)]
        true = [dropped.pieces[name] for name in dropped.answer if name is not None]
        right = len(names) == len(true) and all(
            np.array_equal(one["weight"], other["weight"])
            for one, other in zip(names, true, strict=True)
        )
    if solution.outcome in CLAIMS:
        kind = CLAIMS[solution.outcome] if right else WRONG
    elif solution.outcome is Outcome.NO_FIT:
        # Where pieces are missing or too many, or inputs are not what was read, what is said is so:
        # no arrangement of all pieces fits.
        all_belong = len(dropped.answer) == len(dropped.pile()) and None not in dropped.answer
        kind = WRONG if all_belong and case not in (RECORD, SHUFFLED) else REFUSED
    else:
        kind = RIGHT if right else OPEN
    return kind, str(solution.outcome), solution.mse


def verdict_of_both(dropped: Dropped, second: Second, time_limit: float) -> tuple[str, str, float]:
    """The same of two networks with a record each."""

    def solve_one(pile: Pile, records: Records, seconds: float | None) -> Solution:
        return solve(pile, records, time_limit=ProcessorClock(seconds))

    records = (dropped.records, second.records)
    clock = ProcessorClock(time_limit)
    found = separate(dropped.pile(), records, solve_one, time_limit=clock)
    judged = []
    for solution, answer in zip(found, (dropped.answer, second.answer), strict=True):
        right = solution.permutation == answer
        kind = CLAIMS.get(solution.outcome, RIGHT) if right else OPEN
        if not right and solution.outcome in (*CLAIMS, Outcome.NO_FIT):
            kind = WRONG
        judged.append((kind, str(solution.outcome), solution.mse))
    return max(judged, key=lambda each: KINDS.index(each[0]))


def measure(done: set[tuple[str, str]], args: argparse.Namespace) -> Iterator[dict[str, str]]:
    """A line for each model and case that is not done, as soon as it is measured."""
    for path in args.models:
        model = name_of(path)
        cases = [case for case in args.cases or CASES if (model, case) not in done]
        if not cases:
            continue
        network, data = read_model(path)
        for case in cases:
            began = process_time()
            try:
                dropped = damaged(network, data, case, args.rows)
            except UnshuffleError:  # more damage than the network has pieces
                continue
            kind, outcome, mse = verdict(dropped, case, args.time_limit)
            values = (model, case, kind, outcome, f"{mse:.3g}", f"{process_time() - began:.1f}")
            yield dict(zip(FIELDS, values, strict=True))


def main() -> None:
    """Measure what is not in the file yet, and print the table."""
    parser = argparse.ArgumentParser(description="Solve damaged piles.")
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    names = ", ".join(CASES).replace("%", "%%")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help=f"of {names}")
    parser.add_argument("--again", action="store_true", help="measure what is in the file anew")
    parser.add_argument("--rows", type=count, default=6000, help="in each record (%(default)s)")
    parser.add_argument("--time-limit", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--csv", type=Path, default=Path("damage.csv"), metavar="FILE")
    args = parser.parse_args()
    refuse_unknown("case ", args.cases, CASES)
    found: dict[tuple[str, str], dict[str, str]] = {}
    if args.csv.exists():
        with args.csv.open(newline="", encoding="utf-8") as file:
            found = {(line["model"], line["case"]): line for line in csv.DictReader(file)}
    with args.csv.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not found:
            writer.writeheader()
        for line in measure(set() if args.again else {*found}, args):
            found[line["model"], line["case"]] = line
            writer.writerow(line)
            file.flush()
    rows = []
    for case in CASES:
        counts = Counter(line["verdict"] for line in found.values() if line["case"] == case)
        if counts:
            rows.append([case, *(str(counts[kind]) for kind in KINDS)])
    print_markdown(["damage", *KINDS], rows)
    sys.exit(any(line["verdict"] == WRONG for line in found.values()))


if __name__ == "__main__":
    main()
