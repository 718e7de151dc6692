"""Recipes are read strictly, and every mistake in one gets one clear line."""

from dataclasses import replace
from pathlib import Path

import pytest

from unshuffle.errors import FileError, UnshuffleError, UsageError
from unshuffle.oracle.recipe import SHIPPED, find_recipe, find_recipes, read_recipe, shipped_names

RECIPE = """
summary = "A test."
seed = 5

[network]
blocks = 2
width = 4
hidden = 6

[data]
kind = "bits"
rows = 30

[training]
optimiser = "sgd"
learning_rate = 1
momentum = 0.5
epochs = 2
batch_rows = 8
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def test_a_recipe_says_what_stands_in_it(tmp_path):
    recipe = read_recipe(written(tmp_path, RECIPE))
    assert (recipe.name, recipe.summary, recipe.seed) == ("own", "A test.", 5)
    assert (recipe.network.blocks, recipe.network.width, recipe.network.hidden) == (2, 4, 6)
    assert (recipe.network.outputs, recipe.network.activation) == (1, "relu")
    assert (recipe.data.kind, recipe.data.rows, recipe.data.levels) == ("bits", 30, 10)
    assert recipe.training.learning_rate == 1.0
    assert isinstance(recipe.training.learning_rate, float)  # 1 and 1.0 are one recipe


@pytest.mark.parametrize(
    ("line", "instead", "parts"),
    [
        ("blocks = 2", "blocks = 2\ndepth = 2", ["network has an unknown key depth", "blocks"]),
        ("seed = 5", "sead = 5", ["unknown key sead", "summary, seed"]),
        ("rows = 30", "rows = 30\nspread = 1.0", ["data has an unknown key spread", "on_rate_low"]),
        ("width = 4", "width = -4", ["network.width", "-4", "whole number at least 1"]),
        ("width = 4", "width = 4.5", ["network.width", "4.5", "whole number"]),
        ("width = 4", "width = true", ["network.width", "True", "whole number"]),
        ("width = 4", 'width = "4"', ["network.width", "'4'", "whole number"]),
        ("width = 4", "", ["network lacks the key width"]),
        ("hidden = 6", 'hidden = 6\nactivation = "relo"', ["activation", "'relo'", "gelu"]),
        ("hidden = 6", 'hidden = 6\ninitialisation = "x"', ["initialisation", "'x'", "zero-out"]),
        ("learning_rate = 1", "learning_rate = 0", ["learning_rate is 0", "more than 0"]),
        ("learning_rate = 1", "learning_rate = nan", ["learning_rate is nan", "a number"]),
        ("learning_rate = 1", "learning_rate = inf", ["learning_rate is inf", "a number"]),
        ("momentum = 0.5", "momentum = 1", ["momentum is 1", "less than 1"]),
        ("momentum = 0.5", 'schedule = "x"', ["schedule", "'x'", "cosine"]),
        ('optimiser = "sgd"', 'optimiser = "adam"', ["momentum is 0.5", "adam has none"]),
        ('optimiser = "sgd"', 'optimiser = "lion"', ["'lion'", "adamw"]),
        ('kind = "bits"', 'kind = "bytes"', ["data.kind", "'bytes'", "bits, smooth"]),
        ('kind = "bits"', "kind = 1", ["data.kind", "bits, smooth"]),
        ('kind = "bits"', "", ["data.kind is nothing", "bits, smooth"]),
        ("rows = 30", "rows = 30\non_rate_low = 2", ["on_rate_low is 2", "from 0 to 1"]),
        ("[training]", "[trainig]", ["unknown key trainig", "training"]),
        ("seed = 5", "seed = -5", ["seed is -5", "at least 0"]),
        ("seed = 5", "network = 3", ["is not TOML"]),
        ("rows = 30", "rows = 1000000000000", ["the inputs would be 4000000000000 numbers"]),
        ("blocks = 2", "blocks = 1000000000", ["weights would be 48000000000 numbers"]),
        ("blocks = 2", "blocks 2", ["is not TOML", "line 6"]),
        ("rows = 30", 'rows = 30\n"a\\nb" = 1', ["unknown key", "a\\nb"]),
    ],
)
def test_a_mistake_gets_one_line_that_names_file_and_key(tmp_path, line, instead, parts):
    assert RECIPE.count(f"{line}\n") == 1
    path = written(tmp_path, RECIPE.replace(f"{line}\n", f"{instead}\n"))
    with pytest.raises((UsageError, FileError)) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("family", "line", "instead", "part"),
    [
        ("gpt", "heads = 4", "heads = 5", "heads is 5; it must divide the width"),
        ("llama", "queries_per_key = 2", "queries_per_key = 3", "queries_per_key (3) must divide"),
        ("llama", "heads = 4", "heads = 16", "the units must be even"),
        ("vit", "inputs = 36", "inputs = 35", "inputs is 35, but a square of an even number"),
        ("mixer", "inputs = 36", "inputs = 25", "inputs is 25, but a square of an even number"),
        ("gated", 'family = "gated"', 'family = "gate"', "one of gpt, bert"),
        ("gated", 'kind = "module"', 'kind = "modul"', "one of mlp, module"),
        ("gated", "blocks = 4", "blocks = 4\nactivation = 3", "unknown key activation"),
    ],
)
def test_a_mistake_about_a_family_gets_one_line_too(tmp_path, family, line, instead, part):
    text = (SHIPPED / f"module-tiny-{family}.toml").read_text()
    assert text.count(f"{line}\n") == 1
    path = written(tmp_path, text.replace(f"{line}\n", f"{instead}\n"))
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: network")
    assert part in message


@pytest.mark.parametrize("table", ["network", "data", "training"])
def test_a_table_that_lacks_or_is_none_is_a_mistake(tmp_path, table):
    head, tail = RECIPE.split(f"[{table}]")
    rest = tail[tail.index("\n\n") :] if "\n\n" in tail else ""
    with pytest.raises(UsageError, match=rf"lacks the key {table}"):
        read_recipe(written(tmp_path, head + rest))
    with pytest.raises(UsageError, match=rf"{table} is 3, but a table"):
        read_recipe(written(tmp_path, f"{table} = 3\n{head}{rest}"))


TABLE = RECIPE.replace('kind = "bits"\nrows = 30', 'kind = "table"\nfile = "rows.csv"')


def test_a_table_lies_beside_its_recipe_and_its_content_is_what_counts(tmp_path):
    with pytest.raises(FileError, match=r"data\.file is rows\.csv, but there is no file"):
        read_recipe(written(tmp_path, TABLE))
    (tmp_path / "rows.csv").write_text("a,true\n1,2\n")
    one = read_recipe(written(tmp_path, TABLE))
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "rows.csv").write_text("a,true\n1,2\n")
    assert read_recipe(written(other, TABLE)).key() == one.key()
    (other / "rows.csv").write_text("a,true\n1,3\n")
    assert read_recipe(written(other, TABLE)).key() != one.key()


def test_the_key_follows_the_content_and_nothing_else(tmp_path):
    recipe = read_recipe(written(tmp_path, RECIPE))
    assert replace(recipe, name="x", summary="y").key() == recipe.key()
    written(tmp_path, RECIPE.replace("epochs = 2\nbatch_rows = 8", "batch_rows = 8\nepochs = 2"))
    assert read_recipe(tmp_path / "own.toml").key() == recipe.key()
    changed = [
        recipe.with_seed(6),
        replace(recipe, network=replace(recipe.network, hidden=7)),
        replace(recipe, data=replace(recipe.data, levels=9)),
        replace(recipe, training=replace(recipe.training, epochs=3)),
    ]
    assert len({recipe.key(), *(other.key() for other in changed)}) == 5


def test_shipped_recipes_are_found_by_name_and_pattern():
    names = shipped_names()
    assert len(names) >= 30
    for name in names:
        recipe = find_recipe(name)
        assert recipe.name == name
        assert recipe.summary.endswith(".")
    assert [recipe.name for recipe in find_recipes(["adam", "tiny-s*", "adam"])] == [
        "adam",
        "tiny-sgd",
        "tiny-silu",
        "tiny-smooth-3",
        "tiny-square",
    ]
    assert len({find_recipe(name).key() for name in names}) == len(names)


@pytest.mark.parametrize("name", ["adm", "no-*", "nothing.toml"])
def test_a_recipe_that_does_not_exist_is_a_mistake(name):
    with pytest.raises(UnshuffleError, match=name.replace("*", r"\*")):
        find_recipes([name])
