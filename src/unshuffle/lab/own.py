"""Own approaches and metrics, from a Python file that is named to the laboratory's commands."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from unshuffle.errors import UsageError, shown
from unshuffle.files import read_text
from unshuffle.lab.approach import Approach
from unshuffle.lab.approaches import APPROACHES
from unshuffle.lab.ledger import OWN, code_version
from unshuffle.lab.metrics import METRICS


def use(path: Path) -> None:
    """Run a Python file, and add its `APPROACHES` and `METRICS` to those that ship.

    `UsageError` says that it cannot be run, defines nothing valid, or defines what is there
    already.
    """
    path = path.resolve()
    if path in OWN:
        return
    names: dict[str, object] = {"__name__": path.stem, "__file__": str(path)}
    try:
        exec(compile(read_text(path), str(path), "exec"), names)  # what its author asks for
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise UsageError(f"{shown(path)}: cannot be run ({shown(what)}); correct it") from error
    approaches, metrics = names.get("APPROACHES", ()), names.get("METRICS", {})
    if not isinstance(metrics, Mapping) or not isinstance(approaches, Iterable):
        raise UsageError(
            f"{shown(path)}: APPROACHES is no list of Approach objects, or METRICS no dictionary "
            "of names and what they are; correct them"
        )
    found = [*approaches]
    for one in found:
        if not isinstance(one, Approach):
            raise UsageError(f"{shown(path)}: {shown(repr(one))} is no Approach; make it one")
    for name in (*(one.name for one in found), *metrics):
        if name in APPROACHES or name in METRICS:
            raise UsageError(f"{shown(path)}: there is a {shown(name)} already; rename yours")
    APPROACHES.update({one.name: one for one in found})
    METRICS.update(metrics)
    OWN.append(path)
    code_version.cache_clear()
