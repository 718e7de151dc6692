"""What can change places is found, for any kind, and everything else is not."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle import MlpNetwork, Outcome, Piece, Pile, Records, solve
from unshuffle.proof.interchange import alike_blocks
from unshuffle.views.terminal import print_solution


@pytest.mark.parametrize("change", ["copy", "units", "scale"])
def test_blocks_that_compute_the_same_are_found(dropped, rng, change):
    case = dropped(rows=64, blocks=9)
    blocks = case.network.blocks.copy()
    blocks.overwrite(7, 2)
    order = rng.permutation(blocks.hidden) if change == "units" else np.arange(blocks.hidden)
    scale = np.exp(rng.normal(size=blocks.hidden)) if change == "scale" else np.ones(blocks.hidden)
    blocks.inp_weight[7] = (blocks.inp_weight[2] * scale[:, None])[order]
    blocks.inp_bias[7] = (blocks.inp_bias[2] * scale)[order]
    blocks.out_weight[7] = (blocks.out_weight[2] / scale)[:, order]
    assert alike_blocks(MlpNetwork(blocks, case.network.last), case.records) == ((2, 7),)
    assert alike_blocks(case.network, case.records) == ()


def test_blocks_that_part_at_one_depth_alone_are_not_alike(dropped, rng):
    """Two blocks of one unit each, which only states of one depth reach."""
    case = dropped(rows=8, blocks=9, width=2, hidden=1, dtype=np.float64)
    inp = np.zeros((9, 1, 2))
    out = np.zeros((9, 2, 1))
    inp[7:, 0, 0], out[7, 0, 0], out[8, 0, 0] = 1, 1, -1
    bias, step = np.zeros((9, 1)), np.zeros((9, 2))
    bias[7:] = -2.5
    step[:, 0] = 3.0, -3.0, 0, 0, 0, 0, 0, 0, 0
    step[:, 1] = np.arange(9)  # so that no other two are alike
    step[8, 1] = step[7, 1]
    blocks = replace(case.network.blocks, inp_weight=inp, inp_bias=bias, out_weight=out)
    network = MlpNetwork(replace(blocks, out_bias=step), case.network.last)
    inputs = np.zeros((8, 2))
    inputs[:, 1] = rng.uniform(size=8)
    assert alike_blocks(network, Records(inputs, inputs[:, :1])) == ()


@pytest.mark.parametrize("units", [False, True])
def test_a_solution_is_exact_up_to_what_computes_the_same(dropped, rng, units):
    case = dropped(rows=150, blocks=4, width=8, hidden=12)
    blocks = case.network.blocks.take([0, 1, 1, 2])
    if units:  # the pieces are others, and the block as a whole is the same
        order = rng.permutation(12)
        for values in (blocks.inp_weight, blocks.inp_bias, blocks.out_weight.transpose(0, 2, 1)):
            values[2] = values[2][order]
    network = MlpNetwork(blocks, case.network.last)
    pieces = [Piece.linear(k, one.weight, one.bias) for k, one in enumerate(network.layers())]
    records = Records(case.records.inputs, network.predict(case.records.inputs))
    solution = solve(Pile(pieces), records, activation="relu")
    assert solution.outcome is Outcome.EXACT
    single, whole = (((2,), (4,)), ((3,), (5,))), (((2, 3), (4, 5)),)
    found = {tuple(sorted(group)) for group in solution.interchangeable}
    assert found == {*(whole if units else single)}
    assert solution.certificate.groups == ((0,), (1, 2), (3,))
    assert [one.same for one in solution.certificate.neighbours] == [False, True, False]


def test_a_network_of_one_block_over_and_over_is_exact(dropped, capsys):
    case = dropped(rows=60, blocks=3, width=6, hidden=8)
    network = MlpNetwork(case.network.blocks.take([1, 1, 1]), case.network.last)
    pieces = [Piece.linear(k, one.weight, one.bias) for k, one in enumerate(network.layers())]
    records = Records(case.records.inputs, network.predict(case.records.inputs))
    solution = solve(Pile(pieces), records, activation="relu")
    assert solution.outcome is Outcome.EXACT
    assert solution.certificate.groups == ((0, 1, 2),)
    print_solution(solution)
    assert "nearest rivals" not in capsys.readouterr().out


def module_of(family, rng, blocks=3, *, twin=False):
    """Blocks with random weights; the third is a twin of the first, if it is to be."""
    torch = pytest.importorskip("torch")
    from unshuffle.oracle.families import build
    from unshuffle.oracle.recipe import find_recipe

    plan = replace(find_recipe(f"module-tiny-{family}").network, blocks=blocks)
    module = build(plan, 0).eval()
    tensors = module.state_dict()
    for name, values in tensors.items():
        if values.is_floating_point():
            values.add_(torch.from_numpy(0.3 * rng.normal(size=tuple(values.shape))))
        if twin and name.startswith("blocks.2."):
            values.copy_(tensors[name.replace("blocks.2.", "blocks.0.")])
    return module


def checked(module, level, rng):
    """What the certificate of the right answer says can change places, and what was dropped."""
    from unshuffle import blueprint, verify
    from unshuffle.oracle.module_dropping import drop_module

    inputs = {"rows": rng.integers(20, size=(12, 6)).astype(np.float32)}
    dropped = drop_module(module, inputs, level=level, rng=rng)
    named = [piece for block in dropped.answer for piece in block]
    given = blueprint(module)
    found = verify(dropped.pile(), dropped.records, named, blueprint=given)
    assert found.outcome is Outcome.EXACT
    alike = found.certificate.interchangeable(found.blocks)
    return {tuple(sorted(group)) for group in alike}, dropped


def test_biases_of_keys_can_change_places_and_no_other_tensors(rng):
    found, dropped = checked(module_of("bert", rng, 2), "tensors", rng)
    keys = [k for k, held in enumerate(dropped.pieces) if "attention.key.bias" in held]
    assert len(keys) == 2
    assert found == {tuple((k,) for k in keys)}


@pytest.mark.parametrize("level", ["blocks", "layers"])
def test_pieces_of_equal_blocks_can_change_places(rng, level):
    found, dropped = checked(module_of("gpt", rng, twin=True), level, rng)
    first, _, last = dropped.answer
    assert found == {tuple(sorted([(a,), (b,)])) for a, b in zip(first, last, strict=True)}
