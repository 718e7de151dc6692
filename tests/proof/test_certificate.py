"""The certificate against theory: exact errors, Bayes' rule, and how often its statements hold."""

from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest

from unshuffle import MlpNetwork, Outcome, Piece, Pile, Records, solve
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpBank, MlpStack
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.clock import Clock, OutOfTimeError
from unshuffle.proof.certificate import STANDARD, Certificate, Contest, _spectrum, certify
from unshuffle.proof.effort import Effort
from unshuffle.solution.arranging import certified

ROUNDING = 1e-6


def problem_of(network, records, *, log_odds=None):
    """The blocks of a network, of whose pairs nothing is known unless log-odds are given."""
    count = len(network.blocks)
    bank = MlpBank(*network.blocks.inp, *network.blocks.out, network.blocks.activation)
    odds = np.zeros((count, count)) if log_odds is None else log_odds
    evidence = Evidence((EdgeOdds(INP, OUT, odds, bank.rows, bank.columns),))
    return Problem(bank, network.last, arranged(range(count)), evidence, records)


def arranged(order):
    """The blocks of a network in an order."""
    order = np.asarray(order, np.intp)
    return np.column_stack([order, order + len(order)])


def with_noise(records, rng, deviation):
    noise = deviation * rng.normal(size=records.predictions.shape)
    return replace(records, predictions=records.predictions + noise)


def error_of(network, records):
    return np.mean(np.square(network.predict(records.inputs) - records.predictions))


def exchanged(network, first, second, layer):
    """The network with the blocks, the outs or the inps of two places exchanged."""
    index = list(range(len(network.blocks)))
    index[first], index[second] = index[second], index[first]
    other, blocks = network.blocks.take(index), network.blocks
    inp = blocks.inp if layer == "out" else other.inp
    out = blocks.out if layer == "inp" else other.out
    return MlpNetwork(type(blocks)(*inp, *out, blocks.activation), network.last)


@pytest.fixture
def case(dropped):
    return dropped(rows=600, blocks=5, width=8, hidden=12, dtype=np.float64)


def test_errors_are_those_of_the_exchanged_blocks_and_layers(case, rng):
    noisy = with_noise(case.records, rng, 1e-3)
    certificate = certify(problem_of(case.network, noisy), arranged(range(5)), 0.0)
    for contest in certificate.neighbours:
        swapped = exchanged(case.network, *contest.places, "both")
        assert contest.mse == pytest.approx(error_of(swapped, noisy), rel=0.2)
    # Behind the last two blocks all is linear, so there the first order is everything.
    swapped = exchanged(case.network, 3, 4, "both")
    assert certificate.neighbours[-1].mse == pytest.approx(error_of(swapped, noisy), rel=1e-6)
    for contest in certificate.pairs:
        rivals = [
            error_of(exchanged(case.network, *contest.places, layer), noisy)
            for layer in ("inp", "out")
        ]
        # Exchanged layers change much more than exchanged neighbours; the first order is coarse.
        assert any(contest.mse == pytest.approx(rival, rel=0.5) for rival in rivals)
    assert certificate.mse == pytest.approx(error_of(case.network, noisy))
    assert certificate.rows == 600


def test_two_blocks_are_weighed_by_bayes_rule(dropped, rng):
    case = dropped(rows=300, blocks=2, width=8, hidden=12, dtype=np.float64)
    gap = error_of(exchanged(case.network, 0, 1, "both"), case.records)
    noisy = with_noise(case.records, rng, np.sqrt(300 * gap / 8))
    # Exchanges of layers are ruled out, so that the other sequence is the only rival.
    problem = problem_of(case.network, noisy, log_odds=np.where(np.eye(2), 100.0, -100.0))
    (contest,) = certify(problem, arranged(range(2)), ROUNDING).neighbours
    right = error_of(case.network, noisy)
    wrong = error_of(exchanged(case.network, 0, 1, "both"), noisy)
    assert contest.log_odds == pytest.approx(300 * (wrong - right) / (2 * right), rel=1e-6)


def test_what_is_known_of_the_pairs_counts(case, rng):
    noisy = with_noise(case.records, rng, 0.3)
    order = arranged(range(5))
    alone = certify(problem_of(case.network, noisy), order, ROUNDING).pairs
    odds = np.where(np.eye(5), 20.0, -20.0)
    known = certify(problem_of(case.network, noisy, log_odds=odds), order, ROUNDING).pairs
    for one, other in zip(alone, known, strict=True):
        assert other.log_odds > one.log_odds + 70


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_statements_hold_as_often_as_they_say(make_dropped, share):
    """Best-fitting order of three blocks, found by trying all, in 100 noisy records."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(10):
        case = make_dropped(rng, rows=150, blocks=3, width=8, hidden=12, dtype=np.float64)
        for _ in range(10):
            noisy = with_noise(case.records, rng, share * case.records.predictions.std())
            networks = {
                order: MlpNetwork(case.network.blocks.take(order), case.network.last)
                for order in permutations(range(3))
            }
            best = min(networks, key=lambda order: error_of(networks[order], noisy))
            problem = problem_of(case.network, noisy, log_odds=np.where(np.eye(3), 100.0, -100.0))
            found += [
                (contest.confidence, best[contest.places[0]] < best[contest.places[1]])
                for contest in certify(problem, arranged(best), ROUNDING).neighbours
            ]
    confidence, true = np.array(found).T
    sure = confidence >= STANDARD.confidence
    assert sure.sum() > 50
    assert true[sure].mean() >= STANDARD.confidence
    # What is doubtful holds about as often as is said: within three standard deviations.
    doubtful = confidence[~sure]
    if len(doubtful):
        spread = np.sqrt(np.sum(doubtful * (1 - doubtful)))
        assert abs(true[~sure].sum() - doubtful.sum()) < 3 * spread + 1


def test_an_exact_solve_is_certified(dropped):
    case = dropped(rows=300, blocks=4, width=12, hidden=20)
    certificate = solve(case.pile, case.records).certificate
    assert certificate.decided
    assert certificate.groups == ((0,), (1,), (2,), (3,))
    assert certificate.rows_needed is None
    assert all(contest.mse > 1e4 * certificate.floor for contest in certificate.neighbours)


def test_noise_makes_an_order_ambiguous_and_more_rows_decide_it(dropped, rng):
    case = dropped(rows=20000, blocks=4, width=12, hidden=20)
    blocks = case.network.blocks
    network = MlpNetwork(replace(blocks, out_weight=blocks.out_weight / 2), case.network.last)
    pile = Pile([Piece.linear(k, one.weight, one.bias) for k, one in enumerate(network.layers())])
    records = Records(case.records.inputs, network.predict(case.records.inputs))
    noisy = with_noise(records, rng, 0.3 * records.predictions.std())
    few = solve(pile, noisy.take(np.arange(300)), activation="relu")
    assert few.outcome is Outcome.AMBIGUOUS
    assert not few.certificate.decided
    assert few.certificate.rows_needed > 300
    enough = noisy.take(np.arange(min(len(noisy), 2 * few.certificate.rows_needed)))
    many = solve(pile, enough, activation="relu")
    assert many.outcome is Outcome.APPROXIMATE
    assert many.certificate.decided
    assert many.permutation == tuple(range(9))


def test_no_certificate_without_a_reconstruction(dropped, rng):
    case = dropped(rows=300, blocks=4, width=12, hidden=20)
    wrong = replace(case.records, predictions=rng.normal(size=case.records.predictions.shape))
    solution = solve(case.pile, wrong, time_limit=1, activation="relu")
    assert solution.certificate is None


def test_a_residual_that_follows_the_states_counts_less(case):
    """A slope that the network lacks is no noise: it is the same in any number of rows."""
    slope = 0.05 * case.records.predictions.std() * case.records.inputs[:, :1]
    bent = replace(case.records, predictions=case.records.predictions + slope)
    certificate = certify(problem_of(case.network, bent), arranged(range(5)), ROUNDING)
    assert certificate.floor > 5 * certificate.mse


def test_one_prediction_can_be_hit_by_chance(case):
    """Each of the thousand that were tested, and the moves of five blocks that were weighed."""
    order = arranged(range(5))
    tested = np.full(1000, 0.01**2)
    count = 1000 + 25 * 1000
    for rows, expected in ((1, count * 1e-4), (2, count * 1e-8), (100, 0.0)):
        problem = problem_of(case.network, case.records.take(np.arange(rows)))
        certificate = certify(problem, order, 1e-6, tested)
        # Two rows are not quite independent, so that they fit by chance somewhat more often.
        assert expected * (1 - 1e-6) <= certificate.chance <= max(10 * expected, 1e-25)
        assert certificate.decided == (rows > 1)
    matched = problem_of(case.network, case.records.first(1), log_odds=np.log(np.eye(5) + 1e-30))
    mixed = np.repeat([0.001**2, 0.01**2], 500)  # there are no more than 120 sequences
    certificate = certify(matched, order, 1e-6, mixed)
    assert certificate.chance == pytest.approx(500 * 1e-3 + (500 + 119) * 1e-4)


@pytest.mark.parametrize(("rows", "accidental"), [(2, True), (100, False)])
def test_few_noisy_predictions_fit_many_arrangements_by_chance(case, rng, rows, accidental):
    """What a search has led to, or somebody has given, may be one of these."""
    noisy = with_noise(case.records.first(rows), rng, 0.03)
    problem = problem_of(case.network, noisy)
    for tested in (np.empty(0), np.full(10, float(case.records.predictions.var()))):
        certificate = certify(problem, arranged(range(5)), ROUNDING, tested)
        assert certificate.mse > ROUNDING**2
        assert certificate.accidental == accidental


def test_rounding_is_no_independent_row(rng):
    """Effects that all rows share make one component, however rounding differs among rows."""
    effects = np.outer(np.exp(rng.normal(size=60)), np.ones(40))
    effects += 0.01 * rng.normal(size=effects.shape)
    spectrum = _spectrum(effects, 0.01**2)
    assert spectrum[0] == pytest.approx(40, rel=0.01)
    assert np.count_nonzero(spectrum) == 1
    assert np.count_nonzero(_spectrum(effects, 0.0)) == 40


def test_groups_are_cut_where_neighbours_are_decided():
    contests = [Contest((k, k + 1), 1.0, odds) for k, odds in enumerate([9.0, 1.0, 2.0, 9.0, -1.0])]
    certificate = Certificate(tuple(contests), (), 0.0, 0.0, 1)
    assert certificate.groups == ((0,), (1, 2, 3), (4, 5))
    assert not certificate.decided


def test_another_kind_is_certified_alike(case, rng, looped):
    """By two functions of a block, the same statements hold with the same log-odds."""
    problem = problem_of(case.network, with_noise(case.records, rng, 0.1))
    one = certify(problem, arranged(range(5)), ROUNDING)
    other = certify(replace(problem, bank=looped(problem.bank)), arranged(range(5)), ROUNDING)
    assert one.groups == other.groups
    for mine, theirs in zip(
        (*one.neighbours, *one.pairs), (*other.neighbours, *other.pairs), strict=True
    ):
        assert mine.places == theirs.places
        assert theirs.log_odds == pytest.approx(mine.log_odds, rel=1e-6)
        assert theirs.mse == pytest.approx(mine.mse, rel=1e-6)


def test_which_layer_of_a_block_is_which_is_weighed(dropped):
    """Where blocks can be turned around, and the pairs are known, that is the best rival."""
    case = dropped(rows=60, blocks=3, width=6, hidden=6, dtype=np.float64)
    stack, both = case.network.blocks, range(6)
    layers = [np.concatenate(each) for each in zip(stack.inp, stack.out, strict=True)] * 2
    bank = MlpBank(*layers, stack.activation, both, both)
    odds = np.where(np.arange(6) % 3 == np.arange(6)[:, None] % 3, 100.0, -100.0)
    known = Evidence((EdgeOdds(INP, OUT, odds, bank.rows, bank.columns),))
    right = arranged(range(3))
    problem = Problem(bank, case.network.last, right, known, case.records)
    certificate = certify(problem, right, rounding=1.0)
    assert [contest.places for contest in certificate.pairs] == [(0, 0), (1, 1), (2, 2)]
    made = right.copy()
    made[2] = made[2, ::-1]
    # Behind the last block all is linear, so there the first order is everything.
    turned = problem.judge(case.records).run(made)
    assert certificate.pairs[2].mse == pytest.approx(turned.error, rel=1e-6)
    assert certify(problem, right, ROUNDING).decided


def test_matched_pairs_alone_are_weighed_as_if_nothing_were_known(case, rng):
    """Without log-odds all other pairs are ruled out, but rows may still tell of them."""
    noisy, order = with_noise(case.records, rng, 0.3), arranged(range(5))
    matched = np.where(np.eye(5), 0.0, -np.inf)
    alone = certify(problem_of(case.network, noisy), order, ROUNDING)
    assert certify(problem_of(case.network, noisy, log_odds=matched), order, ROUNDING) == alone


def test_what_noise_leaves_is_not_weighed_without_time(case, rng):
    """What is reproduced to rounding is certified all the same: few rows do."""
    over, order = Clock(1e-9), arranged(range(5))
    exact = problem_of(case.network, case.records)
    assert certify(exact, order, ROUNDING, clock=over) == certify(exact, order, ROUNDING)
    noisy = problem_of(case.network, with_noise(case.records, rng, 0.1))
    with pytest.raises(OutOfTimeError):
        certify(noisy, order, ROUNDING, clock=over)
    left, stored = noisy.known, ("float32",)
    verdict = certified(noisy, order, stored, clock=over)
    assert verdict.outcome is Outcome.BUDGET_SPENT
    assert verdict.mse == certified(noisy, order, stored, clock=Clock()).mse
    assert verdict.rows == len(left)


@pytest.mark.parametrize(("log_odds", "probability"), [(4.2, 0.985), (5.2, 0.9945)])
def test_what_holds_with_99_percent_is_stated(log_odds, probability):
    contest = Contest((0, 1), 1.0, log_odds)
    assert contest.confidence == pytest.approx(probability, abs=1e-3)
    assert contest.decided == (probability > 0.99)
    against = Certificate((Contest((0, 1), 1.0, -log_odds),), (), 0.0, 0.0, 1)
    assert against.refuted == contest.decided
    by_chance = Certificate((), (), 0.0, 0.0, 1, chance=np.exp(-log_odds))
    assert by_chance.accidental != contest.decided
    sure = Certificate((Contest((0, 1), 1.0, np.inf),), (), 0.0, 0.0, 1)
    assert sure.with_chance(np.exp(-log_odds)).neighbours[0].decided == contest.decided


@pytest.mark.parametrize("chance", [0.02, 15.0, 1e300])
def test_answers_that_fit_by_chance_speak_against_every_statement(chance):
    """Of one right answer and so many others, all that contradict it, one holds."""
    contests = tuple(Contest((at, at + 1), 1.0, odds) for at, odds in enumerate([1e4, 1.0, -1.0]))
    certificate = Certificate(contests, contests, 0.0, 0.0, 1).with_chance(chance)
    against = np.exp([-1e4, -1.0, 1.0]) + chance
    found = [one.log_odds for one in certificate.neighbours]
    np.testing.assert_allclose(found, np.maximum(-np.log(against), [0, 0, -1]), rtol=1e-12)
    assert found == [one.log_odds for one in certificate.pairs]
    assert certificate.groups == ((0, 1, 2, 3),)
    assert not certificate.decided
    assert not certificate.refuted


def affine_blocks(rng, blocks, width):
    """A network whose hidden units are all active, so that each block is an affine map."""
    hidden = width + 2
    return MlpNetwork(
        MlpStack(
            rng.normal(size=(blocks, hidden, width)) / np.sqrt(width),
            np.full((blocks, hidden), 50.0),
            0.1 * rng.normal(size=(blocks, width, hidden)) / np.sqrt(hidden),
            -5 * rng.normal(size=(blocks, width)) / np.sqrt(hidden),
        ),
        Linear(rng.normal(size=(1, width)) / np.sqrt(width), np.zeros(1)),
    )


def all_shifts(length, reach):
    """Each block taken up to some places on or back; neighbours exchanged once."""
    pairs = [(a, b) for a in range(length) for b in range(length)]
    return [(a, b) for a, b in pairs if 0 < b - a <= reach or 1 < a - b <= reach]


def shift_effect(network, inputs, move):
    order = list(range(len(network.blocks)))
    order.insert(move[1], order.pop(move[0]))
    moved = MlpNetwork(network.blocks.take(order), network.last)
    return (moved.predict(inputs) - network.predict(inputs))[:, 0]


def exchange_effect(network, inputs, role, places):
    """The sum of what the block of each place changes alone with its layer of the other place."""
    effect = 0.0
    for here, there in (places, places[::-1]):
        made = network.blocks.copy()
        for tensor in (f"{role}_weight", f"{role}_bias"):
            getattr(made, tensor)[here] = getattr(network.blocks, tensor)[there]
        effect += MlpNetwork(made, network.last).predict(inputs) - network.predict(inputs)
    return effect[:, 0]


def interleave(one, other):
    """Whether two moves cannot be made together."""
    (exchange, a, b), (also, c, d) = one, other
    if exchange and also:
        return bool({a, b} & {c, d})
    low, high = (min(a, b), max(a, b)) if not exchange else (min(c, d), max(c, d))
    if exchange or also:
        return any(low <= place <= high for place in ((a, b) if exchange else (c, d)))
    return not (max(a, b) < min(c, d) or max(c, d) < min(a, b))


@pytest.mark.parametrize("size", [0.3, 1.0, 3.0])
def test_log_odds_are_those_of_all_rivals_by_brute_force(rng, size):
    """Bayes' rule over every single move, and every two that can be made together.

    Blocks are affine, so what a shift changes is known to first order without error.
    """
    length = 6
    network = affine_blocks(rng, length, 5)
    inputs = rng.normal(size=(400, 5))
    right = network.predict(inputs)
    single = shift_effect(network, inputs, (2, 3))
    noise = size * np.sqrt(np.sum(single**2)) * rng.normal(size=right.shape)
    records = Records(inputs, right + noise)
    effort = Effort(screened=400)
    certificate = certify(problem_of(network, records), arranged(range(length)), 0.0, effort=effort)

    residual = (right - records.predictions)[:, 0]
    moves = {(False, *move): shift_effect(network, inputs, move) for move in all_shifts(length, 3)}
    exchanges = {
        (role, a, b): exchange_effect(network, inputs, role, (a, b))
        for role in ("inp", "out")
        for a in range(length)
        for b in range(a + 1, length)
    }
    cost = {key: np.sum((residual + e) ** 2 - residual**2) for key, e in exchanges.items()}
    for place in range(length):
        concerned = sorted((key for key in cost if place in key[1:]), key=lambda key: cost[key])
        moves |= {key: exchanges[key] for key in concerned[:2]}
    sets = [(key,) for key in moves]
    sets += [both for both in combinations(moves, 2) if not interleave(*both)]
    log_weight = {
        each: -np.sum((residual + sum(moves[key] for key in each)) ** 2 - residual**2)
        / (2 * certificate.floor)
        for each in sets
    }

    def log_odds(contradicts):
        against = [log for each, log in log_weight.items() if any(map(contradicts, each))]
        others = [log for each, log in log_weight.items() if not any(map(contradicts, each))]
        return np.logaddexp.reduce([0.0, *others]) - np.logaddexp.reduce(against)

    for place, contest in enumerate(certificate.neighbours):

        def reverses(move, place=place):
            exchange, a, b = move
            return not exchange and ((a == place and b > place) or (a == place + 1 and b <= place))

        assert contest.log_odds == pytest.approx(log_odds(reverses), rel=1e-6, abs=1e-6)
    for place, contest in enumerate(certificate.pairs):

        def breaks(move, place=place):
            return bool(move[0]) and place in move[1:]

        assert contest.log_odds == pytest.approx(log_odds(breaks), rel=1e-6, abs=1e-6)


def test_as_many_rows_as_are_said_to_be_needed_decide_it(dropped, rng):
    """In 99 of 100 records; a quarter of them decides about half of the time."""
    case = dropped(rows=40_000, blocks=2, width=6, hidden=8, dtype=np.float64)
    gap = error_of(exchanged(case.network, 0, 1, "both"), case.records)
    known = np.where(np.eye(2), 100.0, -100.0)

    def contest(start, rows):
        some = case.records.take(np.arange(start, start + rows))
        noisy = with_noise(some, rng, np.sqrt(gap * 8))
        (found,) = certify(
            problem_of(case.network, noisy, log_odds=known), arranged(range(2)), ROUNDING
        ).neighbours
        return found

    needed = [one.rows_needed for one in (contest(100 * k, 100) for k in range(40))]
    needed = int(np.median([rows for rows in needed if rows]))
    assert needed > 37.8 * 8 * 0.8
    enough = [contest(needed * k, needed).decided for k in range(50)]
    assert sum(enough) >= 47
    quarter = [contest(needed * k, needed // 4).decided for k in range(50)]
    assert 10 < sum(quarter) < 40


def test_rows_that_few_rows_leave_out_decide_an_exact_order(dropped):
    """Two blocks that differ where one input is large, which it is in the second row alone."""
    case = dropped(rows=100, blocks=3, width=4, hidden=4, dtype=np.float64)
    blocks = case.network.blocks.copy()
    blocks.overwrite(2, 1)
    blocks.inp_weight[1:, 0] = 0, 0, 0, 1
    blocks.inp_bias[1:, 0] = -50
    blocks.out_weight[2, :, 0] += 1
    network = MlpNetwork(blocks, case.network.last)
    inputs = case.records.inputs.astype(float)
    inputs[1, 3] = 200
    records = Records(inputs, network.predict(inputs))
    certificate = certify(problem_of(network, records), arranged(range(3)), ROUNDING)
    assert certificate.rows == 100
    assert certificate.neighbours[1].decided
    hasty = certify(problem_of(network, records), arranged(range(3)), ROUNDING, clock=Clock(1e-9))
    assert hasty.rows == 32
    assert not hasty.neighbours[1].decided
