"""Networks with an activation that no search begins with."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from unshuffle.blocks.activations import FURTHER, LEAKY, Activation, leaky_relu
from unshuffle.blocks.mlp import MlpNetwork, as_mlp
from unshuffle.pieces.records import Records
from unshuffle.proof.activation import fitting_activation
from unshuffle.proof.outcome import FINAL, Outcome
from unshuffle.repair.case import Case
from unshuffle.repair.in_turn import solved_without, tried_early
from unshuffle.repair.repair import UNSOLVED, Repair, needs_known_blocks, was_tried
from unshuffle.solution.arranging import Start, arrange
from unshuffle.solution.options import Options
from unshuffle.solution.solution import Solution

NAME = "another activation"


@dataclass(frozen=True)
class ActivationParameters:
    """Numbers that steer the search for an activation."""

    rounds: int = 4  # Rounds of fitting it and searching on: a slope is fitted better each time.
    lower: float = 0.7  # Part of the error up to which another activation is worth a search.
    slope: float = 0.2  # Slope of the leaky ReLU that is searched with, for negative numbers.


STANDARD = ActivationParameters()


@dataclass(frozen=True)
class OtherActivation:
    """Hidden units with an activation that no search begins with."""

    patience = 1.0
    name: str

    @property
    def assumption(self) -> str:
        """What is wrong where this is right."""
        return f"the activation is {LEAKY if self._leaks else self.name}"

    @property
    def _leaks(self) -> bool:
        return self.name.startswith(LEAKY)

    def undone(self, case: Case) -> tuple[Records, Options]:
        """The record as it is, searched with this activation."""
        return case.records, replace(case.options, activation=self.name)

    def fitted(self, network: MlpNetwork, case: Case) -> "OtherActivation | None":
        """A leaky ReLU with the slope that fits best; of the others nothing can be fitted."""
        fitting = fitting_activation(network, case.records.predicted()).name
        changed = self._leaks and fitting.startswith(LEAKY) and fitting != self.name
        return OtherActivation(fitting) if changed else None

    def told(self, solution: Solution) -> Solution:
        """The solution, which names its activation itself."""
        return solution


def _candidates() -> Iterator[OtherActivation]:
    """The activations that no search begins with."""
    for name in FURTHER:
        yield OtherActivation(leaky_relu(STANDARD.slope).name if name == LEAKY else name)


def _run(case: Case, solution: Solution | None) -> Solution | None:
    """Search on with the activation that fits best; None where no other one fits better.

    What a search with the wrong activation has found is tried first. Where none fits it better each
    activation gets a short search of its own.
    """
    found = None if solution is None else _searched_on(case, solution)
    if found is not None and found.outcome in FINAL:
        return found
    tried = (solved_without(case, each) for each in _candidates())
    return next((one for one in tried if one is not None), found)


def _fits_better(solution: Solution, case: Case) -> Activation | None:
    """Another activation with which an arrangement leaves much less of the record."""
    network, known = as_mlp(solution.network), case.records.predicted()
    fitting = fitting_activation(network, known)
    blocks = replace(network.blocks, activation=fitting)
    left = replace(network, blocks=blocks).error(known.inputs, known.predictions)
    return fitting if left < STANDARD.lower * solution.mse else None


def _searched_on(case: Case, solution: Solution) -> Solution | None:
    """Search from an arrangement with the activation that fits it best, which is fitted anew."""
    best = None
    for _ in range(STANDARD.rounds):
        fitting = _fits_better(solution, case)
        if fitting is None:
            break
        options = replace(case.options, activation=fitting.name)
        start = Start(solution.arrangement, solution.trace)
        best = solution = arrange(case.pile, case.records, options, start=start)
        if solution.outcome in FINAL:
            break
    return best


def _requires(case: Case) -> str | None:
    given = None if case.options.activation is None else "the activation is given"
    return needs_known_blocks(case) or given


def _remark(case: Case, solution: Solution) -> str | None:
    """Which activations were tried, where this repair was."""
    if not was_tried(NAME, solution) or solution.outcome is Outcome.BUDGET_SPENT:
        return None
    tried = ", ".join([each.name for each in case.options.activations] + [*FURTHER])
    return f"no activations but these were tried: {tried}"


OTHER_ACTIVATION = Repair(
    NAME,
    suspects=lambda _, solution: 0.6 * (solution is not None and solution.outcome in UNSOLVED),
    run=_run,
    requires=_requires,
    looks=lambda case, searching: tried_early(
        lambda case, _: _run(case, searching.solution()), case, searching, far=False
    ),
    again=True,
    remark=_remark,
)
