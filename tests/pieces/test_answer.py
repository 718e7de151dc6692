import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from unshuffle.blocks.assembly import build_network
from unshuffle.errors import AnswerError
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.answer import answer_hash, answer_text, check_answer, parse_answer
from unshuffle.pieces.pile import Pile


@pytest.fixture
def case(dropped):
    return dropped(blocks=2)


def test_the_answer_rebuilds_the_network(case):
    network = build_network(case.pile, case.permutation)
    for name, values in case.network.tensors().items():
        np.testing.assert_array_equal(network.tensors()[name], values)


def test_the_hash_is_that_of_the_text():
    assert answer_text((3, 1, "x")) == "3,1,x"
    assert answer_hash((3, 1, "x")) == hashlib.sha256(b"3,1,x").hexdigest()


@pytest.mark.parametrize("text", ["0,1,2,3,4", " 0, 1,2,\n3,4\n", "0\n1\n2\n3\n4"])
def test_answers_are_read_with_blanks_and_line_breaks(case, text):
    assert parse_answer(text, case.pile) == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("text", ["0,1,2,3,5", "0,one", "0:1:5", "0 1 7", "0.1,0.2", "1\x1b[31m"])
def test_an_answer_with_unknown_pieces_is_refused(case, text):
    with pytest.raises(AnswerError, match=r"expected 5 ids such as \d, separated by commas"):
        parse_answer(text, case.pile)


@pytest.mark.parametrize(
    "given",
    [
        "0 1 2 3 4",
        "[0, 1, 2, 3, 4]",
        "[[0, 1], [2, 3], 4]",
        "(0,1)\n(2,3)\n4\n",
        "[(0, 1), (2, 3), 4]",
        "0 -> 1 -> 2 -> 3 → 4",
        "['0', '1', '2', '3', '4']",
        '{"mse": 1e-13, "permutation": [0, 1, 2, 3, 4], "exact": true}',
        '{"answer": "0,1,2,3,4"}',
        "piece_0.pth piece_1.pth pieces/piece_2.pth piece_03.pth 4",
        "[ 0  1  2\n  3  4 ]",
        "0:1 2:3 4",
        "0;1;2;3;4",
        "```\n0,1,2,3,4\n```\n",
        "inp,out\n0.0,1.0\n2.0,3.0\n4.0,\n",
        "0->1, 2->3, 4",
        "0-1 2-3 4",
        "0–1, 2–3, 4",
        "0_1_2_3_4",
        "0|1|2|3|4",
        "0, 1 & 2, 3 & 4",
        "0:1, 2:3, 4",
        "inp,out\n0,1\n2,3\n4,\n",
        "piece_0.pth: 1\npiece_2.pth: 3\n4",
        '{"blocks": [{"inp": 0, "out": 1}, {"out": 3, "inp": 2}], "last": 4}',
        '{"last_layer": "4", "mse": 0.0, "pairs": [[0, 1], ["2", 3]], "blocks": 2}',
        '{"blocks": [{"index": 0, "W_in": 0, "W_out": 1, "trace": -9.5}, [2, 3]], "final": [4]}',
        '{"blocks": ["0:1", "2:3"], "last": 4, "exact": true}',
        (0, 1, 2, 3, 4),
        [(0, 1), ["2", "3"], 4],
        np.arange(5),
    ],
)
def test_answers_are_read_in_the_forms_of_other_solvers(case, given):
    assert parse_answer(given, case.pile) == (0, 1, 2, 3, 4)


def test_names_with_blanks_and_brackets_are_what_they_are(case):
    names = ("[red]x[", "a b", "c (1)", "(d)", "e:0")
    pile = Pile([replace(piece, id=names[piece.id]) for piece in case.pile])
    assert parse_answer(", ".join(names), pile) == names


@pytest.mark.parametrize(
    "given", [3.5, None, [0, None], [True], b"0,1", {"answer": 1}, [{"in": 0}], [[0.0]]]
)
def test_what_is_no_answer_is_refused(case, given):
    with pytest.raises(AnswerError, match="which is no id"):
        parse_answer(given, case.pile)


@pytest.mark.parametrize("made", [np.array, torch.tensor])
def test_arrays_and_tensors_are_answers(case, made):
    assert parse_answer(made(case.permutation), case.pile) == case.permutation
    blocks = [made(case.permutation[:2]), made(case.permutation[2:4]), made(case.permutation[4])]
    assert parse_answer(blocks, case.pile) == case.permutation


@pytest.mark.parametrize("text", ['{"mse": 0}', "[x" * 100_000, "/" * 100_000, "0" * 100_000])
def test_text_that_is_no_answer_is_refused_at_once(case, text):
    with pytest.raises(AnswerError, match=r"none of the keys permutation|names a piece"):
        parse_answer(text, case.pile)


@pytest.mark.parametrize("name", ["?", "?1"])  # as answer.txt and solution.json call it
@pytest.mark.parametrize("form", ["0,1,{},3,4", '{{"permutation": [0, 1, "{}", 3, 4]}}'])
def test_an_answer_with_a_lost_layer_is_refused_with_the_way_to_its_network(case, form, name):
    message = rf"has {re.escape(name)} in place 3: .*network\.safetensors"
    with pytest.raises(AnswerError, match=message):
        parse_answer(form.format(name), case.pile)


@pytest.mark.parametrize("name", ["?\x7f", "\x7f", "9" * 999])
def test_names_in_messages_are_printable_and_short(case, name):
    with pytest.raises(AnswerError) as raised:
        parse_answer(f"0,1,{name},3,4", case.pile)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


def test_an_answer_must_use_each_piece_once_where_it_fits(case):
    anatomy = read_anatomy(case.pile)
    inp, out, inp2, out2, last = case.permutation
    check_answer(case.pile, anatomy, case.permutation)
    check_answer(case.pile, anatomy, (inp2, out, inp, out2, last))  # wrong, yet possible
    for answer, message in [
        ((inp, out, inp, out2, last), f"names piece {inp} twice"),
        ((inp, out, inp2, last), f"names 4 of 5 pieces, without {out2}; name these"),
        ((), "names 0 of 5 pieces"),
        ((out, inp, inp2, out2, last), rf"piece {out} \(6 × 10\) in place 1, where an inp layer"),
        ((last, out, inp2, out2, inp), rf"piece {last} \(1 × 6\) in place 1"),
    ]:
        with pytest.raises(AnswerError, match=message):
            check_answer(case.pile, anatomy, answer)
