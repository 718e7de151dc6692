"""Oracles of families that are modules: dropped at a level, and put back from any shuffle."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from unshuffle import Outcome, blueprint, solve
from unshuffle.errors import FileError, UsageError
from unshuffle.oracle.module_dropping import LEVELS, drop_module, emptied
from unshuffle.oracle.recipe import FAMILIES, find_recipe
from unshuffle.oracle.storage import (
    is_module_oracle,
    read_module_oracle,
    read_oracle,
    write_oracle,
)
from unshuffle.oracle.training import train

ROWS = 24  # of a record
STEPS = {"bert": 300, "llama": 300, "gpt": 300, "vit": 300}  # of training; 200 for the others


def tiny(family):
    """The recipe of a family at a scale that trains in seconds."""
    recipe = find_recipe(f"module-{family}")
    inputs, outputs = {64: (36, 5), 12: (6, 20), 32: (8, 5)}[recipe.network.inputs]
    network = replace(
        recipe.network, blocks=4, width=16, hidden=32, inputs=inputs, outputs=outputs
    )
    training = replace(recipe.training, batch_rows=16, epochs=2, learning_rate=5e-3)
    return replace(
        recipe,
        network=network,
        data=replace(recipe.data, rows=8 * STEPS.get(family, 200)),
        training=training,
    )


@pytest.fixture(scope="session")
def oracle_of():
    """Oracles by family, each trained once."""
    known = {}

    def make(family):
        if family not in known:
            known[family] = train(tiny(family))
        return known[family]

    return make


def put_back(oracle, level, seed=3):
    rng = np.random.default_rng(seed)
    inputs = oracle.examples.inputs[:ROWS]
    dropped = drop_module(oracle.network, {"rows": inputs}, level=level, rng=rng)
    given = blueprint(emptied(oracle.network, rng))
    return dropped, solve(dropped.pile(), dropped.records, blueprint=given)


@pytest.mark.parametrize("level", ["blocks", "layers"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_put_back(oracle_of, family, level):
    oracle = oracle_of(family)
    dropped, solution = put_back(oracle, level)
    assert solution.outcome is Outcome.EXACT
    assert solution.blocks == dropped.answer
    found = solution.state_dict()
    for name, values in oracle.network.state_dict().items():
        assert not values.is_floating_point() or torch.equal(found[name], values), name
