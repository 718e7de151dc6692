"""Tensors in another dtype that take no memory: modules in double precision share their weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from unshuffle import blueprint
from unshuffle.blocks.converted import Converted
from unshuffle.oracle.module_dropping import drop_module


class Network(nn.Module):
    """Two blocks on a table of vectors."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(50, 6)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 6)) for _ in "ab")

    def forward(self, ids):
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return x


def converted(module, dtype=torch.float64):
    """A copy of a module whose tensors are converted as they are used."""
    each = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(one): Converted(one.detach(), dtype) for one in each})


@pytest.fixture
def module():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.Sequential(nn.Embedding(50, 8), layer, nn.Linear(8, 3)).eval()


def test_a_module_computes_as_in_that_dtype(module):
    ids = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        expected = copy.deepcopy(module).double()(ids)
        assert torch.equal(converted(module)(ids), expected)


def test_derivatives_are_those_of_that_dtype(module):
    x = torch.randn(2, 6, 8, dtype=torch.float64, requires_grad=True)
    found, expected = (
        torch.autograd.grad(one[1](x).square().sum(), x)[0]
        for one in (converted(module), copy.deepcopy(module).double())
    )
    torch.testing.assert_close(found, expected)


def test_a_factor_is_on_all_numbers(module):
    x, linear = torch.randn(4, 8), module[2]
    turned = {
        name: Converted(one, torch.float32, 1.25) for name, one in linear.state_dict().items()
    }
    torch.testing.assert_close(functional_call(linear, turned, (x,)), 1.25 * linear(x))
    np.testing.assert_array_equal(turned["weight"].numpy(), 1.25 * linear.weight.detach().numpy())


def test_of_a_table_only_the_rows_that_are_looked_up_are_made(monkeypatch):
    sizes, made = [], Converted.made
    monkeypatch.setattr(Converted, "made", lambda one: sizes.append(one.numel()) or made(one))
    converted(nn.Embedding(1000, 2))(torch.arange(3))
    assert sizes == [6]


def test_what_is_changed_in_place_stays_so_and_its_source_does_not(module):
    table = nn.Embedding(5, 3, max_norm=0.1)
    before = table.weight.detach().clone()
    rows = converted(table)(torch.arange(5))
    assert float(rows.norm(dim=1).max()) == pytest.approx(0.1)
    assert torch.equal(table.weight.detach(), before)


def test_a_replay_in_double_precision_has_no_weights_of_its_own(rng):
    module, inputs = Network(), {"ids": rng.integers(50, size=(4, 5))}
    dropped = drop_module(module, inputs, level="layers", rng=rng)
    given = blueprint(module)
    bank, ends = given.parts(given.fitted(dropped.pile()), dropped.records)
    shared = {one.data_ptr() for one in module.state_dict().values()}
    weights = [*ends.astype(np.float64).replay.module.parameters()]
    assert weights
    for one in weights:
        assert one.dtype is torch.float64
        assert one.source.data_ptr() in shared
    blocks = bank.take(np.zeros((1, len(bank.kind.roles)), np.intp))
    assert blocks.astype(np.float64).blocks is blocks.blocks
