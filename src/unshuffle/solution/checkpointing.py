"""A search on disk: the file that `unshuffle solve --checkpoint` goes on from.

The file holds the complete state of the search, the steps so far, and what they are of. It is
written as a whole or not at all. So it is complete, whatever ends the program.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import unshuffle
from unshuffle.blocks.blueprints import Blueprint
from unshuffle.errors import FileError, UsageError, shown
from unshuffle.files import write_npz
from unshuffle.files.npz_file import read_arrays
from unshuffle.files.opening import as_path
from unshuffle.files.schema import Expected, at_least, laid_out, read_laid_out
from unshuffle.ordering.search import OnState
from unshuffle.ordering.state import State
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.solution.arranging import Searching
from unshuffle.solution.options import Options

LEAST_SECONDS = 1.0  # between two writings of a checkpoint,
SHARE = 0.05  # or longer, so that writing takes no more than this part of the time

ADVICE = "choose another file, or remove it to begin anew"

# What comes of a file that some other program has written.
_DAMAGED = (UsageError, ValueError, TypeError, LookupError, AttributeError, OverflowError)


@dataclass(frozen=True, eq=False)
class _KeptSearch:
    """A search as the file holds it, and which of the searches of its solve it is."""

    key: Mapping[str, Annotated[str, Expected("that is printable", str.isprintable)]]
    number: int
    seconds: Annotated[float, at_least(0)]
    state: State
    steps: Mapping[str, Any]  # the arrays of a trace


class Checkpoint:
    """The state of a search, in memory and in a file, which need not exist.

    A solve may begin several searches of whole piles. The file holds the last of them. Earlier ones
    begin anew and come to the same end. At least `pause` seconds lie between two writings. A
    FileError says that the file is damaged or is no checkpoint.
    """

    def __init__(self, path: str | os.PathLike[str], *, pause: float | None = None) -> None:
        self.path, self.pause = as_path(path), LEAST_SECONDS if pause is None else pause
        self._kept = _read(self.path) if os.path.lexists(self.path) else None
        self._key = {} if self._kept is None else self._kept.key
        self.seconds = 0.0 if self._kept is None else self._kept.seconds  # before it was cut off
        self._begun = 0
        self._due = perf_counter()
        self._pending: tuple[State, Searching, int, int] | None = None

    def claim(
        self,
        pile: Pile,
        records: Records,
        options: Options,
        blueprint: Blueprint | None = None,
        *,
        permuted_units: bool,
    ) -> None:
        """Say what the new search is of. A file of another search is refused."""
        key = _key(pile, records, options) | {"kind of pile": str(permuted_units)}
        if blueprint is not None:
            key["kind of block"] = _named(blueprint, pile, records)
        other = [part for part in key if self._key.get(part, key[part]) != key[part]]
        if other:
            raise FileError(
                f"{shown(self.path)}: is the checkpoint of a search with another "
                f"{' and another '.join(other)}; {ADVICE}"
            )
        self._key, self._begun = key, 0

    def resumed(self, searching: Searching) -> OnState:
        """Bring a search to where it was cut off. What is returned keeps it from there on."""
        self._begun += 1
        number, kept = self._begun, self._kept
        if kept is not None and kept.number == number:
            problem = searching.alternatives.problems[0]
            try:
                searching.trace = Trace.from_arrays(kept.steps, searching.trace.ids)
                kept.state.check(problem.bank, len(problem.grouped), len(problem.known))
                if not all(map(searching.alternatives.has, kept.state.alternatives)):
                    raise ValueError("it has other alternatives")
            except _DAMAGED as error:
                raise FileError(
                    f"{shown(self.path)}: its state is of another search ({error}); {ADVICE}"
                ) from error
            searching.state = kept.state

        def keep(state: State) -> None:
            self._pending = state, searching, number, len(searching.trace)
            if perf_counter() >= self._due:
                self._write_quietly()

        return keep

    def write(self) -> None:
        """Write what has not been written yet."""
        if self._pending is None:
            return
        state, searching, number, count = self._pending
        clock, trace = searching.alternatives.options.clock, searching.trace.first(count)
        # Errors keep all their digits here, since what a search comes to may depend on them.
        steps = {**trace.arrays(), "tested": trace.errors}
        self._kept = _KeptSearch(self._key, number, clock.used + clock.total, state, steps)
        write_npz(self.path, laid_out(self._kept), force=True)
        self._pending = None

    def _write_quietly(self) -> None:
        began = perf_counter()
        with suppress(FileError):  # a search of hours is worth more than its checkpoint
            self.write()
        self._due = began + max(self.pause, (perf_counter() - began) / SHARE)


def _read(path: Path) -> _KeptSearch:
    try:
        return read_laid_out(_KeptSearch, read_arrays(path))
    except UsageError as error:
        raise FileError(
            f"{shown(path)}: is no checkpoint of this version ({shown(str(error))}); {ADVICE}"
        ) from error


@contextmanager
def checkpoint(path: str | os.PathLike[str]) -> Iterator[Checkpoint]:
    """Keep a search in a file while it runs, and go on from what the file holds.

    What it yields is for `solve`. The file is written every second or more rarely, and at any end.
    The search must begin with the same pieces, record and options each time. The time limit may
    differ.

    Parameters
    ----------
    path
        The file. If it is there, it must be a checkpoint of the same search. It stays when the
        search is done.

    Raises
    ------
    FileError
        If the file is damaged, of another search, or cannot be written. What fails during the
        search is tried again and said at the end.

    Examples
    --------
    >>> with checkpoint("search.npz") as kept:
    ...     solution = solve(pile, records, checkpoint=kept)
    """
    kept = Checkpoint(path)
    try:
        yield kept
    finally:
        kept.write()


def _named(blueprint: Blueprint, pile: Pile, records: Records) -> str:
    """What a blueprint is, as far as it can be told: its kind, its functions' names, its ends."""
    parts = [vars(blueprint)[name] for name in sorted(vars(blueprint))]
    functions = [one for one in parts if hasattr(one, "__qualname__")]
    names = [f"{one.__module__}.{one.__qualname__}" for one in functions]
    bank, ends = blueprint.parts(pile, records)
    weights = sha256()
    for name, values in ends.tensors().items():
        weights.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return json.dumps([str(bank.kind), *names, weights.hexdigest()])


def _key(pile: Pile, records: Records, options: Options) -> dict[str, str]:
    """Everything that decides what a search comes to."""
    pieces, record = sha256(), sha256()
    for piece in pile:
        pieces.update(f"{piece.id!r} {piece.shapes} {piece.stored_as}".encode())
        for values in piece.tensors.values():
            pieces.update(f"{values.dtype}".encode() + values.tobytes())
    for bias in pile.biases:
        pieces.update(f"{bias.id!r} {bias.values.dtype} {bias.stored_as}".encode())
        pieces.update(bias.values.tobytes())
    for part in (records.inputs, records.predictions):
        record.update(f"{part.shape} {part.dtype}".encode() + part.tobytes())
    chosen = {field.name: getattr(options, field.name) for field in fields(options)}
    del chosen["clock"], chosen["on_step"]
    return {
        "version of unshuffle": unshuffle.__version__,
        "pile": pieces.hexdigest(),
        "record": record.hexdigest(),
        "set of options": json.dumps(chosen, default=str),
    }
