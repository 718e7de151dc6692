"""Whether tests notice each number that decides a claim when it is off by a factor of three.

    python benchmarks/mutations.py [SUBJECT …]

A subject is a module of `unshuffle.proof` with a dataclass of parameters, such as `noise`, or one
of another room that decides a claim by some of them. Each of these fields is multiplied and divided
by the factor, in a process of its own, and the tests are run: those of the subject, and where they
pass all of `tests/proof`. A mutant that survives is a defect. Where no subject is named, all tests
run with more effort too: it steers cost, so none may fail.
"""

import argparse
import importlib
import json
import pkgutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import unshuffle.proof
from common import PROJECT, print_table, refuse_unknown
from unshuffle.proof.effort import EFFORT

TESTS = PROJECT / "tests"

DECIDING = TESTS / "repair" / "test_deciding.py"  # of the numbers that decide outside of proof

RUN = """
import importlib, json, sys
from dataclasses import fields
from operator import attrgetter
import pytest

module, name, values, *tests = sys.argv[1:]
standard = getattr(importlib.import_module(module), name)
for path, value in json.loads(values).items():
    value = type(attrgetter(path)(standard))(value)
    if isinstance(standard, type):  # each object is made anew
        each = zip(fields(standard), standard.__init__.__defaults__, strict=True)
        standard.__init__.__defaults__ = tuple(value if f.name == path else d for f, d in each)
        continue
    # All defaults are this one object, so no source is edited.
    *parts, field = path.split(".")
    holder = attrgetter(".".join(parts))(standard) if parts else standard
    object.__setattr__(holder, field, value)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-n", "0", "--tb=no", *tests]))
"""

ELSEWHERE = {
    "grouping.parameters": ("prior_pairs", "agreeing", "least_agreed", "decisive"),
    "repair.case": ("alike",),
    "repair.estimation": ("sufficient",),
    "repair.in_turn": ("rivals",),
    "repair.incomplete": ("explained", "near", "least"),
    "repair.repair": ("far",),
    "repair.scaled_inputs": ("equations",),
    "repair.versions": ("sure",),
    "repair.wrong_record": (
        *("share", "share_before", "foretold", "unrelated", "noise", "hidden"),
        *("controls.needed", "controls.stray", "controls.least_stray", "controls.caution"),
    ),
    "solution.findings": ("saturated",),
}
"""Modules of other rooms, with the fields that decide a claim."""


@dataclass(frozen=True)
class Subject:
    """Parameters that decide claims.

    Parameters
    ----------
    module, name
        Where they are: an object, or the class of which each user makes one.
    fields
        The deciding ones by name, with their values.
    tests
        File of the tests that are run first.
    """

    module: str
    name: str
    fields: dict[str, Any]
    tests: Path


def subjects() -> dict[str, Subject]:
    """The standard parameters by the name of their module."""
    found = {}
    for info in pkgutil.iter_modules(unshuffle.proof.__path__):
        module = importlib.import_module(f"unshuffle.proof.{info.name}")
        parameters = getattr(module, "STANDARD", None)
        if type(parameters).__module__ == module.__name__:
            tests = TESTS / "proof" / f"test_{info.name}.py"
            found[info.name] = Subject(module.__name__, "STANDARD", asdict(parameters), tests)
    for name, fields in ELSEWHERE.items():
        module = importlib.import_module(f"unshuffle.{name}")
        held = "STANDARD" if hasattr(module, "STANDARD") else "GroupingParameters"
        values = {field: attrgetter(field)(getattr(module, held)) for field in fields}
        found[name] = Subject(module.__name__, held, values, DECIDING)
    return found


def scaled(value: Any, factor: float) -> Any:
    """A number, or each of several, times a factor; whole numbers stay whole and positive."""
    if isinstance(value, tuple):
        return [scaled(each, factor) for each in value]
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor


def failures(module: str, name: str, values: dict[str, Any], tests: Path) -> list[str]:
    """Names of the tests that fail where an object of a module has other values in its fields."""
    parts = [module, name, json.dumps(values), str(tests)]
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
    return failures("unshuffle.proof.effort", "EFFORT", more, TESTS / "proof")


def main() -> None:
    """Run all mutants of some subjects and print which tests fail."""
    parser = argparse.ArgumentParser(description="Hold tests against wrong parameters.")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(subjects()))
    parser.add_argument("--factor", type=float, default=3.0, help="of the mutants (%(default)s)")
    parser.add_argument("--field", help="only this field")
    args = parser.parse_args()
    refuse_unknown("subject ", args.subjects, subjects())
    rows, survivors = [], 0
    for name, subject in subjects().items():
        if args.subjects and name not in args.subjects:
            continue
        for field, value in subject.fields.items():
            if args.field not in (None, field):
                continue
            for factor in (args.factor, 1 / args.factor):
                mutant = scaled(value, factor)
                changed = subject.module, subject.name, {field: mutant}
                failed = failures(*changed, subject.tests)
                failed = failed or failures(*changed, TESTS / "proof")
                survivors += not failed
                shown = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" * (len(failed) > 3))
                rows.append((f"{name}.{field}", str(value), str(mutant), shown or "SURVIVED"))
                print(*rows[-1], file=sys.stderr)
    print_table(["field", "standard", "mutant", "tests that fail"], rows)
    print(f"\n{len(rows)} mutants, {survivors} survived")
    dearer = [] if args.subjects else failures_with_more_effort(args.factor)
    if dearer:
        print(f"more effort changes what is claimed: {', '.join(dearer)}")
    sys.exit(bool(survivors or dearer))


if __name__ == "__main__":
    main()
