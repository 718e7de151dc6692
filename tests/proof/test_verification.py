from dataclasses import replace

import numpy as np

from unshuffle import MlpNetwork
from unshuffle.blocks.activations import find_activation
from unshuffle.proof.verification import clearly_best


def with_activation(network, name):
    return MlpNetwork(replace(network.blocks, activation=find_activation(name)), network.last)


def test_a_network_is_best_where_no_other_fits_as_well(dropped, rng):
    case = dropped(rows=300, outputs=2)
    other = with_activation(case.network, "gelu")
    spread = np.sqrt(case.records.variances)
    for share, clear in ((0.01, True), (100.0, False)):
        noise = share * spread * rng.normal(size=(300, 2))
        noisy = replace(case.records, predictions=case.records.predictions + noise)
        assert clearly_best(case.network, [other], noisy) is clear
        assert clearly_best(case.network, [], noisy)
    assert not clearly_best(other, [case.network], case.records)


def test_a_network_that_overflows_is_no_rival(dropped):
    case = dropped(rows=300)
    blocks = replace(case.network.blocks, out_weight=case.network.blocks.out_weight * 1e30)
    vast = MlpNetwork(blocks, case.network.last)
    assert not np.isfinite(vast.predict(case.records.inputs)).all()
    assert clearly_best(case.network, [vast], case.records)
