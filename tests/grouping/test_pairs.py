import math
from dataclasses import replace

import numpy as np
import pytest

from unshuffle import Piece, Pile, Records, pair
from unshuffle.blocks.assembly import mlp_bank
from unshuffle.errors import UsageError
from unshuffle.grouping import SIGNALS, Pairing
from unshuffle.pieces.anatomy import read_anatomy

BLIND = {"bias", "first-order", "first-order-regression", "first-order-slope"}
"""Signals that see nothing, or too little, in the networks of conftest."""


@pytest.mark.parametrize("signal", ["fused", *(name for name in SIGNALS if name not in BLIND)])
@pytest.mark.parametrize("matching", ["optimal", "greedy"])
def test_true_pairs_are_found(dropped, signal, matching):
    case = dropped(rows=1000, blocks=12, width=16, hidden=24)
    pairing = pair(case.pile, case.records, signal=signal, matching=matching)
    assert set(pairing.pairs) == case.pairs
    assert pairing.last == case.permutation[-1]
    assert min(match.margin for match in pairing.matches) > 0


def test_margin_is_the_lead_over_the_best_rival(dropped):
    case = dropped(blocks=4)
    pairing = pair(case.pile)
    ids = case.pile.ids
    inps = [ids[i] for i in pairing.anatomy.inp]
    outs = [ids[j] for j in pairing.anatomy.out]
    matched = {(inps.index(m.inp), outs.index(m.out)) for m in pairing.matches}
    wrong = [pairing.scores[i, j] for i in range(4) for j in range(4) if (i, j) not in matched]
    for match in pairing.matches:
        i, j = inps.index(match.inp), outs.index(match.out)
        rivals = {outs[k]: pairing.scores[i, k] for k in range(4) if k != j}
        rivals |= {inps[k]: pairing.scores[k, j] for k in range(4) if k != i}
        assert match.rival == max(rivals, key=rivals.get)
        assert match.score == pytest.approx(pairing.scores[i, j])
        assert match.margin == pytest.approx(
            (match.score - rivals[match.rival]) / np.std(wrong), rel=1e-6
        )


def test_the_mirror_image_of_a_square_pair_is_not_its_rival(dropped):
    case = dropped(blocks=4, width=6, hidden=6)
    pairing = pair(case.pile, signal="ratio")
    squares = [case.pile.ids[i] for i in pairing.anatomy.inp]
    either_way = np.maximum(pairing.scores, pairing.scores.T)
    scores = {
        (a, b): either_way[i, j] for i, a in enumerate(squares) for j, b in enumerate(squares)
    }
    partner = {a: b for pair in pairing.pairs for a, b in (pair, pair[::-1])}
    spread = np.std([score for (a, b), score in scores.items() if b not in (a, partner[a])])
    for match in pairing.matches:
        both = {match.inp, match.out}
        rivals = [scores[one, other] for one in both for other in squares if other not in both]
        assert match.rival not in both
        lead = scores[match.inp, match.out] - max(rivals)
        assert lead > 0
        assert match.margin == pytest.approx(lead / spread, rel=1e-5)


def test_confidence_is_a_probability_over_the_rivals(dropped):
    case = dropped(blocks=6, width=16, hidden=24)
    pairing = pair(case.pile)
    ids = case.pile.ids
    inps, outs = ([ids[k] for k in part] for part in (pairing.anatomy.inp, pairing.anatomy.out))
    for match in pairing.matches:
        i, j = inps.index(match.inp), outs.index(match.out)
        odds = np.exp(pairing.scores - pairing.scores[i, j])
        rivals = odds[i].sum() + odds[:, j].sum() - 2
        assert match.confidence == pytest.approx(1 / (1 + rivals), rel=1e-5)
    assert pair(case.pile, signal="trace").matches[0].confidence is None


def test_two_large_square_layers_are_no_pair_by_their_size(make_dropped):
    """Inp layers are larger than out layers, and so is all that comes of two of them."""
    right, sure = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        case = make_dropped(rng, rows=300, blocks=8, width=12, hidden=12, coupling=0.02)
        for match in pair(case.pile, case.records).matches:
            right.append((match.inp, match.out) in case.pairs)
            sure += [right[-1]] if match.confidence >= 0.9 else []
    assert all(sure)
    assert np.mean(right) > 0.55


def test_each_rival_of_a_square_pair_counts_once(dropped):
    case = dropped(blocks=4, width=6, hidden=6)
    pairing = pair(case.pile)
    squares = [case.pile.ids[i] for i in pairing.anatomy.inp]
    scores = np.maximum(pairing.scores, pairing.scores.T)
    for match in pairing.matches:
        i, j = squares.index(match.inp), squares.index(match.out)
        others = [k for k in range(8) if k not in (i, j)]
        odds = np.exp(np.concatenate([scores[i, others], scores[others, j]]) - scores[i, j])
        assert match.confidence == pytest.approx(1 / (1 + odds.sum()), rel=1e-5)


def test_a_signal_that_needs_a_record_is_refused_without(dropped):
    case = dropped(blocks=2)
    with pytest.raises(UsageError, match="'first-order' needs at least two rows with predictions"):
        pair(case.pile, signal="first-order")
    nothing = Records(case.records.inputs, np.zeros((200, 0)))
    with pytest.raises(UsageError, match="'first-order' needs at least two rows with predictions"):
        pair(case.pile, nothing, signal="first-order")


def test_a_single_block_has_no_rival(dropped):
    (match,) = pair(dropped(blocks=1).pile).matches
    assert match.rival is None
    assert math.isinf(match.margin)
    assert pair(dropped(blocks=1).pile).summary()["pairs"][0]["margin"] is None


@pytest.mark.parametrize("outputs", [1, 16])
@pytest.mark.parametrize("matching", ["optimal", "greedy"])
def test_square_layers_are_paired_and_their_roles_found(dropped, outputs, matching):
    case = dropped(blocks=8, width=16, hidden=16, outputs=outputs)
    pairing = pair(case.pile, signal="trace", matching=matching)
    assert {frozenset(p) for p in pairing.pairs} == {frozenset(p) for p in case.pairs}
    assert set(pairing.pairs) == case.pairs
    assert pairing.last == case.permutation[-1]


def test_the_last_layer_is_found_among_inp_layers_of_its_shape(dropped):
    case = dropped(blocks=6, width=8, hidden=12, outputs=12)
    pairing = pair(case.pile)
    assert pairing.last == case.permutation[-1]
    assert set(pairing.pairs) == case.pairs


def test_names_and_file_order_do_not_matter(dropped, rng):
    case = dropped(blocks=8)
    pieces = [case.pile[i] for i in rng.permutation(len(case.pile))]
    renamed = Pile(Piece.linear(f"layer-{p.id}", p.weight, p.bias) for p in pieces)
    expected: Pairing = pair(case.pile)
    actual = pair(renamed)
    assert actual.pairs == tuple((f"layer-{a}", f"layer-{b}") for a, b in expected.pairs)
    np.testing.assert_array_equal(actual.scores, expected.scores)
    assert [m.margin for m in actual.matches] == [m.margin for m in expected.matches]


def test_pairs_are_blocks_and_their_scores_are_evidence(dropped):
    case = dropped(blocks=5, width=16, hidden=24)
    pairing = pair(case.pile, case.records)
    blocks = pairing.grouped(case.pile)
    assert {tuple(case.pile.ids[p] for p in block) for block in blocks.tolist()} == case.pairs
    bank = mlp_bank(case.pile, pairing.anatomy)
    evidence = pairing.evidence(case.pile, bank)
    for match, block in zip(pairing.matches, blocks, strict=True):
        assert evidence.value(block[None]) == pytest.approx(match.score)
    for i, inp in enumerate(pairing.anatomy.inp):
        for j, out in enumerate(pairing.anatomy.out):
            assert evidence.value(np.array([[inp, out]])) == pairing.scores[i, j]


@pytest.mark.parametrize("hidden", [24, 16])
def test_without_log_odds_all_pairs_but_the_matched_ones_are_ruled_out(dropped, hidden):
    case = dropped(blocks=5, width=16, hidden=hidden)
    pairing = pair(case.pile, signal="trace")
    evidence = pairing.evidence(case.pile, mlp_bank(case.pile, pairing.anatomy))
    blocks = pairing.grouped(case.pile)
    assert evidence.admits(blocks)
    assert evidence.decided
    assert evidence.admits(blocks[:, ::-1]) == (hidden == 16)  # which is which remains open
    wrong = blocks.copy()
    wrong[[0, 1], 1] = wrong[[1, 0], 1]
    assert not evidence.admits(wrong)


def test_layers_that_the_pairing_does_not_know_are_ruled_out(dropped):
    case = dropped(blocks=5, width=16, hidden=24)
    whole = read_anatomy(case.pile)
    known = replace(whole, inp=whole.inp[1:], out=whole.out[1:])
    some = pair(case.pile, anatomy=known)
    evidence = some.evidence(case.pile, mlp_bank(case.pile, whole))
    for inp in whole.inp:
        for out in whole.out:
            admitted = inp in known.inp and out in known.out
            assert evidence.admits(np.array([[inp, out]])) == admitted
