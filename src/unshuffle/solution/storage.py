"""A solution on disk: the folder that `unshuffle solve --out` leaves behind.

answer.txt            the answer, as it is published and hashed
solution.json         how it ended, the order, the pairs and what they were found by
network.safetensors   the assembled network
trace.npz             every step of the search
evidence.npz          the scores of all pairs, edge by edge, and how alike blocks are
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
from numpy.typing import NDArray

from unshuffle.blocks.activations import EXPECTED, find_activation, is_activation
from unshuffle.blocks.bank import Slots
from unshuffle.blocks.forms import formed
from unshuffle.blocks.kept import kept_network, within
from unshuffle.blocks.mlp import as_mlp
from unshuffle.errors import FileError, UsageError, shown
from unshuffle.files import (
    limits,
    pack_npz,
    pack_safetensors,
    read_network,
    write_files,
)
from unshuffle.files.found import ANSWER, EVIDENCE, SOLUTION
from unshuffle.files.npz_file import read_arrays
from unshuffle.files.opening import as_path, read_bytes
from unshuffle.files.plain import read_json
from unshuffle.files.safetensors_file import FORMAT_NAMES, safetensors_arrays
from unshuffle.files.schema import (
    Expected,
    Word,
    encode,
    laid_out,
    read_fields,
    read_laid_out,
    read_value,
)
from unshuffle.grouping import Pairing
from unshuffle.grouping.edges import EdgeScores
from unshuffle.grouping.fusion import Fusion
from unshuffle.ordering.paths import Similarity
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement
from unshuffle.pieces.pile import PieceId
from unshuffle.solution.solution import Solution, check_solution

NETWORK, TRACE = "network.safetensors", "trace.npz"
FILES = ANSWER, SOLUTION, NETWORK, TRACE, EVIDENCE

ADVICE = "solve again with --out"


@dataclass(frozen=True)
class _Context:
    """What `solution.json` holds beside the solution's own keys; `ids` are those of the pile."""

    ids: tuple[PieceId, ...]
    arrangement: tuple[tuple[int, ...], ...]
    slots: Mapping[Word, PieceId]
    pairing: dict[str, Any] | None


@dataclass(frozen=True)
class _PairingFields:
    """What stands in it beside the pairing's own keys; `weights` are those of the signals."""

    anatomy: Anatomy
    weights: Mapping[Word, float] | None


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What `evidence.npz` holds: how alike blocks are, and the scores of each edge."""

    similarity: Similarity
    edges: tuple[EdgeScores, ...]

    def sound(self, blocks: int, roles: int, pieces: int) -> bool:
        """Whether all numbers are finite, and those of a solution of such a size."""
        sizes = [(self.similarity, blocks, blocks)]
        sizes += [(edge.scores, len(edge.rows), len(edge.columns)) for edge in self.edges]
        lists = [([edge.first, edge.second], roles) for edge in self.edges]
        lists += [([*each], pieces) for edge in self.edges for each in (edge.rows, edge.columns)]
        return all(
            values.shape == (*shape,) and np.isfinite(values).all() for values, *shape in sizes
        ) and all(_distinct(numbers, below) for numbers, below in lists)


def _distinct(numbers: Sequence[int], below: int) -> bool:
    """Whether no number comes twice, and all are from 0 to less than a bound."""
    return len({*numbers}) == len(numbers) and all(0 <= one < below for one in numbers)


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
        If it is no solution.
    """
    check_solution(solution)
    pairing, trace = solution.pairing, solution.trace
    beside = {"ids": trace.ids, "arrangement": solution.arrangement.tolist(), "pairing": None}
    if pairing is not None:
        weights = None if pairing.fusion is None else pairing.fusion.weights
        beside["pairing"] = encode(pairing) | encode(_PairingFields(pairing.anatomy, weights))
    values = encode(solution) | beside
    contents = {
        ANSWER: f"{solution.answer}\n".encode(),
        SOLUTION: f"{json.dumps(values, indent=1)}\n".encode(),
        NETWORK: pack_safetensors(solution.network.tensors(), _estimated(solution)),
        TRACE: pack_npz(trace.arrays()),
        EVIDENCE: pack_npz(laid_out(_Evidence(solution.similarity, solution.evidence))),
    }
    folder = as_path(folder)
    write_files({folder / name: content for name, content in contents.items()}, force=force)


def read_solution(folder: str | os.PathLike[str]) -> Solution:
    """Read a solution that `write_solution` or `unshuffle solve --out` kept.

    Parameters
    ----------
    folder
        The folder.

    Returns
    -------
    Solution
        The one that was kept, with three differences. Errors of tested candidates are rounded to
        float32. An infinite error of the result is NaN. The code of a module is not kept:
        `state_dict` has the tensors for it, and what would run its blocks raises.

    Raises
    ------
    FileError
        If a file is missing or damaged, or the files do not belong together.
    """
    folder = as_path(folder)
    values, where = _read_values(folder), f"{shown(folder / SOLUTION)}:"
    try:
        fields = read_fields(values, where, Solution, _Context)
        pairing = fields.pop("pairing")
        if pairing is not None:
            pairing = read_fields(pairing, f"{where} pairing", Pairing, _PairingFields)
            known = Annotated[str, Expected(EXPECTED, is_activation)]
            read_value(known, fields["activation"], f"{where} activation")
        ids, blocks, slots = (fields.pop(key) for key in ("ids", "arrangement", "slots"))
    except UsageError as error:
        raise FileError(f"{error}; {ADVICE}") from error
    _check([_arranged(ids, blocks, puzzle=pairing is not None)], folder)
    trace, arrangement = _read_trace(folder / TRACE, ids), np.array(blocks, np.intp)
    _check([_slotted(trace.names(arrangement), fields["last"], slots)], folder)
    edges, similarity = _read_evidence(folder / EVIDENCE, arrangement, ids)
    if pairing is None:
        fields["links"] = edges
        network = kept_network(_read_tensors(folder / NETWORK), _by_block(blocks, [*slots]))
    else:
        pairing = _read_pairing(folder, pairing, ids, edges)
        network = read_network(folder / NETWORK, find_activation(fields["activation"]))
        network = formed(network, fields["form"])
    solution = Solution(
        **fields,
        arrangement=arrangement,
        network=network,
        pairing=pairing,
        trace=trace,
        kinship=similarity,
    )
    _check(chain(_within(solution), _of_kind(solution)), folder)
    return solution


def _read_values(folder: Path) -> dict[str, Any]:
    """What the description of a solution holds, unchecked."""
    path = folder / SOLUTION
    if folder.exists() and not os.path.lexists(path):
        raise FileError(
            f"{shown(folder)}: is not a folder that solve --out kept, for it holds no {SOLUTION}; "
            "check the path"
        )
    return read_json(path, ADVICE, max_bytes=limits.HEADER_BYTES)


def _read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a network of any kind, by name."""
    arrays = safetensors_arrays(read_bytes(path), shown(path))
    wrong = next((one for one in arrays.values() if one.stored_as not in FORMAT_NAMES), None)
    if wrong is not None:
        raise FileError(f"{wrong.what} is stored as {shown(wrong.stored_as)}; {ADVICE}")
    return {name: one.numbers() for name, one in arrays.items()}


def _by_block(blocks: Sequence[Sequence[int]], names: list[str]) -> Slots:
    """The names of all slots, in the order in which blocks run, by block and role."""
    rest = iter(names)
    return tuple(
        tuple(None if place == NO_PIECE else next(rest) for place in each) for each in blocks
    )


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


def _read_pairing(
    folder: Path, fields: dict[str, Any], ids: Sequence[PieceId], edges: Sequence[EdgeScores]
) -> Pairing:
    """The pairing that has these fields and the scores of the one edge."""
    matches, weights = fields["matches"], fields.pop("weights")
    anatomy: Anatomy = fields["anatomy"]
    known = all(0 <= p < len(ids) for p in (*anatomy.inp, *anatomy.out, *anatomy.last))
    _check([(known, SOLUTION, "its anatomy names positions that it lacks")], folder)
    rows = {ids[p]: i for i, p in enumerate(anatomy.inp)}
    columns = {ids[p]: j for j, p in enumerate(anatomy.out)}
    layers = (anatomy.inp, anatomy.out)
    scored = [(edge.rows, edge.columns) for edge in edges] == [layers]
    named = all(match.inp in rows and match.out in columns for match in matches)
    claims = (
        (scored, EVIDENCE, f"holds no scores of {len(rows)} × {len(columns)} layers"),
        (named, SOLUTION, "its pairing names layers that it lacks"),
    )
    _check(claims, folder)
    fusion, scores = None, edges[0].scores
    if weights is not None:
        pairs = [(rows[match.inp], columns[match.out]) for match in matches]
        fusion = Fusion(scores, np.array(pairs, np.intp).reshape(-1, 2), weights)
    return Pairing(**fields, scores=scores, fusion=fusion)


def _read_evidence(
    path: Path, arrangement: Arrangement, ids: Sequence[PieceId]
) -> tuple[tuple[EdgeScores, ...], Similarity]:
    """The edges, with the pairs of an arrangement as matches, and how alike its blocks are."""
    try:
        held = read_laid_out(_Evidence, read_arrays(path))
    except UsageError as error:
        raise FileError(f"{shown(path)}: {shown(str(error))}; {ADVICE}") from error
    blocks, roles = arrangement.shape
    wrong = f"holds no finite scores of pieces of this solution, with {blocks} blocks"
    _check([(held.sound(blocks, roles, len(ids)), EVIDENCE, wrong)], path.parent)
    return tuple(edge.matched(arrangement, ids) for edge in held.edges), held.similarity


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


def _arranged(ids: Sequence[PieceId], blocks: Sequence[Sequence[int]], *, puzzle: bool) -> Claim:
    """That an arrangement has pieces of the pile in each block, and none twice."""
    placed = [position for block in blocks for position in block if position != NO_PIECE]
    sound = len({*ids}) == len(ids) and len({*map(len, blocks)}) == 1 and bool(placed)
    sound &= len({*placed}) == len(placed) and all(0 <= p < len(ids) for p in placed)
    sound &= not puzzle or ({*map(len, blocks)} == {2} and len(placed) == 2 * len(blocks))
    each = "two of its pieces" if puzzle else "its pieces"
    return sound, SOLUTION, f"its arrangement does not name {each} for each block"


def _slotted(
    blocks: Sequence[Sequence[PieceId]], last: PieceId | None, slots: Mapping[str, PieceId]
) -> Claim:
    """That the slots hold what the arrangement says."""
    placed = [name for block in blocks for name in block] + ([] if last is None else [last])
    return placed == [*slots.values()], SOLUTION, "its slots are not those of its arrangement"


def _within(solution: Solution) -> Iterator[Claim]:
    """Claims on what stands in `solution.json`; each may rely on those before it."""
    count = len(solution.arrangement)
    places = range(count)
    layers, names = {*solution.layers}, solution.permutation
    once = len({*names}) == len(names) and layers <= {*solution.trace.ids}
    yield once, SOLUTION, "does not name each of its layers once"
    yield {*solution.biases} <= layers, SOLUTION, "names a bias of a layer that it lacks"
    hashed = solution.sha256 == sha256(solution.answer.encode()).hexdigest()
    yield hashed, SOLUTION, "its sha256 is not that of its answer"
    if (certificate := solution.certificate) is not None:
        contests = (*certificate.neighbours, *certificate.pairs)
        neighbours = [contest.places for contest in certificate.neighbours]
        sound = neighbours == [(place, place + 1) for place in places[:-1]]
        sound &= all(place in places for contest in contests for place in contest.places)
        yield sound, SOLUTION, f"its certificate is not of {count} places in sequence"


def _of_kind(solution: Solution) -> Iterator[Claim]:
    """Claims on the trace and the network, which are in files of their own, and on what pairs."""
    trace = solution.trace
    found = trace.steps[-1].arrangement if trace.steps else solution.arrangement[:0]
    ends = np.array_equal(found, solution.arrangement[: len(found)])
    yield ends, TRACE, "does not end with the arrangement found"
    if solution.pairing is not None:
        yield from _of_puzzle(solution, solution.pairing)
        return
    free = not solution.units and not solution.activation
    yield free, SOLUTION, "its activation or units are of blocks of another kind"
    names = [*solution.network.tensors()]
    empty = next((slot for slot in solution.slots if not any(within(n, slot) for n in names)), "")
    yield not empty, NETWORK, f"holds no tensor of slot {shown(empty)}"


def _of_puzzle(solution: Solution, pairing: Pairing) -> Iterator[Claim]:
    """Claims on the pairs and the network of the puzzle's blocks."""
    count, network = len(solution.arrangement), as_mlp(solution.network)
    paired = len(pairing.matches) == count
    yield paired, SOLUTION, f"its pairing is not of its {count} blocks"
    sequence = [*range(network.blocks.hidden)]
    permuted = all(sorted(columns) == sequence for columns in solution.units.values())
    units = permuted and {*solution.units} <= {*solution.layers}
    yield units, SOLUTION, "its units are not the columns of its out layers, each once"
    blocks, anatomy = network.blocks, pairing.anatomy
    held = len(blocks), blocks.width, blocks.hidden, len(network.last.bias)
    expected = count, anatomy.width, anatomy.hidden, anatomy.outputs
    shapes = "{} blocks {} → {} with {} outputs"
    wrong = f"holds {shapes.format(*held)}, but {SOLUTION} beside it is of "
    yield held == expected, NETWORK, wrong + shapes.format(*expected)
