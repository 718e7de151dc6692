"""Blocks without a skip connection: the weights tell their order, and the record confirms it."""

import numpy as np
import pytest

from unshuffle import MlpNetwork, Outcome, Records, solve
from unshuffle.blocks.assembly import Linear
from unshuffle.blocks.forms import FORMS, formed
from unshuffle.pieces.clock import Clock
from unshuffle.repair.case import Case
from unshuffle.repair.no_skip import NO_SKIP, chain_of
from unshuffle.solution.options import Options

WITHOUT = [form.formula for form in FORMS if not form.skip]


def balanced(rng, blocks=5, width=8, hidden=14):
    """Layers as training leaves them where each block reads what the one before it writes."""
    layers, inp = [], rng.normal(size=(hidden, width)) / np.sqrt(width)
    inp *= np.exp(0.5 * rng.normal(size=(hidden, 1)))
    for _ in range(blocks):
        out = rng.normal(size=(width, hidden))
        out *= 1.5 * np.linalg.norm(inp, axis=1) / np.linalg.norm(out, axis=0)
        layers += [Linear(inp, 0.1 * rng.normal(size=hidden))]
        layers += [Linear(out, 0.1 * rng.normal(size=width))]
        turned, _ = np.linalg.qr(rng.normal(size=(hidden, hidden)))
        inp = turned @ out.T
    last = Linear(rng.normal(size=(1, width)), rng.normal(size=1))
    return MlpNetwork.from_layers([*layers, last]).astype(np.float32)


@pytest.mark.parametrize("formula", WITHOUT)
def test_they_are_solved_before_any_search(rng, drop, formula):
    case = drop(rng, balanced(rng), rows=200)
    network = formed(case.network, formula)
    records = Records(case.records.inputs, network.predict(case.records.inputs))
    solution = solve(case.pile, records)
    assert solution.outcome is Outcome.EXACT
    assert (solution.form, solution.permutation) == (formula, case.permutation)
    assert list(solution.repairs.values()).count(str(Outcome.EXACT)) == 1
    assert f"the blocks are {formula}, and not" in solution.findings.notes[0]


def test_a_chain_that_closes_is_cut_by_the_record(rng, drop):
    """The first block resembles what the last one writes more than others resemble each other."""
    network = balanced(rng)
    turned, _ = np.linalg.qr(rng.normal(size=(14, 14)))
    inp = network.blocks.inp_weight.copy()
    inp[0] = turned @ network.blocks.out_weight[-1].T
    inp[2] += 0.3 * rng.normal(size=inp[2].shape)
    layers = network.layers()
    layers[0], layers[4] = Linear(inp[0], layers[0].bias), Linear(inp[2], layers[4].bias)
    network = formed(MlpNetwork.from_layers(layers), WITHOUT[0])
    case = drop(rng, network, rows=200)
    found = NO_SKIP.run(Case(case.pile, case.records, Options(clock=Clock()), None), None)
    assert found.permutation == case.permutation


@pytest.mark.parametrize("blocks", [3, 4, 6])
@pytest.mark.parametrize("coupling", [0.0, 0.12])
def test_blocks_that_add_to_a_stream_are_no_chain(make_dropped, blocks, coupling):
    shape = {"blocks": blocks, "width": 8, "hidden": 14, "coupling": coupling}
    cases = [make_dropped(np.random.default_rng(seed), **shape) for seed in range(20)]
    assert max(chain_of(case.pile).clearness for case in cases) < 1.5
    case = cases[0]
    whole = Case(case.pile, case.records, Options(), None)
    assert NO_SKIP.suspects(whole, None) == 0
