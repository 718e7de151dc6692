"""The race: mean-field searches and populations, for each problem, take turns."""

from abc import ABC, abstractmethod
from dataclasses import replace
from itertools import count, takewhile

import numpy as np

from unshuffle.blocks.network import mean_square
from unshuffle.ordering.attempts import (
    better,
    convincing,
    descended,
    on_rows,
    reported,
)
from unshuffle.ordering.mean_field import MeanField
from unshuffle.ordering.population import Distribution, Population
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.state import Contender, Descent, Found, Race, State
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.blueprint import Arrangement


class Distributions(ABC):
    """Draw distributions over arrangements in, until one leads near.

    The likeliest problem begins. It has mean-field searches, and populations where these follow.
    """

    name: str

    @abstractmethod
    def wanted(self, state: State, bench: Workbench) -> bool:
        """Whether its turn has come, where no stage is under way."""

    def advance(self, state: State, bench: Workbench) -> State:
        """Take one step of one contender: of a field, a population, or a descent from these."""
        if not state.stage:
            state = self._prepared(state, bench)
            likeliest = Contender(state.best.alternative)
            return replace(state, stage=self.name, race=Race((likeliest,)))
        race = state.race
        racer = race.contenders[race.turn]
        if racer.ended or race.taken >= max(1, bench.by.population.turn // (race.turn + 1)):
            return self._next_turn(state, bench)
        rng = state.generator()
        if racer.descent is not None:
            racer, step = _round(racer, racer.descent, state, bench)
        elif _searches(racer, bench):
            racer, step = _field_step(racer, state, rng, bench)
        else:
            racer, step = _generation(racer, state, rng, bench)
        racer = replace(racer, ended=racer.ended or self._over(racer, bench))
        contenders = (*race.contenders[: race.turn], racer, *race.contenders[race.turn + 1 :])
        race = Race(contenders, race.turn, race.taken + 1)
        # Only the likeliest problem is believed where its error is but a little lower.
        found = None if race.turn else racer.best
        state = reported(replace(state.drawn(rng), race=race), step, found)
        if racer.ended and racer.best is not None and _suffices(racer.best, state, bench):
            return self._ended(state, (racer,), bench)
        return state

    def _prepared(self, state: State, bench: Workbench) -> State:
        """The state in which it begins."""
        return state

    def _over(self, racer: Contender, bench: Workbench) -> bool:
        """Whether nothing is to follow for a contender."""
        return False

    def _joining(self, contenders: tuple[Contender, ...], bench: Workbench) -> list[Contender]:
        """The problem that begins beside others, if there is one."""
        return []

    def _next_turn(self, state: State, bench: Workbench) -> State:
        """Whose turn it is next; after all have had theirs another may begin."""
        race = state.race
        if race.turn + 1 < len(race.contenders):
            return replace(state, race=replace(race, turn=race.turn + 1, taken=0))
        contenders = race.contenders
        contenders = (*contenders, *self._joining(contenders, bench))
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


class Populations(Distributions):
    """Draw populations in far from the answer, for each problem, after mean-field searches.

    A wrong activation may fit better before a population of the right problem has begun. Each
    problem but the likeliest waits until those before it have had their chance. So the others cost
    nothing if the likeliest soon succeeds.
    """

    name = "populations"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once for these rows, far from the answer."""
        far = bench.of_one_form and not bench.near(state.best.error)
        return self.name not in state.ended and far and bench.goes_on(state)

    def _joining(self, contenders: tuple[Contender, ...], bench: Workbench) -> list[Contender]:
        head_start = bench.by.population.head_start
        if not all(each.ended or each.generations > head_start for each in contenders):
            return []
        begun = {each.alternative for each in contenders}
        new = next(number for number in count() if number not in begun)
        return [Contender(new)] if bench.has(new) else []


class MeanFields(Distributions):
    """Mean-field searches of the best problem alone, near the answer."""

    name = "mean field"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once for these rows, near the answer."""
        here = bench.near(state.best.error) and _served(bench)
        return self.name not in state.ended and here and bench.goes_on(state)

    def _over(self, racer: Contender, bench: Workbench) -> bool:
        return racer.descent is None and not _searches(racer, bench)


class FirstMeanFields(MeanFields):
    """Mean-field searches far from the answer, before anything long.

    The likeliest problem comes first. Activations that are alike lead near with each other's
    blocks. So the least alike follow it.
    """

    name = "first mean field"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once, far from the answer, if there are predictions enough and short descents end far.

        Where shapes do not tell roles, descents hardly ever lead near, and it is asked at once.
        """
        many = bench.equations(len(bench.known)) >= bench.by.many and bench.large(state.rows)
        due = (many and "polish" in state.ended) or (bench.coupled and "quick" in state.ended)
        here = not bench.near(state.best.error) and _served(bench)
        return self.name not in state.ended and here and due

    def _prepared(self, state: State, bench: Workbench) -> State:
        """Many rows; an early fit says nothing of the problems, so the likeliest one stays."""
        state = on_rows(state, bench, max(state.rows, bench.rows_for(bench.by.many)))
        if not state.best.alternative:
            return state
        return replace(state, best=bench.judged(0, state.rows, bench.problem(0).grouped))

    def _joining(self, contenders: tuple[Contender, ...], bench: Workbench) -> list[Contender]:
        by = bench.by.mean_field
        # What explodes ends sooner, and would do so with others too.
        late = all(each.ended and 2 * each.generations >= by.steps for each in contenders)
        late &= len(contenders) < by.problems
        if bench.coupled:  # what is right is near after few steps
            late = all(each.generations >= by.cycle for each in contenders)
        if not late:
            return []
        new = _least_alike([each.alternative for each in contenders], bench)
        return [] if new is None else [Contender(new)]


def _least_alike(begun: list[int], bench: Workbench) -> int | None:
    """The problem whose predictions differ most from those of all that have begun."""
    rows, arrangement = bench.rows_for(bench.by.many), bench.problem(0).grouped
    ends = {
        number: problem.ends.leave(bench.judge(number, rows).run(arrangement).states[-1])
        for number in takewhile(bench.is_likely, count())
        if (problem := bench.problem(number)).evidence.admits(arrangement)
    }
    apart = {
        number: min(mean_square(predicted - ends[other]) for other in begun)
        for number, predicted in ends.items()
        if number not in begun
    }
    return max(apart, key=lambda number: apart[number], default=None)


def _served(bench: Workbench) -> bool:
    """Whether there are to be mean-field searches, and can be."""
    return bench.of_one_form and bench.by.mean_field.searches > 0


def _round(
    racer: Contender, descent: Descent, state: State, bench: Workbench
) -> tuple[Contender, Step]:
    """Take one round of a descent from the centre of a population."""
    after, found, step = descended(descent, racer.alternative, state.rows, bench)
    racer = replace(racer, descent=after, best=better(found, racer.best))
    if after is None and racer.population is not None:
        racer = _after_descent(racer, state, bench)
    elif after is None:
        racer = replace(racer, ended=racer.ended or bench.done(found, state.rows))
    return racer, step


def _begun(
    racer: Contender, state: State, rng: np.random.Generator, bench: Workbench
) -> tuple[Contender, list[Arrangement]]:
    """A contender that has looked at seeds, and those of the blocks as they are grouped."""
    # Not around the best so far: what a descent from far ends in misleads.
    seeds, _ = bench.ranked_seeds(racer.alternative, state.rows, rng, quick=False)
    grouped = _blocks(bench.problem(racer.alternative).grouped)
    whole = [seed for seed in seeds if _blocks(seed) == grouped]
    found = better(bench.judged(racer.alternative, state.rows, whole[0]), racer.best)
    return replace(racer, best=found), whole


def _belief(seed: Arrangement, problem: Problem, bench: Workbench) -> Distribution:
    """What a mean-field search begins with: roles that shapes do not tell are in doubt as well."""
    kind = problem.bank.kind
    if kind.coupled:
        return Distribution.of_couples(seed)
    first = Population.around([seed], problem.evidence, kind, bench.by.population)
    return first.distributions[0]


def _field_step(
    racer: Contender, state: State, rng: np.random.Generator, bench: Workbench
) -> tuple[Contender, Step]:
    """Take a step of a mean-field search, or the first of a new one, and judge its centre."""
    by, best, problem = bench.by, state.best, bench.problem(racer.alternative)
    field = racer.field
    if field is None:
        racer, seeds = _begun(replace(racer, fields=racer.fields + 1), state, rng, bench)
        field = MeanField.around(_belief(seeds[0], problem, bench), problem, by.mean_field)
    field = field.advance(problem, rng, by.mean_field)
    found = bench.judged(racer.alternative, state.rows, field.belief.centre)
    assert racer.best is not None
    # What is far by then makes room for another problem. The last one may still come near.
    late = 2 * field.steps >= by.mean_field.steps and state.race.turn + 1 < by.mean_field.problems
    hopeless = not field.error < by.mean_field.hopeless * bench.variance
    hopeless |= late and bench.far(min(found.error, racer.best.error))
    if bench.near(found.error) and found.error < racer.best.error:
        other = rival(found, state.rows, bench)
        if other is None:
            racer = replace(racer, descent=Descent(found.arrangement, trust=0.0))
        else:
            found, racer = other, replace(racer, ended=True)
    racer = replace(
        racer,
        field=None if hopeless or field.steps >= by.mean_field.steps else field,
        fields=by.mean_field.searches if hopeless else racer.fields,  # another would be no better
        generations=racer.generations + 1,
        best=better(found, racer.best),
    )
    tested = np.array([found.error])
    return racer, Step("mean field", tested, False, best.arrangement, best.error, state.rows)


def _searches(racer: Contender, bench: Workbench) -> bool:
    """Whether a mean-field search is under way or to come."""
    return racer.field is not None or racer.fields < bench.by.mean_field.searches


def rival(found: Found, rows: int, bench: Workbench) -> Found | None:
    """What fits an arrangement near the answer convincingly better: another activation, say."""
    for number in takewhile(bench.is_likely, count()):
        admits = bench.problem(number).evidence.admits(found.arrangement)
        if number != found.alternative and admits:
            other = bench.judged(number, rows, found.arrangement)
            if convincing(other, found, rows, bench):
                return other
    return None


def _generation(
    racer: Contender, state: State, rng: np.random.Generator, bench: Workbench
) -> tuple[Contender, Step]:
    """Draw the next generation of a population, or the first of a new one."""
    by, best, problem = bench.by.population, state.best, bench.problem(racer.alternative)
    population = racer.population
    if population is None:
        racer, seeds = _begun(replace(racer, begun=racer.begun + 1), state, rng, bench)
        population = Population.around(seeds, problem.evidence, problem.bank.kind, by)
    population, errors = population.next_generation(problem, rng, by)
    racer = replace(racer, population=population, generations=racer.generations + 1)
    if population.pauses(by):
        centre = population.distributions[0].centre
        found = bench.judged(racer.alternative, state.rows, centre)
        # Far from the answer a whole descent takes long, and leads nowhere that helps.
        short = bench.far(found.error) and not population.settled(by)
        racer = replace(racer, descent=Descent(centre, trust=0.0, short=short))
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
