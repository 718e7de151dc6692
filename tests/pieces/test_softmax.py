"""Probabilities are told, and their softmax is undone; labels are refused."""

import numpy as np
import pytest

from unshuffle import (
    Outcome,
    Piece,
    Pile,
    Records,
    pair,
    read_solution,
    solve,
    verify,
    write_solution,
)
from unshuffle.errors import RecordError
from unshuffle.pieces.softmax import BEHIND_SOFTMAX, without_softmax

SHAPE = {"blocks": 4, "width": 8, "hidden": 12, "coupling": 0.3}


def logarithms(logits):
    centred = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return centred - np.log(np.exp(centred).sum(axis=1, keepdims=True))


def softmax(logits):
    return np.exp(logarithms(logits))


LINKS = {
    "softmax": lambda logits: softmax(logits).astype(np.float32),
    "log-softmax": lambda logits: logarithms(logits).astype(np.float32),
    "rounded": lambda logits: softmax(logits).round(4),
}


@pytest.mark.parametrize("outputs", [2, 3])
@pytest.mark.parametrize("link", LINKS)
def test_probabilities_are_solved_kept_and_verified(dropped, tmp_path, outputs, link):
    case = dropped(**SHAPE, outputs=outputs, rows=400)
    records = Records(case.records.inputs, LINKS[link](case.records.predictions))
    solution = solve(case.pile, records)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    assert solution.findings.notes[0] == BEHIND_SOFTMAX
    np.testing.assert_array_equal(solution.network.last.weight, case.network.last.weight)
    write_solution(solution, tmp_path / "kept")
    for answer in (solution.answer, read_solution(tmp_path / "kept")):
        found = verify(case.pile, records, answer)
        assert (found.outcome, found.mse) == (solution.outcome, solution.mse)


def test_rows_that_rounding_has_pressed_to_zero_are_inputs_only(dropped):
    case = dropped(**SHAPE, outputs=3, rows=50)
    chances = softmax(case.records.predictions).round(4)
    chances[7] = (1, 0, 0)
    _, undone = without_softmax(case.pile, Records(case.records.inputs, chances))
    assert [*np.flatnonzero(np.isnan(undone.predictions).all(axis=1))] == [7]


def test_pairs_are_those_of_the_logits(dropped):
    case = dropped(**SHAPE, outputs=3, rows=100)
    logits = case.records.predictions - case.records.predictions.mean(axis=1, keepdims=True)
    centred, _ = without_softmax(case.pile, Records(case.records.inputs, softmax(logits)))
    records = Records(case.records.inputs, softmax(logits).astype(np.float32))
    of_logits = pair(centred, Records(records.inputs, logits), signal="first-order")
    found = pair(case.pile, records, signal="first-order")
    np.testing.assert_allclose(found.scores, of_logits.scores, atol=1e-3)


def test_labels_of_classes_are_refused(dropped):
    case = dropped(**SHAPE, outputs=3, rows=50)
    labels = np.eye(3)[case.records.predictions.argmax(axis=1)]
    with pytest.raises(RecordError, match=r"labels of classes.*give the numbers before"):
        solve(case.pile, Records(case.records.inputs, labels))


def test_without_a_known_last_layer_the_logits_are_asked_for(dropped):
    case = dropped(**SHAPE, outputs=3, rows=50)
    records = Records(case.records.inputs, softmax(case.records.predictions))
    other = Piece.linear("another", np.ones((3, 8)), np.ones(3))
    with pytest.raises(RecordError, match="give the numbers before it, the logits"):
        without_softmax(Pile([*case.pile, other]), records)


def test_outputs_that_sum_to_one_by_themselves_stay(rng):
    """A last layer whose weights have no mean predicts such numbers without a softmax."""
    weight = rng.normal(size=(3, 4))
    pile = Pile([Piece.linear(0, weight - weight.mean(axis=0), np.full(3, 1 / 3))])
    inputs = 0.01 * rng.normal(size=(20, 4))
    predictions = inputs @ pile[0].weight.T + pile[0].bias
    records = Records(inputs, predictions)
    assert without_softmax(pile, records)[1] is records
