"""How an arrangement is searched for."""

from dataclasses import dataclass, field
from math import inf
from numbers import Integral
from typing import Any

from unshuffle.blocks.activations import (
    ACTIVATIONS,
    RELU,
    Activation,
    chosen_activation,
    find_activation,
)
from unshuffle.blocks.forms import RESIDUAL, Form
from unshuffle.errors import UsageError, find_name, shown
from unshuffle.files.schema import encode
from unshuffle.grouping.matching import MATCHINGS
from unshuffle.grouping.parameters import GroupingParameters
from unshuffle.grouping.signals import FUSED, signal_names
from unshuffle.ordering.parameters import SearchParameters
from unshuffle.ordering.search import Deadline, InVain, Stop
from unshuffle.ordering.sweeps import PLACEMENTS, ClassicParameters
from unshuffle.ordering.trace import OnStep
from unshuffle.pieces.clock import Clock
from unshuffle.solution.goal import GoalParameters

STRATEGIES = ("auto", "classic")
_MAY_LACK = ("signal", "activation")  # what has a default that depends on the strategy


@dataclass(frozen=True)
class Options:
    """How an arrangement is searched for. What each option means stands at `unshuffle.solve`.

    Repairs set the last two. One is the form of the blocks. The other counts row steps, the rows of
    all steps added up, after which a search ends. Names may be written in any case. A UsageError
    refuses values that cannot work.
    """

    strategy: str = "auto"
    signal: str | None = None
    matching: str = "optimal"
    activation: str | None = None
    placement: str = "anywhere"
    rows: int | None = None
    seed: int = 0
    on_step: OnStep | None = None
    clock: Clock = field(default_factory=Clock)
    grouping: GroupingParameters = field(default_factory=GroupingParameters)
    parameters: SearchParameters = field(default_factory=SearchParameters)
    classic: ClassicParameters = field(default_factory=ClassicParameters)
    goal: GoalParameters = field(default_factory=GoalParameters)
    form: Form = RESIDUAL
    row_steps: float = inf

    def __post_init__(self) -> None:
        known = {
            "strategy": STRATEGIES,
            "signal": signal_names(),
            "matching": MATCHINGS,
            "placement": PLACEMENTS,
        }
        for name in ("activation", *known):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name not in _MAY_LACK):
                raise UsageError(f"{name} is {shown(repr(value))}; give it a name")
            if value is not None and name in known:
                object.__setattr__(self, name, find_name(name, value, known[name]))
        chosen = chosen_activation(self.activation)
        object.__setattr__(self, "activation", None if chosen is None else chosen.name)
        if self.on_step is not None and not callable(self.on_step):
            raise UsageError("on_step cannot be called; give it a function of the trace")
        rows, seed = self.rows, self.seed
        if rows is not None and not (isinstance(rows, Integral) and rows >= 1):
            raise UsageError(f"the search cannot use {rows} rows; give it a whole number from 1 on")
        if not (isinstance(seed, Integral) and seed >= 0):
            raise UsageError(f"the seed cannot be {seed}; give it a whole number from 0 on")

    @property
    def activations(self) -> list[Activation]:
        """The activations to try, in sequence."""
        if self.activation is not None:
            return [find_activation(self.activation)]
        return list(ACTIVATIONS.values()) if self.strategy == "auto" else [RELU]

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers that steer the pairing and the strategy in use, as plain values."""
        auto = self.strategy == "auto"
        search = encode(self.parameters if auto else self.classic)
        return {"grouping": encode(self.grouping), "search": search, "goal": encode(self.goal)}

    @property
    def rebuilds(self) -> bool:
        """Whether a search may leave pieces out and estimate what is missing."""
        return self.strategy == "auto" and self.chosen_signal == FUSED

    @property
    def stops(self) -> tuple[Stop, ...]:
        """What stops every search: the time limit of the whole solve, and the most row steps."""
        return (Deadline(self.clock), InVain(self.row_steps, 0.0))

    @property
    def chosen_signal(self) -> str:
        """The signal that pairs."""
        return self.signal or ("trace" if self.strategy == "classic" else FUSED)
