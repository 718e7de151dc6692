"""The race: populations of arrangements, one for each problem, take turns."""

from dataclasses import replace
from itertools import count

import numpy as np

from unshuffle.ordering.attempts import better, convincing, descended, reported
from unshuffle.ordering.population import Population
from unshuffle.ordering.state import Contender, Descent, Found, Race, State
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.blueprint import Arrangement


class Populations:
    """Draw populations in, one for each problem, until one leads near.

    Before the population of the right problem has been drawn in, a wrong activation may well fit
    better. The likeliest problem begins; each of the others begins when those before it have had
    their chance. So the others cost nothing where the likeliest soon succeeds.
    """

    name = "populations"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once for these rows, where the answer is far."""
        far = not bench.near(state.best.error)
        return self.name not in state.ended and far and bench.goes_on(state)

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one step of one population: a generation, or a round of a descent."""
        if not state.stage:
            first = Contender(state.best.alternative)
            return replace(state, stage=self.name, race=Race((first,)))
        race = state.race
        racer = race.contenders[race.turn]
        if racer.ended or race.taken >= max(1, bench.by.population.turn // (race.turn + 1)):
            return self._next_turn(state, bench)
        rng = state.generator()
        if racer.descent is None:
            racer, step = _generation(racer, state, rng, bench)
        else:
            racer, step = _round(racer, racer.descent, state, bench)
        contenders = (*race.contenders[: race.turn], racer, *race.contenders[race.turn + 1 :])
        race = Race(contenders, race.turn, race.taken + 1)
        # Only the likeliest problem is believed where its error is but a little lower.
        found = None if race.turn else racer.best
        state = reported(replace(state.drawn(rng), race=race), step, found)
        if racer.ended and racer.best is not None and _suffices(racer.best, state, bench):
            return self._ended(state, (racer,), bench)
        return state

    def _next_turn(self, state: State, bench: Workbench) -> State:
        """Whose turn it is next; after all have had theirs another may begin."""
        race = state.race
        if race.turn + 1 < len(race.contenders):
            return replace(state, race=replace(race, turn=race.turn + 1, taken=0))
        contenders = race.contenders
        if all(
            each.ended or each.generations > bench.by.population.head_start for each in contenders
        ):
            begun = {each.alternative for each in contenders}
            new = next(number for number in count() if number not in begun)
            if bench.has(new):
                contenders = (*contenders, Contender(new))
        if all(each.ended for each in contenders):
            return self._ended(state, contenders, bench)
        return replace(state, race=Race(contenders))

    def _ended(self, state: State, ended: tuple[Contender, ...], bench: Workbench) -> State:
        """Take the best of the contenders that have ended."""
        best = state.best
        for racer in ended:
            found = racer.best
            assert found is not None
            if found.alternative == best.alternative:
                accepted = found.error < best.error
            else:
                accepted = convincing(found, best, state.rows, bench)
            if accepted or bench.done(found, state.rows):
                best = found
        step = replace(state.step, arrangement=best.arrangement, error=best.error)
        return replace(state, best=best, step=step).after(self.name)


def _round(
    racer: Contender, descent: Descent, state: State, bench: Workbench
) -> tuple[Contender, Step]:
    """Take one round of a descent from the centre of a population."""
    after, found, step = descended(descent, racer.alternative, state.rows, bench)
    racer = replace(racer, descent=after, best=better(found, racer.best))
    return racer if after is not None else _after_descent(racer, state, bench), step


def _generation(
    racer: Contender, state: State, rng: np.random.Generator, bench: Workbench
) -> tuple[Contender, Step]:
    """Draw the next generation of a population, or the first of a new one."""
    by, best, problem = bench.by.population, state.best, bench.problem(racer.alternative)
    population = racer.population
    if population is None:
        # Not around the best so far: what a descent from far ends in misleads.
        seeds, _ = bench.ranked_seeds(racer.alternative, state.rows, rng, quick=False)
        whole = [seed for seed in seeds if _blocks(seed) == _blocks(problem.grouped)]
        found = better(bench.judged(racer.alternative, state.rows, whole[0]), racer.best)
        racer = replace(racer, begun=racer.begun + 1, best=found)
        population = Population.around(whole, problem.evidence, problem.bank.kind, by)
    population, errors = population.next_generation(problem, rng, by)
    racer = replace(racer, population=population, generations=racer.generations + 1)
    if population.pauses(by):
        centre = population.distributions[0].centre
        racer = replace(racer, descent=Descent(centre, trust=0.0))
    elif population.generation >= by.generations:
        racer = _after_descent(racer, state, bench)
    return racer, Step("population", errors, False, best.arrangement, best.error, state.rows)


def _after_descent(racer: Contender, state: State, bench: Workbench) -> Contender:
    """Go on with the population, begin another, or end."""
    by, population = bench.by.population, racer.population
    assert population is not None
    assert racer.best is not None
    suffices = _suffices(racer.best, state, bench)
    if not (suffices or population.settled(by) or population.generation >= by.generations):
        return racer
    return replace(racer, population=None, ended=suffices or racer.begun == by.populations)


def _suffices(found: Found, state: State, bench: Workbench) -> bool:
    return bench.near(found.error) or bench.done(found, state.rows)


def _blocks(arrangement: Arrangement) -> set[tuple[int, ...]]:
    """The blocks of an arrangement, in no order."""
    return {*map(tuple, arrangement.tolist())}
