"""Brackets, regressions and messages against theory; mean-field searches of small networks."""

import numpy as np
import pytest

from unshuffle.blocks.bank import LoopBank
from unshuffle.blocks.mlp import INP, OUT
from unshuffle.ordering.brackets import borda, bracket_effects, pairs, sides
from unshuffle.ordering.linearization import linearize
from unshuffle.ordering.mean_field import (
    MeanField,
    MeanFieldParameters,
    extrinsic,
)
from unshuffle.ordering.population import Distribution, Population, PopulationParameters
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.regression import RidgeParameters, fit


def beginning(problem, by):
    grouped = [problem.grouped]
    population = Population.around(
        grouped, problem.evidence, problem.bank.kind, PopulationParameters()
    )
    return MeanField.around(population.distributions[0], problem, by)


@pytest.mark.parametrize("outputs", [1, 2])
def test_brackets_add_up_to_the_difference_of_two_runs_to_first_order(
    loose, rescaled, rng, outputs
):
    net = loose(blocks=5, rows=30, outputs=outputs)
    before, after = rng.permutation(5), rng.permutation(5)
    changed = sides(np.argsort(after)) - sides(np.argsort(before))
    assert changed.any()
    shares = []
    for scale in (0.02, 0.01):
        small = rescaled(net, scale)
        at = linearize(small.judge, small.judge.run(small.blocks(np.repeat(before[:, None], 2, 1))))
        effects = bracket_effects(at.run.states, at.adjoints, np.argsort(before))
        assert effects.shape == (outputs, 30, 10)
        moved = small.blocks(np.repeat(after[:, None], 2, 1))
        exact = small.predict(moved) - small.predict(at.run.arrangement)
        error = effects.reshape(-1, 10) @ changed - exact
        shares.append(np.linalg.norm(error) / np.linalg.norm(exact))
    # What is left out is of one order more in the size of the blocks.
    assert shares[0] < 0.2
    assert shares[1] < 0.6 * shares[0]


def test_places_are_those_of_the_order_whose_sides_they_come_from(rng):
    places = rng.permutation(7)
    np.testing.assert_allclose(borda(sides(places), 7), places)
    first, second = pairs(3)
    assert [*zip(first, second, strict=True)] == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize(("equations", "count"), [(30, 12), (12, 30)])
def test_a_regression_is_the_likeliest_ridge_regression(rng, equations, count):
    effects = rng.normal(size=(equations, count))
    wanted = effects @ rng.normal(size=count) + 2 * rng.normal(size=equations)
    by = RidgeParameters(steps=15)
    found = fit(effects, wanted, by)
    gram = effects @ effects.T
    unit = np.trace(gram) / equations

    def log_likelihood(ridge):
        """Of a Gaussian with this ratio of noise to effects, at the best of all scales."""
        covariance = gram + ridge * np.eye(equations)
        scale = wanted @ np.linalg.solve(covariance, wanted) / equations
        return -equations / 2 * np.log(scale) - np.linalg.slogdet(covariance)[1] / 2

    assert found.ridge == pytest.approx(max(unit * by.ridges, key=log_likelihood))
    inverse = np.linalg.inv(gram + found.ridge * np.eye(equations))
    np.testing.assert_allclose(found.coefficients, effects.T @ inverse @ wanted, atol=1e-9)
    resolution = np.diag(effects.T @ inverse @ effects)
    np.testing.assert_allclose(found.resolution, resolution, atol=1e-9)


def test_a_regression_on_nothing_finds_nothing():
    found = fit(np.zeros((5, 3)), np.ones(5), RidgeParameters())
    assert not found.coefficients.any()
    assert not found.resolution.any()
    with np.errstate(over="ignore"):
        overflowing = fit(np.full((5, 3), 1e200), np.ones(5), RidgeParameters())
    assert not overflowing.coefficients.any()


def test_an_extrinsic_message_is_the_likelihood_with_the_other_unknowns_integrated_out(rng):
    effects, noise = rng.normal(size=(6, 4)), 0.7
    means, spreads = rng.normal(size=4), rng.uniform(0.5, 2, 4)
    data = effects @ rng.normal(size=4) + np.sqrt(noise) * rng.normal(size=6)
    scaled = effects * spreads
    inverse = np.linalg.inv(scaled @ scaled.T + noise * np.eye(6))
    coefficients = scaled.T @ inverse @ (data - effects @ means)
    seen, variance = extrinsic(np.diag(scaled.T @ inverse @ scaled), coefficients, means, spreads)
    for k in range(4):
        others = np.delete(np.arange(4), k)
        covariance = scaled[:, others] @ scaled[:, others].T + noise * np.eye(6)
        column = effects[:, k]
        weights = np.linalg.solve(covariance, column)
        about = data - effects[:, others] @ means[others]
        assert variance[k] == pytest.approx(1 / (weights @ column))
        assert seen[k] == pytest.approx(weights @ about / (weights @ column))


def test_mixed_pieces_are_weighted_means_in_every_bank(loose, rng):
    net = loose(blocks=4)
    loop = LoopBank(
        net.bank.kind,
        lambda tensors, x: (
            x
            + np.maximum(x @ tensors["inp"]["weight"].T + tensors["inp"]["bias"], 0)
            @ tensors["out"]["weight"].T
            + tensors["out"]["bias"]
        ),
        lambda tensors, x, g: g,
        [
            {"weight": weight, "bias": bias}
            for layers in (net.bank.inp, net.bank.out)
            for weight, bias in zip(*layers, strict=True)
        ],
    )
    arrangement, x = net.right, rng.normal(size=(4, 9, 6))
    shares = rng.dirichlet(np.ones(4), size=4)
    for mixtures in ({OUT: (arrangement[:, OUT], shares)}, {INP: (arrangement[:, INP], shares)}):
        one, other = (bank.mixed(arrangement, mixtures) for bank in (net.bank, loop))
        np.testing.assert_allclose(one.apply_each(x), other.apply_each(x), atol=1e-12)
    certain = net.bank.mixed(arrangement, {OUT: (arrangement[:, OUT], np.eye(4))})
    np.testing.assert_array_equal(certain.apply_each(x), net.bank.take(arrangement).apply_each(x))


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_mean_field_search_finds_pairs_and_order_without_evidence(make_loose, rescaled, outputs):
    rng = np.random.default_rng(3)
    net = rescaled(make_loose(rng, blocks=6, rows=400, outputs=outputs), 0.3)
    by = MeanFieldParameters(equations=200)
    wrong = np.column_stack([range(6), rng.permutation(6)])
    problem = net.problem(np.zeros((6, 6)), wrong)
    field = beginning(problem, by)
    for _ in range(by.steps):
        field = field.advance(problem, rng, by)
    np.testing.assert_array_equal(field.belief.centre, net.right)
    assert field.steps == by.steps
    assert field.error < problem.known.variance


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_mean_field_search_finds_roles_that_nothing_tells(square, rescaled, outputs):
    rng = np.random.default_rng(3)
    net = rescaled(square(5, rows=600, width=8, outputs=outputs), 0.5)
    mixed = rng.permutation(10).reshape(5, 2)
    problem = net.problem(np.zeros((10, 10)), mixed)
    by = MeanFieldParameters(equations=400)
    field = MeanField.around(Distribution.of_couples(mixed), problem, by)
    for _ in range(12):
        field = field.advance(problem, rng, by)
        (chances,) = field.belief.partners
        # Each piece is in one block, in one of the two roles.
        np.testing.assert_allclose((chances + chances.T).sum(axis=0), 1, atol=0.05)
        assert not chances.diagonal().any()
    np.testing.assert_array_equal(field.belief.centre, net.right)


def test_what_evidence_rules_out_stays_out(make_loose, rescaled, rng):
    net = rescaled(make_loose(rng, blocks=4, rows=60), 0.3)
    odds = np.zeros((4, 4))
    odds[0, 1:] = odds[1:, 0] = -np.inf
    problem = net.problem(odds)
    by = MeanFieldParameters(equations=60)
    field = beginning(problem, by).advance(problem, rng, by)
    assert not field.belief.partners[0][0, 1:].any()
    assert np.isfinite(field.belief.places).all()


def test_the_spread_falls_to_its_end(make_loose, rescaled, rng):
    net = rescaled(make_loose(rng, blocks=4, rows=60), 0.3)
    problem = net.problem(np.zeros((4, 4)))
    by = MeanFieldParameters(equations=60, narrowing=0.5, wide=0.5, narrow=0.6)
    field = beginning(problem, by)
    spreads = [field.belief.spreads[0]]
    for _ in range(3):
        field = field.advance(problem, rng, by)
        spreads.append(field.belief.spreads[0])
    np.testing.assert_allclose(spreads, [2.0, 1.0, 0.6, 0.6])


def test_after_a_cycle_places_are_wide_and_pieces_in_doubt_again(loose):
    net, rng = loose(blocks=5, rows=80), np.random.default_rng(0)
    problem = net.problem(np.zeros((5, 5)), np.column_stack([range(5)] * 2))
    by = MeanFieldParameters(equations=40, each=0.0, cycle=2, tempering=0.0)
    field, widths, doubts = beginning(problem, by), [], []
    for _ in range(4):
        field = field.advance(problem, rng, by)
        widths.append(float(field.belief.spreads[0]))
        doubts.append(field.belief.doubt)
    wide = by.wide * 5
    assert widths == pytest.approx([by.narrowing * wide, wide, by.narrowing * wide, wide])
    assert doubts[1::2] == pytest.approx([np.log(5)] * 2)
    assert max(doubts[::2]) < np.log(5)


def test_the_more_pieces_are_in_doubt_the_more_rows_a_step_takes(loose, monkeypatch):
    net, asked, drawn = loose(blocks=5, rows=300), [], Problem.drawn

    def told(problem, equations, rng):
        asked.append(equations)
        return drawn(problem, equations, rng)

    monkeypatch.setattr(Problem, "drawn", told)
    by = MeanFieldParameters(equations=40, each=2.5)
    for odds in (np.zeros((5, 5)), np.where(np.eye(5) > 0, 50.0, -50.0)):
        problem = net.problem(odds, np.column_stack([range(5)] * 2))
        beginning(problem, by).advance(problem, np.random.default_rng(0), by)
    assert asked == [round(2.5 * 25), 40]
