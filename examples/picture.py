"""Draw the README's picture: what the terminal shows when the example is solved.

python examples/picture.py FILE.svg
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
SOLVE = ["solve", "examples/dropped/pieces", "examples/dropped/record.csv"]
COLUMNS = 112

# rich fetches its font from the web. Without it the picture requests nothing, and the viewer's own
# monospaced font takes its place: rich states the length of each text, so the columns stay put.
FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def main() -> None:
    """Solve the example, wrap its output to the picture's width, write the picture."""
    parser = argparse.ArgumentParser(description="Draw the README's picture.")
    parser.add_argument("file", type=Path, help="where to write the SVG")
    file = parser.parse_args().file

    colours = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    result = subprocess.run(
        [sys.executable, "-m", "unshuffle", *SOLVE, "--quiet"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "NO_COLOR"} | colours,
        stdout=subprocess.PIPE,
        check=True,
    )
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        console.print(Text(f"$ unshuffle {' '.join(SOLVE)}", "bold"))
        console.print(Text.from_ansi(result.stdout.decode().rstrip()))
        svg = FONT_FACE.sub("", console.export_svg(title="unshuffle"))
    file.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
