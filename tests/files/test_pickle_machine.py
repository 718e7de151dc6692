"""Pickles that ask for anything but tensors are refused, and nothing that they name is run."""

import pickle
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.errors import FileError
from unshuffle.files import limits
from unshuffle.files.pickle_machine import Storage, StoredTensor, read_pickle


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


STORAGE = (
    b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x06tQ"
)
NO_HOOKS = named("collections", "OrderedDict") + b")R"
REBUILD = named("torch._utils", "_rebuild_tensor_v2")
TENSOR = REBUILD + b"(" + STORAGE + b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89" + NO_HOOKS + b"tR"
PARAMETER = named("torch._utils", "_rebuild_parameter") + TENSOR + b"\x88" + NO_HOOKS + b"\x87R"
DESCRIBED = StoredTensor(Storage("0", "float32", 6), 0, (2, 3), (3, 1))


def program(value: bytes, name: str = "weight") -> bytes:
    return b"\x80\x02}" + text(name) + value + b"s."


def test_a_tensor_is_described() -> None:
    assert read_pickle(program(TENSOR), "file") == {"weight": DESCRIBED}


def test_a_parameter_is_its_tensor() -> None:
    assert read_pickle(program(PARAMETER), "file") == {"weight": DESCRIBED}


def test_wrappers_have_no_say_in_names() -> None:
    inner = b"}" + text("weight") + TENSOR + b"s"
    assert read_pickle(program(inner, "state_dict"), "file") == {"weight": DESCRIBED}
    assert read_pickle(program(b"}" + text("a") + inner + b"s"), "file") == {"weight": DESCRIBED}


def attacks(marker: Path) -> dict[str, bytes]:
    """Programs that create the marker file when a pickle is trusted, by the opcode they use."""
    command = text(f"touch {marker}")
    line = f"S'touch {marker}'\n".encode()
    system = named("os", "system")
    expression = text(f"open({str(marker)!r}, 'w').close()")
    stacked = b"\x8c\x05posix\x8c\x06system\x93"
    popen = named("subprocess", "Popen")
    arguments = b"(" + text("touch") + text(str(marker)) + b"l\x85"
    return {
        "GLOBAL os.system": b"\x80\x02" + system + command + b"\x85R.",
        "GLOBAL builtins.eval": b"\x80\x02" + named("builtins", "eval") + expression + b"\x85R.",
        "GLOBAL __builtin__.eval": b"\x80\x02"
        + named("__builtin__", "eval")
        + expression
        + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04" + stacked + command + b"\x85R.",
        "INST": b"\x80\x02(" + line + b"ios\nsystem\n.",
        "OBJ": b"\x80\x02(" + system + command + b"o.",
        "NEWOBJ": b"\x80\x02" + popen + arguments + b"\x81.",
        "NEWOBJ_EX": b"\x80\x04" + popen + arguments + b"}\x92.",
        "after a tensor": program(TENSOR + b"0" + system + command + b"\x85R"),
        "as an entry": program(system + command + b"\x85R"),
        "as hooks": program(
            TENSOR.replace(NO_HOOKS, NO_HOOKS + text("h") + system + command + b"\x85Rs")
        ),
        "BUILD": b"\x80\x02" + NO_HOOKS + text("x") + system + command + b"\x85Rsb.",
        "protocol 0": b"cos\nsystem\n(" + line + b"tR.",
        "BINPERSID": b"\x80\x02" + system + command + b"\x85RQ.",
    }


ATTACKS = list(attacks(Path("marker")))


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_and_not_run(attack: str, tmp_path: Path, refused) -> None:
    marker = tmp_path / "marker"
    with refused(FileError, "file.pth", "nothing was run", "torch.save(module.state_dict(), path)"):
        read_pickle(attacks(marker)[attack], "file.pth")
    assert not marker.exists()


@pytest.mark.parametrize(
    "attack", ["GLOBAL os.system", "STACK_GLOBAL", "INST", "OBJ", "protocol 0"]
)
def test_the_attacks_are_real(attack: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    pickle.loads(attacks(marker)[attack])
    assert marker.exists()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (named("os", "system"), "its pickle would use os.system of whoever loads it"),
        (named("subprocess", "Popen"), "subprocess.Popen"),
        (named("builtins", "exec"), "builtins.exec"),
        (b"\x82\x01", "opcode EXT1"),
        (b"\x83\x01\x00", "opcode EXT2"),
        (b"\x84\x01\x00\x00\x00", "opcode EXT4"),
        (b"\x97", "opcode NEXT_BUFFER"),
        (b"P0\n", "opcode PERSID"),
        (b"\xff", "opcode 0xff"),
        (b"c" + b"a" * 5000 + b"\nb\n", "a name without an end"),
        (b"cos", "a name without an end"),
        (b"c\xff\nb\n", "not UTF-8"),
        (b"\x93", "by what is not a text"),
        (b"NN\x93", "by what is not a text"),
        (text("x") * 2 + b"R", "calls a value of type str"),
        (text("x") + b")R", "calls a value of type str"),
        (text("x") + b")\x81", "makes a new a value of type str"),
        (named("collections", "OrderedDict") + b"NR", "calls the name collections.OrderedDict"),
        (named("collections", "OrderedDict") + b"N\x85R", "other arguments"),
        (REBUILD + b")R", "other arguments"),
        (TENSOR.replace(b"\x86K\x03K\x01\x86", b"\x86K\x01\x85"), "other arguments"),
        (TENSOR.replace(b"K\x02K\x03\x86", b"K\x02J\xff\xff\xff\xff\x86"), "other arguments"),
        (TENSOR.replace(b"K\x02K\x03\x86", b"K\x02\x88\x86"), "other arguments"),
        (TENSOR.replace(b"tR", b"}" + text("neg") + b"\x88s" + b"tR"), "other arguments"),
        (TENSOR.replace(NO_HOOKS, b"}" + text("h") + b"Ns"), "other arguments"),
        (PARAMETER.replace(b"\x88" + NO_HOOKS, b"\x88}" + text("h") + b"Ns"), "other arguments"),
        (STORAGE.replace(b"K\x06", b"J\xff\xff\xff\xff"), "something else than a storage"),
        (STORAGE.replace(b"K\x06", b"\x88"), "something else than a storage"),
        (STORAGE.replace(b"storage", b"strange"), "something else than a storage"),
        (STORAGE.replace(b"ctorch\nFloatStorage\n", NO_HOOKS), "something else than a storage"),
        (STORAGE.replace(b"FloatS", b"QInt8S"), "by layer.weight().dequantize() and layer.bias()"),
        (b"NQ", "something else than a storage"),
        (b"h\x07", "recalls value 7"),
        (b"j\x07\x00\x00\x00", "recalls value 7"),
        (b"NNb", "sets the state of something else"),
        (b"NNNs", "sets entries of something else"),
        (b"}(Nu", "sets entries of something else"),
        (b"NNa", "appends to something else"),
        (b"t", "ends a tuple"),
        (b"(\x85", "empty stack"),
        (b"(" * 100, "deep"),
        (b"N" * (limits.PICKLE_STACK + 1), "stacks more than"),
        (b"X\xff\xff\xff\x7f", "is cut short"),
        (b"X\x05\x00\x00\x00a", "is cut short"),
        (b"\x8e" + b"\xff" * 8, "is cut short"),
        (b"\x8c\x02\xff\xff", "not UTF-8"),
        (b"\x80\x01", "protocol 1"),
        (b"\x80\x06", "protocol 6"),
    ],
)  # fmt: skip
def test_what_is_not_needed_is_refused(value: bytes, complaint: str, refused) -> None:
    with refused(FileError, "file", complaint):
        read_pickle(program(value), "file")


@pytest.mark.parametrize(
    "value",
    [
        b"N",
        b"K\x01",
        b"\x88",
        b"G" + bytes(8),
        b"\x8a\x01\x01",
        STORAGE,
        named("torch", "FloatStorage"),
        named("train", "Net") + b")R",
        named("train", "Net") + b")\x81",
        b"]N\x85a",
        b"}NNs",
        b"}}Ns",
    ],
)
def test_what_is_no_array_is_left_aside(value: bytes) -> None:
    assert read_pickle(program(value), "file") == {}
    both = b"\x80\x02}(" + text("a") + value + text("weight") + TENSOR + b"u."
    assert read_pickle(both, "file") == {"weight": DESCRIBED}


def test_names_are_the_way_to_an_array() -> None:
    module = named("train", "Net") + b")\x81}" + text("_modules") + b"}"
    inner = named("torch.nn", "Linear") + b")\x81}" + text("_parameters") + b"}" + text("weight")
    value = module + text("0") + inner + PARAMETER + b"ssb" + b"ssb"
    both = b"\x80\x02}(" + text("net") + value + text("list") + b"](N" + TENSOR + b"eu."
    assert read_pickle(both, "file") == {"net.0.weight": DESCRIBED, "list.1": DESCRIBED}


def test_an_array_alone_has_no_name() -> None:
    assert read_pickle(b"\x80\x02" + TENSOR + b".", "file") == {"": DESCRIBED}


def test_the_same_bytes_are_not_unpacked_again_and_again(refused) -> None:
    again = named("_codecs", "encode") + b"h\x00" + text("latin1") + b"\x86R0"
    with refused(FileError, "file", "unpacks the same bytes again"):
        read_pickle(b"\x80\x02" + text("a" * 10_000) + b"q\x00" + again * 9 + b".", "file")
    loads = named("torch.storage", "_load_from_bytes") + b"C\x01x\x85R."
    nested = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03."
    nested += b"\x80\x02}" + text("little_endian") + b"\x88s." + b"\x80\x02" + loads
    with refused(FileError, "file", "unpacks the same bytes again"):
        value = named("torch.storage", "_load_from_bytes") + b"C" + bytes([len(nested)]) + nested
        read_pickle(b"\x80\x02" + value + b"\x85R.", "file")


def test_long_keys_do_not_multiply(refused) -> None:
    long = text("k" * 2_000_000) + b"q\x00"
    many = b"".join(b"}q\x01h\x00Ns" for _ in range(10_000))
    assert read_pickle(b"\x80\x02](" + long + many + b"e.", "file") == {}
    deep = b"".join(b"}" + text("k" * 900) for _ in range(3)) + TENSOR + b"sss"
    with refused(FileError, "file", "has a name of"):
        read_pickle(b"\x80\x02](N" + deep + b"e.", "file")


def test_values_below_a_mark_are_out_of_reach(refused) -> None:
    with refused(FileError, "takes a value from an empty stack at byte 6"):
        read_pickle(b"\x80\x02NN(\x85.", "file")


def test_what_is_remembered_of_a_program_is_nobodys_to_change(refused) -> None:
    read_pickle(program(TENSOR), "one").clear()
    assert read_pickle(program(TENSOR), "other") == {"weight": DESCRIBED}
    for name in ("one", "other"):
        with refused(FileError, f"{name}: its pickle recalls"):
            read_pickle(program(b"h\x07"), name)


def test_endless_programs_end(refused) -> None:
    with refused(FileError, "steps"):
        read_pickle(b"\x80\x02}" + b"q\x00" * limits.PICKLE_STEPS, "file")


def test_deep_nesting_and_loops_do_no_harm(refused) -> None:
    with refused(FileError, "nests values more than"):
        read_pickle(program(b")" + b"\x85" * 200_000), "file")
    loop = b"\x80\x02}q\x00(" + text("a") + b"h\x00" + text("b") + b"h\x00u."
    assert read_pickle(loop, "file") == {}
    assert read_pickle(program(b"}q\x00" + text("a") + b"h\x00s", "a"), "file") == {}
    doubled = b")" + b"2\x86" * 60  # a tree of 2**60 leaves
    assert read_pickle(program(doubled), "file") == {}


@given(st.data())
def test_damaged_programs_raise_one_kind_of_error(harmless, data: st.DataObject) -> None:
    original = program(TENSOR)
    mutant = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        mutant[data.draw(st.integers(0, len(mutant) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(mutant)))
    for candidate in (bytes(mutant), bytes(mutant[:end])):
        with harmless():
            found = read_pickle(candidate, "file")
            assert all(isinstance(value, StoredTensor) for value in found.values())


_OPCODES = [b"(", b"N", b"\x88", b"K\x01", b")", b"\x85", b"\x86", b"\x87", b"t", b"}", b"s", b"u",
            b"]", b"a", b"e", b"2", b"\x81", b"\x92",
            b"h\x00", b"q\x00", b"\x94", b"Q", b"R", b"b", b"\x80\x02", b"\x95" + bytes(8),
            text("a"), NO_HOOKS, REBUILD, STORAGE, TENSOR]  # fmt: skip


@given(st.lists(st.sampled_from(_OPCODES), max_size=60))
def test_any_sequence_of_known_opcodes_raises_one_kind_of_error(
    harmless, parts: list[bytes]
) -> None:
    with harmless():
        read_pickle(b"".join(parts) + b".", "file")
