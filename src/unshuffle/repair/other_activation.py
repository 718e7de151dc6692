"""Networks with an activation that no search begins with."""

from dataclasses import dataclass, replace
from functools import partial

from unshuffle.blocks.activations import ACTIVATIONS, FURTHER
from unshuffle.blocks.mlp import as_mlp
from unshuffle.blocks.network import Network
from unshuffle.ordering.search import Ending, InVain
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.proof.activation import fitting_activation
from unshuffle.proof.outcome import FINAL, SETTLED, Outcome
from unshuffle.proof.tolerance import relative_error
from unshuffle.repair.case import Case
from unshuffle.repair.repair import (
    UNSOLVED,
    Looks,
    Repair,
    is_far,
    patient_row_steps,
    was_tried,
)
from unshuffle.repair.wrong_record import UNRELATED
from unshuffle.solution.arranging import Searching, Start, arrange
from unshuffle.solution.solution import Solution

NAME = "another activation"


@dataclass(frozen=True)
class OtherActivationParameters:
    """Numbers that steer searches with other activations. Row steps are rows of all steps."""

    rounds: int = 4  # Rounds of fitting it and searching on: a slope is fitted better each time.
    lower: float = 0.7  # Part of the error up to which another activation is worth a search.
    share: float = 2.0  # They all take at most so many times the row steps of the main one.
    fitted: int = 4096  # Row steps of a search with an activation that fits what stands, at most.
    first: int = 2048  # Row steps of each in the first turn after the main search has ended.
    growth: float = 2.0  # Factor by which it grows from turn to turn, up to the main one's.
    # Activations with a search of their own, beside those that a search begins with unless one was
    # given: any other one resembles one of these, so that what such a search finds tells which.
    raced: tuple[str, ...] = (
        "relu2",
        "elu",
        "softplus",
        "sigmoid",
        "leaky_relu_0.2",
        "leaky_relu_0.4",
    )


STANDARD = OtherActivationParameters()


class ActivationRace:
    """Searches that take turns, each with an activation that the main one does not try."""

    def __init__(self, case: Case, by: OtherActivationParameters = STANDARD) -> None:
        self.case, self.by = case, by
        self.searches: list[Searching] = []
        begun = [each.name for each in case.options.activations]
        self.names = [name for name in (*ACTIVATIONS, *by.raced) if name not in begun]

    def go_on(self, row_steps: float) -> Solution | None:
        """Let each search take so many row steps; what reproduces the record, if one does."""
        for number, name in enumerate(self.names):
            if self.case.options.clock.out:
                break
            if number == len(self.searches):
                options = replace(self.case.options, activation=name)
                self.searches.append(replace(self.case, options=options).searching())
            search = self.searches[number]
            if search.ending not in (None, Ending.STOPPED) or search.row_steps >= row_steps:
                continue
            ending = search.go_on((InVain(row_steps, 0.0),))
            if ending is not Ending.STOPPED or not is_far(search):
                found = search.solution()
                found = found if found.outcome in FINAL else self.searched_on(found) or found
                if found.outcome in FINAL:
                    return _told(self.case, found)
        return None

    def searched_on(self, found: Solution) -> Solution | None:
        """Search on from a solution, with the activation that fits it best."""
        return _searched_on(self.case, found.network, found.arrangement, found.trace, self.by)


def _run(
    case: Case, solution: Solution | None, by: OtherActivationParameters = STANDARD
) -> Solution | None:
    """Search on with the activation that fits best; None where no other one fits better.

    What a search with the wrong activation has found is tried first. Where none fits it better each
    activation gets a search of its own, of as many row steps.
    """
    assert solution is not None
    race = ActivationRace(case, by)
    best = race.searched_on(solution)
    unrelated = solution.findings is not None and UNRELATED in solution.findings.notes
    if unrelated or (best is not None and best.outcome in FINAL):
        return best
    most, row_steps = solution.trace.row_steps, by.first
    while row_steps / by.growth < most and not case.options.clock.out:
        found = race.go_on(min(row_steps, most))
        if found is not None:
            return found
        row_steps = int(by.growth * row_steps)
    return best


def _looks(case: Case, searching: Searching, by: OtherActivationParameters = STANDARD) -> Looks:
    """Fit an activation to what stands near; far away, give each a search of its own meanwhile."""
    race = ActivationRace(case, by)
    while True:
        if not is_far(searching):
            yield partial(_fitted, case, searching, by)
        elif searching.row_steps >= patient_row_steps(searching):
            yield partial(race.go_on, by.share * searching.row_steps / len(race.names))
        else:
            yield None


def _fitted(case: Case, searching: Searching, by: OtherActivationParameters) -> Solution | None:
    """What comes of another activation where a search stands; None where nothing final does."""
    assert searching.state is not None
    best = searching.state.best
    network = searching.alternatives.problems[best.alternative].network(best.arrangement)
    found = _searched_on(case, network, best.arrangement, searching.trace, by)
    return found if found is not None and found.outcome in FINAL else None


def _searched_on(
    case: Case,
    network: Network,
    arrangement: Arrangement,
    trace: Trace,
    by: OtherActivationParameters,
) -> Solution | None:
    """Search from an arrangement with the activation that fits it best, which is fitted anew."""
    best, known = None, case.records.predicted()
    if not len(known):
        return None
    before = relative_error(network, known)
    for _ in range(by.rounds):
        mlp = as_mlp(network)
        fitting = fitting_activation(mlp, known)
        blocks = replace(mlp.blocks, activation=fitting)
        if not relative_error(replace(mlp, blocks=blocks), known) < by.lower * before:
            break
        options = replace(case.options, activation=fitting.name)
        # What looks at a search leaves the trace of that as it is.
        start, stop = Start(arrangement, trace.copy()), InVain(trace.row_steps + by.fitted, 0.0)
        best = arrange(case.pile, case.records, options, start=start, stops=(stop,))
        network, arrangement, trace = best.network, best.arrangement, best.trace
        before = relative_error(network, known)
        if best.outcome in FINAL:
            break
    return best if best is None else _told(case, best)


def _remark(case: Case, solution: Solution) -> str | None:
    """Which activations were tried, where this repair was."""
    if not was_tried(NAME, solution) or solution.outcome is Outcome.BUDGET_SPENT:
        return None
    tried = ", ".join({**ACTIVATIONS, **FURTHER})
    return f"no activations but these were tried: {tried}"


def _told(case: Case, found: Solution) -> Solution:
    """What was found, with a word of the activation that was given instead."""
    given = case.options.activation
    if given is None or found.outcome not in SETTLED:
        return found
    return found.noted(
        f"{given} was given as the activation: the record is reproduced with {found.activation}"
    )


OTHER_ACTIVATION = Repair(
    NAME,
    suspects=lambda _, solution: 0.6 * (solution is not None and solution.outcome in UNSOLVED),
    run=_run,
    looks=_looks,
    near=True,
    decisive=True,
    remark=_remark,
)
