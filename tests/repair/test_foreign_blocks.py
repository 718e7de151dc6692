"""Whole blocks of another network in the pile: the record tells them, and they are named."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from unshuffle import Outcome, Pile, Records, solve
from unshuffle.ordering.search import InVain
from unshuffle.repair import foreign_blocks
from unshuffle.repair.case import Case
from unshuffle.repair.foreign_blocks import STANDARD, looks
from unshuffle.solution.options import Options

SHAPE = {"blocks": 6, "width": 12, "hidden": 20, "rows": 600}


@pytest.fixture
def foreign(make_dropped):
    """A dropped network, and its pile with blocks of another one: `foreign(seed, blocks=1)`."""

    def make(seed: int, blocks: int = 1):
        rng = np.random.default_rng(seed)
        case, other = make_dropped(rng, **SHAPE), make_dropped(rng, **SHAPE)
        strangers = [other.pile[other.pile.index[name]] for name in other.permutation[: 2 * blocks]]
        named = [replace(piece, id=50 + k) for k, piece in enumerate(strangers)]
        return case, Pile([*case.pile, *named])

    return make


# Far from the record and near it; the foreign block is missed least, or two others are.
@pytest.mark.parametrize(("seed", "blocks"), [(1, 1), (4, 1), (3, 2)])
def test_foreign_blocks_are_named_and_the_others_put_in_order(foreign, seed, blocks):
    case, pile = foreign(seed, blocks)
    solution = solve(pile, case.records, time_limit=120)
    assert solution.exact
    assert solution.permutation == case.permutation
    assert solution.repairs["foreign blocks"] == "exact"
    found = {one.id: one.reason for one in solution.findings.leftovers}
    assert found.keys() == {*range(50, 50 + 2 * blocks)}
    assert {*found.values()} == {"not needed: the record is reproduced without it"}


def test_what_noise_explains_is_no_reason_to_leave_a_block_out(foreign, rng):
    """A block that hardly matters would be missed by nobody where the record is noisy."""
    case, pile = foreign(0)
    noise = 0.02 * case.records.predictions.std() * rng.normal(size=(600, 1))
    noisy = Records(case.records.inputs, case.records.predictions + noise.astype(np.float32))
    assert look(case, case.records, pile).outcome is Outcome.EXACT
    assert look(case, noisy, pile) is None


def test_others_are_searched_for_with_the_activation_that_fits_best(foreign, monkeypatch):
    case, pile = foreign(1)
    asked = set()

    def arranged(pile, records, options, start):
        asked.add(options.activation)
        return SimpleNamespace(outcome=Outcome.MISFIT)

    monkeypatch.setattr(foreign_blocks, "arrange", arranged)
    look(case, case.records, pile, activation=None)
    assert asked == {"relu"}


def look(case, records, pile, activation="relu"):
    """What the first look comes to at a search that has done a little in vain."""
    one = Case(pile, records, Options(activation=activation), solve=None)
    searching = one.searching()
    searching.go_on((InVain(STANDARD.least, 0.0),))
    return next(looks(one, searching))()
