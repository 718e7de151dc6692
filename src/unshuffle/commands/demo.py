"""`demo`: the small example in the package is solved, and its files are kept."""

import argparse
from importlib import resources
from pathlib import Path

import unshuffle
from unshuffle import files
from unshuffle.commands.arguments import FORCE, QUIET, SOLVED, command
from unshuffle.errors import FileError, shown

NEXT = """
Open {0}/report.html in a browser, or try next:
  cd {0}
  unshuffle inspect pieces record.csv
  unshuffle pair pieces
  unshuffle solve pieces record.csv --strategy classic --out classic
  unshuffle verify pieces record.csv solved/answer.txt
"""


@command(
    "# what is kept\n--out DIR, default unshuffle-demo\n  the folder that is made",
    FORCE,
    QUIET,
    examples=("demo", "demo --out somewhere --force"),
    exits=SOLVED,
)
def demo(args: argparse.Namespace) -> int:
    """Lay the example out, solve it, keep the result, and say what to try next."""
    from unshuffle.pieces.clock import Clock
    from unshuffle.views.progress import show_progress
    from unshuffle.views.report import report_page
    from unshuffle.views.terminal import print_solution

    clock = Clock()
    folder: Path = args.out
    if not args.force and folder.is_dir() and any(folder.iterdir()):
        raise FileError(
            f"{shown(folder)}: is there already, and not empty; name another one with --out, "
            "or replace what is there with --force"
        )
    example = resources.files("unshuffle") / "example"
    pieces = [(folder / "pieces" / one.name, one) for one in (example / "pieces").iterdir()]
    beside = [(folder / name, example / name) for name in ("record.csv", "answer.sha256")]
    contents = {path: one.read_bytes() for path, one in pieces + beside}
    files.write_files(contents, force=args.force)
    laid_out = f"{shown(folder)}: {len(pieces)} pieces of a network, and a record"
    print(laid_out, flush=True)
    pile = unshuffle.read_pile(folder / "pieces")
    records = unshuffle.read_records(folder / "record.csv")
    with show_progress(quiet=args.quiet, clock=clock) as on_step:
        solution = unshuffle.solve(pile, records, time_limit=clock, on_step=on_step)
    unshuffle.write_solution(solution, folder / "solved", force=args.force)
    page = folder / "report.html"
    files.write_text(page, report_page(solution, records), force=args.force)
    what_next = NEXT.format(shown(folder))
    print(what_next)
    print_solution(solution, below=f"{laid_out}\n{what_next}\n")
    return 0 if solution.exact else 3
