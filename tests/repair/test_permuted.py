from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Outcome, read_solution, solve, write_solution
from unshuffle.blocks.activations import RELU
from unshuffle.blocks.assembly import mlp_bank
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpBank, MlpNetwork, MlpStack
from unshuffle.commands import main
from unshuffle.errors import FileError, PileError, RecordError
from unshuffle.files import write_network
from unshuffle.grouping import pair
from unshuffle.oracle.dropping import Hardening, drop, shuffle_hidden_units
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.clock import Clock
from unshuffle.repair import unit_matching, unit_mending
from unshuffle.repair.unit_matching import assigned, match_units, permuted_units
from unshuffle.repair.unit_mending import Units, exchanged_units, permuted_columns
from unshuffle.repair.unit_search import PermutedParameters, solve_permuted
from unshuffle.solution.options import Options


class Ticks(Clock):
    """A clock on which each look takes a second."""

    @property
    def left(self):
        self.used += 1
        return self.limit - self.used


@pytest.fixture
def case(make_dropped):
    return make_dropped(np.random.default_rng(2), rows=500, blocks=3, width=8, hidden=12)


@pytest.fixture
def scrambled(case, rng):
    return drop(case.network, case.records, rng=rng, hardening=Hardening(scramble_hidden=True))


def test_units_and_order_are_found(scrambled, tmp_path):
    solution = solve(scrambled.pile(), scrambled.records, permuted_units=True)
    assert solution.outcome is Outcome.EXACT
    assert solution.permutation == scrambled.answer
    assert set(solution.units) == set(scrambled.answer[1:-1:2])
    # The network handed back is consistent; the pile with its columns so arranged makes it.
    network, records = solution.network, scrambled.records
    np.testing.assert_allclose(network.predict(records.inputs), records.predictions, atol=1e-5)
    out = scrambled.answer[1]
    columns = list(solution.units[out])
    weight = scrambled.pieces[out]["weight"][:, columns]
    np.testing.assert_array_equal(weight, network.blocks.out_weight[0])
    write_solution(solution, tmp_path)
    assert read_solution(tmp_path).units == solution.units
    text = (tmp_path / "solution.json").read_text()
    first = f"{columns[0]}"
    broken = text.replace(f"    {first},\n    {columns[1]}", f"    {first},\n    {first}", 1)
    (tmp_path / "solution.json").write_text(broken)
    if broken != text:
        with pytest.raises(FileError, match="each once"):
            read_solution(tmp_path)


def test_from_the_command_line(case, tmp_path, capsys):
    write_network(tmp_path / "network.npz", case.network.tensors())
    there = str(tmp_path / "dropped")
    dropping = ["drop", str(tmp_path / "network.npz"), "--records", "500", "--seed", "4"]
    options = ["--format", "safetensors", "--scramble-hidden", "--out", there]
    assert main([*dropping, *options]) == 0
    capsys.readouterr()
    piles = [f"{there}/pieces", f"{there}/record.csv"]
    kept = str(tmp_path / "kept")
    options = ["--permuted-units", "--quiet", "--time-limit", "60", "--out", kept]
    status = main(["solve", *piles, *options])
    printed = capsys.readouterr().out
    assert status == 0
    answer = (tmp_path / "dropped" / "sealed" / "answer.txt").read_text().strip()
    assert printed.splitlines()[-1] == answer
    assert "put in sequence in 3 out layers" in printed
    assert main(["verify", *piles, answer]) == 3  # the answer names layers, not units
    assert main(["verify", *piles, f"{kept}/answer.txt"]) == 0  # beside it lie the units


def test_a_record_of_another_network_is_never_exact(dropped, scrambled):
    other = dropped(rows=500, blocks=3, width=8, hidden=12)
    by = PermutedParameters(patience=1)
    solution = solve_permuted(scrambled.pile(), other.records, Options(), by)
    assert solution.outcome is Outcome.LOCAL_OPTIMUM
    ended = solve(scrambled.pile(), other.records, permuted_units=True, time_limit=1e-9)
    assert ended.outcome is Outcome.BUDGET_SPENT


def looked_at(pile, records, clock):
    """What is said of the units of a pile."""
    bank = mlp_bank(pile, read_anatomy(pile, records), RELU)
    return permuted_units(bank, pair(pile, records), clock)


@pytest.fixture
def ten_blocks(make_dropped):
    return make_dropped(np.random.default_rng(3), rows=300, blocks=10, width=8, hidden=12)


@pytest.fixture
def ten_scrambled(ten_blocks, rng):
    hardening = Hardening(scramble_hidden=True)
    return drop(ten_blocks.network, ten_blocks.records, rng=rng, hardening=hardening)


def test_a_look_at_the_units_says_whether_they_are_permuted(ten_blocks, ten_scrambled, rng):
    said = looked_at(ten_scrambled.pile(), ten_scrambled.records, Clock())
    assert "clearly agree once their hidden units are matched" in said
    # Neither where units are as listed, nor of weights that have nothing in common.
    assert looked_at(ten_blocks.pile, ten_blocks.records, Clock()) is None
    weights = ten_blocks.network.blocks
    others = rng.normal(size=weights.out_weight.shape).astype(np.float32)
    blocks = MlpStack(*weights.inp, others, weights.out_bias, weights.activation)
    strangers = drop(MlpNetwork(blocks, ten_blocks.network.last), ten_blocks.records, rng=rng)
    assert looked_at(strangers.pile(), strangers.records, Clock()) is None


def test_a_look_at_the_units_ends_with_the_time(ten_blocks, ten_scrambled):
    pile, records = ten_scrambled.pile(), ten_scrambled.records
    clock = Ticks(6)
    assert "No time was left" in looked_at(pile, records, clock)
    assert clock.used == 6
    ended = solve(pile, records, time_limit=1e-9)
    assert ended.outcome is Outcome.BUDGET_SPENT
    note, *_ = ended.findings.notes
    assert "No time was left" in note
    assert "--permuted-units" in note
    assert solve(ten_blocks.pile, ten_blocks.records, time_limit=1e-9).findings is None
    with_units = solve(pile, records, permuted_units=True, time_limit=1e-9)
    assert with_units.findings is None


def test_what_cannot_be_done_is_refused(dropped, scrambled):
    square = dropped(blocks=2, width=6, hidden=6)
    with pytest.raises(PileError, match="shapes tell"):
        solve(square.pile, square.records, permuted_units=True)
    unknown = scrambled.records.take(np.arange(5))
    unknown.predictions[:] = np.nan
    with pytest.raises(RecordError, match="no predictions"):
        solve(scrambled.pile(), unknown, permuted_units=True)


def test_the_best_permutation_of_each_pair_tells_the_pairs(dropped, rng):
    network = dropped(blocks=6, width=16, hidden=24).network
    blocks = shuffle_hidden_units(network, rng, only_out=True).blocks
    bank = MlpBank(*blocks.inp, *blocks.out)
    match = match_units(bank, Clock())
    np.testing.assert_array_equal(match.pairs[:, 0], match.pairs[:, 1])
    assert match.sign == -1
    # What takes no time is there also where time does not suffice for that.
    assert len(unit_matching.likely_pairs(bank, Clock(-1.0))) == 2


def test_soft_permutations_are_doubly_stochastic_and_hard_ones_exact(rng):
    logits = rng.normal(size=(2, 7, 7)).astype(np.float32)
    soft = unit_mending.doubly_stochastic(logits)
    np.testing.assert_allclose(soft.sum(axis=2), 1, atol=1e-5)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-2)
    columns = np.stack([rng.permutation(7) for _ in range(2)])
    np.put_along_axis(logits, columns[:, :, None], 200, axis=2)
    np.testing.assert_array_equal(assigned(logits), columns)


def units_of(network, records):
    """Blocks as they are, with weights that say nothing of the units."""
    inputs, predictions = (
        part.astype(network.last.dtype) for part in (records.inputs, records.predictions)
    )
    blocks = network.blocks
    scores = np.zeros((len(blocks), blocks.hidden, blocks.hidden), np.float32)
    return Units(blocks, network.last, scores, inputs, predictions)


def test_the_gradient_is_the_derivative(dropped, rng):
    case = dropped(rows=20, blocks=2, width=4, hidden=5, outputs=2, dtype=np.float64)
    units = units_of(case.network, replace(case.records, predictions=case.records.predictions + 1))
    soft = unit_mending.doubly_stochastic(rng.normal(size=(2, 5, 5)))
    _, slopes = unit_mending.gradient(units, soft)

    def error(entries):
        return np.mean((units.mixed(entries).predict(units.inputs) - units.predictions) ** 2)

    for entry in [(0, 1, 2), (1, 4, 0)]:
        more, less = soft.copy(), soft.copy()
        more[entry] += 1e-6
        less[entry] -= 1e-6
        assert slopes[entry] == pytest.approx((error(more) - error(less)) / 2e-6, rel=1e-4)


def test_neither_the_unit_nor_the_offset_of_an_output_matters(dropped, rng):
    case = dropped(rows=60, blocks=2, width=4, hidden=5, outputs=2, dtype=np.float64)
    last, unit, offset = case.network.last, np.array([1.0, 1e3]), np.array([0.0, 7.0])
    other = Linear(last.weight * unit[:, None], last.bias * unit + offset)
    record = replace(case.records, predictions=case.records.predictions * unit + offset)
    columns = np.stack([rng.permutation(5) for _ in range(2)])
    one, same = (
        Units.of(case.network.blocks, each, np.zeros((2, 5, 5)), known).error(columns)
        for each, known in ((last, case.records), (other, record))
    )
    assert one == pytest.approx(same)
    assert one > 0.01


def test_soft_permutations_end_with_the_time(units):
    by = replace(unit_mending.STANDARD, steps=5)
    descent = unit_mending.UnitDescent(units, np.random.default_rng(1), by)
    descent.descend(np.arange(3), Ticks(3))
    assert descent.steps == 3
    descent.descend(np.arange(3), Clock())
    assert descent.steps == 8


@pytest.fixture
def units(case):
    return units_of(case.network, case.records)


def test_exchanges_mend_two_units(units):
    columns = np.tile(np.arange(12), (3, 1))
    wrong = columns.copy()
    wrong[2, [0, 7]] = wrong[2, [7, 0]]
    *_, mended = exchanged_units(units, wrong, 500.0, Clock())
    np.testing.assert_array_equal(mended, columns)
    same = permuted_columns(units.blocks, columns)
    assert same.out_weight.tobytes() == units.blocks.out_weight.tobytes()


def test_what_weights_say_is_weighed_against_the_record(units):
    wrong = np.tile(np.arange(12), (3, 1))
    wrong[2, [0, 7]] = wrong[2, [7, 0]]
    scores = units.scores.copy()
    scores[2, 0, 7] = 1e6
    sure = replace(units, scores=scores)
    for columns in exchanged_units(sure, wrong, 500.0, Clock()):
        assert columns[2, 0] == 7


def test_expected_changes_are_those_of_every_exchange(rng):
    a, c, residual = rng.normal(size=(50, 6)), rng.normal(size=(50, 6)), rng.normal(size=50)
    one, other = np.triu_indices(6, 1)
    effects = -(a[:, one] - a[:, other]) * (c[:, one] - c[:, other])
    errors = np.square(residual[:, None] + effects).sum(axis=0) / np.square(residual).sum()
    np.testing.assert_allclose(unit_mending._changes(a, c, residual)[one, other], np.log(errors))


def test_the_units_of_a_whole_block_are_assigned_anew(units, rng):
    columns = np.tile(np.arange(12), (3, 1))
    wrong = columns.copy()
    wrong[1] = rng.permutation(12)
    scores = units.scores.copy()
    scores[[0, 2], :, :] = 20 * np.eye(12)
    doubted = replace(units, scores=scores)
    assert unit_mending.doubtful_blocks(doubted, wrong, 1).tolist() == [1]
    by = replace(unit_mending.STANDARD, doubted=1)
    proposals = unit_mending.reassigned_units(doubted, wrong, Clock(), by)
    errors = [doubted.error(each) for each in proposals]
    assert min(errors) < 0.1 * doubted.error(wrong)


def test_where_nothing_is_left_nothing_is_assigned_anew(units):
    right = np.tile(np.arange(12), (3, 1))
    assert [*unit_mending.reassigned_units(units, right, Clock())] == []


def test_units_that_resemble_those_of_other_blocks_are_told_by_weights():
    rng = np.random.default_rng(0)
    # Two dozen kinds of units; a linear map from reading to writing places 0.82 of them at most.
    reads, writes = rng.normal(size=(24, 8)), rng.normal(size=(24, 8))
    kinds = np.stack([rng.permutation(24)[:16] for _ in range(32)])
    noise = 0.2 * rng.normal(size=(2, 32, 16, 8))
    inp = (reads[kinds] + noise[0]).astype(np.float32)
    out = (writes[kinds] - 0.8 * inp + noise[1]).astype(np.float32).transpose(0, 2, 1)
    nothing = np.zeros((32, 16), np.float32)
    columns = np.stack([rng.permutation(16) for _ in range(32)])
    shuffled = np.take_along_axis(out, columns[:, None, :], 2)
    blocks = MlpStack(inp, nothing, np.ascontiguousarray(shuffled), nothing[:, :8])
    found = assigned(unit_matching.unit_scores(blocks, -1.0, Clock()))
    right = np.take_along_axis(columns, found, 1) == np.arange(16)
    assert right.mean() > 0.9
