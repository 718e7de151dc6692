"""Scores say what happened, whatever is registered."""

import json
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import pytest

from unshuffle.grouping import SIGNALS
from unshuffle.grouping.signals import Signal
from unshuffle.oracle import evaluation
from unshuffle.oracle.evaluation import (
    Score,
    count_inversions,
    evaluate,
    make_case,
    methods,
    scores_csv,
    scores_json,
    summarise,
)
from unshuffle.oracle.recipe import find_recipe
from unshuffle.ordering.seeds import SEEDS, Seed
from unshuffle.pieces.records import Records


@pytest.fixture
def case(dropped):
    """A case that every shipped signal and strategy solves."""
    made = dropped(rows=300, blocks=4, width=16, hidden=24)
    data = Records(made.records.inputs, np.empty((300, 0)))
    return make_case(find_recipe("tiny-adam").with_seed(5), made.network, data, 250)


def test_a_case_is_a_dropped_network_with_its_answer(case):
    assert len(case.records) == 250
    assert sorted(case.answer) == list(range(9))
    assert len(case.pairs) == 4
    assert case.seed == 5


def test_what_solves_a_case_is_seen_to_solve_it(case):
    scores = {score.method: score for score in evaluate(case, methods(time_limit=None))}
    assert scores["trace, optimal"].pairs == scores["trace, optimal"].blocks == 4
    assert scores["trace, optimal"].exact
    assert scores["trace, optimal"].error is None
    assert scores["classic"].exact
    assert scores["classic"].pairs == 4
    assert scores["classic"].inversions == 0
    assert scores["trace, optimal"].inversions is None
    assert scores["classic"].error < 1e-10
    assert scores["classic"].rows == 250
    assert all(score.seconds > 0 for score in scores.values())


def test_a_new_signal_is_scored_without_being_named_anywhere(case, monkeypatch):
    def contrary(clues):
        return -SIGNALS["ratio"].score(clues)

    def broken(clues):
        raise ZeroDivisionError("nothing to divide")

    monkeypatch.setitem(SIGNALS, "contrary", Signal("contrary", contrary, "", ""))
    monkeypatch.setitem(SIGNALS, "broken", Signal("broken", broken, "", ""))
    scores = {score.method: score for score in evaluate(case, methods(time_limit=None))}
    assert scores["contrary, optimal"].pairs < 4
    assert not scores["contrary, optimal"].exact
    assert scores["contrary, optimal"].remark == "wrong pairs"
    assert scores["broken, greedy"].remark == "failed: ZeroDivisionError: nothing to divide"
    assert (scores["broken, greedy"].pairs, scores["broken, greedy"].exact) == (None, False)
    assert scores["ratio, optimal"].exact  # and the others go on


def test_a_new_seed_is_scored_in_its_better_direction(case, monkeypatch):
    def backwards(network, inputs):
        sequence = sorted(case.pairs, key=lambda ids: case.pile.index[ids[0]])
        assert inputs.shape == (250, 16)
        return np.array([sequence.index(ids) for ids in reversed(case.pairs)])

    def one_off(network, inputs):
        ranking = backwards(network, inputs)[::-1]
        ranking[:2] = ranking[1::-1]
        return ranking

    monkeypatch.setitem(SEEDS, "backwards", Seed("backwards", backwards, "", ""))
    monkeypatch.setitem(SEEDS, "one-off", Seed("one-off", one_off, "", ""))
    scores = {score.method: score for score in evaluate(case, methods(time_limit=None))}
    assert scores["backwards"].kind == "seed"
    assert (scores["backwards"].exact, scores["backwards"].inversions) == (True, 0)
    assert scores["backwards"].error < 1e-10
    assert scores["backwards"].pairs is None
    assert (scores["one-off"].exact, scores["one-off"].inversions) == (False, 1)
    assert scores["one-off"].error > 1e-6
    assert set(SEEDS) <= set(scores)


def test_a_search_out_of_time_is_no_success(case):
    scores = {score.method: score for score in evaluate(case, methods(time_limit=1e-9))}
    assert not scores["classic"].exact
    assert scores["classic"].remark == "budget spent"


def test_ctrl_c_ends_the_evaluation(case, monkeypatch):
    def interrupt(clues):
        raise KeyboardInterrupt

    monkeypatch.setitem(SIGNALS, "ratio", Signal("ratio", interrupt, "", ""))
    with pytest.raises(KeyboardInterrupt):
        list(evaluate(case, methods(time_limit=None)))


def test_ctrl_c_during_a_search_ends_the_evaluation_too(case, monkeypatch):
    def interrupt(trace):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "solve", partial(evaluation.solve, on_step=interrupt))
    with pytest.raises(KeyboardInterrupt):
        list(evaluate(case, methods(time_limit=None)))


def test_inversions_are_couples_in_the_wrong_order(rng):
    for _ in range(20):
        places = rng.permutation(7).tolist()
        expected = sum(a > b for a, b in combinations(places, 2))
        assert count_inversions(places) == expected
    assert count_inversions([2, 1, 0]) == 3


def score(recipe, seed, method, pairs, error, **others):
    base = Score(recipe, seed, 4, "strategy", method, pairs, None, pairs == 4, error, 99, 1.0, "x")
    return replace(base, **others)


def test_seeds_are_gathered_and_their_spread_is_kept():
    scores = [
        score("z", 0, "m", 4, 1.0, seconds=1.0, remark="exact"),
        score("z", 0, "n", None, None, remark="failed", inversions=None),
        score("z", 1, "m", 1, 3.0, seconds=2.0, inversions=5),
        score("b", 0, "m", 2, 7.0),
        score("z", 2, "m", 2, 2.0, seconds=3.0, inversions=2),
        score("z", 1, "n", None, None, remark="failed"),
    ]
    one, other, third = summarise(scores)
    assert (one.recipe, one.method, one.seeds) == ("z", "m", 3)
    assert (one.pairs_mean, one.pairs_least, one.pairs_most) == (pytest.approx(7 / 3), 1, 4)
    assert (one.error_median, one.error_least, one.error_most) == (2.0, 1.0, 3.0)
    assert (one.exact, one.seconds_mean) == (1, 2.0)
    assert one.remarks == ("x", "exact")
    assert (one.inversions_mean, one.inversions_least, one.inversions_most) == (3.5, 2, 5)
    assert (other.pairs_mean, other.inversions_mean) == (None, None)
    assert (other.method, other.seeds, other.exact, other.error_median) == ("n", 2, 0, None)
    assert (third.recipe, third.error_most) == ("b", 7.0)


def test_scores_as_csv():
    lines = scores_csv([score("a", 0, "m, n", 4, None)]).splitlines()
    assert lines[0].split(",")[:6] == ["recipe", "seed", "blocks", "kind", "method", "pairs"]
    assert lines[1] == 'a,0,4,strategy,"m, n",4,,True,,99,1.0,x'


def test_scores_as_json_are_json():
    found = scores_json([score("a", 0, "m", 4, float("inf"))], {"records": 9})
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["scores"][0]["error"] is None
    assert json.loads(text)["summaries"][0]["error_median"] is None
    assert json.loads(text)["conditions"] == {"records": 9}
