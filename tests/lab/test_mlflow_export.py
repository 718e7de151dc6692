"""Against a real MLflow store in a folder."""

from importlib.util import find_spec

import pytest

from unshuffle.commands import main
from unshuffle.lab.ledger import add_runs

pytestmark = pytest.mark.skipif(
    find_spec("mlflow") is None, reason="the extra `mlflow` is not installed"
)


@pytest.fixture
def store(tmp_path, monkeypatch):
    # MLflow 3 wants to be asked for its oldest kind of store, the only one without a database.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlruns").as_uri()


def test_runs_arrive_once_and_whole(tmp_path, store, make_run, capsys):
    from mlflow.tracking import MlflowClient

    runs = [make_run("trace", pairs_right=0.75), make_run("bias", failure="ValueError: é")]
    ledger = tmp_path / "l.sqlite"
    add_runs(ledger, runs)
    assert main(["lab", "export", str(ledger), store]) == 0
    assert capsys.readouterr().out.startswith("2 of 2 runs added")
    add_runs(ledger, [make_run("ratio", pairs_right=1.0)])
    assert main(["lab", "export", str(ledger), store]) == 0
    assert capsys.readouterr().out.startswith("1 of 3 runs added")

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("unshuffle").experiment_id
    found = {run.data.params["method"]: run for run in client.search_runs([experiment])}
    assert set(found) == {"trace", "bias", "ratio"}
    one = found["trace"]
    assert one.data.metrics == {"pairs_right": 0.75, "seconds": 1.5}
    assert one.data.params["subject"] == "example"
    assert one.data.params["seed"] == "0"
    assert one.data.tags["unshuffle.key"] == runs[0].key
    assert one.data.tags["unshuffle.environment"] == "here"
    assert one.info.end_time - one.info.start_time == 1500
    assert (one.info.status, found["bias"].info.status) == ("FINISHED", "FAILED")
    assert found["bias"].data.tags["unshuffle.failure"] == "ValueError: é"


def test_a_store_that_is_none_is_told_in_a_line(tmp_path, make_run, capsys, monkeypatch):
    ledger = tmp_path / "l.sqlite"
    add_runs(ledger, [make_run()])
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    for uri, hint in (
        ("gopher://nowhere", "check its address"),
        ((tmp_path / "mlruns").as_uri(), "MLFLOW_ALLOW_FILE_STORE=true"),
    ):
        assert main(["lab", "export", str(ledger), uri]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert uri[:20] in said
        assert hint in said
