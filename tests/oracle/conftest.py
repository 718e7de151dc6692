"""What the tests of oracles share."""

from dataclasses import replace

import pytest

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


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch")
