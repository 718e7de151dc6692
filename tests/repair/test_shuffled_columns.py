"""Records whose input columns stand in another sequence than the network reads them."""

import numpy as np
import pytest

from unshuffle import Outcome, Pile, Records, read_solution, write_solution
from unshuffle.pieces.clock import Clock
from unshuffle.repair.case import Case
from unshuffle.repair.shuffled_columns import (
    SHUFFLED_COLUMNS,
    Moments,
    exchange_columns,
    match_columns,
)
from unshuffle.solution.options import Options


def repaired(pile, records):
    return SHUFFLED_COLUMNS.run(Case(pile, records, Options(), solve=None), None)


def test_moments_tell_the_columns_apart(rng):
    inputs = rng.normal(size=(4000, 9))
    couples = rng.normal(size=(9, 9))
    predictions = np.einsum("ni,ij,nj->n", inputs, couples, inputs)[:, None] + inputs[:, :1]
    shuffled = rng.permutation(9)
    ours = Moments.of(rng.normal(size=(4000, 9)), predictions * 0)
    assert not ours.singles.any()
    others = rng.normal(size=(4000, 9))  # other inputs of the same distribution
    answers = np.einsum("ni,ij,nj->n", others, couples, others)[:, None] + others[:, :1]
    ours, theirs = Moments.of(others, answers), Moments.of(inputs[:, shuffled], predictions)
    columns = match_columns(ours, theirs, rng, Clock())[0]
    assert shuffled[columns].tolist() == [*range(9)]


def test_exchanges_mend_what_is_wrong(dropped, rng):
    case = dropped(blocks=3, width=24, hidden=30, rows=400)
    shuffled = rng.permutation(24)  # of 276 exchanges few are judged
    record = Records(case.records.inputs[:, shuffled], case.records.predictions)
    right = np.argsort(shuffled)
    wrong = right.copy()
    wrong[[1, 4, 6]] = right[[4, 6, 1]]
    error, columns = exchange_columns(case.network, record, wrong, Clock())
    assert columns.tolist() == right.tolist()
    assert error < 1e-10
    assert exchange_columns(case.network, record, wrong, Clock(-1.0))[1] is wrong


@pytest.mark.parametrize("outputs", [1, 3])
def test_columns_and_order_are_found_together(dropped, rng, outputs, tmp_path):
    case = dropped(blocks=4, width=8, hidden=12, rows=2000, outputs=outputs)
    shuffled = rng.permutation(8)
    record = Records(case.records.inputs[:, shuffled], case.records.predictions)
    solution = repaired(case.pile, record)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    assert list(solution.findings.columns) == np.argsort(shuffled).tolist()
    assert "not in the sequence" in solution.findings.notes[0]
    write_solution(solution, tmp_path)
    assert read_solution(tmp_path).findings == solution.findings


def test_few_columns_resemble_each_other_and_are_told_apart_all_the_same(dropped, rng):
    case = dropped(blocks=4, width=6, hidden=12, rows=400)
    shuffled = rng.permutation(6)
    record = Records(case.records.inputs[:, shuffled], case.records.predictions)
    assert repaired(case.pile, record).permutation == case.permutation


def test_of_another_network_no_sequence_is_found(dropped):
    case, other = (dropped(blocks=3, width=8, hidden=12, rows=300) for _ in range(2))
    assert repaired(case.pile, other.records) is None
    few = Records(case.records.inputs[:60], case.records.predictions[:60])
    assert repaired(Pile(case.pile), few) is None
