"""The command line: it translates arguments into calls, and results into text and exit statuses.

Exit statuses: 0 the record is reproduced exactly, 3 finished but not exactly, 4 no arrangement of
the pieces fits the record, 2 a user's mistake, 130 interrupted, 143 ended by SIGTERM. A module with
commands is imported only where one of them is called; whatever takes long to import is imported
inside the functions.
"""

import argparse
import atexit
import gc
import os
import signal
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import NoReturn, TextIO

import unshuffle
from unshuffle.commands.arguments import add_commands
from unshuffle.errors import UnshuffleError

MISTAKE = 2

# By name: the module in which a command is declared under its name, and a summary.
COMMANDS = {
    "inspect": ("pile", "show what lies on the floor"),
    "pair": ("pile", "find which inp layer belongs to which out layer, by weights alone"),
    "solve": ("solve", "put the network back together and prove it"),
    "verify": ("pile", "compute the error of an arrangement"),
    "assemble": ("pile", "write the network that an answer describes"),
    "report": ("pictures", "make a page for the browser of what solve --out kept"),
    "plot": ("pictures", "draw figures of a solution that was kept"),
    "animate": ("pictures", "film the search of a solution that was kept"),
    "drop": ("drop", "break a network into shuffled pieces and a record"),
    "lab": ("lab", "run experiments, keep what they found, render the plan"),
    "oracle": ("oracle", "train networks whose answer is known, and judge every method on them"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    # At its end the interpreter looks for garbage among all objects, some 40 ms after a solve.
    atexit.register(gc.freeze)
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(words).parse_args(words)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except UnshuffleError as error:
        print(f"unshuffle: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt as stop:
        print("unshuffle: interrupted before the result was ready", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _silence(sys.stdout)
        return 141
    except OSError as error:  # readers and writers catch theirs: a stream, as a full disk has it
        _silence(sys.stdout)
        with suppress(OSError):
            what = repr(error.filename) if error.filename else "the output"
            print(f"unshuffle: {what} cannot be written ({error.strerror})", file=sys.stderr)
        return MISTAKE
    return status


def _silence(stream: TextIO) -> None:
    """Send what a stream still holds nowhere, so that its end raises nothing more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments on one line, as every other mistake is said."""

    def error(self, message: str) -> NoReturn:
        text = message if message.isprintable() else repr(message)
        self.exit(MISTAKE, f"unshuffle: {text}; see {self.prog} --help\n")


def build_parser(words: Collection[str] | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; only those among the words, if given, know their arguments."""
    parser = _Parser(
        prog="unshuffle",
        description="Puts a dropped neural network back together.",
        epilog="Exit status: 0 exact, 3 finished but not exact, 4 no arrangement fits, 2 a "
        "mistake, 130 interrupted, 143 terminated.",
    )
    parser.add_argument("--version", action="version", version=f"unshuffle {unshuffle.__version__}")

    def declare(name: str, module: str, command: argparse.ArgumentParser) -> None:
        if words is None or name in words:
            getattr(import_module(f"unshuffle.commands.{module}"), name)(command)

    known = {name: (summary, partial(declare, name, m)) for name, (m, summary) in COMMANDS.items()}
    add_commands(parser, known)
    return parser
