"""`unshuffle lab try`, `run`, `plan`, `show`, `compare`, `list` and `export`."""

import argparse

from unshuffle.commands import (
    lab_compare,
    lab_export,
    lab_list,
    lab_plan,
    lab_run,
    lab_show,
    lab_try,
)
from unshuffle.commands.arguments import add_commands

COMMANDS = {
    "list": (lab_list, "list every approach that can be tried by its name"),
    "try": (lab_try, "try approaches by name, on the example, the puzzle or oracles"),
    "run": (lab_run, "run experiments: whatever the ledger lacks"),
    "plan": (lab_plan, "write the plan: what was claimed, run, found and decided"),
    "show": (lab_show, "show verdicts, or the results of some experiments, as tables"),
    "compare": (lab_compare, "compare approaches by one metric, on all subjects of the ledger"),
    "export": (lab_export, "copy a ledger to another one, as text, database or to MLflow"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands under this one."""
    add_commands(parser, COMMANDS, "run_lab")


def run(args: argparse.Namespace) -> int:
    """Run the command under this one."""
    status: int = args.run_lab(args)
    return status
