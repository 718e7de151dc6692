"""What the blocks of a PyTorch module are called with. Needs the extra `torch`.

Hooks see each block once in a forward pass. A block is given a state, arguments that are the same
for all rows, and arguments that depend on the row, such as masks.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from unshuffle.errors import MissingExtraError, UsageError

try:
    import torch
    from torch import nn
    from torch.utils._pytree import TreeSpec, tree_flatten
except ImportError as error:
    raise MissingExtraError("PyTorch", "torch", "a network that is given as a module") from error

Leaves = list[Any]
TorchTensors = Mapping[str, torch.Tensor]  # by their names in a module


@dataclass(frozen=True, eq=False)
class Call:
    """What a block was called with, flattened, and what it gave."""

    leaves: Leaves  # of positional and named arguments; tensors are copies
    spec: TreeSpec
    output: Leaves
    output_spec: TreeSpec

    @property
    def given(self) -> torch.Tensor:
        """The state behind the block: the first tensor that it gave."""
        return next(leaf for leaf in self.output if is_state(leaf))


def is_state(leaf: object) -> bool:
    """Whether a value can be a state: real numbers, with rows and another axis."""
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.ndim > 1


@dataclass(frozen=True)
class Segment:
    """Numbers of a state that are a tensor: its shape without the first axis, and its dtype.

    On the first axis lie rows, or `each` for every row, such as heads of one row after the other.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    each: int = 1

    @property
    def width(self) -> int:
        """How many numbers there are for each row."""
        return self.each * int(np.prod(self.shape, dtype=int))

    def packed(self, values: torch.Tensor, rows: int, dtype: torch.dtype) -> torch.Tensor:
        """A tensor as rows of finite numbers; one for all rows is repeated.

        Masks may hold an infinity.
        """
        values = values.expand(rows * self.each, *self.shape).reshape(rows, -1)
        return torch.nan_to_num(values.to(dtype))

    def unpacked(self, rows: torch.Tensor) -> torch.Tensor:
        """The tensor that rows of numbers stand for."""
        return rows.reshape(len(rows) * self.each, *self.shape).to(self.dtype)


@dataclass(frozen=True, eq=False)
class BlockCall:
    """How a module's block is called beside the state, and the source of its state."""

    name: str
    template: Leaves  # arguments that are the same for all rows
    spec: TreeSpec
    state: int  # number of the argument that is the state
    bound: Mapping[int, int]  # numbers of the arguments that depend on the row, to parts of a state
    bridged: bool  # whether the module does something between the block before and this one
    given: Segment  # the state before it
    made: Segment  # the state behind it
    output: Leaves  # what it gave, flattened
    output_spec: TreeSpec
    makes: Mapping[int, int] = field(default_factory=dict)  # parts of a state, to what it gave


GIVEN = -1  # the origin of what a block gives, and a later one is given as it is


@dataclass(frozen=True)
class Beside:
    """What a block is given beside the state that depends on the row, or on other blocks."""

    part: Segment
    step: int  # of the block that it is an argument of
    argument: int
    # The bridged step before which it is made, or `GIVEN`; 0 where no block has a part in it.
    origin: int


def capture(
    names: Sequence[str],
    layouts: Sequence[Hashable],
    calls: Sequence[Call],
    fewer: Sequence[Call],
    turned: Sequence[Call],
) -> tuple[list[BlockCall], list[Beside]]:
    """Tell arguments apart, by calls on rows, without the first row, and with other weights.

    With other weights of the blocks only the state, and what is made behind blocks, may differ.
    Blocks of one layout get their state by the same argument.
    """
    parts, bridge = _Parts(names, calls, fewer, turned), 0
    steps: list[BlockCall] = []
    for number, call in enumerate(calls):
        next_alike = layouts[number + 1 : number + 2] == [layouts[number]]
        state, bridged = _state_of(calls, number, next_alike=next_alike)
        if len(call.leaves[state]) == len(fewer[number].leaves[state]):
            raise UsageError(
                f"block {names[number]} is given a state of shape "
                f"{tuple(call.leaves[state].shape)}, whose first axis does not follow the number "
                "of rows; put rows on the first axis (batch_first=True?)"
            )
        bridge = number if bridged else bridge
        bound = {at: parts.of(number, at, bridge) for at in parts.varying(number, state)}
        varying = {state, *bound}
        steps.append(
            BlockCall(
                names[number],
                [None if at in varying else leaf for at, leaf in enumerate(call.leaves)],
                call.spec,
                state,
                bound,
                bridged,
                _part(call.leaves[state]),
                _part(call.given),
                call.output,
                call.output_spec,
            )
        )
    return parts.numbered(steps)


@dataclass(eq=False)
class _Parts:
    """The parts of a state beside what goes from block to block, as calls show them."""

    names: Sequence[str]
    calls: Sequence[Call]
    fewer: Sequence[Call]
    turned: Sequence[Call]
    beside: list[Beside] = field(default_factory=list)
    makes: list[dict[int, int]] = field(init=False)  # by step, as in `BlockCall`
    given: dict[object, int] = field(default_factory=dict)  # parts that blocks give, by their keys

    def __post_init__(self) -> None:
        self.makes = [{} for _ in self.calls]

    def varying(self, number: int, state: int) -> Iterator[int]:
        """Arguments beside the state that depend on the row, or on weights of blocks."""
        others = self.fewer[number].leaves, self.turned[number].leaves
        for at, leaf in enumerate(self.calls[number].leaves):
            tensor = at != state and isinstance(leaf, torch.Tensor)
            if tensor and not all(same(leaf, other[at]) for other in others):
                yield at

    def of(self, number: int, at: int, bridge: int) -> int:
        """The part that an argument of a step is."""
        leaf, part = self.calls[number].leaves[at], self._segment(number, at)
        if same(leaf, self.turned[number].leaves[at]):
            return self._equal(Beside(part, number, at, 0))
        source = self._source(number, at)
        if source is not None:
            step, output = source
            # What each block gives to the next by one argument is one part.
            key = (at, part) if step == number - 1 else source
            if key not in self.given:
                self.given[key] = self._added(Beside(part, number, at, GIVEN))
            self.makes[step][self.given[key]] = output
            return self.given[key]
        if bridge:
            return self._equal(Beside(part, number, at, bridge))
        raise UsageError(
            f"block {self.names[number]} is given more than the state by the blocks before it: its "
            f"argument {at + 1} follows from their weights, but is nothing that one of them gave; "
            "let the module hand on what blocks give as it is"
        )

    def numbered(self, steps: Sequence[BlockCall]) -> tuple[list[BlockCall], list[Beside]]:
        """The steps, and the parts in the sequence of a state.

        What blocks have a part in comes first, since derivatives are taken by it.
        """
        sequence = sorted(range(len(self.beside)), key=lambda k: self.beside[k].origin == 0)
        now = {k: n for n, k in enumerate(sequence)}
        made = [
            replace(
                step,
                bound={at: now[k] for at, k in step.bound.items()},
                makes={now[k]: output for k, output in makes.items()},
            )
            for step, makes in zip(steps, self.makes, strict=True)
        ]
        return made, [self.beside[k] for k in sequence]

    def _added(self, one: Beside) -> int:
        self.beside.append(one)
        return len(self.beside) - 1

    def _equal(self, one: Beside) -> int:
        """The part of an argument of equal numbers and the same origin, if there is one."""

        def leaf(each: Beside) -> object:
            return self.calls[each.step].leaves[each.argument]

        alike = (k for k, each in enumerate(self.beside) if each.origin == one.origin)
        found = next((k for k in alike if same(leaf(self.beside[k]), leaf(one))), None)
        return self._added(one) if found is None else found

    def _source(self, number: int, at: int) -> tuple[int, int] | None:
        """The last step that gave an argument as it is, and the number of what it gave."""
        leaf, turned = self.calls[number].leaves[at], self.turned[number].leaves[at]
        for step in reversed(range(number)):
            given = zip(self.calls[step].output, self.turned[step].output, strict=True)
            for output, (one, other) in enumerate(given):
                if same(one, leaf) and same(other, turned):
                    return step, output
        return None

    def _segment(self, number: int, at: int) -> Segment:
        """An argument as a part of a state. What does not depend on the row may have no rows."""
        leaf, fewer = self.calls[number].leaves[at], self.fewer[number].leaves[at]
        rows, left = (len(each[number].given) for each in (self.calls, self.fewer))
        each, rest = divmod(len(leaf) if leaf.ndim else 0, rows)
        if each and not rest and len(fewer) == each * left:
            return _part(leaf, each)
        if leaf.ndim and len(leaf) == 1 and same(leaf, fewer):
            return _part(leaf)
        raise UsageError(
            f"block {self.names[number]} is given an argument of shape {tuple(leaf.shape)} that "
            "depends on the rows or the blocks before it, but has no axis of rows"
        )


def _part(values: torch.Tensor, each: int = 1) -> Segment:
    return Segment(tuple(values.shape[1:]), values.dtype, each)


def _state_of(calls: Sequence[Call], number: int, *, next_alike: bool) -> tuple[int, bool]:
    """The number of the argument that is the state, and whether something stands before it.

    The block before may give another argument, as an encoder gives the memory of a decoder. So the
    argument by which the next block gets the state comes first, where that block is alike.
    """
    leaves = calls[number].leaves
    before = [call.given for call in calls[max(number - 1, 0) : number]]
    direct = [at for at, leaf in enumerate(leaves) if before and same(leaf, before[0])]
    following = [at for at in _passed_on(calls[number:]) if is_state(leaves[at])]
    if direct and not (next_alike and following and {*direct}.isdisjoint(following)):
        return direct[0], False
    if following:
        return following[0], True
    return next(at for at, leaf in enumerate(leaves) if is_state(leaf)), True


def _passed_on(calls: Sequence[Call]) -> list[int]:
    """The numbers of the arguments by which the second block gets what the first one gave."""
    if len(calls) < 2 or len(calls[0].leaves) != len(calls[1].leaves):
        return []
    return [at for at, leaf in enumerate(calls[1].leaves) if same(leaf, calls[0].given)]


# Names of the blocks in the order in which they run, their calls, and the output.
Captured = tuple[list[str], list[Call], torch.Tensor]


def calls_of(
    module: nn.Module, blocks: Iterable[str], forward: Callable[[], torch.Tensor]
) -> Captured:
    """Run a module once, and see its blocks."""
    calls: list[Call] = []
    names: list[str] = []

    def before(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            leaves, spec = tree_flatten((args, kwargs))
            calls.append(Call([copied(leaf) for leaf in leaves], spec, [], spec))
            names.append(name)

        return hook

    def after(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        leaves, spec = tree_flatten(output)
        calls[-1] = replace(calls[-1], output=[copied(leaf) for leaf in leaves], output_spec=spec)

    hooks = []
    for name in blocks:
        block = module.get_submodule(name)
        hooks.append(block.register_forward_pre_hook(before(name), with_kwargs=True))
        hooks.append(block.register_forward_hook(after, with_kwargs=True))
    try:
        output = forward()
    finally:
        for hook in hooks:
            hook.remove()
    _refuse_odd(module, blocks, names, calls)
    return names, calls, output


def runs_of(names: Sequence[str]) -> list[tuple[int, ...]]:
    """The steps of each block. One block may run several times, one behind the other."""
    return [tuple(steps) for _, steps in groupby(range(len(names)), key=names.__getitem__)]


def _refuse_odd(
    module: nn.Module, blocks: Iterable[str], names: Sequence[str], calls: Sequence[Call]
) -> None:
    """Raise `UsageError` where a block does not run, runs again later, or gives no state."""
    idle = next((name for name in blocks if name not in names), None)
    if idle is not None:
        lists = isinstance(module.get_submodule(idle), nn.ModuleList | nn.ModuleDict)
        step = "write it as a module whose forward runs what it holds, with its skip connections"
        raise UsageError(
            f"block {idle} does not run in a forward pass, so its place is not known; "
            f"{step if lists else 'let forward run every block of a stack'}"
        )
    begins = [names[steps[0]] for steps in runs_of(names)]
    again = next((name for name in begins if begins.count(name) > 1), None)
    if again is not None:
        raise UsageError(
            f"block {again} runs again after others have run, and a block of a stack must run at "
            "one place; write one block for each place, and give each of them the same module"
        )
    for name, call in zip(names, calls, strict=True):
        if any(isinstance(leaf, torch.Tensor) and leaf.is_nested for leaf in call.leaves):
            raise UsageError(
                f"block {name} is given a nested tensor, whose rows differ in length; make "
                "torch.nn.TransformerEncoder with enable_nested_tensor=False"
            )
        if not any(map(is_state, call.output)):
            raise UsageError(
                f"block {name} gives no tensor of real numbers with an axis of rows; the first "
                "tensor that a block gives must be the state"
            )


def copied(leaf: object) -> object:
    """A value that nothing changes any more, if it is a tensor."""
    return leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf


def same(one: object, other: object) -> bool:
    """Whether two values are one object, or equal tensors."""
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return one is other
    return one.shape == other.shape and bool(torch.equal(one, other))


def real_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and persistent buffers of real numbers, by name. `UsageError` for no module."""
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"a blueprint is made from a torch.nn.Module, but this is a {type(module).__name__}"
        )
    # What torch.compile gives is known by its attribute: its class would cost an import of seconds.
    if isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod"):
        raise UsageError(
            "a blueprint is made from a module of Python code, but this one is a compiled "
            f"{type(module).__name__}; give the module that it was compiled from"
        )
    tensors = module.state_dict(keep_vars=True)
    empty = next((name for name, one in tensors.items() if one.is_meta), None)
    if empty is not None:
        raise UsageError(
            f"tensor {empty} of the module is on the device meta and holds no numbers; call "
            "module.to_empty(device='cpu'), then load weights by load_state_dict"
        )
    return {name: one for name, one in tensors.items() if one.is_floating_point()}


def no_output(found: object, tensors: Sequence[torch.Tensor]) -> UsageError:
    """Says that what a module gives has no tensor of real numbers."""
    kinds = ", ".join(dict.fromkeys(str(one.dtype) for one in tensors))
    what = (
        f"{kinds} alone" if kinds else f"an object of type {type(found).__name__} without tensors"
    )
    return UsageError(
        f"the module gives {what}, but its output must be a tensor of real numbers, or hold one; "
        "let forward return such a tensor, as logits are"
    )


def check_device(name: str) -> None:
    """Raise `UsageError` for a device on which this PyTorch cannot compute in double precision."""
    try:
        torch.ones((), dtype=torch.float64, device=name).item()
    except (AssertionError, ImportError, RuntimeError, TypeError) as error:
        # PyTorch's own words are of how it was built, on many lines.
        there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise UsageError(
            f"PyTorch cannot compute in double precision on the device {name!r} here; choose one "
            f"of: {', '.join(there)}"
        ) from error
