"""unshuffle: puts a dropped neural network back together.

>>> from unshuffle import read_pile, read_records, solve
>>> solution = solve(read_pile("pieces"), read_records("record.csv"))
>>> solution.permutation
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unshuffle.anatomy import Anatomy as Anatomy
    from unshuffle.checkpointing import checkpoint as checkpoint
    from unshuffle.errors import UnshuffleError as UnshuffleError
    from unshuffle.files import read_pile as read_pile
    from unshuffle.files import read_records as read_records
    from unshuffle.network import Network as Network
    from unshuffle.outcome import Outcome as Outcome
    from unshuffle.pairing import Pairing as Pairing
    from unshuffle.pairing import pair as pair
    from unshuffle.pile import Piece as Piece
    from unshuffle.pile import Pile as Pile
    from unshuffle.records import Records as Records
    from unshuffle.solution import Solution as Solution
    from unshuffle.solver import solve as solve
    from unshuffle.storage import read_solution as read_solution
    from unshuffle.storage import write_solution as write_solution
    from unshuffle.trace import Trace as Trace
    from unshuffle.verification import verify as verify

__version__ = "0.1.0"

# Names are imported when first used, so that `unshuffle --help` need not wait for NumPy.
_HOME = {
    "Anatomy": "unshuffle.anatomy",
    "Network": "unshuffle.network",
    "Outcome": "unshuffle.outcome",
    "Pairing": "unshuffle.pairing",
    "Piece": "unshuffle.pile",
    "Pile": "unshuffle.pile",
    "Records": "unshuffle.records",
    "Solution": "unshuffle.solution",
    "Trace": "unshuffle.trace",
    "UnshuffleError": "unshuffle.errors",
    "checkpoint": "unshuffle.checkpointing",
    "pair": "unshuffle.pairing",
    "read_pile": "unshuffle.files",
    "read_records": "unshuffle.files",
    "read_solution": "unshuffle.storage",
    "solve": "unshuffle.solver",
    "verify": "unshuffle.verification",
    "write_solution": "unshuffle.storage",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
