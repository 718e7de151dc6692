"""Dropping a network: from layers in their order to numbered pieces, a record, and the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

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

ROUNDINGS = ("float16", "bfloat16", "int8", INT8_SCALES)
"""What weights can be rounded to."""

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
        the outermost, and stores the levels as they are, not their numbers. "int8-scales" does so
        with each bias and each row of a weight, and stores the numbers of levels, and scales.
    noise
        Standard deviation of independent normal noise on every prediction, in its unit.
    decimals
        Places to which predictions are then rounded.
    lose
        How many pieces are taken away, drawn at random.
    lose_blocks
        How many whole blocks are taken away, inp and out.
    duplicate
        How many of the pieces that are left lie in the pile twice.
    duplicate_noise
        Standard deviation of normal noise on the copies, relative to the spread of each tensor.
    prune
        Part of the numbers of each weight, those of least magnitude, that are set to 0.
    clip
        Predictions are limited to so many standard deviations from their mean.
    shuffle_columns
        Whether the record's input columns stand in another sequence than the network reads them.
    standardise
        Whether the record's inputs are shifted and scaled to mean 0 and variance 1, column by
        column, after the network has read them.
    detach_biases
        Whether every weight and every bias becomes a piece of its own.
    permute_hidden
        Whether the hidden units of each block are shuffled, in inp and out alike. That changes
        neither the function nor how well any two layers fit; it only takes away the sequence in
        which training left them.
    scramble_hidden
        Whether the columns of each out layer are shuffled against the rows of its inp layer, so
        that the two no longer list the hidden units in one sequence.
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
    """An answer as it is sealed and hashed: numbers joined by commas, `?` for a lost piece."""
    return ",".join(LOST if number is None else str(number) for number in answer)


@dataclass(frozen=True, eq=False)
class Second:
    """The second network of a pile.

    Parameters
    ----------
    records, answer
        As those of the first one in `Dropped`.
    """

    records: Records
    answer: tuple[int | None, ...]


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
    copies
        Numbers of the pieces that copy another one.
    second
        Another whole network in the pile, all of whose pieces are decoys for this one.
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
        numbered = [*enumerate(self.pieces)]
        return Pile(
            [
                Piece.linear(
                    number,
                    tensors["weight"],
                    tensors.get("bias"),
                    self.stored_as,
                )
                for number, tensors in numbered
                if "weight" in tensors
            ],
            [
                Bias(number, tensors["bias"], self.stored_as)
                for number, tensors in numbered
                if "weight" not in tensors
            ],
        )


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
    second
        A whole network of the same dimensions that is mixed in, and its data. It is hardened as the
        first one is, but loses nothing and has no copies.

    Raises
    ------
    UsageError
        If there are fewer rows or pieces than asked for, a weight exceeds the number format, or the
        second network has other dimensions.
    """
    row_rng, number_rng, noise_rng, hidden_rng, lost_rng, copy_rng, column_rng = rng.spawn(7)
    records = _record(network, _drawn(data, rows, row_rng), hardening, noise_rng, column_rng)
    own = _pieces(network, hardening, hidden_rng)
    others = [part for layer in decoys for part in _parts(layer, hardening)]
    first_of_second = len(others)
    second_records = None
    if second is not None:
        _check_dimensions(second[0], network)
        drawn = _drawn(second[1], rows, row_rng)
        second_records = _record(second[0], drawn, hardening, noise_rng, column_rng)
        others += _pieces(second[0], hardening, hidden_rng)
    lost = _lost(len(own), hardening, lost_rng)

    present = [position for position in range(len(own)) if position not in lost]
    copies = _copies([own[i] for i in present], hardening, copy_rng)
    numbers = number_rng.permutation(len(present) + len(others) + len(copies)).tolist()
    number_of = dict(zip(present, numbers, strict=False))
    pieces: list[Tensors] = [{}] * len(numbers)
    for number, part in zip(numbers, [own[i] for i in present] + others + copies, strict=True):
        pieces[number] = part
    strangers = numbers[len(present) : len(present) + len(others)]
    second_answer = tuple(strangers[first_of_second:])
    return Dropped(
        pieces=tuple(pieces),
        stored_as=_stored_as(hardening, network.last.weight.dtype.name),
        records=records,
        answer=tuple(number_of.get(position) for position in range(len(own))),
        decoys=tuple(sorted(strangers)),
        copies=tuple(sorted(numbers[len(present) + len(others) :])),
        second=None if second_records is None else Second(second_records, second_answer),
    )


def _record(
    network: MlpNetwork,
    data: Records,
    hardening: Hardening,
    noise_rng: np.random.Generator,
    column_rng: np.random.Generator,
) -> Records:
    """What a network predicts, as the record has it."""
    predictions = _blurred(network.predict(data.inputs), hardening, noise_rng)
    return Records(_recorded(data.inputs, hardening, column_rng), predictions, data.targets)


def _pieces(network: MlpNetwork, hardening: Hardening, rng: np.random.Generator) -> list[Tensors]:
    """The parts of all layers, in the order in which they are applied."""
    if hardening.permute_hidden:
        network = permute_hidden_units(network, rng)
    if hardening.scramble_hidden:
        network = scramble_hidden_units(network, rng)
    return [part for layer in network.layers() for part in _parts(layer, hardening)]


def draw_decoys(
    other: MlpNetwork, network: MlpNetwork, count: int, rng: np.random.Generator
) -> list[Linear]:
    """Draw layers of another network that could be taken for layers of this one.

    Raises
    ------
    UsageError
        If the other network has other dimensions, or fewer layers.
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


def permute_hidden_units(network: MlpNetwork, rng: np.random.Generator) -> MlpNetwork:
    """Shuffle the hidden units of every block: rows of inp and columns of out alike."""
    layers = network.layers()
    for inp in range(0, len(layers) - 1, 2):
        order = rng.permutation(network.blocks.hidden)
        before, after = layers[inp], layers[inp + 1]
        layers[inp] = Linear(before.weight[order], before.bias[order])
        layers[inp + 1] = Linear(after.weight[:, order], after.bias)
    return MlpNetwork.from_layers(layers, network.blocks.activation)


def scramble_hidden_units(network: MlpNetwork, rng: np.random.Generator) -> MlpNetwork:
    """Shuffle the columns of every out layer, and leave its inp layer as it is.

    Two independent shuffles would differ from this one only by a consistent one of both layers.
    """
    layers = network.layers()
    for out in range(1, len(layers) - 1, 2):
        order = rng.permutation(network.blocks.hidden)
        layers[out] = Linear(layers[out].weight[:, order], layers[out].bias)
    return MlpNetwork.from_layers(layers, network.blocks.activation)


def round_weights(values: Floats, rounding: str) -> Floats:
    """Round an array to a number format, or to 255 levels of its own or of each row.

    Raises
    ------
    UsageError
        If a number is larger than the format's largest.
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


def manifest(dropped: Dropped, hardening: Hardening, file_format: str) -> dict[str, Any]:
    """What may be known beside the pieces: all that was done, and nothing that orders them."""
    return {
        "pieces": len(dropped.pieces),
        "format": file_format,
        "records": len(dropped.records),
        "outputs": dropped.records.outputs,
        "decoys": len(dropped.decoys),
        "copies": len(dropped.copies),
        "networks": 1 if dropped.second is None else 2,
        **asdict(hardening),
    }


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


def _blurred(predictions: Floats, hardening: Hardening, rng: np.random.Generator) -> Floats:
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


def _lost(parts: int, hardening: Hardening, rng: np.random.Generator) -> set[int]:
    """Positions of the parts that are lost: whole blocks first, then others one by one."""
    per_block = 4 if hardening.detach_biases else 2
    blocks = (parts - 1) // per_block
    if hardening.lose_blocks >= blocks:
        raise UsageError(
            f"{hardening.lose_blocks} blocks are to be lost, but there are {blocks}; leave at "
            "least one"
        )
    chosen = rng.choice(blocks, hardening.lose_blocks, replace=False).tolist()
    lost = {block * per_block + part for block in chosen for part in range(per_block)}
    rest = [position for position in range(parts) if position not in lost]
    if hardening.lose >= len(rest):
        raise UsageError(
            f"{hardening.lose} pieces are to be lost, but there are {len(rest)}; leave at least one"
        )
    return lost | {rest[k] for k in rng.choice(len(rest), hardening.lose, replace=False).tolist()}


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
