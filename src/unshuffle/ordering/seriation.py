"""Seriation: the depth of blocks from how alike they are, in many views at once.

What neighbouring blocks learn is alike. The training decides in which part of the weights that
shows. A view is one such part, a vector for each block. The leading eigenvector of its likeness
seriates each view (Atkins, Boman & Hendrickson 1998). Views that see the depth agree. So the
leading singular vector of all rankings is near it. Self-training (Scudder 1965) refines it. Each
view predicts every block from the others, by kernel ridge regression with Allen's leave-one-out
formula (1974). Predictions are weighed by their accuracy.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.bank import Stack
from unshuffle.blocks.mlp import MlpStack, as_mlp
from unshuffle.blocks.network import Network
from unshuffle.pieces.pile import TINY, Floats


@dataclass(frozen=True)
class SeriationParameters:
    """Numbers that steer a seriation in many views.

    Parameters
    ----------
    ridge
        Of the kernel ridge regression, relative to the mean eigenvalue of the kernel.
    least_agreement, most_agreement
        Correlation with the depth below which a view is left out, and above which its weight is
        constant.
    rounds
        Refinements of the depth.
    """

    ridge: float = 1.0
    least_agreement: float = 0.1
    most_agreement: float = 0.98
    rounds: int = 10


STANDARD = SeriationParameters()


def likeness(vectors: Floats) -> NDArray[np.float64]:
    """Cosines between the vectors of blocks, of any shape, less their mean: (blocks, blocks)."""
    flat = vectors.reshape(len(vectors), -1).astype(np.float64)
    return _cosines(flat - flat.mean(axis=0))


def correlations(vectors: Floats) -> NDArray[np.float64]:
    """Pearson correlations between the vectors of blocks, of any shape: (blocks, blocks)."""
    flat = vectors.reshape(len(vectors), -1).astype(np.float64)
    return _cosines(flat - flat.mean(axis=1, keepdims=True))


def _cosines(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines between the rows; nothing has none with anything."""
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), TINY)
    cosines: NDArray[np.float64] = units @ units.T
    return cosines


def leading(alike: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leading eigenvector of a likeness, of which rows and columns are centred. Its sign is free.

    Along a chain of which neighbours are alike it is nearly monotone.
    """
    alike = alike.copy()
    np.fill_diagonal(alike, 0)
    alike -= alike.mean(axis=0)
    alike -= alike.mean(axis=1, keepdims=True)
    try:
        vector: NDArray[np.float64] = np.linalg.eigh(alike)[1][:, -1]
    except np.linalg.LinAlgError:  # numbers so large that nothing can be said of likeness
        return np.zeros(len(alike))
    return vector


def off_diagonal(matrices: Floats) -> Floats:
    """The entries off the diagonals of square matrices: shape (…, width² − width)."""
    across = ~np.eye(matrices.shape[-1], dtype=bool)
    return matrices[..., across]


def outer_products(blocks: MlpStack) -> Floats:
    """W_out W_outᵀ of each block, off its diagonal: which outputs it writes together."""
    return off_diagonal(np.matmul(blocks.out_weight, blocks.out_weight.transpose(0, 2, 1)))


def views(network: Network) -> dict[str, Floats]:
    """What may tell the depth of a block, a vector for each."""
    if not isinstance(network.blocks, MlpStack):
        return _views_of_any(network.blocks)
    blocks, last = network.blocks, as_mlp(network).last.weight
    inp, out = blocks.inp_weight, blocks.out_weight
    product = np.matmul(out, inp)
    square = np.matmul(out, out.transpose(0, 2, 1))
    read = np.matmul(inp.transpose(0, 2, 1), inp)
    return {
        "product": off_diagonal(product),
        "written": off_diagonal(square),
        "read": off_diagonal(read),
        "gain": np.einsum("kdd->kd", product),
        "to the last layer": np.matmul(last, product),
        "from the last layer": np.matmul(product, last.T),
        "written for the last layer": np.matmul(square, last.T),
        "out bias": blocks.out_bias,
        "inp bias read": np.einsum("khd,kh->kd", inp, blocks.inp_bias),
        "inp bias written": np.einsum("kdh,kh->kd", out, blocks.inp_bias),
        "sum written": out.sum(axis=2),
        "sum read": inp.sum(axis=1),
        "norms written": np.linalg.norm(out, axis=2),
        "norms read": np.linalg.norm(inp, axis=1),
    }


def _views_of_any(blocks: Stack) -> dict[str, Floats]:
    """Gram matrices of rows and of columns off their diagonals, and vectors, by tensor."""
    weights = [blocks.weights(place) for place in range(len(blocks))]
    found: dict[str, Floats] = {}
    for role, tensors in weights[0].items():
        for name, values in tensors.items():
            each = np.stack([block[role][name] for block in weights])
            if values.ndim == 2:
                turned = each.transpose(0, 2, 1)
                found[f"rows of {role}.{name}"] = off_diagonal(np.matmul(each, turned))
                found[f"columns of {role}.{name}"] = off_diagonal(np.matmul(turned, each))
            else:
                found[f"{role}.{name}"] = each.reshape(len(each), -1)
    return found


def agreed_depth(
    kernels: list[NDArray[np.float64]], by: SeriationParameters = STANDARD
) -> NDArray[np.float64]:
    """Depth on which several likenesses (blocks, blocks) agree, up to its sign and scale."""
    kernels = [kernel for kernel in kernels if kernel.any()]
    if not kernels:
        return np.zeros(0)
    rankings = np.stack([standardised(leading(kernel)) for kernel in kernels], axis=1)
    depth: NDArray[np.float64] = np.linalg.svd(rankings, full_matrices=False)[0][:, 0]
    smoothers = [leave_one_out(kernel, by) for kernel in kernels]
    for _ in range(by.rounds):
        ranks = standardised(np.argsort(np.argsort(depth, kind="stable")).astype(np.float64))
        refined = listened((standardised(smoother @ ranks) for smoother in smoothers), ranks, by)
        if not refined.any():
            break
        depth = refined
    return depth


def listened(
    told: Iterable[NDArray[np.float64]], guess: NDArray[np.float64], by: SeriationParameters
) -> NDArray[np.float64]:
    """Sum of what views tell of each block, each weighed by its agreement with a guess.

    All are standardised, of shape (blocks,).
    """
    refined = np.zeros(len(guess))
    for one in told:
        agreement = min(float(one @ guess), by.most_agreement)
        if agreement > by.least_agreement:
            refined += agreement / (1 - agreement**2) * one
    return refined


def leave_one_out(
    kernel: NDArray[np.float64], by: SeriationParameters = STANDARD
) -> NDArray[np.float64]:
    """The matrix that predicts each block's value from those of the others.

    By kernel ridge regression, with Allen's formula (1974). The kernel has shape (blocks, blocks).
    """
    centre = np.eye(len(kernel)) - 1 / len(kernel)
    kernel = centre @ kernel @ centre
    damping = by.ridge * np.trace(kernel) / len(kernel)
    hat = np.linalg.solve(kernel + damping * np.eye(len(kernel)), kernel).T
    own = hat.diagonal().copy()
    np.fill_diagonal(hat, 0)
    predicting: NDArray[np.float64] = hat / (1 - own)[:, None]
    return predicting


def standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre, and scale to unit length."""
    values = values - values.mean()
    return values / max(float(np.linalg.norm(values)), TINY)
