"""Oracles of families that are modules: dropped at a level, and put back from any shuffle."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.nn.functional import dropout

from unshuffle import Outcome, blueprint, solve
from unshuffle.errors import FileError, UsageError
from unshuffle.oracle.module_dropping import LEVELS, drop_module, emptied
from unshuffle.oracle.recipe import FAMILIES, SHIPPED, find_recipe
from unshuffle.oracle.storage import (
    is_module_oracle,
    read_module_oracle,
    read_oracle,
    write_oracle,
)
from unshuffle.oracle.training import train
from unshuffle.oracle.zoo import oracle_folder

from .conftest import run

ROWS = 24  # of a record


@pytest.fixture(scope="session")
def oracle_of():
    """Oracles by family, each trained once."""
    known = {}

    def make(family):
        if family not in known:
            known[family] = train(find_recipe(f"module-tiny-{family}"))
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


@pytest.mark.parametrize("level", LEVELS)
def test_pieces_are_all_of_the_blocks_and_tell_what_the_level_lets_them(oracle_of, level):
    oracle = oracle_of("gated")
    rng = np.random.default_rng(0)
    inputs = oracle.examples.inputs[:3]
    dropped = drop_module(oracle.network, {"rows": inputs}, level=level, rng=rng)
    tensors = oracle.network.state_dict()
    blocks = [
        {n.split(".", 2)[2]: t.numpy() for n, t in tensors.items() if n.startswith(f"blocks.{k}.")}
        for k in range(4)
    ]
    for numbers, block in zip(dropped.answer, blocks, strict=True):
        found = [*block.items()]
        held = [one for number in numbers for one in dropped.pieces[number].items()]
        assert len(held) == len(found)
        for name, values in held:
            told = [key for key, one in found if np.array_equal(one, values)]
            whole = level != "unnamed-layers"
            assert [name] == told if whole else told[0].rpartition(".")[2] == name
    pieces = {"blocks": 4, "layers": 20, "unnamed-layers": 20, "tensors": 24}
    assert len(dropped.pieces) == pieces[level]
    with torch.no_grad():
        expected = oracle.network(torch.from_numpy(inputs)).numpy()
    np.testing.assert_array_equal(dropped.records.predictions, expected)


def test_dropping_changes_no_module_and_emptying_only_the_blocks(oracle_of):
    network = oracle_of("resnet").network
    before = {name: one.clone() for name, one in network.state_dict().items()}
    rng = np.random.default_rng(0)
    drop_module(network, {"rows": np.zeros((2, 36), np.float32)}, level="blocks", rng=rng)
    given = emptied(network, rng).state_dict()
    for name, values in network.state_dict().items():
        assert torch.equal(values, before[name]), name
        kept = not name.startswith("blocks.") or not values.is_floating_point()
        assert torch.equal(given[name], values) is kept, name


def test_a_level_that_there_is_not_is_refused(oracle_of):
    with pytest.raises(UsageError, match=r"no level 'layer' \(did you mean layers"):
        drop_module(oracle_of("gated").network, {}, level="layer", rng=np.random.default_rng(0))


def test_a_module_in_a_dtype_that_numpy_does_not_have_is_refused(oracle_of):
    module, rng = copy.deepcopy(oracle_of("gated").network).bfloat16(), np.random.default_rng(0)
    with pytest.raises(UsageError, match=r"is in bfloat16, .* return module\.float\(\)"):
        drop_module(module, {"rows": np.zeros((2, 8), np.float32)}, level="layers", rng=rng)


@pytest.mark.parametrize("place", ["block", "module"])
def test_a_module_that_draws_in_evaluation_mode_is_refused(oracle_of, place):
    module, rng = copy.deepcopy(oracle_of("gated").network).eval(), np.random.default_rng(0)
    inputs = {"rows": rng.normal(size=(9, 8)).astype(np.float32)}
    drop_module(module, inputs, level="layers", rng=rng)
    hooked = module.blocks[1] if place == "block" else module
    hooked.register_forward_hook(lambda _, args, made: dropout(made, 0.5, training=True))
    with pytest.raises(UsageError, match=r"the same again .* switch off what it draws"):
        drop_module(module, inputs, level="layers", rng=rng)


@pytest.mark.parametrize("family", ["resnet", "gated"])
def test_an_oracle_is_kept_and_read(oracle_of, family, tmp_path):
    oracle = oracle_of(family)
    write_oracle(tmp_path, oracle)
    assert is_module_oracle(tmp_path)
    module, data = read_module_oracle(tmp_path)
    inputs = torch.from_numpy(oracle.examples.inputs[:5])
    assert torch.equal(module(inputs), oracle.network(inputs))
    np.testing.assert_array_equal(data.inputs, oracle.examples.inputs)
    with pytest.raises(FileError, match="is the oracle of a module"):
        read_oracle(tmp_path)


def test_a_network_of_another_shape_is_refused(oracle_of, tmp_path):
    write_oracle(tmp_path, oracle_of("gated"))
    story = tmp_path / "oracle.json"
    story.write_text(story.read_text().replace('"width": 16', '"width": 17'))
    with pytest.raises(FileError, match="does not hold the module"):
        read_module_oracle(tmp_path)


def test_the_same_recipe_gives_the_same_module():
    recipe = find_recipe("module-tiny-gpt")
    recipe = replace(recipe, data=replace(recipe.data, rows=32))
    first, again, other = (train(one) for one in (recipe, recipe, recipe.with_seed(1)))
    head = "head.weight"
    assert torch.equal(first.network.state_dict()[head], again.network.state_dict()[head])
    assert not torch.equal(first.network.state_dict()[head], other.network.state_dict()[head])


def test_a_zoo_has_modules_beside_other_networks(tmp_path):
    recipe = find_recipe("module-tiny-gated")
    file = tmp_path / "mine.toml"
    text = (SHIPPED / "module-tiny-gated.toml").read_text()
    file.write_text(text.replace(f"rows = {recipe.data.rows}", "rows = 64"))
    mine, zoo = find_recipe(str(file)), tmp_path / "zoo"
    result = run("oracle", "train", file, "--quiet", "--out", oracle_folder(zoo, mine))
    assert (result.returncode, result.stderr) == (0, "")
    assert "4 blocks of the family gated, 16 wide\n" in result.stdout
    result = run(
        "oracle",
        "evaluate",
        file,
        "--zoo",
        zoo,
        "--records",
        8,
        "--only",
        "Auto*",
        "--json",
        "--quiet",
    )
    assert (result.returncode, result.stderr) == (0, "")
    scores = {one["method"]: one for one in json.loads(result.stdout)["scores"]}
    assert {*scores} == {"auto, blocks", "auto, layers"}
    whole = scores["auto, blocks"]
    assert (whole["exact"], whole["blocks"], whole["pairs"], whole["inversions"]) == (True, 4, 4, 0)
