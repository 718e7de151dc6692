"""The time that a solve has and takes: counted once, and named phase by phase."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from numbers import Real
from time import perf_counter

from unshuffle.errors import UsageError

OTHER = "other"  # the phase of whatever has no name of its own


class OutOfTimeError(Exception):
    """The time limit was reached inside a long step. Whoever has a result so far catches it."""


_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}  # seconds in each
_DURATION = re.compile(r"(.*?)\s*(min|[smh]|)", re.DOTALL)


def duration(text: str) -> float:
    """Seconds in a text that says seconds, minutes or hours, such as 10, 10s, 1.5m or 2h."""
    value, unit = _DURATION.fullmatch(text.strip().lower()).groups()  # type: ignore[union-attr]
    with suppress(ValueError):
        if (seconds := _UNITS[unit] * float(value)) > 0:
            return seconds
    raise UsageError(f"{text!r} is no duration above 0; give one such as 10, 10s, 1.5m or 2h")


@dataclass(eq=False)
class Clock:
    """Counts the seconds of a solve from the moment it is made.

    No further step is begun after `limit` seconds, or once the solve was `interrupted`. `used`
    counts those of a search that was cut off and goes on. `now` reads the time. It is that of the
    wall where nothing else is given.
    """

    limit: float | None = None
    used: float = 0.0
    now: Callable[[], float] = perf_counter
    interrupted: bool = field(default=False, init=False)
    _started: float = field(init=False)
    _phases: list[str] = field(default_factory=lambda: [OTHER])
    _spent: dict[str, float] = field(default_factory=dict)
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self._since = self.now()

    @classmethod
    def of(cls, limit: "float | str | Clock | None") -> "Clock":
        """A clock with a limit from now on, or the one that runs already.

        Text is a `duration`. It raises a `UsageError` for a limit that is none above 0.
        """
        if isinstance(limit, Clock):
            return limit
        if isinstance(limit, str):
            limit = duration(limit)
        if limit is not None and not (isinstance(limit, Real) and limit > 0):
            raise UsageError(
                f"the time limit cannot be {limit!r}; give seconds, as a number above 0 such as 60"
            )
        return cls(limit)

    @property
    def total(self) -> float:
        """Seconds of this solve, those before an interruption aside."""
        return self.now() - self._started

    @property
    def left(self) -> float:
        """Seconds that are left: infinite without a limit, none after an interruption."""
        if self.interrupted:
            return 0.0
        return inf if self.limit is None else self.limit - self.used - self.total

    @property
    def out(self) -> bool:
        """Whether no time is left."""
        return self.left <= 0

    def check(self) -> None:
        """End a long step by an `OutOfTimeError` where no time is left."""
        if self.out:
            raise OutOfTimeError

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens meanwhile under a name, and under no other."""
        self._switch()
        self._phases.append(name)
        try:
            yield
        finally:
            self._switch()
            self._phases.pop()

    def _switch(self) -> None:
        now, name = self.now(), self._phases[-1]
        self._spent[name] = self._spent.get(name, 0.0) + now - self._since
        self._since = now

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase, which add up to `total`."""
        self._switch()
        return {**self._spent, "total": sum(self._spent.values())}
