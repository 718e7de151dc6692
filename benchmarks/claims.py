"""What is claimed of networks with a known answer, and whether it is so.

    python benchmarks/claims.py [--solves N] [--seed S] [FAMILY …]

Each family makes dropped networks that tempt a solver into a false claim. Some are narrow or forget
their inputs. Some have twins, lost layers or an unknown activation. Some records have few rows,
copies of rows, offsets or noise, or are of another network. Some searches are cut off.

Every claim is held against the truth. Two networks count as the same where they agree on inputs
that the record does not hold, to a thousandth of their spread.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from common import count, machine, print_table
from unshuffle import MlpNetwork, Piece, Pile, Records, solve, verify
from unshuffle.blocks.activations import Activation, find_activation
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpStack
from unshuffle.blocks.network import Network
from unshuffle.proof.certificate import STANDARD, Certificate
from unshuffle.proof.outcome import SETTLED, Outcome
from unshuffle.solution.solution import Solution

TIME_LIMIT = 3.0  # seconds of a solve

FRESH_ROWS = 256  # inputs on which two networks are compared

ALIKE = 1e-3  # of the spread: networks that differ by less on fresh inputs are the same

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Trial:
    """A dropped network to be solved, or an order to be checked.

    Parameters
    ----------
    truth
        The lost network.
    ids
        Names of its layers, in order.
    pile, records
        What is left.
    clean
        Whether the record holds the predictions of the pile's own network to rounding.
    steps
        After so many steps the search is interrupted; None where it may end.
    claimed
        An order to be verified instead of solved.
    """

    truth: MlpNetwork
    ids: tuple[int, ...]
    pile: Pile
    records: Records
    clean: bool = True
    steps: int | None = None
    claimed: tuple[int, ...] | None = None


@dataclass
class Tally:
    """What a family came to."""

    solves: int = 0
    confident: int = 0
    wrong: list[str] = field(default_factory=list)
    made: int = 0
    false: int = 0
    possible: int = 0
    stated: int = 0
    seconds: float = 0.0
    outcomes: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def network(
    rng: Rng,
    *,
    blocks: int = 8,
    width: int = 8,
    hidden: int = 16,
    outputs: int = 1,
    activation: Activation | str = "relu",
    step: float = 1.0,
    coupling: float = 0.12,
) -> MlpNetwork:
    """A random network whose blocks couple inp and out as training does; `step` scales them."""
    if isinstance(activation, str):
        activation = find_activation(activation)
    strength = np.exp(0.5 * rng.normal(size=(blocks, hidden, 1)))
    inp = rng.normal(size=(blocks, hidden, width)) / np.sqrt(width) * strength
    out = -coupling * inp.transpose(0, 2, 1)
    out += 0.1 * rng.normal(size=out.shape) * strength.transpose(0, 2, 1) / np.sqrt(hidden)
    stack = MlpStack(
        inp,
        0.3 * rng.normal(size=(blocks, hidden)),
        step * out,
        0.1 * step * rng.normal(size=(blocks, width)),
        activation,
    )
    last = Linear(rng.normal(size=(outputs, width)) / np.sqrt(width), rng.normal(size=outputs))
    return MlpNetwork(stack, last).astype(np.float32)


def drop(rng: Rng, truth: MlpNetwork, inputs: np.ndarray, **more: Any) -> Trial:
    """Shuffle a network's layers, and record its predictions."""
    layers = truth.layers()
    ids = tuple(rng.permutation(len(layers)).tolist())
    pieces = [
        Piece.linear(name, layer.weight, layer.bias)
        for name, layer in zip(ids, layers, strict=True)
    ]
    pieces = [pieces[k] for k in rng.permutation(len(pieces))]
    inputs = inputs.astype(np.float32)
    return Trial(truth, ids, Pile(pieces), Records(inputs, truth.predict(inputs)), **more)


def normal(rng: Rng, rows: int, truth: MlpNetwork) -> np.ndarray:
    """Normal inputs."""
    return rng.normal(size=(rows, truth.blocks.width))


def some_rows(rng: Rng) -> int:
    """A number of rows between 32 and 1,000, as likely in each octave."""
    return int(np.exp(rng.uniform(np.log(32), np.log(1000))))


def any_network(rng: Rng) -> MlpNetwork:
    """A network of any shape that the families vary."""
    return network(
        rng,
        blocks=int(rng.integers(4, 17)),
        width=int(rng.choice([4, 6, 8, 12])),
        hidden=int(rng.choice([8, 16, 24])),
        outputs=int(rng.choice([1, 1, 1, 2, 3])),
        activation=str(rng.choice(["relu", "relu", "gelu", "silu", "tanh"])),
        step=float(np.exp(rng.uniform(np.log(0.3), np.log(2)))),
        coupling=float(rng.choice([0.02, 0.05, 0.12])),
    )


def plain(rng: Rng) -> Trial:
    """Ordinary networks and records."""
    truth = any_network(rng)
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def cut_off(rng: Rng) -> Trial:
    """Searches that are interrupted after some steps."""
    truth = deep_network(rng, int(rng.integers(12, 33)))
    steps = int(np.exp(rng.uniform(0, np.log(30))))
    return drop(rng, truth, normal(rng, some_rows(rng), truth), steps=steps)


def deep_network(rng: Rng, blocks: int, **shape: Any) -> MlpNetwork:
    """A network that is deep enough for a search to take a while."""
    return network(rng, blocks=blocks, width=12, hidden=16, coupling=0.03, **shape)


def narrow(rng: Rng) -> Trial:
    """Streams of width 1 to 3."""
    width = int(rng.integers(1, 4))
    truth = network(rng, blocks=int(rng.integers(3, 13)), width=width, hidden=8)
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def contracting(rng: Rng) -> Trial:
    """Deep networks that forget their inputs."""
    blocks = int(rng.choice([30, 60, 120]))
    truth = network(rng, blocks=blocks, width=6, hidden=12, coupling=0.3, step=1.2)
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def large_steps(rng: Rng) -> Trial:
    """Networks whose blocks change the stream by several times its size."""
    truth = network(rng, blocks=int(rng.integers(4, 13)), step=float(rng.uniform(3, 10)))
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def near_copies(rng: Rng) -> Trial:
    """Few different rows, each many times with its last digits changed."""
    truth = any_network(rng)
    different, jitter = int(rng.choice([1, 3, 20])), float(rng.choice([1e-12, 1e-10, 1e-8, 1e-6]))
    inputs = np.repeat(normal(rng, different, truth), 300 // different, axis=0)
    inputs = inputs * (1 + jitter * rng.normal(size=inputs.shape))
    trial = drop(rng, truth, inputs)
    predictions = truth.astype(np.float64).predict(inputs)
    return replace(trial, records=Records(inputs, predictions))


def vanishing(rng: Rng) -> Trial:
    """Inputs that vanish beside the biases."""
    truth = any_network(rng)
    inputs = float(rng.choice([1e-9, 1e-8, 1e-7, 1e-5])) * normal(rng, 300, truth)
    return drop(rng, truth, inputs)


def offsets(rng: Rng) -> Trial:
    """Outputs with offsets far beyond their spread."""
    outputs = int(rng.integers(1, 4))
    truth = network(rng, outputs=outputs, activation=str(rng.choice(["relu", "silu"])))
    offset = rng.choice([0, 30, 1e4], size=outputs).astype(np.float32)
    truth = MlpNetwork(truth.blocks, Linear(truth.last.weight, truth.last.bias + offset))
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def twins(rng: Rng) -> Trial:
    """Two blocks that compute the same: copies, units permuted, or units rescaled."""
    truth = any_network(rng)
    truth = replace(truth, blocks=replace(truth.blocks, activation=find_activation("relu")))
    blocks = truth.blocks.copy()
    one, other = rng.permutation(len(blocks))[:2]
    blocks.overwrite(int(other), int(one))
    kind = int(rng.integers(3))
    if kind == 1:
        order = rng.permutation(blocks.inp_weight.shape[1])
        blocks.inp_weight[other] = blocks.inp_weight[one][order]
        blocks.inp_bias[other] = blocks.inp_bias[one][order]
        blocks.out_weight[other] = blocks.out_weight[one][:, order]
    elif kind == 2:  # powers of two, so that nothing is rounded
        scale = 2.0 ** rng.integers(-2, 3, blocks.inp_weight.shape[1]).astype(np.float32)
        blocks.inp_weight[other] *= scale[:, None]
        blocks.inp_bias[other] *= scale
        blocks.out_weight[other] /= scale
    truth = MlpNetwork(blocks, truth.last)
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def missing(rng: Rng) -> Trial:
    """A layer or a block is lost."""
    truth = network(rng, blocks=int(rng.integers(4, 9)))
    trial = drop(rng, truth, normal(rng, some_rows(rng), truth))
    at = int(rng.integers(len(truth.blocks)))
    lost = trial.ids[2 * at : 2 * at + 2] if rng.random() < 0.5 else trial.ids[2 * at : 2 * at + 1]
    left = Pile(piece for piece in trial.pile if piece.id not in lost)
    return replace(trial, pile=left, clean=False)


def noisy(rng: Rng) -> Trial:
    """Noise of six kinds."""
    truth = any_network(rng)
    trial = drop(rng, truth, normal(rng, max(64, some_rows(rng)), truth))
    y = trial.records.predictions.astype(np.float64)
    share = float(np.exp(rng.uniform(np.log(1e-4), np.log(0.2)))) * y.std(axis=0)
    kind = int(rng.integers(6))
    if kind == 0:
        y = y + share * rng.normal(size=y.shape)
    elif kind == 1:
        y = y + share * rng.uniform(-1.7, 1.7, size=y.shape)
    elif kind == 2:
        y = y + share * rng.standard_t(3, size=y.shape)
    elif kind == 3:
        y = y * (1 + share / y.std(axis=0) * rng.normal(size=y.shape))
    elif kind == 4:
        y = np.round(y, int(rng.integers(1, 4)))
    else:
        y = np.floor(y * 100) / 100
    return replace(trial, records=Records(trial.records.inputs, y), clean=False)


def unknown_activation(rng: Rng) -> Trial:
    """Activations that the solver may not know."""
    kinds = {
        "cube": (lambda z: z**3 / 4, lambda z: 3 * z**2 / 4),
        "sine": (np.sin, np.cos),
        "mish": (lambda z: z * np.tanh(np.log1p(np.exp(z))), np.ones_like),
        "leaky": (lambda z: np.where(z > 0, z, 0.2 * z), lambda z: np.where(z > 0, 1.0, 0.2)),
        "elu": (lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))), np.ones_like),
        "softsign": (lambda z: z / (1 + abs(z)), lambda z: (1 + abs(z)) ** -2.0),
    }
    name = str(rng.choice([*kinds]))
    truth = network(rng, activation=Activation(name, *kinds[name]))
    return drop(rng, truth, normal(rng, some_rows(rng), truth))


def wrong_record(rng: Rng) -> Trial:
    """A record of another network, or with its predictions shuffled, or constant."""
    truth = any_network(rng)
    trial = drop(rng, truth, normal(rng, some_rows(rng), truth))
    inputs, y = trial.records.inputs, trial.records.predictions
    kind = int(rng.integers(3))
    if kind == 0:
        other = network(rng, width=truth.blocks.width, outputs=y.shape[1])
        y = other.predict(inputs)
    else:
        y = rng.permutation(y) if kind == 1 else np.full_like(y, 0.25)
    return replace(trial, records=Records(inputs, y), clean=False)


def one_prediction(rng: Rng) -> Trial:
    """One to three rows with predictions."""
    truth = network(rng, blocks=int(rng.integers(3, 9)))
    trial = drop(rng, truth, normal(rng, 200, truth))
    y = trial.records.predictions.copy()
    y[int(rng.integers(1, 4)) :] = np.nan
    return replace(trial, records=Records(trial.records.inputs, y))


def checked(rng: Rng) -> Trial:
    """Orders that are checked: the right one, or one with some of its blocks exchanged."""
    truth = any_network(rng)
    trial = drop(rng, truth, normal(rng, some_rows(rng), truth))
    order = list(range(len(truth.blocks)))
    for _ in range(int(rng.choice([0, 1, 1, 2, 12]))):
        at = int(rng.integers(len(order) - 1))
        order[at], order[at + 1] = order[at + 1], order[at]
    ids = [name for k in order for name in trial.ids[2 * k : 2 * k + 2]]
    return replace(trial, claimed=(*ids, trial.ids[-1]))


def noisy_cut_off(rng: Rng) -> Trial:
    """Ordinary networks of which the search is cut off and the record noisy."""
    trial = noisy(rng)
    return replace(trial, steps=int(rng.integers(1, 12)))


FAMILIES: dict[str, Callable[[Rng], Trial]] = {
    "plain": plain,
    "cut off": cut_off,
    "narrow": narrow,
    "contracting": contracting,
    "large steps": large_steps,
    "near-copies": near_copies,
    "vanishing inputs": vanishing,
    "offsets": offsets,
    "twins": twins,
    "missing": missing,
    "noise": noisy,
    "noise, cut off": noisy_cut_off,
    "unknown activation": unknown_activation,
    "wrong record": wrong_record,
    "few predictions": one_prediction,
    "verify": checked,
}


def same(truth: MlpNetwork, other: Any, rng: Rng, rows: Records) -> bool:
    """Whether two networks agree on inputs that the record does not hold."""
    x = rows.inputs[rng.integers(len(rows), size=FRESH_ROWS)].astype(np.float64)
    fresh = rng.normal(size=x.shape) * np.maximum(x.std(axis=0), np.abs(x).mean(axis=0)) + x.mean(0)
    wide = truth.astype(np.float64).predict(fresh.astype(np.float64))
    with np.errstate(all="ignore"):
        differs = np.abs(other.astype(np.float64).predict(fresh.astype(np.float64)) - wide).max(0)
    scale = wide.std(axis=0) + 1e-6 * np.abs(wide).max(axis=0)
    return bool((differs <= ALIKE * scale).all())


def statements(
    trial: Trial, layers: tuple[int, ...], certificate: Certificate, twin: dict[int, int]
) -> Iterator[tuple[bool, bool]]:
    """For each statement about neighbours and pairs: whether it is made, and whether it holds."""
    depth = {name: k // 2 for k, name in enumerate(trial.ids)}
    inp = [depth.get(name, -1) for name in layers[:-1:2]]
    out = [depth.get(name, -1) for name in layers[1:-1:2]]

    def alike(a: int, b: int) -> bool:
        return a == b or twin.get(a) == b

    for one in certificate.neighbours:
        a, b = one.places
        holds = inp[a] < inp[b] and out[a] < out[b]
        # Twins may stand for each other.
        holds = holds or twin.get(inp[a], inp[a]) < inp[b] or inp[a] < twin.get(inp[b], inp[b])
        yield one.decided, bool(holds)
    for one in certificate.pairs:
        yield one.decided, alike(inp[one.places[0]], out[one.places[0]])


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


def judge(tally: Tally, trial: Trial, rng: Rng, seed: int) -> None:
    """Solve or verify a trial, and hold what is claimed against the truth."""
    began = time.perf_counter()
    solution: Solution | None = None
    if trial.claimed is not None:
        name = trial.truth.blocks.activation.name
        result = verify(trial.pile, trial.records, trial.claimed, activation=name)
        layers = trial.claimed
        named = dict(zip(trial.ids, trial.truth.layers(), strict=True))
        ordered = [named[name] for name in layers]
        found: Network = MlpNetwork.from_layers(ordered, trial.truth.blocks.activation)
    else:
        solution = solve(
            trial.pile, trial.records, time_limit=TIME_LIMIT, on_step=Interrupt(trial.steps)
        )
        result, layers, found = solution, solution.layers, solution.network
    tally.seconds += time.perf_counter() - began
    tally.solves += 1
    tally.outcomes[str(result.outcome)] += 1
    right = layers == trial.ids or same(trial.truth, found, rng, trial.records)
    for what in false_claims(trial, result.outcome, right, solution):
        tally.wrong.append(f"seed {seed}: {result.outcome}: {what}")
    tally.confident += result.outcome in SETTLED[:2]
    count_statements(tally, trial, layers, result, twin_blocks(trial.truth, rng))


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
    if outcome in SETTLED[:2] and not right:
        yield "another network"
    if outcome is Outcome.NO_FIT and trial.clean:
        yield "the truth fits"
    if trial.clean and solution is not None and solution.findings is not None:
        for note in solution.findings.notes:
            if "looks like noise" in note or "decimals" in note:
                yield note


def count_statements(
    tally: Tally, trial: Trial, layers: tuple[int, ...], result: Any, twin: dict[int, int]
) -> None:
    """Count what is stated of neighbours and pairs, by the record and by the weights."""
    finished = trial.clean and trial.steps is None and result.outcome in SETTLED
    if result.certificate is not None:
        for made, holds in statements(trial, layers, result.certificate, twin):
            tally.made += made
            tally.false += made and not holds
            tally.possible += finished and holds
            tally.stated += finished and made and holds
    pairing = getattr(result, "pairing", None)
    if pairing is not None and trial.steps is None:
        depth = {name: k // 2 for k, name in enumerate(trial.ids)}
        for match in pairing.matches:
            known = match.inp in depth and match.out in depth  # else it stands for a lost layer
            if known and (match.confidence or 0) >= STANDARD.confidence:
                a, b = depth[match.inp], depth[match.out]
                tally.made += 1
                tally.false += not (a == b or twin.get(a) == b)


def main() -> None:
    """Run the campaign and print what came of it, by family."""
    parser = argparse.ArgumentParser(description="Hold claims against known answers.")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--solves", type=count, default=1040, help="in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything (%(default)s)")
    args = parser.parse_args()
    unknown = {*args.families} - {*FAMILIES}
    if unknown:
        parser.error(
            f"no such family: {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}"
        )
    chosen = args.families or [*FAMILIES]
    each = -(-args.solves // len(chosen))
    print(f"{machine()}; {each} solves in each of {len(chosen)} families, seed {args.seed}\n")
    tallies: dict[str, Tally] = {}
    for name in chosen:
        tally = tallies[name] = Tally()
        for seed in range(args.seed, args.seed + each):
            rng = np.random.default_rng([seed, [*FAMILIES].index(name)])
            judge(tally, FAMILIES[name](rng), rng, seed)
        print(f"{name}: {dict(tally.outcomes)}", file=sys.stderr)
        for line in tally.wrong:
            print(f"  wrong: {line}", file=sys.stderr)
    report(tallies)


def report(tallies: dict[str, Tally]) -> None:
    """Print a row for each family, and one for all."""
    total = Tally()
    rows = []
    for name, tally in [*tallies.items(), ("all", total)]:
        if tally is not total:
            for key in ("solves", "confident", "made", "false", "possible", "stated", "seconds"):
                setattr(total, key, getattr(total, key) + getattr(tally, key))
            total.wrong += tally.wrong
        holding = 1 - tally.false / tally.made if tally.made else 1.0
        rows.append(
            (
                name,
                str(tally.solves),
                str(tally.confident),
                str(len(tally.wrong)),
                str(tally.made),
                f"{holding:.2%}",
                f"{tally.stated / tally.possible:.1%}" if tally.possible else "–",
                f"{tally.seconds / max(tally.solves, 1):.2f}",
            )
        )
    head = ("family", "solves", "confident", "wrong claims", "statements", "hold")
    print_table((*head, "of the true ones made", "s a solve"), rows)


if __name__ == "__main__":
    main()
