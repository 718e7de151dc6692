"""A solution on disk: the folder that `unshuffle solve --out` leaves behind.

answer.txt            the answer, as it is published and hashed
solution.json         how it ended, the order, the pairs and what they were found by
network.safetensors   the assembled network
pairing.npz           the scores of all pairs
trace.npz             every step of the search
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from unshuffle.blocks.activations import EXPECTED, find_activation, is_activation
from unshuffle.blocks.forms import formed
from unshuffle.blocks.mlp import as_mlp
from unshuffle.errors import FileError, UsageError
from unshuffle.files import (
    limits,
    pack_npz,
    pack_safetensors,
    read_network,
    shown,
    write_files,
)
from unshuffle.files.npz_file import read_arrays
from unshuffle.files.opening import as_path
from unshuffle.files.plain import read_json
from unshuffle.files.schema import Expected, Word, encode, read_fields, read_value
from unshuffle.grouping import Pairing
from unshuffle.grouping.fusion import Fusion
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.pile import PieceId
from unshuffle.solution.solution import Solution

ANSWER, SOLUTION, NETWORK, PAIRING, TRACE = FILES = (
    "answer.txt",
    "solution.json",
    "network.safetensors",
    "pairing.npz",
    "trace.npz",
)

ADVICE = "solve again with --out"


@dataclass(frozen=True)
class _Beside:
    """What `solution.json` holds beside the solution's own keys; `ids` are those of the pile."""

    ids: tuple[PieceId, ...]
    arrangement: tuple[tuple[int, ...], ...]
    pairing: dict[str, Any]


@dataclass(frozen=True)
class _PairingFields:
    """What stands in it beside the pairing's own keys; `weights` are those of the signals."""

    anatomy: Anatomy
    weights: Mapping[Word, float] | None


def write_solution(
    solution: Solution, folder: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Keep a solution as files; `read_solution` gives it back.

    Parameters
    ----------
    solution
        As from `solve`.
    folder
        Where to; made if it is not there.
    force
        Whether files that are there already may be replaced.

    Raises
    ------
    FileError
        If a file is there already or cannot be written; then none of them is.
    UsageError
        If a piece has a name that an answer cannot hold, as none that was read from a file has, or
        the blocks are of another kind than the puzzle's.
    """
    for name in solution.trace.ids:
        try:
            read_value(PieceId, name, "its name")
        except UsageError as error:
            raise UsageError(
                f"the solution cannot be kept: a piece is called {shown(repr(name))}; give it a "
                "printable name without commas, or a number from 0 on"
            ) from error
    pairing, trace = solution.evidence, solution.trace
    weights = None if pairing.fusion is None else pairing.fusion.weights
    found = encode(pairing) | encode(_PairingFields(pairing.anatomy, weights))
    beside = {"ids": trace.ids, "arrangement": solution.arrangement.tolist(), "pairing": found}
    values = encode(solution) | beside
    contents = {
        ANSWER: f"{solution.answer}\n".encode(),
        SOLUTION: f"{json.dumps(values, indent=1)}\n".encode(),
        NETWORK: pack_safetensors(solution.network.tensors(), _estimated(solution)),
        PAIRING: pack_npz({"scores": pairing.scores}),
        TRACE: pack_npz(trace.arrays()),
    }
    folder = as_path(folder)
    write_files({folder / name: content for name, content in contents.items()}, force=force)


def read_solution(folder: str | os.PathLike[str]) -> Solution:
    """Read a solution that `write_solution` or `unshuffle solve --out` kept.

    Parameters
    ----------
    folder
        Where it lies.

    Returns
    -------
    Solution
        The one that was kept, but for what files do not hold: the errors of tested candidates are
        rounded to float32, and an infinite error of the result is NaN.

    Raises
    ------
    FileError
        If a file is missing or damaged, or the files do not belong together.
    """
    folder = as_path(folder)
    path = folder / SOLUTION
    where = f"{shown(path)}:"
    values = read_json(path, ADVICE, max_bytes=limits.HEADER_BYTES)
    try:
        fields = read_fields(values, where, Solution, _Beside)
        evidence = read_fields(fields.pop("pairing"), f"{where} pairing", Pairing, _PairingFields)
        ids, blocks = fields.pop("ids"), fields.pop("arrangement")
        known = Annotated[str, Expected(EXPECTED, is_activation)]
        activation = read_value(known, fields["activation"], f"{where} activation")
    except UsageError as error:
        raise FileError(f"{error}; {ADVICE}") from error
    _check([_arranged(ids, blocks)], folder)
    solution = Solution(
        **fields,
        arrangement=np.array(blocks, np.intp),
        network=formed(read_network(folder / NETWORK, find_activation(activation)), fields["form"]),
        pairing=_read_pairing(folder, evidence, ids),
        trace=_read_trace(folder / TRACE, ids),
    )
    _check(chain(_within(solution), _between(solution)), folder)
    return solution


def _estimated(solution: Solution) -> dict[str, str]:
    """Metadata that names the tensors of the network that are no piece's but estimates."""
    stand_ins = () if solution.findings is None else solution.findings.stand_ins
    names = list(solution.network.tensors())  # a weight and a bias for each layer
    estimated = [
        name
        for place, layer in enumerate(solution.layers)
        if layer in stand_ins
        for name in names[2 * place : 2 * place + 2]
    ]
    return {"estimated": ",".join(estimated)} if estimated else {}


def _read_pairing(folder: Path, fields: dict[str, Any], ids: Sequence[PieceId]) -> Pairing:
    """The pairing that has these fields and the scores of its file."""
    scores = read_arrays(folder / PAIRING).get("scores", np.empty(0))
    matches, weights = fields["matches"], fields.pop("weights")
    anatomy: Anatomy = fields["anatomy"]
    known = all(0 <= p < len(ids) for p in (*anatomy.inp, *anatomy.out, *anatomy.last))
    _check([(known, SOLUTION, "its anatomy names positions that it lacks")], folder)
    rows = {ids[p]: i for i, p in enumerate(anatomy.inp)}
    columns = {ids[p]: j for j, p in enumerate(anatomy.out)}
    shape = len(rows), len(columns)
    finite = scores.shape == shape and scores.dtype == np.float64 and np.isfinite(scores).all()
    named = all(match.inp in rows and match.out in columns for match in matches)
    claims = (
        (finite, PAIRING, f"holds no finite scores of {shape[0]} × {shape[1]} layers in float64"),
        (named, SOLUTION, "its pairing names layers that it lacks"),
    )
    _check(claims, folder)
    fusion = None
    if weights is not None:
        pairs = [(rows[match.inp], columns[match.out]) for match in matches]
        fusion = Fusion(scores, np.array(pairs, np.intp).reshape(-1, 2), weights)
    return Pairing(**fields, scores=scores, fusion=fusion)


def _read_trace(path: Path, ids: Sequence[PieceId]) -> Trace:
    try:
        trace = Trace.from_arrays(read_arrays(path), ids)
        for phase in {step.phase for step in trace.steps}:
            read_value(Word, phase, "a phase")
    except (UsageError, ValueError) as error:
        raise FileError(f"{shown(path)}: {shown(error)}; {ADVICE}") from error
    return trace


# Whether something holds, the file to blame if it does not, and what is wrong then.
Claim = tuple[bool, str, str]


def _check(claims: Iterable[Claim], folder: Path) -> None:
    """Refuse files that are each in order but of different solutions."""
    for holds, name, wrong in claims:
        if not holds:
            raise FileError(f"{shown(folder / name)}: {wrong}; {ADVICE}")


def _arranged(ids: Sequence[PieceId], blocks: Sequence[Sequence[int]]) -> Claim:
    """That an arrangement has two pieces of the pile in each block, and none twice."""
    placed = [position for block in blocks for position in block]
    sound = len({*ids}) == len(ids) and bool(blocks) and {*map(len, blocks)} == {2}
    sound &= len({*placed}) == len(placed) and all(0 <= p < len(ids) for p in placed)
    return sound, SOLUTION, "its arrangement does not name two of its pieces for each block"


def _within(solution: Solution) -> Iterator[Claim]:
    """Claims on what stands in `solution.json`; each may rely on those before it."""
    count = len(solution.arrangement)
    places = range(count)
    layers, names = {*solution.layers}, solution.permutation
    once = len({*names}) == len(names) and layers <= {*solution.trace.ids}
    yield once, SOLUTION, "does not name each of its layers once"
    paired = len(solution.evidence.matches) == count
    yield paired, SOLUTION, f"its pairing is not of its {count} blocks"
    sequence = [*range(as_mlp(solution.network).blocks.hidden)]
    permuted = all(sorted(columns) == sequence for columns in solution.units.values())
    units = permuted and {*solution.units} <= layers
    yield units, SOLUTION, "its units are not the columns of its out layers, each once"
    yield {*solution.biases} <= layers, SOLUTION, "names a bias of a layer that it lacks"
    hashed = solution.sha256 == sha256(solution.answer.encode()).hexdigest()
    yield hashed, SOLUTION, "its sha256 is not that of its answer"
    if (certificate := solution.certificate) is not None:
        contests = (*certificate.neighbours, *certificate.pairs)
        neighbours = [contest.places for contest in certificate.neighbours]
        sound = neighbours == [(place, place + 1) for place in places[:-1]]
        sound &= all(place in places for contest in contests for place in contest.places)
        yield sound, SOLUTION, f"its certificate is not of {count} places in sequence"


def _between(solution: Solution) -> Iterator[Claim]:
    """Claims on the trace and the network, which are in files of their own."""
    trace, network = solution.trace, as_mlp(solution.network)
    found = trace.steps[-1].arrangement if trace.steps else solution.arrangement[:0]
    ends = np.array_equal(found, solution.arrangement[: len(found)])
    yield ends, TRACE, "does not end with the arrangement found"
    blocks, anatomy = network.blocks, solution.evidence.anatomy
    held = len(blocks), blocks.width, blocks.hidden, len(network.last.bias)
    expected = len(solution.arrangement), anatomy.width, anatomy.hidden, anatomy.outputs
    shapes = "{} blocks {} → {} with {} outputs"
    wrong = f"holds {shapes.format(*held)}, but {SOLUTION} beside it is of "
    yield held == expected, NETWORK, wrong + shapes.format(*expected)
