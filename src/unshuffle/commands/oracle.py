"""`unshuffle oracle train`, `zoo` and `evaluate`."""

import argparse

from unshuffle.commands import oracle_evaluate, oracle_train, oracle_zoo

COMMANDS = {
    "train": (oracle_train, "train a residual network from a recipe"),
    "zoo": (oracle_zoo, "train a network for each of many recipes and seeds, once"),
    "evaluate": (oracle_evaluate, "try every registered method on a zoo and score it"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands under this one."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        module.add_arguments(command)
        command.set_defaults(run_oracle=module.run)


def run(args: argparse.Namespace) -> int:
    """Run the command under this one."""
    status: int = args.run_oracle(args)
    return status
