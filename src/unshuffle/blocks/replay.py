"""Runs the blocks of a PyTorch module one by one, with any weights; needs the extra `torch`.

The module is run once on a few rows of the record, and hooks capture what each of its blocks is
given. A block is replayed by `torch.func.functional_call` with the module that stands in its place,
the captured arguments, and the weights of any pieces. Derivatives come from autograd.

A state of the engine is one row of numbers. It holds what goes from block to block, then what
blocks or head must know of the row beside it (masks, or the inputs), and last the number of the
place. So the module of a place runs with its own attributes and arguments, and blocks stay
functions of a state.
"""

import copy
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_unflatten

from unshuffle.blocks.asking import Axis, hidden_axes
from unshuffle.blocks.capture import (
    Call,
    Leaves,
    Part,
    Tensors,
    calls_of,
    capture,
    copied,
    is_state,
    real_tensors,
)
from unshuffle.errors import RecordError, UsageError
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records

SAMPLE = 3  # rows that the replay is compared with the module on
AGREEMENT = 1e-3  # largest difference of a replay from the module, over the size of the states
CHUNK = 1 << 20  # numbers of states that derivatives are computed of at a time


class CapturedError(Exception):
    """Ends a forward pass of which enough is known."""


@dataclass(eq=False)
class Replay:
    """A module whose blocks run by themselves, in the dtype of the module.

    The module is in evaluation mode and is never changed; each thread has a copy of its structure
    that shares the tensors.
    """

    module: nn.Module
    blocks: tuple[str, ...]  # names of the blocks' modules, in the order in which they run
    records: Records
    dtype: torch.dtype = torch.float32
    _local: threading.local = field(default_factory=threading.local)
    _other: dict[torch.dtype, "Replay"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.module = copy.deepcopy(self.module).to(self.dtype).eval().requires_grad_(False)
        unknown = [one.name for one in self.records.fields if one.name not in self.parameters]
        if unknown:
            raise RecordError(
                f"{self.records.name}: forward of {type(self.module).__name__} has no parameter "
                f"{unknown[0]!r}; it has: {', '.join(self.parameters)}"
            )
        if not len(self.records):
            raise RecordError(
                f"{self.records.name} has no rows, but the module is run on some to see how its "
                "blocks are called; give it at least one row of inputs"
            )
        self.inputs = self.records.inputs[np.arange(SAMPLE) % len(self.records)]
        with torch.no_grad():
            self._capture()

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of the module's forward."""
        return inspect.signature(self.module.forward).parameters

    @classmethod
    def of(
        cls,
        module: nn.Module,
        blocks: tuple[str, ...],
        records: Records,
        dtype: np.typing.DTypeLike,
    ) -> "Replay":
        """The blocks of these names of a module, that reads a record, in a dtype of NumPy."""
        return cls(module, blocks, records, _torch_dtype(dtype))

    def in_dtype(self, dtype: np.typing.DTypeLike) -> "Replay":
        """The same in another dtype."""
        wanted = _torch_dtype(dtype)
        if wanted is self.dtype:
            return self
        if wanted not in self._other:
            self._other[wanted] = Replay(
                self.module, self.blocks, self.records, wanted, _other={self.dtype: self}
            )
        return self._other[wanted]

    def filled(self, tensors: Mapping[str, Floats]) -> nn.Module:
        """A copy of the module with other tensors, all of its own names."""
        module = copy.deepcopy(self.module)
        module.load_state_dict({name: torch.tensor(values) for name, values in tensors.items()})
        return module

    # What is found out of the module, once.

    def _capture(self) -> None:
        """See what the blocks are called with, and compare the replay with the module."""

        def calls(inputs: Floats, tensors: Tensors) -> tuple[list[Call], torch.Tensor]:
            self.blocks, found, output = calls_of(
                self.module, self.blocks, lambda: self._forward(self.module, inputs, tensors)
            )
            return found, output

        all_rows, output = calls(self.inputs, {})
        self._refuse_not_finite(all_rows, output)
        fewer, _ = calls(self.inputs[1:], {})
        turned, _ = calls(self.inputs, self._turned())
        self.captured = capture(self.blocks, all_rows, fewer, turned)
        self.part, self.parts = self.captured.part, [*self.captured.parts]
        self.needs_inputs = False
        self._compare(all_rows, output)

    def _refuse_not_finite(self, calls: Sequence[Call], output: torch.Tensor) -> None:
        """States that are not finite cannot be compared; say which tensor they may come from."""
        made = {
            **{f"block {name}": call.given for name, call in zip(self.blocks, calls, strict=True)},
            "what follows the last block": output,
        }
        where = next((key for key, one in made.items() if not one.isfinite().all()), None)
        if where is None:
            return
        # A mask that is a buffer may hold an infinity by right, so parameters come first.
        tensors = [*self.module.named_parameters(), *self.module.named_buffers()]
        bad = next((name for name, one in tensors if not one.isfinite().all()), None)
        found = f"tensor {bad} of the module holds NaN or an infinity" if bad else "they overflow"
        raise UsageError(
            f"{where} gives numbers that are not finite, since {found}; give the module "
            "weights, in its blocks too, with which all it makes is finite"
        )

    def _turned(self) -> dict[str, torch.Tensor]:
        """The module's tensors with those of the blocks in the opposite order."""
        return {
            f"{one}.{key}": values
            for one, other in zip(self.blocks, reversed(self.blocks), strict=True)
            for key, values in self.own(other).items()
        }

    def _forward(self, module: nn.Module, inputs: Floats, tensors: Tensors) -> torch.Tensor:
        """The output of a module with other tensors for rows of inputs: shape (rows, outputs)."""
        arguments = self._arguments(inputs)
        args, kwargs = self._given(arguments)
        try:
            found = functional_call(module, dict(tensors), args, kwargs)
        except CapturedError:
            raise
        except Exception as error:  # a forward is the user's code and may raise anything
            raise RecordError(self._unread(arguments, error)) from error
        return self._first(found, len(inputs))

    def _unread(self, arguments: Mapping[str, torch.Tensor], error: Exception) -> str:
        """What a forward was given, what it said of that, and what it reads."""
        given = ", ".join(
            f"{name} of shape ({', '.join(['rows', *map(str, one.shape[1:])])}) and {one.dtype}"
            for name, one in arguments.items()
        )
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        return (
            f"{self.records.name}: forward of {type(self.module).__name__} was given {given}, and "
            f"cannot read that ({said}); give its parameters ({', '.join(self.parameters)}) arrays "
            "of the shapes and dtypes that they need, by Records.named"
        )

    def _given(
        self, arguments: Mapping[str, torch.Tensor]
    ) -> tuple[tuple[torch.Tensor, ...], dict[str, Any]]:
        """Positional and named arguments for the module; a record of plain rows names none."""
        extra = {"use_cache": False} if "use_cache" in self.parameters else {}
        if self.records.fields:
            return (), {**arguments, **extra}
        return tuple(arguments.values()), extra

    def _arguments(self, inputs: Floats) -> dict[str, torch.Tensor]:
        """Rows of inputs as tensors, by the parameters of the module's forward."""
        arrays: Mapping[str, NDArray[Any]] = self.records.arrays(inputs) or {"inputs": inputs}
        tensors = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
        return {
            name: one.to(self.dtype) if one.is_floating_point() else one
            for name, one in tensors.items()
        }

    def _part(self, found: object, part: str) -> object:
        """What the record names among what a module gives: by key, number or attribute."""
        try:
            if isinstance(found, Mapping):
                return found[part]
            return found[int(part)] if part.isdecimal() else getattr(found, part)  # type: ignore[index]
        except (LookupError, AttributeError, TypeError) as error:
            has = f" with {', '.join(map(str, found))}" if isinstance(found, Mapping) else ""
            raise RecordError(
                f"{self.records.name} has the output {part!r}, but the module gives a "
                f"{type(found).__name__}{has}; name a part of that"
            ) from error

    def _first(self, found: object, rows: int) -> torch.Tensor:
        """The tensor among what a module gives that was recorded."""
        outputs, part = self.records.outputs, self.records.output
        if part:
            found = self._part(found, part)
        leaves = tree_flatten([*found.values()] if isinstance(found, Mapping) else found)[0]
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        for one in tensors:
            if one.is_floating_point() and one.ndim and len(one) == rows:
                flat = one.reshape(rows, -1)
                if not outputs or flat.shape[1] == outputs:
                    return flat
        if not tensors:
            raise UsageError(
                f"the module gives a {type(found).__name__} without tensors, but its output must "
                "be a tensor, or hold one"
            )
        shapes = ", ".join(str(tuple(one.shape)) for one in tensors)
        raise RecordError(
            f"{self.records.name} has {outputs} numbers of prediction a row, but for {rows} rows "
            f"the module gives tensors of shape {shapes}; record the output of this module"
        )

    def _compare(self, calls: Sequence[Call], output: torch.Tensor) -> None:
        """Compare the replay with the module, on all rows of the sample and on fewer."""
        for rows in (slice(None), slice(1, None)):
            state = self.enter(self.inputs[rows])
            for place, call in enumerate(calls):
                state = self.run(self.own(self.blocks[place]), state)
                got, wanted = self._unpacked(state)[0], call.given[rows]
                if got.shape != wanted.shape or not _close(got, wanted):
                    raise UsageError(
                        f"block {self.blocks[place]} does not do the same again when it is run by "
                        "itself; is there a cache, randomness, or a state that it keeps?"
                    )
            if not _close(torch.from_numpy(self.leave(state)), output[rows]):
                if not self.needs_inputs:
                    self.needs_inputs = True
                    self.parts += [
                        Part(one.shape[1:], one.dtype)
                        for one in self._arguments(self.inputs).values()
                    ]
                    return self._compare(calls, output)
                raise UsageError(
                    "what follows the last block does not do the same again when it is run by "
                    "itself; is there a cache, randomness, or a state that it keeps?"
                )
        return None

    def own(self, block: str) -> Tensors:
        """The module's own tensors of a block."""
        return real_tensors(self.module.get_submodule(block))

    def hidden(self) -> list[list[Axis]]:
        """Axes of the tensors of a block that are the same hidden units, asked of the first one."""
        state = self.enter(self.inputs[:1])

        def run(tensors: Mapping[str, Floats]) -> Floats:
            after = self.run({name: torch.tensor(one) for name, one in tensors.items()}, state)
            return after[:, : self.part.width]

        own = self.own(self.blocks[0])
        return hidden_axes(run, {name: one.numpy() for name, one in own.items()})

    # The two functions of a block.

    def run(self, tensors: Tensors, x: Floats) -> Floats:
        """Run a block of given tensors on states (rows, width), each in the place it says."""
        with torch.no_grad():
            after = x.copy()
            for place, rows in self._by_place(x):
                moved = self._block(place, tensors, torch.tensor(x[rows]))
                after[rows, : self.part.width] = moved.numpy()
            after[:, -1] += 1
        return after

    def pull(self, tensors: Tensors, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of such a block at x for g of shape (outputs, rows, width)."""
        pulled = np.zeros_like(g)
        for place, rows in self._by_place(x):
            pulled[:, rows, : self.part.width] = self._pulled(
                partial(self._block, place, tensors),
                torch.tensor(x[rows]),
                torch.tensor(g[:, rows, : self.part.width]),
            )
        return pulled

    def _pulled(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        states: torch.Tensor,
        g: torch.Tensor,
    ) -> Floats:
        """Derivatives by states, (rows, width), along each of g, (outputs, rows, made).

        The outputs are run as rows of one batch.
        """
        outputs, width = len(g), self.part.width
        found = np.empty((outputs, len(states), width), states.numpy().dtype)
        size = max(1, CHUNK // states.numel())
        for start in range(0, outputs, size):
            part = g[start : start + size]
            with torch.enable_grad():
                many = states.repeat(len(part), 1).requires_grad_()
                made = function(many)
                # Cotangents as an argument would cost an import of seconds.
                (pulled,) = torch.autograd.grad((made * part.reshape(made.shape)).sum(), many)
            found[start : start + size] = pulled[:, :width].reshape(len(part), -1, width).numpy()
        return found

    def _by_place(self, x: Floats) -> Iterator[tuple[int, NDArray[np.intp] | slice]]:
        """The places that states are in, and the rows of each."""
        places = np.clip(x[:, -1], 0, len(self.captured.places) - 1).astype(int)
        if len(x) and (places == places[0]).all():
            yield int(places[0]), slice(None)
            return
        for place in np.unique(places).tolist():
            yield place, np.flatnonzero(places == place)

    def _block(self, number: int, tensors: Tensors, states: torch.Tensor) -> torch.Tensor:
        """What the block of a place makes of the first numbers of states, shape (rows, numbers)."""
        place = self.captured.places[number]
        state, others = self._split(states)
        leaves = [*place.template]
        leaves[place.state] = state.clone()
        for at, part in place.bound.items():
            leaves[at] = others[part]
        args, kwargs = tree_unflatten(leaves, place.spec)
        block = self._structure().get_submodule(self.blocks[number])
        found = tree_flatten(functional_call(block, dict(tensors), args, kwargs))[0]
        return next(leaf for leaf in found if is_state(leaf)).reshape(len(states), -1)

    def _split(self, states: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """A state as the tensor that goes from block to block, and those beside it."""
        found, start = [], self.part.width
        for part in self.parts:
            found.append(part.unpacked(states[:, start : start + part.width]))
            start += part.width
        return states[:, : self.part.width].reshape(len(states), *self.part.shape), found

    def _unpacked(self, x: Floats) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return self._split(torch.from_numpy(x))

    def _structure(self) -> nn.Module:
        """The module as this thread may change it for a moment: its tensors are shared."""
        if not hasattr(self._local, "module"):
            tensors = (*self.module.parameters(), *self.module.buffers())
            memo = {id(one): one for one in tensors}
            self._local.module = copy.deepcopy(self.module, memo)
        module: nn.Module = self._local.module
        return module

    # The two ends.

    def enter(self, inputs: Floats) -> Floats:
        """The first state of rows of inputs: shape (rows, width)."""
        module, calls = self._structure(), dict[int, Leaves]()
        sources = self.captured.sources
        last = max((place for place, _ in sources), default=0)

        def keep(place: int) -> Callable[..., None]:
            def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
                calls[place] = [copied(leaf) for leaf in tree_flatten((args, kwargs))[0]]
                if place == last:
                    raise CapturedError

            return hook

        hooks = [
            module.get_submodule(self.blocks[place]).register_forward_pre_hook(
                keep(place), with_kwargs=True
            )
            for place in {0, *(place for place, _ in sources)}
        ]
        try:
            with torch.no_grad():
                self._forward(module, inputs, {})
        except CapturedError:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        first = calls[0][self.captured.places[0].state]
        packed = [self.part.packed(first, self.dtype)]
        others = [calls[place][at] for place, at in sources]
        if self.needs_inputs:
            others += self._arguments(inputs).values()
        packed += [
            part.packed(one, self.dtype) for part, one in zip(self.parts, others, strict=True)
        ]
        state: Floats = torch.cat(
            [*packed, torch.zeros(len(first), 1, dtype=self.dtype)], 1
        ).numpy()
        return state

    def leave(self, state: Floats) -> Floats:
        """The output, shape (rows, outputs), of last states."""
        with torch.no_grad():
            output: Floats = self._head(torch.tensor(state)).numpy()
        return output

    def pull_ends(self, state: Floats, probes: Floats | None) -> Floats:
        """Derivatives of projections of the output by the last state."""
        states = torch.tensor(state)
        outputs = self.leave(state[:1]).shape[1]
        probes = np.eye(outputs) if probes is None else probes
        along = torch.from_numpy(probes).to(self.dtype)[:, None].expand(-1, len(states), -1)
        found = np.zeros((len(probes), *state.shape), state.dtype)
        found[..., : self.part.width] = self._pulled(self._head, states, along)
        return found

    def _head(self, states: torch.Tensor) -> torch.Tensor:
        """What follows the last block, on rows of states."""
        state, others = self._split(states)
        module = self._structure()
        first = self._arguments(self.inputs[:1])
        given = {name: one.expand(len(states), *one.shape[1:]) for name, one in first.items()}
        if self.needs_inputs:
            given = dict(zip(first, others[-len(first) :], strict=True))
        args, kwargs = self._given(given)
        with self._skipped(module, state.clone()):
            return self._first(module(*args, **kwargs), len(states))

    @contextmanager
    def _skipped(self, module: nn.Module, state: torch.Tensor) -> Iterator[None]:
        """Let every block of a module give a state, whatever it is given."""
        blocks = [module.get_submodule(name) for name in self.blocks]
        for block, (leaves, spec) in zip(blocks, self.captured.returned, strict=True):
            first = next(at for at, leaf in enumerate(leaves) if is_state(leaf))
            output = tree_unflatten([*leaves[:first], state, *leaves[first + 1 :]], spec)
            block.forward = lambda *_, output=output, **__: output
        try:
            yield
        finally:
            for block in blocks:
                del block.forward


def _torch_dtype(dtype: np.typing.DTypeLike) -> torch.dtype:
    return torch.float64 if np.dtype(dtype) == np.float64 else torch.float32


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of one shape agree, beside the size of the second."""
    size = float(other.abs().max()) if other.numel() else 0.0
    return bool((one - other).abs().max() <= AGREEMENT * size)
