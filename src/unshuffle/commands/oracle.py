"""`unshuffle oracle train`, `zoo` and `evaluate`."""

import argparse

from unshuffle.commands.arguments import add_commands

COMMANDS = {
    "train": "train a residual network from a recipe",
    "zoo": "train a network for each of many recipes and seeds, once",
    "evaluate": "try every registered method on a zoo and score it",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands under this one."""
    add_commands(parser, COMMANDS, "unshuffle.commands.oracle_", "run_oracle")


def run(args: argparse.Namespace) -> int:
    """Run the command under this one."""
    status: int = args.run_oracle(args)
    return status
