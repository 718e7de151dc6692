"""Race: populations of rival problems take turns until one of them comes near.

Which problem is the right one shows only when its population has been drawn in: before that, a
wrong activation may well fit better. The likeliest one begins; each of the others begins when those
before it have had their chance. So the others cost nothing where the likeliest soon succeeds, and
none of them waits for one that leads nowhere.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice

from unshuffle.ordering.judge import Run, Search
from unshuffle.ordering.trace import Step

HEAD_START = 25
"""Generations before the next search begins; most that succeed have done so by then."""

STEPS = 16
"""Steps in a turn of the first search; the n-th takes one n-th as many. Steps of a generation and
of a descent take about as long."""


class Contender:
    """A population that is drawn in a few steps at a time.

    `generations` counts them, and `run` is what it has ended with.
    """

    def __init__(self, number: int, search: Search) -> None:
        self.number = number
        self.generations = 0
        self.run: Run | None = None
        self._steps = self._take(search)

    @property
    def has_had_its_chance(self) -> bool:
        """Whether it is time for the next one to begin."""
        return self.generations > HEAD_START or self.run is not None

    def turn(self) -> Iterator[Step]:
        """Take the next steps, as far as there are any."""
        for step in islice(self._steps, STEPS // (self.number + 1)):
            self.generations += step.phase == "population"
            yield step

    def _take(self, search: Search) -> Iterator[Step]:
        self.run = yield from search


def race(
    searches: Iterable[Search], *, suffices: Callable[[int, Run], bool]
) -> Generator[Step, None, dict[int, Run]]:
    """Let populations take turns until one suffices or all have ended.

    Parameters
    ----------
    searches
        As `population` makes them, the likeliest to succeed first; each is asked for when it is to
        begin.
    suffices
        Whether a run that a search has ended with is good enough, given the search's number.

    Returns
    -------
    dict
        By number: what the one that suffices has ended with, else what each has.
    """
    waiting = (Contender(number, search) for number, search in enumerate(searches))
    racing: list[Contender] = []
    while True:
        if all(each.has_had_its_chance for each in racing):
            racing += islice(waiting, 1)
        if all(each.run is not None for each in racing):
            return {each.number: each.run for each in racing if each.run is not None}
        for each in racing:
            yield from each.turn()
            if each.run is not None and suffices(each.number, each.run):
                return {each.number: each.run}
