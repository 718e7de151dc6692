"""Independent attempts at one network, one after another or side by side.

A search that ends in vain may succeed with another seed. Attempts share only the pieces and the
record. So processes, or the workers of a Dask cluster, can make them side by side. The answer is
that of the first attempt in sequence that reproduces the record.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import inf, isnan
from typing import Any

from unshuffle.errors import UsageError
from unshuffle.oracle.workers import Results, in_processes, on_cluster, stop_if_asked
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import SETTLED, Outcome
from unshuffle.solution.solution import Solution
from unshuffle.solver import solve


@dataclass(frozen=True, eq=False)
class _Attempt:
    """What an attempt needs, wherever it is made."""

    pile: Pile
    records: Records
    options: Mapping[str, Any]


def solve_attempts(
    pile: Pile,
    records: Records,
    attempts: Sequence[Mapping[str, Any]],
    *,
    processes: int = 1,
    scheduler: str | None = None,
    **options: Any,
) -> Solution:
    """Put a network back together by the first of several attempts that succeeds.

    Parameters
    ----------
    pile, records
        As of `solve`.
    attempts
        At least one: the options of `solve` that each attempt has of its own. They are such as
        ``{"seed": 1}`` or ``{"activation": "gelu"}``.
    processes
        How many attempts are made at a time, each in a process of this machine.
    scheduler
        Address of a Dask scheduler on whose cluster they are made instead.
    options
        Options of `solve` that all attempts share. A time limit is that of each attempt.

    Returns
    -------
    Solution
        Of the first attempt in sequence that reproduces the record; else of the one with the lowest
        error. Its seconds and its work are those of that attempt alone.

    Raises
    ------
    UnshuffleError
        As of `solve`, and as of `unshuffle.oracle.workers.on_cluster`.

    Examples
    --------
    >>> solution = solve_attempts(pile, records, [{"seed": seed} for seed in range(4)], processes=2)
    """
    jobs = [_Attempt(pile, records, {**options, **own}) for own in attempts]
    if not jobs:
        raise UsageError("there is no attempt to make; give at least one, such as {'seed': 0}")
    if scheduler is None and min(processes, len(jobs)) == 1:
        return _first(_one_by_one(jobs), len(jobs))
    if scheduler is None:
        return _first(in_processes(_attempt, jobs, processes), len(jobs))
    return _first(on_cluster(_attempt, jobs, scheduler), len(jobs))


def _one_by_one(jobs: Sequence[_Attempt]) -> Results[Solution]:
    for at, job in enumerate(jobs):
        yield at, solve(job.pile, job.records, **job.options)


def _attempt(job: _Attempt) -> Solution:
    """Make an attempt in a worker, which may be asked to stop."""

    def on_step(_: Trace) -> None:
        stop_if_asked()

    return solve(job.pile, job.records, **job.options, on_step=on_step)


def _first(results: Results[Solution], count: int) -> Solution:
    """The first in sequence that reproduces the record; nothing is waited for behind it."""
    done: dict[int, Solution] = {}
    with closing(results):
        for at, result in results:
            if isinstance(result, BaseException):
                raise result
            done[at] = result
            for solution in _from_the_first(done):
                if solution.outcome in SETTLED or solution.outcome is Outcome.INTERRUPTED:
                    return solution
    in_sequence = [done[at] for at in range(count)]
    return min(in_sequence, key=lambda one: inf if isnan(one.mse) else one.mse)


def _from_the_first(done: Mapping[int, Solution]) -> Iterator[Solution]:
    """Those that are there, up to the first that is not."""
    at = 0
    while at in done:
        yield done[at]
        at += 1
