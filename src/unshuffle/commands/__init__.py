"""The command line: it translates arguments into calls, and results into text and exit statuses.

A command's module is imported only where it is called. Slow imports stand inside the functions.
Exit statuses stand in `arguments.py`.
"""

import argparse
import atexit
import gc
import os
import re
import signal
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from textwrap import TextWrapper
from typing import Any, NoReturn, TextIO

import unshuffle
from unshuffle.commands.arguments import SOLVED, add_commands
from unshuffle.errors import UnshuffleError, hint

MISTAKE = 2

# By name: the module in which a command is declared under its name, and a summary.
COMMANDS = {
    "demo": ("demo", "solve the example of the package, and keep its files"),
    "inspect": ("pile", "show the pieces, their roles and the record"),
    "pair": ("pile", "find which layers form a block, without a search"),
    "solve": ("solve", "put the network back together and prove it"),
    "verify": ("pile", "compute the error of an arrangement"),
    "assemble": ("pile", "write the network that an answer describes"),
    "report": ("pictures", "make a page for the browser of what solve --out kept"),
    "plot": ("pictures", "draw figures of a solution that was kept"),
    "animate": ("pictures", "film the search of a solution that was kept"),
    "drop": ("drop", "break a network into shuffled pieces and a record"),
    "lab": ("lab", "run experiments, keep what they found, render the plan"),
    "oracle": ("oracle", "train networks whose answer is known, to judge methods"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    # At its end the interpreter looks for garbage among all objects, some 40 ms after a solve.
    atexit.register(gc.freeze)
    words = sys.argv[1:] if argv is None else argv
    if "_ARGCOMPLETE" in os.environ:  # a shell asks how the line could go on
        _complete()
    try:
        args = _parsed(words)
        from unshuffle.commands.places import check_places  # `--help` need not wait for it

        check_places(args, words)
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


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """The arguments; one too many, or an unknown option, ends this process with a line."""
    parser = build_parser(words)
    if "" in words:
        parser.error(
            f"argument {1 + [*words].index('')} is empty, as a variable without a value leaves it; "
            "give it a value, or leave it out"
        )
    first = next(iter(words), "")
    if first.startswith("-") and not any(
        one.startswith(first) for one in parser._option_string_actions
    ):
        parser.error(f"unrecognized arguments: {first}")
    args, unknown = parser.parse_known_args(words)
    own: _Parser = args.parser
    if unknown and not unknown[0].startswith("-"):
        taken = [str(one.metavar) for one in own._get_positional_actions()] or ["options only"]
        own.error(f"{unknown[0]} is one too many; {own.prog} takes {' and '.join(taken)}")
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}", own.prog)
    return args


def _silence(stream: TextIO) -> None:
    """Send what a stream still holds nowhere, so that its end raises nothing more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _complete() -> None:
    with suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(build_parser())  # and ends this process


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines below the arguments, and breaks what is wider than the window."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        wrapped = TextWrapper(
            width + 2, indent, f"{indent}    ", break_long_words=False
        )  # argparse leaves 2 free
        wrapped.break_on_hyphens = False
        return "\n".join(map(wrapped.fill, text.splitlines()))


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments on one line, as every other mistake is said."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Help, **options)

    def error(self, message: str, command: str | None = None) -> NoReturn:
        message = message.replace("ignored explicit argument", "takes no value, but is given")
        wrong = re.search(
            r"(?:invalid choice: '|unrecognized arguments: )([\w-]+)'?(?=\s|$)", message
        )
        if wrong is not None:
            listed = re.findall(r"'([\w-]+)'", message[wrong.end() :])
            options = _options(self)
            meant = (
                f" (an option of {options[wrong[1]]})"
                if wrong[1] in options
                else hint(wrong[1], listed or options)
            )
            message = message.replace(wrong[0], wrong[0] + meant, 1)
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            message = self._missing(missing)
        text = message if message.isprintable() else repr(message)
        self.exit(MISTAKE, f"unshuffle: {text}; see {command or self.prog} --help\n")

    def _missing(self, names: str) -> str:
        """What is missing, what the first of it is, and a line that has all."""
        *most, final = names.split(", ")
        described = {argparse._get_action_name(one): one for one in self._actions}
        action = described[(most or [final])[0]]
        what = re.split("[:;.] ", action.help or f"one of {', '.join(action.choices or ())}")[0]
        example = (self.epilog or "").split("\n")[1].strip()
        listed = f"{', '.join(most)} and {final} are" if most else f"{final} is"
        return f"{listed} missing: {what}; for example: {example}"


def _options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Names of all options, those of the commands that know theirs included, and who has them."""
    options = dict.fromkeys(parser._option_string_actions, parser.prog)
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                options = _options(command) | options
    return options


def build_parser(words: Collection[str] | None = None) -> _Parser:
    """The parser of all commands. Only those among the words, if given, know their arguments."""
    parser = _Parser(
        prog="unshuffle",
        description="Puts a dropped neural network back together.",
    )
    version = f"unshuffle {unshuffle.__version__}"
    parser.add_argument("-V", "--version", action="version", version=version)

    def declare(name: str, module: str, command: argparse.ArgumentParser) -> None:
        if words is None or name in words:
            getattr(import_module(f"unshuffle.commands.{module}"), name)(command)

    known = {name: (summary, partial(declare, name, m)) for name, (m, summary) in COMMANDS.items()}
    examples = ("demo", "solve pieces record.csv --out solved")
    add_commands(parser, known, examples, SOLVED)
    return parser
