"""The exception tree, and names in messages.

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

from collections.abc import Iterable, Sequence

_SHOWN_CHARACTERS = 200


def shown(name: object) -> str:
    """Text of a name for a message: one line, without control characters, of bounded length."""
    text = str(name)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "…"
    return text if text.isprintable() and text else repr(text)


def listed(names: Sequence[object], most: int = 8) -> str:
    """`a, b and c`, or `a, b and 7 more`, for a message; "none" where there are none."""
    some = [shown(name) for name in names[:most]] or ["none"]
    last = f"{len(names) - most} more" if len(names) > most else some.pop()
    return " and ".join([", ".join(some), last] if some else [last])


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


def find_name(what: str, name: object, known: Iterable[str]) -> str:
    """The name that is meant, written in any case; raises `UsageError` if there is none."""
    by_letters = {one.lower(): one for one in known}
    if (meant := str(name).lower()) not in by_letters:
        raise UsageError.unknown(what, str(name), by_letters.values())
    return by_letters[meant]


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
