"""The exception tree.

    UnshuffleError           everything this package raises on purpose
    ├── UsageError           the call itself is off: an unknown name, a bad number
    ├── FileError            a file cannot be read, trusted or written
    ├── PileError            the pieces cannot be a network of this kind
    ├── RecordError          the record cannot be used, or does not fit the pile
    ├── AnswerError          an answer does not name each piece once, or puts one where it cannot go
    └── MissingExtraError    an optional dependency is not installed

Every message names the file or piece, what was found, what was expected, and what to try next. The
command line prints it on one line and exits with status 2.
"""

from collections.abc import Iterable


def hint(name: str, known: Iterable[str]) -> str:
    """What a misspelt name may have meant; nothing if no name is near."""
    from difflib import get_close_matches  # only a mistake waits for it

    known, small = [*known], str(name).lower()
    near = get_close_matches(small, known, 1)
    near = near or [one for one in known if small and one.lower().startswith(small)]
    return f" (did you mean {near[0]}?)" if near else ""


class UnshuffleError(Exception):
    """Base of every error that this package raises on purpose."""


class UsageError(UnshuffleError):
    """An argument has a value that cannot work."""

    @classmethod
    def unknown(cls, what: str, name: str, known: Iterable[str]) -> "UsageError":
        """Nothing has that name. The nearest name, and all names, are listed."""
        known = [*known]
        return cls(f"there is no {what} {name!r}{hint(name, known)}; there are: {', '.join(known)}")


class FileError(UnshuffleError):
    """A file cannot be read, is not what its name says, or cannot be written."""


class PileError(UnshuffleError):
    """The pieces cannot be the layers of a residual network of this kind."""


class RecordError(UnshuffleError):
    """The record has a bad cell or column, or does not fit the pile."""


class AnswerError(UnshuffleError):
    """An answer does not arrange the pieces of the pile."""


class MissingExtraError(UnshuffleError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed: pip install 'unshuffle[{extra}]'"
        )


def first_line(error: BaseException) -> str:
    """The first line of another code's error. Its type if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
