"""A solution on disk: the folder that `unshuffle solve --out` leaves behind.

answer.txt            the answer, as it is published and hashed
solution.json         how it ended, the order, the pairs and what they were found by
network.safetensors   the assembled network
pairing.npz           the scores of all pairs
trace.npz             every step of the search
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.activations import ACTIVATIONS
from unshuffle.errors import FileError, UsageError
from unshuffle.files import (
    limits,
    make_folder,
    pack_npz,
    pack_safetensors,
    read_network,
    shown,
    write_files,
)
from unshuffle.files.json_file import read_json
from unshuffle.files.npz_file import ANYTHING, open_npz
from unshuffle.grouping import Match, Pairing
from unshuffle.grouping.fusion import Evidence
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.pile import ID_DIGITS, PieceId, may_be_id
from unshuffle.proof.certificate import Certificate, Contest
from unshuffle.proof.outcome import Outcome
from unshuffle.solution.findings import Findings, Gap, Leftover
from unshuffle.solution.solution import Solution

ANSWER, SOLUTION, NETWORK, PAIRING, TRACE = FILES = (
    "answer.txt",
    "solution.json",
    "network.safetensors",
    "pairing.npz",
    "trace.npz",
)
"""The answer, as it is published and hashed; how it ended, the order, and what the pairs were found
by; the assembled network; the scores of all pairs; every step of the search."""

ADVICE = "solve again with --out"

T = TypeVar("T")


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
        If a piece has a name that an answer cannot hold, as none that was read from a file has.
    """
    for name in (*solution.trace.inp, *solution.trace.out, solution.last):
        try:
            _id(name)
        except ValueError as error:
            raise UsageError(
                f"the solution cannot be kept: a piece is called {shown(repr(name))}; give it a "
                "printable name without commas, or a number from 0 on"
            ) from error
    values = solution.summary() | {"pairing": _pairing_values(solution)}
    contents = {
        ANSWER: f"{solution.answer}\n".encode(),
        SOLUTION: f"{json.dumps(values, indent=1)}\n".encode(),
        NETWORK: pack_safetensors(solution.network.tensors(), _estimated(solution)),
        PAIRING: pack_npz({"scores": solution.pairing.scores}),
        TRACE: pack_npz(solution.trace.arrays()),
    }
    folder = Path(folder)
    make_folder(folder)
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
        The one that was kept, but for what files do not hold: seconds are rounded to microseconds,
        the errors of tested candidates to float32, and an infinite error of the result is NaN.

    Raises
    ------
    FileError
        If a file is missing or damaged, or the files do not belong together.
    """
    folder = Path(folder)
    path = folder / SOLUTION
    fields = _Fields(read_json(path, ADVICE, max_bytes=limits.HEADER_BYTES), shown(path))
    evidence = fields.nested("pairing")
    inp, out = (tuple(evidence.take(role, _list(_id))) for role in ("inp", "out"))
    network = read_network(folder / NETWORK, ACTIVATIONS[fields.take("activation", _activation)])
    solution = Solution(
        outcome=fields.take("outcome", _outcome),
        pairs=tuple(fields.take("pairs", _list(_pair))),
        order=tuple(fields.take("order", _list(_whole))),
        last=fields.take("last", _id),
        mse=fields.take("mse", _or(math.nan, _real)),
        max_abs_error=fields.take("max_abs_error", _or(math.nan, _real)),
        rows=fields.take("rows", _whole),
        sha256=fields.take("sha256", _text),
        biases=dict(fields.take("biases", _list(_pair))),
        units=dict(fields.take("units", _list(_units))),
        activation=network.blocks.activation.name,
        pairing=_read_pairing(folder / PAIRING, evidence, inp, out),
        certificate=fields.take("certificate", _or(None, _certificate)),
        seconds=fields.take("seconds", _seconds),
        trace=_read_trace(folder / TRACE, inp, out),
        network=network,
        findings=fields.take("findings", _or(None, _findings)),
    )
    _check_together(folder, solution)
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


def _pairing_values(solution: Solution) -> dict[str, Any]:
    """The evidence for the pairs as plain values; `inp` and `out` name the rows and columns."""
    pairing, trace = solution.pairing, solution.trace
    return {
        **pairing.summary(),
        "inp": trace.inp,
        "out": trace.out,
        "anatomy": asdict(pairing.anatomy),
        "weights": None if pairing.evidence is None else dict(pairing.evidence.weights),
    }


def _read_pairing(
    path: Path, fields: "_Fields", inp: tuple[PieceId, ...], out: tuple[PieceId, ...]
) -> Pairing:
    scores = _arrays(path).get("scores", np.empty(0))
    anatomy = fields.take("anatomy", _anatomy)
    matches = tuple(fields.take("pairs", _list(_match)))
    weights = fields.take("weights", _or(None, _weights))
    rows, columns = ({name: i for i, name in enumerate(names)} for names in (inp, out))
    shape = len(rows), len(columns)
    if scores.shape != shape or scores.dtype != np.float64 or not np.isfinite(scores).all():
        raise FileError(
            f"{shown(path)}: holds no finite scores of {shape[0]} inp and {shape[1]} out layers in "
            f"float64; {ADVICE}"
        )
    if (len(anatomy.inp), len(anatomy.out)) != shape or not all(
        match.inp in rows and match.out in columns for match in matches
    ):
        raise FileError(f"{fields.where}: its pairing names layers that it lacks; {ADVICE}")
    evidence = None
    if weights is not None:
        pairs = [(rows[match.inp], columns[match.out]) for match in matches]
        evidence = Evidence(scores, np.array(pairs, np.intp).reshape(-1, 2), weights)
    last, signal = fields.take("last", _id), fields.take("signal", _text)
    matching = fields.take("matching", _text)
    return Pairing(anatomy, matches, last, signal, matching, scores, evidence)


def _read_trace(path: Path, inp: tuple[PieceId, ...], out: tuple[PieceId, ...]) -> Trace:
    try:
        trace = Trace.from_arrays(_arrays(path), inp, out)
        for phase in {step.phase for step in trace.steps}:
            _text(phase)
    except (UsageError, ValueError) as error:
        raise FileError(f"{shown(path)}: {shown(error)}; {ADVICE}") from error
    return trace


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    return {name: array.read() for name, array in open_npz(path, ANYTHING).items()}


def _check_together(folder: Path, solution: Solution) -> None:
    """Refuse files that are each in order but of different solutions."""
    path, anatomy, network = folder / SOLUTION, solution.pairing.anatomy, solution.network
    if sorted(solution.order) != list(range(len(solution.pairs))):
        raise FileError(f"{shown(path)}: its order does not name each of its pairs once; {ADVICE}")
    layers, names = solution.layers, solution.permutation
    if len({*names}) != len(names) or not {*layers} <= {
        *solution.trace.inp,
        *solution.trace.out,
        solution.pairing.last,
    }:
        raise FileError(f"{shown(path)}: does not name each of its layers once; {ADVICE}")
    if len(solution.pairing.matches) != len(solution.pairs):
        raise FileError(
            f"{shown(path)}: its pairing is not of its {len(solution.pairs)} blocks; {ADVICE}"
        )
    sequence = list(range(network.blocks.hidden))
    if not {*solution.units} <= {*layers} or any(
        sorted(columns) != sequence for columns in solution.units.values()
    ):
        raise FileError(
            f"{shown(path)}: its units are not the columns of its out layers, each once; {ADVICE}"
        )
    if not {*solution.biases} <= {*layers}:
        raise FileError(f"{shown(path)}: names a bias of a layer that it lacks; {ADVICE}")
    if solution.sha256 != sha256(solution.answer.encode()).hexdigest():
        raise FileError(f"{shown(path)}: its sha256 is not that of its answer; {ADVICE}")
    places = len(solution.order)
    certificate = solution.certificate
    if certificate is not None:
        contests = (*certificate.neighbours, *certificate.pairs)
        in_sequence = [(place, place + 1) for place in range(places - 1)]
        if [(c.first, c.second) for c in certificate.neighbours] != in_sequence or not all(
            0 <= place < places for c in contests for place in (c.first, c.second)
        ):
            raise FileError(
                f"{shown(path)}: its certificate is not of {places} places in sequence; {ADVICE}"
            )
    steps = solution.trace.steps
    found = solution.trace.pairs(steps[-1].order) if steps else ()
    if found != tuple(solution.pairs[block] for block in solution.order[: len(found)]):
        raise FileError(f"{shown(folder / TRACE)}: does not end with the order found; {ADVICE}")
    blocks = network.blocks
    held = len(blocks), blocks.width, blocks.hidden, len(network.last.bias)
    expected = len(solution.pairs), anatomy.width, anatomy.hidden, anatomy.outputs
    if held != expected:
        raise FileError(
            f"{shown(folder / NETWORK)}: holds {held[0]} blocks {held[1]} → {held[2]} with "
            f"{held[3]} outputs, but {SOLUTION} beside it is of {expected[0]} blocks "
            f"{expected[1]} → {expected[2]} with {expected[3]}; {ADVICE}"
        )


@dataclass(frozen=True)
class _Fields:
    """A JSON object whose values are checked as they are taken."""

    values: Mapping[str, Any]
    where: str

    def take(self, key: str, kind: Callable[[Any], T]) -> T:
        """The value of a key, made into what `kind` makes of it."""
        if key not in self.values:
            raise FileError(f"{self.where}: lacks {key!r}; {ADVICE}")
        try:
            return kind(self.values[key])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FileError(
                f"{self.where}: its {key!r} is not what a solution holds ({shown(error)}); {ADVICE}"
            ) from error

    def nested(self, key: str) -> "_Fields":
        """The object that is the value of a key."""
        return _Fields(self.take(key, _object), self.where)


def _kind(kind: type[T]) -> Callable[[Any], T]:
    """Of one type, and no other that Python would take for it."""

    def check(value: Any) -> T:
        if type(value) is not kind:
            raise TypeError(f"{value!r} where {kind.__name__} is expected")
        return value

    return check


_whole, _object = _kind(int), _kind(dict)


def _text(value: Any) -> str:
    """A word that may be shown as it is."""
    text = _kind(str)(value)
    if len(text) > limits.NAME_CHARACTERS or not text.isprintable():
        raise ValueError(f"{text!r} where a word is expected")
    return text


def _id(value: Any) -> PieceId:
    """A piece's name or number, as `read_pile` gives them."""
    if isinstance(value, str):
        if not may_be_id(_text(value)):
            raise ValueError(f"{value!r} where a piece is expected")
        return value
    if not 0 <= _whole(value) < 10**ID_DIGITS:
        raise ValueError(f"{value} where a piece is expected")
    return int(value)


def _real(value: Any) -> float:
    number = float(_whole(value)) if isinstance(value, int) else _kind(float)(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} where a finite number is expected")
    return number


def _list(kind: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    return lambda values: [kind(value) for value in _kind(list)(values)]


def _or(default: T, kind: Callable[[Any], T]) -> Callable[[Any], T]:
    """What stands for null, or a value."""
    return lambda value: default if value is None else kind(value)


def _pair(value: Any) -> tuple[PieceId, PieceId]:
    inp, out = _list(_id)(value)
    return inp, out


def _units(value: Any) -> tuple[PieceId, tuple[int, ...]]:
    name, columns = value
    return _id(name), tuple(_list(_whole)(columns))


def _outcome(value: Any) -> Outcome:
    return {str(outcome): outcome for outcome in Outcome}[_text(value)]


def _activation(value: Any) -> str:
    return ACTIVATIONS[_text(value)].name


def _seconds(value: Any) -> dict[str, float]:
    seconds = {_text(phase): _real(seconds) for phase, seconds in _object(value).items()}
    if "total" not in seconds:
        raise ValueError("no total")
    return seconds


def _weights(value: Any) -> Mapping[str, float]:
    return {_text(signal): _real(weight) for signal, weight in _object(value).items()}


def _anatomy(value: Any) -> Anatomy:
    values = _object(value)
    width, hidden, outputs = (_whole(values[name]) for name in ("width", "hidden", "outputs"))
    inp, out, last = (tuple(_list(_whole)(values[role])) for role in ("inp", "out", "last"))
    return Anatomy(width, hidden, outputs, inp, out, last)


def _match(value: Any) -> Match:
    values = _object(value)
    return Match(
        inp=_id(values["inp"]),
        out=_id(values["out"]),
        score=_real(values["score"]),
        rival=_or(None, _id)(values["rival"]),
        margin=_or(math.inf, _real)(values["margin"]),
        confidence=_or(None, _real)(values["confidence"]),
    )


def _certificate(value: Any) -> Certificate:
    values = _object(value)
    neighbours, pairs = (tuple(_list(_contest)(values[name])) for name in ("neighbours", "pairs"))
    mse, floor, rows = _real(values["mse"]), _real(values["floor"]), _whole(values["rows"])
    return Certificate(neighbours, pairs, mse, floor, rows, _real(values["chance"]))


def _findings(value: Any) -> Findings:
    values = _object(value)
    leftovers = [
        Leftover(_id(one["piece"]), _text(one["reason"]))
        for one in _list(_object)(values["leftovers"])
    ]
    gaps = [
        Gap(
            place=_whole(one["place"]),
            missing=_text(one["missing"]),
            stand_in=_or(None, _id)(one["stand_in"]),
            share=_real(one["share"]),
        )
        for one in _list(_object)(values["gaps"])
    ]
    return Findings(
        tuple(leftovers),
        tuple(gaps),
        _real(values["unexplained"]),
        notes=tuple(_list(_text)(values["notes"])),
        scale=tuple(_list(_real)(values["scale"])),
        shift=tuple(_list(_real)(values["shift"])),
        columns=tuple(_list(_whole)(values["columns"])),
    )


def _contest(value: Any) -> Contest:
    values = _object(value)
    first, second = _list(_whole)(values["places"])
    mse, log_odds = (_or(math.inf, _real)(values[name]) for name in ("mse", "log_odds"))
    return Contest(first, second, mse, log_odds, _or(None, _whole)(values["rows_needed"]))
