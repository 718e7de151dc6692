"""`drop`: a network is broken into shuffled pieces and a record."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import unshuffle
from unshuffle import files
from unshuffle.commands.arguments import FORCE, MODEL, add_arguments, command
from unshuffle.errors import UnshuffleError, UsageError, first_line, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

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
    network NETWORK, optional
        the folder of an oracle, or a state dict: .pth, .pt, .safetensors or .npz; with --model, the
        module's state dict, if the module lacks its weights
    """,
    MODEL,
    """
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
        rows in the record, drawn at random; few rows decide less
    --seed S, required
        of everything random; whoever knows it knows the answer
    --inputs FILE
        a table whose inputs (and targets) the record takes (default: the data of an oracle; normal
        numbers for a state dict). With --model it is required, and may be .npz or .safetensors
        with arrays called as forward's parameters
    --level {blocks,layers,unnamed-layers,tensors}, default layers
        with --model, what a piece is: a whole block; a layer, with the names that tensors have in
        the block, or only those in the layer; or a single tensor
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
        "drop --model a.py:f --inputs x.npz --records 9 --seed 3 --out drop",
    ),
)
def drop(args: argparse.Namespace) -> int:
    """Drop the network and write what is left of it."""
    if args.model is not None:
        return _drop_module(args)
    if args.network is None:
        raise UsageError(
            "no network is named; give an oracle, a state dict, or --model FILE.py:FUNCTION"
        )
    return _drop_network(args)


def _drop_network(args: argparse.Namespace) -> int:
    """Drop a network of the puzzle's blocks, and write what is left of it."""
    from dataclasses import fields

    import numpy as np

    from unshuffle.oracle import dropping
    from unshuffle.oracle.dropped_files import write_dropped

    wanted = {one.name: getattr(args, one.name) for one in fields(dropping.Hardening)}
    hardening = dropping.Hardening(**wanted | {"prune": args.prune / 100})
    drop_rng, input_rng, decoy_rng = np.random.default_rng(args.seed).spawn(3)
    network, data = _model(args, args.network, input_rng)
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
    pieces, rows = len(dropped.pieces), len(dropped.records)
    print(f"{args.out}: {pieces} pieces, {rows} rows; the answer is kept {_where_kept(args)}")
    return 0


def _where_kept(args: argparse.Namespace) -> str:
    return "only as its hash, answer.sha256" if args.hash_only else f"in {args.out / 'sealed'}"


def _drop_module(args: argparse.Namespace) -> int:
    """Drop a module at a level, and write what is left of it."""
    import numpy as np

    from unshuffle.oracle.dropped_files import write_dropped_module
    from unshuffle.oracle.dropping import Hardening, blurred
    from unshuffle.oracle.module_dropping import drop_module

    _refuse_for_modules(args)
    hardening = Hardening(noise=args.noise, decimals=args.decimals, clip=args.clip)
    piece_rng, row_rng, noise_rng = np.random.default_rng(args.seed).spawn(3)
    module = _loaded(args)
    inputs = _inputs(args, module, row_rng)
    try:
        dropped = drop_module(module, inputs, level=args.level, rng=piece_rng)
    except UnshuffleError:
        raise
    except Exception as error:  # a forward is the user's code and may raise anything
        raise UsageError(
            f"{shown(args.model)}: forward fails on the inputs of {shown(args.inputs)} "
            f"({shown(first_line(error))}); give arrays that it reads"
        ) from error
    predictions = blurred(dropped.records.predictions, hardening, noise_rng)
    done = {"level": args.level, "weights": args.weights, "noise": args.noise}
    done |= {"decimals": args.decimals, "clip": args.clip}
    write_dropped_module(
        args.out,
        dropped,
        replace(dropped.records, predictions=predictions),
        _rest(module),
        done,
        file_format=args.format,
        stored_as=args.weights,
        secrets=None if args.hash_only else {"seed": args.seed},
        force=args.force,
    )
    print(
        f"{args.out}: {len(dropped.pieces)} pieces, {len(dropped.records)} rows, and "
        f"rest.safetensors with what is no piece; the answer is kept {_where_kept(args)}"
    )
    return 0


def _refuse_for_modules(args: argparse.Namespace) -> None:
    """Raise `UsageError` for what only says something of the puzzle's blocks, or is lacking."""
    of_puzzle = {
        "lose": 0,
        "lose_blocks": 0,
        "duplicate": 0,
        "duplicate_noise": 0.0,
        "prune": 0.0,
        "shuffle_columns": False,
        "standardise": False,
        "decoys": None,
        "second": None,
        "detach_biases": False,
        "permute_hidden": False,
        "scramble_hidden": False,
        "activation": None,
    }
    from unshuffle.files.tensors import ITEM_BYTES

    given = [name for name, default in of_puzzle.items() if getattr(args, name) != default]
    if given or args.weights not in (None, *ITEM_BYTES):
        name = given[0] if given else f"weights {args.weights}"
        raise UsageError(
            f"--{name.replace('_', '-')} serves networks of blocks x + out(a(inp(x))) only; leave "
            "it out with --model"
        )
    if args.inputs is None:
        raise UsageError(
            "--model needs --inputs: a file of arrays that are called as forward's parameters"
        )


def _loaded(args: argparse.Namespace) -> "nn.Module":
    """The module, with the weights of a state dict where one is named."""
    import torch

    from unshuffle.blocks.capture import real_tensors
    from unshuffle.files.loose_pieces import read_tensors
    from unshuffle.files.module_file import read_module

    module = read_module(args.model)
    if args.network is None:
        return module
    own = {*real_tensors(module)}
    tensors = read_tensors(Path(args.network))
    if wrong := sorted(own ^ {*tensors}):
        has = "module" if wrong[0] in own else "file"
        raise UsageError(
            f"{shown(args.network)}: is no state dict of {shown(args.model)}: only the "
            f"{has} has {shown(wrong[0])}; give the one that the module saved"
        )
    try:
        module.load_state_dict({n: torch.tensor(v) for n, v in tensors.items()}, strict=False)
    except RuntimeError as error:  # of shapes, on several lines
        said = str(error).strip().splitlines()[-1].strip()
        raise UsageError(
            f"{shown(args.network)}: is no state dict of {shown(args.model)} "
            f"({shown(said)}); give the one that the module saved"
        ) from error
    return module


def _inputs(
    args: argparse.Namespace, module: "nn.Module", rng: "np.random.Generator"
) -> "dict[str, NDArray[Any]]":
    """Rows of inputs, drawn at random, by the parameters of a module's forward."""
    import numpy as np

    from unshuffle.blocks.module_blueprint import parameters
    from unshuffle.oracle.module_dropping import as_array

    given = files.read_records(args.inputs, named=True)
    if len(given) < args.records:
        raise UsageError(
            f"{shown(args.inputs)}: {args.records} records are asked for, but there are "
            f"{len(given)} rows of inputs; ask for fewer, or give a file with more"
        )
    drawn = given.take(rng.choice(len(given), args.records, replace=False).astype(np.intp))
    first = next(iter(parameters(module)), "inputs")
    arrays = drawn.arrays(drawn.inputs) or {first: drawn.inputs}
    dtype = as_array(next(iter(module.parameters()))).dtype
    return {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in arrays.items()}


def _rest(module: "nn.Module") -> "dict[str, NDArray[Any]]":
    """The tensors of a module that are in none of its blocks, by name."""
    from unshuffle.blocks.kept import outside

    tensors = module.state_dict()
    beside = outside(tensors, unshuffle.blueprint(module).layouts)
    return {name: tensors[name].detach().numpy() for name in beside}


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
