"""Whether tests notice each number that decides a claim when it is off by a factor of three.

    python benchmarks/mutations.py [SUBJECT …]

A subject is a module of `unshuffle.proof` with a dataclass of parameters, such as `noise`. Each of
its fields is multiplied and divided by the factor, in a process of its own, and the tests are run:
those of the subject, and where they pass all of `tests/proof`. A mutant that survives is a defect.
Where no subject is named, all tests run with more effort too: it steers cost, so none may fail.
"""

import argparse
import importlib
import json
import pkgutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import unshuffle.proof
from common import PROJECT, print_table, refuse_unknown
from unshuffle.proof.effort import EFFORT

TESTS = PROJECT / "tests" / "proof"

RUN = """
import importlib, json, sys
import pytest

module, name, values, *tests = sys.argv[1:]
standard = getattr(importlib.import_module(module), name)
for field, value in json.loads(values).items():
    # All defaults are this one object, so no source is edited.
    object.__setattr__(standard, field, type(getattr(standard, field))(value))
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--tb=no", *tests]))
"""


def subjects() -> dict[str, Any]:
    """The standard parameters by the name of their module."""
    found = {}
    for info in pkgutil.iter_modules(unshuffle.proof.__path__):
        module = importlib.import_module(f"unshuffle.proof.{info.name}")
        parameters = getattr(module, "STANDARD", None)
        if type(parameters).__module__ == module.__name__:
            found[info.name] = parameters
    return found


def scaled(value: Any, factor: float) -> Any:
    """A number, or each of several, times a factor; whole numbers stay whole and positive."""
    if isinstance(value, tuple):
        return [scaled(each, factor) for each in value]
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor


def failures(subject: str, name: str, values: dict[str, Any], tests: Path) -> list[str]:
    """Names of the tests that fail where an object of a module has other values in its fields."""
    parts = [f"unshuffle.proof.{subject}", name, json.dumps(values), str(tests)]
    run = subprocess.run(
        [sys.executable, "-c", RUN, *parts], capture_output=True, text=True, check=False
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if run.returncode and not lines:
        sys.exit(run.stdout + run.stderr)
    return [line.split(" - ")[0].rpartition("::")[2] for line in lines]


def failures_with_more_effort(factor: float) -> list[str]:
    """Names of the tests that fail where all that steers cost alone is multiplied."""
    more = {name: scaled(value, factor) for name, value in asdict(EFFORT).items()}
    return failures("effort", "EFFORT", more, TESTS)


def main() -> None:
    """Run all mutants of some subjects and print which tests fail."""
    parser = argparse.ArgumentParser(description="Hold tests against wrong parameters.")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(subjects()))
    parser.add_argument("--factor", type=float, default=3.0, help="of the mutants (%(default)s)")
    parser.add_argument("--field", help="only this field")
    args = parser.parse_args()
    refuse_unknown("subject ", args.subjects, subjects())
    rows, survivors = [], 0
    for subject in args.subjects or subjects():
        for field, value in asdict(subjects()[subject]).items():
            if args.field not in (None, field):
                continue
            for factor in (args.factor, 1 / args.factor):
                mutant = scaled(value, factor)
                own, values = TESTS / f"test_{subject}.py", {field: mutant}
                failed = failures(subject, "STANDARD", values, own)
                failed = failed or failures(subject, "STANDARD", values, TESTS)
                survivors += not failed
                shown = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" * (len(failed) > 3))
                rows.append((f"{subject}.{field}", str(value), str(mutant), shown or "SURVIVED"))
                print(*rows[-1], file=sys.stderr)
    print_table(["field", "standard", "mutant", "tests that fail"], rows)
    print(f"\n{len(rows)} mutants, {survivors} survived")
    changed = [] if args.subjects else failures_with_more_effort(args.factor)
    if changed:
        print(f"more effort changes what is claimed: {', '.join(changed)}")
    sys.exit(bool(survivors or changed))


if __name__ == "__main__":
    main()
