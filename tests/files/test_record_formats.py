"""Records in all other forms than tables with a header: what is read, and what is refused."""

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unshuffle.errors import FileError, RecordError
from unshuffle.files import limits, read_records

X, Y = np.array([[1.5, -2], [3, 4], [5, 6e-9]]), np.array([0.5, 1 / 3, 7])
TABLE = np.column_stack([X, Y])
COLUMNS = dict(zip(("a", "b", "pred"), TABLE.T.tolist(), strict=True))
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in TABLE.tolist()]
CSV = "a,b,pred\n" + "".join(f"{a!r},{b!r},{p!r}\n" for a, b, p in TABLE.tolist())


def packed(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def saved(save: Callable[..., None], *given: object, **options: object) -> bytes:
    stream = io.BytesIO()
    save(stream, *given, **options)
    return stream.getvalue()


FORMS = {
    "rows": json.dumps(ROWS),
    "rows, indented": json.dumps(ROWS, indent=2),
    "a row a line": "\n".join(map(json.dumps, ROWS)) + "\n",
    "a list a line": "\n".join(map(json.dumps, TABLE.tolist())),
    "lists": json.dumps(TABLE.tolist()),
    "columns": "\ufeff" + json.dumps(COLUMNS),
    "columns in an object": json.dumps(
        {"data": {"all": {"x": X.tolist(), "y": [*Y]}}, "about": {"rows": 3, "of": "it"}}
    ),
    "inputs in a list": json.dumps([{"x": x, "y": y} for x, y in zip(X.tolist(), Y, strict=True)]),
    "matrix and vector": json.dumps({"about": "it", "x": X.tolist(), "y": Y.tolist(), "n": 3}),
    "pandas": json.dumps({name: dict(enumerate(each)) for name, each in COLUMNS.items()}),
    "pandas, split": json.dumps({"columns": ["a", "b", "y"], "data": TABLE.tolist()}),
    "pandas, table": json.dumps(
        {"schema": {}, "data": [{"index": n, **row} for n, row in enumerate(ROWS)]}
    ),
    "csv in a zip": packed({"r/record.csv": CSV.encode(), "__MACOSX/r.csv": b"", "READ.ME": b"?"}),
    "gzip in a zip": packed({"record.csv.gz": gzip.compress(CSV.encode())}),
    "json in gzip": gzip.compress(json.dumps(ROWS).encode()),
    "savetxt": saved(np.savetxt, TABLE),
    "savetxt with names": saved(np.savetxt, TABLE, header="a b pred", fmt="%25.17g"),
    "savez by place": saved(np.savez, X, Y),
    "save": saved(np.save, TABLE),
    "a pickle": pickle.dumps({"x": X, "y": Y}),
    "a pickled pair": pickle.dumps((X, Y[:, None])),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_read(form: str, tmp_path: Path) -> None:
    content = FORMS[form]
    (tmp_path / "r").write_bytes(content if isinstance(content, bytes) else content.encode())
    records = read_records(tmp_path / "r")
    np.testing.assert_array_equal(records.inputs, X)
    np.testing.assert_array_equal(records.predictions, Y[:, None])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("form", ["dict", "pair", "three", "one", "dataset"])
def test_tensors(form: str, legacy: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x, y, table = map(torch.from_numpy, (X, Y, TABLE))
    held = {
        "dict": {"x": x, "y": y, "epoch": 3, "about": "it"},
        "pair": (x, y),
        "three": [x, y[:, None], y[:, None]],
        "one": table,
        "dataset": torch.utils.data.TensorDataset(x, y),
    }
    path = tmp_path / "record.pt"
    torch.save(held[form], path, _use_new_zipfile_serialization=not legacy)
    records = read_records(path)
    np.testing.assert_array_equal(records.inputs, X)
    np.testing.assert_array_equal(records.predictions, Y[:, None])
    assert (records.targets is not None) == (form == "three")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[{"a": 1, "pred": 2}, {"a": "x", "pred": 3}]', "row 2, column a holds 'x'"),
        ('{"a": [1, [2]], "pred": [1, 2]}', "row 2, column a holds [2]"),
        ('{"a": [{"b": 1}, 2], "pred": [1, 2]}', "row 1, column a holds {'b': 1}"),
        ('[{"a": 1, "pred": 2}, {"pred": 3}]', "row 2, column a is empty"),
        (f'{{"a": [1{"0" * 400}], "pred": [1]}}', "row 1, column a holds 1000"),
        ('{"a": [1, 2], "pred": [1]}', "array a has 2 rows and pred has 1"),
        ("[[1, 2], [3]]", "holds [3]"),
        ('{"a": [[[1]]], "pred": [1]}', "array a has shape (1, 1, 1)"),
        ("[]", "holds no columns"),
        ("{}", "holds no columns"),
        ('{"a": "b"}', "row 1, column a holds 'b'"),
        ('["a"]', "holds no columns"),
        ("[1,\n 2", "is JSON that ends too early (line 2); copy"),
        ('{"a": 1}\n\n{"a": 2}\n{"a": 3', "is JSON that ends too early (line 4); copy"),
        ('{"a": 1}\n{"a": 2\n{"a": 3}', "is JSON that ends too early (line 2); copy"),
        ('{"a": 1\n{"a": 2}\n{"a": 3}', "is JSON that ends too early (line 1); copy"),
        ('{"a": 1}\n{"a": x}\n', "is not JSON (line 2); leave that line out"),
        ("{1}", "is not JSON (line 1); give a list of rows"),
        ("[" * 5_000, "no JSON that can be read"),
        ("[" + "9" * 5_000 + "]", "no JSON that can be read"),
    ],
)
def test_json_that_is_no_record(text: str, complaint: str, tmp_path: Path, refused) -> None:
    (tmp_path / "record.json").write_text(text)
    kind = FileError if "JSON" in complaint else RecordError
    with refused(kind, "record.json", complaint):
        read_records(tmp_path / "record.json")


def test_empty_cells_in_json(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('[{"a": 1, "pred": null}, {"a": 2}, {"a": 3, "pred": 1}]')
    records = read_records(tmp_path / "r.json")
    np.testing.assert_array_equal(records.predictions, [[np.nan], [np.nan], [1]])


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("JSON_BYTES", 10, '{"a": [1, 2, 3], "pred": [1, 2, 3]}'),
        ("JSON_PARTS", 2, '{"a": [1, 2, 3], "pred": [1, 2, 3]}'),
        ("CELLS", 5, '[{"a": 1}, {"b": 2}, {"c": 3}]'),
        ("FREE_BYTES", 5, "[" + ",".join(f'{{"{n}": 1}}' for n in range(2000)) + "]"),
    ],
)
def test_limits_of_json(name, value, text, *, tmp_path: Path, refused, monkeypatch) -> None:
    monkeypatch.setattr(limits, name, value)
    (tmp_path / "r.json").write_text(text)
    with refused(FileError, "r.json", "are accepted" if name != "JSON_PARTS" else "more than 2"):
        read_records(tmp_path / "r.json")


def test_what_is_wrapped_again_and_again(tmp_path: Path, refused, monkeypatch) -> None:
    path, content = tmp_path / "r", CSV.encode()
    for _ in range(3):
        content = gzip.compress(content)
    path.write_bytes(content)
    with refused(FileError, path, "compressed by gzip"):
        read_records(path)
    monkeypatch.setattr(limits, "FREE_BYTES", 2**12)
    path.write_bytes(gzip.compress(gzip.compress(bytes(2**20))))
    with refused(FileError, path, "bytes unpack to"):
        read_records(path)


@pytest.mark.parametrize("members", [{}, {"a.csv": b"a,b", "b.csv": b"c,d"}, {"a": b"", "b": b""}])
def test_a_zip_of_none_or_several(members: dict[str, bytes], tmp_path: Path, refused) -> None:
    (tmp_path / "r.zip").write_bytes(packed(members) if members else packed({"x/": b""}))
    with refused(FileError, "r.zip: is a zip of", "one record is needed"):
        read_records(tmp_path / "r.zip")


def test_a_name_in_a_zip_is_no_path(tmp_path: Path, refused) -> None:
    (tmp_path / "a.pkl").touch()
    (tmp_path / "r.zip").write_bytes(packed({f"{tmp_path}/a.pkl": pickle.dumps([1.0])}))
    with refused(FileError, f"r.zip: {tmp_path}/a.pkl: is no record that is read"):
        read_records(tmp_path / "r.zip")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(9), "a file of HDF5"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (bytes(99), "is no record that is read"),
        (b"PK\x05\x06" * 9, "is not a complete zip archive"),
        (pickle.dumps([{"a": 1.0}]), "is no record that is read"),
        (b"\xd0\xcf\x11\xe0" + bytes(9), "is no record that is read"),
    ],
)
def test_what_is_no_record(content: bytes, complaint: str, tmp_path: Path, refused) -> None:
    (tmp_path / "r").write_bytes(content)
    with refused(FileError, "r", complaint):
        read_records(tmp_path / "r")


def test_arrays_of_other_things_than_numbers(tmp_path: Path, refused) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"x": torch.ones(2, 2, dtype=torch.complex64), "y": torch.ones(2)}, tmp_path / "r")
    with refused(RecordError, "array x is stored as complex64, which is no number"):
        read_records(tmp_path / "r")
