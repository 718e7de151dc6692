"""A dropped network is the same network, and what makes it harder does what it says."""

from itertools import pairwise

import numpy as np
import pytest

from unshuffle.blocks.assembly import build_network
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import UsageError
from unshuffle.oracle.dropping import (
    Hardening,
    draw_decoys,
    drop,
    round_weights,
    shuffle_hidden_units,
)
from unshuffle.oracle.recipe import NetworkPlan, find_recipe, shipped_names
from unshuffle.pieces.pile import Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import Outcome
from unshuffle.solution.checking import verify

from .conftest import shrink


@pytest.fixture
def network(dropped):
    return dropped(blocks=4, width=6, hidden=10, outputs=2).network


@pytest.fixture
def data(rng):
    return Records(rng.normal(size=(50, 6)).astype(np.float32), np.empty((50, 0)))


def dropped_from(network, data, seed=0, **options):
    hardening = Hardening(**options)
    return drop(network, data, rng=np.random.default_rng(seed), hardening=hardening)


MLPS = [n for n in shipped_names() if isinstance(find_recipe(n).network, NetworkPlan)]


@pytest.mark.parametrize("name", MLPS)
def test_every_shipped_recipe_comes_back_exactly(torch, name):
    from unshuffle.oracle.training import train

    oracle = train(shrink(find_recipe(name)))
    examples = oracle.examples
    data = Records(examples.inputs, np.empty((len(examples.inputs), 0)), examples.targets)
    dropped = drop(oracle.network, data, rng=np.random.default_rng(1))
    activation = oracle.network.blocks.activation
    assert activation.name == find_recipe(name).network.activation
    verdict = verify(dropped.pile(), dropped.records, dropped.answer, activation=activation.name)
    assert verdict.outcome is Outcome.EXACT
    assert verdict.mse < 1e-10


@pytest.mark.parametrize(("true", "other"), [("tanh", "relu"), ("gelu", "silu"), ("silu", "gelu")])
def test_the_wrong_activation_does_not_reproduce_the_record(network, data, true, other):
    from unshuffle.blocks.activations import ACTIVATIONS

    network = MlpNetwork.from_layers(network.layers(), ACTIVATIONS[true])
    dropped = dropped_from(network, data)
    right, wrong = (
        verify(dropped.pile(), dropped.records, dropped.answer, activation=name)
        for name in (true, other)
    )
    assert right.outcome is Outcome.EXACT
    assert wrong.outcome is Outcome.MISFIT


def test_the_answer_puts_the_pieces_in_order(network, data):
    dropped = dropped_from(network, data)
    assert sorted(dropped.answer) == list(range(9))
    for number, layer in zip(dropped.answer, network.layers(), strict=True):
        np.testing.assert_array_equal(dropped.pieces[number]["weight"], layer.weight)
        np.testing.assert_array_equal(dropped.pieces[number]["bias"], layer.bias)
    assert dropped.answer_text() == ",".join(map(str, dropped.answer))
    np.testing.assert_array_equal(dropped.records.predictions, network.predict(data.inputs))
    assert any(b != a + 1 for a, b in pairwise(dropped.answer))


def test_a_seed_gives_the_same_drop_and_rows_do_not_depend_on_the_hardening(network, data):
    def rows_of(**options):
        return drop(
            network,
            data,
            rng=np.random.default_rng(4),
            rows=20,
            hardening=Hardening(**options),
        )

    one, same, harder = rows_of(), rows_of(), rows_of(noise=0.1, permute_hidden=True)
    assert one.answer == same.answer == harder.answer
    np.testing.assert_array_equal(one.records.inputs, same.records.inputs)
    np.testing.assert_array_equal(one.records.inputs, harder.records.inputs)
    assert len(np.unique(one.records.inputs, axis=0)) == 20
    assert dropped_from(network, data, seed=5).answer != one.answer


def test_more_rows_than_there_are_is_a_mistake(network, data, rng):
    with pytest.raises(UsageError, match="51 records are asked for, but there are 50"):
        drop(network, data, rng=rng, rows=51)


@pytest.mark.parametrize("rounding", ["float16", "bfloat16"])
def test_halves_round_as_pytorch_does(torch, rng, rounding):
    values = rng.normal(size=(40, 50)).astype(np.float32) * np.logspace(-9, 4, 50, dtype="f4")
    values[0, :6] = [0.0, -0.0, 1e-40, 1.00390625, 1.01171875, -3.3e4]  # zeros, tiny, ties
    expected = torch.from_numpy(values).to(getattr(torch, rounding)).float().numpy()
    np.testing.assert_array_equal(round_weights(values, rounding), expected)


def test_a_weight_beyond_float16_is_a_mistake():
    with pytest.raises(UsageError, match=r"7e\+04 is too large for float16"):
        round_weights(np.array([[1.0, -7e4]], np.float32), "float16")


def test_int8_leaves_255_levels(rng):
    values = rng.normal(size=(40, 50)).astype(np.float32)
    rounded = round_weights(values, "int8")
    scale = np.abs(values).max() / 127
    assert np.abs(rounded - values).max() <= scale / 2 * 1.0001
    np.testing.assert_allclose(rounded / scale, np.round(rounded / scale), atol=1e-4)
    assert len(np.unique(rounded)) > 50
    np.testing.assert_array_equal(round_weights(np.zeros((2, 2), "f4"), "int8"), np.zeros((2, 2)))


@pytest.mark.parametrize(("weights", "stored"), [("bfloat16", "bfloat16"), ("int8", "float32")])
def test_rounded_weights_predict_only_about_what_the_network_did(network, data, weights, stored):
    dropped = dropped_from(network, data, weights=weights)
    np.testing.assert_array_equal(dropped.records.predictions, network.predict(data.inputs))
    for number, layer in zip(dropped.answer, network.layers(), strict=True):
        for name, values in dropped.pieces[number].items():
            expected = round_weights(getattr(layer, name), weights)
            np.testing.assert_array_equal(values, expected)
    pile = dropped.pile()
    assert pile.stored_as == (stored,)
    verdict = verify(pile, dropped.records, dropped.answer)
    assert verdict.outcome is not Outcome.EXACT
    assert 0 < verdict.mse < 1e-2 * np.var(dropped.records.predictions)


def test_noise_and_rounding_of_the_predictions(network, rng):
    data = Records(rng.normal(size=(20_000, 6)).astype(np.float32), np.empty((20_000, 0)))
    plain = dropped_from(network, data).records.predictions
    noisy = dropped_from(network, data, noise=0.25).records.predictions
    assert np.std(noisy - plain) == pytest.approx(0.25, rel=0.02)
    coarse = dropped_from(network, data, decimals=2).records.predictions
    assert np.abs(coarse - plain).max() <= 0.005001
    np.testing.assert_array_equal(coarse, np.round(coarse, 2))
    assert not np.array_equal(coarse, plain)


def test_lost_pieces_leave_gaps_in_the_answer(network, data):
    dropped = dropped_from(network, data, lose=3)
    assert len(dropped.pieces) == 6
    assert dropped.answer.count(None) == 3
    assert dropped.answer_text().split(",").count("?") == 3
    present = [number for number in dropped.answer if number is not None]
    assert sorted(present) == list(range(6))
    for number, layer in zip(dropped.answer, network.layers(), strict=True):
        if number is not None:
            np.testing.assert_array_equal(dropped.pieces[number]["weight"], layer.weight)
    with pytest.raises(UsageError, match="9 pieces are to be lost, but there are 9"):
        dropped_from(network, data, lose=9)


def test_two_whole_networks_in_one_pile_have_a_record_each(network, data, make_dropped, rng):
    other = make_dropped(np.random.default_rng(8), blocks=2, width=6, hidden=10, outputs=2).network
    dropped = drop(network, data, rng=rng, rows=20, second=(other, data))
    pieces = {piece.id: piece for piece in dropped.pile()}
    answers = (dropped.answer, dropped.second.answer)
    assert sorted([*answers[0], *answers[1]]) == sorted(pieces)
    assert {*answers[1]} == {*dropped.decoys}
    for records, answer in zip((dropped.records, dropped.second.records), answers, strict=True):
        verdict = verify(Pile(pieces[name] for name in answer), records, answer)
        assert verdict.outcome is Outcome.EXACT


def test_decoys_are_pieces_of_the_other_network(network, data, make_dropped, rng):
    other = make_dropped(np.random.default_rng(9), blocks=3, width=6, hidden=10, outputs=2).network
    decoys = draw_decoys(other, network, 4, rng)
    dropped = drop(network, data, rng=rng, decoys=decoys)
    assert len(dropped.pieces) == 13
    assert sorted([*dropped.answer, *dropped.decoys]) == list(range(13))
    theirs = {layer.weight.tobytes() for layer in other.layers()}
    assert {dropped.pieces[n]["weight"].tobytes() for n in dropped.decoys} < theirs
    with pytest.raises(UsageError, match="8 decoys are asked for, but their network has 7"):
        draw_decoys(other, network, 8, rng)
    narrow = make_dropped(np.random.default_rng(9), blocks=3, width=5, hidden=10).network
    with pytest.raises(UsageError, match="width 5, 10 hidden units and 1 outputs"):
        draw_decoys(narrow, network, 1, rng)


def test_detached_biases_are_pieces_of_their_own(network, data):
    dropped = dropped_from(network, data, detach_biases=True)
    assert len(dropped.pieces) == 18
    assert all(len(tensors) == 1 for tensors in dropped.pieces)
    parts = [next(iter(dropped.pieces[number].values())) for number in dropped.answer]
    layers = [Linear(*two) for two in zip(parts[::2], parts[1::2], strict=True)]
    rebuilt = MlpNetwork.from_layers(layers)
    np.testing.assert_array_equal(rebuilt.predict(data.inputs), dropped.records.predictions)


def test_shuffled_hidden_units_are_the_same_function(network, data, rng):
    shuffled = shuffle_hidden_units(network, rng)
    np.testing.assert_allclose(
        shuffled.predict(data.inputs), network.predict(data.inputs), rtol=1e-4, atol=1e-5
    )
    for one, other in zip(network.layers()[:-1], shuffled.layers()[:-1], strict=True):
        assert not np.array_equal(one.weight, other.weight)
        np.testing.assert_array_equal(np.sort(one.weight, None), np.sort(other.weight, None))
    dropped = dropped_from(network, data, permute_hidden=True)
    again = build_network(dropped.pile(), dropped.answer)
    assert not np.array_equal(again.blocks.inp_weight, network.blocks.inp_weight)
    verdict = verify(dropped.pile(), dropped.records, dropped.answer)
    assert verdict.outcome is Outcome.EXACT


def test_whole_blocks_are_lost_with_both_layers(network, data):
    dropped = dropped_from(network, data, lose_blocks=2)
    gone = [place for place, number in enumerate(dropped.answer) if number is None]
    assert len(gone) == 4
    assert all(a % 2 == 0 and b == a + 1 for a, b in zip(gone[::2], gone[1::2], strict=True))
    with pytest.raises(UsageError, match="4 blocks are to be lost, but there are 4"):
        dropped_from(network, data, lose_blocks=4)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_copies_lie_beside_what_they_copy(network, data, noise):
    dropped = dropped_from(network, data, duplicate=3, duplicate_noise=noise)
    assert len(dropped.copies) == 3
    assert not set(dropped.copies) & set(dropped.answer)
    for copy in dropped.copies:
        weight = dropped.pieces[copy]["weight"]
        others = [dropped.pieces[n]["weight"] for n in dropped.answer]
        nearest = min(
            np.abs(other - weight).max() for other in others if other.shape == weight.shape
        )
        assert bool(nearest == 0) == (noise == 0)
        assert nearest < 0.2 * weight.std()


def test_weights_are_pruned_and_predictions_clipped(network, data):
    dropped = dropped_from(network, data, prune=0.5, clip=1.0)
    weight = dropped.pieces[dropped.answer[0]]["weight"]
    assert (weight == 0).mean() == 0.5
    assert (
        np.abs(weight[weight != 0]).min() >= np.abs(network.layers()[0].weight[weight == 0]).max()
    )
    true = network.predict(data.inputs)
    most = true.mean(axis=0) + true.std(axis=0)
    np.testing.assert_allclose(dropped.records.predictions.max(axis=0), most, atol=1e-5)


def test_the_records_columns_are_shuffled_and_standardised(network, data):
    shuffled = dropped_from(network, data, shuffle_columns=True).records.inputs
    assert not np.array_equal(shuffled, data.inputs)
    np.testing.assert_array_equal(np.sort(shuffled, axis=1), np.sort(data.inputs, axis=1))
    standard = dropped_from(network, data, standardise=True).records.inputs
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(standard.std(axis=0), 1, rtol=1e-6)
