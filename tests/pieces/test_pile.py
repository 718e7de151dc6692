import numpy as np
import pytest

from unshuffle import Piece, Pile
from unshuffle.errors import PileError
from unshuffle.pieces.pile import Bias


def piece(name, rows=2, columns=3, value=0.0):
    return Piece.linear(
        name, np.full((rows, columns), value, np.float32), np.zeros(rows, np.float32)
    )


def test_sequence_depends_on_the_numbers_alone(rng):
    weights = rng.normal(size=(5, 2, 3)).astype(np.float32)
    bias = np.zeros(2, np.float32)
    one = Pile([Piece.linear(i, weights[i], bias) for i in range(5)])
    other = Pile([Piece.linear(f"x{9 - i}", weights[i], bias) for i in (3, 1, 4, 0, 2)])
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine.weight, theirs.weight)


def test_identical_twins_are_sorted_by_id():
    assert Pile([piece(10), piece(2), piece("a")]).ids == (2, 10, "a")


def test_dtype_is_the_widest():
    wide = Piece.linear(1, np.zeros((2, 3)), np.zeros(2), "float64")
    assert Pile([piece(0)]).dtype == np.float32
    assert Pile([piece(0), wide]).dtype == np.float64
    assert Pile([piece(0), wide]).stored_as == ("float32", "float64")


@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [
        (np.zeros(3), np.zeros(3), r"piece 7: its weight has shape \(3,\)"),
        (np.zeros((0, 3)), np.zeros(0), r"piece 7: its weight has shape \(0, 3\)"),
        (np.zeros((2, 3)), np.zeros(3), r"piece 7: its bias has shape \(3,\).* needs \(2,\)"),
        (np.array([[0, np.nan]]), np.zeros(1), r"piece 7: its weight holds nan at \[0, 1\]"),
        (np.zeros((1, 2)), np.array([np.inf]), r"piece 7: its bias holds inf at \[0\]"),
    ],
)
def test_a_piece_that_is_no_linear_layer_is_refused(weight, bias, message):
    with pytest.raises(PileError, match=message):
        Piece.linear(7, weight, bias)


def test_a_piece_may_have_any_tensors(rng):
    tensors = {"scale": rng.normal(size=3), "kernel": rng.normal(size=(2, 3, 4))}
    part = Piece("odd", tensors)
    assert part.shapes == {"scale": (3,), "kernel": (2, 3, 4)}
    assert repr(part) == "Piece('odd', 3, 2×3×4, float32)"
    assert Pile([part, piece(0)]).dtype == np.float64
    for bad, message in (
        ({"scale": np.array([1.0, np.inf])}, r"piece 7: its scale holds inf at \[1\]"),
        (
            {"kernel": np.zeros((2, 0))},
            r"piece 7: its kernel has shape \(2, 0\) and holds no number",
        ),
    ):
        with pytest.raises(PileError, match=message):
            Piece(7, bad)


def test_what_counts_beside_weights_is_no_weight(rng):
    kernel, counted = rng.normal(size=(2, 3)).astype(np.float32), np.array(7)
    part = Piece("norm", {"kernel": kernel, "shift": [0, 1], "batches": counted})
    assert part.shapes == {"kernel": (2, 3), "shift": (2,)}
    assert part.tensors["batches"].dtype == counted.dtype
    assert Piece("whole", {"kernel": np.eye(2, dtype=int)}).shapes == {"kernel": (2, 2)}


def test_pieces_of_any_kind_are_in_a_sequence_that_names_do_not_influence(rng):
    listed = [
        {
            "weight": rng.normal(size=shape),
            **({} if bias is None else {"bias": rng.normal(size=bias)}),
        }
        for shape, bias in [((3,), (3,)), ((3,), None), ((3, 2), None), ((3,), (3,))] * 2
    ]
    one = Pile([Piece(k, tensors) for k, tensors in enumerate(listed)])
    other = Pile([Piece(f"x{9 - k}", listed[k]) for k in rng.permutation(8)])
    for mine, theirs in zip(one, other, strict=True):
        assert mine.shapes == theirs.shapes
        for name, values in mine.tensors.items():
            np.testing.assert_array_equal(values, theirs.tensors[name])


def test_a_weight_whose_bias_was_torn_off_is_a_layer_without_one():
    torn = Piece.linear(3, np.ones((2, 3), np.float32), None)
    assert torn.detached
    assert torn.bias.tolist() == [0, 0]
    assert not piece(0).detached
    assert not Pile([torn, piece(0)]).detached  # no bias lies beside it
    pile = Pile([torn, piece(0)], [Bias(1, np.array([5.0, 7.0]))])
    assert pile.detached
    whole = pile.joined({3: np.array([5.0, 7.0])})
    assert not whole.detached
    assert whole.ids == pile.ids
    assert whole[whole.index[3]].bias.tolist() == [5, 7]


def test_an_empty_pile_and_shared_ids_are_refused():
    with pytest.raises(PileError, match="empty"):
        Pile([])
    with pytest.raises(PileError, match="two pieces are called 1"):
        Pile([piece(1), piece(1, value=1.0)])
