"""Strategy `auto`: seeds, descent, populations, restarts, on as many rows as it takes.

The record chooses among the seeds. Descent from the best of them solves most networks within a few
rounds. Where it stops short, more rows and short descents tell which activation is the right one,
and the other seeds are tried. Far from the answer, a population of arrangements is drawn in, and
layers are reassigned without believing in the pairing evidence. Then the search is iterated: a few
random moves, another descent, kept if it ends lower (iterated local search, Lourenço, Martin &
Stützle 2003). The trust in the pairing evidence varies from restart to restart,
so that a wrong pair in which the weights believe is not fatal. When restarts stop helping, rows are
added.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unshuffle.ordering.beam import beam
from unshuffle.ordering.descent import Objective, descend
from unshuffle.ordering.journal import Errors, Journal, Numbers
from unshuffle.ordering.judge import Judge, Order, Run, Search
from unshuffle.ordering.population import population
from unshuffle.ordering.precedence import precedence
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.race import race
from unshuffle.ordering.seeds import SEEDS
from unshuffle.ordering.trace import Step
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records

T = TypeVar("T")

GLANCE = 128
"""Predictions (rows times outputs) for a first descent from the best seed, which often suffices."""

EQUATIONS = 256
"""Predictions that the search proper begins with."""

RANKED_ROWS = 32
"""Rows on which seeds are compared for a glance,"""
MANY_RANKED_ROWS = 256
"""and for the search proper."""

GROWTH = 4
"""By which the rows grow when a stage ends without success."""

SEED_ROWS = 32
"""Inputs that seeds look at where the record will correct them,"""
MANY_SEED_ROWS = 2048
"""and where there are too few predictions for that."""

PRECEDENCE_ROWS = 512
"""Inputs on which the steps of blocks are compared."""

STARTS = 3
"""Seeds that are descended from; far from the answer only the best one is."""

RESTARTS = 40
"""Restarts of a stage, without a new best, before it ends,"""
RESTARTS_BEFORE = 8
"""and where more rows can be had."""

FEW_BLOCKS = 8
"""Blocks up to which a whole descent takes no time."""

MANY_EQUATIONS = 1024
"""Predictions without which a search far from the answer makes no headway."""

POPULATIONS = 2
"""Populations of one alternative: one in some is drawn in to a wrong place."""

ALL_EQUATIONS = 4096
"""Predictions that are as good as all of them."""

CONVINCING = 0.8
"""Part of the error from which on another activation, or last layer, is believed in,"""
CONVINCING_SOON = 0.5
"""and after a short descent."""
NEAR = 0.03
"""An error is small from this share of the predictions' variance down,"""
FAR = 0.5
"""and large from this one up."""

TRUST = (1.0, 0.5, 0.25, 0.0)
"""Factors on the pairing evidence, in turn."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A search on a fixed sample of the rows; `done` tells whether a run reproduces them."""

    problem: Problem
    judge: Judge
    rng: np.random.Generator
    done: Callable[[Run], bool]

    @property
    def large(self) -> bool:
        """Whether whole descents take long, and short ones have predictions enough to go by."""
        return self.judge.predictions.size >= GLANCE and len(self.problem.pairs) > FEW_BLOCKS


@dataclass(frozen=True, eq=False)
class Session:
    """The record, in the sequence in which its rows are used, and what is asked of a result."""

    known: Records
    rng: np.random.Generator
    reproduces: Callable[[Judge, Run], bool]
    journal: Journal

    def rows_for(self, equations: int) -> int:
        """Rows that make so many predictions, as far as there are any."""
        return min(-(-equations // self.known.outputs), len(self.known))

    def stage(self, problem: Problem, rows: int) -> Stage:
        """A search on the first rows."""
        sample = self.known.take(np.arange(rows))
        judge = Judge(problem.layers, problem.last, sample, self.journal)
        # A run is asked about more than once, and the answer takes a forward pass.
        return Stage(problem, judge, self.rng, lru_cache(4)(partial(self.reproduces, judge)))

    def confirmed(self, stage: Stage, run: Run) -> bool:
        """Whether a run reproduces rows that the search has not seen, as far as there are any."""
        rows = len(stage.judge.inputs)
        unseen = self.known.take(np.arange(rows, min(2 * rows, len(self.known))))
        if not stage.done(run) or not len(unseen):
            return stage.done(run)
        check = Judge(stage.problem.layers, stage.problem.last, unseen)
        return self.reproduces(check, check.run(run.order))

    def many(self, rows: int) -> bool:
        """Whether so many rows make predictions enough for a search far from the answer."""
        return rows * self.known.outputs >= MANY_EQUATIONS

    def near(self, run: Run) -> bool:
        """Whether a run is so good that more rows promise more than another beginning."""
        return run.error < NEAR * self.variance

    def far(self, run: Run) -> bool:
        """Whether a run is so bad that only a search on many rows can get anywhere."""
        return run.error > FAR * self.variance

    @property
    def variance(self) -> float:
        """The predictions' variance."""
        return float(np.var(self.known.predictions))


class Alternatives:
    """Problems of which one is the right one, each made when it is first needed."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._unmade = iter(problems)
        self.made = [next(self._unmade)]

    def all(self) -> Iterator[Problem]:
        """All, the likeliest first."""
        yield from self.made
        yield from self.more()

    def more(self) -> Iterator[Problem]:
        """Make those that are not made yet."""
        for problem in self._unmade:
            self.made.append(problem)
            yield problem

    def others(self, than: Problem) -> Iterator[Problem]:
        """All but one; those that are made already come first."""
        yield from [problem for problem in self.made if problem is not than]
        yield from self.more()


Found = tuple[Stage, Run]
"""The best run so far, and the search that it is of."""


@dataclass
class Lowest:
    """The lowest error that any step has reported so far, and its order."""

    order: Order
    error: float

    def report(self, step: Step) -> Step:
        """The step, with the lowest error so far where its own is higher."""
        if len(step.order) == len(self.order) and step.error < self.error:
            self.order, self.error = step.order, step.error
            return step
        return replace(step, kept=False, order=self.order, error=self.error)


def auto(
    problems: Iterable[Problem],
    rng: np.random.Generator,
    *,
    journal: Journal,
    rows: int | None,
    reproduces: Callable[[Judge, Run], bool],
    explains: Callable[[Problem, Order], bool],
    decides: Callable[[Problem, Order, Records], bool],
) -> Iterator[Step]:
    """Search until the record is reproduced or nothing helps any more.

    Parameters
    ----------
    problems
        What is to be ordered: one problem for each activation that may be the network's, the
        likeliest first. Each is made only when it is needed.
    rng
        Draws the rows and the restarts.
    journal
        Keeps what the rounds come to.
    rows
        How many rows to begin with; by default as many as make 256 predictions, after a glance at
        half as many.
    reproduces
        Whether a run reproduces the record on a judge's rows to rounding.
    explains
        Whether noise, or coarsely stored numbers, explain what an order leaves of the record.
    decides
        Whether some rows tell such an order from all that it could be mistaken for.

    Yields
    ------
    Step
        The last one holds the best arrangement.
    """
    alternatives = Alternatives(problems)
    problem = alternatives.made[0]
    known = problem.known
    session = Session(known.take(rng.permutation(len(known))), rng, reproduces, journal)
    near = True
    if rows is None:
        stage, best = yield from _glance(session, alternatives)
        if session.confirmed(stage, best):
            return
        problem = stage.problem
        near = session.near(best) or not stage.large
    count = min(rows or session.rows_for(EQUATIONS if near else MANY_EQUATIONS), len(known))
    if near:
        stage, best = yield from _proper(session, alternatives, problem, count)
    else:
        stage, best = yield from _raced(session, alternatives, count)

    while True:
        noisy = not stage.done(best) and explains(stage.problem, best.order)
        if not noisy and not stage.done(best):
            stage, best = yield from _persistently(session, alternatives, stage, best)
        count = len(stage.judge.inputs)
        if count == len(known) or session.confirmed(stage, best):
            return
        if noisy and decides(stage.problem, best.order, stage.judge.records):
            return
        stage = session.stage(stage.problem, min(GROWTH * count, len(known)))
        best = stage.judge.run(best.order)
        errors = np.array([best.error])
        yield Step("more rows", errors, True, best.order, best.error, len(stage.judge.inputs))
        best = yield from _descent(stage, best, Objective(stage.problem.log_odds), best)
        if not session.near(best):
            best = yield from _from_seeds_too(stage, best)


def first_descents(
    problems: Iterable[Problem],
    rng: np.random.Generator,
    *,
    journal: Journal,
    rows: int | None,
    reproduces: Callable[[Judge, Run], bool],
) -> Generator[Step, None, Found]:
    """What `auto` begins with: a glance, then descents from several seeds, and no restarts.

    This is enough to come near an arrangement that cannot reproduce the record, because pieces are
    missing or do not belong. Parameters are those of `auto`.

    Returns
    -------
    tuple
        The search that ended best, and its best run.
    """
    alternatives = Alternatives(problems)
    known = alternatives.made[0].known
    session = Session(known.take(rng.permutation(len(known))), rng, reproduces, journal)
    stage, best = yield from _glance(session, alternatives)
    if session.confirmed(stage, best):
        return stage, best
    count = min(rows or session.rows_for(EQUATIONS), len(known))
    return (yield from _proper(session, alternatives, stage.problem, count))


def over_all_rows(
    problem: Problem, best: Order, rng: np.random.Generator, journal: Journal
) -> Search:
    """Descend from seeds on all rows: of many blocks shortly, and from the best seed alone.

    Noise that hides an arrangement from a search on few rows does not hide it here.

    Parameters
    ----------
    problem
        What is to be ordered.
    best
        An order to compare with.
    rng, journal
        As for `auto`.

    Returns
    -------
    Run
        The best order, or a better one, on these rows.
    """
    session = Session(problem.known, rng, lambda *_: False, journal)
    stage = session.stage(problem, session.rows_for(ALL_EQUATIONS))
    starts = 1 if stage.large else STARTS
    search = _from_seeds(stage, starts=starts, short=stage.large)
    _, better = yield from _reporting(search, stage.judge.run(best), stage.judge)
    return better


def _glance(session: Session, alternatives: Alternatives) -> Generator[Step, None, Found]:
    """Descend from the best quick seed of each alternative until one leads near the record.

    A short descent tells them apart where there are predictions enough for that.
    """
    count = session.rows_for(GLANCE)
    stage = session.stage(alternatives.made[0], count)
    best = yield from _from_seeds(stage, starts=1, quick=True, short=stage.large)
    if not session.near(best):
        for other in alternatives.more():
            rival = session.stage(other, count)
            run = yield from _from_seeds_too(rival, best, quick=True, short=stage.large)
            if _convinces(session, rival, run, best):
                stage, best = rival, run
            if session.near(best):
                break
    if stage.large and not stage.done(best):
        best = yield from _descent(stage, best, Objective(stage.problem.log_odds), best)
    return stage, best


def _proper(
    session: Session, alternatives: Alternatives, problem: Problem, count: int
) -> Generator[Step, None, Found]:
    """Descend from several seeds of one problem, and see whether another fits better."""
    stage = session.stage(problem, count)
    best = yield from _from_seeds(stage, starts=STARTS)
    return (yield from _best_alternative(session, alternatives, stage, best))


def _best_alternative(
    session: Session, alternatives: Alternatives, stage: Stage, best: Run, *, near: bool = False
) -> Generator[Step, None, Found]:
    """See whether another problem fits better; `near` says to look only at the best order."""
    for other in alternatives.others(than=stage.problem):
        if stage.done(best):
            break
        rival = session.stage(other, len(stage.judge.inputs))
        run = yield from _rival(rival, best, near=near or session.near(best))
        if _convinces(session, rival, run, best):
            stage, best = rival, run
    return stage, best


def _raced(
    session: Session, alternatives: Alternatives, count: int
) -> Generator[Step, None, Found]:
    """Descend shortly with each alternative, and wholly with one that leads near the record.

    Far from it errors say little of the alternatives: the likeliest one stays.
    """
    found: list[Found] = []
    for problem in alternatives.all():
        stage = session.stage(problem, count)
        run = yield from _from_seeds(stage, starts=1, short=True)
        if session.near(run):
            return stage, (yield from _whole_descents(stage, run))
        found.append((stage, run))
    return found[0]


def _whole_descents(stage: Stage, best: Run) -> Search:
    """Descend from where a short descent ended, and from several seeds."""
    best = yield from _descent(stage, best, Objective(stage.problem.log_odds), best)
    if stage.done(best):
        return best
    _, best = yield from _reporting(_from_seeds(stage, starts=STARTS), best, stage.judge)
    return best


def _convinces(session: Session, rival: Stage, run: Run, best: Run) -> bool:
    """Whether another alternative's run is so much better that it is no accident.

    A short descent that ends far from the record says nothing.
    """
    better = run.error < CONVINCING * best.error
    if rival.large:
        better &= not session.far(run)
    return run is not best and (rival.done(run) or better)


def _persistently(
    session: Session, alternatives: Alternatives, stage: Stage, best: Run
) -> Generator[Step, None, Found]:
    """Draw populations in where the answer is far, then restart."""
    count = len(stage.judge.inputs)
    all_rows = count == len(session.known)
    if not all_rows and not session.many(count):
        return stage, best
    if not session.near(best):
        stage, best = yield from _from_afar(session, alternatives, stage, best)
    if not session.near(best):
        best = yield from _whole_descents(stage, best)
    best = yield from _restarts(stage, best, RESTARTS if all_rows else RESTARTS_BEFORE)
    return stage, best


def _from_afar(
    session: Session, alternatives: Alternatives, stage: Stage, best: Run
) -> Generator[Step, None, Found]:
    """Draw populations in, one for each alternative, until one leads near."""
    stages = [stage]

    def searches() -> Iterator[Search]:
        yield _populations(session, stage)
        for problem in alternatives.others(than=stage.problem):
            stages.append(session.stage(problem, len(stage.judge.inputs)))
            yield _populations(session, stages[-1])

    def suffices(number: int, run: Run) -> bool:
        return session.near(run) or stages[number].done(run)

    ended = yield from _relayed(race(searches(), suffices=suffices), Lowest(best.order, best.error))
    for number, run in ended.items():
        drawn = stages[number]
        better = run.error < best.error if number == 0 else _convinces(session, drawn, run, best)
        if better:
            stage, best = drawn, run
    # What was found with one activation may be good enough to tell that it is another.
    return (yield from _best_alternative(session, alternatives, stage, best, near=True))


def _populations(session: Session, stage: Stage) -> Search:
    """Draw one population in after the other until one leads near."""
    # Not around the best order so far: what a descent from far ends in misleads.
    blocks = {*stage.problem.blocks.tolist()}
    seeds = [order for order in ranked_seeds(stage, quick=False)[0] if blocks == {*order}]
    best = stage.judge.run(seeds[0])
    for _ in range(POPULATIONS):
        search = population(
            stage.problem, stage.judge, seeds, session.rng, done=stage.done, near=session.near
        )
        _, best = yield from _reporting(search, best, stage.judge)
        if session.near(best) or stage.done(best):
            break
    return best


def _from_seeds(stage: Stage, *, starts: int, quick: bool = False, short: bool = False) -> Search:
    """Descend from the best seeds until one leads to the record."""
    orders, errors = ranked_seeds(stage, quick=quick)
    best = stage.judge.run(orders[0])
    yield Step("seeds", errors, True, best.order, best.error, len(stage.judge.inputs))
    if stage.judge.predictions.size < GLANCE:
        known = precedence(stage.judge.blocks, best.order, _some_inputs(stage, PRECEDENCE_ROWS))
        search = beam(stage.judge, best, known, done=stage.done)
        _, best = yield from _reporting(search, best, stage.judge)
    for order in orders[:starts]:
        if stage.done(best):
            break
        start = stage.judge.run(order)
        objective = Objective(stage.problem.log_odds)
        best = yield from _descent(stage, start, objective, best, short=short)
    return best


def _from_seeds_too(stage: Stage, best: Run, *, quick: bool = False, short: bool = False) -> Search:
    """Descend from the best seed; return the better of where it leads and the best so far."""
    search = _from_seeds(stage, starts=1, quick=quick, short=short)
    _, better = yield from _reporting(search, best, stage.judge)
    return better


def _rival(stage: Stage, best: Run, *, near: bool) -> Search:
    """Try another activation, or another last layer; return the better run.

    Close to the answer the right one fits better at once, so that no search is needed to tell.
    """
    if not near:
        return (yield from _from_seeds_too(stage, best, short=stage.large))
    if not stage.problem.admits(best.order):
        return best
    start = stage.judge.run(best.order)
    yield Step(
        "rivals", np.array([start.error]), False, best.order, best.error, len(stage.judge.inputs)
    )
    if not start.error < best.error:
        return best
    return (yield from _descent(stage, start, Objective(stage.problem.log_odds), start))


def _restarts(stage: Stage, best: Run, patience: int) -> Search:
    """Disturb the best order and descend again until so many restarts in a row have not helped."""
    failures = 0
    while failures < patience and not stage.done(best):
        objective = Objective(stage.problem.log_odds).trusted(TRUST[failures % len(TRUST)])
        start = stage.judge.run(
            disturbed(best.order, objective, stage.rng, turns=stage.problem.turns)
        )
        rows = len(stage.judge.inputs)
        yield Step("restart", np.array([start.error]), False, best.order, best.error, rows)
        run = yield from _descent(stage, start, objective, best)
        failures = 0 if run is not best else failures + 1
        best = run
    return best


def _descent(
    stage: Stage, start: Run, objective: Objective, best: Run, *, short: bool = False
) -> Search:
    """Descend, and return the better of the end and the best so far; steps report the better."""
    search = _descend(stage, start, objective, short=short)
    _, best = yield from _reporting(search, best, stage.judge)
    return best


def _descend(stage: Stage, start: Run, objective: Objective, *, short: bool = False) -> Search:
    turns = stage.problem.turns
    return descend(stage.judge, start, objective, done=stage.done, turns=turns, short=short)


def _reporting(search: Search, best: Run, judge: Judge) -> Generator[Step, None, tuple[Run, Run]]:
    """Take the steps of a search; report the lowest error so far where a step's is higher.

    Returns
    -------
    tuple
        The run that the search ends with, and the one with the lowest error: the best one before,
        or one that the search came by. What lowers the objective may raise the error.
    """
    lowest = Lowest(best.order, best.error)
    run = yield from _relayed(search, lowest)
    if not min(run.error, lowest.error) < best.error:
        return run, best
    return run, run if run.error <= lowest.error else judge.run(lowest.order)


def _relayed(steps: Generator[Step, None, T], lowest: Lowest) -> Generator[Step, None, T]:
    """The steps as `lowest` reports them; what they return."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        yield lowest.report(step)


def ranked_seeds(stage: Stage, *, quick: bool) -> tuple[list[Order], NDArray[np.float64]]:
    """All seeds, forwards and backwards, by their errors on a few rows, the lowest first."""
    few = SEED_ROWS if stage.judge.predictions.size >= GLANCE else MANY_SEED_ROWS
    inputs = _some_inputs(stage, few)
    blocks = sorted(stage.problem.blocks.tolist())

    def unpack(numbers: Numbers, errors: Errors) -> tuple[list[Order], Errors]:
        if len(numbers) != len(errors) * len(blocks) or not len(errors):
            raise ValueError("it has seeds of another length")
        orders = numbers.reshape(len(errors), -1).tolist()
        start = [*(stage.problem.start or ())]
        if any(sorted(order) != blocks and order != start for order in orders):
            raise ValueError("it has seeds of other blocks")
        return [tuple(order) for order in orders], errors

    return stage.judge.journal.result(
        lambda: _ranked_seeds(stage, inputs, quick=quick),
        lambda found: ([*chain.from_iterable(found[0])], found[1]),
        unpack,
    )


def _ranked_seeds(
    stage: Stage, inputs: Floats, *, quick: bool
) -> tuple[list[Order], NDArray[np.float64]]:
    problem, judge = stage.problem, stage.judge
    numbers = problem.blocks
    network = problem.network(tuple(numbers.tolist()))
    rows = RANKED_ROWS if quick else MANY_RANKED_ROWS
    orders: list[Order] = [] if problem.start is None else [problem.start]
    with np.errstate(over="ignore", invalid="ignore"):
        for seed in SEEDS.values():
            if quick and not seed.quick:
                continue
            ranking = numbers[seed.rank(network, inputs)].tolist()
            orders += [tuple(ranking), tuple(reversed(ranking))]
        states = np.stack([judge.inputs[:rows]] * len(orders))
        for blocks in np.array(orders, np.intp).T:
            states = problem.layers.take(blocks).apply_each(states)
        residuals = problem.last(states) - judge.predictions[:rows]
        squares = np.square(residuals, dtype=np.float64).reshape(len(orders), -1)
    errors = np.nan_to_num(squares.mean(axis=1), nan=np.inf)
    ranked = np.argsort(errors, kind="stable")
    return [orders[k] for k in ranked], errors[ranked]


def _some_inputs(stage: Stage, most: int) -> Floats:
    """Inputs drawn from all rows, in the dtype of the search."""
    inputs = stage.problem.records.inputs
    chosen = stage.rng.permutation(len(inputs))[:most]
    return inputs[chosen].astype(stage.judge.inputs.dtype)


def disturbed(
    order: Order, objective: Objective, rng: np.random.Generator, *, turns: bool
) -> Order:
    """A few random moves: blocks shifted by up to six places, outs exchanged, roles turned."""
    places, outs = list(order), objective.outs
    for _ in range(int(rng.integers(1, 5))):
        if rng.random() < 0.5:
            a, b = (int(place) for place in rng.integers(len(places), size=2))
            (i, j), (u, v) = divmod(places[a], outs), divmod(places[b], outs)
            odds = objective.log_odds
            if odds[i, v] + odds[u, j] - odds[i, j] - odds[u, v] > -len(places):
                places[a], places[b] = i * outs + v, u * outs + j
                continue
        s = int(rng.integers(len(places)))
        if turns and rng.random() < 0.5:
            i, j = divmod(places[s], outs)
            places[s] = j * outs + i
            continue
        t = int(np.clip(s + rng.integers(-6, 7), 0, len(places) - 1))
        places.insert(t, places.pop(s))
    return tuple(places)
