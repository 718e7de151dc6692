"""`unshuffle drop MODEL --records N --out DIR --seed S`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from unshuffle.commands.arguments import add_force, number

if TYPE_CHECKING:
    import numpy as np

    from unshuffle.blocks.ends import Linear
    from unshuffle.blocks.mlp import MlpNetwork
    from unshuffle.pieces.records import Records


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="the folder of an oracle, or the .pth, .pt, .safetensors or .npz file of a residual "
        "network's state dict",
    )
    parser.add_argument(
        "--records",
        type=number(int, 1),
        required=True,
        metavar="N",
        help="rows in the record, drawn at random; few rows settle less",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="write pieces/, record.csv, manifest.json (what was done), answer.sha256 and, to be "
        "kept apart, sealed/ (the answer, and the seed and activation that would betray it)",
    )
    parser.add_argument(
        "--seed",
        type=number(int, 0),
        required=True,
        metavar="S",
        help="of everything random; whoever knows it knows the answer",
    )
    parser.add_argument(
        "--inputs",
        metavar="FILE",
        help="a table whose inputs (and targets) the record takes; by default the data that an "
        "oracle learned from, and standard normal numbers for a state dict",
    )
    parser.add_argument(
        "--activation",
        metavar="NAME",
        help="of a state dict's hidden layers (default: relu); an oracle knows its own",
    )
    parser.add_argument(
        "--format",
        choices=("pth", "safetensors"),
        default="pth",
        help="of the pieces; pth is the published puzzle's and needs PyTorch (default: pth)",
    )
    parser.add_argument(
        "--hash-only", action="store_true", help="keep only the answer's hash, and no sealed/"
    )
    add_force(parser)
    _add_hardening(parser)


def _add_hardening(parser: argparse.ArgumentParser) -> None:
    harder = parser.add_argument_group(
        "to make it harder",
        "Predictions are always those of the network as it was, computed before its weights are "
        "rounded, lost or mixed with others.",
    )
    harder.add_argument(
        "--weights",
        choices=("float16", "bfloat16", "int8", "int8-scales"),
        help="round weights and biases: to half precision, stored as such; or each tensor to 255 "
        "levels, the outermost at its largest magnitude, stored as plain numbers; or each row so, "
        "stored as int8 with scales; the record is then reproduced only about",
    )
    harder.add_argument(
        "--noise",
        type=number(float, 0),
        default=0.0,
        metavar="SIGMA",
        help="add independent normal noise to every prediction, in the prediction's unit",
    )
    harder.add_argument(
        "--decimals",
        type=number(int, 0),
        metavar="N",
        help="round predictions to so many decimals, after the noise",
    )
    harder.add_argument(
        "--lose",
        type=number(int, 0),
        default=0,
        metavar="N",
        help="take away so many pieces at random; the sealed answer has ? in their places, and no "
        "arrangement of the rest alone reproduces the record",
    )
    harder.add_argument(
        "--lose-blocks",
        type=number(int, 0),
        default=0,
        metavar="N",
        help="take away so many whole blocks at random, before --lose takes single pieces",
    )
    harder.add_argument(
        "--duplicate",
        type=number(int, 0),
        default=0,
        metavar="N",
        help="put so many of the pieces into the pile twice",
    )
    harder.add_argument(
        "--duplicate-noise",
        type=number(float, 0),
        default=0.0,
        metavar="PART",
        help="add normal noise to the copies, of this part of each tensor's spread",
    )
    harder.add_argument(
        "--prune",
        type=number(float, 0, maximum=100),
        default=0.0,
        metavar="PERCENT",
        help="set so many percent of each weight matrix, the smallest, to 0",
    )
    harder.add_argument(
        "--clip",
        type=number(float, 0, exclusive=True),
        metavar="SDS",
        help="limit predictions to so many standard deviations from their mean",
    )
    harder.add_argument(
        "--shuffle-columns",
        action="store_true",
        help="write the record's input columns in another sequence than the network reads them",
    )
    harder.add_argument(
        "--standardise",
        action="store_true",
        help="shift and scale each input column of the record to mean 0 and variance 1",
    )
    harder.add_argument(
        "--decoys",
        metavar="MODEL",
        help="mix in layers, drawn at random, of another network of the same dimensions",
    )
    harder.add_argument(
        "--decoy-pieces",
        type=number(int, 1),
        default=2,
        metavar="N",
        help="how many layers of it (default: 2)",
    )
    harder.add_argument(
        "--second",
        metavar="MODEL",
        help="mix in a whole second network of the same dimensions, of whatever depth; its record "
        "is record_2.csv, and its answer is kept as that of the first is",
    )
    harder.add_argument(
        "--detach-biases",
        action="store_true",
        help="make every weight and every bias a piece of its own, so that biases have to be "
        "matched too",
    )
    harder.add_argument(
        "--permute-hidden",
        action="store_true",
        help="shuffle the hidden units inside each block; neither the function nor any signal that "
        "compares a block's two layers changes",
    )
    harder.add_argument(
        "--scramble-hidden",
        action="store_true",
        help="shuffle the columns of each out layer, so that it lists the hidden units in another "
        "sequence than its inp layer; see solve --permuted-units",
    )


def run(args: argparse.Namespace) -> int:
    """Drop the network and write what is left of it."""
    import numpy as np

    from unshuffle.oracle.dropped_files import write_dropped
    from unshuffle.oracle.dropping import Hardening, drop

    hardening = Hardening(
        weights=args.weights,
        noise=args.noise,
        decimals=args.decimals,
        lose=args.lose,
        lose_blocks=args.lose_blocks,
        duplicate=args.duplicate,
        duplicate_noise=args.duplicate_noise,
        prune=args.prune / 100,
        clip=args.clip,
        shuffle_columns=args.shuffle_columns,
        standardise=args.standardise,
        detach_biases=args.detach_biases,
        permute_hidden=args.permute_hidden,
        scramble_hidden=args.scramble_hidden,
    )
    folder = Path(args.out)
    drop_rng, input_rng, decoy_rng = np.random.default_rng(args.seed).spawn(3)
    network, data = _model(args, args.model, input_rng)
    decoys = _decoys(args, network, decoy_rng) if args.decoys else []
    secrets = {"seed": args.seed, "activation": network.blocks.activation.name}
    second = None
    if args.second is not None:
        second = _model(args, args.second, input_rng)
        secrets["activation_2"] = second[0].blocks.activation.name
    dropped = drop(
        network,
        data,
        rng=drop_rng,
        rows=args.records,
        hardening=hardening,
        decoys=decoys,
        second=second,
    )
    write_dropped(
        folder,
        dropped,
        hardening,
        file_format=args.format,
        secrets=None if args.hash_only else secrets,
        force=args.force,
    )
    kept = "only as its hash, answer.sha256" if args.hash_only else f"in {folder / 'sealed'}"
    print(
        f"{folder}: {len(dropped.pieces)} pieces, {len(dropped.records)} rows; the answer is kept "
        f"{kept}"
    )
    return 0


def _model(
    args: argparse.Namespace, model: str, rng: "np.random.Generator"
) -> "tuple[MlpNetwork, Records]":
    """The network, and the rows that its record can be drawn from."""
    import numpy as np

    from unshuffle.errors import UsageError
    from unshuffle.files import read_records
    from unshuffle.pieces.records import Records

    network, data = _read(model, args.activation)
    width = network.blocks.width
    if args.inputs is not None:
        data = read_records(args.inputs)
        if data.width != width:
            raise UsageError(
                f"{args.inputs}: has {data.width} input columns, but the network of {model} "
                f"has {width} inputs; give a table that fits"
            )
    elif data is None:
        inputs = rng.standard_normal((args.records, width)).astype(network.last.weight.dtype)
        data = Records(inputs, np.empty((args.records, 0)))
    return network, data


def _read(model: str, activation: str | None) -> "tuple[MlpNetwork, Records | None]":
    """A network with the data that it learned from, where that is known."""
    from unshuffle.blocks.activations import find_activation
    from unshuffle.errors import UsageError
    from unshuffle.files import read_network
    from unshuffle.oracle.storage import read_oracle

    if not Path(model).is_dir():
        return read_network(model, find_activation(activation or "relu")), None
    if activation is not None:
        raise UsageError(
            f"{model}: is an oracle and knows its activation; leave --activation out, or name its "
            "network.safetensors"
        )
    return read_oracle(Path(model))


def _decoys(
    args: argparse.Namespace, network: "MlpNetwork", rng: "np.random.Generator"
) -> "list[Linear]":
    """Layers of another network."""
    from unshuffle.oracle.dropping import draw_decoys

    other, _ = _read(args.decoys, None)
    return draw_decoys(other, network, args.decoy_pieces, rng)
