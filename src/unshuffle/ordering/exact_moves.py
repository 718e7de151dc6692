"""The stage for networks whose wrong orders explode: exact moves of whole blocks."""

from dataclasses import replace

import numpy as np

from unshuffle.ordering.attempts import Attempts, on_rows, reported
from unshuffle.ordering.insertions import Insertions
from unshuffle.ordering.responses import response_rankings
from unshuffle.ordering.state import Attempt, Descent, State
from unshuffle.ordering.trace import Step
from unshuffle.ordering.workbench import Workbench


class ExactMoves(Attempts):
    """Search best first from several seeds in turn, and descend from what is no longer far.

    Where wrong orders explode, the seed of lowest error is not the nearest. So all take turns.
    """

    name = "insertions"

    def wanted(self, state: State, bench: Workbench) -> bool:
        """Once, where first-order effects say nothing."""
        first = "quick" in state.ended and self.name not in state.ended
        return first and bench.of_one_form and bench.explodes(state.best.error)

    def _begin(self, state: State, bench: Workbench) -> State | None:
        if bench.done(state.best, state.rows):
            return None
        state = _with_trials(state, bench)
        by, rng = bench.by.insertions, state.generator()
        most = by.turn * by.turns
        able = [k for k, each in enumerate(state.trials) if not each.over and each.rounds < most]
        if not able:
            return None
        at = min(able, key=lambda k: state.trials[k].rounds // by.turn)
        trial = state.trials[at]
        problem = bench.problem(trial.alternative)
        after, errors = trial.advance(problem, rng, by)
        trials = (*state.trials[:at], after, *state.trials[at + 1 :])
        state = replace(state.drawn(rng), trials=trials)
        best = state.best
        step = Step("insertions", errors, False, best.arrangement, best.error, state.rows)
        if trial.rounds and after.errors.min() == trial.errors.min():
            return replace(state, step=step)
        found, attempt = bench.judged(trial.alternative, state.rows, after.best), None
        if found.error < best.error and not bench.far(found.error):
            descent = Descent(found.arrangement, short=True)
            attempt = Attempt(trial.alternative, descent=descent, best=found)
        return replace(reported(state, step, found), attempt=attempt)


def _with_trials(state: State, bench: Workbench) -> State:
    """The state with searches for the next problem too, once those so far have had a turn each."""
    by, rng, trials = bench.by.insertions, state.generator(), state.trials
    number = trials[-1].alternative + 1 if trials else 0
    waiting = any(not each.over and each.rounds < by.turn for each in trials)
    if waiting or not bench.has(number):
        return state
    if not trials:
        rows = min(bench.rows_for(bench.by.equations), len(bench.known))
        state = on_rows(state, bench, rows)
    problem, judge, begun = bench.problem(number), bench.judge(number, state.rows), []
    groupings = problem.grouped, *problem.regrouped
    for grouped in groupings:
        seeds, _ = bench.ranked_seeds(number, state.rows, rng, quick=False, grouped=grouped)
        inputs = bench.some_inputs(number, bench.by.responses.rows, rng)
        rankings = response_rankings(problem.network(grouped), inputs, bench.by.responses)
        starts = np.stack([*seeds, *(grouped[ranking] for ranking in rankings)])
        errors = judge.errors(judge.run(starts[0]), starts)
        best = starts[np.argsort(errors, kind="stable")[: -(-by.starts // len(groupings))]]
        begun += [Insertions.begun(number, start, problem, rng, by) for start in best]
    return replace(state.drawn(rng), trials=(*trials, *begun))
