"""unshuffle: puts a dropped neural network back together.

>>> from unshuffle import solve
>>> solution = solve("pieces", "record.csv")
>>> solution.permutation
"""

from importlib import import_module

TYPE_CHECKING = False  # as checkers of types know it: `typing` takes longer than all else here
if TYPE_CHECKING:
    from unshuffle.blocks.mlp import MlpNetwork as MlpNetwork
    from unshuffle.blocks.module_blueprint import blueprint as blueprint
    from unshuffle.blocks.network import Network as Network
    from unshuffle.errors import UnshuffleError as UnshuffleError
    from unshuffle.files import read_pile as read_pile
    from unshuffle.files import read_records as read_records
    from unshuffle.grouping import Pairing as Pairing
    from unshuffle.grouping import pair as pair
    from unshuffle.ordering.trace import Trace as Trace
    from unshuffle.pieces.anatomy import Anatomy as Anatomy
    from unshuffle.pieces.pile import Piece as Piece
    from unshuffle.pieces.pile import Pile as Pile
    from unshuffle.pieces.records import Records as Records
    from unshuffle.proof.outcome import Outcome as Outcome
    from unshuffle.solution.checking import verify as verify
    from unshuffle.solution.checkpointing import checkpoint as checkpoint
    from unshuffle.solution.solution import Solution as Solution
    from unshuffle.solution.storage import read_solution as read_solution
    from unshuffle.solution.storage import write_solution as write_solution
    from unshuffle.solver import solve as solve

__version__ = "0.1.0"

# Names are imported when first used, so that `unshuffle --help` need not wait for NumPy.
_HOME = {
    "Anatomy": "unshuffle.pieces.anatomy",
    "MlpNetwork": "unshuffle.blocks.mlp",
    "Network": "unshuffle.blocks.network",
    "Outcome": "unshuffle.proof.outcome",
    "Pairing": "unshuffle.grouping",
    "Piece": "unshuffle.pieces.pile",
    "Pile": "unshuffle.pieces.pile",
    "Records": "unshuffle.pieces.records",
    "Solution": "unshuffle.solution.solution",
    "Trace": "unshuffle.ordering.trace",
    "UnshuffleError": "unshuffle.errors",
    "blueprint": "unshuffle.blocks.module_blueprint",
    "checkpoint": "unshuffle.solution.checkpointing",
    "pair": "unshuffle.grouping",
    "read_pile": "unshuffle.files",
    "read_records": "unshuffle.files",
    "read_solution": "unshuffle.solution.storage",
    "solve": "unshuffle.solver",
    "verify": "unshuffle.solution.checking",
    "write_solution": "unshuffle.solution.storage",
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
