"""Resemblance: true block products resemble each other across the blocks of a network.

Training leaves something in W_out W_in that is alike in all blocks. Products of layers that do not
belong together lack it. So a matching that is right in part tells the rest. The mean products of
its two layers are taken off a pair's product. The rest is compared with the products of the matched
pairs. Pairs that share a layer with the scored one are left out, since else the matching would
confirm itself.
"""

import numpy as np

from unshuffle.blocks.mlp import MlpBank
from unshuffle.grouping.matching import Pairs
from unshuffle.grouping.signals import Scores
from unshuffle.pieces.pile import TINY, Floats


def template(layers: MlpBank, pairs: Pairs) -> Scores:
    """Cosine of each pair's product with the sum of the other matched ones, shape (I, J).

    A coupling template S is learned. ⟨S, W_out W_in⟩ scores all pairs in a few matrix products. The
    trace is the template −I. Memory is linear in the layers.
    """
    inp, out = _centred(layers)
    i, j = pairs.T
    matched = np.matmul(out[j], inp[i])
    matched /= np.maximum(np.linalg.norm(matched, axis=(1, 2), keepdims=True), TINY)
    flat_inp, flat_out = inp.reshape(len(inp), -1), out.reshape(len(out), -1)

    # ⟨S, W_out W_in⟩ = ⟨S W_inᵀ, W_out⟩, and likewise for what is left out.
    reads = np.matmul(matched.sum(axis=0), inp.transpose(0, 2, 1))
    scores = reads.reshape(len(inp), -1) @ flat_out.T
    shares_inp = np.matmul(matched, inp[i].transpose(0, 2, 1)).reshape(len(i), -1) @ flat_out.T
    shares_out = flat_inp @ np.matmul(out[j].transpose(0, 2, 1), matched).reshape(len(j), -1).T
    shares_out[i, np.arange(len(j))] = 0  # the pair itself was left out with its inp layer
    scores[i] -= shares_inp
    scores[:, j] -= shares_out

    squares = (inp @ inp.transpose(0, 2, 1)).reshape(len(inp), -1) @ (
        out.transpose(0, 2, 1) @ out
    ).reshape(len(out), -1).T
    cosines: Scores = (scores / np.sqrt(np.maximum(squares, TINY))).astype(np.float64)
    return cosines


def resemblance(layers: MlpBank, pairs: Pairs) -> Scores:
    """Sum of signed squared cosines of each pair's product with the other matched ones, (I, J).

    It is sharper than `template` where blocks fall into kinds. Its time grows with the cube of the
    number of blocks.
    """
    inp, out = _centred(layers)
    i, j = pairs.T
    matched = np.matmul(out[j], inp[i]).reshape(len(i), -1)
    matched /= np.maximum(np.linalg.norm(matched, axis=1, keepdims=True), TINY)
    scores = np.empty((len(inp), len(out)))
    for one in range(len(inp)):
        products = np.matmul(out, inp[one]).reshape(len(out), -1)
        norms = np.maximum(np.linalg.norm(products, axis=1, keepdims=True), TINY)
        cosines = (products @ matched.T) / norms
        cosines *= np.abs(cosines)
        cosines[:, i == one] = 0
        cosines[j, np.arange(len(j))] = 0
        scores[one] = cosines.sum(axis=1)
    return scores


_SAME = 1e-6
"""Relative difference from the mean of all layers up to which a layer counts as that mean."""


def _centred(layers: MlpBank) -> tuple[Floats, Floats]:
    """Weights minus their means over the pile: their products are the double-centred products."""
    return _deviations(layers.inp_weight), _deviations(layers.out_weight)


def _deviations(weights: Floats) -> Floats:
    deviations: Floats = weights - weights.mean(axis=0)
    sizes = np.linalg.norm(weights, axis=(1, 2))
    # What rounding leaves of identical layers must not pass for a likeness.
    deviations[np.linalg.norm(deviations, axis=(1, 2)) <= _SAME * sizes] = 0
    return deviations
