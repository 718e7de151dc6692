"""`python -m unshuffle`, and the command that is installed."""

import sys


def main() -> int:
    """Run the command line. Ctrl-C ends it in one line, imports included."""
    try:
        from unshuffle.commands import main as run

        return run()
    except KeyboardInterrupt:
        print("unshuffle: interrupted before the work began", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
