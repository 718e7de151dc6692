"""`unshuffle assemble PIECES ANSWER --to FILE`."""

import argparse

from unshuffle.commands.arguments import add_force, add_pieces, answer_of, pile_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_pieces(parser)
    parser.add_argument("answer", metavar="ANSWER", help="a file, or ids separated by commas")
    parser.add_argument(
        "--to", required=True, metavar="FILE", help="a .safetensors, .npz, .pt or .pth file"
    )
    add_force(parser)


def run(args: argparse.Namespace) -> int:
    """Write the network with the names `blocks.0.inp.weight` … `last.bias`."""
    from unshuffle.blocks.assembly import build_network
    from unshuffle.files import shown, write_network
    from unshuffle.pieces.anatomy import read_anatomy
    from unshuffle.pieces.answer import check_answer, join_answer

    pile = pile_of(args)
    pile, answer = join_answer(pile, answer_of(args, pile))
    check_answer(pile, read_anatomy(pile), answer)
    network = build_network(pile, answer)
    write_network(args.to, network.tensors(), force=args.force)
    print(f"{shown(args.to)}: {network!r}")
    return 0
