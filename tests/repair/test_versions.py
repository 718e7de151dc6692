"""Several versions of one layer: the one that fits is found, or that none fits better is said."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from unshuffle import Outcome, Piece, Pile, Records, solve
from unshuffle.repair.case import STANDARD, near_copies

SHAPE = {"blocks": 6, "width": 12, "hidden": 20}


def near(piece: Piece, name: int, rng: np.random.Generator, share: float = 0.02) -> Piece:
    """A version of a piece that differs by a share of its norm."""

    def moved(values: NDArray[np.floating]) -> NDArray[np.floating]:
        noise = rng.normal(size=values.shape)
        noise *= share * np.linalg.norm(values) / np.linalg.norm(noise)
        return (values + noise).astype(values.dtype)

    return Piece.linear(name, moved(piece.weight), moved(piece.bias))


def with_versions(pile: Pile, names: Sequence[int], rng: np.random.Generator) -> Pile:
    """The pile with a version of each of these pieces, called by a number that is 100 larger."""
    return Pile([*pile, *(near(pile[pile.index[name]], 100 + name, rng) for name in names)])


@pytest.mark.parametrize("many", [1, 2, 6, 13])
def test_the_versions_that_fit_are_found(dropped, rng, many):
    case = dropped(**SHAPE, rows=1000)
    doubled = rng.choice(case.permutation, size=many, replace=False).tolist()
    solution = solve(with_versions(case.pile, doubled, rng), case.records)
    assert solution.exact
    assert solution.permutation == case.permutation
    reasons = {one.id: one.reason for one in solution.findings.leftovers}
    assert reasons == {100 + name: f"nearly piece {name}, which fits better" for name in doubled}


def test_the_first_by_name_is_no_better_than_others(dropped, rng):
    """The originals have the greater numbers here, so that the search begins with the copies."""
    case = dropped(**SHAPE, rows=1000)
    originals = [replace(piece, id=200 + piece.id) for piece in case.pile]
    copies = [near(piece, piece.id, rng) for piece in case.pile]
    copies += [near(piece, 100 + piece.id, rng) for piece in case.pile if piece.id % 2]
    solution = solve(Pile([*copies, *originals]), case.records)
    assert solution.exact
    assert solution.permutation == tuple(200 + name for name in case.permutation)


def test_names_do_not_decide(dropped, rng):
    case = dropped(**SHAPE, rows=1000)
    pile = with_versions(case.pile, case.permutation[:4], rng)
    forth = solve(pile, case.records)
    back = solve(Pile([*pile][::-1]), case.records)
    assert forth.permutation == back.permutation == case.permutation


def test_noise_hides_which_version_belongs(dropped, rng):
    """The record tells the order and not the versions: nothing is claimed of them."""
    case = dropped(**SHAPE, rows=400)
    name = case.permutation[3]
    pile = Pile([*case.pile, near(case.pile[case.pile.index[name]], 100, rng, 1e-4)])
    predictions = case.records.predictions
    noise = 0.02 * predictions.std() * rng.normal(size=predictions.shape).astype(np.float32)
    solution = solve(pile, Records(case.records.inputs, predictions + noise))
    assert solution.outcome is Outcome.AMBIGUOUS
    (leftover,) = solution.findings.leftovers
    assert "which the record does not tell from it" in leftover.reason


def test_near_copies_are_those_that_differ_by_little(rng):
    """Against the definition, over shares of the norm on both sides of the bound."""
    pieces = [
        Piece.linear(number, rng.normal(size=(3, 5)).astype(np.float32), np.zeros(3, np.float32))
        for number in range(3)
    ]
    for number, share in enumerate((1e-5, 0.03, 0.049, 0.051, 0.09, 0.3), start=3):
        pieces.append(near(pieces[number % 3], number, rng, share))
    pieces.append(Piece.linear(9, pieces[0].weight, np.ones(3, np.float32)))
    pile = Pile(pieces)
    numbers = [np.append(piece.weight, piece.bias).astype(np.float64) for piece in pile]
    expected = {}
    for a, b in combinations(range(len(pile)), 2):
        larger = max(np.linalg.norm(numbers[a]), np.linalg.norm(numbers[b]))
        expected[a, b] = np.linalg.norm(numbers[a] - numbers[b]) / larger
    expected = {pair: share for pair, share in expected.items() if share <= STANDARD.alike}
    found = {(a, b): share for a, b, share in near_copies(pile)}
    assert found == pytest.approx(expected)
    assert 2 <= len(found) < 10
