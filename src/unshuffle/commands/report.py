"""`unshuffle report RUN [--out FILE]`."""

import argparse
from pathlib import Path

from unshuffle.commands.arguments import add_force


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("folder", metavar="RUN", help="a folder that solve --out kept")
    parser.add_argument(
        "--out", metavar="FILE", help="where the page goes (default: report.html in that folder)"
    )
    add_force(parser)


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from unshuffle.files import check_free, shown, write_text
    from unshuffle.solution.storage import read_solution
    from unshuffle.views.report import report_page

    path = Path(args.folder) / "report.html" if args.out is None else Path(args.out)
    check_free(path, force=args.force)
    solution = read_solution(args.folder)
    write_text(path, report_page(solution), force=args.force)
    print(f"{shown(path)}: {solution.outcome}, {len(solution.blocks)} blocks")
    return 0
