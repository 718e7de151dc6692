"""The state of a search: a value that is complete, so that it can be kept, compared and resumed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unshuffle.blocks.bank import Bank
from unshuffle.files.schema import OrInfinite
from unshuffle.ordering.beam import Beam
from unshuffle.ordering.population import Population
from unshuffle.ordering.trace import Step
from unshuffle.pieces.blueprint import Arrangement


@dataclass(frozen=True, eq=False)
class Found:
    """An arrangement that was found.

    Parameters
    ----------
    alternative
        Number of the problem that it is of.
    arrangement
        The pieces in their slots.
    error
        Mean squared error on the rows in use.
    """

    alternative: int
    arrangement: Arrangement
    error: OrInfinite


@dataclass(frozen=True, eq=False)
class Descent:
    """A descent between two rounds.

    Parameters
    ----------
    arrangement
        What stands.
    effort
        Of the next round; see `unshuffle.ordering.descent`.
    trust
        Factor on the evidence.
    short
        Whether it ends where adjacent swaps no longer help.
    """

    arrangement: Arrangement
    effort: int = 0
    trust: float = 1.0
    short: bool = False


@dataclass(frozen=True, eq=False)
class Attempt:
    """One try to find a better arrangement: seeds are ranked, and the best are descended from.

    Parameters
    ----------
    alternative
        Number of the problem.
    seeds
        "quick", "all", or "" where no seeds are to be ranked any more.
    starts
        How many of the ranked seeds are descended from.
    short
        Whether these descents are short.
    waiting
        Descents that have not begun.
    descent
        The one that is under way.
    beam
        The beam search that is under way, where there are few predictions.
    best
        The best so far of this attempt.
    accept
        When it replaces the best of the search: if its error is "lower", "convincing" or "near".
    """

    alternative: int
    seeds: str = ""
    starts: int = 0
    short: bool = False
    waiting: tuple[Descent, ...] = ()
    descent: Descent | None = None
    beam: Beam | None = None
    best: Found | None = None
    accept: str = "lower"


@dataclass(frozen=True, eq=False)
class Contender:
    """A population of one problem in the race of all.

    Parameters
    ----------
    alternative
        Number of the problem.
    population
        The one that is drawn in; None before the first and after the last.
    begun
        How many have been begun.
    generations
        How many generations there have been in all.
    descent
        From the centre of the population.
    best
        The best so far.
    ended
        Whether no further population is begun.
    """

    alternative: int
    population: Population | None = None
    begun: int = 0
    generations: int = 0
    descent: Descent | None = None
    best: Found | None = None
    ended: bool = False


@dataclass(frozen=True, eq=False)
class Race:
    """Populations that take turns.

    Parameters
    ----------
    contenders
        Those that have begun, the likeliest first.
    turn
        Whose turn it is.
    taken
        Steps of this turn.
    """

    contenders: tuple[Contender, ...] = ()
    turn: int = 0
    taken: int = 0


@dataclass(frozen=True, eq=False)
class State:
    """A search between two rounds.

    Parameters
    ----------
    best
        The best arrangement so far.
    rows
        Number of rows in use: the first of the shuffled record.
    draws
        State of the bit generator that draws everything random.
    step
        What the last round did.
    stage
        Name of the stage that is under way; "" between two.
    ended
        Names of the stages that have ended on these rows.
    attempt
        The attempt that is under way.
    attempts
        How many attempts this stage has begun.
    failures
        How many restarts in a row have not helped.
    race
        The populations.
    noisy
        Whether noise, or coarsely stored numbers, explain what the best leaves of the record.
    decided
        Whether the rows in use then tell the best from all that it could be mistaken for.
    sweep
        The arrangement with which a sweep over all moves of one kind began.
    cursor
        Where that sweep is.
    before
        The error with which the sweeps of all kinds began.
    """

    best: Found
    rows: int
    draws: Mapping[str, Any]
    step: Step
    stage: str = ""
    ended: tuple[str, ...] = ()
    attempt: Attempt | None = None
    attempts: int = 0
    failures: int = 0
    race: Race = Race()
    noisy: bool = False
    decided: bool = False
    sweep: Arrangement | None = None
    cursor: tuple[int, ...] = ()
    before: OrInfinite = np.inf

    def generator(self) -> np.random.Generator:
        """The generator of everything random, as the last round left it."""
        rng = np.random.default_rng(0)
        rng.bit_generator.state = self.draws
        return rng

    def drawn(self, rng: np.random.Generator) -> "State":
        """The state after numbers were drawn."""
        return replace(self, draws=rng.bit_generator.state)

    def after(self, *names: str) -> "State":
        """The state after a stage has ended."""
        return replace(
            self,
            stage="",
            ended=(*self.ended, *names),
            attempt=None,
            attempts=0,
            failures=0,
            race=Race(),
            sweep=None,
            cursor=(),
        )

    def check(self, bank: Bank, blocks: int, rows: int) -> None:
        """Refuse a state that is not of so many blocks, of the pieces of a bank, and of these rows.

        Raises
        ------
        ValueError
            If it is not.
        """
        if not 0 < self.rows <= rows:
            raise ValueError(f"it uses {self.rows} of {rows} rows")
        roles = range(len(bank.kind.roles))
        fitting = [{*bank.positions(role)} for role in roles]
        for arrangement in self._arrangements():
            if arrangement.ndim != 2 or arrangement.shape[1] != len(roles):
                raise ValueError("it has blocks of another kind")
            placed = arrangement.ravel().tolist()
            if not all({*arrangement[:, role].tolist()} <= fitting[role] for role in roles):
                raise ValueError("it arranges other pieces")
            if len({*placed}) < len(placed) or len(arrangement) > blocks:
                raise ValueError("it names a piece twice")
        for contender in self.race.contenders:
            if contender.population is not None:
                contender.population.check(blocks, len(roles))
        if self.attempt is not None and self.attempt.beam is not None:
            self.attempt.beam.check()
        self.generator()

    def _arrangements(self) -> list[Arrangement]:
        """All arrangements that a search may go on from."""
        attempt, contenders = self.attempt or Attempt(0), self.race.contenders
        descents = (attempt.descent, *attempt.waiting, *(each.descent for each in contenders))
        found = (self.best, attempt.best, *(each.best for each in contenders))
        arrangements = [one.arrangement for one in (*descents, *found) if one is not None]
        arrangements += [self.step.arrangement] if self.sweep is None else [self.sweep]
        for each in contenders:
            if each.population is not None:
                arrangements += [one.pieces for one in each.population.distributions]
        if attempt.beam is not None:
            arrangements += [attempt.beam.known.arrangement]
        return arrangements
