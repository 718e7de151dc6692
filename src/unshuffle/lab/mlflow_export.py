"""Runs of the ledger as runs of MLflow; needs `mlflow`."""

import os
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from unshuffle.errors import MissingExtraError, UsageError, shown
from unshuffle.lab.ledger import LedgerRun

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "unshuffle"  # what MLflow calls the collection
KEY = "unshuffle.key"  # the tag by which a run is known there

# What helps with a store, by the scheme of its address.
HINTS = {
    "file": "MLFLOW_ALLOW_FILE_STORE=true in the environment says that a folder is meant",
    "sqlite": "a database needs the whole package: pip install mlflow",
}

RUNS_AT_ONCE = 1000  # that are asked for together


def export_runs(runs: Iterable[LedgerRun], uri: str) -> int:
    """Log the runs that an MLflow store lacks; returns how many those were.

    The tracking URI is such as `http://localhost:5000` or that of a folder. `sqlite:///mlflow.db`
    needs the whole package `mlflow`, not only the client that the extra installs.
    `MissingExtraError` or `UsageError` says that MLflow is not there, or the store of no use.
    """
    # It would report over the network how it is used, and knock for minutes where nobody answers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MissingExtraError("MLflow", "mlflow", "exporting runs") from error
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
        known = _known(client, experiment)
        new = [run for run in runs if run.key not in known]
        for run in new:
            _log(client, experiment, run)
    except MlflowException as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"the MLflow store {shown(uri)} cannot be used ({shown(reason)}); "
            f"{HINTS.get(uri.partition(':')[0], 'check its address')}"
        ) from error
    return len(new)


def _known(client: "MlflowClient", experiment: str) -> set[str]:
    """Keys of the runs that are there."""
    keys: set[str] = set()
    page = None
    while True:
        runs = client.search_runs([experiment], max_results=RUNS_AT_ONCE, page_token=page)
        keys |= {run.data.tags.get(KEY, "") for run in runs}
        page = runs.token
        if not page:
            return keys


def _log(client: "MlflowClient", experiment: str, run: LedgerRun) -> None:
    from mlflow.entities import Metric, Param

    began = int(datetime.fromisoformat(run.started).timestamp() * 1000)
    ended = began + int(run.seconds * 1000)
    tags = {"unshuffle.code": run.code, "unshuffle.environment": run.environment}
    tags |= {"unshuffle.failure": run.failure} if run.failure else {}
    there = client.create_run(
        experiment, start_time=began, tags=tags, run_name=f"{run.method} on {run.subject}"
    )
    names = ("subject", "method", "seed", "rows", "content")
    measured = {**run.measurements, "seconds": run.seconds}
    client.log_batch(
        there.info.run_id,
        params=[Param(name, str(getattr(run, name))) for name in names],
        metrics=[Metric(name, float(value), ended, 0) for name, value in measured.items()],
    )
    client.set_terminated(
        there.info.run_id, status="FAILED" if run.failure else "FINISHED", end_time=ended
    )
    client.set_tag(there.info.run_id, KEY, run.key)  # last: without it the run counts as not there
