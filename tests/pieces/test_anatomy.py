import numpy as np
import pytest

from unshuffle import Piece, Pile, Records
from unshuffle.errors import PileError, RecordError
from unshuffle.pieces.anatomy import read_anatomy


def pile_of(*shapes, first=0):
    rng = np.random.default_rng(0)
    return Pile(
        Piece.linear(i, rng.normal(size=shape).astype(np.float32), np.zeros(shape[0], np.float32))
        for i, shape in enumerate(shapes, start=first)
    )


INP, OUT, LAST = (5, 3), (3, 5), (1, 3)


def roles(pile, anatomy):
    return [{pile[i].id for i in fitting} for fitting in (anatomy.inp, anatomy.out, anatomy.last)]


def test_roles_follow_from_shapes():
    pile = pile_of(OUT, INP, LAST, INP, OUT)
    anatomy = read_anatomy(pile)
    assert (anatomy.width, anatomy.hidden, anatomy.outputs, anatomy.blocks) == (3, 5, 1, 2)
    assert roles(pile, anatomy) == [{1, 3}, {0, 4}, {2}]
    assert str(anatomy) == "2 blocks 3 → 5 → 3, last layer 3 → 1"


@pytest.mark.parametrize("blocks", [1, 2, 7])
@pytest.mark.parametrize(
    ("width", "hidden", "outputs"), [(3, 5, 1), (5, 3, 1), (3, 5, 3), (3, 5, 2), (5, 2, 7)]
)
def test_every_unambiguous_network_is_recognised(blocks, width, hidden, outputs):
    shapes = [(hidden, width), (width, hidden)] * blocks + [(outputs, width)]
    anatomy = read_anatomy(pile_of(*shapes))
    assert (anatomy.width, anatomy.hidden, anatomy.outputs) == (width, hidden, outputs)
    assert anatomy.blocks == len(anatomy.inp) == len(anatomy.out) == blocks
    assert len(anatomy.last) == 1
    assert not anatomy.interchangeable


def test_square_layers_can_be_inp_or_out():
    anatomy = read_anatomy(pile_of((3, 3), (3, 3), (3, 3), (3, 3), LAST))
    assert anatomy.interchangeable
    assert anatomy.blocks == 2
    assert anatomy.inp == anatomy.out
    assert len(anatomy.inp) == 4


def test_a_last_layer_shaped_like_inp_is_one_of_them():
    anatomy = read_anatomy(pile_of(INP, INP, OUT))
    assert (anatomy.width, anatomy.outputs, anatomy.blocks) == (3, 5, 1)
    assert anatomy.last == anatomy.inp


def test_hidden_widths_may_differ_where_shapes_tell_the_roles():
    pile = pile_of((5, 3), (7, 3), (3, 5), (3, 7), (3, 5), (5, 3), LAST)
    anatomy = read_anatomy(pile)
    assert (anatomy.width, anatomy.hidden, anatomy.outputs, anatomy.blocks) == (3, 7, 1, 3)
    assert anatomy.widths == (5, 5, 7)
    assert roles(pile, anatomy) == [{0, 1, 5}, {2, 3, 4}, {6}]
    parts = anatomy.by_width(pile)
    assert [part.hidden for part in parts] == [5, 7]
    assert [roles(pile, part)[0] for part in parts] == [{0, 5}, {1}]
    assert str(anatomy) == "3 blocks 3 → 5 … 7 → 3, last layer 3 → 1"


@pytest.mark.parametrize("squares", [2, 4])
def test_one_of_several_hidden_widths_may_be_the_streams(squares):
    pile = pile_of((5, 3), (3, 5), (7, 3), (3, 7), *[(3, 3)] * squares, LAST)
    anatomy, either = read_anatomy(pile), {*range(4, 4 + squares)}
    assert anatomy.widths == (*[3] * (squares // 2), 5, 7)
    assert roles(pile, anatomy) == [{0, 2} | either, {1, 3} | either, {4 + squares}]
    assert anatomy.blocks == 2 + squares // 2
    assert [part.interchangeable for part in anatomy.by_width(pile)] == [True, False, False]


def test_of_two_readings_of_unequal_widths_the_record_decides():
    # d = 3 with h = 4 and 5 and a last layer 1 × 3: no other stream fits all pieces.
    pile = pile_of((4, 3), (3, 4), (5, 3), (3, 5), LAST)
    inputs = np.zeros((2, 3))
    assert read_anatomy(pile, Records(inputs, np.zeros((2, 1)))).widths == (4, 5)
    with pytest.raises(RecordError, match="4 input columns"):
        read_anatomy(pile, Records(np.zeros((2, 4)), np.zeros((2, 1))))


@pytest.mark.parametrize(
    ("shapes", "inputs", "said"),
    [
        (
            [(4, 6), (1, 4)],
            6,
            ["a stem 6 → 4, 2 blocks 4 → 5 → 4, a head 4 → 1", "piece 4 (4 × 6)"],
        ),
        ([(2, 4), (1, 2)], 4, ["the shapes are those of 2 blocks 4 → 5 → 4, a head 4 → 2 → 1"]),
        ([(4, 5), (1, 4)], 5, ["a stem 5 → 4", "one of pieces 1, 3 and 4 (4 × 5)"]),
        (
            [(4, 4), (4, 4), (1, 4)],
            4,
            [
                "a head 4 → 4 → 4 → 1, or of one more block 4 → 4 → 4 and a last layer; give",
                "what is no block: pieces 4 and 5 (4 × 4)",
            ],
        ),
        (
            [(5, 4), (5, 4), (1, 4)],
            4,
            ["4 pieces are 5 × 4 and 2, half as many", "piece 6 (1 × 4)"],
        ),
    ],
)
def test_networks_of_another_kind_are_told_with_their_next_step(shapes, inputs, said):
    pile = pile_of((5, 4), (4, 5), (5, 4), (4, 5), *shapes)
    with pytest.raises(PileError) as raised:
        read_anatomy(pile, Records(np.zeros((2, inputs)), np.zeros((2, 1))))
    for part in [*said, "give the network's code with --model FILE.py:FUNCTION"]:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([INP, OUT], "no last layer: all 2 pieces are inp or out layers of shapes 5 × 3 and 3 × 5"),
        ([INP, INP, OUT, LAST], r"2 pieces can be inp \(5 × 3\) and 1 can be out"),
        ([INP, OUT, OUT, LAST], "1 inp missing or out too many among pieces 1 and 2"),
        ([INP, OUT, LAST, (7, 9)], r"piece 3 \(7 × 9\) fits nowhere"),
        ([INP, OUT, LAST, (7, 9), (7, 9)], r"pieces 3 and 4 \(7 × 9\) fit nowhere"),
        ([INP, OUT, LAST, (7, 9), (2, 8)], r"pieces 3 and 4 \(2 × 8, 7 × 9\) fit nowhere"),
        ([INP, OUT, LAST, LAST], "pieces 2 and 3 could each be the last layer"),
        ([INP, LAST], r"no two shapes in the pile are transposes of each other \(1 of 1 × 3"),
        ([LAST], "no two shapes"),
        ([(3, 3), LAST], "no two shapes"),
        ([(3, 3)] * 3 + [LAST], "3 pieces are 3 × 3 and piece 3 can be the last layer"),
        ([(3, 3)] * 4, "4 pieces are 3 × 3 and there is no other piece: the last layer"),
        ([(3, 3)] * 4 + [LAST, (2, 9)], r"piece 5 \(2 × 9\) fits nowhere"),
        ([(3, 3)] * 4 + [LAST, (2, 3)], "pieces 4 and 5 could each be the last layer"),
    ],
)
def test_a_pile_that_is_no_network_is_explained(shapes, message):
    with pytest.raises(PileError, match=message):
        read_anatomy(pile_of(*shapes))


def test_long_lists_of_pieces_are_shortened():
    with pytest.raises(PileError, match="pieces 2, 3, 4, 5, 6, 7, 8, 9 and 4 more"):
        read_anatomy(pile_of(INP, OUT, *[LAST] * 12))


def test_the_record_must_fit():
    pile = pile_of(INP, OUT, LAST)
    read_anatomy(pile, Records(np.zeros((4, 3)), np.zeros((4, 1))))
    read_anatomy(pile, Records(np.zeros((4, 3)), np.zeros((4, 0))))
    with pytest.raises(RecordError, match=r"4 input columns.* network with 3 inputs"):
        read_anatomy(pile, Records(np.zeros((4, 4)), np.zeros((4, 1))))
    columns = ("a", "b", "c"), ("y", "output"), (), ()
    record = Records(np.zeros((4, 3)), np.zeros((4, 2)), columns=columns)
    with pytest.raises(RecordError, match=r"2 prediction .* 1 outputs; of y and output, name the"):
        read_anatomy(pile, record)


def test_the_record_tells_which_way_round_a_broken_pile_is():
    with pytest.raises(PileError, match="a stem 5 → 3, 1 blocks 3 → 5 → 3, a head 3 → 1"):
        read_anatomy(pile_of(INP, OUT, OUT, LAST), Records(np.zeros((4, 5)), np.zeros((4, 1))))
    shapes = [INP, OUT, OUT, (1, 3), (1, 5)]
    with pytest.raises(PileError, match=r"piece 4 \(1 × 5\) fits nowhere in a network of width 3"):
        read_anatomy(pile_of(*shapes), Records(np.zeros((4, 3)), np.zeros((4, 1))))
    with pytest.raises(
        PileError, match=r"piece 3 \(1 × 3\) fits nowhere in a network of width 5.*--model"
    ):
        read_anatomy(pile_of(*shapes), Records(np.zeros((4, 5)), np.zeros((4, 1))))


def record_of(names, predictions=("pred",), targets=()):
    count, given = len(names), np.linspace(-1, 2, 4 * len(predictions)).reshape(4, -1)
    columns = tuple(names), tuple(predictions), tuple(targets), ("Unnamed: 0",)
    inputs = np.arange(4.0 * count).reshape(4, count)
    return Records(inputs, given, np.ones((4, len(targets))), "r.csv", columns)


@pytest.mark.parametrize(
    ("record", "advice"),
    [
        (record_of(["id", "x0", "x1", "x2"]), "if id is no input, leave it out: --targets id"),
        (
            record_of(["x0", "x1", "x2", "time"], targets=["true"]),
            "if time is no input, leave it out: --targets time,true",
        ),
        (
            record_of(["x0", "x1", "x2", "answer"], predictions=()),
            "if answer holds the predictions: --predictions answer",
        ),
        (
            record_of(["x0", "x1", "x2", "answer", "y"], predictions=()),
            "if the last hold predictions and targets: --predictions answer --targets y",
        ),
        (
            record_of(["id", "x0", "x1", "x2", "result"], predictions=()),
            "if result holds the predictions, and id is no input: "
            "--predictions result --targets id$",
        ),
        (
            record_of(["0", "1", "2", "3"], predictions=["4"]),
            "if the last hold predictions and targets: --predictions 3 --targets 4",
        ),
        (
            record_of(["score", "x0", "x1", "x2"], predictions=()),
            "if score holds the predictions: --predictions score",
        ),
        (
            record_of(["x0", "x1", "x2", "score"], predictions=["y"]),
            "leave it out: --targets score; if it holds the predictions: "
            "--predictions score --targets y$",
        ),
        (
            record_of(["f(x)", "x0", "x1", "x2"], predictions=()),
            r"if f\(x\) holds the predictions: --predictions 'f\(x\)'$",  # as a shell takes it
        ),
        (
            record_of(["x", "z"]),
            "1 missing: give a record that has all, or if Unnamed: 0 are among them, name all",
        ),
        (record_of(["x0", "x1", "x2", "x3"]), "name the input columns with --inputs"),
    ],
)
def test_the_odd_column_is_named_with_the_option_that_mends_it(record, advice):
    with pytest.raises(RecordError, match=f"r.csv has .* input columns.*3 inputs; .*{advice}"):
        read_anatomy(pile_of(INP, OUT, LAST), record)


def test_what_comes_behind_the_last_layer_is_named(rng):
    pile = pile_of(INP, OUT, (2, 3))
    inputs, logits = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    read_anatomy(pile, Records(inputs, logits))
    with pytest.raises(RecordError, match=r"1 prediction columns.*2 outputs; they are labels"):
        read_anatomy(pile, Records(inputs, logits.argmax(axis=1)[:, None].astype(float)))
    with pytest.raises(RecordError, match=r"0 and 1, which are labels .* give the logits or prob"):
        read_anatomy(pile, Records(inputs, (logits > logits.mean()).astype(float)))
    with pytest.raises(RecordError, match="name the prediction columns if the defaults miss them"):
        read_anatomy(pile, Records(inputs, logits[:, :1]))
