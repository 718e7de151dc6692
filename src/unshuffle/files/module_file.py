"""A network's code: a Python file and its function, which returns a PyTorch module.

The file is run, as `python FILE.py` would run it, because the user names it. Nothing in pieces or
records ever leads to one.
"""

import inspect
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from unshuffle.errors import MissingExtraError, UsageError, first_line, hint, listed, shown
from unshuffle.files.opening import read_text

if TYPE_CHECKING:
    from torch import nn

FORM = "FILE.py:FUNCTION"
_NAME = "unshuffle_model"  # of the module that the file becomes


def read_module(given: str) -> "nn.Module":
    """Run a Python file and one of its functions, and return its PyTorch module.

    Parameters
    ----------
    given
        The file's path, a colon, and the name of a function that needs no argument. What file and
        function print goes to standard error. Files beside it can be imported.

    Raises
    ------
    FileError
        If the file cannot be read.
    MissingExtraError
        If PyTorch is not installed.
    UsageError
        If there is no such function, it or the file fails, or it returns no module in evaluation
        mode.
    """
    path, _, name = given.rpartition(":")
    if not path or not name.isidentifier():
        raise UsageError(
            f"--model {shown(given)}: names no function; write {FORM}, as in net.py:make"
        )
    try:
        from torch import nn
    except ImportError as error:
        raise MissingExtraError("PyTorch", "torch", "a network that is given as code") from error
    file = Path(path)
    what = f"{shown(file)}: {name}"
    with redirect_stdout(sys.stderr):
        function = _function(_run(file), name, file)
        found = _called(function, what, file)
    if not isinstance(found, nn.Module):
        kind = f"class {found.__name__}" if isinstance(found, type) else type(found).__name__
        raise UsageError(
            f"{what} returns no torch.nn.Module but {kind}; return the network, made and loaded"
        )
    if found.training:
        step = f"let a function return {name}()" if isinstance(function, type) else "return module"
        raise UsageError(
            f"{what} returns a module in training mode, in which dropout and batch norms compute "
            f"something else; {step}.eval()"
        )
    return found


def _run(file: Path) -> dict[str, Any]:
    """The names that a Python file defines."""
    source = read_text(file)
    module = ModuleType(_NAME)
    module.__file__ = str(file)
    sys.modules[_NAME] = module  # dataclasses look their module up
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        exec(compile(source, str(file), "exec"), module.__dict__)  # what the user asks for
    except (Exception, SystemExit) as error:
        raise UsageError(f"{shown(file)}: cannot be run {_what(error, file)}") from error
    return module.__dict__


def _function(names: dict[str, Any], name: str, file: Path) -> Callable[[], object]:
    own = [
        key
        for key, one in names.items()
        if callable(one) and getattr(one, "__module__", "") == _NAME
    ]
    if name not in names:
        raise UsageError(
            f"{shown(file)}: has no function {name}{hint(name, own)}; it defines {listed(own)}"
        )
    function = names[name]
    if not callable(function):
        raise UsageError(
            f"{shown(file)}: {name} is of type {type(function).__name__}, but a function is "
            f"needed; it defines {listed(own)}"
        )
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise UsageError(
            f"{shown(file)}: {name} cannot be called without arguments ({error}); name a function "
            "that needs none"
        ) from error
    except ValueError:  # a function that says nothing of its arguments
        pass
    checked: Callable[[], object] = function
    return checked


def _called(function: Callable[[], object], what: str, file: Path) -> object:
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise UsageError(f"{what} fails {_what(error, file)}") from error


def _what(error: BaseException, file: Path) -> str:
    """An error on one line, with the line of the file that it comes from, and what to do."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        text = f"line {error.lineno}: {error.msg}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f"line {frame.lineno}: " for frame in frames if frame.filename == str(file)]
        said = str(error).strip() and f": {first_line(error)}"
        text = f"{lines[-1] if lines else ''}{type(error).__name__}{said}"
    return f"({shown(text)}); correct it there, where `python -i {shown(file)}` shows more"
