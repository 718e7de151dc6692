from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Piece, Pile, Records, pair
from unshuffle.blocks.mlp import MlpBank
from unshuffle.grouping.fusion import _by_ratio_alone, fuse
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.parameters import WORTH, GroupingParameters
from unshuffle.grouping.signals import SIGNALS, Clues
from unshuffle.pieces.clock import Clock

BY = GroupingParameters()

ALL_SIGNALS = GroupingParameters(agreeing=len(BY.witnesses) + 1)
"""Of a fusion that no agreement of some signals cuts short."""

UNDECIDED = {"width": 16, "coupling": 0.03}
"""Of networks whose ratios alone leave doubts, so that all signals are fused."""


def layers_of(network) -> MlpBank:
    return MlpBank(*network.blocks.inp, *network.blocks.out, network.blocks.activation)


def without_trace(rng, blocks=32, width=8, hidden=64):
    """Random layers but for this: hidden units have one norm on both sides, and a low bias for it.

    Trace, ratio and the like see nothing; log-norm and bias do.
    """
    norms = np.exp(rng.normal(size=(blocks, hidden, 1)))
    return MlpBank(
        norms * rng.normal(size=(blocks, hidden, width)),
        0.1 * rng.normal(size=(blocks, hidden)) - norms[..., 0],
        norms.transpose(0, 2, 1) * rng.normal(size=(blocks, width, hidden)),
        rng.normal(size=(blocks, width)),
    )


def test_every_signal_has_a_prior_worth():
    assert set(WORTH) == {*SIGNALS, "resemblance", "template"}


@pytest.mark.parametrize("blocks", [6, 8, 12])
@pytest.mark.parametrize("with_record", [True, False])
def test_all_pairs_are_found_by_fusion(dropped, blocks, with_record):
    case = dropped(blocks=blocks, hidden=24, **UNDECIDED)
    pairing = pair(case.pile, case.records if with_record else None, by=ALL_SIGNALS)
    assert set(pairing.pairs) == case.pairs
    expected = set(WORTH) if with_record else {n for n in WORTH if not n.startswith("first-order")}
    assert set(pairing.fusion.weights) == expected


def test_what_is_decisive_agrees_with_the_full_fusion(dropped):
    """Ratios do not decide alone where there is a layer that has no partner."""
    for _ in range(5):
        layers = layers_of(dropped(blocks=8, width=16, hidden=24).network)
        fewer = replace(layers, out_weight=layers.out_weight[:7], out_bias=layers.out_bias[:7],
                        out_positions=())  # fmt: skip
        quick, full = (fuse(Clues(each), optimal_matching) for each in (layers, fewer))
        assert list(quick.weights) == ["ratio"]
        assert len(full.weights) > 5
        np.testing.assert_array_equal(quick.pairs[:7], full.pairs)
        for fusion in (quick, full):
            true = tuple(fusion.pairs.T)
            rivals = fusion.log_odds.copy()
            rivals[true] = -np.inf
            assert np.all(fusion.log_odds[true] > rivals.max(axis=0))
            assert np.all(fusion.log_odds[true] > rivals[true[0]].max(axis=1))


def test_ratios_decide_only_where_they_leave_no_doubt(rng):
    decisive = 0.1 * rng.random((6, 6)) + 2 * np.eye(6)[rng.permutation(6)]
    assert _by_ratio_alone(decisive, BY) is not None
    np.testing.assert_array_equal(_by_ratio_alone(decisive, BY).pairs, optimal_matching(decisive))
    close = decisive.copy()
    close[0, close[0].argmin()] = close[0].max() - 0.01
    one_is_weak = decisive.copy()
    one_is_weak[0, one_is_weak[0].argmax()] = decisive[decisive < 1].max() + 0.01
    contested = decisive.copy()
    contested[0] = contested[1]
    for doubtful in (
        close,
        one_is_weak,
        contested,
        decisive[:5],
        decisive[:, :5],
        rng.random((6, 6)),
        np.eye(2) + 0.01 * rng.random((2, 2)),  # as chance makes them, of so few
        np.eye(3) + 0.01 * rng.random((3, 3)),
    ):
        assert _by_ratio_alone(doubtful, BY) is None


def test_weight_goes_to_what_sees():
    learned = []
    for seed in range(3):
        fusion = fuse(Clues(without_trace(np.random.default_rng(seed))), optimal_matching)
        assert np.sum(fusion.pairs[:, 0] == fusion.pairs[:, 1]) >= 28
        learned.append({name: weight / WORTH[name] for name, weight in fusion.weights.items()})
    weights = {name: np.mean([each[name] for each in learned]) for name in learned[0]}
    assert min(weights["log-norm"], weights["bias"]) > 1.2
    assert max(weights["trace"], weights["ratio"]) < 0.9


def test_log_odds_follow_from_the_separations(rng):
    """Of two normal distributions apart by w, the log-odds at 0 are −w²/2, less log(count)."""
    fusion = fuse(Clues(without_trace(rng)), optimal_matching)
    squares = sum(weight**2 for weight in fusion.weights.values())
    assert fusion.log_odds.mean() == pytest.approx(-squares / 2 - np.log(32))


def test_log_odds_are_probabilities_of_a_kind(rng):
    """Where signals say nothing, no pair is likelier than its share."""
    noise = MlpBank(
        rng.normal(size=(20, 24, 16)),
        rng.normal(size=(20, 24)),
        rng.normal(size=(20, 16, 24)),
        rng.normal(size=(20, 16)),
    )
    fusion = fuse(Clues(noise), optimal_matching)
    odds = np.exp(fusion.log_odds)
    assert np.mean(odds / (1 + odds)) < 3 / 20


@pytest.mark.parametrize("hidden", [24, 16])
def test_fusion_does_not_depend_on_names_or_file_order(dropped, rng, hidden):
    case = dropped(blocks=6, hidden=hidden, **UNDECIDED)
    expected = pair(case.pile, case.records)
    pieces = [case.pile[i] for i in rng.permutation(len(case.pile))]
    renamed = Pile(Piece.linear(f"layer-{p.id}", p.weight, p.bias) for p in pieces)
    actual = pair(renamed, case.records)
    assert actual.pairs == tuple((f"layer-{a}", f"layer-{b}") for a, b in expected.pairs)
    np.testing.assert_array_equal(actual.scores, expected.scores)
    assert [m.confidence for m in actual.matches] == [m.confidence for m in expected.matches]


def test_fusion_does_not_depend_on_the_scale_of_a_block(dropped):
    """ReLU blocks stay the same when inp grows and out shrinks; so should what fusion says."""
    layers = layers_of(dropped(blocks=6, hidden=24, dtype=np.float64, **UNDECIDED).network)
    factor = np.array([3.0, 1, 1, 1, 1, 1])
    scaled = replace(
        layers,
        inp_weight=layers.inp_weight * factor[:, None, None],
        inp_bias=layers.inp_bias * factor[:, None],
        out_weight=layers.out_weight / factor[:, None, None],
    )
    expected, actual = (fuse(Clues(each), optimal_matching) for each in (layers, scaled))
    np.testing.assert_array_equal(actual.pairs, expected.pairs)
    np.testing.assert_array_equal(actual.pairs, [(k, k) for k in range(6)])
    assert len(actual.weights) == len(expected.weights) > 5


@pytest.mark.parametrize(("inps", "outs"), [(6, 5), (5, 6), (6, 3)])
def test_surplus_layers_stay_unmatched(dropped, inps, outs):
    layers = layers_of(dropped(blocks=6, width=16, hidden=24).network)
    some = MlpBank(
        layers.inp_weight[:inps],
        layers.inp_bias[:inps],
        layers.out_weight[:outs],
        layers.out_bias[:outs],
    )
    fusion = fuse(Clues(some), optimal_matching)
    assert fusion.log_odds.shape == (inps, outs)
    assert np.isfinite(fusion.log_odds).all()
    assert fusion.pairs.tolist() == [[k, k] for k in range(min(inps, outs))]


def test_no_square_layer_is_paired_with_itself(dropped):
    case = dropped(blocks=6, width=16, hidden=16)
    pairing = pair(case.pile, case.records)
    assert set(pairing.pairs) == case.pairs
    diagonal = pairing.scores.diagonal()
    assert np.all(diagonal == pairing.scores.min())


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("hidden", [10, 6])
def test_few_blocks_are_paired(dropped, blocks, hidden):
    case = dropped(blocks=blocks, width=6, hidden=hidden)
    pairing = pair(case.pile, case.records)
    assert {frozenset(p) for p in pairing.pairs} == {frozenset(p) for p in case.pairs}
    assert np.isfinite(pairing.scores).all()


@pytest.mark.parametrize("hidden", [10, 6])
@pytest.mark.parametrize("which", ["one inp", "all out", "everything"])
def test_layers_of_zeros_give_finite_evidence_without_a_warning(dropped, hidden, which):
    case = dropped(blocks=4, width=6, hidden=hidden)
    inps, outs = case.permutation[:-1:2], case.permutation[1::2]
    zeros = {"one inp": inps[:1], "all out": outs, "everything": inps + outs}[which]
    pile = Pile(
        Piece.linear(p.id, 0 * p.weight, 0 * p.bias) if p.id in zeros else p for p in case.pile
    )
    pairing = pair(pile, case.records)
    assert np.isfinite(pairing.scores).all()
    assert len(pairing.pairs) == 4
    assert all(0 <= match.confidence <= 1 for match in pairing.matches)


def test_constant_signals_and_records_count_for_nothing(dropped):
    case = dropped(blocks=6, hidden=24, **UNDECIDED)
    constant = Records(case.records.inputs, 0 * case.records.predictions)
    assert set(pair(case.pile, constant).pairs) == case.pairs
    no_bias = Pile(Piece.linear(p.id, p.weight, 0 * p.bias) for p in case.pile)
    fusion = pair(no_bias, case.records).fusion
    assert "bias" not in fusion.weights
    assert len(fusion.weights) > 5
    assert np.isfinite(fusion.log_odds).all()


def test_beyond_many_blocks_only_the_template_speaks_for_the_matched_pairs(dropped):
    by = replace(ALL_SIGNALS, resemblance_blocks=6, decisive=np.inf)
    few, many = (
        fuse(
            Clues(layers_of(dropped(blocks=blocks, width=6, hidden=8).network), by=by),
            optimal_matching,
        )
        for blocks in (6, 7)
    )
    assert {"template", "resemblance"} < {*few.weights}
    assert "template" in many.weights
    assert "resemblance" not in many.weights


def test_without_time_only_what_is_there_is_fused(dropped):
    layers = layers_of(dropped(blocks=6, hidden=24, **UNDECIDED).network)
    spent = Clock(1e-9)
    fusion = fuse(Clues(layers, clock=spent), optimal_matching)
    assert [*fusion.weights] == ["ratio"]
    assert fusion.log_odds.shape == (6, 6)
    assert len(fuse(Clues(layers, clock=Clock(1e9)), optimal_matching).weights) > 5


def test_one_matching_at_most_begins_after_the_limit(dropped):
    layers = layers_of(dropped(blocks=6, hidden=24, **UNDECIDED).network)

    def late(limit: float) -> int:
        """How many matchings begin once the time was read so often."""
        reads = []
        clock = Clock(limit, now=lambda: reads.append(None) or float(len(reads)))
        began = []

        def match(scores):
            began.append(len(reads) - 1 > limit)
            return optimal_matching(scores)

        pairs = fuse(Clues(layers, clock=clock, by=ALL_SIGNALS), match).pairs
        assert sorted(pairs[:, 1]) == [*range(6)]
        return sum(began)

    assert max(late(limit) for limit in range(1, 120, 5)) == 1
    assert late(1e9) == 0


def test_signals_that_agree_outvote_the_fusion(rng, monkeypatch):
    """Three signals know all pairs; all others are sure of another matching, the prior too."""
    right, wrong = rng.permutation(8), rng.permutation(8)
    knowing = ("trace", "log-norm", "squared-cosine")
    for name, signal in SIGNALS.items():
        sure = 1.0 * np.eye(8)[right] if name in knowing else 3.0 * np.eye(8)[wrong]
        scores = sure + 0.1 * rng.random((8, 8))
        monkeypatch.setitem(SIGNALS, name, replace(signal, score=lambda _, given=scores: given))
    clues = Clues(without_trace(rng, blocks=8), by=replace(BY, decisive=np.inf))
    fusion = fuse(clues, optimal_matching)
    np.testing.assert_array_equal(fusion.pairs, np.column_stack([np.arange(8), right]))
    np.testing.assert_array_equal(optimal_matching(fusion.log_odds), fusion.pairs)
    assert not {"resemblance", "template"} & {*fusion.weights}
    for fewer in (replace(BY, agreeing=4), replace(BY, least_agreed=9)):
        by = replace(fewer, decisive=np.inf)
        taught = fuse(Clues(clues.layers, by=by), optimal_matching)
        np.testing.assert_array_equal(taught.pairs, np.column_stack([np.arange(8), wrong]))


def test_what_follows_from_weights_is_worked_out_once(dropped, monkeypatch):
    case = dropped(blocks=6, hidden=24, **UNDECIDED)
    counts = Counter()
    for name, signal in SIGNALS.items():

        def counted(clues, name=name, score=signal.score):
            counts[name] += 1
            return score(clues)

        monkeypatch.setitem(SIGNALS, name, replace(signal, score=counted))
    shared = {}
    for activation in ("relu", "tanh", "relu"):
        given = {"activation": activation, "by": ALL_SIGNALS}
        found = pair(case.pile, case.records, of_weights=shared, **given)
        alone = pair(case.pile, case.records, **given)
        np.testing.assert_array_equal(found.scores, alone.scores)
    for name, signal in SIGNALS.items():
        assert counts[name] == (6 if signal.needs_record else 4)
