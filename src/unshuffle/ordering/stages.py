"""The stages of the strategy `auto`, each of which advances a state by one round.

A stage is wanted where its turn has come. Most stages make attempts, one after the other.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol

import numpy as np

from unshuffle.grouping.evidence import Evidence
from unshuffle.ordering.attempts import advance_attempt, better, descended, looked_at, reported
from unshuffle.ordering.moves import shifted
from unshuffle.ordering.population import Population
from unshuffle.ordering.state import Attempt, Contender, Descent, Found, Race, State
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.blueprint import Arrangement, Kind, same_pieces

ONCE = ("quick", "polish", "seeds")
"""Stages that are not begun again when there are more rows."""


class Stage(Protocol):
    """A part of a search."""

    @property
    def name(self) -> str:
        """What states call it."""
        ...

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Whether its turn has come."""
        ...

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round, or find that there is nothing left to do and end."""
        ...


Next = Callable[[State, Workbench], State | None]
"""Begins the next attempt of a stage; None where there is none."""


def _advanced(name: str, begin: Next, state: State, bench: Workbench) -> State:
    """Take one round of the attempt that is under way, or begin the next."""
    if state.attempt is not None:
        return advance_attempt(state, bench)
    begun = begin(replace(state, stage=name), bench)
    if begun is None:
        return state.after(name)
    return replace(begun, attempts=state.attempts + 1)


def _on_rows(state: State, bench: Workbench, rows: int) -> State:
    """The state with other rows in use; the best is judged anew."""
    best = state.best
    if rows == state.rows:
        return state
    if np.isfinite(best.error):
        run = bench.run(best.alternative, rows, best.arrangement)
        best = bench.found(best.alternative, rows, run)
    return replace(state, best=best, rows=rows)


@dataclass(frozen=True)
class QuickDescents:
    """Descend from the best quick seed of each problem until one leads near the record.

    A short descent tells the problems apart where there are predictions enough for that.
    """

    name: str = "quick"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """At the beginning, unless the rows are given."""
        return self.name not in state.ended and bench.asked_rows is None

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round."""
        return _advanced(self.name, self._begin, state, bench)

    def _begin(self, state: State, bench: Workbench) -> State | None:
        number = state.attempts
        if (number and bench.near(state.best.error)) or not bench.has(number):
            return None
        short = bench.large(state.rows)
        accept = "convincing" if number else "lower"
        attempt = Attempt(number, seeds="quick", starts=1, short=short, accept=accept)
        return replace(state, attempt=attempt)


@dataclass(frozen=True)
class Polish:
    """Descend wholly from where the short descents have led."""

    name: str = "polish"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once, where the first descents were short."""
        return (
            self.name not in state.ended
            and "quick" in state.ended
            and "seeds" not in state.ended
            and bench.large(state.rows)
            and not bench.done(state.best, state.rows)
        )

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round."""
        return _advanced(self.name, _from_best, state, bench)


def _from_best(state: State, bench: Workbench) -> State | None:
    """Descend from the best, once."""
    if state.attempts:
        return None
    best = state.best
    attempt = Attempt(best.alternative, descent=Descent(best.arrangement), best=best)
    return replace(state, attempt=attempt)


@dataclass(frozen=True)
class SeedDescents:
    """Descend from several seeds of the likeliest problem, on more rows.

    Parameters
    ----------
    always
        Whether this is done far from the answer too: what lacks pieces may never come near.
    """

    name: str = "seeds"
    always: bool = False

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once, where the answer is near, or whole descents take no time."""
        if self.name == state.stage:
            return True
        near = bench.asked_rows is not None or bench.near(state.best.error)
        small = not bench.large(state.rows)
        return self.name not in state.ended and (near or small or self.always)

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round."""
        return _advanced(self.name, self._begin, state, bench)

    def _begin(self, state: State, bench: Workbench) -> State | None:
        if state.attempts:
            return None
        rows = min(bench.asked_rows or bench.rows_for(bench.by.equations), len(bench.known))
        state = _on_rows(state, bench, rows)
        attempt = Attempt(state.best.alternative, seeds="all", starts=bench.by.starts)
        return replace(state, attempt=attempt)


@dataclass(frozen=True)
class ShortDescents:
    """Descend shortly with each problem, on many rows, until one leads near the record.

    Far from it errors say little of the problems: the likeliest one stays.
    """

    name: str = "short"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once, where the answer is far."""
        return self.name == state.stage or "seeds" not in state.ended

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round."""
        after = _advanced(self.name, self._begin, state, bench)
        return after if after.stage else replace(after, ended=(*after.ended, "seeds"))

    def _begin(self, state: State, bench: Workbench) -> State | None:
        number = state.attempts
        if not number:
            state = _on_rows(state, bench, bench.rows_for(bench.by.many))
            if state.best.alternative:  # an early fit far from the record says nothing
                first = bench.run(0, state.rows, bench.problem(0).grouped)
                state = replace(state, best=bench.found(0, state.rows, first))
        if (number and bench.near(state.best.error)) or not bench.has(number):
            return None
        accept = "near" if number else "lower"
        attempt = Attempt(number, seeds="all", starts=1, short=True, accept=accept)
        return replace(state, attempt=attempt)


@dataclass(frozen=True)
class Alternatives:
    """See whether another problem fits better: another activation, or another last layer."""

    name: str = "alternatives"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """After the descents from seeds, and after populations."""
        if self.name == state.stage:
            return True
        first = "alternatives" not in state.ended and not {"short", "rows"} & {*state.ended}
        again = state.ended[-1:] == ("populations",)
        return (first or again) and not bench.done(state.best, state.rows)

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round."""
        return _advanced(self.name, self._begin, state, bench)

    def _begin(self, state: State, bench: Workbench) -> State | None:
        number = state.attempts
        if not bench.has(number) or bench.done(state.best, state.rows):
            return None
        if number == state.best.alternative:
            return state
        if "populations" in state.ended or bench.near(state.best.error):
            return looked_at(state, bench, number)
        short = bench.large(state.rows)
        attempt = Attempt(number, seeds="all", starts=1, short=short, accept="convincing")
        return replace(state, attempt=attempt)


@dataclass(frozen=True)
class Noise:
    """Ask whether noise, or coarsely stored numbers, explain what the best leaves of the record."""

    name: str = "noise"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Before anything long is begun on these rows."""
        return self.name not in state.ended

    def advance(self, state: State, bench: Workbench) -> State:
        """Ask."""
        best, problem = state.best, bench.problem(state.best.alternative)
        noisy = not bench.done(best, state.rows) and bench.goal.explains(problem, best.arrangement)
        decided = False
        if noisy and state.rows < len(bench.known):
            rows = bench.judge(best.alternative, state.rows).records
            decided = bench.goal.decides(problem, best.arrangement, rows)
        return replace(state.after(self.name), noisy=noisy, decided=decided)


def _worth_more(state: State, bench: Workbench) -> bool:
    """Whether the search goes on with the rows in use although that takes long."""
    enough = state.rows == len(bench.known) or bench.equations(state.rows) >= bench.by.many
    return enough and not state.noisy and not bench.done(state.best, state.rows)


@dataclass(frozen=True)
class Populations:
    """Draw populations in, one for each problem, until one leads near.

    Which problem is the right one shows only when its population has been drawn in: before that, a
    wrong activation may well fit better. The likeliest one begins; each of the others begins when
    those before it have had their chance. So the others cost nothing where the likeliest soon
    succeeds, and none of them waits for one that leads nowhere.
    """

    name: str = "populations"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once for these rows, where the answer is far."""
        if self.name == state.stage:
            return True
        far = not bench.near(state.best.error)
        return self.name not in state.ended and far and _worth_more(state, bench)

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one step of one population: a generation, or a round of a descent."""
        if not state.stage:
            first = Contender(state.best.alternative)
            return replace(state, stage=self.name, race=Race((first,)))
        race = state.race
        racer = race.contenders[race.turn]
        if racer.ended or race.taken >= max(1, bench.by.turn // (race.turn + 1)):
            return self._next_turn(state, bench)
        racer, step, rng = self._step(racer, state, bench)
        contenders = (*race.contenders[: race.turn], racer, *race.contenders[race.turn + 1 :])
        race = Race(contenders, race.turn, race.taken + 1)
        state = replace(state.drawn(rng), race=race)
        state = self._reported(state, racer, step)
        if racer.ended and racer.best is not None and self._suffices(racer.best, state, bench):
            return self._ended(state, (racer,), bench)
        return state

    def _next_turn(self, state: State, bench: Workbench) -> State:
        """Whose turn it is next; after all have had theirs another may begin."""
        race = state.race
        if race.turn + 1 < len(race.contenders):
            return replace(state, race=replace(race, turn=race.turn + 1, taken=0))
        contenders = race.contenders
        if all(each.ended or each.generations > bench.by.head_start for each in contenders):
            begun = {each.alternative for each in contenders}
            new = next(number for number in count() if number not in begun)
            if bench.has(new):
                contenders = (*contenders, Contender(new))
        if all(each.ended for each in contenders):
            return self._ended(state, contenders, bench)
        return replace(state, race=Race(contenders))

    def _step(
        self, racer: Contender, state: State, bench: Workbench
    ) -> tuple[Contender, Step, np.random.Generator]:
        """A generation, or a round of a descent."""
        rng, rows, by = state.generator(), state.rows, bench.by.population
        if racer.descent is not None:
            descent, found, step = descended(racer.descent, racer.alternative, rows, bench)
            racer = replace(racer, descent=descent, best=better(found, racer.best))
            if descent is None:
                racer = self._after_descent(racer, state, bench)
            return racer, step, rng
        problem = bench.problem(racer.alternative)
        population = racer.population
        if population is None:
            # Not around the best so far: what a descent from far ends in misleads.
            seeds, _ = bench.ranked_seeds(racer.alternative, rows, rng, quick=False)
            whole = [s for s in seeds if _same_blocks(s, problem.grouped)]
            run = bench.run(racer.alternative, rows, whole[0])
            best = better(bench.found(racer.alternative, rows, run), racer.best)
            racer = replace(racer, begun=racer.begun + 1, best=best)
            kind = problem.bank.kind
            population = Population.around(whole, problem.evidence, kind, by)
        population, errors = population.next_generation(problem, rng, by)
        racer = replace(racer, population=population, generations=racer.generations + 1)
        if population.pauses(by):
            centre = population.distributions[0].centre
            racer = replace(racer, descent=Descent(centre, trust=0.0))
        elif population.generation >= by.generations:
            racer = self._after_descent(racer, state, bench)
        best = state.best
        step = Step("population", errors, False, best.arrangement, best.error, rows)
        return racer, step, rng

    def _after_descent(self, racer: Contender, state: State, bench: Workbench) -> Contender:
        """Go on with the population, begin another, or end."""
        by, population = bench.by.population, racer.population
        assert population is not None
        assert racer.best is not None
        suffices = self._suffices(racer.best, state, bench)
        drawn_in = population.settled(by) or population.generation >= by.generations
        if not (suffices or drawn_in):
            return racer
        ended = suffices or racer.begun == bench.by.populations
        return replace(racer, population=None, ended=ended)

    def _suffices(self, found: Found, state: State, bench: Workbench) -> bool:
        return bench.near(found.error) or bench.done(found, state.rows)

    def _reported(self, state: State, racer: Contender, step: Step) -> State:
        accept = "convincing" if racer is not state.race.contenders[0] else "lower"
        seen = Attempt(racer.alternative, best=racer.best, accept=accept)
        return replace(reported(replace(state, attempt=seen), step), attempt=None)

    def _ended(self, state: State, ended: tuple[Contender, ...], bench: Workbench) -> State:
        """Take the best of the contenders that have ended."""
        best = state.best
        for racer in ended:
            found = racer.best
            assert found is not None
            own = found.alternative == best.alternative
            convincing = found.error < bench.by.convincing * best.error
            convincing &= not (bench.large(state.rows) and bench.far(found.error))
            accepted = found.error < best.error if own else convincing
            if accepted or bench.done(found, state.rows):
                best = found
        step = replace(state.step, arrangement=best.arrangement, error=best.error)
        return replace(state, best=best, step=step).after(self.name)


def _same_blocks(one: Arrangement, other: Arrangement) -> bool:
    """Whether two arrangements have the same blocks in any order."""
    return {*map(tuple, one.tolist())} == {*map(tuple, other.tolist())}


@dataclass(frozen=True)
class WholeDescents:
    """Descend wholly from the best, and from several seeds."""

    name: str = "descents"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once for these rows: where short descents have led near, or populations have not."""
        if self.name == state.stage:
            return True
        if self.name in state.ended or not _worth_more(state, bench):
            return False
        near = bench.near(state.best.error)
        return ("short" in state.ended and near) or ("populations" in state.ended and not near)

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round."""
        return _advanced(self.name, self._begin, state, bench)

    def _begin(self, state: State, bench: Workbench) -> State | None:
        if not state.attempts:
            return _from_best(state, bench)
        if state.attempts > 1 or bench.done(state.best, state.rows):
            return None
        attempt = Attempt(state.best.alternative, seeds="all", starts=bench.by.starts)
        return replace(state, attempt=attempt)


@dataclass(frozen=True)
class Restarts:
    """Disturb the best and descend again, until many restarts in a row have not helped.

    The trust in the evidence varies from restart to restart, so that a wrong block in which the
    weights believe is not fatal.
    """

    name: str = "restarts"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once for these rows."""
        if self.name == state.stage:
            return True
        return self.name not in state.ended and _worth_more(state, bench)

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round."""
        after = _advanced(self.name, self._begin, state, bench)
        if state.attempt is not None and after.attempt is None and after.stage:
            helped = after.best.error < state.before
            after = replace(after, failures=0 if helped else state.failures + 1)
        return after

    def _begin(self, state: State, bench: Workbench) -> State | None:
        by, best = bench.by, state.best
        last = state.rows == len(bench.known)
        patience = by.restarts if last else by.restarts_before
        if state.failures >= patience or bench.done(best, state.rows):
            return None
        problem, rng = bench.problem(best.alternative), state.generator()
        trust = by.trust[state.failures % len(by.trust)]
        evidence = problem.evidence.trusted(trust)
        start = disturbed(
            best.arrangement, evidence, problem.bank.kind, rng, moves=by.moves, reach=by.reach
        )
        run = bench.run(best.alternative, state.rows, start)
        errors = np.array([run.error])
        step = Step("restart", errors, False, best.arrangement, best.error, state.rows)
        attempt = Attempt(best.alternative, descent=Descent(start, trust=trust))
        return replace(state.drawn(rng), step=step, attempt=attempt, before=best.error)


@dataclass(frozen=True)
class MoreRows:
    """Take more rows, and descend from the best on them."""

    name: str = "rows"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Where nothing else is, as long as there are more rows."""
        return self.name == state.stage or state.rows < len(bench.known)

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one round."""
        after = _advanced(self.name, self._begin, state, bench)
        if after.stage:
            return after
        return replace(after, ended=(*(name for name in after.ended if name in ONCE), self.name))

    def _begin(self, state: State, bench: Workbench) -> State | None:
        if state.attempts > 1 or (state.attempts and bench.near(state.best.error)):
            return None
        if state.attempts:
            return replace(state, attempt=Attempt(state.best.alternative, seeds="all", starts=1))
        state = _on_rows(state, bench, min(bench.by.growth * state.rows, len(bench.known)))
        best = state.best
        errors = np.array([best.error])
        step = Step("more rows", errors, True, best.arrangement, best.error, state.rows)
        return _from_best(replace(state, step=step), bench)


def disturbed(
    arrangement: Arrangement,
    evidence: Evidence,
    kind: Kind,
    rng: np.random.Generator,
    *,
    moves: int,
    reach: int,
) -> Arrangement:
    """A few random moves: blocks shifted, pieces swapped, and roles within a block exchanged.

    Parameters
    ----------
    arrangement
        What is disturbed.
    evidence
        A swap is made only where the log-odds that it costs do not exceed the number of blocks.
    kind
        Of the blocks.
    rng
        Draws the moves.
    moves, reach
        How many moves at most, and by how many places a block is moved at most.
    """
    made, turns = arrangement.copy(), kind.turns()
    length, roles = made.shape
    for _ in range(int(rng.integers(1, moves + 1))):
        if roles > 1 and rng.random() < 0.5:
            a, b = (int(place) for place in rng.integers(length, size=2))
            role = roles - 1 if roles == 2 else int(rng.integers(roles))
            swapped = made.copy()
            swapped[[a, b], role] = made[[b, a], role]
            gain = evidence.of(swapped[[a, b]]).sum() - evidence.of(made[[a, b]]).sum()
            if gain > -length:
                made = swapped
                continue
        s = int(rng.integers(length))
        if turns and rng.random() < 0.5:
            one, other = turns[0] if len(turns) == 1 else turns[int(rng.integers(len(turns)))]
            made[s, [one, other]] = made[s, [other, one]]
            continue
        t = int(np.clip(s + rng.integers(-reach, reach + 1), 0, length - 1))
        made = shifted(made, s, t)
    assert same_pieces(made, arrangement, kind)
    return made


STAGES: tuple[Stage, ...] = (
    QuickDescents(),
    Polish(),
    SeedDescents(),
    ShortDescents(),
    Alternatives(),
    Noise(),
    Populations(),
    WholeDescents(),
    Restarts(),
    MoreRows(),
)
"""In the sequence in which they are asked."""

FIRST_STAGES: tuple[Stage, ...] = (
    QuickDescents(),
    Polish(),
    SeedDescents(always=True),
    Alternatives(),
)
"""Enough to come near an arrangement that cannot reproduce the record, because pieces are missing
or do not belong."""
