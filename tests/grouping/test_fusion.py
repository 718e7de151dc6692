from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Piece, Pile, Records, pair
from unshuffle.blocks.network import Layers
from unshuffle.grouping import fusion
from unshuffle.grouping.fusion import WORTH, fuse
from unshuffle.grouping.matching import optimal_matching
from unshuffle.grouping.signals import SIGNALS, Clues


@pytest.fixture
def undecided(monkeypatch):
    """Let no ratio be decisive, so that all signals are fused."""
    monkeypatch.setattr(fusion, "DECISIVE", np.inf)


def layers_of(network) -> Layers:
    return Layers(**vars(network.blocks))


def without_trace(rng, blocks=32, width=8, hidden=64):
    """Random layers but for this: hidden units have one norm on both sides, and a low bias for it.

    Trace, ratio and the like see nothing; log-norm and bias do.
    """
    norms = np.exp(rng.normal(size=(blocks, hidden, 1)))
    return Layers(
        norms * rng.normal(size=(blocks, hidden, width)),
        0.1 * rng.normal(size=(blocks, hidden)) - norms[..., 0],
        norms.transpose(0, 2, 1) * rng.normal(size=(blocks, width, hidden)),
        rng.normal(size=(blocks, width)),
    )


def test_every_signal_has_a_prior_worth():
    assert set(WORTH) == {*SIGNALS, "consensus", "template"}


@pytest.mark.parametrize("blocks", [2, 5, 12])
@pytest.mark.parametrize("with_record", [True, False])
def test_all_pairs_are_found_by_fusion(dropped, undecided, blocks, with_record):
    case = dropped(blocks=blocks, width=16, hidden=24)
    pairing = pair(case.pile, case.records if with_record else None)
    assert set(pairing.pairs) == case.pairs
    expected = set(WORTH) if with_record else {n for n in WORTH if not n.startswith("first-order")}
    assert set(pairing.evidence.weights) == expected


def test_what_is_decisive_agrees_with_the_full_fusion(dropped, monkeypatch):
    for _ in range(5):
        case = dropped(blocks=8, width=16, hidden=24)
        monkeypatch.setattr(fusion, "DECISIVE", 0.0)
        quick = pair(case.pile, case.records)
        monkeypatch.setattr(fusion, "DECISIVE", np.inf)
        full = pair(case.pile, case.records)
        assert list(quick.evidence.weights) == ["ratio"]
        assert len(full.evidence.weights) > 5
        assert quick.pairs == full.pairs
        for evidence in (quick.evidence, full.evidence):
            true = tuple(evidence.pairs.T)
            rivals = evidence.log_odds.copy()
            rivals[true] = -np.inf
            assert np.all(evidence.log_odds[true] > rivals.max(axis=0))
            assert np.all(evidence.log_odds[true] > rivals.max(axis=1))


def test_ratios_decide_only_where_they_leave_no_doubt(rng):
    decisive = 0.1 * rng.random((6, 6)) + 2 * np.eye(6)[rng.permutation(6)]
    assert fusion._by_ratio_alone(decisive) is not None
    np.testing.assert_array_equal(
        fusion._by_ratio_alone(decisive).pairs, optimal_matching(decisive)
    )
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
    ):
        assert fusion._by_ratio_alone(doubtful) is None


def test_weight_goes_to_what_sees():
    learned = []
    for seed in range(3):
        evidence = fuse(Clues(without_trace(np.random.default_rng(seed))), optimal_matching)
        assert np.sum(evidence.pairs[:, 0] == evidence.pairs[:, 1]) >= 28
        learned.append({name: weight / WORTH[name] for name, weight in evidence.weights.items()})
    weights = {name: np.mean([each[name] for each in learned]) for name in learned[0]}
    assert min(weights["log-norm"], weights["bias"]) > 1.2
    assert max(weights["trace"], weights["ratio"]) < 0.9


def test_log_odds_follow_from_the_separations(rng):
    """Of two normal distributions apart by w, the log-odds at 0 are −w²/2, less log(count)."""
    evidence = fuse(Clues(without_trace(rng)), optimal_matching)
    squares = sum(weight**2 for weight in evidence.weights.values())
    assert evidence.log_odds.mean() == pytest.approx(-squares / 2 - np.log(32))


def test_log_odds_are_probabilities_of_a_kind(rng):
    """Where signals say nothing, no pair is likelier than its share."""
    noise = Layers(
        rng.normal(size=(20, 24, 16)),
        rng.normal(size=(20, 24)),
        rng.normal(size=(20, 16, 24)),
        rng.normal(size=(20, 16)),
    )
    evidence = fuse(Clues(noise), optimal_matching)
    odds = np.exp(evidence.log_odds)
    assert np.mean(odds / (1 + odds)) < 3 / 20


@pytest.mark.parametrize("hidden", [24, 16])
def test_fusion_does_not_depend_on_names_or_file_order(dropped, undecided, rng, hidden):
    case = dropped(blocks=6, width=16, hidden=hidden)
    expected = pair(case.pile, case.records)
    pieces = [case.pile[i] for i in rng.permutation(len(case.pile))]
    renamed = Pile(Piece(f"layer-{p.id}", p.weight, p.bias) for p in pieces)
    actual = pair(renamed, case.records)
    assert actual.pairs == tuple((f"layer-{a}", f"layer-{b}") for a, b in expected.pairs)
    np.testing.assert_array_equal(actual.scores, expected.scores)
    assert [m.confidence for m in actual.matches] == [m.confidence for m in expected.matches]


def test_fusion_does_not_depend_on_the_scale_of_a_block(dropped, undecided):
    """ReLU blocks stay the same when inp grows and out shrinks; so should what fusion says."""
    case = dropped(blocks=6, width=16, hidden=24, dtype=np.float64)
    layers = layers_of(case.network)
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


@pytest.mark.parametrize(("inps", "outs"), [(6, 5), (5, 6), (6, 3)])
def test_surplus_layers_stay_unmatched(dropped, inps, outs):
    layers = layers_of(dropped(blocks=6, width=16, hidden=24).network)
    some = Layers(
        layers.inp_weight[:inps],
        layers.inp_bias[:inps],
        layers.out_weight[:outs],
        layers.out_bias[:outs],
    )
    evidence = fuse(Clues(some), optimal_matching)
    assert evidence.log_odds.shape == (inps, outs)
    assert np.isfinite(evidence.log_odds).all()
    assert evidence.pairs.tolist() == [[k, k] for k in range(min(inps, outs))]


def test_no_square_layer_is_paired_with_itself(dropped, undecided):
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
    pile = Pile(Piece(p.id, 0 * p.weight, 0 * p.bias) if p.id in zeros else p for p in case.pile)
    pairing = pair(pile, case.records)
    assert np.isfinite(pairing.scores).all()
    assert len(pairing.pairs) == 4
    assert all(0 <= match.confidence <= 1 for match in pairing.matches)


def test_constant_signals_and_records_count_for_nothing(dropped, undecided):
    case = dropped(blocks=4, width=16, hidden=24)
    constant = Records(case.records.inputs, 0 * case.records.predictions)
    assert set(pair(case.pile, constant).pairs) == case.pairs
    no_bias = Pile(Piece(p.id, p.weight, 0 * p.bias) for p in case.pile)
    evidence = pair(no_bias, case.records).evidence
    assert "bias" not in evidence.weights
    assert np.isfinite(evidence.log_odds).all()


def test_beyond_many_blocks_only_the_template_speaks_for_the_matched_pairs(
    dropped, undecided, monkeypatch
):
    case = dropped(blocks=6, width=16, hidden=24)
    monkeypatch.setattr(fusion, "CONSENSUS_BLOCKS", 5)
    pairing = pair(case.pile, case.records)
    assert set(pairing.pairs) == case.pairs
    assert "template" in pairing.evidence.weights
    assert "consensus" not in pairing.evidence.weights
