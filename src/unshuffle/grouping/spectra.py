"""What blocks do to the stream, in numbers to look at: products, eigenvalues, norms.

Where all hidden units are open, a block without its biases is the linear map I + W_out W_in. It
contracts along an eigenvector of W_out W_in whose eigenvalue λ has ``|1 + λ| < 1``. These lie in
the disc of radius 1 around −1.
"""

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.mlp import MlpBank, MlpStack
from unshuffle.blocks.network import Network
from unshuffle.grouping.signals import traces
from unshuffle.pieces.pile import Floats


def product(blocks: MlpStack, inp: int, out: int) -> Floats:
    """W_out W_in of one block's inp layer and another's, or its own, out layer: (width, width)."""
    weight: Floats = blocks.out_weight[out] @ blocks.inp_weight[inp]
    return weight


def all_traces(blocks: MlpStack) -> NDArray[np.float64]:
    """trace(W_out W_in) of every inp with every out layer of K blocks: shape (K, K)."""
    return traces(MlpBank(*blocks.inp, *blocks.out))


def eigenvalues(blocks: MlpStack) -> NDArray[np.complex128]:
    """Eigenvalues of each block's W_out W_in.

    Parameters
    ----------
    blocks
        K blocks of a stream of some width.

    Returns
    -------
    NDArray
        Shape (K, width).
    """
    wide = blocks.astype(np.float64)
    values = np.linalg.eigvals(wide.out_weight @ wide.inp_weight)
    return values.astype(np.complex128, copy=False)


def stream_norms(network: Network, inputs: Floats) -> tuple[Floats, Floats]:
    """Euclidean norms of the states along the stream, and of the steps between them.

    Parameters
    ----------
    network
        A network of K blocks.
    inputs
        Shape (rows, columns).

    Returns
    -------
    tuple
        Norms of the states, shape (K + 1, rows), and of what each block adds, shape (K, rows).

    Raises
    ------
    UsageError
        If the network reads rows of another length.
    """
    states = network.states(inputs)
    return np.linalg.norm(states, axis=2), np.linalg.norm(np.diff(states, axis=0), axis=2)
