"""`unshuffle oracle zoo [RECIPE …] --zoo DIR`."""

import argparse
import sys
from pathlib import Path

from unshuffle.commands.arguments import number, seeds


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add which oracles are meant, and where they lie."""
    parser.add_argument(
        "recipes",
        metavar="RECIPE",
        nargs="*",
        default=["*"],
        help="names of shipped recipes, patterns such as 'tiny-*', or .toml files (default: all "
        "that are shipped, whose training takes hours)",
    )
    parser.add_argument(
        "--zoo", required=True, metavar="DIR", help="the folder in which the oracles are kept"
    )
    parser.add_argument(
        "--seeds",
        type=seeds,
        default=[0],
        metavar="S[,S…]",
        help="train every recipe with each of these seeds (default: 0)",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_selection(parser)
    parser.add_argument(
        "--processes",
        type=number(int, 1),
        metavar="N",
        help="how many train at a time, each in one thread (default: one for each core)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="train on the Dask cluster of the scheduler at this address instead",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Train what the zoo lacks."""
    from unshuffle.blocks.threads import cores
    from unshuffle.oracle.recipe import find_recipes
    from unshuffle.oracle.zoo import Arrival, grid, oracle_folder, train_zoo
    from unshuffle.views.progress import show_work

    recipes = grid(find_recipes(args.recipes), args.seeds)
    zoo = Path(args.zoo)
    arrivals: list[Arrival] = []
    with show_work(quiet=args.quiet, unit="oracle", total=len(recipes)) as report:

        def on_arrival(arrival: Arrival) -> None:
            arrivals.append(arrival)
            recipe = arrival.recipe
            report(len(arrivals), f"{recipe.name}, seed {recipe.seed}, {arrival.remark}")

        try:
            train_zoo(
                recipes,
                zoo,
                processes=args.processes or cores(),
                scheduler=args.scheduler,
                on_arrival=on_arrival,
            )
        except KeyboardInterrupt:
            print(
                f"unshuffle: interrupted with {len(arrivals)} of {len(recipes)} oracles in {zoo}; "
                "the same command goes on",
                file=sys.stderr,
            )
            return 130
    for arrival in sorted(arrivals, key=lambda arrival: recipes.index(arrival.recipe)):
        folder = "" if arrival.failed else f"  {oracle_folder(zoo, arrival.recipe)}"
        print(f"{arrival.recipe.name}  seed {arrival.recipe.seed}  {arrival.remark}{folder}")
    return 3 if any(arrival.failed for arrival in arrivals) else 0
