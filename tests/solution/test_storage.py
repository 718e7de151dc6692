"""What is kept of a solution comes back as it was, or is refused in one line."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from unshuffle import Outcome, Pile, Records, Trace, read_solution, solve, write_solution
from unshuffle.errors import FileError, UsageError
from unshuffle.files import write_npz
from unshuffle.pieces.pile import Piece
from unshuffle.solution.options import STRATEGIES
from unshuffle.solution.storage import FILES


@pytest.fixture(scope="module")
def solution(make_dropped):
    case = make_dropped(np.random.default_rng(5), blocks=5, width=16, hidden=24)
    return solve(case.pile, case.records)


@pytest.fixture
def folder(solution, tmp_path):
    write_solution(solution, tmp_path)
    return tmp_path


def assert_same(read, written):
    """Equal in every field; tested errors to float32."""
    plain = ("outcome", "blocks", "last", "rows", "sha256", "activation", "certificate")
    plain += ("seconds", "findings", "biases", "units", "repairs", "parameters")
    for name in plain:
        assert getattr(read, name) == getattr(written, name), name
    for name in ("mse", "max_abs_error"):
        np.testing.assert_equal(getattr(read, name), getattr(written, name))
    np.testing.assert_equal(read.margins, written.margins)
    assert_same_pairing(read.pairing, written.pairing)
    assert_same_trace(read.trace, written.trace)
    assert read.network.blocks.activation is written.network.blocks.activation
    tensors = written.network.tensors()
    assert read.network.tensors().keys() == tensors.keys()
    for name, values in read.network.tensors().items():
        assert values.dtype == tensors[name].dtype
        np.testing.assert_array_equal(values, tensors[name])


def assert_same_pairing(read, written):
    for name in ("anatomy", "matches", "last", "signal", "matching", "pairs"):
        assert getattr(read, name) == getattr(written, name), name
    np.testing.assert_array_equal(read.scores, written.scores)
    assert (read.fusion is None) == (written.fusion is None)
    if written.fusion is not None:
        np.testing.assert_array_equal(read.fusion.log_odds, written.fusion.log_odds)
        np.testing.assert_array_equal(read.fusion.pairs, written.fusion.pairs)
        assert read.fusion.weights == written.fusion.weights


def assert_same_trace(read, written):
    assert (read.ids, read.seconds) == (written.ids, written.seconds)
    assert len(read) == len(written)
    for one, other in zip(read.steps, written.steps, strict=True):
        assert (one.phase, one.kept) == (other.phase, other.kept)
        np.testing.assert_array_equal(one.arrangement, other.arrangement)
        assert one.rows == other.rows
        np.testing.assert_equal(one.error, other.error)
        np.testing.assert_array_equal(one.tested, other.tested.astype(np.float32))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "shape", [{"hidden": 24}, {"hidden": 16, "outputs": 3}, {"hidden": 16, "outputs": 16}]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_kept_comes_back(dropped, tmp_path, strategy, shape, dtype):
    case = dropped(blocks=4, width=16, dtype=dtype, **shape)
    written = solve(case.pile, case.records, strategy=strategy)
    write_solution(written, tmp_path / "run")
    assert_same(read_solution(tmp_path / "run"), written)


@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_the_activation_comes_back(dropped, tmp_path, activation):
    case = dropped(blocks=4, width=16, hidden=24, activation=activation)
    written = solve(case.pile, case.records, activation=activation)
    write_solution(written, tmp_path)
    read = read_solution(tmp_path)
    assert read.activation == activation
    np.testing.assert_array_equal(
        read.network.predict(case.records.inputs), written.network.predict(case.records.inputs)
    )


def test_what_is_unfinished_or_unknown_comes_back(dropped, tmp_path):
    case = dropped(blocks=6, width=16, hidden=24)
    short = solve(case.pile, case.records, strategy="classic", time_limit=1e-9)
    nothing = Records(case.records.inputs, np.empty((len(case.records), 0), np.float32))
    estimate = solve(case.pile, nothing)
    single = dropped(blocks=1)
    alone = solve(single.pile, single.records)  # one block: infinite margin, no rival
    assert short.outcome is Outcome.BUDGET_SPENT
    assert estimate.outcome is Outcome.ESTIMATE
    for name, written in {"short": short, "estimate": estimate, "alone": alone}.items():
        write_solution(written, tmp_path / name)
        assert_same(read_solution(tmp_path / name), written)


def test_pieces_that_were_set_aside_come_back(dropped, tmp_path):
    case = dropped(blocks=4, width=16, hidden=24)
    decoy = Piece.linear("decoy", case.pile[0].weight[::-1].copy(), case.pile[0].bias)
    written = solve(Pile([*case.pile, decoy]), case.records)
    assert [leftover.id for leftover in written.findings.leftovers] == ["decoy"]
    write_solution(written, tmp_path)
    assert_same(read_solution(tmp_path), written)


def test_names_of_any_kind_come_back(dropped, tmp_path):
    case = dropped(blocks=4, width=16, hidden=24)
    names = ["<b>", "ü", "7", 7, "[red]", "$", "x" * 900, "'", 8]
    pile = Pile(
        Piece.linear(name, piece.weight, piece.bias)
        for name, piece in zip(names, case.pile, strict=True)
    )
    written = solve(pile, case.records)
    write_solution(written, tmp_path)
    assert_same(read_solution(tmp_path), written)


def test_nothing_is_overwritten_unless_asked(solution, folder):
    with pytest.raises(FileError, match=r"answer\.txt.*--force"):
        write_solution(solution, folder)
    write_solution(solution, folder, force=True)
    assert_same(read_solution(folder), solution)


@pytest.mark.parametrize("name", [name for name in FILES if name != "answer.txt"])
def test_a_file_that_is_missing_or_damaged_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    assert name in refusal(folder)
    for damage in (b"", b"x", content[: len(content) // 2], b"\xff" + content[1:]):
        (folder / name).write_bytes(damage)
        assert name in refusal(folder)


def refusal(folder):
    """The one printable line with which a folder is refused."""
    with pytest.raises(FileError) as caught:
        read_solution(folder)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1_000
    return message


def test_a_folder_that_is_none_is_named(tmp_path):
    assert "nowhere" in refusal(tmp_path / "nowhere")
    assert "solution.json" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"outcome": "perfect"}, "outcome is 'perfect', but one of exact, approximate, "),
        ({"outcome": 3}, "outcome is 3, but one of exact, "),
        ({"activation": "\x1b[31m"}, r"activation is '\x1b[31m', but text in quotes one of "),
        ({"activation": ""}, "activation is '', but"),
        ({"arrangement": "no"}, "arrangement is 'no', but a list is"),
        ({"arrangement": [[1, 2, 3]]}, "arrangement does not name two of its pieces"),
        ({"arrangement": [[1, True]]}, "arrangement[0][1] is True, but a whole number is"),
        ({"arrangement": []}, "arrangement does not name two of its pieces"),
        ({"arrangement": [[0, 1], [1, 2]]}, "arrangement does not name two of its pieces"),
        ({"arrangement": [[0, 99]]}, "arrangement does not name two of its pieces"),
        ({"ids": [1, 1]}, "arrangement does not name two of its pieces"),
        ({"ids": [[]]}, "ids[0] is a list of 0, but a piece's number or name is"),
        ({"last": None}, "its slots are not those of its arrangement"),
        ({"last": 99}, "its slots are not those of its arrangement"),
        ({"slots": {}}, "its slots are not those of its arrangement"),
        ({"slots": [1]}, "slots is a list of 1, but a table of keys and values is"),
        ({"pairing": None}, "its activation or units are of blocks of another kind"),
        ({"mse": "small"}, "mse is 'small', but a number is"),
        ({"mse": 10**400}, "mse is 1000"),
        ({"mse": float("inf")}, "mse is inf, but a number is"),
        ({"rows": 1.5}, "rows is 1.5, but a whole number is"),
        ({"rows": True}, "rows is True, but a whole number is"),
        ({"sha256": "0"}, "sha256"),
        ({"sha256": "0" * 1001}, "sha256 is '0000"),
        ({"seconds": [1]}, "seconds is a list of 1, but a table of keys and values with total is"),
        ({"seconds": {"order": 1}}, "seconds is a table, but"),
        ({"seconds": {"total": None}}, "seconds.total is nothing, but a number is"),
        (
            {"seconds": {"total": 1, "\n": 1}},
            r"seconds: a key is '\n', but text in quotes of at most",
        ),
        ({"biases": [[0, 1], [0, 2]]}, "biases is a list of 2, but a list of pairs"),
        ({"biases": [[98, 99]]}, "names a bias of a layer that it lacks"),
        ({"certificate": {}}, "certificate lacks the key neighbours"),
        ({"certificate": []}, "certificate is a list of 0, but a table of keys and values is"),
        ({"findings": {"notes": ["a\nb"]}}, r"findings.notes[0] is 'a\nb', but text in quotes of"),
        ({"findings": {"gaps": [{"place": 0}]}}, "findings.gaps[0] lacks the key missing"),
        (
            {"findings": {"leftover": []}},
            "findings has an unknown key leftover; the known ones are",
        ),
        ({"colour": 1}, "has an unknown key colour; the known ones "),
        ({"pairing": {}}, "pairing lacks the key pairs"),
        ({"pairing": 1}, "pairing is 1, but a table of keys and values is"),
    ],
)
def test_values_that_cannot_be_are_refused(folder, change, part):
    path = folder / "solution.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    message = refusal(folder)
    assert "solution.json" in message
    assert part in message


FEW = {"width": 16, "hidden": 24, "outputs": 1, "inp": [0], "out": [1], "last": [2]}
MATCH = {"inp": 0, "out": 1, "score": 1.0, "rival": None, "margin": None, "confidence": None}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"anatomy": {}}, "pairing.anatomy lacks the key width"),
        ({"weights": {"trace": "much"}}, "pairing.weights.trace is 'much', but a number is"),
        ({"pairs": [{}]}, "pairing.pairs[0] lacks the key inp"),
        ({"pairs": []}, "blocks"),
        ({"anatomy": FEW}, "evidence.npz"),
        ({"anatomy": FEW | {"inp": [99]}}, "its anatomy names positions that it lacks"),
        ({"pairs": [MATCH | {"inp": 99}]}, "its pairing names layers that it lacks"),
    ],
)
def test_evidence_that_cannot_be_is_refused(folder, change, part):
    path = folder / "solution.json"
    values = json.loads(path.read_text())
    values["pairing"] |= change
    path.write_text(json.dumps(values))
    assert part in refusal(folder)


@pytest.mark.parametrize("change", [lambda places: [places[0] + 1, places[1]], lambda _: [0, 5]])
@pytest.mark.parametrize("statements", ["neighbours", "pairs"])
def test_a_certificate_of_other_places_is_refused(folder, change, statements):
    path = folder / "solution.json"
    values = json.loads(path.read_text())
    statement = values["certificate"][statements][-1]
    statement["places"] = change(statement["places"])
    path.write_text(json.dumps(values))
    assert "certificate" in refusal(folder)


def test_a_key_that_is_missing_is_named(folder):
    path = folder / "solution.json"
    values = json.loads(path.read_text())
    for key in ("pairing", "arrangement", "ids", "sha256", "seconds"):
        path.write_text(json.dumps({name: v for name, v in values.items() if name != key}))
        assert f"lacks the key {key}" in refusal(folder)
    for text in ("[" * 100_000, "1" * 10_000, "[]", "null"):
        path.write_text(text)
        assert "solution.json" in refusal(folder)


def test_files_of_two_solutions_do_not_mix(dropped, folder, tmp_path):
    case = dropped(blocks=4, width=16, hidden=24)
    write_solution(solve(case.pile, case.records), tmp_path / "other")
    for name in ("network.safetensors", "evidence.npz", "trace.npz"):
        mine = (folder / name).read_bytes()
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
        assert name in refusal(folder)
        (folder / name).write_bytes(mine)


def test_scores_that_are_not_finite_are_refused(solution, folder):
    scores = np.where(np.eye(5), np.nan, solution.pairing.scores)
    change_evidence(folder, "scores", lambda _: scores)
    assert "evidence.npz" in refusal(folder)


def change_evidence(folder, name, change):
    path = folder / "evidence.npz"
    with np.load(path) as held:
        arrays = dict(held)
    values = json.loads(str(arrays["values"]))
    (edge,) = values["edges"]
    if name in edge and name != "scores":
        edge[name] = change(edge[name])
    else:
        number = (edge if name == "scores" else values)[name]["array"]
        arrays[number] = change(arrays[number])
    write_npz(path, arrays | {"values": np.array(json.dumps(values))}, force=True)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("similarity", lambda values: values[1:]),
        ("similarity", lambda values: values * np.nan),
        ("similarity", lambda values: values + np.inf),
        ("first", lambda role: role + 1),
        ("second", lambda role: role + 1),
        ("rows", lambda rows: [row - 20 for row in rows]),
        ("rows", lambda rows: [rows[k] for k in (0, 0, 2, 3, 4)]),
        ("columns", lambda columns: [float(one) for one in columns]),
        ("columns", lambda columns: columns[::-1]),
        ("scores", lambda scores: scores.astype(np.float32)),
        ("scores", lambda scores: scores[:, 1:]),
        ("scores", lambda scores: scores + np.inf),
    ],
)
def test_evidence_of_no_pieces_is_refused(folder, name, change):
    change_evidence(folder, name, change)
    assert "evidence.npz" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("kept", lambda kept: kept.astype(np.int64)),
        ("kept", lambda kept: kept[:-1]),
        ("phase", lambda phase: np.zeros(len(phase))),
        ("candidates", lambda counts: counts + 1),
        ("candidates", lambda counts: -counts),
        ("blocks", lambda blocks: blocks - 1),
        ("arrangement", lambda blocks: blocks + 25),
        ("arrangement", lambda blocks: blocks - 25),
        ("arrangement", lambda blocks: blocks[:-1]),
        ("arrangement", lambda blocks: blocks[:, 0]),
        ("error", lambda error: error[:, None]),
        ("seconds", lambda seconds: None),
        ("rows", lambda rows: rows - 2**40),
        ("rows", lambda rows: rows + 2**31),
    ],
)
def test_arrays_that_make_no_trace_are_refused(solution, folder, name, change):
    arrays = solution.trace.arrays()
    arrays[name] = change(arrays[name])
    if arrays[name] is None:
        del arrays[name]
    with pytest.raises(UsageError):
        Trace.from_arrays(arrays, solution.trace.ids)
    write_npz(folder / "trace.npz", arrays, force=True)
    assert "trace.npz" in refusal(folder)


def test_text_that_is_no_text_is_refused(solution, folder):
    arrays = solution.trace.arrays()
    for code in (0xFFFFFFFF, 0xD800):
        broken = np.full((len(arrays["phase"]), 4), code, np.uint32).view("<U4").ravel()
        write_npz(folder / "trace.npz", arrays | {"phase": broken}, force=True)
        assert "phase" in refusal(folder)


def test_summaries_agree(solution, folder):
    read = read_solution(folder)
    assert read.summary() == solution.summary()
    assert asdict(read.pairing.anatomy) == asdict(solution.pairing.anatomy)
