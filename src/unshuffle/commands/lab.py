"""`unshuffle lab run`, `plan`, `show`, `compare`, `list` and `export`."""

import argparse

from unshuffle.commands import lab_compare, lab_export, lab_list, lab_plan, lab_run, lab_show

COMMANDS = {
    "list": (lab_list, "list every approach that can be tried by its name"),
    "run": (lab_run, "run experiments: whatever the ledger lacks"),
    "plan": (lab_plan, "write the plan: what was claimed, run, found and decided"),
    "show": (lab_show, "show verdicts, or the results of some experiments, as tables"),
    "compare": (lab_compare, "compare approaches by one metric, on all subjects of the ledger"),
    "export": (lab_export, "copy a ledger to another one, as text, database or to MLflow"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands under this one."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        module.add_arguments(command)
        command.set_defaults(run_lab=module.run)


def run(args: argparse.Namespace) -> int:
    """Run the command under this one."""
    status: int = args.run_lab(args)
    return status
