"""Training is deterministic, can be interrupted at any epoch, and does what PyTorch would do."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle.errors import FileError, UsageError
from unshuffle.oracle.recipe import find_recipe

pytest.importorskip("torch")
import torch

from unshuffle.oracle.training import LOSSES, rate_factor, read_checkpoint, train, write_checkpoint

from .conftest import shrink


def same(one, other):
    tensors, others = one.network.tensors(), other.network.tensors()
    return list(tensors) == list(others) and all(
        np.array_equal(values, others[name]) for name, values in tensors.items()
    )


@pytest.fixture
def recipe():
    return shrink(find_recipe("tiny-adam"))


@pytest.fixture
def four_epochs(recipe):
    return replace(recipe, training=replace(recipe.training, epochs=4))


def test_a_seed_gives_the_same_network_and_another_seed_another(recipe):
    one = train(recipe)
    torch.manual_seed(1)  # what the rest of the program draws does not matter
    assert same(train(recipe), one)
    assert not same(train(recipe.with_seed(1)), one)


def test_the_loss_falls(recipe):
    longer = replace(recipe, training=replace(recipe.training, epochs=10))
    losses = train(longer).losses
    assert len(losses) == 10
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    four_epochs, tmp_path, optimiser
):
    momentum = 0.9 if optimiser == "sgd" else 0.0
    plan = replace(
        four_epochs.training,
        optimiser=optimiser,
        momentum=momentum,
        weight_decay=0.1,
        schedule="one-cycle",
    )
    recipe = replace(four_epochs, training=plan)
    whole = train(recipe)
    checkpoint = tmp_path / "checkpoint.safetensors"

    def interrupt(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, checkpoint=checkpoint, on_epoch=interrupt, pause=0.0)
    seen = []
    resumed = train(recipe, checkpoint=checkpoint, on_epoch=seen.append)
    assert [epoch.number for epoch in seen] == [3, 4]
    assert same(resumed, whole)
    assert resumed.losses == whole.losses
    assert resumed.seconds > 0


def test_a_checkpoint_is_written_after_the_first_epoch(four_epochs, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    train(four_epochs, checkpoint=checkpoint)
    seen = []
    train(four_epochs, checkpoint=checkpoint, on_epoch=seen.append)
    assert [epoch.number for epoch in seen] == [2, 3, 4]


def test_a_checkpoint_of_something_else_is_refused(recipe, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    train(recipe, checkpoint=checkpoint)
    with pytest.raises(FileError, match="another recipe, seed or version"):
        train(recipe.with_seed(1), checkpoint=checkpoint)
    content = checkpoint.read_bytes()
    for damaged in (content[:-1], b"x" + content, b"\x80\x04N."):
        checkpoint.write_bytes(damaged)
        with pytest.raises(FileError, match="not a complete checkpoint"):
            train(recipe, checkpoint=checkpoint)
    checkpoint.write_bytes(content)
    state = read_checkpoint(checkpoint, recipe.key())
    no_weights = replace(state, weights={})
    no_moments = replace(state, moments={"x": torch.zeros(1)})
    for broken in (no_weights, no_moments):
        write_checkpoint(checkpoint, broken, recipe.key())
        with pytest.raises(FileError, match="does not hold the state of this network"):
            train(recipe, checkpoint=checkpoint)


def test_training_that_diverges_says_so(recipe):
    wild = replace(recipe, training=replace(recipe.training, optimiser="sgd", learning_rate=1e9))
    with pytest.raises(UsageError, match=r"tiny-adam: the loss is (nan|inf) after epoch \d"):
        train(wild)


def test_a_step_is_the_step_of_a_loop_written_by_hand(recipe):
    """One epoch of plain gradient descent in one batch, against NumPy's own gradient."""
    plan = replace(recipe.training, optimiser="sgd", learning_rate=1e-3, epochs=1, batch_rows=10**6)
    recipe = replace(recipe, training=plan)
    before = train(replace(recipe, training=replace(plan, learning_rate=1e-30)))
    after = train(recipe)
    network, examples = before.network.astype(np.float64), before.examples
    *_, final = network.states(examples.inputs.astype(np.float64))
    residual = network.last(final) - examples.targets
    gradient = 2 * residual.T @ final / residual.size
    moved = (before.network.last.weight - after.network.last.weight) / 1e-3
    np.testing.assert_allclose(moved, gradient, rtol=1e-3, atol=1e-3)
    assert before.losses[0] == pytest.approx(np.mean(residual**2), rel=1e-5)


def test_the_schedule_reaches_the_weights(recipe):
    """With one batch an epoch, the second of two steps of a cosine is half as long."""

    def last_weight(schedule, epochs):
        plan = replace(
            recipe.training,
            optimiser="sgd",
            learning_rate=0.01,
            batch_rows=10**6,
            schedule=schedule,
            epochs=epochs,
        )
        return train(replace(recipe, training=plan)).network.last.weight.astype(np.float64)

    first = last_weight("constant", 1)
    whole = last_weight("constant", 2) - first
    half = last_weight("cosine", 2) - first
    assert np.abs(whole).max() > 1e-4
    np.testing.assert_allclose(half, whole / 2, atol=1e-6)


def test_zero_init_starts_every_block_as_the_identity(recipe):
    plan = replace(recipe.network, initialisation="zero-out")
    still = replace(recipe.training, optimiser="sgd", learning_rate=1e-30, epochs=1)
    oracle = train(replace(recipe, network=plan, training=still))
    inputs = oracle.examples.inputs
    np.testing.assert_array_equal(oracle.network.predict(inputs), oracle.network.last(inputs))


def test_an_orthogonal_start_is_orthogonal(recipe):
    plan = replace(recipe.network, initialisation="orthogonal")
    still = replace(recipe.training, optimiser="sgd", learning_rate=1e-30, epochs=1)
    network = train(replace(recipe, network=plan, training=still)).network
    for weight in network.blocks.inp_weight:  # tall
        np.testing.assert_allclose(weight.T @ weight, np.eye(weight.shape[1]), atol=1e-6)
    for weight in network.blocks.out_weight:  # wide
        np.testing.assert_allclose(weight @ weight.T, np.eye(weight.shape[0]), atol=1e-6)


def test_schedules():
    assert [rate_factor("constant", t) for t in (0, 0.5, 1)] == [1, 1, 1]
    assert [rate_factor("cosine", t) for t in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [rate_factor("one-cycle", t) for t in (0, 0.15, 0.3, 0.65, 1)] == pytest.approx(
        [0, 0.5, 1, 0.5, 0]
    )


def test_classes_are_learned_by_their_log_likelihood(recipe):
    oracle = train(shrink(find_recipe("tiny-classes")))
    assert oracle.losses[0] == pytest.approx(np.log(4), rel=0.5)
    loss = LOSSES["cross-entropy"](torch.zeros(5, 4), torch.zeros(5, dtype=torch.long))
    assert loss.item() == pytest.approx(np.log(4))


def test_the_threads_of_pytorch_are_given_back(recipe):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(recipe)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
