"""`oracle train`, `zoo` and `evaluate`: networks whose answer is known."""

import argparse
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

import unshuffle
from unshuffle import files
from unshuffle.commands.arguments import (
    FORCE,
    JSON,
    PARTLY,
    QUIET,
    add_commands,
    command,
    interrupted,
)
from unshuffle.errors import FileError, UsageError, hint

if TYPE_CHECKING:
    from unshuffle.oracle.evaluation import Method, Score, Task
    from unshuffle.oracle.recipe import Recipe

FILES = ("scores.csv", "scores.json", "scores.md")

SELECTION = """
recipes RECIPE, any number, default *
    names of shipped recipes, patterns such as 'tiny-*', or .toml files (default: all that are
    shipped, whose training takes hours)
# the zoo
--zoo DIR, required
    the folder in which the oracles are kept
--seeds S[,S…], default 0
    train every recipe with each of these seeds
"""


@command(
    """
    recipe RECIPE
        the name of a recipe that is shipped, or a .toml file
    # what is kept
    --out DIR, required
        keep network.safetensors, data.npz and oracle.json in this folder; an interrupted training
        goes on there
    # the training
    --seed S
        another seed than the recipe's (default: the recipe's)
    """,
    FORCE,
    QUIET,
    examples=("oracle train tiny-adam --out oracle", "oracle train mine.toml --seed 7 --out other"),
)
def train(args: argparse.Namespace) -> int:
    """Train, and keep the network with its data."""
    from unshuffle.oracle.recipe import find_recipe
    from unshuffle.oracle.storage import CHECKPOINT, clear, is_oracle, write_oracle
    from unshuffle.views.progress import show_work

    recipe = find_recipe(args.recipe)
    if args.seed is not None:
        recipe = recipe.with_seed(args.seed)
    folder = args.out
    files.make_folder(folder)
    if args.force:
        clear(folder)
    elif is_oracle(folder):
        raise FileError(
            f"{folder}: holds an oracle already; choose another folder, or train anew with --force"
        )
    checkpoint = folder / CHECKPOINT
    with show_work(quiet=args.quiet, unit="epoch", total=recipe.training.epochs) as report:
        from unshuffle.oracle import training  # PyTorch takes seconds

        try:
            oracle = training.train(
                recipe,
                checkpoint=checkpoint,
                on_epoch=lambda epoch: report(epoch.number, f"loss {epoch.loss:.4g}"),
            )
        except KeyboardInterrupt:
            kept = checkpoint.exists()
            advice = f"{checkpoint} is kept: the same command goes on" if kept else "nothing kept"
            return interrupted(f"; {advice}")
    write_oracle(folder, oracle)
    checkpoint.unlink(missing_ok=True)
    print(
        f"{folder}: {oracle.title}\n"
        f"{len(oracle.losses)} epochs on {len(oracle.examples.inputs)} rows in "
        f"{oracle.seconds:.1f} s, loss {oracle.losses[0]:.4g} → {oracle.losses[-1]:.4g}"
    )
    return 0


@command(
    SELECTION,
    """
    # the training
    --processes N
        how many train at a time, each in one thread (default: one for each core)
    --scheduler ADDRESS
        train on the Dask cluster of the scheduler at this address instead
    """,
    QUIET,
    examples=("oracle zoo 'tiny-*' --zoo zoo", "oracle zoo adam sgd --seeds 0,1 --zoo zoo"),
    exits=PARTLY,
)
def train_zoo(args: argparse.Namespace) -> int:
    """Train what the zoo lacks."""
    from unshuffle.blocks.threads import cores
    from unshuffle.oracle import zoo
    from unshuffle.oracle.recipe import find_recipes
    from unshuffle.views.progress import show_work

    recipes = zoo.grid(find_recipes(args.recipes), args.seeds)
    folder = args.zoo
    arrivals: list[zoo.Arrival] = []
    with show_work(quiet=args.quiet, unit="oracle", total=len(recipes)) as report:

        def on_arrival(arrival: zoo.Arrival) -> None:
            arrivals.append(arrival)
            recipe = arrival.recipe
            report(len(arrivals), f"{recipe.name}, seed {recipe.seed}, {arrival.remark}")

        try:
            zoo.train_zoo(
                recipes,
                folder,
                processes=args.processes or cores(),
                scheduler=args.scheduler,
                on_arrival=on_arrival,
            )
        except KeyboardInterrupt:
            return interrupted(
                f" with {len(arrivals)} of {len(recipes)} oracles in {folder}; the same command "
                "goes on"
            )
    for arrival in sorted(arrivals, key=lambda arrival: recipes.index(arrival.recipe)):
        recipe = arrival.recipe
        place = "" if arrival.failed else f"  {zoo.oracle_folder(folder, recipe)}"
        print(f"{recipe.name}  seed {recipe.seed}  {arrival.remark}{place}")
    return 3 if any(arrival.failed for arrival in arrivals) else 0


@command(
    SELECTION,
    """
    # the trials
    --records N, default 500
        rows of each oracle's record, which every method is given
    --time-limit SECONDS, default 60
        how long a strategy may search on one oracle
    --only PATTERN, repeatable
        try only methods whose name matches, such as 'trace*'; may be repeated
    # what is kept
    --out DIR
        keep scores.csv, scores.json, scores.md in this folder: every score; scores, summaries and
        conditions; the table (default: nothing is kept)
    """,
    FORCE,
    JSON,
    QUIET,
    examples=(
        "oracle evaluate 'tiny-*' --zoo zoo --time-limit 10s",
        "oracle evaluate adam --zoo zoo --only 'trace*' --out scores",
    ),
)
def evaluate(args: argparse.Namespace) -> int:
    """Try every method on every oracle, print the table, and keep it if asked to."""
    from unshuffle.oracle.evaluation import methods, scores_csv, scores_json, summarise
    from unshuffle.oracle.recipe import find_recipes
    from unshuffle.oracle.storage import is_oracle
    from unshuffle.oracle.zoo import grid, oracle_folder
    from unshuffle.views.scoreboard import markdown, print_scores

    if args.out is not None:
        files.check_folder(args.out)
        for name in FILES:
            files.check_free(args.out / name, force=args.force)
    recipes = grid(find_recipes(args.recipes), args.seeds)
    for recipe in recipes:
        if not is_oracle(oracle_folder(args.zoo, recipe)):
            raise FileError(
                f"{args.zoo}: has no oracle of {recipe.name} with seed {recipe.seed}; train it "
                "with `unshuffle oracle zoo` and the same recipes, seeds and --zoo"
            )
    tried = _matching(methods(args.time_limit), args.only or ["*"])
    scores: list[Score] = []
    is_interrupted = False
    try:
        _score(recipes, tried, scores, args)
    except KeyboardInterrupt:
        is_interrupted = True
    conditions = _conditions(args, recipes)
    if args.out is not None:
        in_full = json.dumps(scores_json(scores, conditions), indent=1) + "\n"
        texts = (scores_csv(scores), in_full, markdown(summarise(scores)))
        for name, text in zip(FILES, texts, strict=True):
            files.write_text(args.out / name, text, force=args.force)
    if args.json:
        print(json.dumps(scores_json(scores, conditions)))
    else:
        print_scores(summarise(scores))
    if is_interrupted:
        return interrupted(f" after {len(scores)} of {len(recipes) * len(tried)} trials")
    return 0


def _matching(methods: "list[Method]", patterns: Sequence[str]) -> "list[Method]":
    for pattern in patterns:
        if not any(fnmatchcase(method.name, pattern) for method in methods):
            names = [method.name for method in methods]
            meant = hint(pattern, [re.sub(", .*", "*", name) for name in names])
            raise UsageError(
                f"no method is called like {pattern!r}{meant}; there are: {'; '.join(names)}"
            )
    return [m for m in methods if any(fnmatchcase(m.name, pattern) for pattern in patterns)]


def _score(
    recipes: "Sequence[Recipe]",
    tried: "Sequence[Method]",
    scores: "list[Score]",
    args: argparse.Namespace,
) -> None:
    """Try methods on oracles, and append the score of each trial as soon as it is there."""
    from unshuffle.oracle.evaluation import DroppedOracle, WholeModule, evaluate, serving
    from unshuffle.oracle.recipe import FamilyPlan
    from unshuffle.views.progress import show_work

    kinds = [
        WholeModule if isinstance(recipe.network, FamilyPlan) else DroppedOracle
        for recipe in recipes
    ]
    total = sum(len(serving(kind, tried)) for kind in kinds)
    with show_work(quiet=args.quiet or args.json, unit="trial", total=total) as report:
        for recipe in recipes:
            for score in evaluate(_case(recipe, args), tried):
                scores.append(score)
                report(len(scores), f"{score.recipe}, {score.method}: {score.remark}")


def _case(recipe: "Recipe", args: argparse.Namespace) -> "Task":
    """An oracle of the zoo, as methods are tried on it."""
    from unshuffle.oracle.evaluation import WholeModule, make_case
    from unshuffle.oracle.recipe import FamilyPlan
    from unshuffle.oracle.storage import read_module_oracle, read_oracle
    from unshuffle.oracle.zoo import oracle_folder

    folder = oracle_folder(args.zoo, recipe)
    if not isinstance(recipe.network, FamilyPlan):
        return make_case(recipe, *read_oracle(folder), args.records)
    module, data = read_module_oracle(folder)
    inputs = data.first(args.records).inputs
    return WholeModule(recipe.name, recipe.seed, module, inputs, recipe.network.blocks)


def _conditions(args: argparse.Namespace, recipes: "Sequence[Recipe]") -> dict[str, object]:
    """What has to be known to run the evaluation again and to compare its seconds."""
    import numpy

    return {
        "command": shlex.join(["unshuffle", *sys.argv[1:]]),
        "records": args.records,
        "time_limit": args.time_limit,
        "oracles": {recipe.key(): [recipe.name, recipe.seed] for recipe in recipes},
        "unshuffle": unshuffle.__version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


COMMANDS = {
    "train": ("train a residual network from a recipe", train),
    "zoo": ("train a network for each of many recipes and seeds, once", train_zoo),
    "evaluate": ("try every registered method on a zoo and score it", evaluate),
}

oracle = partial(
    add_commands,
    commands=COMMANDS,
    examples=("oracle train tiny-adam --out oracle", "oracle zoo 'tiny-*' --zoo zoo"),
    exits=PARTLY,
)
