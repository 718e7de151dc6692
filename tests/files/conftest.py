"""What the tests of readers and writers share."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from unshuffle.errors import UnshuffleError

PUZZLE = Path(__file__).parents[3] / "shared" / "puzzle"

Refused = Callable[..., AbstractContextManager[None]]
Repack = Callable[..., bytes]


@pytest.fixture(scope="session")
def refused() -> Refused:
    """Expect an error of one kind, on one printable line, that says all of the given parts."""

    @contextmanager
    def expect(kind: type[UnshuffleError], *parts: object) -> Iterator[None]:
        with pytest.raises(kind) as caught:
            yield
        message = str(caught.value)
        assert type(caught.value) is kind
        assert message.isprintable(), message
        assert len(message) < 1_000
        for part in parts:
            assert str(part) in message

    return expect


@pytest.fixture(scope="session")
def harmless() -> Callable[[], AbstractContextManager[None]]:
    """Allow success, and the errors of this package on one printable line, but nothing else."""

    @contextmanager
    def allow() -> Iterator[None]:
        message = ""
        try:
            yield
        except UnshuffleError as error:
            message = str(error)
        assert not message or message.isprintable()

    return allow


@pytest.fixture(scope="session")
def repack() -> Repack:
    """Change members of a zip, by the ends of their names; None leaves one out."""

    def change(content: bytes, changes: dict[str, bytes | None]) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
            for name in old.namelist():
                end = next((end for end in changes if name.endswith(end)), None)
                member = old.read(name) if end is None else changes[end]
                if member is not None:
                    new.writestr(name, member)
        return packed.getvalue()

    return change


@pytest.fixture(scope="session")
def layer() -> dict[str, np.ndarray]:
    """A small layer to be saved in many ways."""
    random = np.random.default_rng(0)
    return {
        "weight": random.normal(size=(4, 3)).astype(np.float32),
        "bias": random.normal(size=4).astype(np.float32),
    }


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a property: files in it are written over."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="session")
def puzzle() -> Path:
    """The published puzzle, which does not belong to the project."""
    if not PUZZLE.is_dir():
        pytest.skip(f"the puzzle is not at {os.path.relpath(PUZZLE)}")
    return PUZZLE
