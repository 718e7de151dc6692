"""CSV: what may vary, and every mistake with its row and column."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshuffle.errors import FileError, RecordError
from unshuffle.files import limits, read_records
from unshuffle.files.csv_file import CsvTable, open_csv
from unshuffle.pieces.clock import Clock


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "record.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a,b,pred\n1,2,3\n4,5,6\n",
        "a,b,pred\n1,2,3\n4,5,6",
        "a,b,pred\r\n1,2,3\r\n4,5,6\r\n",
        "a,b,pred\r1,2,3\r4,5,6\r",
        "a,b,pred\n1,2,3\n4,5,6\n\n\n",
        "\n\na,b,pred\n\n1,2,3\n\n4,5,6\n",
        "\ufeffa,b,pred\n1,2,3\n4,5,6\n",
        '"a","b","pred"\n"1","2","3"\n4,5,6\n',
        "a, b, pred\n1, 2, 3\n 4,5 ,6\n",
        "a,b,pred\n+1,2.,3e0\n.4e1,0.5E+1,600e-2\n",
        "a;b;pred\n1;2;3\n4;5;6\n",
        "\ufeff\r\na\tb\tpred\r\n1\t 2\t3\r\n4\t5\t6",
        "a|b|pred\n1|2|3\n4|5|6\n",
        "a b pred\n1 2 3\n4 5 6\n",
        "\n  a   b pred \n\n 1  2   3\r\n 4  5   6  \n",
        "# a b pred\n1.0e+00 2.0e+00 3.0e+00\n4.0e+00 5.0e+00 6.0e+00\n",
        "# a,b,pred\n1,2,3\n4,5,6\n",
        "1,2,3\n4,5,6\n",
        "1 2 3\n4 5 6\n",
        "\n0,1,2\n1,2,3\n4,5,6\n",
        ",a,b,pred\n7,1,2,3\n9,4,5,6\n",
        '"","a","b","pred"\n"1",1,2,3\n"2",4,5,6\n',
        "index,a,b,pred\n0,1,2,3\n1,4,5,6\n",
        "Unnamed: 0,0,1,2\n0,1,2,3\n1,4,5,6\n",
        "\ufeffsep=;\r\na;b;pred\r\n1;2;3\r\n4;5;6\r\n",
    ],
)
def test_what_may_vary(text: str, tmp_path: Path) -> None:
    records = read_records(write(tmp_path, text))
    np.testing.assert_array_equal(records.inputs, [[1, 2], [4, 5]])
    np.testing.assert_array_equal(records.predictions, [[3], [6]])


def test_names_may_hold_anything(tmp_path: Path) -> None:
    path = write(tmp_path, '"a,b","c\nd","e""f"\n1,2,3\n')
    assert open_csv(path.read_bytes(), path, Clock()).names == ("a,b", "c\nd", 'e"f')
    np.testing.assert_array_equal(read_records(path).inputs, [[1, 2, 3]])


def test_other_columns_may_hold_anything(tmp_path: Path) -> None:
    path = write(tmp_path, 'note,a,pred\n"x\ny, z",1,2\n?,3,4\n')
    records = read_records(path, inputs=["a"])
    np.testing.assert_array_equal(records.inputs, [[1], [3]])
    np.testing.assert_array_equal(records.predictions, [[2], [4]])


HEADER = "a,b,pred,true\n"
GOOD = "1,2,3,4\n"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (
            "x;pred\n0,5;1\n",
            "holds '0,5', but a finite number is needed; save the file with points",
        ),
        ("x,pred\n[1],1\n", "leave the row out; if no row has a number there, take the column out"),
        ("x,pred\n1,1\n[1],1\n", "correct it or leave the row out"),
    ],
)
def test_what_to_do_about_a_cell(text: str, advice: str, tmp_path: Path, refused) -> None:
    path = tmp_path / "r.csv"
    path.write_text(text)
    with refused(RecordError, advice):
        read_records(path)


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ("1,,3,4", ["column b is empty"]),
        ("1, ,3,4", ["column b is empty"]),
        ('1,"",3,4', ["column b is empty"]),
        ("1,NA,3,4", ["column b holds 'NA'"]),
        ("1,2,NA,4", ["column pred holds 'NA'"]),
        ("1,null,3,4", ["column b holds 'null'"]),
        ("1,nan,3,4", ["column b holds 'nan'"]),
        ("1,2,NaN,4", ["column pred holds 'NaN'"]),
        ("1,2,3,nan", ["column true holds 'nan'"]),
        ("inf,2,3,4", ["column a holds 'inf'"]),
        ("1,2,-Infinity,4", ["column pred holds '-Infinity'"]),
        ("1e999,2,3,4", ["column a holds '1e999'"]),
        ("1,x,3,4", ["column b holds 'x'"]),
        ("1,1_000,3,4", ["column b holds '1_000'"]),
        ("1,0x10,3,4", ["column b holds '0x10'"]),
        ("1,१,3,4", ["column b holds '१'"]),
        ('1,"1,5",3,4', ["column b holds '1,5'", "nothing between thousands"]),
        ("1,1.5.2,3,4", ["column b holds '1.5.2'"]),
        ("1,--2,3,4", ["column b holds '--2'"]),
        ("1,\x1b[31m,3,4", [r"column b holds '\x1b[31m'"]),
        ("1,2,3", ["has 3 cells", "4 columns", "column true is the first without"]),
        ("1", ["has 1 cells", "column b is the first without"]),
        ("1,2,3,4,5", ["has 5 cells", "4 columns", "nothing belongs after column true"]),
        ("1,2,3,4,", ["has 5 cells"]),
        ('1,2,"3\n,4', ["has 3 cells", "is a quote left open"]),
    ],
)
def test_mistakes(row: str, parts: list[str], before: int, *, tmp_path: Path, refused) -> None:
    path = write(tmp_path, HEADER + GOOD * before + row + "\n" + ("" if '"3' in row else GOOD))
    with refused(RecordError, path, f"row {before + 1} (line {before + 2})", *parts):
        read_records(path)


def test_the_first_mistake_is_named_with_its_line(tmp_path: Path, refused) -> None:
    path = write(tmp_path, '\n"a\nb",c\n\n1,2\n\n3,x\ny,4\n')
    with refused(RecordError, "row 2 (line 7), column c holds 'x'"):
        read_records(path)


def test_bytes_that_are_not_utf_8(tmp_path: Path, refused) -> None:
    with refused(RecordError, "row 2 (line 3), column b holds"):
        read_records(write(tmp_path, b"a,b\n1,2\n1,\xff2\n"))
    with refused(FileError, "record.csv", "not UTF-8"):
        read_records(write(tmp_path, b"a,\xff\n1,2\n"))
    with refused(FileError, "record.csv", "not UTF-8"):
        read_records(write(tmp_path, "a,b\n1,2\n".encode("utf-16")))


def test_nul(tmp_path: Path, refused) -> None:
    with refused(RecordError, "record.csv", "line 2"):
        read_records(write(tmp_path, b"a,b\n1,\x00\n"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1,nan,2\n1,2,3\n", "row 1 (line 1), column 1 holds 'nan'"),
        ("1 2 3\n1 x 3\n", "row 2 (line 2), column 1 holds 'x'"),
        ("a b pred\n1 2\n", "has 2 cells, but the header names 3 columns"),
        ("a,b\n", "has no rows"),
        ("a,b", "has no rows"),
        ("\n", "has no columns"),
        ("\n\n\n", "has no columns"),
        ("a,a\n1,2\n", "two columns are called a"),
        ("a, a\n1,2\n", "two columns are called a"),
        ("a,,b\n1,2,3\n", "column 2 has no name; name it, or take the column out of the file"),
        ("# by me\na,b,pred\n1,2,3\n", "if by begins no header, leave out its line"),
        (",\n1,2\n", "column 2 has no name"),
        (",pred\n1,2\n", "no column of inputs"),
        ("pred\n1\n", "no column of inputs"),
    ],
)
def test_headers(text: str, complaint: str, tmp_path: Path, refused) -> None:
    with refused(RecordError, "record.csv", complaint):
        read_records(write(tmp_path, text))


def test_limits_of_headers(tmp_path: Path, refused, monkeypatch) -> None:
    with refused(FileError, "record.csv", "column 2 has a name of 1001 characters"):
        read_records(write(tmp_path, f"a,{'b' * 1001}\n1,2\n"))
    monkeypatch.setattr(limits, "COLUMNS", 2)
    with refused(FileError, "record.csv", "has 3 columns, but at most 2"):
        read_records(write(tmp_path, "a,b,c\n1,2,3\n"))


def test_limit_of_cells(tmp_path: Path, refused, monkeypatch) -> None:
    monkeypatch.setattr(limits, "CELLS", 10)
    with refused(FileError, "record.csv", "at most 10 cells"):
        read_records(write(tmp_path, "a,b,c\n" + "1,2,3\n" * 4))


def test_huge_cells(tmp_path: Path, refused) -> None:
    with refused(RecordError, "record.csv", "line 2 is not CSV"):
        read_records(write(tmp_path, "a,b\n1," + "2" * 200_000 + "x\n"))


def test_gzip(tmp_path: Path, refused) -> None:
    path = tmp_path / "record.csv.gz"
    packed = gzip.compress(b"a,b\n") + gzip.compress(b"1,2\n")  # members follow each other
    path.write_bytes(packed)
    assert read_records(path).inputs.tolist() == [[1, 2]]
    for damaged in (packed[:-9], packed[:-1], packed[:-6] + bytes(6)):
        path.write_bytes(damaged)
        with refused(FileError, path, "not a complete gzip file"):
            read_records(path)


@given(
    st.lists(
        st.lists(
            st.floats(allow_nan=False, allow_infinity=False).map(repr)
            | st.sampled_from(["", "nan", "NA", " 1", "1 ", "+1", "1_0", "1e999", "-inf", '"2"']),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_the_quick_and_the_thorough_reader_agree(scratch: Path, rows: list[list[str]]) -> None:
    path = write(scratch, "\n".join(map(",".join, [["a", "pred"], *rows])) + "\n")
    table, end = open_csv(path.read_bytes(), path, Clock()), path.stat().st_size
    try:
        thorough = table._thorough(table.body, end, 0, ["a", "pred"], {"pred"})
    except RecordError:
        thorough = None
    quick = table._quick(table.body, end, ["a", "pred"], {"pred"})
    assert thorough is not None or quick is None
    if quick is not None:
        np.testing.assert_array_equal(quick, thorough, strict=True)


def test_good_files_are_read_quickly(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(CsvTable, "_thorough", None)
    text = '\ufeff"a\r\nb",pred,note\r\n1e-3,,x\r\n-2,3,?\r\n\r\n'
    records = read_records(write(tmp_path, text), inputs=["a\r\nb"])
    np.testing.assert_array_equal(records.predictions, [[np.nan], [3]])


def test_numbers_of_rows_are_no_input_unless_they_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, ",a,pred\n7,1,2\n8,3,4\n")
    assert read_records(path).columns == (("a",), ("pred",), (), ("Unnamed: 0",))
    assert read_records(path, inputs=["Unnamed: 0", "a"]).inputs.tolist() == [[7, 1], [8, 3]]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\n"])
def test_files_in_parts(end: str, tmp_path: Path, refused, monkeypatch) -> None:
    """Parts end where lines do; rows and lines are counted through all of them."""
    monkeypatch.setattr("unshuffle.files.csv_file._PART", 17)
    lines = ["a,pred", *(f"{n}.5,{n}" for n in range(1, 100))]
    records = read_records(write(tmp_path, end.join(lines)))
    np.testing.assert_array_equal(records.inputs[:, 0], np.arange(1, 100) + 0.5)
    quoted = read_records(write(tmp_path, end.join([*lines[:50], '"50.5","50"', *lines[51:]])))
    np.testing.assert_array_equal(quoted.inputs, records.inputs)
    for row in range(80, 90):
        text = end.join([*lines[:row], f"{row}.5,x", *lines[row + 1 :]])
        line = 1 + row * (2 if end == "\n\n" else 1)
        with refused(RecordError, f"row {row} (line {line}), column pred holds 'x'"):
            read_records(write(tmp_path, text))


class Asked(Clock):
    """A clock whose time is over once it was looked at so many times."""

    looks = 3

    @property
    def left(self) -> float:
        self.looks -= 1
        return self.looks


@pytest.mark.parametrize(("rows", "part"), [(["1,2"] * 100, 64), (['"1",2'] * 4_000, 2**20)])
def test_reading_ends_with_the_time_limit(rows, part, tmp_path: Path, refused, monkeypatch) -> None:
    """The clock is asked for each part, and within a part that is read cell by cell."""
    monkeypatch.setattr("unshuffle.files.csv_file._PART", part)
    path = write(tmp_path, "\n".join(["a,pred", *rows]))
    assert len(read_records(path, time_limit=60)) == len(rows)
    with refused(FileError, path, "the time limit of 5 s was over before all rows were read"):
        read_records(path, time_limit=Asked(5))
