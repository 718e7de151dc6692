"""What is claimed of networks with a known answer, and whether it is so.

    python benchmarks/claims.py [FAMILY …] [--solves N] [--seed S] [--out FILE] [--seconds S]

The families of `claim_families.py` make dropped networks that tempt a solver into a false claim.
Limits are processor seconds, so that other work on the machine changes nothing.

Every claim is held against the truth. Two networks count as the same where they agree on inputs
that the record does not hold, to a thousandth of their spread. What is called interchangeable is
exchanged, and has to leave what is predicted of the record. A file gets a line of JSON for each
solve. Solves that are in it already are not made again, so a campaign can run in parts.

Silence is counted too. A search that ends by itself with the right network, on a record without
noise, owes every true statement about it, whatever the outcome. So does a check of the right order.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from math import inf
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from claim_families import FAMILIES, Rng, Trial
from common import ProcessorClock, count, machine, print_markdown, refuse_unknown
from unshuffle import MlpNetwork, Records, solve, verify
from unshuffle.blocks.activations import is_activation
from unshuffle.blocks.mlp import as_mlp
from unshuffle.blocks.network import Network
from unshuffle.proof.certificate import STANDARD, Certificate, Contest
from unshuffle.proof.interchange import Part
from unshuffle.proof.outcome import SETTLED, Outcome
from unshuffle.solution.solution import Solution

TIME_LIMIT = 3.0  # processor seconds of a solve

FRESH_ROWS = 256  # inputs on which two networks are compared

HEAD = (
    "family",
    "solves",
    "called exact or approximate",
    "limit came first",
    "wrong claims",
    "neighbours stated that hold",
    "pairs stated that hold",
    "pairs by weights that hold",
    "exchanges stated that hold",
    "exchanges that hold elsewhere",
    "silent without noise",
    "true neighbours stated",
    "true pairs stated",
    "processor seconds a solve",
)

ALIKE = 1e-3  # of the spread: networks that differ by less on fresh inputs are the same

STAYS = 1e-5  # of the largest prediction: what an exchange that changes nothing moves at most


@dataclass
class Tally:
    """Statements of one sort: how many are made, and how many of these are false.

    Of `possible` true ones that are owed, `stated` are made.
    """

    made: int = 0
    false: int = 0
    possible: int = 0
    stated: int = 0

    def add(self, made: bool, holds: bool, owed: bool) -> None:
        """Count a statement."""
        self.made += made
        self.false += made and not holds
        self.possible += owed and holds
        self.stated += owed and holds and made


@dataclass
class Held:
    """What one solve claims, held against the truth.

    `wrong` are false claims of the whole network, in words; `weights` are the pairs by the weights.
    `exchanges` are those that are said to change nothing; of the true ones, `stated` hold on fresh
    inputs as well.
    `ended` says whether nothing but itself has ended the search, on a record without noise.
    """

    family: str
    seed: int
    outcome: str = ""
    confident: bool = False
    ended: bool = False
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    neighbours: Tally = field(default_factory=Tally)
    pairs: Tally = field(default_factory=Tally)
    weights: Tally = field(default_factory=Tally)
    exchanges: Tally = field(default_factory=Tally)

    @classmethod
    def read(cls, line: str) -> "Held":
        """Read a line of JSON."""
        held = cls(**json.loads(line))
        for name in ("neighbours", "pairs", "weights", "exchanges"):
            setattr(held, name, Tally(**getattr(held, name)))
        return held

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """Of every sort."""
        return self.neighbours, self.pairs, self.weights, self.exchanges

    @property
    def silent(self) -> bool:
        """Whether it has ended, and does not say that the record is reproduced."""
        return self.ended and self.outcome not in map(str, SETTLED)


def same(truth: Network, other: Network, rng: Rng, rows: Records) -> bool:
    """Whether two networks agree on inputs that the record does not hold."""
    x = rows.inputs[rng.integers(len(rows), size=FRESH_ROWS)].astype(np.float64)
    fresh = rng.normal(size=x.shape) * np.maximum(x.std(axis=0), np.abs(x).mean(axis=0)) + x.mean(0)
    differs, wide = apart(truth, other, fresh)
    scale = wide.std(axis=0) + 1e-6 * np.abs(wide).max(axis=0)
    return bool((differs <= ALIKE * scale).all())


def apart(one: Network, other: Network, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how much networks differ at most, in each column, and what the first one predicts."""
    inputs = inputs.astype(np.float64)
    with np.errstate(all="ignore"):
        wide = one.astype(np.float64).predict(inputs)
        return np.abs(other.astype(np.float64).predict(inputs) - wide).max(axis=0), wide


def count_exchanges(held: Held, found: MlpNetwork, alike: Any, rng: Rng, rows: Records) -> None:
    """Exchange what is said to compute the same: neighbours in a group, then all of it in turn."""
    known = rows.predicted()
    for group in alike:
        turns = [*pairwise(group)] + [group] * (len(group) > 2)
        made = [exchanged(found, parts) for parts in turns]
        on_record = [apart(found, one, known.inputs) for one in made]
        stays = all((off <= STAYS * np.abs(wide).max(0)).all() for off, wide in on_record)
        held.exchanges.made += 1
        held.exchanges.false += not stays
        held.exchanges.possible += stays
        held.exchanges.stated += stays and all(same(found, one, rng, rows) for one in made)
        held.wrong += [] if stays else ["an exchange changes what is predicted"]


def exchanged(network: MlpNetwork, parts: Sequence[Part]) -> MlpNetwork:
    """A network with what is in each part in the part before it."""
    blocks, before = network.blocks.copy(), network.blocks
    for here, source in zip(parts, (*parts[1:], parts[0]), strict=True):
        for (place, number), (other, _) in zip(here, source, strict=True):
            names = ("out_weight", "out_bias") if number else ("inp_weight", "inp_bias")
            for name in names:
                getattr(blocks, name)[place] = getattr(before, name)[other]
    return MlpNetwork(blocks, network.last)


def twin_blocks(truth: MlpNetwork, rng: Rng) -> dict[int, int]:
    """Blocks that compute the same as another one."""
    x = rng.normal(size=(64, truth.blocks.width)).astype(np.float32)
    done = np.stack([truth.blocks.apply(k, x.copy()) for k in range(len(truth.blocks))])
    found = {}
    for a in range(len(done)):
        for b in range(a + 1, len(done)):
            if np.allclose(done[a], done[b], rtol=1e-5, atol=1e-6):
                found[a], found[b] = b, a
    return found


def judge(family: str, seed: int, trial: Trial, rng: Rng) -> Held:
    """Solve or verify a trial, and hold what is claimed against the truth."""
    held, began = Held(family, seed), process_time()
    solution: Solution | None = None
    if trial.claimed is not None:
        result: Any = verify(trial.pile, trial.records, trial.claimed)
        layers = trial.claimed
        named = dict(zip(trial.ids, trial.truth.layers(), strict=True))
        ordered = [named[name] for name in layers]
        found: Network = MlpNetwork.from_layers(ordered, trial.truth.blocks.activation)
    else:
        clock = ProcessorClock(TIME_LIMIT, trial.looks)
        result = solution = solve(
            trial.pile, trial.records, time_limit=clock, on_step=Interrupt(trial.steps)
        )
        layers, found = solution.layers, solution.network
    held.seconds = round(process_time() - began, 2)
    held.outcome, held.confident = str(result.outcome), result.outcome in SETTLED[:2]
    right = layers == trial.ids or same(trial.truth, found, rng, trial.records)
    held.wrong = [*false_claims(trial, result.outcome, right, solution)]
    stopped = result.outcome in (Outcome.BUDGET_SPENT, Outcome.INTERRUPTED)
    held.ended = trial.clean and trial.finishes and not stopped and (right or solution is not None)
    owed, twins = held.ended and right, twin_blocks(trial.truth, rng)
    count_statements(held, trial, layers, result, twins, owed=owed)
    if result.certificate is not None:
        count_exchanges(held, as_mlp(found), result.certificate.alike, rng, trial.records)
    return held


class Interrupt:
    """Interrupts a search after so many steps."""

    def __init__(self, steps: int | None) -> None:
        self.left = steps

    def __call__(self, _: Any) -> None:
        """Count a step."""
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                raise KeyboardInterrupt


def false_claims(
    trial: Trial, outcome: Outcome, right: bool, solution: Solution | None
) -> Iterator[str]:
    """What is claimed of a whole network, and is not so."""
    notes = () if solution is None or solution.findings is None else solution.findings.notes
    if outcome in SETTLED[:2] and not right:
        yield "another network"
    if outcome is Outcome.NO_FIT and trial.clean:
        tried = any(note.startswith("no activations but these") for note in notes)
        if is_activation(trial.truth.blocks.activation.name) or not tried:
            yield "the truth fits"
    if trial.clean:
        yield from (note for note in notes if "looks like noise" in note or "decimals" in note)


def count_statements(
    held: Held,
    trial: Trial,
    layers: tuple[int, ...],
    result: Any,
    twin: dict[int, int],
    *,
    owed: bool,
) -> None:
    """Count what is stated of neighbours and pairs, by the record and by the weights."""
    depth = {name: k // 2 for k, name in enumerate(trial.ids)}
    here = {piece.id for piece in trial.pile}
    # What stands in for a lost layer is meant to be that layer.
    lost = next((depth[name] for name in trial.ids if name not in here), -1)

    def alike(a: int, b: int) -> bool:
        return a == b or twin.get(a) == b

    inp = [depth.get(name, lost) for name in layers[:-1:2]]
    out = [depth.get(name, lost) for name in layers[1:-1:2]]
    neighbours, pairs = stated(result.certificate, len(inp))
    for one in neighbours:
        held.neighbours.add(one.decided, in_sequence(one, inp, out, twin), owed)
    for one in pairs:
        place = one.places[0]
        held.pairs.add(one.decided, alike(inp[place], out[place]), owed)
    pairing = getattr(result, "pairing", None)
    if pairing is not None and trial.steps is None:
        for match in pairing.matches:
            known = match.inp in depth and match.out in depth  # else it stands for a lost layer
            if known and (match.confidence or 0) >= STANDARD.confidence:
                held.weights.add(True, alike(depth[match.inp], depth[match.out]), False)


def stated(certificate: Certificate | None, length: int) -> tuple[list[Contest], list[Contest]]:
    """What is said of neighbours and pairs, none of it where there is no certificate.

    Of what computes the same there is nothing to be said.
    """
    if certificate is None:
        pairs = [Contest((place, place), inf, 0.0) for place in range(length)]
        return [Contest(places, inf, 0.0) for places in pairwise(range(length))], pairs
    return [one for one in certificate.neighbours if not one.same], [*certificate.pairs]


def in_sequence(one: Contest, inp: list[int], out: list[int], twin: dict[int, int]) -> bool:
    """Whether two neighbours run in this sequence; twins may stand for each other."""
    first, second = one.places

    def before(a: int, b: int) -> bool:
        return a < b or twin.get(a, a) < b or a < twin.get(b, b)

    return before(inp[first], inp[second]) and before(out[first], out[second])


def made_before(file: Path | None) -> list[Held]:
    """The solves of a file; none where there is no file."""
    if file is None or not file.exists():
        return []
    return [Held.read(line) for line in file.read_text(encoding="utf-8").splitlines()]


def campaign(
    families: Iterable[str], seeds: range, seconds: float, done: set[tuple[str, int]]
) -> Iterator[Held]:
    """Make solves that are not done, in each family in turn, for so many processor seconds."""
    numbers = {name: number for number, name in enumerate(FAMILIES)}
    for seed in seeds:
        for name in families:
            if process_time() > seconds:
                return
            if (name, seed) not in done:
                rng = np.random.default_rng([seed, numbers[name]])
                yield judge(name, seed, FAMILIES[name](rng), rng)


def main() -> None:
    """Run the campaign, or a part of it, and print what came of it, by family."""
    parser = argparse.ArgumentParser(description="Hold claims against known answers.")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--solves", type=count, default=1104, help="in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file of solves to go on with")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="processor time of this part"
    )
    args = parser.parse_args()
    refuse_unknown("family ", args.families, FAMILIES)
    chosen = args.families or [*FAMILIES]
    solves = made_before(args.out)
    done = {(one.family, one.seed) for one in solves}
    seeds = range(args.seed, args.seed + -(-args.solves // len(chosen)))
    for held in campaign(chosen, seeds, args.seconds, done):
        solves.append(held)
        for line in held.wrong:
            print(f"{held.family}, seed {held.seed}: {held.outcome}: {line}", file=sys.stderr)
        if args.out is not None:
            with args.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(held)) + "\n")
    print(f"{machine()}; limit {TIME_LIMIT:g} processor seconds\n")
    report(solves)


def report(solves: list[Held]) -> None:
    """Print a row for each family, and one for all."""
    rows = []
    for name in [*dict.fromkeys(one.family for one in solves), "all"]:
        some = [one for one in solves if name in (one.family, "all")]
        rows.append(
            (
                name,
                str(len(some)),
                str(sum(one.confident for one in some)),
                str(sum(one.outcome == str(Outcome.BUDGET_SPENT) for one in some)),
                str(sum(len(one.wrong) for one in some)),
                *(holding(sort) for sort in zip(*(one.tallies for one in some), strict=True)),
                share(one.exchanges for one in some),
                of(sum(one.silent for one in some), sum(one.ended for one in some)),
                share(one.neighbours for one in some),
                share(one.pairs for one in some),
                f"{sum(one.seconds for one in some) / len(some):.2f}",
            )
        )
        outcomes = Counter(one.outcome for one in some).most_common()
        print(f"{name}: {dict(outcomes)}", file=sys.stderr)
    print_markdown(HEAD, rows)


def holding(tallies: Iterable[Tally]) -> str:
    """How many of the statements of one sort hold."""
    each = [*tallies]
    made, false = sum(one.made for one in each), sum(one.false for one in each)
    return of(made - false, made)


def share(tallies: Iterable[Tally]) -> str:
    """How many of the true statements that are owed are made."""
    each = [*tallies]
    stated, possible = sum(one.stated for one in each), sum(one.possible for one in each)
    return of(stated, possible)


def of(some: int, every: int) -> str:
    """A part of a number; nothing of none."""
    return f"{some:,} of {every:,}" if every else "–"


if __name__ == "__main__":
    main()
