"""The state of a search: a complete value that can be kept, compared and resumed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unshuffle.blocks.bank import Bank
from unshuffle.files.schema import OrInfinite
from unshuffle.ordering.beam import Beam
from unshuffle.ordering.insertions import Insertions
from unshuffle.ordering.mean_field import MeanField
from unshuffle.ordering.population import Population
from unshuffle.ordering.trace import Step
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement


@dataclass(frozen=True, eq=False)
class Found:
    """An arrangement that was found, of the problem of a number."""

    alternative: int
    arrangement: Arrangement
    error: OrInfinite  # mean squared error on the rows in use


@dataclass(frozen=True, eq=False)
class Descent:
    """A descent between two rounds; see `unshuffle.ordering.descent`."""

    arrangement: Arrangement
    effort: int = 0  # of the next round
    trust: float = 1.0  # factor on the evidence
    short: bool = False  # whether it ends where adjacent swaps no longer help


@dataclass(frozen=True, eq=False)
class Attempt:
    """One try to find a better arrangement: seeds are ranked, and the best are descended from."""

    alternative: int  # number of the problem
    seeds: str = ""  # "quick", "all", or "" where no seeds are to be ranked any more
    starts: int = 0  # how many of the ranked seeds are descended from
    short: bool = False  # whether these descents are short
    waiting: tuple[Descent, ...] = ()
    descent: Descent | None = None  # the one that is under way
    beam: Beam | None = None  # what is under way where there are few predictions
    best: Found | None = None  # of this attempt
    # When it replaces the best of the search: if its error is "lower" or "convincing".
    accept: str = "lower"


@dataclass(frozen=True, eq=False)
class Contender:
    """Mean-field searches and populations of one problem in the race of all."""

    alternative: int  # number of the problem
    field: MeanField | None = None  # the mean-field search that is under way
    fields: int = 0  # how many of these have been begun
    population: Population | None = None  # None before the first and after the last
    begun: int = 0  # how many populations have been begun
    generations: int = 0  # of all populations, and steps of all mean-field searches, together
    descent: Descent | None = None  # from the centre of the field or of the population
    best: Found | None = None
    ended: bool = False  # whether no further population is begun


@dataclass(frozen=True, eq=False)
class Race:
    """Contenders that take turns."""

    contenders: tuple[Contender, ...] = ()  # those that have begun, the likeliest first
    turn: int = 0  # whose turn it is
    taken: int = 0  # steps of this turn


@dataclass(frozen=True, eq=False)
class State:
    """A search between two rounds."""

    best: Found
    rows: int  # number of rows in use: the first of the shuffled record
    draws: Mapping[str, Any]  # state of the bit generator that draws everything random
    step: Step  # what the last round did
    stage: str = ""  # name of the stage that is under way; "" between two
    ended: tuple[str, ...] = ()  # names of the stages that have ended on these rows
    attempt: Attempt | None = None  # the one that is under way
    attempts: int = 0  # how many this stage has begun
    failures: int = 0  # how many restarts in a row have not helped
    trials: tuple[Insertions, ...] = ()  # exact searches that take turns
    race: Race = Race()
    noisy: bool = False  # whether noise, or coarsely stored numbers, explain what the best leaves
    decided: bool = False  # whether the rows then tell it from all it could be mistaken for
    sweep: Arrangement | None = None  # with which a sweep over all moves of one kind began
    cursor: tuple[int, ...] = ()  # where that sweep is
    # Since the search began; a search that was cut off does anew what it had only remembered.
    work: int = 0
    before: OrInfinite = np.inf  # the error with which a restart, or the sweeps of all kinds, began

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
        fresh = State(self.best, self.rows, self.draws, self.step, ended=(*self.ended, *names))
        return replace(fresh, noisy=self.noisy, decided=self.decided, before=self.before)

    def check(self, bank: Bank, blocks: int, rows: int) -> None:
        """Raise `ValueError` for a state of other blocks, other pieces, or more rows."""
        if not 0 < self.rows <= rows:
            raise ValueError(f"it uses {self.rows} of {rows} rows")
        roles = range(len(bank.kind.roles))
        fitting = [{*bank.positions(role)} for role in roles]
        for arrangement in self._arrangements():
            if arrangement.ndim != 2 or arrangement.shape[1] != len(roles):
                raise ValueError("it has blocks of another kind")
            placed = arrangement[arrangement != NO_PIECE].tolist()
            held = ({*arrangement[:, role].tolist()} - {NO_PIECE} for role in roles)
            if not all(each <= fits for each, fits in zip(held, fitting, strict=True)):
                raise ValueError("it arranges other pieces")
            if len({*placed}) < len(placed) or len(arrangement) > blocks:
                raise ValueError("it names a piece twice")
        for trial in self.trials:
            trial.check(rows)
        for contender in self.race.contenders:
            if contender.population is not None:
                contender.population.check(blocks, len(roles))
            if contender.field is not None:
                contender.field.belief.check(blocks, len(roles))
        if self.attempt is not None and self.attempt.beam is not None:
            self.attempt.beam.check()
        self.generator()

    @property
    def alternatives(self) -> set[int]:
        """Numbers of all alternatives that a search may go on with."""
        attempt, contenders = self.attempt, self.race.contenders
        numbers = {self.best.alternative, *(each.alternative for each in contenders)}
        numbers |= {trial.alternative for trial in self.trials}
        return numbers if attempt is None else numbers | {attempt.alternative}

    def _arrangements(self) -> list[Arrangement]:
        """All arrangements that a search may go on from."""
        attempt, contenders = self.attempt or Attempt(0), self.race.contenders
        descents = (attempt.descent, *attempt.waiting, *(each.descent for each in contenders))
        found = (self.best, attempt.best, *(each.best for each in contenders))
        arrangements = [one.arrangement for one in (*descents, *found) if one is not None]
        arrangements += [self.step.arrangement] if self.sweep is None else [self.sweep]
        arrangements += [order for trial in self.trials for order in trial.met]
        for each in contenders:
            if each.population is not None:
                arrangements += [one.pieces for one in each.population.distributions]
            if each.field is not None:
                arrangements += [each.field.belief.placed]
        if attempt.beam is not None:
            arrangements += [attempt.beam.known.arrangement]
        return arrangements
