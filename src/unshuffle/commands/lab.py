"""`unshuffle lab try`, `run`, `plan`, `show`, `compare`, `list` and `export`."""

import argparse

from unshuffle.commands.arguments import add_commands

COMMANDS = {
    "list": "list every approach that can be tried by its name",
    "try": "try approaches by name, on the example, the puzzle or oracles",
    "run": "run experiments: whatever the ledger lacks",
    "plan": "write the plan: what was claimed, run, found and decided",
    "show": "show verdicts, or the results of some experiments, as tables",
    "compare": "compare approaches by one metric, on all subjects of the ledger",
    "export": "copy a ledger to another one, as text, database or to MLflow",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands under this one."""
    add_commands(parser, COMMANDS, "unshuffle.commands.lab_", "run_lab")


def run(args: argparse.Namespace) -> int:
    """Run the command under this one."""
    status: int = args.run_lab(args)
    return status
