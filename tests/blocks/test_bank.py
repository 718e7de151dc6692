"""Banks and stacks: the puzzle's kernels, and any kind that is known by two functions."""

from copy import deepcopy

import numpy as np
import pytest

from unshuffle import MlpNetwork
from unshuffle.blocks.activations import ACTIVATIONS
from unshuffle.blocks.bank import LoopStack
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpBank, as_mlp, as_mlp_bank
from unshuffle.blocks.network import Network
from unshuffle.blocks.work import passes
from unshuffle.errors import UsageError

INPS, OUTS = 3, 5


@pytest.fixture(params=ACTIVATIONS)
def bank(request, dropped):
    """Three inp and five out layers, of which positions 4, 0, 7 and 1, 2, 3, 5, 6 are in use."""
    blocks = dropped(blocks=5, dtype=np.float64, activation=request.param).network.blocks
    inp, out = blocks.take([0, 1, 2]), blocks
    return MlpBank(*inp.inp, *out.out, blocks.activation, [4, 0, 7], [1, 2, 3, 5, 6])


@pytest.fixture(params=["mlp", "loop"])
def any_bank(request, bank, looped):
    """The same blocks by the puzzle's kernels, and by two functions."""
    return bank if request.param == "mlp" else looped(bank)


ARRANGEMENT = np.array([[7, 6], [4, 1], [0, 3], [4, 5]])


def step_by_hand(bank, inp, out, x):
    z = x @ bank.inp_weight[inp].T + bank.inp_bias[inp]
    return bank.activation.apply(z) @ bank.out_weight[out].T + bank.out_bias[out]


def test_any_two_layers_make_a_block(bank, any_bank, rng):
    x = rng.normal(size=(9, 6))
    for i, inp in enumerate([4, 0, 7]):
        for j, out in enumerate([1, 2, 3, 5, 6]):
            expected = x + step_by_hand(bank, i, j, x)
            actual = any_bank.apply(np.array([inp, out]), x)
            np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_pullbacks_agree_with_finite_differences(any_bank, rng):
    x, direction = rng.normal(size=(2, 50, 6))
    g, step = rng.normal(size=(2, 50, 6)), 1e-6
    for parts in ARRANGEMENT:
        ahead, behind = (any_bank.apply(parts, x + side * direction) for side in (step, -step))
        expected = np.sum(g * (ahead - behind), axis=2) / (2 * step)
        actual = np.sum(any_bank.pullback(parts, x, g) * direction, axis=2)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


def test_blocks_are_taken_in_the_sequence_of_an_arrangement(any_bank, rng):
    x, g = rng.normal(size=(9, 6)), rng.normal(size=(2, 9, 6))
    stack = any_bank.take(ARRANGEMENT)
    assert len(stack) == 4
    for k, parts in enumerate(ARRANGEMENT):
        np.testing.assert_array_equal(stack.apply(k, x), any_bank.apply(parts, x))
        np.testing.assert_array_equal(stack.pullback(k, x, g), any_bank.pullback(parts, x, g))


def test_blocks_run_each_on_rows_of_its_own(any_bank, rng):
    x, g = rng.normal(size=(4, 9, 6)), rng.normal(size=(4, 2, 9, 6))
    stack = any_bank.take(ARRANGEMENT)
    after, back = stack.apply_each(x), stack.pullback_each(x, g)
    for k, parts in enumerate(ARRANGEMENT):
        np.testing.assert_allclose(after[k], any_bank.apply(parts, x[k]), rtol=1e-12)
        np.testing.assert_allclose(back[k], any_bank.pullback(parts, x[k], g[k]), rtol=1e-10)
    np.testing.assert_array_equal(stack[1:3].apply_each(x[1:3]), after[1:3])
    np.testing.assert_array_equal(stack[1:3].pullback_each(x[1:3], g[1:3]), back[1:3])
    assert len(stack[1:3]) == 2
    assert stack[:0].apply_each(x[:0]).shape == (0, 9, 6)
    assert stack[:0].pullback_each(x[:0], g[:0]).shape == (0, 2, 9, 6)


@pytest.mark.parametrize("role", [INP, OUT])
def test_steps_with_the_piece_that_each_other_block_has_in_a_role(any_bank, rng, role):
    x, g = rng.normal(size=(9, 6)), rng.normal(size=(2, 9, 6))
    stack = any_bank.take(ARRANGEMENT)
    projected = stack.replaced(1, role, stack[1:], x, g)
    assert projected.shape == (9, 3, 2)
    for k in range(3):
        parts = ARRANGEMENT[1].copy()
        parts[role] = ARRANGEMENT[1 + k, role]
        expected = np.sum(g * (any_bank.apply(parts, x) - x), axis=2)
        np.testing.assert_allclose(projected[:, k].T, expected, rtol=1e-10, atol=1e-12)


def test_both_kinds_of_stack_agree_in_every_method(bank, looped, rng):
    x, g = rng.normal(size=(4, 9, 6)), rng.normal(size=(4, 2, 9, 6))
    one, other = bank.take(ARRANGEMENT), looped(bank).take(ARRANGEMENT)
    assert isinstance(other, LoopStack)
    assert one.weights(2).keys() == other.weights(2).keys() == {"inp", "out"}
    pairs = [
        *((one.apply(k, x[k]), other.apply(k, x[k])) for k in range(4)),
        *((one.pullback(k, x[k], g[k]), other.pullback(k, x[k], g[k])) for k in range(4)),
        (one.apply_each(x), other.apply_each(x)),
        (one.pullback_each(x, g), other.pullback_each(x, g)),
        *((one.replaced(k, r, one, x[k], g[k]), other.replaced(k, r, other, x[k], g[k]))
          for k in range(4) for r in (INP, OUT)),
        *((one.weights(k)[role][name], other.weights(k)[role][name])
          for k in range(4) for role in ("inp", "out") for name in ("weight", "bias")),
        (one[1:].apply_each(x[1:]), other[1:].apply_each(x[1:])),
        (one.astype(np.float32).apply(0, x[0]), other.astype(np.float32).apply(0, x[0])),
    ]  # fmt: skip
    for mine, theirs in pairs:
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-12)


def test_a_network_of_either_stack_predicts_the_same(bank, looped, rng):
    ends = Linear(rng.normal(size=(2, 6)), rng.normal(size=2))
    one, other = (Network(each.take(ARRANGEMENT), ends) for each in (bank, looped(bank)))
    inputs = rng.normal(size=(20, 6))
    np.testing.assert_allclose(one.predict(inputs), other.predict(inputs), rtol=1e-12)
    states = one.states(inputs)
    np.testing.assert_allclose(other.states(inputs), states, rtol=1e-12)
    np.testing.assert_allclose(other.adjoints(states), one.adjoints(states), rtol=1e-10, atol=1e-12)
    assert one.tensors().keys() == other.tensors().keys()
    name = bank.activation.name
    assert repr(one) == f"Network(4 × [6 → 10 {name} → 6], last 6 → 2, float64)"
    assert repr(other) == "Network(4 × [mlp], last 6 → 2, float64)"


def test_running_blocks_leaves_the_states_alone(any_bank, rng):
    x, g = rng.normal(size=(4, 9, 6)), rng.normal(size=(4, 2, 9, 6))
    before = x.copy(), g.copy()
    stack = any_bank.take(ARRANGEMENT)
    stack.apply_each(x)
    stack.pullback_each(x, g)
    stack.apply(0, x[0])
    stack.pullback(0, x[0], g[0])
    any_bank.apply(ARRANGEMENT[0], x[0])
    any_bank.pullback(ARRANGEMENT[0], x[0], g[0])
    for role in (INP, OUT):
        stack.replaced(0, role, stack, x[0], g[0])
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(g, before[1])


def test_a_copy_can_be_overwritten_without_harm(any_bank, rng):
    x = rng.normal(size=(9, 6))
    stack = any_bank.take(ARRANGEMENT)
    before = [stack.apply(k, x) for k in range(4)]
    copy = stack.copy()
    copy.overwrite(0, 3)
    np.testing.assert_array_equal(copy.apply(0, x), before[3])
    for k in range(4):
        np.testing.assert_array_equal(stack.apply(k, x), before[k])
        if k:
            np.testing.assert_array_equal(copy.apply(k, x), before[k])


def test_numbers_are_cast(any_bank, rng):
    stack = any_bank.take(ARRANGEMENT).astype(np.float32)
    assert stack.apply(0, rng.normal(size=(9, 6)).astype(np.float32)).dtype == np.float32
    for tensors in stack.weights(0).values():
        assert {values.dtype for values in tensors.values()} == {np.dtype(np.float32)}


def test_layers_are_found_by_their_positions(bank):
    for row, position in enumerate([4, 0, 7]):
        np.testing.assert_array_equal(bank.inp_layer(position).weight, bank.inp_weight[row])
        np.testing.assert_array_equal(bank.inp_layer(position).bias, bank.inp_bias[row])
    for column, position in enumerate([1, 2, 3, 5, 6]):
        np.testing.assert_array_equal(bank.out_layer(position).weight, bank.out_weight[column])
        np.testing.assert_array_equal(bank.out_layer(position).bias, bank.out_bias[column])
    assert bank.rows.tolist() == [1, -1, -1, -1, 0, -1, -1, 2]
    assert bank.columns.tolist() == [-1, 0, 1, 2, -1, 3, 4, -1]
    pairs = np.array([[0, 4], [2, 0]])
    np.testing.assert_array_equal(bank.arranged(pairs), [[4, 6], [7, 1]])


def test_each_role_has_its_positions(any_bank):
    assert {*any_bank.positions(INP)} == {4, 0, 7}
    assert [*any_bank.positions(OUT)] == [1, 2, 3, 5, 6]


def test_inp_layers_come_first_where_no_positions_are_given(bank):
    plain = MlpBank(bank.inp_weight, bank.inp_bias, bank.out_weight, bank.out_bias)
    assert plain.inp_positions == (0, 1, 2)
    assert plain.out_positions == (3, 4, 5, 6, 7)
    np.testing.assert_array_equal(plain.arranged(np.array([[2, 0]])), [[2, 3]])


def test_only_networks_of_the_puzzles_kind_are_taken_for_one(bank, looped, rng):
    ends = Linear(rng.normal(size=(2, 6)), rng.normal(size=2))
    network = as_mlp(Network(bank.take(ARRANGEMENT), ends))
    assert isinstance(network, MlpNetwork)
    assert network.last is ends
    assert as_mlp_bank(bank) is bank
    with pytest.raises(
        UsageError, match="networks of blocks x \\+ out\\(a\\(inp\\(x\\)\\)\\) only"
    ):
        as_mlp(Network(looped(bank).take(ARRANGEMENT), ends))
    with pytest.raises(UsageError, match="this pile has other blocks"):
        as_mlp_bank(looped(bank))


def test_work_is_counted_for_all_stacks_of_a_bank(bank, any_bank, rng):
    """In halves of a block: of the puzzle's block each is a matrix product."""
    x, g = rng.normal(size=(9, 6)), rng.normal(size=(2, 9, 6))
    mlp, counted = any_bank is bank, any_bank.work

    def done(work):
        before = counted.halves
        work()
        return counted.halves - before

    assert done(lambda: any_bank.apply(ARRANGEMENT[0], x)) == 18
    assert done(lambda: any_bank.pullback(ARRANGEMENT[0], x, g)) == (9 + 36 if mlp else 18 + 36)
    stack = any_bank.take(ARRANGEMENT)
    assert done(lambda: stack[1:].apply(0, x)) == 18
    assert done(lambda: stack.copy().pullback(3, x, g)) == (45 if mlp else 54)
    each, adjoints = np.stack([x] * 4), np.stack([g] * 4)
    assert done(lambda: stack.apply_each(each)) == 4 * 18
    assert done(lambda: stack.pullback_each(each, adjoints)) == 4 * (45 if mlp else 54)
    assert done(lambda: stack.replaced(1, OUT, stack, x, g)) == (9 * 5 if mlp else 4 * 18)
    assert done(lambda: stack.replaced(1, INP, stack, x, g)) == (9 * 6 if mlp else 4 * 18)


def test_a_pass_of_all_rows_through_all_blocks_is_one(any_bank, rng):
    stack, x = any_bank.take(ARRANGEMENT), rng.normal(size=(9, 6))
    before = any_bank.work.halves
    for place in range(4):
        stack.apply(place, x)
    assert passes(any_bank.work.halves - before, 4, 9) == 1
    copied = deepcopy(any_bank.work)
    copied.forward(1)
    assert copied.halves == any_bank.work.halves + 2
    assert passes(7, 4, 0) == passes(7, 0, 9) == 0
