"""`unshuffle animate RUN --out FILE`."""

import argparse
from pathlib import Path

from unshuffle.commands.arguments import add_force


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("folder", metavar="RUN", help="a folder that solve --out kept")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="where to write the film: .gif, or .mp4, for which ffmpeg must be installed",
    )
    add_force(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Render the search of a solution that was kept."""
    from unshuffle.files import check_free, shown, write_bytes
    from unshuffle.solution.storage import read_solution
    from unshuffle.views.animation import Film, encode, encoder
    from unshuffle.views.progress import show_work

    file = Path(args.out)
    kind = file.suffix.lower().lstrip(".")
    encoder(kind)  # refuse before the work, not after it
    check_free(file, force=args.force)
    trace = read_solution(args.folder).trace
    film = Film(trace)
    with show_work(quiet=args.quiet, unit="frame", total=len(film.moments)) as report:
        content = encode(film, kind, lambda done: report(done, trace.steps[-1].phase))
    write_bytes(file, content, force=args.force)
    print(f"{shown(file)}: {len(film.moments)} frames, {trace.tested} candidates")
    return 0
