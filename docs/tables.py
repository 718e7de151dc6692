"""Tables of the documents: each is kept in a data file and printed in one place.

    python docs/tables.py             put every table of docs/data into its page
    python docs/tables.py keep NAME   keep the table on standard input as docs/data/NAME.csv

The table that `keep` reads is Markdown, as benchmarks and evaluations print it. In a page, a table
stands between `<!-- table NAME -->` and `<!-- end -->`.
"""

import csv
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
DATA = DOCS / "data"
PLACE = re.compile(r"(<!-- table ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def as_markdown(name: str) -> str:
    """Return the table in Markdown that a data file holds."""
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    lines = [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def filled(page: str) -> str:
    """Return a page with each of its tables as the data file has it."""
    return PLACE.sub(lambda place: f"{place[1]}\n{as_markdown(place[2])}\n\n{place[3]}", page)


def keep(name: str, text: str) -> None:
    """Write the one Markdown table of a text into the data file of that name."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    with (DATA / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows[:1] + rows[2:])


def main(arguments: list[str]) -> None:
    """Keep one table, or fill every page."""
    if arguments[:1] == ["keep"]:
        keep(arguments[1], sys.stdin.read())
        return
    for path in DOCS.glob("*.md"):
        page = path.read_text(encoding="utf-8")
        if filled(page) != page:
            path.write_text(filled(page), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
