"""Runs the blocks of a PyTorch module one by one, with any weights. It needs the extra `torch`.

The module is run once on a few rows of the record. Hooks capture what each of its blocks is given.
`torch.func.functional_call` replays a block: the module of its place with the captured arguments,
and the weights of any pieces. Derivatives come from autograd.

A state of the engine is one row of numbers. First is what goes from block to block. Then comes what
blocks or head must know of the row, such as masks or inputs. Last is the number of the place. So
the module of a place runs with its own attributes and arguments, and blocks stay functions of a
state.

A place is one block, or several that follow each other in turn. The module may do something between
two blocks, such as leaving an encoder for a decoder. The block before runs that too. Then the
module is called with all blocks skipped, up to the next one.
"""

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from torch.utils._pytree import tree_flatten, tree_unflatten

from unshuffle.blocks.asking import Chunk, hidden_axes
from unshuffle.blocks.capture import (
    Beside,
    BlockCall,
    Call,
    Captured,
    Leaves,
    Segment,
    TorchTensors,
    calls_of,
    capture,
    is_state,
    no_output,
    real_tensors,
    runs_of,
)
from unshuffle.blocks.converted import Converted
from unshuffle.blocks.fitting import Layout, in_place, in_turn
from unshuffle.blocks.module_blueprint import parameters
from unshuffle.errors import RecordError, UsageError, first_line
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records


@dataclass(frozen=True)
class ReplayParameters:
    """Numbers that steer a replay, and say when it is one."""

    sample: int = 3  # Rows that the replay is compared with the module on.
    agreement: float = 1e-3  # Largest difference from the module, over the size of the states.
    turned: float = 1.25  # Factor on the weights of blocks, to see what follows from them.
    chunk: int = (
        1 << 18
    )  # Numbers of states that blocks are run on at a time, but one row at least.


STANDARD = ReplayParameters()


class CapturedError(Exception):
    """Ends a forward pass of which enough is known."""


@dataclass(eq=False)
class Replay:
    """A module whose blocks run by themselves, in the dtype of the module.

    The module is in evaluation mode and never changed. Each thread has a copy of its structure that
    shares the tensors. In another dtype, they are converted as they are used.
    """

    module: nn.Module
    # What the blocks of one layout have in common, by the names of their modules.
    layouts: Mapping[str, Layout]
    records: Records
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    steps: list[BlockCall] = field(init=False)  # the blocks in the order in which they run
    beside: list[Beside] = field(init=False)  # what they are given beside the state
    places: tuple[tuple[int, ...], ...] = field(init=False)  # the steps of each place
    _laid: tuple[bool, list[tuple[Segment, slice]]] = field(default_factory=lambda: (False, []))
    _states: list[Floats] = field(default_factory=list)
    _local: threading.local = field(default_factory=threading.local)
    _other: dict[torch.dtype, "Replay"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.given, self.module = self.module, _sharing(self.module, self.dtype, self.device)
        _set_apart(self.module, self.layouts, _itself(self.module))
        if not len(self.records):
            raise RecordError(
                f"{self.records.name} has no rows, but the module is run on some to see how its "
                "blocks are called; give it at least one row of inputs"
            )
        self.inputs = self.records.inputs[np.arange(STANDARD.sample) % len(self.records)]
        with torch.no_grad():
            self._capture()

    @property
    def numpy_dtype(self) -> np.dtype[np.floating]:
        """NumPy's name of the dtype that it computes in."""
        return np.dtype(str(self.dtype).removeprefix("torch."))

    def in_dtype(self, dtype: np.typing.DTypeLike) -> "Replay":
        """The same in another dtype of NumPy."""
        wanted = torch_dtype(dtype)
        if wanted is self.dtype:
            return self
        if wanted not in self._other:
            own = {self.dtype: self}
            try:
                self._other[wanted] = Replay(
                    self.given, self.layouts, self.records, wanted, self.device, _other=own
                )
            except RecordError as error:  # in its own dtype the module has read these rows
                said = first_line(error.__cause__ or error).rstrip(".")
                raise UsageError(
                    f"forward of {type(self.module).__name__} cannot run in {np.dtype(dtype)} "
                    f"({said}); rounding is measured in double precision, so let the module use "
                    "operations that run in float32 and in float64"
                ) from error
        return self._other[wanted]

    def filled(self, tensors: Mapping[str, Floats]) -> nn.Module:
        """A copy of the given module, in its dtypes, with other tensors of its names."""
        module = copy.deepcopy(self.given).eval().requires_grad_(False)
        state = {name: torch.tensor(values) for name, values in tensors.items()}
        module.load_state_dict(state)
        if any(not torch.equal(one, state[name]) for name, one in module.state_dict().items()):
            _set_apart(module, self.layouts, {})
            module.load_state_dict(state)
        return module

    @property
    def blocks(self) -> list[list[str]]:
        """The names of the blocks in each place, in the order in which they run."""
        return [[*dict.fromkeys(self.steps[k].name for k in steps)] for steps in self.places]

    # What is found out of the module, once.

    def _capture(self) -> None:
        """See what the blocks are called with, and compare the replay with the module."""

        def calls(inputs: Floats, tensors: TorchTensors) -> Captured:
            return calls_of(
                self.module, self.layouts, lambda: self._forward(self.module, inputs, tensors)
            )

        names, all_rows, output = calls(self.inputs, {})
        self._refuse_not_finite(names, all_rows, output)
        _, fewer, _ = calls(self.inputs[1:], {})
        _, turned, _ = calls(self.inputs, self._turned(names))
        layouts = [self.layouts[name] for name in names]
        self.steps, self.beside = capture(names, layouts, all_rows, fewer, turned)
        runs = runs_of(names)
        turns = in_turn([layouts[steps[0]] for steps in runs])
        self.places = tuple(tuple(step for k in place for step in runs[k]) for place in turns)
        self.width = max(one.width for step in self.steps for one in (step.given, step.made))
        self.live = self.width + sum(one.part.width for one in self.beside if one.origin)
        self.needs_inputs = any(step.bridged for step in self.steps[1:])
        self._compare(all_rows, output)

    def _refuse_not_finite(
        self, names: Sequence[str], calls: Sequence[Call], output: torch.Tensor
    ) -> None:
        """States that are not finite cannot be compared; say which tensor they may come from."""
        made = {
            **{f"block {name}": call.given for name, call in zip(names, calls, strict=True)},
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

    def _turned(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """The module's tensors with other weights in all blocks."""
        return {
            f"{name}.{key}": Converted(values, self.dtype, STANDARD.turned)
            for name in {*names}
            for key, values in real_tensors(self.module.get_submodule(name)).items()
        }

    def _forward(self, module: nn.Module, inputs: Floats, tensors: TorchTensors) -> torch.Tensor:
        """The output of a module with other tensors for rows of inputs: shape (rows, outputs)."""
        arguments = self._arguments(inputs)
        args, kwargs = self._given(arguments)
        try:
            # Blocks that are one module in the given one may differ here.
            found = functional_call(module, dict(tensors), args, kwargs, tie_weights=False)
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
        said = first_line(error).rstrip(".")
        return (
            f"{self.records.name}: forward of {type(self.module).__name__} was given {given}, and "
            f"cannot read that ({said}); give arrays of the shapes, dtypes and values that its "
            f"parameters need ({', '.join(parameters(self.module))}), as .npz or by Records.named"
        )

    def _given(
        self, arguments: Mapping[str, torch.Tensor]
    ) -> tuple[tuple[torch.Tensor, ...], dict[str, Any]]:
        """Positional and named arguments for the module; a record of plain rows names none."""
        extra = {"use_cache": False} if "use_cache" in parameters(self.module) else {}
        if self.records.fields:
            return (), {**arguments, **extra}
        return tuple(arguments.values()), extra

    def _arguments(self, inputs: Floats) -> dict[str, torch.Tensor]:
        """Rows of inputs as tensors, by the parameters of the module's forward."""
        arrays: Mapping[str, NDArray[Any]] = self.records.arrays(inputs) or {"inputs": inputs}
        tensors = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
        return {
            name: one.to(self.device, self.dtype if one.is_floating_point() else one.dtype)
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
            step = (
                "call it prediction" if isinstance(found, torch.Tensor) else "name a part of that"
            )
            raise RecordError(
                f"{self.records.name} has the output {part!r}, but the module gives a "
                f"{type(found).__name__}{has}; {step}"
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
        if not any(one.is_floating_point() for one in tensors):
            raise no_output(found, tensors)
        shapes = ", ".join(str(tuple(one.shape)) for one in tensors)
        raise RecordError(
            f"{self.records.name} has {outputs} numbers of prediction a row, but for {rows} rows "
            f"the module gives tensors of shape {shapes}; record its output, rows on the first axis"
        )

    def _compare(self, calls: Sequence[Call], output: torch.Tensor) -> None:
        """Compare the replay with the module, on all rows of the sample and on fewer."""
        for rows in (slice(None), slice(1, None)):
            state = self.enter(self.inputs[rows])
            for place, steps in enumerate(self.places):
                state = self.run(self.own(place), state)
                after = steps[-1] + 1
                bridged = after < len(self.steps) and self.steps[after].bridged
                wanted = calls[steps[-1]].given
                if bridged:
                    wanted = calls[after].leaves[self.steps[after].state]
                got = torch.from_numpy(state[:, : _width(wanted)]).to(wanted)
                if not _close(got, wanted[rows].reshape(len(got), -1)):
                    raise self._differs(f"block {self.steps[steps[0]].name}")
            if not _close(torch.from_numpy(self.leave(state)).to(output), output[rows]):
                if not self.needs_inputs:
                    self.needs_inputs = True
                    return self._compare(calls, output)
                raise self._differs("what follows the last block")
        return None

    def _differs(self, part: str) -> UsageError:
        """Says that a part of the module is no function of what it is given."""
        return UsageError(
            f"{part} does not do the same again when it is run by itself, or on other rows; put "
            "rows on the first axis (batch_first=True?); put its skip connection into it; switch "
            "off what it draws (dropout outside of nn.Dropout?) and keeps from call to call "
            "(a cache?)"
        )

    def own(self, place: int) -> dict[str, torch.Tensor]:
        """The module's own tensors of a place, by the names that they have there."""
        return {
            key: values
            for name, tensors in self._modules(place).items()
            for key, values in tensors.items()
        }

    def _modules(self, place: int) -> dict[str, dict[str, torch.Tensor]]:
        """Tensors of a place by module, and by the names that they have in the place."""
        blocks = self.blocks[place]
        return {
            block: {
                in_place(turn, len(blocks), name): values
                for name, values in real_tensors(self.module.get_submodule(block)).items()
            }
            for turn, block in enumerate(blocks)
        }

    def names(self, place: int) -> dict[str, str]:
        """The names of a place's tensors in the module, by their names in the place."""
        blocks = self.blocks[place]
        return {
            in_place(turn, len(blocks), name): f"{block}.{name}"
            for turn, block in enumerate(blocks)
            for name in real_tensors(self.module.get_submodule(block))
        }

    def states(self) -> list[Floats]:
        """The states of a few rows before each place, by the module's own weights."""
        if not self._states:
            self._states = [self.enter(self.inputs)]
            for place in range(len(self.places) - 1):
                self._states.append(self.run(self.own(place), self._states[-1]))
        return self._states

    def hidden(self, place: int) -> list[list[Chunk]]:
        """Axes of the tensors of a place, or chunks, that are the same hidden units."""
        state = self.states()[place][:1]

        def run(tensors: Mapping[str, Floats]) -> Floats:
            given = {name: torch.from_numpy(one).to(self.device) for name, one in tensors.items()}
            return self.run(given, state)[:, : self.width]

        own = self.own(place)
        return hidden_axes(run, {name: one.cpu().numpy() for name, one in own.items()})

    def statistics(self, tensors: TorchTensors, x: Floats) -> dict[str, Floats]:
        """The limits of a block's buffers for states of one place. Only those that move.

        Modules that own persistent buffers are run as in training. A buffer that moves a part of
        the way towards a statistic comes to rest at it.
        """
        place, rows = next(self._by_place(x))
        states = self._tensor(x[rows])
        blocks = [self._structure().get_submodule(name) for name in self.blocks[place]]
        keeping = [one for block in blocks for one in block.modules() if _persistent(one)]
        # Whole numbers are counted up in place, which must not reach the module.
        own = {
            in_place(turn, len(blocks), name): one
            for turn, block in enumerate(blocks)
            for name, one in block.state_dict().items()
        }
        names = sorted(
            in_place(turn, len(blocks), f"{within}.{name}" if within else name)
            for turn, block in enumerate(blocks)
            for within, one in block.named_modules()
            for name in _persistent(one)
        )
        moved = []
        for begin in (0.0, 1.0):
            begun = {name: torch.full_like(tensors[name], begin) for name in names}
            given = {**{name: one.clone() for name, one in own.items()}, **tensors, **begun}
            try:
                for one in keeping:
                    one.training = True
                with torch.no_grad():
                    self._moved(place, given, states)
            finally:
                for one in keeping:
                    one.training = False
            moved.append(begun)
        left = {n: moved[1][n] - moved[0][n] for n in moved[0]}
        return {
            n: (moved[0][n] / (1 - part)).cpu().numpy()
            for n, part in sorted(left.items())
            if bool((part < 1).all())
        }

    # The two functions of a block.

    def run(self, tensors: TorchTensors, x: Floats) -> Floats:
        """Run a block of given tensors on states (rows, width), each in the place it says."""
        most = max(1, STANDARD.chunk // x.shape[1])
        if len(x) > most:  # a block makes many more numbers of each state meanwhile
            parts = (x[start : start + most] for start in range(0, len(x), most))
            return np.concatenate([self.run(tensors, part) for part in parts])
        with torch.no_grad():
            after = x.copy()
            for place, rows in self._by_place(x):
                moved = self._moved(place, tensors, self._tensor(x[rows]))
                after[rows, : self.live] = moved[:, : self.live].cpu().numpy()
            after[:, -1] += 1
        return after

    def pull(self, tensors: TorchTensors, x: Floats, g: Floats) -> Floats:
        """Vector-Jacobian product of such a block at x for g of shape (outputs, rows, width)."""
        pulled = np.zeros_like(g)
        for place, rows in self._by_place(x):

            def moved(states: torch.Tensor, place: int = place) -> torch.Tensor:
                return self._moved(place, tensors, states)[:, : self.live]

            along = self._tensor(g[:, rows, : self.live])
            pulled[:, rows, : self.live] = self._pulled(moved, self._tensor(x[rows]), along)
        return pulled

    def _tensor(self, values: Floats) -> torch.Tensor:
        """A copy of numbers on the device."""
        return torch.tensor(values, device=self.device)

    def _pulled(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        states: torch.Tensor,
        g: torch.Tensor,
    ) -> Floats:
        """Derivatives by states, (rows, live), along each of g, (outputs, rows, made).

        The outputs are run as rows of one batch.
        """
        found = np.empty((len(g), len(states), self.live), self.numpy_dtype)
        size = max(1, STANDARD.chunk // states.numel())
        for start in range(0, len(g), size):
            part = g[start : start + size]
            with torch.enable_grad():
                many = states.repeat(len(part), 1).requires_grad_()
                made = function(many)
                # Cotangents as an argument would cost an import of seconds.
                (pulled,) = torch.autograd.grad((made * part.reshape(made.shape)).sum(), many)
            shape = len(part), len(states), self.live
            found[start : start + size] = pulled[:, : self.live].reshape(shape).cpu().numpy()
        return found

    def _by_place(self, x: Floats) -> Iterator[tuple[int, NDArray[np.intp] | slice]]:
        """The places that states are in, and the rows of each."""
        places = np.clip(x[:, -1], 0, len(self.places) - 1).astype(int)
        if len(x) and (places == places[0]).all():
            yield int(places[0]), slice(None)
            return
        for place in np.unique(places).tolist():
            yield place, np.flatnonzero(places == place)

    def _moved(self, place: int, tensors: TorchTensors, states: torch.Tensor) -> torch.Tensor:
        """States after a place, and after what the module does before the next block."""
        blocks = self.blocks[place]
        for step in self.places[place]:
            own, turn = tensors, f"{blocks.index(self.steps[step].name)}."
            if len(blocks) > 1:
                own = {n.removeprefix(turn): t for n, t in tensors.items() if n.startswith(turn)}
            made, beside = self._run(self.steps[step], own, states)
            states = self._with(states, made, beside)
            if step + 1 < len(self.steps) and self.steps[step + 1].bridged:
                states = self._bridge(step + 1, states)
        return states

    def _run(
        self, step: BlockCall, tensors: TorchTensors, states: torch.Tensor
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """What the block of a step makes of states, and gives beside it, with given tensors."""
        leaves = [*step.template]
        leaves[step.state] = self._state(states, step.given).clone()
        others = self._beside(states)
        for at, part in step.bound.items():
            leaves[at] = others[part]
        args, kwargs = tree_unflatten(leaves, step.spec)
        block = self._structure().get_submodule(step.name)
        found = tree_flatten(functional_call(block, dict(tensors), args, kwargs))[0]
        beside = {part: found[output] for part, output in step.makes.items()}
        return next(leaf for leaf in found if is_state(leaf)), beside

    def _bridge(self, at: int, states: torch.Tensor) -> torch.Tensor:
        """The states before a block, from those behind the one before it."""
        given = self._given_of(states)
        state = self._state(states, self.steps[at - 1].made)
        found = self._reached(at, lambda module: self._called(module, given), state, len(states))
        return self._with(states, *found)

    def _reached(
        self,
        at: int,
        call: Callable[[nn.Module], object],
        state: torch.Tensor | None,
        rows: int,
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """The state before a block, and what is made beside it, by calling the module.

        The blocks before it give a state, if there are any, and no block is run.
        """
        module, leaves = self._structure(), dict[int, Leaves]()
        parts = {k: one for k, one in enumerate(self.beside) if one.origin == at}
        wanted = {at, *(one.step for one in parts.values())}

        def reached(number: int, args: Any, kwargs: Any) -> None:
            if number in wanted:
                leaves[number] = tree_flatten((args, kwargs))[0]
                if wanted <= leaves.keys():
                    raise CapturedError

        with suppress(CapturedError), self._skipped(module, state, at, rows, reached):
            call(module)
        first = leaves[at][self.steps[at].state]
        return first, {k: leaves[one.step][one.argument] for k, one in parts.items()}

    def _with(
        self, states: torch.Tensor, state: torch.Tensor, parts: Mapping[int, torch.Tensor]
    ) -> torch.Tensor:
        """States with another tensor to go from block to block, and others beside it."""
        flat = state.reshape(len(states), -1).to(self.dtype)
        held = [functional.pad(flat, (0, self.width - flat.shape[1]))]
        for number, (part, columns) in enumerate(self._columns()):
            if number in parts:
                held.append(part.packed(parts[number], len(states), self.dtype))
            else:
                held.append(states[:, columns])
        return torch.cat([*held, states[:, -1:]], 1)

    def _columns(self) -> list[tuple[Segment, slice]]:
        """What states hold beside, and where: what blocks have a part in comes first."""
        if not self._laid[1] or self._laid[0] != self.needs_inputs:
            parts = [one.part for one in self.beside]
            if self.needs_inputs:
                inputs = self._arguments(self.inputs).values()
                parts += [Segment(tuple(one.shape[1:]), one.dtype) for one in inputs]
            ends = np.cumsum([self.width, *(one.width for one in parts)]).tolist()
            slices = [slice(a, b) for a, b in pairwise(ends)]
            self._laid = self.needs_inputs, [*zip(parts, slices, strict=True)]
        return self._laid[1]

    def _state(self, states: torch.Tensor, part: Segment) -> torch.Tensor:
        """The tensor that goes from block to block."""
        return part.unpacked(states[:, : part.width])

    def _beside(self, states: torch.Tensor) -> list[torch.Tensor]:
        """The tensors beside it."""
        return [part.unpacked(states[:, columns]) for part, columns in self._columns()]

    def _given_of(self, states: torch.Tensor) -> dict[str, torch.Tensor]:
        """The inputs of rows of states; those of any row where nothing more needs them."""
        first = self._arguments(self.inputs[:1])
        if self.needs_inputs:
            return dict(zip(first, self._beside(states)[-len(first) :], strict=True))
        return {name: one.expand(len(states), *one.shape[1:]) for name, one in first.items()}

    def _structure(self) -> nn.Module:
        """The module as this thread may change it for a moment: its tensors are shared."""
        if not hasattr(self._local, "module"):
            self._local.module = copy.deepcopy(self.module, _itself(self.module))
        module: nn.Module = self._local.module
        return module

    # The two ends.

    def enter(self, inputs: Floats) -> Floats:
        """The first state of rows of inputs: shape (rows, width)."""
        rows, arguments = len(inputs), self._arguments(inputs)
        with torch.no_grad():
            first, parts = self._reached(
                0, lambda module: self._forward(module, inputs, {}), None, rows
            )
            if self.needs_inputs:
                parts |= dict(enumerate(arguments.values(), len(self.beside)))
            width = max([self.width, *(columns.stop for _, columns in self._columns())])
            empty = torch.zeros(rows, width + 1, dtype=self.dtype, device=self.device)
            state: Floats = self._with(empty, first, parts).cpu().numpy()
        return state

    def leave(self, state: Floats) -> Floats:
        """The output, shape (rows, outputs), of last states."""
        with torch.no_grad():
            output: Floats = self._head(self._tensor(state)).cpu().numpy()
        return output

    def pull_ends(self, state: Floats, probes: Floats | None) -> Floats:
        """Derivatives of projections of the output by the last state."""
        states = self._tensor(state)
        outputs = self.leave(state[:1]).shape[1]
        probes = np.eye(outputs) if probes is None else probes
        along = self._tensor(probes).to(self.dtype)[:, None].expand(-1, len(states), -1)
        found = np.zeros((len(probes), *state.shape), state.dtype)
        found[..., : self.live] = self._pulled(self._head, states, along)
        return found

    def _head(self, states: torch.Tensor) -> torch.Tensor:
        """What follows the last block, on rows of states."""
        module, given = self._structure(), self._given_of(states)
        state = self._state(states, self.steps[-1].made).clone()
        with self._skipped(module, state, len(self.steps), len(states)):
            return self._first(self._called(module, given), len(states)).to(self.dtype)

    def _called(self, module: nn.Module, arguments: Mapping[str, torch.Tensor]) -> object:
        args, kwargs = self._given(arguments)
        return module(*args, **kwargs)

    @contextmanager
    def _skipped(
        self,
        module: nn.Module,
        state: torch.Tensor | None,
        before: int,
        rows: int,
        seen: Callable[[int, Any, Any], None] = lambda *_: None,
    ) -> Iterator[None]:
        """Let all blocks before a step give a state of their shape, and run none of them."""
        names = [step.name for step in self.steps]
        runs = {module.get_submodule(names[steps[0]]): iter(steps) for steps in runs_of(names)}

        def forward(steps: Iterator[int], *args: Any, **kwargs: Any) -> Any:
            number = next(steps)
            seen(number, args, kwargs)
            step = self.steps[number]
            shape = (rows, *step.made.shape)
            held = state if number < before and state is not None else None
            if held is None or held.shape != shape:
                held = torch.zeros(shape, dtype=step.made.dtype, device=self.device)
            first = next(at for at, leaf in enumerate(step.output) if is_state(leaf))
            return tree_unflatten(
                [*step.output[:first], held, *step.output[first + 1 :]], step.output_spec
            )

        for block, steps in runs.items():
            block.forward = partial(forward, steps)
        try:
            yield
        finally:
            for block in runs:
                del block.forward


def _width(values: torch.Tensor) -> int:
    return int(np.prod(values.shape[1:], dtype=int))


def _sharing(module: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """A copy of a module in another dtype that shares its tensors, where they are on the device."""

    def shared(one: torch.Tensor) -> torch.Tensor:
        there = one.detach().to(device)
        other = there.is_floating_point() and there.dtype != dtype
        return Converted(there, dtype) if other else there

    memo: dict[int, object] = {
        id(one): nn.Parameter(shared(one), requires_grad=False) for one in module.parameters()
    }
    memo |= {id(one): shared(one) for one in module.buffers()}
    return copy.deepcopy(module, memo).eval()


def _itself(module: nn.Module) -> dict[int, object]:
    """What a copy of a module takes as it is: the tensors."""
    return {id(one): one for one in (*module.parameters(), *module.buffers())}


def _set_apart(module: nn.Module, blocks: Iterable[str], kept: Mapping[int, object]) -> None:
    """Give each block a module of its own, where one module stands under several names."""
    seen: set[nn.Module] = set()
    for name in blocks:
        block = module.get_submodule(name)
        if block in seen:
            parent, _, child = name.rpartition(".")
            module.get_submodule(parent).add_module(child, copy.deepcopy(block, dict(kept)))
        seen.add(block)


def _persistent(module: nn.Module) -> list[str]:
    """Names of the persistent buffers of real numbers that a module itself owns."""
    own = module.state_dict(keep_vars=True)
    buffers = module.named_buffers(recurse=False)
    return [name for name, one in buffers if one.is_floating_point() and name in own]


def torch_dtype(dtype: np.typing.DTypeLike) -> torch.dtype:
    """PyTorch's name of a dtype of NumPy in which networks compute."""
    return torch.float64 if np.dtype(dtype) == np.float64 else torch.float32


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of one shape agree, beside the size of the second."""
    size = float(other.abs().max()) if other.numel() else 0.0
    return bool((one - other).abs().max() <= STANDARD.agreement * size)
