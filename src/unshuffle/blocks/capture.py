"""What the blocks of a PyTorch module are called with. Needs the extra `torch`.

Hooks see each block once in a forward pass. A block is given a state, arguments that are the same
for all rows, and arguments that depend on the row, such as masks.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    """Numbers of a state that are a tensor: its shape without rows, and its dtype."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def width(self) -> int:
        """How many numbers there are for each row."""
        return int(np.prod(self.shape, dtype=int))

    def packed(self, values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """A tensor as rows of finite numbers. Masks may hold an infinity."""
        return torch.nan_to_num(values.reshape(len(values), -1).to(dtype))

    def unpacked(self, rows: torch.Tensor) -> torch.Tensor:
        """The tensor that rows of numbers stand for."""
        return rows.reshape(len(rows), *self.shape).to(self.dtype)


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


@dataclass(frozen=True)
class Beside:
    """What a block is given beside the state that depends on the row."""

    part: Segment
    step: int  # of the block that it is an argument of
    argument: int
    origin: int  # the bridged step before which it is made; 0 where no block has a part in it


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
    steps: list[BlockCall] = []
    beside: list[Beside] = []
    kept: list[torch.Tensor] = []
    bridge = 0
    for number, call in enumerate(calls):
        next_alike = layouts[number + 1 : number + 2] == [layouts[number]]
        state, bridged = _state_of(calls, number, next_alike=next_alike)
        bridge, bound = number if bridged else bridge, dict[int, int]()
        others = fewer[number].leaves, turned[number].leaves
        for at, follows in _of_rows(names[number], call, state, *others, bridged=bridge > 0):
            leaf, origin = call.leaves[at], bridge if follows else 0
            alike = (k for k, one in enumerate(kept) if same(one, leaf))
            found = next((k for k in alike if beside[k].origin == origin), len(kept))
            bound[at] = found
            if found == len(kept):
                kept.append(leaf)
                beside.append(Beside(_part(leaf), number, at, origin))
        varying = {state, *bound}
        template = [None if at in varying else leaf for at, leaf in enumerate(call.leaves)]
        steps.append(
            BlockCall(
                names[number],
                template,
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
    # What blocks have a part in comes first, since derivatives are taken by it.
    sequence = sorted(range(len(beside)), key=lambda k: beside[k].origin == 0)
    now = {k: n for n, k in enumerate(sequence)}
    steps = [replace(step, bound={at: now[k] for at, k in step.bound.items()}) for step in steps]
    return steps, [beside[k] for k in sequence]


def _of_rows(
    name: str, call: Call, state: int, fewer: Leaves, turned: Leaves, *, bridged: bool
) -> Iterator[tuple[int, bool]]:
    """Arguments of a block that depend on the row, and whether they follow from blocks' weights."""
    for at, leaf in enumerate(call.leaves):
        if at == state or not isinstance(leaf, torch.Tensor):
            continue
        follows = not same(leaf, turned[at])
        if follows and not bridged:
            raise UsageError(
                f"block {name} is given more than the state by the blocks before it: its argument "
                f"{at + 1} follows from their weights. Only one tensor may go from block to block"
            )
        if same(leaf, fewer[at]):
            continue
        if leaf.shape[:1] != call.given.shape[:1]:
            raise UsageError(
                f"block {name} is given an argument of shape {tuple(leaf.shape)} that depends on "
                "the rows, but has no axis of rows"
            )
        yield at, follows


def _part(values: torch.Tensor) -> Segment:
    return Segment(tuple(values.shape[1:]), values.dtype)


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
    _refuse_odd(blocks, names, calls)
    return names, calls, output


def runs_of(names: Sequence[str]) -> list[tuple[int, ...]]:
    """The steps of each block. One block may run several times, one behind the other."""
    return [tuple(steps) for _, steps in groupby(range(len(names)), key=names.__getitem__)]


def _refuse_odd(blocks: Iterable[str], names: Sequence[str], calls: Sequence[Call]) -> None:
    """Raise `UsageError` where a block does not run, runs again later, or gives no state."""
    idle = next((name for name in blocks if name not in names), None)
    if idle is not None:
        raise UsageError(
            f"block {idle} does not run in a forward pass, so its place is not known; let forward "
            "run every block of a stack"
        )
    begins = [names[steps[0]] for steps in runs_of(names)]
    again = next((name for name in begins if begins.count(name) > 1), None)
    if again is not None:
        raise UsageError(
            f"block {again} runs again after others have run, and a block of a stack must run at "
            "one place; write one block for each place, and give each of them the same module"
        )
    for name, call in zip(names, calls, strict=True):
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
    if isinstance(module, torch.jit.ScriptModule):
        raise UsageError(
            "a blueprint is made from a module of Python code, but this one is a compiled "
            "ScriptModule; give the module that it was compiled from"
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
