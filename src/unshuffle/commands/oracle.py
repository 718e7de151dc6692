"""`unshuffle oracle train`, `zoo` and `evaluate`."""

import argparse

from unshuffle.commands import oracle_evaluate, oracle_train, oracle_zoo
from unshuffle.commands.arguments import add_commands

COMMANDS = {
    "train": (oracle_train, "train a residual network from a recipe"),
    "zoo": (oracle_zoo, "train a network for each of many recipes and seeds, once"),
    "evaluate": (oracle_evaluate, "try every registered method on a zoo and score it"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands under this one."""
    add_commands(parser, COMMANDS, "run_oracle")


def run(args: argparse.Namespace) -> int:
    """Run the command under this one."""
    status: int = args.run_oracle(args)
    return status
