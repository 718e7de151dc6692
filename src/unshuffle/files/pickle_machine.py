"""A stack machine for pickles that hold arrays. It runs nothing and imports nothing.

A pickle is a program. Python's own reader of it calls whatever the program names. So opening a file
means trusting it. This machine treats every name as a symbol. The few of `_CALLS` stand for arrays
of torch and NumPy, which are described and not made. Any other call becomes a note of its
arguments. They may hold more arrays: those of a whole module, or of a checkpoint. A pickle is
refused if it names what could act on the machine.

The opcodes are those of pickle protocols 2 to 5, described in Python's `pickletools`.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeGuard

import numpy as np

from unshuffle.errors import FileError, shown
from unshuffle.files import limits
from unshuffle.files.tensors import INTEGER_BYTES, ITEM_BYTES

_ADVICE = "save the state dict alone: torch.save(module.state_dict(), path)"

_SHORT = 4096  # bytes of a pickle that is remembered: that of a piece has 300

# What begins a file of torch before 1.6: this number, pickled.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

_STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.storage.UntypedStorage": "uint8",
    # The rest are known only so that the dtype can be named when it is refused.
    "torch.ShortStorage": "int16",
    "torch.BoolStorage": "bool",
    "torch.ComplexFloatStorage": "complex64",
    "torch.ComplexDoubleStorage": "complex128",
}

_REFUSED_BYTES = {"int16": 2, "bool": 1, "complex64": 8, "complex128": 16}

# Names that could act on the machine which loads them. No file of weights has a use for them; the
# list protects nobody, since nothing is run, but who made the file may have meant harm to others.
_ACTS = re.compile(
    r"(os|posix|nt|sys|subprocess|pty|socket|shutil|runpy|importlib|ctypes|webbrowser|code|commands)"
    r"\..*|(builtins|__builtin__)\.(eval|exec|execfile|compile|open|__import__|input|breakpoint)"
)

_NUMBERS = re.compile("f[248]|[iu][1248]")  # the dtypes of numbers, as NumPy writes them

# Attributes in which a module of torch keeps what it holds; its state dict leaves them out.
_HOLDERS = ("_parameters", "_buffers", "_modules")


def read_pickle(program: bytes, source: str) -> dict[str, "StoredTensor"]:
    """Work through a pickle without running anything, and find the arrays in it.

    Their names are the keys and attributes that lead to them, with dots between, in the sequence of
    the file. An array that is all there is has the name "". `source` names the file in messages.
    """
    describe = _described if len(program) <= _SHORT else _described.__wrapped__
    try:
        return {**describe(program)}
    except FileError as error:
        raise FileError(f"{source}: {error}") from error


def is_legacy(content: bytes) -> bool:
    """Whether a file is one that torch before 1.6 wrote."""
    return content.startswith(_LEGACY)


def read_legacy(content: bytes, source: str) -> dict[str, "StoredTensor"]:
    """Find the arrays in a file of torch before 1.6: pickles in a row, then the numbers."""
    try:
        root, raw = _legacy(content)
        found = arrays_in(root)
        return {
            name: replace(tensor, storage=_held(tensor.storage, raw))
            for name, tensor in found.items()
        }
    except FileError as error:
        raise FileError(f"{source}: {error}") from error


@lru_cache(maxsize=4)
def _described(program: bytes) -> dict[str, "StoredTensor"]:
    """Work through a pickle; the errors do not name its file.

    The last few are remembered, since those of a pile's pieces differ by their shapes alone.
    """
    return arrays_in(_Machine(program).run())


def _legacy(content: bytes, *, nested: bool = False) -> tuple[object, dict[str, bytes]]:
    """The object in a file of torch before 1.6, and the bytes of its storages by their keys."""
    if not is_legacy(content):
        raise FileError(f"holds bytes that torch did not write; {_ADVICE}")
    machine = _Machine(content, nested=nested)
    _, version, system, root, keys = [machine.run() for _ in range(5)]
    little = isinstance(system, dict) and system.get("little_endian") is True
    if version != 1001 or not little or not isinstance(keys, list):
        raise FileError(f"is of a torch before 0.2, or of a machine of another kind; {_ADVICE}")
    raw = {}
    for key in keys:
        storage = machine.storages.get(key) if isinstance(key, str) else None
        if storage is None:
            raise FileError(f"lists a storage that no array has; {_ADVICE}")
        if machine.number(8) != storage.count:
            raise machine.refusal(f"declares another length for storage {shown(key)}")
        raw[storage.key] = machine.take(storage.count * bytes_of(storage.stored_as))
    return root, raw


def bytes_of(stored_as: str) -> int:
    """Bytes of a number. 1 where such numbers are refused."""
    return (ITEM_BYTES | INTEGER_BYTES | _REFUSED_BYTES).get(stored_as, 1)


def _held(storage: "Storage", raw: dict[str, bytes]) -> "Storage":
    if storage.content is not None:
        return storage
    if storage.key not in raw:
        raise FileError(f"storage {shown(storage.key)} is missing; copy or download it again")
    return replace(storage, content=raw[storage.key])


def arrays_in(root: object) -> dict[str, "StoredTensor"]:
    """All arrays below a value, by what leads to them. Each container is entered once."""
    for _ in range(limits.PICKLE_DEPTH):  # what only wraps another one has no say in names
        inside = root.entries if isinstance(root, _Object) else root
        if not isinstance(inside, dict) or len(inside) != 1:
            break
        (alone,) = inside.values()
        if not isinstance(alone, dict | _Object) or (isinstance(alone, _Object) and alone.array):
            break
        root = alone
    found: dict[str, StoredTensor] = {}
    entered: set[int] = set()
    waiting: list[tuple[str, object, int]] = [("", root, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        if isinstance(value, _Object) and value.array is not None:
            value = value.array
        if isinstance(value, StoredTensor):
            if name in found:
                raise FileError(f"holds two arrays called {shown(name)}; {_ADVICE}")
            found[name] = value
            continue
        if id(value) in entered or not isinstance(value, dict | list | tuple | _Object):
            continue
        if depth == limits.PICKLE_DEPTH:
            raise FileError(f"nests values more than {depth} deep; {_ADVICE}")
        limits.check_name(name, "a value")
        entered.add(id(value))
        inner = [(_path(name, value, key), each, depth + 1) for key, each in _entries(value)]
        waiting += reversed(inner)
    return found


def _entries(value: object) -> Iterator[tuple[str, object]]:
    """What a container holds, each by its key or place."""
    match value:
        case dict():
            yield from ((str(key), each) for key, each in value.items())
        case list() | tuple():
            if all(_is_named(each) for each in value):  # such as list(module.named_parameters())
                yield from value
            else:
                yield from ((str(place), each) for place, each in enumerate(value))
        case _Object():
            yield from value.entries.items()


def _is_named(value: object) -> bool:
    match value:
        case (str(name), StoredTensor()) if len(name) <= limits.NAME_CHARACTERS:
            return True
    return False


def _path(name: str, holder: object, key: str) -> str:
    """Name of a value in a holder; what a module keeps counts as the module's own."""
    if isinstance(holder, _Object) and key in _HOLDERS:
        return name
    return f"{name}.{key}" if name else key


def _kind(value: object) -> str:
    match value:
        case _Symbol():
            return f"the name {shown(value.name)}"
        case None:
            return "None"
    return f"a value of type {type(value).__name__.strip('_').lower()}"


@dataclass(frozen=True)
class Storage:
    """So many numbers in the record `key` of the archive, or in `content`."""

    key: str
    stored_as: str  # NumPy's or torch's name of the number format
    count: int
    content: bytes | None = field(default=None, repr=False)
    byteorder: str = "little"  # of the content


@dataclass(frozen=True)
class StoredTensor:
    """An array described: which numbers of which storage it takes; strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Symbol:
    """A name that the pickle would have imported."""

    name: str


@dataclass(eq=False)
class _Object:
    """What a call would have made: the name that was called and what it was given, by key."""

    name: str
    entries: dict[str, object] = field(default_factory=dict)
    array: StoredTensor | None = None


class _Machine:
    """The state of a run: the program and a position in it, a stack, its marks, and a memo."""

    def __init__(self, program: bytes, *, nested: bool = False) -> None:
        self.program = program
        self.nested = nested  # whether it is a part of another program
        self.position = 0
        self.unpacked = 0  # bytes that calls made or read: each of the program's twice, at most
        self.stack: list[object] = []
        self.marks: list[int] = []  # heights of the stack at which a tuple or entries begin
        self.memo: dict[int, object] = {}
        self.storages: dict[str, Storage] = {}

    def run(self) -> object:
        """Follow the next program to its end; what it leaves on the stack is the result."""
        self.stack, self.marks, self.memo = [], [], {}
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
            f"its pickle {what} at byte {self.position}, which no file of weights does; "
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

    def symbol(self, module: str, name: str) -> None:
        symbol = f"{module}.{name}"
        if _ACTS.fullmatch(symbol):
            raise self.refusal(f"would use {shown(symbol)} of whoever loads it with torch.load")
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
            case ("storage", _Symbol(kind), str(key), str(), int(count), *view) if (
                kind in _STORAGES and type(count) is int and count >= 0 and view in ([], [None])
            ):
                storage = Storage(key, _STORAGES[kind], count)
                self.storages[key] = storage
                self.push(storage)
            case ("module", _Symbol() as symbol, *_):
                self.push(symbol)
            case ("storage", _Symbol(kind), *_) if re.fullmatch(r"torch\.QU?Int.*", kind):
                raise FileError(
                    "holds tensors that torch quantised, which are not read; save each as floating "
                    "point numbers, by layer.weight().dequantize() and layer.bias()"
                )
            case _:
                raise self.refusal("refers to something else than a storage of numbers")

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Symbol) or not isinstance(arguments, tuple):
            raise self.refusal(f"calls {_kind(function)}")
        call = _CALLS.get(function.name)
        if function.name in _UNPACKING:
            self.unpacked += sum(len(each) for each in arguments if isinstance(each, str | bytes))
            if self.unpacked > 2 * len(self.program) or self.nested:
                raise self.refusal("unpacks the same bytes again")
        made = self.make(function, arguments) if call is None else call(arguments)
        if made is None:
            raise self.refusal(f"calls {_kind(function)} with other arguments")
        self.push(made)

    def make(self, function: _Symbol, arguments: tuple[object, ...]) -> _Object:
        return _Object(function.name, {str(n): each for n, each in enumerate(arguments)})

    def new(self) -> None:
        arguments, kind = self.pop(), self.pop()
        if not isinstance(kind, _Symbol) or not isinstance(arguments, tuple):
            raise self.refusal(f"makes a new {_kind(kind)}")
        self.push(self.make(kind, arguments))

    def new_with_names(self) -> None:
        named = self.pop()
        self.new()
        self.push(named)
        self.build()

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, dict):
            return  # torch attaches the modules' version numbers to its OrderedDict
        if not isinstance(target, _Object):
            raise self.refusal("sets the state of something else than an object")
        if target.name in _ARRAYS:
            found = _array(state)
            target.array = found if isinstance(found, StoredTensor) else None
            target.entries = {} if target.array else {"": found}
            return
        match state:
            case (dict() | None as attributes, dict() | None as slots):
                state = (attributes or {}) | (slots or {})
        attributes = state if isinstance(state, dict) else {"state": state}
        target.entries.update((str(key), value) for key, value in attributes.items())

    def set_entries(self, entries: list[object]) -> None:
        target = self.top()
        target = target.entries if isinstance(target, _Object) else target
        if not isinstance(target, dict) or len(entries) % 2:
            raise self.refusal("sets entries of something else than a dictionary")
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            # Other keys are no names, and hashing them may take long.
            is_name = isinstance(key, str) and len(key) <= limits.NAME_CHARACTERS
            target[key if is_name or isinstance(key, int) else f"?{len(target)}"] = value

    def set_entry(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_entries([key, value])

    def append(self, values: list[object]) -> None:
        target = self.top()
        match target:
            case list():
                target += values
            case _Object():
                for value in values:
                    target.entries[str(len(target.entries))] = value
            case _:
                raise self.refusal("appends to something else than a list")


def _tensor(arguments: tuple[object, ...]) -> StoredTensor | None:
    match arguments:
        case (Storage() as storage, int(offset), shape, strides, bool(), hooks, *flags) if (
            are_counts((offset,))
            and are_counts(shape)
            and are_counts(strides)
            and len(shape) == len(strides) <= limits.DIMENSIONS
            and hooks == {}
            and flags in ([], [None], [{}])  # a flag might say "negate when read"
        ):
            return StoredTensor(storage, offset, shape, strides)
    return None


def are_counts(value: object) -> TypeGuard[tuple[int, ...]]:
    """Whether a value is a tuple of numbers that count something."""
    return isinstance(value, tuple) and all(type(n) is int and n >= 0 for n in value)


def _parameter(arguments: tuple[object, ...]) -> StoredTensor | None:
    match arguments:
        case (StoredTensor() as tensor, bool(), hooks) if hooks == {}:
            return tensor
    return None


def _wrapped(arguments: tuple[object, ...]) -> object:
    """What a call was given first: an array whose other arguments say where it was kept."""
    return arguments[0] if arguments and isinstance(arguments[0], StoredTensor | _Object) else None


def _tensor_v3(arguments: tuple[object, ...]) -> StoredTensor | None:
    match arguments:
        case (Storage() as storage, int(), tuple(), tuple(), bool(), _, _Symbol(dtype), *_):
            kind = dtype.removeprefix("torch.")
            typed = replace(storage, stored_as=kind, count=storage.count // bytes_of(kind))
            return _tensor((typed, *arguments[1:6]))
    return None


def _loaded(arguments: tuple[object, ...]) -> Storage | None:
    """A storage that is a file of its own, as `pickle.dump` keeps it."""
    match arguments:
        case (bytes(content),):
            storage, raw = _legacy(content, nested=True)
            return _held(storage, raw) if isinstance(storage, Storage) else None
    return None


def _array(state: object) -> object:
    """The array of NumPy that has a state; what it holds where it is one of objects."""
    match state:
        case (int(), shape, _Object() as dtype, bool(fortran), bytes(content)):
            return _numpy(content, shape, dtype, fortran=fortran)
        case (int(), _, _, bool(), list(values)):
            return values[0] if len(values) == 1 else values
    return None


def _numpy(content: bytes, shape: object, dtype: _Object, *, fortran: bool) -> StoredTensor | None:
    """An array of NumPy that holds these bytes; None where they are no numbers."""
    kind, order = "", "<"
    match dtype.entries:
        case {"0": str(code), "state": (_, str(order), *_)} if _NUMBERS.fullmatch(code):
            kind = np.dtype(code).name
        case {"0": _Symbol("ml_dtypes.bfloat16")}:
            kind = "bfloat16"
    if not kind or not are_counts(shape) or len(shape) > limits.DIMENSIONS:
        return None
    count = len(content) // bytes_of(kind)
    storage = Storage("", kind, count, content, "big" if order == ">" else "little")
    strides = [1]
    for extent in shape if fortran else reversed(shape):
        strides.append(strides[-1] * extent)
    strides = strides[: len(shape)]
    return StoredTensor(storage, 0, shape, tuple(strides if fortran else reversed(strides)))


def _of_buffer(arguments: tuple[object, ...]) -> StoredTensor | None:
    match arguments:
        case (bytes(content), _Object() as dtype, shape, str(order)):
            return _numpy(content, shape, dtype, fortran=order == "F")
    return None


def _of_jax(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (_, _, state, *_):
            return _array(state)
    return None


def _encoded(arguments: tuple[object, ...]) -> bytes | None:
    """Bytes, as protocol 2 keeps them."""
    match arguments:
        case (str(text), "latin1"):
            return text.encode("latin1", "replace")
    return None


_UNPACKING = ("_codecs.encode", "torch.storage._load_from_bytes")

_ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")

_CALLS: dict[str, Callable[[tuple[object, ...]], object]] = {
    "collections.OrderedDict": lambda arguments: None if arguments else {},
    "torch._utils._rebuild_tensor": lambda arguments: _tensor((*arguments, False, {})),
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": lambda arguments: _parameter(arguments[:3]),
    "torch._utils._rebuild_device_tensor_from_numpy": _wrapped,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _wrapped,
    "torch.storage._load_from_bytes": _loaded,
    "numpy.core.numeric._frombuffer": _of_buffer,
    "numpy._core.numeric._frombuffer": _of_buffer,
    "jax._src.array._reconstruct_array": _of_jax,
    "_codecs.encode": _encoded,
}

_STOP = ord(".")

_STEPS: dict[int, Callable[[_Machine], object]] = {
    0x80: lambda m: m.protocol(),
    0x95: lambda m: m.take(8),  # the size of a frame, of use only to a reader that buffers
    ord("("): lambda m: m.mark(),
    ord("0"): lambda m: m.pop(),
    ord("1"): lambda m: m.pop_to_mark(),
    ord("2"): lambda m: m.push(m.top()),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(m.number(4, signed=True)),
    ord("K"): lambda m: m.push(m.byte()),
    ord("M"): lambda m: m.push(m.number(2)),
    0x8A: lambda m: m.push(m.number(m.byte(), signed=True)),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    ord("X"): lambda m: m.push(m.text(m.number(4))),
    0x8C: lambda m: m.push(m.text(m.byte())),
    0x8D: lambda m: m.push(m.text(m.number(8))),
    ord("B"): lambda m: m.push(m.take(m.number(4))),
    ord("C"): lambda m: m.push(m.take(m.byte())),
    0x8E: lambda m: m.push(m.take(m.number(8))),
    0x96: lambda m: m.push(m.take(m.number(8))),  # a byte array
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: m.push_tuple(1),
    0x86: lambda m: m.push_tuple(2),
    0x87: lambda m: m.push_tuple(3),
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),
    ord("]"): lambda m: m.push([]),
    0x8F: lambda m: m.push([]),  # a set
    0x91: lambda m: m.push(m.pop_to_mark()),  # a frozen set
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.pop_to_mark()),
    0x90: lambda m: m.append(m.pop_to_mark()),
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
    0x81: lambda m: m.new(),
    0x92: lambda m: m.new_with_names(),
    ord("b"): lambda m: m.build(),
}


def _opcode(code: int) -> str:
    import pickletools  # describes opcodes; runs none

    names = (known.name for known in pickletools.opcodes if known.code == chr(code))
    return next(names, f"0x{code:02x}")
