"""Damaged files of every format raise this package's errors and nothing else."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unshuffle.files import read_pile, read_records, write_network

RECORD = {
    "a": np.linspace(-1, 1, 20),
    "b": np.linspace(0, 3, 20).astype(np.float32),
    "pred": np.linspace(5, 6, 20),
}
CSV = "a,b,pred\n" + "".join(f"{a},{b},{p}\n" for a, b, p in zip(*RECORD.values(), strict=True))


def _save_pile(path: Path, layer: dict[str, np.ndarray]) -> None:
    if path.suffix == ".pth":
        pytest.importorskip("torch")
    write_network(path, {f"p{n}.{part}": v + n for n in range(2) for part, v in layer.items()})


def _save_record(path: Path, _: dict[str, np.ndarray]) -> None:
    match path.suffix:
        case ".csv":
            path.write_text(CSV)
        case ".tsv":
            path.write_text(CSV.replace(",", "\t"))
        case ".gz":
            path.write_bytes(gzip.compress(CSV.encode()))
        case ".npz":
            np.savez_compressed(path, **RECORD)
        case ".parquet":
            pq.write_table(pa.table(RECORD), path)


FORMATS: dict[str, tuple[Callable[..., None], Callable[..., object]]] = {
    "pile.pth": (_save_pile, read_pile),
    "pile.npz": (_save_pile, read_pile),
    "pile.safetensors": (_save_pile, read_pile),
    "record.csv": (_save_record, read_records),
    "record.csv.gz": (_save_record, read_records),
    "record.tsv": (_save_record, read_records),
    "record.npz": (_save_record, read_records),
    "record.parquet": (_save_record, read_records),
}


@pytest.fixture(scope="session", params=FORMATS)
def sound(request: pytest.FixtureRequest, scratch: Path, layer) -> tuple[str, bytes]:
    """Name and content of a file without damage."""
    save, read = FORMATS[request.param]
    path = scratch / request.param
    path.unlink(missing_ok=True)
    save(path, layer)
    assert read(path)
    return request.param, path.read_bytes()


def attempt(content: bytes, name: str, scratch: Path, harmless) -> None:
    path = scratch / name
    path.write_bytes(content)
    with harmless():
        FORMATS[name][1](path)


@settings(max_examples=150)
@given(st.data())
def test_changed_bytes(sound: tuple[str, bytes], scratch: Path, harmless, data) -> None:
    name, content = sound
    mutant = bytearray(content)
    # Headers and directories lie at the ends: the numbers between them matter less.
    near_an_end = st.integers(-700, 300).filter(lambda n: -len(mutant) <= n < len(mutant))
    anywhere = st.integers(0, len(mutant) - 1)
    for _ in range(data.draw(st.integers(1, 3))):
        value = data.draw(st.integers(0, 255) | st.sampled_from([0, 1, 127, 128, 255]))
        mutant[data.draw(near_an_end | anywhere)] = value
    attempt(bytes(mutant), name, scratch, harmless)


@given(st.data())
def test_missing_and_repeated_parts(
    sound: tuple[str, bytes], scratch: Path, harmless, data
) -> None:
    name, content = sound
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    attempt(content[:begin], name, scratch, harmless)
    attempt(content[begin:], name, scratch, harmless)
    attempt(content[:begin] + content[end:], name, scratch, harmless)
    attempt(content[:end] + content[begin:], name, scratch, harmless)


@given(content=st.binary(max_size=200))
def test_noise(sound: tuple[str, bytes], scratch: Path, harmless, content: bytes) -> None:
    attempt(content, sound[0], scratch, harmless)
