"""What a search has worked out so far, so that it can go on after it was cut off.

A search is deterministic: its draws follow from the seed, and each round from the rounds before. A
journal keeps what each round came to, which is little, and not how, which takes long. A search that
is begun again with the journal asks it first: it comes by the same states, draws the same numbers,
and works from where the journal ends.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import FileError
from unshuffle.pieces.pile import Floats

Numbers = NDArray[np.int32]
Errors = NDArray[np.float64]

T = TypeVar("T")
F = TypeVar("F", bound=np.floating)


@dataclass(frozen=True, eq=False)
class Entry:
    """What a round came to.

    Parameters
    ----------
    numbers
        Shape (n,): what was chosen, in terms of the round: blocks, moves.
    errors
        Shape (m,): mean squared errors of what was judged.
    seconds
        Of search that were used when the round was done.
    """

    numbers: Numbers
    errors: Errors
    seconds: float


class Journal:
    """The rounds of a search, those before an interruption first.

    Parameters
    ----------
    entries
        Rounds that are done.
    key
        What they are of, by name; None where nothing is known.
    name
        Says where they come from, for messages.
    """

    def __init__(
        self,
        entries: Sequence[Entry] = (),
        key: Mapping[str, str] | None = None,
        name: str = "the journal",
    ) -> None:
        self.entries = list(entries)
        self.key = None if key is None else dict(key)
        self.name = name
        self.on_entry: Callable[[], None] | None = None
        self._rewind()

    def claim(self, key: Mapping[str, str]) -> None:
        """Say what the search is of that begins now.

        Raises
        ------
        FileError
            If there are rounds of another search.
        """
        if self.key is not None:
            other = [part for part in key if self.key.get(part) != key[part]]
            if other:
                raise FileError(
                    f"{self.name}: is the checkpoint of a search with another "
                    f"{' and another '.join(other)}; choose another file, or remove it to begin "
                    "anew"
                )
        self.key = dict(key)
        self._rewind()

    def _rewind(self) -> None:
        self._recalled = 0
        self._used = 0.0
        self._working_since: float | None = None  # nothing until the rounds are recalled

    @property
    def seconds(self) -> float:
        """Seconds of search, those before an interruption included, but not the recalling."""
        if self.recalling:
            return self._used
        if self._working_since is None:
            self._working_since = perf_counter()
        return self._used + perf_counter() - self._working_since

    def result(
        self,
        work: Callable[[], T],
        pack: Callable[[T], tuple[Sequence[int] | NDArray[np.integer], Sequence[float] | Errors]],
        unpack: Callable[[Numbers, Errors], T],
    ) -> T:
        """What the next round comes to: as it was written down, or else worked out now.

        Parameters
        ----------
        work
            Works it out; draws nothing at random.
        pack
            Turns it into numbers and errors.
        unpack
            Turns these back into it; a `ValueError` says that they cannot be of this round.

        Raises
        ------
        FileError
            If what was written down is not of this search.
        """
        if self.recalling:
            return self.recalled(unpack)
        found = work()
        self.keep(*pack(found))
        return found

    @property
    def recalling(self) -> bool:
        """Whether the next round was written down."""
        return self._recalled < len(self.entries)

    def recalled(self, unpack: Callable[[Numbers, Errors], T]) -> T:
        """What the next round came to, which was written down; see `result`.

        With `recalling` and `keep` it is for rounds that take steps to work out.

        Raises
        ------
        FileError
            If what was written down is not of this search.
        """
        entry = self.entries[self._recalled]
        try:
            found = unpack(entry.numbers, entry.errors)
        except ValueError as error:
            raise FileError(
                f"{self.name}: its round {self._recalled + 1} is of another search ({error}); "
                "choose another file, or remove it to begin anew"
            ) from error
        self._recalled += 1
        self._used = entry.seconds
        return found

    def keep(
        self, numbers: Sequence[int] | NDArray[np.integer], errors: Sequence[float] | Errors
    ) -> None:
        """Write down what a round came to that was not written down before."""
        entry = Entry(np.array(numbers, np.int32), np.array(errors, np.float64), self.seconds)
        self._recalled += 1  # before the entry is there: what an interrupt loses is worked out anew
        self.entries.append(entry)
        if self.on_entry is not None:
            self.on_entry()


def bits(values: Floats) -> Numbers:
    """Numbers that hold the bits of floats."""
    return np.ascontiguousarray(values).reshape(-1).view(np.int32)


def from_bits(numbers: Numbers, like: NDArray[F]) -> NDArray[F]:
    """The floats, in the shape and dtype of others.

    Raises
    ------
    ValueError
        If they are not as many, or not finite.
    """
    if numbers.nbytes != like.nbytes:
        raise ValueError("it has weights of another shape")
    values: NDArray[F] = numbers.view(like.dtype).reshape(like.shape)
    if not np.isfinite(values).all():
        raise ValueError("it has weights that are not finite")
    return values
