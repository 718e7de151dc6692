"""A stack machine for the pickle of a torch state dict; it runs nothing and imports nothing.

A pickle is a program. Python's own reader of it calls whatever the program names, so opening a file
means trusting it. This machine knows only the opcodes that `torch.save` writes for a dictionary of
tensors and only the seven kinds of names in `_CALLS` and `_STORAGES`, which it treats as symbols:
what comes out is a description of tensors, and everything else is refused.

The opcodes are those of pickle protocols 2 to 5, described in Python's `pickletools`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeGuard

from unshuffle.errors import FileError
from unshuffle.files import limits
from unshuffle.files.opening import shown

_ADVICE = "save the state dict alone: torch.save(module.state_dict(), path)"

_SHORT = 4096  # bytes of a pickle that is remembered: that of a piece has 300

_STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    # The rest are known only so that the dtype can be named when it is refused.
    "torch.ShortStorage": "int16",
    "torch.BoolStorage": "bool",
    "torch.ComplexFloatStorage": "complex64",
    "torch.ComplexDoubleStorage": "complex128",
}


def read_state_dict(program: bytes, source: str) -> dict[str, "StoredTensor"]:
    """Work through the pickle of a state dict without running anything that it names.

    The tensors come by name, in the sequence of the file. A dictionary that holds nothing but one
    other dictionary, such as {"state_dict": {...}}, is replaced by the inner one. `source` names
    the file in messages. A FileError says what a state dict of tensors has no need of.
    """
    describe = _described if len(program) <= _SHORT else _described.__wrapped__
    try:
        return {**describe(program)}
    except FileError as error:
        raise FileError(f"{source}: {error}") from error


@lru_cache(maxsize=4)
def _described(program: bytes) -> dict[str, "StoredTensor"]:
    """Work through a pickle; the errors do not name its file.

    The last few are remembered, since those of a pile's pieces differ by their shapes alone.
    """
    found = _Machine(program).run()
    if isinstance(found, dict) and len(found) == 1:
        (inner,) = found.values()
        found = inner if isinstance(inner, dict) else found
    if not isinstance(found, dict):
        raise FileError(f"holds {_kind(found)}, not a dictionary of tensors; {_ADVICE}")
    tensors = {}
    for name, value in found.items():
        if not isinstance(value, StoredTensor):
            raise FileError(
                f"{shown(name)} is {_kind(value)}, but every entry of a state dict must be a "
                f"tensor; {_ADVICE}"
            )
        tensors[name] = value
    return tensors


def _kind(value: object) -> str:
    match value:
        case StoredTensor():
            return "a tensor"
        case dict():
            return "a dictionary"
        case _Symbol():
            return f"the name {shown(value.name)}"
        case None:
            return "None"
    return f"a value of type {type(value).__name__.strip('_').lower()}"


@dataclass(frozen=True)
class Storage:
    """So many numbers in the record `key` of the archive."""

    key: str
    stored_as: str  # NumPy's or torch's name of the number format
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor described: which numbers of which storage it takes; strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Symbol:
    """A name that the pickle would have imported."""

    name: str


class _Machine:
    """The state of a run: the program and a position in it, a stack, its marks, and a memo."""

    def __init__(self, program: bytes) -> None:
        self.program = program
        self.position = 0
        self.stack: list[object] = []
        self.marks: list[int] = []  # heights of the stack at which a tuple or entries begin
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        """Follow the program to its end; what it leaves on the stack is the result."""
        for _ in range(limits.PICKLE_STEPS):
            code = self.byte()
            if code == _STOP:
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                raise self.refusal(f"uses opcode {_opcode(code)}")
            step(self)
            if len(self.stack) > limits.PICKLE_STACK:
                raise self.refusal(f"stacks more than {limits.PICKLE_STACK} values")
        raise self.refusal(f"takes more than {limits.PICKLE_STEPS} steps")

    def refusal(self, what: str) -> FileError:
        return FileError(
            f"its pickle {what} at byte {self.position}, which a state dict of tensors does not; "
            f"nothing was run; {_ADVICE}"
        )

    # What steps are made of.

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.program):
            raise self.refusal("is cut short")
        taken = self.program[self.position : end]
        self.position = end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def text(self, size: int) -> str:
        if size > limits.NAME_CHARACTERS:
            raise self.refusal(f"holds a text of {size} bytes")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise self.refusal("holds a text that is not UTF-8") from error

    def line(self) -> str:
        end = self.program.find(b"\n", self.position, self.position + limits.NAME_CHARACTERS)
        if end < 0:
            raise self.refusal("holds a name without an end")
        text = self.text(end - self.position)
        self.position += 1
        return text

    def top(self) -> object:
        floor = self.marks[-1] if self.marks else 0
        if len(self.stack) <= floor:
            raise self.refusal("takes a value from an empty stack")
        return self.stack[-1]

    def pop(self) -> object:
        value = self.top()
        self.stack.pop()
        return value

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise self.refusal("ends a tuple or dictionary that it did not begin")
        begin = self.marks.pop()
        values = self.stack[begin:]
        del self.stack[begin:]
        return values

    # Steps, each an opcode or a family of them.

    def protocol(self) -> None:
        protocol = self.byte()
        if not 2 <= protocol <= 5:
            raise self.refusal(f"is of protocol {protocol}")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        if len(self.marks) == limits.PICKLE_MARKS:
            raise self.refusal(f"nests more than {limits.PICKLE_MARKS} deep")
        self.marks.append(len(self.stack))

    def push_tuple(self, size: int) -> None:
        values = [self.pop() for _ in range(size)]
        self.push(tuple(reversed(values)))

    def symbol(self, module: object, name: object) -> None:
        symbol = f"{module}.{name}"
        if symbol not in _CALLS and symbol not in _STORAGES:
            raise self.refusal(f"names {shown(symbol)}")
        self.push(_Symbol(symbol))

    def stack_symbol(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise self.refusal("names something by what is not a text")
        self.symbol(module, name)

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise self.refusal(f"recalls value {key}, which it never kept")
        self.push(self.memo[key])

    def keep(self, key: int) -> None:
        self.memo[key] = self.top()

    def storage(self) -> None:
        match self.pop():
            case ("storage", _Symbol(kind), str(key), str(), int(count)) if (
                kind in _STORAGES and type(count) is int and count >= 0
            ):
                self.push(Storage(key, _STORAGES[kind], count))
            case _:
                raise self.refusal("refers to something else than a storage of numbers")

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        make = _CALLS.get(function.name) if isinstance(function, _Symbol) else None
        if make is None:
            raise self.refusal(f"calls {_kind(function)}")
        if not isinstance(arguments, tuple) or (made := make(arguments)) is None:
            raise self.refusal(f"calls {_kind(function)} with other arguments")
        self.push(made)

    def build(self) -> None:
        # torch attaches the modules' version numbers to the OrderedDict: not needed here.
        state = self.pop()
        if not isinstance(state, dict) or not isinstance(self.top(), dict):
            raise self.refusal("sets the state of something else than a dictionary")

    def set_entries(self, entries: list[object]) -> None:
        target = self.top()
        if not isinstance(target, dict) or len(entries) % 2:
            raise self.refusal("sets entries of something else than a dictionary")
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            if not isinstance(key, str):
                raise self.refusal("has a dictionary whose keys are not texts")
            target[key] = value

    def set_entry(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_entries([key, value])


def _tensor(arguments: tuple[object, ...]) -> StoredTensor | None:
    match arguments:
        case (Storage() as storage, int(offset), shape, strides, bool(), hooks, *flags) if (
            _are_counts((offset,))
            and _are_counts(shape)
            and _are_counts(strides)
            and len(shape) == len(strides) <= limits.DIMENSIONS
            and hooks == {}
            and flags in ([], [None], [{}])  # a flag might say "negate when read"
        ):
            return StoredTensor(storage, offset, shape, strides)
    return None


def _are_counts(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and all(type(n) is int and n >= 0 for n in value)


def _parameter(arguments: tuple[object, ...]) -> StoredTensor | None:
    match arguments:
        case (StoredTensor() as tensor, bool(), hooks) if hooks == {}:
            return tensor
    return None


_CALLS: dict[str, Callable[[tuple[object, ...]], object]] = {
    "collections.OrderedDict": lambda arguments: None if arguments else {},
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}

_STOP = ord(".")

_STEPS: dict[int, Callable[[_Machine], object]] = {
    0x80: lambda m: m.protocol(),
    0x95: lambda m: m.take(8),  # the size of a frame, of use only to a reader that buffers
    ord("("): lambda m: m.mark(),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(m.number(4, signed=True)),
    ord("K"): lambda m: m.push(m.byte()),
    ord("M"): lambda m: m.push(m.number(2)),
    ord("X"): lambda m: m.push(m.text(m.number(4))),
    0x8C: lambda m: m.push(m.text(m.byte())),
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: m.push_tuple(1),
    0x86: lambda m: m.push_tuple(2),
    0x87: lambda m: m.push_tuple(3),
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),
    ord("}"): lambda m: m.push({}),
    ord("s"): lambda m: m.set_entry(),
    ord("u"): lambda m: m.set_entries(m.pop_to_mark()),
    ord("h"): lambda m: m.recall(m.byte()),
    ord("j"): lambda m: m.recall(m.number(4)),
    ord("q"): lambda m: m.keep(m.byte()),
    ord("r"): lambda m: m.keep(m.number(4)),
    0x94: lambda m: m.keep(len(m.memo)),
    ord("c"): lambda m: m.symbol(m.line(), m.line()),
    0x93: lambda m: m.stack_symbol(),
    ord("Q"): lambda m: m.storage(),
    ord("R"): lambda m: m.call(),
    ord("b"): lambda m: m.build(),
}


def _opcode(code: int) -> str:
    import pickletools  # describes opcodes; runs none

    names = (known.name for known in pickletools.opcodes if known.code == chr(code))
    return next(names, f"0x{code:02x}")
