from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unshuffle import MlpNetwork, Outcome, Piece, Pile, Records, solve, verify
from unshuffle.blocks.activations import RELU
from unshuffle.blocks.assembly import last_layer, mlp_bank
from unshuffle.blocks.blueprints import LoopBlueprint
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpStack
from unshuffle.errors import AnswerError, RecordError, UsageError
from unshuffle.grouping import pair
from unshuffle.ordering.auto import advance, begin
from unshuffle.ordering.workbench import Workbench
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.clock import Clock
from unshuffle.proof.verification import Explanation
from unshuffle.solution.alternatives import problem_of
from unshuffle.solution.goal import Reproduction
from unshuffle.solution.options import STRATEGIES

each_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


@each_strategy
@settings(max_examples=10)
@given(ids=st.permutations(range(13)))
def test_a_network_is_recovered_from_any_shuffle(make_dropped, strategy, ids):
    case = make_dropped(np.random.default_rng(1), blocks=6, width=16, hidden=24)
    pile = Pile(Piece.linear(ids[p.id], p.weight, p.bias) for p in case.pile)
    solution = solve(pile, case.records, strategy=strategy)
    assert solution.outcome is Outcome.EXACT
    assert solution.permutation == tuple(ids[name] for name in case.permutation)


@each_strategy
@pytest.mark.parametrize("outputs", [1, 3, 24])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_several_outputs_and_dtypes(dropped, strategy, outputs, dtype):
    case = dropped(blocks=6, width=16, hidden=24, outputs=outputs, dtype=dtype)
    solution = solve(case.pile, case.records, strategy=strategy)
    assert solution.exact
    assert solution.permutation == case.permutation
    assert solution.network.predict(case.records.inputs).dtype == dtype


@each_strategy
@pytest.mark.parametrize("outputs", [1, 16])
def test_square_layers(dropped, strategy, outputs):
    case = dropped(blocks=6, width=16, hidden=16, outputs=outputs)
    solution = solve(case.pile, case.records, strategy=strategy)
    assert solution.exact
    assert solution.permutation == case.permutation


def test_square_layers_whose_roles_the_weights_do_not_tell(drop, rng):
    inp, out = 0.4 * rng.normal(size=(2, 10, 12, 12)) / np.sqrt(12)
    none = np.zeros((10, 12))
    last = Linear(rng.normal(size=(1, 12)), np.zeros(1))
    network = MlpNetwork(MlpStack(inp, none, out, none), last).astype(np.float32)
    case = drop(rng, network, rows=1000)
    solution = solve(case.pile, case.records)
    assert solution.exact
    assert solution.permutation == case.permutation
    assert len(solution.trace) < 200


def with_misleading_units(pile, inp, out):
    """The same function, but hidden units of one block with large inputs have small outputs."""
    layers = [pile[pile.index[name]] for name in (inp, out)]
    reads = np.log(np.linalg.norm(layers[0].weight, axis=1))
    both = reads + np.log(np.linalg.norm(layers[1].weight, axis=0))
    scale = np.exp((both.mean() - both) / 4 + reads.mean() - reads)
    changed = {
        inp: Piece.linear(inp, scale[:, None] * layers[0].weight, scale * layers[0].bias),
        out: Piece.linear(out, layers[1].weight / scale, layers[1].bias),
    }
    return Pile(changed.get(piece.id, piece) for piece in pile)


@each_strategy
def test_the_record_corrects_roles_that_the_weights_get_wrong(dropped, strategy):
    case = dropped(blocks=4, width=16, hidden=16)
    inp, out = case.blocks[0]
    pile = with_misleading_units(case.pile, inp, out)
    solution = solve(pile, case.records, strategy=strategy, signal="trace")
    assert (out, inp) in solution.pairing.pairs
    assert solution.exact
    assert solution.permutation == case.permutation
    assert any(np.isnan(margin) for margin in solution.margins.values())


@each_strategy
def test_names_and_file_order_do_not_matter(dropped, strategy, rng):
    case = dropped(rows=800, blocks=8, width=16, hidden=24)
    expected = solve(case.pile, case.records, strategy=strategy)
    pieces = [case.pile[i] for i in rng.permutation(len(case.pile))]
    renamed = Pile(Piece.linear(f"layer-{p.id}", p.weight, p.bias) for p in pieces)
    actual = solve(renamed, case.records, strategy=strategy)
    assert actual.answer == ",".join(f"layer-{name}" for name in expected.permutation)
    assert (actual.mse, actual.max_abs_error) == (expected.mse, expected.max_abs_error)
    for mine, theirs in zip(actual.trace.steps, expected.trace.steps, strict=True):
        np.testing.assert_array_equal(mine.arrangement, theirs.arrangement)
        np.testing.assert_array_equal(mine.tested, theirs.tested)


@each_strategy
def test_the_seed_decides_the_rows(dropped, strategy):
    case = dropped(rows=800, blocks=4)
    one, same, other = (
        solve(case.pile, case.records, strategy=strategy, seed=s, rows=50) for s in (1, 1, 2)
    )
    assert one.trace.steps[0].error == same.trace.steps[0].error
    assert one.trace.steps[0].error != other.trace.steps[0].error
    assert one.rows == other.rows == 800


@each_strategy
def test_unpredicted_rows_do_not_count(dropped, strategy):
    case = dropped(rows=300, blocks=4)
    predictions = case.records.predictions.copy()
    predictions[::3] = np.nan
    solution = solve(case.pile, Records(case.records.inputs, predictions), strategy=strategy)
    assert solution.exact
    assert solution.rows == 200


@each_strategy
def test_a_record_of_another_network_is_not_reproduced(dropped, strategy):
    case, other = dropped(rows=100, blocks=2), dropped(rows=100, blocks=2)
    record = Records(case.records.inputs, other.records.predictions)
    solution = solve(case.pile, record, strategy=strategy)
    assert solution.outcome is Outcome.LOCAL_OPTIMUM
    assert sorted(solution.permutation) == sorted(case.permutation)


def test_a_single_tampered_row_is_not_exact(dropped):
    case = dropped(rows=500, blocks=3)
    case.records.predictions[123] += 0.01
    assert verify(case.pile, case.records, case.permutation).outcome is Outcome.MISFIT


@each_strategy
def test_time_runs_out_with_the_best_so_far(dropped, strategy):
    case = dropped(blocks=8)
    solution = solve(case.pile, case.records, strategy=strategy, time_limit=1e-9)
    assert solution.outcome is Outcome.BUDGET_SPENT
    assert sorted(solution.permutation) == sorted(case.permutation)
    assert len(solution.trace) == 1


@each_strategy
@pytest.mark.parametrize("steps", [1, 2])
def test_an_interrupt_keeps_the_best_so_far(dropped, strategy, steps):
    case = dropped(blocks=6, width=16, hidden=24)

    def interrupt(trace):
        if len(trace) == steps:
            raise KeyboardInterrupt

    options = {"strategy": strategy, "rows": 3, "seed": 4}
    solution = solve(case.pile, case.records, **options, on_step=interrupt)
    assert solution.outcome is Outcome.INTERRUPTED
    assert sorted(solution.permutation) == sorted(case.permutation)


@pytest.mark.parametrize("steps", [10, 30, 100])
def test_an_interrupt_inside_of_a_repair_ends_the_whole_solve(dropped, steps):
    case, other = dropped(blocks=5, width=10, hidden=14), dropped(blocks=5, width=10, hidden=14)
    made = []

    def interrupt(trace):
        made.append(len(trace))
        if len(made) == steps:
            raise KeyboardInterrupt

    wrong = Records(case.records.inputs, other.records.predictions)
    solution = solve(case.pile, wrong, time_limit=10, on_step=interrupt)
    assert solution.outcome is Outcome.INTERRUPTED
    assert steps <= len(made) < steps + 10


def test_a_wrong_pair_that_the_evidence_believes_in_is_repaired(dropped, rng):
    case = dropped(rows=600, blocks=5, width=8, hidden=12)
    right = pair(case.pile, case.records)
    outs = [right.matches[k].out for k in (1, 0, 2, 3, 4)]
    matches = [replace(m, out=out) for m, out in zip(right.matches, outs, strict=True)]
    scores = np.full_like(right.scores, -3.0)
    for match in matches:
        i = right.anatomy.inp.index(case.pile.index[match.inp])
        scores[i, right.anatomy.out.index(case.pile.index[match.out])] = 3.0
    wrong = replace(right, matches=tuple(matches), scores=scores)
    assert len(set(wrong.pairs) & case.pairs) == 3
    problem = problem_of(case.pile, case.records, right.anatomy, wrong, RELU)
    bench = Workbench([problem], rng, Reproduction("float32", 5, Clock()))
    *_, last = advance(begin(bench, rng), bench)
    assert bench.confirmed(last)
    found = [case.pile.ids[position] for position in last.best.arrangement.ravel()]
    assert found == list(case.permutation[:-1])


def interruptible(case, looped):
    """The network as blocks of two functions, and by function what looks at each of its calls."""
    watched = {"apply": lambda rows: None, "pullback": lambda rows: None}
    bank = looped(mlp_bank(case.pile, read_anatomy(case.pile, case.records)))

    def apply(weights, x):
        watched["apply"](len(x))
        return bank.run(weights, x)

    def pullback(weights, x, g):
        watched["pullback"](len(x))
        return bank.pull(weights, x, g)

    last = last_layer(case.pile, case.permutation[-1])
    pile = Pile(piece for piece in case.pile if piece.id != case.permutation[-1])
    return pile, LoopBlueprint(bank.kind, apply, pullback, last), watched


@pytest.mark.parametrize("calls", [10, 50, 100])
def test_an_interrupt_amid_a_step_keeps_the_best_so_far(dropped, looped, calls):
    case, other = dropped(blocks=5), dropped(blocks=5)
    pile, blueprint, watched = interruptible(case, looped)
    count = iter(range(1, 1000))

    def interrupted(_):
        if next(count) == calls:
            raise KeyboardInterrupt

    watched["pullback"] = interrupted
    records = Records(case.records.inputs, other.records.predictions)
    solution = solve(pile, records, blueprint=blueprint)
    assert next(count) > calls
    assert solution.outcome is Outcome.INTERRUPTED
    assert sorted(solution.permutation) == sorted(case.permutation[:-1])
    assert solution.blocks == solution.trace.names(solution.trace.steps[-1].arrangement)


@pytest.mark.parametrize("function", ["apply", "pullback"])
def test_an_interrupt_of_the_verification_keeps_the_answer(dropped, looped, function):
    case = dropped(blocks=3)
    pile, blueprint, watched = interruptible(case, looped)
    calls = []

    def interrupted(rows):
        # The search runs fewer rows, and pulls nothing back when it has met its goal.
        if function == "pullback" or rows == len(case.records):
            calls.append(rows)
            raise KeyboardInterrupt

    def after_the_search(trace):
        if trace.steps[-1].error < 1e-9:
            watched[function] = interrupted

    solution = solve(pile, case.records, blueprint=blueprint, on_step=after_the_search)
    assert calls
    assert solution.outcome is Outcome.INTERRUPTED
    assert solution.permutation == case.permutation[:-1]
    assert not solution.exact
    assert solution.certificate is None


def test_rounded_numbers_give_an_approximate_solution(dropped):
    case = dropped(rows=400, blocks=4, width=16, hidden=24)
    rounded = Records(case.records.inputs, np.round(case.records.predictions, 4))
    solution = solve(case.pile, rounded)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation
    halves = Pile(
        Piece.linear(
            p.id, p.weight.astype("f2").astype("f4"), p.bias.astype("f2").astype("f4"), "float16"
        )
        for p in case.pile
    )
    solution = solve(halves, case.records)
    assert solution.outcome is Outcome.APPROXIMATE
    assert solution.permutation == case.permutation


def test_noisy_predictions_are_said(dropped, rng):
    case = dropped(rows=600, blocks=4, width=16, hidden=24)
    predictions = case.records.predictions
    noise = 0.01 * predictions.std() * rng.standard_normal(predictions.shape)
    noisy = solve(case.pile, Records(case.records.inputs, predictions + noise))
    assert noisy.outcome is Outcome.APPROXIMATE
    (note,) = noisy.findings.notes
    assert note.startswith(f"predictions carry what looks like noise: {noise.std():.2g}, 1 % of")
    assert noisy.explanation is Explanation.NOISE
    coarse = solve(case.pile, Records(case.records.inputs, np.round(predictions, 2)))
    assert (coarse.outcome, coarse.explanation) == (Outcome.APPROXIMATE, Explanation.DECIMALS)
    assert coarse.findings.notes == ("predictions are rounded to 2 decimals",)


def test_noise_is_told_in_spreads_of_the_columns(dropped, rng):
    case = dropped(rows=600, blocks=4, width=16, hidden=24, outputs=2)
    shift = np.array([0, 1000 * case.records.predictions.std()])
    last = case.pile[case.pile.index[case.permutation[-1]]]
    moved = Piece.linear(last.id, last.weight.astype(float), last.bias.astype(float) + shift)
    pile = Pile(moved if piece is last else piece for piece in case.pile)
    predictions = case.records.predictions + shift
    spread = np.sqrt(predictions.var(axis=0).mean())
    noise = 0.01 * spread * rng.standard_normal(predictions.shape)
    (note,) = solve(pile, Records(case.records.inputs, predictions + noise)).findings.notes
    assert ", 1 % of their spread" in note


def test_the_solution_reads_well(dropped):
    case = dropped(blocks=2)
    solution = solve(case.pile, case.records)
    assert repr(solution).startswith("Solution(exact: 2 blocks, mse ")
    assert f"answer  {solution.answer}" in repr(solution)
    assert f"sha256  {solution.sha256}" in repr(solution)
    assert set(solution.seconds) == {"read", "pair", "order", "verify", "other", "total"}
    total = solution.seconds["total"]
    assert total == pytest.approx(sum(solution.seconds.values()) - total)
    blocks = zip(case.permutation[:-1:2], case.permutation[1::2], strict=True)
    assert solution.blocks == tuple(blocks)


def test_verify_judges_any_answer(dropped):
    case = dropped(blocks=2)
    inp, out, inp2, out2, last = case.permutation
    right = verify(case.pile, case.records, case.permutation)
    assert right.outcome is Outcome.EXACT
    wrong = verify(case.pile, case.records, (inp2, out2, inp, out, last))
    assert wrong.outcome is Outcome.MISFIT
    network = case.network
    swapped = type(network)(network.blocks.take([1, 0]), network.last)
    error = swapped.predict(case.records.inputs) - case.records.predictions
    assert wrong.mse == pytest.approx(np.mean(error**2), rel=1e-5)
    assert wrong.max_abs_error == pytest.approx(np.abs(error).max(), rel=1e-5)
    with pytest.raises(AnswerError, match="twice"):
        verify(case.pile, case.records, (inp, out, inp, out2, last))


def test_to_torch(dropped):
    torch = pytest.importorskip("torch")
    case = dropped(dtype=np.float64)
    module = solve(case.pile, case.records).to_torch()
    with torch.no_grad():
        predictions = module(torch.from_numpy(case.records.inputs).double()).numpy()
    np.testing.assert_allclose(predictions, case.records.predictions, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "magic"}, "no strategy 'magic'; there are: auto, classic"),
        ({"signal": "magic"}, "no signal 'magic'"),
        ({"matching": "magic"}, "no matching 'magic'"),
        ({"placement": "magic"}, "no placement 'magic'; there are: ends, anywhere"),
        ({"rows": 0}, "cannot use 0 rows"),
        ({"time_limit": 0}, "the time limit cannot be 0; give seconds, as a number above 0"),
    ],
)
def test_options_that_cannot_work_are_refused(dropped, options, message):
    case = dropped(blocks=2)
    with pytest.raises(UsageError, match=message):
        solve(case.pile, case.records, **options)


def test_a_record_without_predictions_is_refused(dropped):
    case = dropped(blocks=2)
    with pytest.raises(RecordError, match="no predictions"):
        verify(case.pile, Records(case.records.inputs, np.zeros((200, 0))), case.permutation)


@pytest.mark.parametrize("scale", [1e18, 1e30])
@pytest.mark.filterwarnings("error")
def test_numbers_that_overflow_make_no_noise(dropped, scale):
    case = dropped(blocks=4, width=8, hidden=12, rows=200)
    large = Pile(Piece.linear(p.id, p.weight * np.float32(scale), p.bias) for p in case.pile)
    assert not solve(large, case.records, time_limit=2).exact
