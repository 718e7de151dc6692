"""Draw the pictures in the README and in docs, from the examples: python docs/pictures/draw.py."""

from pathlib import Path
from tempfile import TemporaryDirectory

import method

from unshuffle.commands import main as unshuffle

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DROPPED = ROOT / "examples" / "dropped"
SMALL = ROOT / "src" / "unshuffle" / "example"
FIGURES = ("scores", "contrast", "ranks", "traces", "norms", "certificate")


def main() -> None:
    """Solve both examples, and draw."""
    with TemporaryDirectory() as build:
        auto, classic = f"{build}/auto", f"{build}/classic"
        run("solve", DROPPED / "pieces", DROPPED / "record.csv", "--quiet", "--out", auto)
        for figure in FIGURES:
            out = HERE / f"{figure}.svg"
            run("plot", figure, auto, DROPPED / "record.csv", "--force", "--out", out)
        strategy = ("--strategy", "classic")
        run("solve", SMALL / "pieces", SMALL / "record.csv", "--quiet", "--out", classic, *strategy)
        run("animate", classic, "--quiet", "--force", "--out", HERE / "search.gif")
    method.draw(HERE)


def run(*command: object) -> None:
    """Run a command of `unshuffle`, which has to succeed."""
    if unshuffle([str(word) for word in command]) != 0:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
