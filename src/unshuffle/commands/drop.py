"""`drop`: a network is broken into shuffled pieces and a record."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import unshuffle
from unshuffle import files
from unshuffle.commands.arguments import FORCE, add_arguments, command
from unshuffle.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from unshuffle import MlpNetwork, Records
    from unshuffle.blocks.ends import Linear

HARDENING = """
--weights {float16,bfloat16,int8,int8-scales}
    round weights and biases. float16 and bfloat16 are stored as such. int8 rounds each tensor to
    255 levels, stored as plain numbers. int8-scales rounds each row, stored as int8 with scales
--noise SIGMA, default 0
    add independent normal noise to every prediction, in the prediction's unit
--decimals N, from 0
    round predictions to so many decimals, after the noise
--lose N, from 0, default 0
    take away so many pieces at random; the sealed answer has ? in their places
--lose-blocks N, from 0, default 0
    take away so many whole blocks at random, before --lose takes single pieces
--duplicate N, from 0, default 0
    put so many of the pieces into the pile twice
--duplicate-noise PART, default 0
    add normal noise to the copies, of this part of each tensor's spread
--prune PERCENT, default 0
    set so many percent of each weight matrix, the smallest, to 0
--clip SDS
    limit predictions to so many standard deviations from their mean
--shuffle-columns
    write the record's input columns in another sequence than the network reads them
--standardise
    shift and scale each input column of the record to mean 0 and variance 1
--decoys MODEL
    mix in layers, drawn at random, of another network of the same dimensions
--decoy-pieces N, default 2
    how many layers of it
--second MODEL
    mix in a whole second network of the same dimensions; its record is record_2.csv, and its answer
    is kept too
--detach-biases
    make every weight and every bias a piece of its own
--permute-hidden
    shuffle the hidden units inside each block, in both layers alike; the function stays the same
--scramble-hidden
    shuffle the hidden units in each out layer alone; see solve --permuted-units
"""

ARGUMENTS = (
    """
    model MODEL
        the folder of an oracle, or a state dict: .pth, .pt, .safetensors or .npz
    # what is kept
    --out DIR, required
        write pieces/, record.csv, manifest.json (what was done) and answer.sha256. Keep sealed/
        apart: it has the answer, the seed and the activation
    --format {pth,safetensors}, default pth
        of the pieces; pth is the published puzzle's and needs PyTorch
    --hash-only
        keep only the answer's hash, and no sealed/
    # what is dropped
    --records N, required
        rows in the record, drawn at random; few rows settle less
    --seed S, required
        of everything random; whoever knows it knows the answer
    --inputs FILE
        a table whose inputs (and targets) the record takes (default: the data of an oracle; normal
        numbers for a state dict)
    --activation ACTIVATION
        of a state dict's hidden layers (default: relu); an oracle knows its own
    """,
    FORCE,
)


def harder(parser: argparse.ArgumentParser) -> None:
    """Declare what makes the drop harder, under a title of its own."""
    group = parser.add_argument_group(
        "to make it harder",
        "Predictions are always those of the network as it was, computed before its\n"
        "weights are rounded, lost or mixed with others.",
    )
    add_arguments(group, HARDENING)


@command(
    *ARGUMENTS,
    harder,
    examples=(
        "drop oracle --records 500 --seed 3 --out dropped",
        "drop network.npz --records 500 --seed 3 --noise 0.01 --out dropped",
    ),
)
def drop(args: argparse.Namespace) -> int:
    """Drop the network and write what is left of it."""
    from dataclasses import fields

    import numpy as np

    from unshuffle.oracle import dropping
    from unshuffle.oracle.dropped_files import write_dropped

    wanted = {one.name: getattr(args, one.name) for one in fields(dropping.Hardening)}
    hardening = dropping.Hardening(**wanted | {"prune": args.prune / 100})
    drop_rng, input_rng, decoy_rng = np.random.default_rng(args.seed).spawn(3)
    network, data = _model(args, args.model, input_rng)
    secrets = {"seed": args.seed, "activation": network.blocks.activation.name}
    decoys: list[Linear] = []
    second = None
    if args.decoys:
        other, _ = _read(args.decoys, None)
        decoys = dropping.draw_decoys(other, network, args.decoy_pieces, decoy_rng)
    if args.second is not None:
        second = _model(args, args.second, input_rng)
        secrets["activation_2"] = second[0].blocks.activation.name
    dropped = dropping.drop(
        network,
        data,
        rng=drop_rng,
        rows=args.records,
        hardening=hardening,
        decoys=decoys,
        second=second,
    )
    sealed = None if args.hash_only else secrets
    write_dropped(
        args.out, dropped, hardening, file_format=args.format, secrets=sealed, force=args.force
    )
    kept = "only as its hash, answer.sha256" if args.hash_only else f"in {args.out / 'sealed'}"
    pieces, rows = len(dropped.pieces), len(dropped.records)
    print(f"{args.out}: {pieces} pieces, {rows} rows; the answer is kept {kept}")
    return 0


def _model(
    args: argparse.Namespace, model: str, rng: "np.random.Generator"
) -> "tuple[MlpNetwork, Records]":
    """The network, and the rows that its record can be drawn from."""
    import numpy as np

    network, data = _read(model, args.activation)
    width = network.blocks.width
    if args.inputs is not None:
        data = unshuffle.read_records(args.inputs)
        if data.width != width:
            raise UsageError(
                f"{args.inputs}: has {data.width} input columns, but the network of {model} "
                f"has {width} inputs; give a table that fits"
            )
    elif data is None:
        inputs = rng.standard_normal((args.records, width)).astype(network.last.weight.dtype)
        data = unshuffle.Records(inputs, np.empty((args.records, 0)))
    return network, data


def _read(model: str, activation: str | None) -> "tuple[MlpNetwork, Records | None]":
    """A network with the data that it learned from, where that is known."""
    from unshuffle.blocks.activations import find_activation
    from unshuffle.oracle.storage import read_oracle

    if not Path(model).is_dir():
        return files.read_network(model, find_activation(activation or "relu")), None
    if activation is not None:
        raise UsageError(
            f"{model}: is an oracle and knows its activation; leave --activation out, or name its "
            "network.safetensors"
        )
    return read_oracle(Path(model))
