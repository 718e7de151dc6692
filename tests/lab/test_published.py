"""The published methods solve what they can, and their shortcuts change nothing."""

from pathlib import Path

import numpy as np
import pytest

from unshuffle import read_pile, read_records
from unshuffle.blocks.assembly import last_layer, stack_blocks
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import UsageError
from unshuffle.lab import published
from unshuffle.pieces.answer import answer_hash

# From their seeds the others end in a local optimum on the shipped example.
SOLVE_THE_EXAMPLE = ("l1-bubble", "step-bubble", "step-bubble-all")
ADJOINT = ("adjoint-rounds", "adjoint-single")


@pytest.fixture(scope="module")
def material():
    example = Path(__file__).parents[2] / "examples" / "dropped"
    answer = (example / "answer.sha256").read_text().split()[0]
    return read_pile(example / "pieces"), read_records(example / "record.csv"), answer


@pytest.mark.parametrize("name", SOLVE_THE_EXAMPLE)
def test_baselines_reproduce_the_example(material, name):
    pile, records, answer = material
    result = published.BASELINES[name].solve(pile, records)
    assert result.error < 1e-12
    assert answer_hash(result.permutation) == answer


@pytest.fixture(scope="module")
def begun(material):
    """Start a search at the right order but for some adjacent swaps: `begun(2, 5)`."""
    pile, records, _ = material
    names = published.BASELINES["step-bubble"].solve(pile, records).permutation
    pairs, last = published.pair_by_trace(pile, records)
    network = MlpNetwork(stack_blocks(pile, pairs), last_layer(pile, last))
    right = [pairs.index(pair) for pair in zip(names[:-1:2], names[1::2], strict=True)]

    def begin(*swaps):
        order = right.copy()
        for t in swaps:
            order[t], order[t + 1] = order[t + 1], order[t]
        search = published.ExactTrials(network, records, published.ROWS, adjoint=True)
        search.begin(order)
        return network, right, search

    return begin


@pytest.mark.parametrize("name", ADJOINT)
def test_adjoint_baselines_repair_swaps(begun, name):
    _, right, search = begun(2, 5, 8)
    assert search.error > 1e-6
    getattr(published, name.replace("-", "_"))(search)
    assert search.error < 1e-12
    assert search.order == right


@pytest.mark.parametrize("name", ["frobenius-bubble", *ADJOINT])
def test_baselines_lower_the_error_of_their_seed(material, name):
    pile, records, _ = material
    pairs, last = published.pair_by_trace(pile, records)
    network = MlpNetwork(stack_blocks(pile, pairs), last_layer(pile, last))
    search = published.ExactTrials(network, records, published.ROWS)
    search.begin(published.norm_seed(search.blocks, 2 if "frobenius" in name else 1))
    assert published.BASELINES[name].solve(pile, records).error < search.error


def test_predicted_gains_are_the_exact_ones_to_first_order(begun):
    *_, search = begun(4)
    predicted, _ = published._predictions(search, 0)
    for t in range(len(search.order) - 1):
        order = search.order.copy()
        order[t], order[t + 1] = order[t + 1], order[t]
        exact = search.trial_error(order, t) - search.error
        assert predicted[t] == pytest.approx(exact, rel=0.5, abs=0.1 * search.error), t


def test_kept_states_are_those_of_the_order(material, begun):
    _, records, _ = material
    network, _, search = begun(3, 6)
    assert search.swap(6, 7, 0.0)
    assert search.swap(3, 4, 0.0)
    fresh = published.ExactTrials(network, records, published.ROWS, adjoint=True)
    fresh.begin(search.order)
    for mine, other in zip(search.parts, fresh.parts, strict=True):
        np.testing.assert_array_equal(mine.states, other.states)
        np.testing.assert_array_equal(mine.gates, other.gates)
        np.testing.assert_array_equal(mine.residual, other.residual)


def test_several_outputs_are_refused(dropped):
    of_two = dropped(outputs=2)
    with pytest.raises(UsageError, match="one output, not 2"):
        published.BASELINES["l1-bubble"].solve(of_two.pile, of_two.records)
