"""What the tests of oracles share."""

import io
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace

import pytest

from unshuffle.commands import main
from unshuffle.oracle.data import OwnTable
from unshuffle.oracle.recipe import Recipe


def shrink(recipe: Recipe) -> Recipe:
    """The same recipe at a scale that trains at once."""
    assert not isinstance(recipe.data, OwnTable)
    return replace(
        recipe,
        network=replace(recipe.network, blocks=min(recipe.network.blocks, 3)),
        data=replace(recipe.data, rows=200),
        training=replace(recipe.training, epochs=2),
    )


@dataclass(frozen=True)
class Result:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


def run(*args, cwd="."):
    """Run a command in this process, which has loaded PyTorch already."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr), chdir(cwd):
        returncode = main([str(arg) for arg in args])
    return Result(returncode, stdout.getvalue(), stderr.getvalue())


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch")
