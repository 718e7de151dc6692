"""Subjects: the networks that experiments are about, each with its known answer."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.blocks.mlp import as_mlp
from unshuffle.errors import FileError, UsageError, shown
from unshuffle.files import read_pile, read_records
from unshuffle.files.opening import read_bytes
from unshuffle.oracle.evaluation import DroppedOracle, make_case
from unshuffle.oracle.recipe import FamilyPlan, Recipe
from unshuffle.oracle.storage import is_oracle, read_module_oracle, read_oracle
from unshuffle.oracle.zoo import TrainingJob, oracle_folder, train_job
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import Outcome
from unshuffle.solver import solve

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Subject:
    """A network to experiment on, before it is read. `content` is a hash of what it consists of.

    The seed trains and drops an oracle, draws so many rows of the record, all of fewer, and is
    every method's own. The folder is that of pieces and record, or the zoo of an oracle.
    """

    name: str
    content: str
    seed: int
    rows: int
    recipe: Recipe | None = None
    folder: Path | None = None

    def rng(self) -> np.random.Generator:
        """The generator of all that a method draws."""
        return np.random.default_rng(self.seed)


def oracle_subject(recipe: Recipe, rows: int, zoo: Path | None) -> Subject:
    """The oracle of a recipe with its seed."""
    return Subject(recipe.name, recipe.key(), recipe.seed, rows, recipe, zoo)


def folder_subject(name: str, folder: Path, seed: int, rows: int) -> Subject:
    """A folder with `pieces/` and one record. `FileError` if it is not there or has not these."""
    return Subject(name, _content(folder), seed, rows, folder=folder)


@lru_cache(4)
def load(subject: Subject) -> DroppedOracle:
    """Read or train a subject. `UnshuffleError` if a file is damaged or nobody knows the answer."""
    if subject.recipe is not None:
        return _load_oracle(subject.recipe, subject.folder, subject.rows)
    assert subject.folder is not None
    whole = _load_folder(subject.folder)
    rows = subject.rng().permutation(len(whole.records))[: subject.rows]
    records = whole.records.take(np.sort(rows))
    return replace(whole, name=subject.name, seed=subject.seed, records=records)


def _load_oracle(recipe: Recipe, zoo: Path | None, rows: int) -> DroppedOracle:
    if zoo is not None and is_oracle(oracle_folder(zoo, recipe)):
        network, data = read_oracle(oracle_folder(zoo, recipe))
    else:
        oracle = train_job(TrainingJob(recipe, None))
        network, examples = oracle.network, oracle.examples
        nothing = np.empty((len(examples.inputs), 0), np.float32)
        data = Records(examples.inputs, nothing, examples.targets)
    return make_case(recipe, network, data, rows)


def load_module(subject: Subject) -> "tuple[nn.Module, Records]":
    """Read or train the oracle of a subject that is a module, with the first rows of its data."""
    recipe, zoo = subject.recipe, subject.folder
    if recipe is None or not isinstance(recipe.network, FamilyPlan):
        raise UsageError(f"{subject.name}: is no oracle of a module; choose a recipe module-…")
    if zoo is not None and is_oracle(oracle_folder(zoo, recipe)):
        module, data = read_module_oracle(oracle_folder(zoo, recipe))
        return module, data.first(subject.rows)
    oracle = train_job(TrainingJob(recipe, None))
    nothing = np.empty((len(oracle.examples.inputs), 0), np.float32)
    return oracle.network, Records(oracle.examples.inputs, nothing).first(subject.rows)


@lru_cache(2)
def _load_folder(folder: Path) -> DroppedOracle:
    """All rows of a folder's record; its answer is found and proved by a solve."""
    pieces, record = _parts(folder)
    pile, records = read_pile(pieces), read_records(record).predicted()
    solution = solve(pile, records)
    if solution.outcome is not Outcome.EXACT:
        raise UsageError(
            f"{shown(folder)}: its record is not reproduced exactly ({solution.outcome}), so "
            "the right answer is not known; experiment on a folder that `unshuffle solve` solves"
        )
    activation = as_mlp(solution.network).blocks.activation
    return DroppedOracle(folder.name, 0, pile, records, solution.permutation, activation)


def _parts(folder: Path) -> tuple[Path, Path]:
    if not folder.is_dir():
        raise FileError(f"{shown(folder)}: there is no such folder; check the path")
    records, pieces = sorted(folder.glob("*.csv*")), folder / "pieces"
    if not pieces.is_dir() or len(records) != 1:
        raise FileError(
            f"{shown(folder)}: has {len(records)} records (.csv) and "
            f"{'a' if pieces.is_dir() else 'no'} folder pieces; one of each is expected"
        )
    return pieces, records[0]


@lru_cache(4)
def _content(folder: Path) -> str:
    pieces, record = _parts(folder)
    digest = hashlib.sha256()
    for path in (*sorted(pieces.iterdir()), record):
        digest.update(hashlib.sha256(read_bytes(path)).digest())
    return digest.hexdigest()[:24]
