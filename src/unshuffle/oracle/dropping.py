"""Dropping a network: from ordered layers to numbered pieces, a record, and the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.errors import UsageError
from unshuffle.files.quantised import quantise, restored
from unshuffle.files.tensors import ITEM_BYTES, decode, encode
from unshuffle.pieces.answer import LOST
from unshuffle.pieces.pile import Bias, Floats, Piece, Pile
from unshuffle.pieces.records import Records

INT8_SCALES = "int8-scales"

Tensors = Mapping[str, Floats]  # what a piece's file holds: "weight" and "bias", or one of them


@dataclass(frozen=True)
class Hardening:
    """What makes a dropped network harder to put back together; by default, nothing.

    Predictions are those of the undamaged network. Rounding weights, losing pieces and adding
    decoys come after.

    Parameters
    ----------
    weights
        "float16" and "bfloat16" are stored as such. "int8" rounds each weight and each bias to 255
        equally spaced levels, up to its largest magnitude. It stores them as plain numbers.
        "int8-scales" does so with each bias and each row of a weight, and stores levels and scales.
    noise
        Standard deviation of independent normal noise on every prediction, in its unit.
    decimals
        Places to which predictions are then rounded.
    lose, lose_blocks
        How many pieces, and whole blocks before them, are taken away, drawn at random.
    duplicate
        How many of the pieces that are left lie in the pile twice.
    duplicate_noise
        Standard deviation of normal noise on the copies, relative to the spread of each tensor.
    prune
        Part of the numbers of each weight, the smallest in magnitude, that are set to 0.
    clip
        Predictions are limited to so many standard deviations from their mean.
    shuffle_columns
        Whether the record's input columns stand in another sequence than the network reads them.
    standardise
        Whether each input column of the record is standardised to mean 0 and variance 1.
    detach_biases
        Whether every weight and every bias becomes a piece of its own.
    permute_hidden
        Whether the hidden units of each block are shuffled, in inp and out alike. The function, and
        the fit of any two layers, stay. The sequence of training is gone.
    scramble_hidden
        Whether each out layer's columns are shuffled against the rows of its inp layer.
    """

    weights: str | None = None
    noise: float = 0.0
    decimals: int | None = None
    lose: int = 0
    lose_blocks: int = 0
    duplicate: int = 0
    duplicate_noise: float = 0.0
    prune: float = 0.0
    clip: float | None = None
    shuffle_columns: bool = False
    standardise: bool = False
    detach_biases: bool = False
    permute_hidden: bool = False
    scramble_hidden: bool = False


def answer_text(answer: Sequence[int | None]) -> str:
    """An answer as it is sealed and hashed: numbers with commas, `?` for a lost piece."""
    return ",".join(LOST if number is None else str(number) for number in answer)


@dataclass(frozen=True, eq=False)
class Second:
    """The second network of a pile. Its record and answer are as those of the first one."""

    records: Records
    answer: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Dropped:
    """A dropped network.

    The number of a piece is its position among `pieces`. `stored_as` is the number format of their
    files. The answer has the numbers in the order in which the pieces are applied, None for a lost
    one. Where biases are detached, its bias follows each weight. Decoys, and all pieces of a second
    network, belong elsewhere. Copies are those of other pieces.
    """

    pieces: tuple[Tensors, ...]
    stored_as: str
    records: Records
    answer: tuple[int | None, ...]
    decoys: tuple[int, ...]
    copies: tuple[int, ...] = ()
    second: Second | None = None

    def answer_text(self) -> str:
        """The answer as it is sealed and hashed."""
        return answer_text(self.answer)

    def pile(self) -> Pile:
        """The pieces as a pile."""
        layers, biases = [], []
        for number, tensors in enumerate(self.pieces):
            if "weight" in tensors:
                weight, bias = tensors["weight"], tensors.get("bias")
                layers.append(Piece.linear(number, weight, bias, self.stored_as))
            else:
                biases.append(Bias(number, tensors["bias"], self.stored_as))
        return Pile(layers, biases)


def drop(
    network: MlpNetwork,
    data: Records,
    *,
    rng: np.random.Generator,
    rows: int | None = None,
    hardening: Hardening = Hardening(),
    decoys: Sequence[Linear] = (),
    second: tuple[MlpNetwork, Records] | None = None,
) -> Dropped:
    """Break a network into shuffled numbered pieces, and record what it predicts.

    The data has inputs, and targets if they are to stand in the record. So many rows of it are
    drawn, by default all in their sequence. Rows do not depend on how the network is hardened. Nor
    does the answer, unless pieces are lost or added. Decoys are layers of another network that are
    mixed in. A whole second network, with its data, is hardened alike. It loses nothing and has no
    copies.

    Raises `UsageError` if there are fewer rows or pieces than asked for. Raises it too if a weight
    exceeds the number format, or the second network has other dimensions.
    """
    row_rng, number_rng, noise_rng, hidden_rng, lost_rng, copy_rng, column_rng = rng.spawn(7)

    def record(network: MlpNetwork, data: Records) -> Records:
        drawn = _drawn(data, rows, row_rng)
        predictions = blurred(network.predict(drawn.inputs), hardening, noise_rng)
        return Records(_recorded(drawn.inputs, hardening, column_rng), predictions, drawn.targets)

    records, own = record(network, data), _pieces(network, hardening, hidden_rng)
    others = [part for layer in decoys for part in _parts(layer, hardening)]
    first, records_2 = len(others), None
    if second is not None:
        _check_dimensions(second[0], network)
        records_2 = record(*second)
        others += _pieces(second[0], hardening, hidden_rng)
    left = _left(own, hardening, lost_rng)
    copies = _copies([*left.values()], hardening, copy_rng)
    parts = [*left.values(), *others, *copies]
    numbers = number_rng.permutation(len(parts)).tolist()
    numbered = dict(zip(numbers, parts, strict=True))
    number_of = dict(zip(left, numbers, strict=False))
    strangers = numbers[len(left) : len(left) + len(others)]
    return Dropped(
        pieces=tuple(numbered[number] for number in range(len(parts))),
        stored_as=_stored_as(hardening, network.last.weight.dtype.name),
        records=records,
        answer=tuple(number_of.get(position) for position in range(len(own))),
        decoys=tuple(sorted(strangers)),
        copies=tuple(sorted(numbers[len(left) + len(others) :])),
        second=None if records_2 is None else Second(records_2, tuple(strangers[first:])),
    )


def _pieces(network: MlpNetwork, hardening: Hardening, rng: np.random.Generator) -> list[Tensors]:
    """The parts of all layers, in the order in which they are applied."""
    if hardening.permute_hidden:
        network = shuffle_hidden_units(network, rng)
    if hardening.scramble_hidden:
        network = shuffle_hidden_units(network, rng, only_out=True)
    return [part for layer in network.layers() for part in _parts(layer, hardening)]


def draw_decoys(
    other: MlpNetwork, network: MlpNetwork, count: int, rng: np.random.Generator
) -> list[Linear]:
    """Draw layers of another network that could be taken for layers of this one.

    Raises `UsageError` if the other network has other dimensions, or fewer layers.
    """
    _check_dimensions(other, network)
    layers = other.layers()
    if count > len(layers):
        raise UsageError(
            f"{count} decoys are asked for, but their network has {len(layers)} layers; ask for "
            "fewer"
        )
    return [layers[i] for i in np.sort(rng.choice(len(layers), count, replace=False)).tolist()]


def _check_dimensions(other: MlpNetwork, network: MlpNetwork) -> None:
    """Refuse another network whose layers could not be taken for those of the first one."""
    found, expected = (
        (net.blocks.width, net.blocks.hidden, len(net.last.bias)) for net in (other, network)
    )
    if found != expected:
        names = "width {}, {} hidden units and {} outputs".format
        raise UsageError(
            f"the network that is mixed in has {names(*found)}, but the dropped one has "
            f"{names(*expected)}; only layers of the same shapes can be taken for one another"
        )


def shuffle_hidden_units(
    network: MlpNetwork, rng: np.random.Generator, *, only_out: bool = False
) -> MlpNetwork:
    """Shuffle the hidden units of every block: rows of inp and columns of out alike.

    With `only_out` the inp layer is left as it is. Two independent shuffles differ from this one
    only by a consistent one of both layers.
    """
    layers = network.layers()
    for inp in range(0, len(layers) - 1, 2):
        order = rng.permutation(network.blocks.hidden)
        before, after = layers[inp], layers[inp + 1]
        if not only_out:
            layers[inp] = Linear(before.weight[order], before.bias[order])
        layers[inp + 1] = Linear(after.weight[:, order], after.bias)
    return MlpNetwork.from_layers(layers, network.blocks.activation)


def round_weights(values: Floats, rounding: str) -> Floats:
    """Round an array to a number format, or to 255 levels of its own or of each row.

    Raises `UsageError` if a number is larger than the format's largest.
    """
    if rounding == "int8":
        scale = np.abs(values).max(initial=0.0) / 127
        levels: Floats = np.round(values / scale) * scale if scale > 0 else values
        return levels.astype(values.dtype)
    if rounding == INT8_SCALES:
        return restored(*quantise(values))
    rounded = decode(encode(values, rounding), rounding).reshape(values.shape)
    if not np.isfinite(rounded).all():
        raise UsageError(
            f"a weight of {np.abs(values).max():.3g} is too large for {rounding}; choose bfloat16"
        )
    return rounded


def _stored_as(hardening: Hardening, dtype: str) -> str:
    """The number format in the files."""
    if hardening.weights == INT8_SCALES:
        return "int8"
    return hardening.weights if hardening.weights in ITEM_BYTES else dtype


def _drawn(data: Records, rows: int | None, rng: np.random.Generator) -> Records:
    if rows is None:
        return data
    if rows > len(data):
        raise UsageError(
            f"{rows} records are asked for, but there are {len(data)} rows of inputs; ask for "
            "fewer, or give a table with more"
        )
    return data.take(rng.choice(len(data), rows, replace=False).astype(np.intp))


def blurred(predictions: Floats, hardening: Hardening, rng: np.random.Generator) -> Floats:
    """Predictions with noise, then limited, then rounded."""
    blurred = predictions.astype(np.float64)
    blurred += hardening.noise * rng.standard_normal(blurred.shape)
    if hardening.clip is not None:
        mean, reach = blurred.mean(axis=0), hardening.clip * blurred.std(axis=0)
        blurred = np.clip(blurred, mean - reach, mean + reach)
    if hardening.decimals is not None:
        blurred = np.round(blurred, hardening.decimals)
    return blurred.astype(predictions.dtype)


def _parts(layer: Linear, hardening: Hardening) -> list[Tensors]:
    """The pieces that a layer falls into: one, or its weight and its bias."""
    weight, bias = layer.weight, layer.bias
    if hardening.prune > 0:
        weight = prune(weight, hardening.prune)
    if hardening.weights is not None:
        weight = round_weights(weight, hardening.weights)
        bias = round_weights(bias, hardening.weights)
    if hardening.detach_biases:
        return [{"weight": weight}, {"bias": bias}]
    return [{"weight": weight, "bias": bias}]


def prune(values: Floats, part: float) -> Floats:
    """Set the given part of an array's numbers, those of least magnitude, to 0."""
    count = round(part * values.size)
    pruned: Floats = values.copy()
    pruned.ravel()[np.argsort(np.abs(values), axis=None, kind="stable")[:count]] = 0
    return pruned


def _left(
    parts: list[Tensors], hardening: Hardening, rng: np.random.Generator
) -> dict[int, Tensors]:
    """The parts that are left, by position: blocks are lost first, then others one by one."""
    per_block = 4 if hardening.detach_biases else 2
    blocks = (len(parts) - 1) // per_block
    if hardening.lose_blocks >= blocks:
        raise UsageError(
            f"{hardening.lose_blocks} blocks are to be lost, but there are {blocks}; leave at "
            "least one"
        )
    chosen = rng.choice(blocks, hardening.lose_blocks, replace=False)
    rest = [position for position in range(len(parts)) if position // per_block not in chosen]
    if hardening.lose >= len(rest):
        raise UsageError(
            f"{hardening.lose} pieces are to be lost, but there are {len(rest)}; leave at least one"
        )
    lost = rng.choice(len(rest), hardening.lose, replace=False)
    return {position: parts[position] for position in np.delete(rest, lost).tolist()}


def _copies(parts: list[Tensors], hardening: Hardening, rng: np.random.Generator) -> list[Tensors]:
    """Copies of some parts, with noise if asked for."""
    if hardening.duplicate > len(parts):
        raise UsageError(
            f"{hardening.duplicate} pieces are to be doubled, but there are {len(parts)}; ask for "
            "fewer"
        )
    chosen = rng.choice(len(parts), hardening.duplicate, replace=False).tolist()
    if not hardening.duplicate_noise:
        return [parts[k] for k in chosen]

    def noisy(values: Floats) -> Floats:
        noise = hardening.duplicate_noise * values.std() * rng.standard_normal(values.shape)
        copied: Floats = (values + noise).astype(values.dtype)
        return copied

    return [{name: noisy(values) for name, values in parts[k].items()} for k in chosen]


def _recorded(inputs: Floats, hardening: Hardening, rng: np.random.Generator) -> Floats:
    """Inputs as the record has them."""
    recorded: Floats = inputs
    if hardening.standardise:
        spread = inputs.std(axis=0)
        recorded = (inputs - inputs.mean(axis=0)) / np.where(spread > 0, spread, 1)
    if hardening.shuffle_columns:
        recorded = recorded[:, rng.permutation(inputs.shape[1])]
    return recorded
