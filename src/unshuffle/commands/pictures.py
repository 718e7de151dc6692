"""`report`, `plot` and `animate`: what can be seen of a solution that was kept."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import unshuffle
from unshuffle import files
from unshuffle.commands.arguments import FORCE, KEPT, OPTIONAL_RECORD, QUIET, command, records_of
from unshuffle.errors import UnshuffleError, UsageError, shown

if TYPE_CHECKING:
    from unshuffle.pieces.records import Records

ALL = "all"


@command(
    KEPT,
    OPTIONAL_RECORD,
    "# what is kept\n--out FILE\n  where the page goes (default: report.html in RUN)",
    FORCE,
    examples=("report solved", "report solved record.csv --out page.html --force"),
)
def report(args: argparse.Namespace) -> int:
    """Write the page."""
    from unshuffle.views.report import report_page

    path = Path(args.out or Path(args.folder) / "report.html")
    files.check_folder(path.parent)
    files.check_free(path, force=args.force)
    solution = unshuffle.read_solution(args.folder)
    records = _record(args, solution)
    files.write_text(path, report_page(solution, records), force=args.force)
    print(f"{shown(path)}: {solution.outcome}, {len(solution.blocks)} blocks")
    return 0


@command(
    """
    figure FIGURE
        inputs, features, outputs, products, contrast, scores, rivals, traces, ranks, margins,
        path, chain, spectrum, norms, search, certificate, or all
    """,
    KEPT,
    OPTIONAL_RECORD,
    """
    # what is kept
    --out PATH
        a file, whose ending .png, .svg or .pdf decides the format; for all, a folder (default:
        FIGURE.png, for all figures, in RUN)
    --format NAME
        for all: png, svg or pdf (default: png)
    """,
    FORCE,
    examples=("plot scores solved", "plot all solved record.csv --out figures --format svg"),
)
def plot(args: argparse.Namespace) -> int:
    """Draw one figure into a file, or into a folder all that can be drawn."""
    from unshuffle.views.figures import find_figure, picture

    places = _places(args)
    solution = unshuffle.read_solution(args.folder)
    records = _record(args, solution)
    for name, file in places.items():
        figure = find_figure(name)
        try:
            ax = figure.draw(solution, records)
        except UnshuffleError as error:
            if args.figure != ALL:
                raise
            print(f"{name}: left out: {error}", file=sys.stderr)
            continue
        files.write_bytes(file, picture(ax, _kind(file)), force=args.force)
        print(f"{shown(file)}: {figure.shows}")
    return 0


def _record(args: argparse.Namespace, solution: unshuffle.Solution) -> "Records | None":
    """The record of a solution, if it was named."""
    if not args.records:
        return None
    return records_of(args, args.records, named=solution.pairing is None)


def _places(args: argparse.Namespace) -> dict[str, Path]:
    """Where each figure goes; refuses before the work, not after it, what could not be kept."""
    from unshuffle.views.figures import FIGURES, FORMATS, find_figure, need_matplotlib

    need_matplotlib()
    name = "figures" if args.figure == ALL else f"{args.figure}.{FORMATS[0]}"
    out = Path(args.out or Path(args.folder) / name)
    endings = ", ".join(f".{kind}" for kind in FORMATS)
    if args.figure != ALL:
        if args.format is not None:
            raise UsageError("--format is for all figures; one figure's format is that of its name")
        if _kind(out) not in FORMATS:
            raise UsageError(f"{shown(out)}: a figure's file ends in {endings}")
        places = {find_figure(args.figure).name: out}
    else:
        kind = args.format or FORMATS[0]
        if kind not in FORMATS:
            known = ", ".join(FORMATS)
            raise UsageError(f"there is no format {shown(kind)}; there are: {known}")
        places = {name: out / f"{name}.{kind}" for name in FIGURES}
    files.check_folder(next(iter(places.values())).parent)
    for file in places.values():
        files.check_free(file, force=args.force)
    return places


@command(
    KEPT,
    """
    # what is kept
    --out FILE
        where to write the film: .gif, or .mp4, for which ffmpeg must be installed (default:
        search.gif in RUN)
    """,
    FORCE,
    QUIET,
    examples=("animate solved", "animate solved --out film.mp4"),
)
def animate(args: argparse.Namespace) -> int:
    """Render the search of a solution that was kept."""
    from unshuffle.views.animation import Film, encode, encoder
    from unshuffle.views.progress import show_work

    file = Path(args.out or Path(args.folder) / "search.gif")
    kind = _kind(file)
    encoder(kind)  # refuse before the work, not after it
    files.check_folder(file.parent)
    files.check_free(file, force=args.force)
    trace = unshuffle.read_solution(args.folder).trace
    film = Film(trace)
    with show_work(quiet=args.quiet, unit="frame", total=len(film.moments)) as on_frame:
        content = encode(film, kind, lambda done: on_frame(done, trace.steps[-1].phase))
    files.write_bytes(file, content, force=args.force)
    print(f"{shown(file)}: {len(film.moments)} frames, {trace.tested} candidates")
    return 0


def _kind(file: Path) -> str:
    """The ending of a file's name, in small letters and without its dot."""
    return file.suffix.lower().lstrip(".")
