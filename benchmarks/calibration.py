"""Whether what the certificate states at 99 % holds 99 % of the time, on oracles under noise.

    python benchmarks/calibration.py --zoo .zoo [RECIPE …] [--noise SHARE …] [--rows N …]

Every oracle of the zoo is asked for predictions, which get normal noise. Its layers are solved as a
pile, and from where that ends the best-fitting arrangement is looked for without the evidence of
the weights. Where it reproduces the record each statement about neighbours and pairs is held
against the truth, by how sure it was. So is how sure `pair` calls each pair that it finds, by the
weights alone and with a record.
"""

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from common import ProcessorClock, count, machine, one_blas_thread, print_table, wilson
from unshuffle import Piece, Pile, Records, solve
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpBank, MlpNetwork
from unshuffle.grouping import pair
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.oracle.dropping import drop
from unshuffle.oracle.storage import is_oracle, read_oracle, read_story
from unshuffle.ordering.descent import descend
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import Arrangement, Kind, Role
from unshuffle.pieces.clock import Clock
from unshuffle.pieces.pile import Floats
from unshuffle.proof.certificate import STANDARD
from unshuffle.solution.arranging import certified

RECIPES = ("adam", "adamw", "adamw-heavy", "gelu", "zero-init", "adam-3-epochs", "depth-12")
RECIPES += ("width-32", "square", "silu", "one-cycle", "bits-3", "smooth", "smooth-3")

LEVELS = (0.5, 0.9, STANDARD.confidence, 0.999, 1.0)
"""Edges of the classes of confidence that are counted."""


@dataclass(frozen=True)
class Statement:
    """What was said, how surely, and whether it is so."""

    confidence: float
    holds: bool


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Hold certificates against known answers.")
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE")
    parser.add_argument("--zoo", type=Path, required=True, help="folder with trained oracles")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.01, 0.03, 0.1, 0.3])
    parser.add_argument("--rows", type=count, nargs="+", default=[500, 2000])
    parser.add_argument("--draws", type=count, default=3, help="of the noise (%(default)s)")
    parser.add_argument(
        "--time-limit",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="processor time of a search",
    )
    parser.add_argument("--seed", type=int, default=0, help="of rows and noise (%(default)s)")
    args = parser.parse_args()
    oracles = find_oracles(args.zoo, args.recipes)
    print(f"{machine()}; {len(oracles)} oracles, {args.draws} draws each\n")
    rng, drop_rng = np.random.default_rng(args.seed), np.random.default_rng(args.seed)
    neighbours, pairs, found_pairs = defaultdict(list), defaultdict(list), defaultdict(list)
    for folder in oracles:
        print(f"{read_story(folder)['recipe']} …", file=sys.stderr)
        network, data = read_oracle(folder)
        for rows in (0, *args.rows):
            found_pairs[0.0, rows] += matches(network, data, rows, drop_rng)
        for share in args.noise:
            for rows in args.rows:
                for _ in range(args.draws):
                    inputs = data.inputs[np.sort(rng.permutation(len(data))[:rows])]
                    records = noisy(network, inputs, share, rng)
                    about_order, about_pairs = statements(network, records, args.time_limit)
                    neighbours[share, rows] += about_order
                    pairs[share, rows] += about_pairs
    titles = ("neighbours", "pairs", "pairs before the search, by pair")
    for title, found in zip(titles, (neighbours, pairs, found_pairs), strict=True):
        print(f"Statements about {title}\n")
        head, *body = table(found)
        print_table(head, body)
        print()


def find_oracles(zoo: Path, recipes: list[str]) -> list[Path]:
    """Folders of the oracles of some recipes, by recipe and seed."""
    stories = {folder: read_story(folder) for folder in zoo.iterdir() if is_oracle(folder)}
    wanted = {folder: story for folder, story in stories.items() if story["recipe"] in recipes}
    return sorted(wanted, key=lambda one: (wanted[one]["recipe"], str(one)))


def noisy(network: MlpNetwork, inputs: Floats, share: float, rng: np.random.Generator) -> Records:
    """What a network predicts, with normal noise of a share of its spread."""
    predictions = network.predict(inputs).astype(np.float64)
    predictions += share * predictions.std() * rng.normal(size=predictions.shape)
    return Records(inputs, predictions)


def statements(
    network: MlpNetwork, records: Records, time_limit: float
) -> tuple[list[Statement], list[Statement]]:
    """What the certificate of the best-fitting arrangement says, about neighbours and pairs."""
    bank = ToldApart(*network.blocks.inp, *network.blocks.out, network.blocks.activation)
    problem = unpaired(bank, network.last, searched(network, records, time_limit), records)
    with one_blas_thread():
        found = best_fitting(problem)
        certificate = certified(problem, found, ("float32",), clock=Clock()).certificate
    if certificate is None:
        return [], []
    depth, outs = bank.rows[found[:, INP]].tolist(), bank.columns[found[:, OUT]].tolist()
    return (
        [
            Statement(one.confidence, depth[one.places[0]] < depth[one.places[1]])
            for one in certificate.neighbours
        ],
        [
            Statement(one.confidence, depth[one.places[0]] == outs[one.places[0]])
            for one in certificate.pairs
        ],
    )


def matches(
    network: MlpNetwork, data: Records, rows: int, rng: np.random.Generator
) -> list[Statement]:
    """What `pair` says of the pairs that it finds, with so many rows or by the weights alone."""
    dropped = drop(network, data, rng=rng, rows=rows or 1)
    with one_blas_thread():
        pairing = pair(
            dropped.pile(),
            dropped.records if rows else None,
            activation=network.blocks.activation,
        )
    true = {*zip(dropped.answer[:-1:2], dropped.answer[1:-1:2], strict=True)}
    return [Statement(one.confidence or 0.0, (one.inp, one.out) in true) for one in pairing.matches]


class ToldApart(MlpBank):
    """A bank whose inp and out layers are known as such, even where all have one shape."""

    @property
    def kind(self) -> Kind:
        """A kind none of whose pieces can change their roles."""
        inp, out = super().kind.roles
        return replace(super().kind, roles=(inp, Role("out", {**out.tensors, "known": ()})))


def unpaired(bank: MlpBank, last: Linear, grouped: Arrangement, records: Records) -> Problem:
    """What is to be ordered, with nothing known of the pairs but the record."""
    odds = np.zeros((len(bank.inp_weight), len(bank.out_weight)))
    evidence = Evidence((EdgeOdds(INP, OUT, odds, bank.rows, bank.columns),))
    return Problem(bank, last, grouped, evidence, records)


def searched(network: MlpNetwork, records: Records, time_limit: float) -> Arrangement:
    """Where a search ends whose pile holds the inps of a network, then its outs, then its last."""
    layers = network.layers()
    layers = [*layers[:-1:2], *layers[1:-1:2], layers[-1]]
    pile = Pile(Piece.linear(k, one.weight, one.bias) for k, one in enumerate(layers))
    name = network.blocks.activation.name
    solution = solve(pile, records, activation=name, time_limit=ProcessorClock(time_limit))
    return np.array(solution.blocks, np.intp)


def best_fitting(problem: Problem) -> Arrangement:
    """What descent without evidence ends in, from where the search has ended."""
    judge = problem.judge(problem.known)
    search = descend(judge, judge.run(problem.grouped), problem.evidence, done=lambda run: False)
    while True:
        try:
            next(search)
        except StopIteration as end:
            return end.value.arrangement


def table(found: dict[tuple[float, int], list[Statement]]) -> list[tuple[str, ...]]:
    """How many statements of each class of confidence hold, by noise and rows."""
    head = ["noise", "rows", *(f"{a:g} to {b:g}" for a, b in pairwise(LEVELS))]
    lines = [(*head, "made", "of them hold")]
    total = []
    for (share, rows), each in [*sorted(found.items()), ((None, None), total)]:
        total += each if share is not None else []
        cells = []
        for low, high in pairwise(LEVELS):
            held = [
                one.holds
                for one in each
                if low <= one.confidence < high or (high == 1.0 and one.confidence == 1.0)
            ]
            cells.append(f"{sum(held)} of {len(held)}" if held else "–")
        made = [one.holds for one in each if one.confidence >= STANDARD.confidence]
        low, high = wilson(sum(made), len(made))
        lines.append(
            (
                "all" if share is None else f"{share:g}",
                "" if rows is None else str(rows),
                *cells,
                f"{len(made)} of {len(each)}",
                f"{sum(made) / max(len(made), 1):.2%} ({low:.2%}–{high:.2%})",
            )
        )
    return lines


if __name__ == "__main__":
    main()
