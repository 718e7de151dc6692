"""Which arrays in a file are those of the network. A checkpoint holds others too."""

import re
from collections.abc import Iterable, Mapping
from itertools import takewhile

from unshuffle.errors import FileError, listed
from unshuffle.files import limits
from unshuffle.files.layers import place_of
from unshuffle.files.tensors import INTEGER_BYTES, ITEM_BYTES, Stored
from unshuffle.pieces.anatomy import makes_network

# What lies below a name of this kind is the state of a training and no weight.
_TRAINING = re.compile(
    r"(exp_avg|exp_inf|max_exp_avg|momentum_buffer|square_avg|grad_avg|acc_delta|optim|opt_state"
    r"|lr_scheduler|grad_scaler).*|.*_optimi[sz]ers?|criterion|loss(_fn|_func|_function)?",
    re.IGNORECASE,
)
# Keras and TensorFlow call it by the optimiser and what that keeps, on either side of the weight.
_SLOT = re.compile(
    r"(?:.*[./])?(?P<told>(?:(?:n?adam|adamw|adamax|adagrad|adadelta|rmsprop|sgd|ftrl|lion)"
    r"[./](?:m|v|vhat|momentum|velocity|rms|accumulator|iter(?:ation)?))(?=[./:_]|\Z)"
    r"|(?<=[./])(?:adam|rmsprop|momentum|adagrad|adadelta|ftrl)(?=(?:_[0-9]+)?(?::0)?\Z)).*",
    re.IGNORECASE | re.DOTALL,
)
# Torch keeps what an optimiser knows of each weight by its position.
_POSITION = re.compile(r"(?:.*\.)?state\.[0-9]+\.(?P<told>[^.]+)", re.DOTALL)
# Optax keeps a first moment `mu` and a second one `nu` of each weight, side by side.
_MOMENT = re.compile(r"(?<![A-Za-z0-9_])(mu|nu)(?![A-Za-z0-9_])")
_SEPARATORS = re.compile("[./]")
_LEAST = 5  # matrices of a whole network: fewer are also what a block may have


def network_in(
    arrays: Mapping[str, Stored], where: str, wanted: str | None = None
) -> dict[str, Stored]:
    """The arrays of the network, without the state of its training.

    If those below one name make a whole network, and all together do not, it is those. `wanted`
    chooses among several such names. The common beginning of the names is left out where other
    arrays are.
    """
    moments = _moments(arrays)
    kept = {name: array for name, array in arrays.items() if _may_be_of_network(name, array)}
    kept = {name: array for name, array in kept.items() if name not in moments}
    found = sorted({*moments.values(), *filter(None, map(_of_training, arrays))})
    if found and not holds_weights(kept):
        raise FileError(
            f"{where}: holds the state of an optimiser ({listed(found, 3)}), whose moments have "
            "the shapes of weights but are none; give the file that holds the model's state dict"
        )
    networks = _networks(kept)
    if wanted is None and len(networks) > 1:
        raise FileError(
            f"{where}: holds {len(networks)} networks, {listed(networks)}; give the one that made "
            f"the predictions, as in {where}::{networks[0]}"
        )
    name = wanted or next(iter(networks), "")
    kept = _with_partners(kept, name)
    if not kept and wanted:
        names = [*filter(None, networks)]
        there = f"there is {listed(names)}" if names else f"none has a name: leave out ::{wanted}"
        raise FileError(f"{where}: holds nothing called {wanted}; {there}")
    if len(kept) == len(arrays):
        return kept
    heads = zip(*(_parts(each)[:-1] for each in kept), strict=False)
    ahead = sum(1 for _ in takewhile(lambda same: len({*same}) == 1, heads))
    return {_behind(each, ahead): array for each, array in kept.items()}


def holds_weights(arrays: Mapping[str, Stored]) -> bool:
    """Whether any of the arrays in a file may be a weight."""
    return any(
        array.shape
        and not _of_training(name)
        and (array.stored_as in ITEM_BYTES or place_of(name) is not None)
        for name, array in arrays.items()
    )


def _may_be_of_network(name: str, array: Stored) -> bool:
    """Whether it is no state of a training, nor of a format in which no weights are."""
    of_weights = array.stored_as in ITEM_BYTES | INTEGER_BYTES
    return (of_weights or place_of(name) is not None) and not _of_training(name)


def _parts(name: str) -> list[str]:
    return _SEPARATORS.split(name)


def _of_training(name: str) -> str:
    """What in a name tells that it is of the state of a training; nothing otherwise."""
    by_position = None if place_of(name) else _POSITION.fullmatch(name)
    slot = by_position or _SLOT.fullmatch(name)
    return next(filter(_TRAINING.fullmatch, _parts(name)), slot["told"] if slot else "")


def _moments(names: Iterable[str]) -> dict[str, str]:
    """The names of moments of Optax whose other moment is there too, and which each one is."""
    other = {"mu": "nu", "nu": "mu"}
    found = {name: moment[0] for name in names if (moment := _MOMENT.search(name))}
    twins = {name: _MOMENT.sub(lambda each: other[each[0]], name) for name in found}
    return {name: moment for name, moment in found.items() if twins[name] in found}


def _with_partners(arrays: Mapping[str, Stored], head: str) -> dict[str, Stored]:
    """The arrays below a name, and the other halves of their layers, such as `biases.3`."""
    places = {name: place_of(name) for name in arrays}
    layers = {place[0] for name, place in places.items() if place and _below(name, head)}
    return {
        name: array
        for name, array in arrays.items()
        if _below(name, head) or ((place := places[name]) and place[0] in layers)
    }


def _below(name: str, head: str) -> bool:
    return not head or name.startswith((f"{head}.", f"{head}/"))


def _behind(name: str, parts: int) -> str:
    """A name without so many of its first parts."""
    for _ in range(parts):
        name = name[_SEPARATORS.search(name).end() :]  # type: ignore[union-attr]
    return name


def _networks(arrays: Mapping[str, Stored]) -> list[str]:
    """Names below which arrays make a whole network, and "" if all do."""
    found = []
    waiting: list[tuple[str, Mapping[str, Stored]]] = [("", arrays)]
    while waiting:  # no function that calls itself: a hostile name has hundreds of parts
        head, held = waiting.pop()
        shapes = [one.shape[-2:] for one in held.values() for _ in range(_matrices(one.shape))]
        if len(shapes) < _LEAST:
            continue
        if makes_network(shapes) or makes_network(shape[::-1] for shape in shapes):
            found.append(head)
        else:
            waiting += reversed([*_inside(held, head).items()])
    return found


def _inside(arrays: Mapping[str, Stored], head: str) -> dict[str, dict[str, Stored]]:
    """The arrays by what their names begin with, one part longer than `head`."""
    inner: dict[str, dict[str, Stored]] = {}
    for name, array in arrays.items():
        separator = _SEPARATORS.search(name, len(head) + 1)
        if separator:
            inner.setdefault(name[: separator.start()], {})[name] = array
    # Blocks have numbers, and are no networks.
    return {name: below for name, below in inner.items() if not _parts(name)[-1].isdecimal()}


def _matrices(shape: tuple[int, ...]) -> int:
    """How many matrices an array is: a stack is as many as it is long."""
    return 1 if len(shape) == 2 else min(shape[0], limits.PIECES) if len(shape) == 3 else 0
