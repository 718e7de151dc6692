"""The zoo: oracles of many recipes and seeds, trained once and kept.

The content of its recipe, its seed and the version of the trainer name an oracle's folder. Whatever
asks for the same again finds it. A changed recipe is another oracle.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from unshuffle.files import make_folder
from unshuffle.oracle.recipe import Recipe
from unshuffle.oracle.storage import CHECKPOINT, Oracle, is_oracle, write_oracle
from unshuffle.oracle.workers import in_processes, on_cluster, stop_if_asked


@dataclass(frozen=True)
class Arrival:
    """An oracle of the zoo with how it was trained, or the reason why it could not be."""

    recipe: Recipe
    remark: str
    failed: bool = False


@dataclass(frozen=True)
class TrainingJob:
    """An oracle to train. Its checkpoint lies where worker and parent share one."""

    recipe: Recipe
    checkpoint: Path | None


def grid(recipes: Sequence[Recipe], seeds: Sequence[int]) -> list[Recipe]:
    """Every recipe with every seed, in this sequence."""
    return [recipe.with_seed(seed) for recipe in recipes for seed in seeds]


def oracle_folder(zoo: Path, recipe: Recipe) -> Path:
    """Where a recipe's oracle lies in a zoo."""
    return zoo / recipe.key()


def train_zoo(
    recipes: Sequence[Recipe],
    zoo: Path,
    *,
    processes: int,
    scheduler: str | None = None,
    on_arrival: Callable[[Arrival], None],
) -> None:
    """Train the oracles that a zoo lacks, in local processes or on a Dask cluster.

    `on_arrival` is called for each recipe, first for those that are there already. An interruption
    loses nothing that is finished. In local processes it loses a few seconds of each training that
    was under way. The next call goes on from there.

    Raises `FileError` if the zoo cannot be written, and what `on_cluster` raises.
    """
    make_folder(zoo)
    missing = []
    for recipe in recipes:
        if is_oracle(oracle_folder(zoo, recipe)):
            on_arrival(Arrival(recipe, "kept"))
        else:
            missing.append(recipe)
    if not missing:
        return
    folders = [oracle_folder(zoo, recipe) for recipe in missing]
    if scheduler is None:
        for folder in folders:
            make_folder(folder)
        jobs = [TrainingJob(r, f / CHECKPOINT) for r, f in zip(missing, folders, strict=True)]
        results = in_processes(train_job, jobs, processes)
    else:
        results = on_cluster(
            train_job, [TrainingJob(recipe, None) for recipe in missing], scheduler
        )
    with closing(results):
        for at, result in results:
            recipe, folder = missing[at], folders[at]
            if isinstance(result, BaseException):
                on_arrival(Arrival(recipe, f"{type(result).__name__}: {result}", failed=True))
                continue
            write_oracle(folder, result, force=True)
            (folder / CHECKPOINT).unlink(missing_ok=True)
            on_arrival(Arrival(recipe, f"trained in {result.seconds:.1f} s"))


def train_job(job: TrainingJob) -> Oracle:
    """Train one oracle, in a process that exists for this."""
    import torch

    from unshuffle.oracle.training import train

    # For good, since threads of a Dask worker may train side by side in one process.
    torch.set_num_threads(1)
    return train(job.recipe, checkpoint=job.checkpoint, on_epoch=lambda _: stop_if_asked())
