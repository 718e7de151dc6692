"""`python -m unshuffle`, and the command that is installed."""

import sys


def main() -> int:
    """Run the command line. Ctrl-C ends it in one line, imports included."""
    pressed: list[int] = []

    def stop(number: int, _: object) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    try:
        import signal

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, stop)
        from unshuffle.commands import main as run

        return run()
    except (Exception, KeyboardInterrupt) as error:
        # An import that was cut short may end in any other exception.
        if not (pressed or isinstance(error, KeyboardInterrupt)):
            raise
        print("unshuffle: interrupted before the work began", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
