"""`unshuffle oracle train RECIPE --out DIR`."""

import argparse
import sys
from pathlib import Path

from unshuffle.commands.arguments import add_force, number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "recipe", metavar="RECIPE", help="the name of a recipe that is shipped, or a .toml file"
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="keep network.safetensors, data.npz and oracle.json in this folder; a training that "
        "was interrupted goes on from the checkpoint there",
    )
    parser.add_argument(
        "--seed", type=number(int, 0), metavar="S", help="another seed than the recipe's"
    )
    add_force(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Train, and keep the network with its data."""
    from unshuffle.errors import FileError
    from unshuffle.files import make_folder
    from unshuffle.oracle.recipe import find_recipe
    from unshuffle.oracle.storage import CHECKPOINT, clear, is_oracle, write_oracle
    from unshuffle.oracle.training import Epoch, train
    from unshuffle.views.progress import show_work

    recipe = find_recipe(args.recipe)
    if args.seed is not None:
        recipe = recipe.with_seed(args.seed)
    folder = Path(args.out)
    make_folder(folder)
    if args.force:
        clear(folder)
    elif is_oracle(folder):
        raise FileError(
            f"{folder}: holds an oracle already; choose another folder, or train anew with --force"
        )
    checkpoint = folder / CHECKPOINT
    with show_work(quiet=args.quiet, unit="epoch", total=recipe.training.epochs) as report:

        def on_epoch(epoch: Epoch) -> None:
            report(epoch.number, f"loss {epoch.loss:.4g}")

        try:
            oracle = train(recipe, checkpoint=checkpoint, on_epoch=on_epoch)
        except KeyboardInterrupt:
            kept = checkpoint.exists()
            advice = f"{checkpoint} is kept: the same command goes on" if kept else "nothing kept"
            print(f"unshuffle: interrupted; {advice}", file=sys.stderr)
            return 130
    write_oracle(folder, oracle)
    checkpoint.unlink(missing_ok=True)
    print(
        f"{folder}: {oracle.network!r}\n"
        f"{len(oracle.losses)} epochs on {len(oracle.examples.inputs)} rows in "
        f"{oracle.seconds:.1f} s, loss {oracle.losses[0]:.4g} → {oracle.losses[-1]:.4g}"
    )
    return 0
