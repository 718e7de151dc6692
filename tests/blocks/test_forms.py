"""Blocks of every form: their derivatives, their exchanges, and their modules."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle.blocks.activations import find_activation
from unshuffle.blocks.forms import FORMS, RESIDUAL, FormBank, form_of, formed
from unshuffle.blocks.mlp import INP, OUT, MlpBank

ALL = pytest.mark.parametrize("form", [RESIDUAL, *FORMS], ids=lambda form: form.formula)


@pytest.fixture
def network(dropped):
    network = dropped(blocks=4, width=5, hidden=7, outputs=2).network.astype(np.float64)
    return replace(network, blocks=replace(network.blocks, activation=find_activation("silu")))


@ALL
def test_pullbacks_are_the_derivatives(network, form, rng):
    blocks = formed(network, form.formula).blocks
    x, g = rng.normal(size=(6, 5)), rng.normal(size=(2, 6, 5))
    step = 1e-6 * rng.normal(size=x.shape)
    for place in range(len(blocks)):
        change = blocks.apply(place, x + step) - blocks.apply(place, x - step)
        expected = np.einsum("ond,nd->on", g, change) / 2
        found = np.einsum("ond,nd->on", blocks.pullback(place, x, g), step)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-11)
    each = np.stack([x + place for place in range(len(blocks))])
    many = blocks.pullback_each(each, np.stack([g] * len(blocks)))
    for place, rows in enumerate(each):
        np.testing.assert_allclose(many[place], blocks.pullback(place, rows, g), atol=1e-12)
        np.testing.assert_allclose(
            blocks.apply_each(each)[place], blocks.apply(place, rows), atol=1e-12
        )


@ALL
@pytest.mark.parametrize("role", [INP, OUT])
def test_replaced_layers_are_those_of_other_blocks(network, form, role, rng):
    blocks = formed(network, form.formula).blocks
    plain = MlpBank(*blocks.inp, *blocks.out, blocks.activation)
    bank = (
        plain
        if form == RESIDUAL
        else FormBank(*blocks.inp, *blocks.out, blocks.activation, form=form)
    )
    x, g = rng.normal(size=(6, 5)), rng.normal(size=(2, 6, 5))
    found = blocks.replaced(1, role, blocks, x, g)
    for other in range(4):
        parts = np.array([1, 4 + 1])
        parts[role] = other + 4 * role
        steps = bank.apply(parts, x) - x
        np.testing.assert_allclose(found[:, other], np.einsum("ond,nd->no", g, steps), atol=1e-12)
        np.testing.assert_allclose(bank.take(parts[None]).apply(0, x), steps + x, atol=1e-12)


@ALL
def test_a_module_of_that_form_predicts_the_same(network, form, rng):
    torch = pytest.importorskip("torch")
    from unshuffle.blocks.torch_module import to_torch

    other = formed(network, form.formula)
    assert form_of(other.blocks) == form_of(other.blocks[1:]) == form
    x = rng.normal(size=(6, 5))
    with torch.no_grad():
        found = to_torch(other)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, other.predict(x), atol=1e-12)
