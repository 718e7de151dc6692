import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Outcome, Piece, Pile, read_solution, solve, verify, write_solution
from unshuffle.blocks.activations import RELU
from unshuffle.blocks.assembly import mlp_bank
from unshuffle.blocks.ends import Linear
from unshuffle.commands import main
from unshuffle.errors import AnswerError, PileError
from unshuffle.files import write_npz, write_records
from unshuffle.grouping.evidence import Evidence
from unshuffle.ordering.linearization import linearize
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.anatomy import read_anatomy
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.pieces.pile import Bias
from unshuffle.repair.bias_assignment import LooseBiases, exchanged, reassigned_biases
from unshuffle.repair.repair import better


def detach(case, *, keep=()):
    """The pile with its biases torn off, but for some pieces, and the answer."""
    loose = {piece.id: piece.id + 100 for piece in case.pile if piece.id not in keep}
    pieces = [
        Piece.linear(piece.id, piece.weight, None) if piece.id in loose else piece
        for piece in case.pile
    ]
    biases = [Bias(loose[piece.id], piece.bias) for piece in case.pile if piece.id in loose]
    answer = [
        part
        for name in case.permutation
        for part in ([name, loose[name]] if name in loose else [name])
    ]
    return Pile(pieces, biases), tuple(answer)


@pytest.mark.parametrize(
    "shape",
    [
        {"width": 8, "hidden": 12},
        {"width": 8, "hidden": 8, "rows": 400, "blocks": 4},
        {"width": 6, "hidden": 10, "outputs": 6, "rows": 60},
        {"width": 8, "hidden": 12, "activation": "gelu", "dtype": np.float64},
    ],
)
def test_weights_and_biases_find_each_other(make_dropped, shape):
    case = make_dropped(np.random.default_rng(1), **{"rows": 300, "blocks": 3} | shape)
    pile, answer = detach(case)
    solution = solve(pile, case.records)
    assert solution.outcome is Outcome.EXACT
    assert solution.permutation == answer
    assert solution.layers == case.permutation
    verdict = verify(pile, case.records, solution.answer)
    assert verdict.outcome is Outcome.EXACT
    assert verdict.sha256 == solution.sha256
    assert solution.certificate.decided


def behind(pile, answer):
    """The same pile, with each bias said to come right behind the weight before it in an answer."""
    weights = dict(zip(answer[1::2], answer[::2], strict=True))
    return Pile(pile.pieces, [replace(bias, behind=weights[bias.id]) for bias in pile.biases])


def test_biases_that_come_right_behind_their_weights_are_not_searched_for(dropped):
    case = dropped(blocks=3, width=8, hidden=8, outputs=8, rows=100)
    pile, answer = detach(case)
    solution = solve(behind(pile, answer), case.records)
    assert solution.outcome is Outcome.EXACT
    assert solution.permutation == answer
    assert {step.phase for step in solution.trace.steps}.isdisjoint({"biases"})
    verdict = verify(pile, case.records, solution.answer)
    assert (verdict.outcome, verdict.sha256) == (Outcome.EXACT, solution.sha256)


@pytest.mark.slow
def test_a_bias_that_comes_behind_a_wrong_weight_is_found_all_the_same(dropped):
    case = dropped(rows=300, blocks=3, width=8, hidden=12)
    pile, answer = detach(case)
    wrong = [*answer]
    wrong[1], wrong[5] = wrong[5], wrong[1]
    solution = solve(behind(pile, wrong), case.records)
    assert solution.outcome is Outcome.EXACT
    assert solution.permutation == answer


def test_some_pieces_may_be_whole(dropped):
    case = dropped(rows=300, blocks=4, width=8, hidden=12)
    pile, answer = detach(case, keep=case.permutation[:5])
    assert repr(pile).count("4 biases") == 1
    assert solve(pile, case.records).permutation == answer


def test_without_predictions_it_is_an_estimate(dropped):
    case = dropped(rows=50, blocks=3, width=8, hidden=12)
    pile, answer = detach(case)
    records = replace(case.records, predictions=np.empty((50, 0)))
    solution = solve(pile, records)
    assert solution.outcome is Outcome.ESTIMATE
    assert sorted(solution.permutation) == sorted(answer)


def test_a_search_that_is_cut_short_gives_each_weight_a_bias(dropped):
    case = dropped(rows=200, blocks=6, width=8, hidden=12)
    pile, answer = detach(case)
    solution = solve(pile, case.records, time_limit=1e-9)
    assert solution.outcome is Outcome.BUDGET_SPENT
    assert sorted(solution.permutation) == sorted(answer)
    expected = verify(pile, case.records, solution.permutation, activation="relu")
    assert solution.mse == pytest.approx(expected.mse)


def test_a_record_of_another_network_is_never_exact(dropped):
    case, other = dropped(rows=60, blocks=2), dropped(rows=60, blocks=2)
    pile, _ = detach(case)
    records = replace(case.records, predictions=other.records.predictions)
    assert solve(pile, records).outcome in (Outcome.LOCAL_OPTIMUM, Outcome.AMBIGUOUS)


def test_what_is_kept_is_read_back(dropped, tmp_path):
    case = dropped(rows=300, blocks=3, width=8, hidden=12)
    pile, answer = detach(case)
    solution = solve(pile, case.records)
    write_solution(solution, tmp_path)
    again = read_solution(tmp_path)
    assert again.permutation == answer
    assert again.biases == solution.biases
    values = json.loads((tmp_path / "solution.json").read_text())
    values["biases"][0][1] = values["biases"][1][1]
    (tmp_path / "solution.json").write_text(json.dumps(values))
    with pytest.raises(Exception, match="does not name each of its layers once"):
        read_solution(tmp_path)


def test_an_answer_names_each_weight_and_then_its_bias(dropped):
    case = dropped(rows=50, blocks=2)
    pile, answer = detach(case)
    names = list(answer)
    with pytest.raises(AnswerError, match="names bias"):
        verify(pile, case.records, [names[1], names[0], *names[2:]])
    with pytest.raises(AnswerError, match="that no other weight has"):
        verify(pile, case.records, [*names[:3], names[1], *names[4:]])
    with pytest.raises(AnswerError, match="nothing after weight"):
        verify(pile, case.records, names[:-1])
    with pytest.raises(AnswerError, match="of 5 weights"):
        verify(pile, case.records, names[:-2])
    with pytest.raises(AnswerError, match="no other weight"):  # one of another length
        verify(pile, case.records, [names[0], names[3], names[2], names[1], *names[4:]])


def test_a_bias_too_few_or_too_many_is_told(dropped):
    case = dropped(rows=50, blocks=2)
    pile, _ = detach(case)
    fewer = Pile(pile.pieces, pile.biases[:-1])
    with pytest.raises(PileError, match="2 weights with 10 rows have no bias, and 1"):
        solve(fewer, case.records)
    more = Pile(case.pile.pieces, [Bias("stray", np.ones(4))])
    with pytest.raises(PileError, match="0 weights with 4 rows have no bias, and 1"):
        solve(more, case.records)


@pytest.mark.parametrize("values", [np.ones((2, 2)), np.ones(0), np.array([1, np.nan])])
def test_what_is_no_bias_is_refused(values):
    with pytest.raises(PileError, match="its bias"):
        Bias(1, values)


def test_two_pieces_may_not_share_an_id():
    piece = Piece.linear(1, np.ones((2, 2)), None)
    with pytest.raises(PileError, match="two pieces are called 1"):
        Pile([piece], [Bias(1, np.ones(2))])


def test_from_the_command_line(dropped, tmp_path, capsys):
    case = dropped(rows=300, blocks=3, width=8, hidden=12)
    pile, answer = detach(case)
    (tmp_path / "pieces").mkdir()
    for piece in pile:
        write_npz(tmp_path / "pieces" / f"{piece.id}.npz", {"weight": piece.weight})
    for bias in pile.biases:
        write_npz(tmp_path / "pieces" / f"{bias.id}.npz", {"bias": bias.values})
    write_records(tmp_path / "record.csv", case.records)
    there = [str(tmp_path / "pieces"), str(tmp_path / "record.csv")]
    assert main(["inspect", *there]) == 0
    assert "bias" in capsys.readouterr().out
    assert main(["solve", *there, "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == ",".join(map(str, answer))
    assert "7 matched; in the answer each follows its weight" in printed
    assert main(["verify", *there, ",".join(map(str, answer))]) == 0
    network = str(tmp_path / "network.npz")
    assert main(["assemble", there[0], ",".join(map(str, answer)), "--to", network]) == 0


# What follows is about one round on the biases, with the order known.


@pytest.fixture
def known_order(dropped):
    """A problem in the right order, its groups, and a function that runs it with some biases."""
    # The last layer's bias is as long as those of out layers, so that it is to be found as well.
    case = dropped(rows=400, blocks=4, width=8, hidden=12, outputs=8, dtype=np.float64)
    pile, _ = detach(case)
    loose = LooseBiases.of(pile)
    truth = pile.joined({piece.id: piece.bias for piece in case.pile})
    anatomy = read_anatomy(truth, case.records)
    last = truth[anatomy.last[0]]
    order = np.array([truth.index[name] for name in case.permutation[:-1]]).reshape(-1, 2)
    bank, ends = mlp_bank(truth, anatomy, RELU), Linear(last.weight, last.bias)
    problem = Problem(bank, ends, order, Evidence(()), case.records)
    held = tuple(
        np.array([group.ids.index(truth[piece].id + 100) for piece in group.pieces])
        for group in loose.groups
    )

    def run(which):
        judge = loose.problem(problem, which).judge(case.records)
        return judge, linearize(judge, judge.run(order))

    return loose, held, run


def test_effects_are_what_a_bias_does(known_order):
    loose, held, run = known_order
    judge, before = run(held)
    for number, effect in enumerate(loose.effects(judge, before, Clock())):
        holds = held[number]
        for weight in range(len(holds)):
            np.testing.assert_allclose(effect[weight, holds[weight]], 0, atol=1e-12)
            for bias in range(len(holds)):
                which = [each.copy() for each in held]
                which[number][weight] = bias
                _, after = run(tuple(which))
                change = after.residual - before.residual
                # The rest is of second order: gates of later blocks that open or close.
                assert np.linalg.norm(change - effect[weight, bias]) <= 0.3 * np.linalg.norm(change)


def test_the_record_places_most_biases_at_once_and_exchanges_mend_the_rest(known_order):
    loose, held, run = known_order
    judge, at = run(loose.nothing)
    start, effects = at.run.error, loose.effects(judge, at, Clock())
    found = reassigned_biases(effects, at.residual, loose.groups, loose.nothing)
    assert min(run(which)[1].run.error for which in found) < 0.3 * start
    with pytest.raises(OutOfTimeError):
        loose.effects(judge, at, Clock(-1.0))

    wrong = [each.copy() for each in held]
    for each in wrong:
        each[:2] = each[1::-1]
    judge, at = run(tuple(wrong))
    start, effects = at.run.error, loose.effects(judge, at, Clock())
    found = exchanged(effects, at.residual, tuple(wrong), strength=4)
    assert min(run(which)[1].run.error for which in found) < 0.1 * start


def test_means_stand_where_nothing_is_held(known_order):
    loose, held, _ = known_order
    assert Counter(len(group.pieces) for group in loose.groups) == {4: 1, 5: 1}
    means, values = loose.values(loose.nothing), loose.values(held)
    for group, holds in zip(loose.groups, held, strict=True):
        for piece, bias in zip(group.pieces.tolist(), group.biases[holds], strict=True):
            np.testing.assert_allclose(means[piece], group.biases.mean(axis=0))
            np.testing.assert_array_equal(values[piece], bias)


def test_what_reproduces_the_record_is_better_than_what_errs_less(dropped):
    case = dropped()
    exact = solve(case.pile, case.records)
    nearer = replace(exact, mse=exact.mse / 2).ended(Outcome.LOCAL_OPTIMUM)
    farther = replace(nearer, mse=1.0)
    for one, other in ((exact, nearer), (nearer, exact), (exact, farther)):
        assert better(one, other) is exact
    for first in (None, farther, nearer):
        assert better(first, nearer) is nearer
