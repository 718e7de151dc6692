"""Records of probabilities, whose softmax is undone.

A softmax does not tell the mean of its logits. So the logits less their mean are compared with
those of a last layer whose weights and biases have no mean over its outputs.
"""

from dataclasses import dataclass, replace

import numpy as np

from unshuffle.errors import RecordError
from unshuffle.pieces.pile import Floats, Piece, Pile
from unshuffle.pieces.records import Records


@dataclass(frozen=True)
class SoftmaxParameters:
    """Numbers that tell probabilities, and which of them are compared."""

    sum: float = 1e-4  # By which the sum of a row may miss 1 where nothing was rounded to decimals.
    places: tuple[int, ...] = (2, 3, 4, 5, 6)  # Decimals that probabilities may be rounded to.
    grid: float = 1e-7  # Distance up to which a number has no more decimals.
    pressed: float = 0.05  # Error of a logarithm by rounding, from which on a row is left out.
    own: float = 1e-4  # Part of its weights up to which a last layer has no mean over its outputs.


STANDARD = SoftmaxParameters()

BEHIND_SOFTMAX = (
    "a softmax came behind the last layer: the logits less their mean are compared, where rounding "
    "has pressed no probability to 0, and errors are theirs"
)


def without_softmax(
    pile: Pile, records: Records, by: SoftmaxParameters = STANDARD
) -> tuple[Pile, Records]:
    """A pile and a record without the softmax that came behind the last layer; as given if none.

    The sequence of the pieces stays. Predictions are NaN where rounding has pressed one to 0.

    Raises
    ------
    RecordError
        If there are probabilities, and it is not known what the logits are.
    """
    y = records.predicted().predictions.astype(np.float64)
    if records.outputs < 2 or not len(y):
        return pile, records
    step = next((10.0**-k for k in by.places if np.abs(y - y.round(k)).max() < by.grid), 0.0)
    slack = by.sum + step / 2 * records.outputs
    chances = (y >= 0).all() and np.abs(y.sum(axis=1) - 1).max() <= slack
    logarithms = (y <= 0).all() and np.abs(np.exp(y).sum(axis=1) - 1).max() <= slack
    if not (chances or logarithms):
        return pile, records
    name = "softmax" if chances else "log-softmax"
    found = [piece for piece in pile if piece.shape == (records.outputs, records.width)]
    if len(found) != 1 or pile.detached:
        raise RecordError(
            f"{records.name} has predictions as behind a {name}, which is undone only where one "
            "piece with its bias has the shape of the last layer; give the numbers before it, the "
            "logits"
        )
    weight, bias = found[0].weight, found[0].bias
    even = np.abs(weight.mean(axis=0)).max() <= by.own * np.abs(weight).max()
    if chances and even and abs(bias.sum() - 1) <= slack:
        return pile, records  # the predictions of such a layer sum to 1 by themselves
    return _centred(pile, found[0]), _centred_logits(records, step if chances else None, by)


def _centred_logits(records: Records, step: float | None, by: SoftmaxParameters) -> Records:
    """Logits less their mean, of probabilities with some step, or of their logarithms."""
    logarithms = records.predictions.astype(np.float64)
    if step is not None:
        least = max(step / 2 / by.pressed, float(np.finfo(np.float32).tiny))
        kept = np.where(logarithms.min(axis=1, keepdims=True) >= least, logarithms, np.nan)
        if np.isnan(kept).all():
            raise RecordError(
                f"{records.name} has probabilities of which one in each row is 0, or nearly so "
                "after rounding, as labels of classes have it; give the numbers before the "
                "softmax, the logits, or probabilities with all digits"
            )
        logarithms = np.log(kept)
    centred = logarithms - logarithms.mean(axis=1, keepdims=True)
    return replace(records, predictions=centred.astype(records.predictions.dtype))


def _centred(pile: Pile, last: Piece) -> Pile:
    """The pile with a last layer whose outputs have the mean 0."""

    def less_mean(values: Floats) -> Floats:
        exact = values.astype(np.float64)
        centred: Floats = (exact - exact.mean(axis=0)).astype(values.dtype)
        return centred

    tensors = {name: less_mean(values) for name, values in last.tensors.items()}
    changed = replace(last, tensors=tensors)
    return pile.in_sequence(changed if piece is last else piece for piece in pile)
