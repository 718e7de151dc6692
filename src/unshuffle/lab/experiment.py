"""Experiments as data: a TOML file states a hypothesis, its runs and its criteria."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from itertools import chain, product, starmap
from pathlib import Path
from typing import Annotated

from unshuffle.errors import FileError, UsageError, shown
from unshuffle.files.plain import read_toml
from unshuffle.files.schema import BESIDE, at_least, read_fields
from unshuffle.lab.approaches import find_approach
from unshuffle.lab.criteria import Condition, read_condition
from unshuffle.lab.ledger import LedgerRun, newest
from unshuffle.lab.metrics import METRICS
from unshuffle.lab.subjects import Subject, folder_subject, oracle_subject
from unshuffle.oracle.recipe import find_recipe, shipped_names

# Subjects that lie in folders, which the command line names.
FOLDERS = ("puzzle", "example")


class Verdict(StrEnum):
    """What the criterion says."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    OPEN = "open"


@dataclass(frozen=True)
class Experiment:
    """A hypothesis, its test and its criteria: the keys of a file, which gives the name.

    Subjects are "puzzle", "example", names of shipped recipes, or recipe files from the
    experiment's folder on. Methods are names of approaches. Each seed trains another oracle, draws
    other rows, and seeds the method. Tables show the metrics. Rows are those of each subject's
    record. All of a list of conditions must hold. The interpretation is the authors', and never
    part of the verdict. `next` says what to try where it is open or undecided. `if_confirmed` and
    `if_refuted` are the decision that follows.
    """

    name: Annotated[str, BESIDE]
    path: Annotated[Path, BESIDE]
    title: str
    hypothesis: str
    source: str
    subjects: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    rows: Annotated[int, at_least(2)] = 500
    confirmed_if: tuple[str, ...] = ()
    refuted_if: tuple[str, ...] = ()
    interpretation: str = ""
    next: str = ""
    if_confirmed: str = ""
    if_refuted: str = ""

    @cached_property
    def conditions(self) -> dict[str, list[Condition]]:
        """What must hold, under `confirmed_if` and `refuted_if`. Impossible ones are refused."""
        return {
            key: [read_condition(text, f"{shown(self.path)}: {key}") for text in texts]
            for key, texts in (("confirmed_if", self.confirmed_if), ("refuted_if", self.refuted_if))
        }

    @property
    def subject_names(self) -> tuple[str, ...]:
        """What tables call the subjects."""
        return tuple(Path(name).stem if name.endswith(".toml") else name for name in self.subjects)

    def of(self, runs: Sequence[LedgerRun]) -> list[LedgerRun]:
        """The last runs of its subjects, methods and seeds, on unchanged recipes."""
        keys = {
            (recipe.name, seed): recipe.with_seed(seed).key()
            for recipe in map(_recipe, self.recipes())
            for seed in self.seeds
        }
        belonging = [
            run
            for run in runs
            if run.rows == self.rows
            and run.seed in self.seeds
            and run.method in self.methods
            and run.subject in self.subject_names
            and run.content == keys.get((run.subject, run.seed), run.content)
        ]
        subject, method = self.subject_names.index, self.methods.index
        places = {
            run.key: (subject(run.subject), method(run.method), run.seed) for run in belonging
        }
        return sorted(newest(belonging), key=lambda run: places[run.key])

    def recipes(self) -> list[str]:
        """Names and paths of the recipes among its subjects."""
        names = [name for name in self.subjects if name not in FOLDERS]
        return [str(self.path.parent / n) if n.endswith(".toml") else n for n in names]

    def size(self) -> int:
        """How many runs it takes."""
        return len(self.subjects) * len(self.methods) * len(self.seeds)

    def verdict(self, runs: Sequence[LedgerRun]) -> Verdict:
        """What the criterion says of its runs."""
        if len(runs) < self.size():
            return Verdict.OPEN
        confirmed, refuted = (
            bool(some) and all(condition.holds(runs) for condition in some)
            for some in self.conditions.values()
        )
        if confirmed == refuted:
            return Verdict.UNDECIDED
        return Verdict.CONFIRMED if confirmed else Verdict.REFUTED


def read_experiment(path: Path) -> Experiment:
    """Read an experiment; `FileError` or `UsageError` says what is wrong with its file."""
    where = f"{shown(path)}:"
    asked = Experiment(path.stem, path, **read_fields(read_toml(path), where, Experiment))
    for name in ("subjects", "methods", "seeds", "metrics"):
        values = getattr(asked, name)
        if not values or len(set(values)) < len(values):
            raise UsageError(f"{where} {name} is empty or names one twice; name each once")
    try:
        _check_names(asked)
    except UsageError as error:
        raise UsageError(f"{where} {error}") from error
    if min(asked.seeds) < 0:
        raise UsageError(f"{where} seeds has {min(asked.seeds)}, but whole numbers from 0 on work")
    if not asked.confirmed_if and not asked.refuted_if:
        raise UsageError(f"{where} lacks confirmed_if and refuted_if; state when the claim falls")
    for condition in chain(*asked.conditions.values()):
        for term in condition.terms:
            if not any(starmap(term.chooses, product(asked.methods, asked.subject_names))):
                raise UsageError(
                    f"{where} the condition {shown(condition.text)} is about no method and subject "
                    "of the experiment; correct its names"
                )
    return asked


def read_experiments(paths: Sequence[Path]) -> list[Experiment]:
    """Read experiments from files, and from all files of folders, sorted by name.

    `FileError` or `UsageError` says that one is impossible, two share a name, or none is there.
    """
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        if not inside:
            raise FileError(f"{shown(path)}: has no experiments (.toml); name another folder")
        files += inside
    experiments = [read_experiment(path) for path in files]
    names = [experiment.name for experiment in experiments]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two experiments are called {shown(name)}; rename one")
    return experiments


def subjects_of(
    experiment: Experiment, folders: Mapping[str, Path | None], zoo: Path | None
) -> list[Subject]:
    """The subjects of an experiment, with each of its seeds. A zoo has the oracles.

    `folders` says where each of `FOLDERS` lies. Its subject is left out where that is None.
    """
    found: list[Subject] = []
    rows, recipes = experiment.rows, [_recipe(name) for name in experiment.recipes()]
    for seed in experiment.seeds:
        for name, folder in folders.items():
            if name in experiment.subjects and folder is not None:
                found.append(folder_subject(name, folder, seed, rows))
        found += [oracle_subject(recipe.with_seed(seed), rows, zoo) for recipe in recipes]
    return found


_recipe = cache(find_recipe)


def _check_names(asked: Experiment) -> None:
    for metric in asked.metrics:
        if metric not in METRICS:
            raise UsageError.unknown("metric", metric, METRICS)
    for method in asked.methods:
        find_approach(method)
    for subject in asked.subjects:
        check_subject(subject)


def check_subject(name: str) -> None:
    """Refuse what names no subject."""
    known = (*FOLDERS, *shipped_names())
    if not name.endswith(".toml") and name not in known:
        raise UsageError.unknown("subject", name, (*known, "recipe files (.toml)"))
