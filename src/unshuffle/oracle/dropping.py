"""Dropping a network: from layers in their order to numbered pieces, a record, and the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from unshuffle.errors import UsageError
from unshuffle.files.tensors import ITEM_BYTES, decode, encode
from unshuffle.network import Linear, Network
from unshuffle.pile import Floats, Piece, Pile
from unshuffle.records import Records

ROUNDINGS = ("float16", "bfloat16", "int8")
"""What weights can be rounded to."""

LOST = "?"
"""Stands in an answer for a piece that was lost."""

Tensors = Mapping[str, Floats]
"""What a piece's file holds: "weight" and "bias", or one of them."""


@dataclass(frozen=True)
class Hardening:
    """What makes a dropped network harder to put back together; by default, nothing.

    Predictions are always those of the network as it was: rounding weights, losing pieces and
    adding decoys happens to what is left of it.

    Parameters
    ----------
    weights
        None, or one of `ROUNDINGS`. "float16" and "bfloat16" are stored as such. "int8" rounds
        each weight and each bias to 255 equally spaced levels, of which its largest magnitude is
        the outermost, and stores the levels as they are, not their numbers.
    noise
        Standard deviation of independent normal noise on every prediction, in its unit.
    decimals
        Places to which predictions are then rounded.
    lose
        How many pieces are taken away, drawn at random.
    detach_biases
        Whether every weight and every bias becomes a piece of its own.
    permute_hidden
        Whether the hidden units of each block are shuffled, in inp and out alike. That changes
        neither the function nor how well any two layers fit; it only takes away the sequence in
        which training left them.
    """

    weights: str | None = None
    noise: float = 0.0
    decimals: int | None = None
    lose: int = 0
    detach_biases: bool = False
    permute_hidden: bool = False


@dataclass(frozen=True, eq=False)
class Dropped:
    """A dropped network.

    Parameters
    ----------
    pieces
        The tensors of each piece; its number is its position.
    stored_as
        The number format that the pieces are to have in their files.
    records
        Inputs, predictions and targets.
    answer
        Numbers of the pieces in the order in which they are applied, None for a lost one. Where
        biases are detached, each weight is followed by its bias.
    decoys
        Numbers of the pieces that belong to another network.
    """

    pieces: tuple[Tensors, ...]
    stored_as: str
    records: Records
    answer: tuple[int | None, ...]
    decoys: tuple[int, ...]

    def answer_text(self) -> str:
        """The answer as it is sealed and hashed: numbers joined by commas, `?` for a lost piece."""
        return ",".join(LOST if number is None else str(number) for number in self.answer)

    def pile(self) -> Pile:
        """The pieces as a pile; they must have kept their biases."""
        return Pile(
            Piece(number, tensors["weight"], tensors["bias"], self.stored_as)
            for number, tensors in enumerate(self.pieces)
        )


def drop(
    network: Network,
    data: Records,
    *,
    rng: np.random.Generator,
    rows: int | None = None,
    hardening: Hardening = Hardening(),
    decoys: Sequence[Linear] = (),
) -> Dropped:
    """Break a network into shuffled numbered pieces, and record what it predicts.

    Parameters
    ----------
    network
        The network.
    data
        Inputs, and targets if they are to stand in the record; predictions are not used.
    rng
        Draws rows, numbers and everything else. The rows, and the answer too unless pieces are
        lost or added, do not depend on how the network is hardened.
    rows
        How many rows to draw; all of them, in their sequence, by default.
    hardening
        What makes it harder.
    decoys
        Layers of another network that are mixed in.

    Raises
    ------
    UsageError
        If there are fewer rows or pieces than asked for, or a weight exceeds the number format.
    """
    row_rng, number_rng, noise_rng, hidden_rng, lost_rng = rng.spawn(5)
    data = _drawn(data, rows, row_rng)
    predictions = _blurred(network.predict(data.inputs), hardening, noise_rng)
    if hardening.permute_hidden:
        network = permute_hidden_units(network, hidden_rng)
    own = [part for layer in network.layers() for part in _parts(layer, hardening)]
    others = [part for layer in decoys for part in _parts(layer, hardening)]
    lost = _lost(len(own), hardening.lose, lost_rng)

    present = [position for position in range(len(own)) if position not in lost]
    numbers = number_rng.permutation(len(present) + len(others)).tolist()
    number_of = dict(zip(present, numbers, strict=False))
    pieces: list[Tensors] = [{}] * len(numbers)
    for number, part in zip(numbers, [own[i] for i in present] + others, strict=True):
        pieces[number] = part
    dtype = network.last.weight.dtype.name
    return Dropped(
        pieces=tuple(pieces),
        stored_as=hardening.weights if hardening.weights in ITEM_BYTES else dtype,
        records=Records(data.inputs, predictions, data.targets),
        answer=tuple(number_of.get(position) for position in range(len(own))),
        decoys=tuple(sorted(numbers[len(present) :])),
    )


def draw_decoys(
    other: Network, network: Network, count: int, rng: np.random.Generator
) -> list[Linear]:
    """Draw layers of another network that could be taken for layers of this one.

    Raises
    ------
    UsageError
        If the other network has other dimensions, or fewer layers.
    """
    found, expected = (
        (net.blocks.width, net.blocks.hidden, len(net.last.bias)) for net in (other, network)
    )
    if found != expected:
        names = "width {}, {} hidden units and {} outputs".format
        raise UsageError(
            f"the decoys' network has {names(*found)}, but the dropped one has {names(*expected)}; "
            "only layers of the same shapes can be taken for one another"
        )
    layers = other.layers()
    if count > len(layers):
        raise UsageError(
            f"{count} decoys are asked for, but their network has {len(layers)} layers; ask for "
            "fewer"
        )
    return [layers[i] for i in np.sort(rng.choice(len(layers), count, replace=False)).tolist()]


def permute_hidden_units(network: Network, rng: np.random.Generator) -> Network:
    """Shuffle the hidden units of every block: rows of inp and columns of out alike."""
    layers = network.layers()
    for inp in range(0, len(layers) - 1, 2):
        order = rng.permutation(network.blocks.hidden)
        before, after = layers[inp], layers[inp + 1]
        layers[inp] = Linear(before.weight[order], before.bias[order])
        layers[inp + 1] = Linear(after.weight[:, order], after.bias)
    return Network.from_layers(layers, network.blocks.activation)


def round_weights(values: Floats, rounding: str) -> Floats:
    """Round an array to a number format, or to 255 levels of its own.

    Raises
    ------
    UsageError
        If a number is larger than the format's largest.
    """
    if rounding == "int8":
        scale = np.abs(values).max(initial=0.0) / 127
        levels: Floats = np.round(values / scale) * scale if scale > 0 else values
        return levels.astype(values.dtype)
    rounded = decode(encode(values, rounding), rounding).reshape(values.shape)
    if not np.isfinite(rounded).all():
        raise UsageError(
            f"a weight of {np.abs(values).max():.3g} is too large for {rounding}; choose bfloat16"
        )
    return rounded


def manifest(dropped: Dropped, hardening: Hardening, file_format: str) -> dict[str, Any]:
    """What may be known beside the pieces: all that was done, and nothing that orders them."""
    return {
        "pieces": len(dropped.pieces),
        "format": file_format,
        "records": len(dropped.records),
        "outputs": dropped.records.outputs,
        "decoys": len(dropped.decoys),
        **asdict(hardening),
    }


def _drawn(data: Records, rows: int | None, rng: np.random.Generator) -> Records:
    if rows is None:
        return data
    if rows > len(data):
        raise UsageError(
            f"{rows} records are asked for, but there are {len(data)} rows of inputs; ask for "
            "fewer, or give a table with more"
        )
    return data.take(rng.choice(len(data), rows, replace=False).astype(np.intp))


def _blurred(predictions: Floats, hardening: Hardening, rng: np.random.Generator) -> Floats:
    """Predictions with noise, then rounded."""
    blurred = predictions.astype(np.float64)
    blurred += hardening.noise * rng.standard_normal(blurred.shape)
    if hardening.decimals is not None:
        blurred = np.round(blurred, hardening.decimals)
    return blurred.astype(predictions.dtype)


def _parts(layer: Linear, hardening: Hardening) -> list[Tensors]:
    """The pieces that a layer falls into: one, or its weight and its bias."""
    weight, bias = layer.weight, layer.bias
    if hardening.weights is not None:
        weight = round_weights(weight, hardening.weights)
        bias = round_weights(bias, hardening.weights)
    if hardening.detach_biases:
        return [{"weight": weight}, {"bias": bias}]
    return [{"weight": weight, "bias": bias}]


def _lost(pieces: int, lose: int, rng: np.random.Generator) -> set[int]:
    if lose >= pieces:
        raise UsageError(
            f"{lose} pieces are to be lost, but there are {pieces}; leave at least one"
        )
    return set(rng.choice(pieces, lose, replace=False).tolist())
