"""`unshuffle plot FIGURE|all RUN [RECORDS] --out FILE|DIR`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unshuffle.commands.arguments import add_force, add_records, records_of

if TYPE_CHECKING:
    from unshuffle.pieces.records import Records
    from unshuffle.solution.solution import Solution

ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "figure",
        metavar="FIGURE",
        help="inputs, outputs, products, scores, rivals, traces, margins, spectrum, norms, search, "
        "certificate, or all",
    )
    parser.add_argument("folder", metavar="RUN", help="a folder that solve --out kept")
    add_records(parser, nargs="?")
    parser.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="a file, whose ending .png, .svg or .pdf decides the format; for all, a folder",
    )
    parser.add_argument(
        "--format", metavar="NAME", help="for all: png, svg or pdf (default: png)", default=None
    )
    add_force(parser)


def run(args: argparse.Namespace) -> int:
    """Draw one figure into a file, or all into a folder."""
    from unshuffle.solution.storage import read_solution

    files = _files(args)
    solution = read_solution(args.folder)
    records = records_of(args) if args.records else None
    for name, file in files.items():
        _draw(name, solution, records, file, args)
    return 0


def _files(args: argparse.Namespace) -> dict[str, Path]:
    """Where each figure goes; refuses before the work, not after it, what could not be kept."""
    from unshuffle.errors import UsageError
    from unshuffle.files import check_folder, check_free, shown
    from unshuffle.views.figures import FIGURES, FORMATS, find_figure, need_matplotlib

    need_matplotlib()
    out = Path(args.out)
    if args.figure != ALL:
        if args.format is not None:
            raise UsageError("--format is for all figures; one figure's format is that of its name")
        if out.suffix.lower().lstrip(".") not in FORMATS:
            raise UsageError(
                f"{shown(out)}: a figure's file ends in {', '.join(f'.{kind}' for kind in FORMATS)}"
            )
        files = {find_figure(args.figure).name: out}
    else:
        kind = args.format or FORMATS[0]
        if kind not in FORMATS:
            raise UsageError(f"there is no format {shown(kind)}; there are: {', '.join(FORMATS)}")
        check_folder(out)
        files = {name: out / f"{name}.{kind}" for name in FIGURES}
    for file in files.values():
        check_free(file, force=args.force)
    return files


def _draw(
    name: str,
    solution: "Solution",
    records: "Records | None",
    file: Path,
    args: argparse.Namespace,
) -> None:
    """Draw a figure; among all of them one that cannot be drawn is left out, and why is said."""
    from unshuffle.errors import UnshuffleError
    from unshuffle.files import make_folder, shown, write_bytes
    from unshuffle.views.figures import find_figure, picture

    kind = find_figure(name)
    try:
        ax = kind.draw(solution, records)
    except UnshuffleError as error:
        if args.figure != ALL:
            raise
        print(f"{name}: left out: {error}", file=sys.stderr)
        return
    if args.figure == ALL:
        make_folder(file.parent)
    write_bytes(file, picture(ax, file.suffix.lower().lstrip(".")), force=args.force)
    print(f"{shown(file)}: {kind.shows}")
