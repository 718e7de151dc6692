"""The line that a refusal names converts the file, in a shell, whatever the file is called."""

import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from unshuffle.errors import FileError
from unshuffle.files import read_records

ROWS = [{"a b": 0.1, "pred": -2.5e-7}, {"a b": 1 / 3, "pred": 4.0}]


def save_arrow(path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_pylist(ROWS)
    new = pa.ipc.new_file if path.suffix == ".feather" else pa.ipc.new_stream
    with new(str(path), table.schema) as sink:
        sink.write_table(table)


def save_old_feather(path: Path) -> None:
    feather = pytest.importorskip("pyarrow.feather")
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first version is no longer advised
        feather.write_feather(feather.Table.from_pydict(columns), str(path), version=1)


def save_orc(path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.orc").write_table(pa.Table.from_pylist(ROWS), str(path))


def save_arrays(path: Path) -> None:
    np.save(path, [[row["a b"]] for row in ROWS])
    np.save(path.with_name("a.npy"), [1])
    np.save(path.with_name("y.npy"), [[row["pred"]] for row in ROWS])


def save_lists(path: Path) -> None:
    """The columns as lists, in which no array is."""
    pytest.importorskip("pandas")
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    if path.suffix == ".pt":
        pytest.importorskip("torch").save(columns, path)
    else:
        path.write_bytes(pickle.dumps(columns))


def save_frame(path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS)
    if path.suffix == ".pkl":
        frame.to_pickle(path)
    else:
        pytest.importorskip("openpyxl")
        frame.to_excel(path, index=False)


SAVE = {
    "TO.feather": save_arrow,
    "old.feather": save_old_feather,
    "data's 00.arrow": save_arrow,
    'X "1".npy': save_arrays,
    "record.pt": save_lists,
    "$HOME.pickle": save_lists,
    "record.orc": save_orc,
    "record.pkl": save_frame,
    "record.xlsx": save_frame,
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * name.endswith(".pt")) for name in SAVE],
)
def test_the_line_works(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    SAVE[name](path)
    with pytest.raises(FileError) as refusal:
        read_records(path)
    _, found, line = str(refusal.value).partition("python -c ")
    folder = Path(sys.executable).parent
    subprocess.run(
        ["/bin/sh", "-c", found + line],
        check=True,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "HOME": "/nowhere"},
    )
    (made,) = (one for one in tmp_path.iterdir() if one.suffix in (".csv", ".npz"))
    records = read_records(made)
    np.testing.assert_array_equal(records.inputs, [[row["a b"]] for row in ROWS])
    np.testing.assert_array_equal(records.predictions, [[row["pred"]] for row in ROWS])


@pytest.mark.parametrize("given", "XY")
@pytest.mark.parametrize("names", [("X", "Y"), ("features", "result"), ("data", "Pred")])
def test_inputs_and_predictions_are_told_apart_in_either_file(
    tmp_path: Path, rng, given: str, names: tuple[str, str]
) -> None:
    inputs, predictions = rng.normal(size=(9, 3)), rng.normal(size=(9, 1))
    places = dict(zip("XY", (tmp_path / f"{name}.npy" for name in names), strict=True))
    np.save(places["X"], inputs)
    np.save(places["Y"], predictions)
    np.save(tmp_path / "all.npy", np.hstack([inputs, predictions]))
    np.save(tmp_path / "other.npy", [1.0])
    with pytest.raises(FileError, match=r"holds only (inputs|predictions); join both") as refusal:
        read_records(places[given])
    line = str(refusal.value)
    assert f"x=n.load({json.dumps(str(places['X']))})" in line
    assert f"pred=n.load({json.dumps(str(places['Y']))})" in line
    np.testing.assert_array_equal(read_records(tmp_path / "all.npy").inputs, inputs)


class Program:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("ran",)


def test_no_pickle_is_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("record.pkl").write_bytes(pickle.dumps(Program()))
    with pytest.raises(FileError, match="nothing was run"):
        read_records("record.pkl")
    Path("list.pkl").write_bytes(pickle.dumps([1.0]))
    with pytest.raises(FileError, match="a pickle runs programs, so trust it first"):
        read_records("list.pkl")
    assert {one.name for one in tmp_path.iterdir()} == {"record.pkl", "list.pkl"}
