"""`unshuffle oracle evaluate [RECIPE …] --zoo DIR`."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unshuffle.commands.arguments import add_force, number
from unshuffle.commands.oracle_zoo import add_selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unshuffle.oracle.evaluation import Method, Score
    from unshuffle.oracle.recipe import Recipe

FILES = ("scores.csv", "scores.json", "scores.md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_selection(parser)
    parser.add_argument(
        "--records",
        type=number(int, 1),
        default=500,
        metavar="N",
        help="rows of each oracle's record, which every method is given (default: 500)",
    )
    parser.add_argument(
        "--time-limit",
        type=number(float, 0, exclusive=True),
        default=60.0,
        metavar="SECONDS",
        help="how long a strategy may search on one oracle (default: 60)",
    )
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        action="append",
        help="try only methods whose name matches, such as 'trace*'; may be repeated",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help=f"keep {', '.join(FILES)} in this folder: every score; scores, summaries and "
        "conditions; the table",
    )
    add_force(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, not a table")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Try every method on every oracle, print the table, and keep it if asked to."""
    from unshuffle.files import check_folder, check_free, make_folder, write_text
    from unshuffle.oracle.evaluation import evaluate, make_case, methods
    from unshuffle.oracle.recipe import find_recipes
    from unshuffle.oracle.scoreboard import scores_csv, scores_json, summarise
    from unshuffle.oracle.storage import read_oracle
    from unshuffle.oracle.zoo import grid, oracle_folder
    from unshuffle.views.progress import show_work
    from unshuffle.views.scoreboard import markdown, print_scores

    folder = None if args.out is None else Path(args.out)
    if folder is not None:
        check_folder(folder)
        for name in FILES:
            check_free(folder / name, force=args.force)
    recipes = grid(find_recipes(args.recipes), args.seeds)
    _check_trained(recipes, Path(args.zoo))
    tried = _matching(methods(args.time_limit), args.only or ["*"])
    scores: list[Score] = []
    interrupted = False
    total = len(recipes) * len(tried)
    with show_work(quiet=args.quiet or args.json, unit="trial", total=total) as report:
        try:
            for recipe in recipes:
                network, data = read_oracle(oracle_folder(Path(args.zoo), recipe))
                for score in evaluate(make_case(recipe, network, data, args.records), tried):
                    scores.append(score)
                    report(len(scores), f"{score.recipe}, {score.method}: {score.remark}")
        except KeyboardInterrupt:
            interrupted = True
    conditions = _conditions(args, recipes)
    if folder is not None:
        make_folder(folder)
        summary = json.dumps(scores_json(scores, conditions), indent=1)
        texts = (scores_csv(scores), f"{summary}\n", markdown(summarise(scores)))
        for name, text in zip(FILES, texts, strict=True):
            write_text(folder / name, text, force=args.force)
    if args.json:
        print(json.dumps(scores_json(scores, conditions)))
    else:
        print_scores(summarise(scores))
    if interrupted:
        print(f"unshuffle: interrupted after {len(scores)} of {total} trials", file=sys.stderr)
        return 130
    return 0


def _check_trained(recipes: "Sequence[Recipe]", zoo: Path) -> None:
    from unshuffle.errors import FileError
    from unshuffle.oracle.storage import is_oracle
    from unshuffle.oracle.zoo import oracle_folder

    for recipe in recipes:
        if not is_oracle(oracle_folder(zoo, recipe)):
            raise FileError(
                f"{zoo}: has no oracle of {recipe.name} with seed {recipe.seed}; train it with "
                "`unshuffle oracle zoo` and the same recipes, seeds and --zoo"
            )


def _matching(methods: "list[Method]", patterns: "Sequence[str]") -> "list[Method]":
    from fnmatch import fnmatchcase

    from unshuffle.errors import UsageError

    for pattern in patterns:
        if not any(fnmatchcase(method.name, pattern) for method in methods):
            names = "; ".join(method.name for method in methods)
            raise UsageError(f"no method is called like {pattern!r}; there are: {names}")
    return [m for m in methods if any(fnmatchcase(m.name, pattern) for pattern in patterns)]


def _conditions(args: argparse.Namespace, recipes: "Sequence[Recipe]") -> dict[str, object]:
    """What has to be known to run the evaluation again and to compare its seconds."""
    import os
    import platform
    import shlex

    import numpy

    import unshuffle

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
