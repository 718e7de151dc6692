"""From shapes to roles: which pieces can be inp, out and last layers."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unshuffle.errors import PileError, RecordError
from unshuffle.pieces.pile import Piece, Pile
from unshuffle.pieces.records import Records

Shape = tuple[int, int]

SUM = 1e-4  # by which the sum of rounded probabilities may miss 1


@dataclass(frozen=True)
class Anatomy:
    """The dimensions of the lost network and the roles that each piece's shape admits.

    Parameters
    ----------
    width, hidden, outputs
        The width d of the stream, the hidden width h, the number of outputs o. An inp layer is h ×
        d, an out layer d × h, the last layer o × d.
    inp, out, last
        Positions in the pile of the pieces whose shape fits the role. Pieces of a shape that two
        roles share (h = d, o = h or o = d = h) are in both.
    """

    width: int
    hidden: int
    outputs: int
    inp: tuple[int, ...]
    out: tuple[int, ...]
    last: tuple[int, ...]

    @property
    def blocks(self) -> int:
        """Number K of residual blocks."""
        return (len({*self.inp, *self.out, *self.last}) - 1) // 2

    @property
    def interchangeable(self) -> bool:
        """Whether inp and out layers have the same shape, so that shapes cannot tell them apart."""
        return self.hidden == self.width

    def with_last(self, position: int) -> "Anatomy":
        """The same with the last layer decided, and thereby out of the other roles."""

        def others(fitting: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(other for other in fitting if other != position)

        return replace(self, inp=others(self.inp), out=others(self.out), last=(position,))

    def __str__(self) -> str:
        return (
            f"{self.blocks} blocks {self.width} → {self.hidden} → {self.width}, "
            f"last layer {self.width} → {self.outputs}"
        )


def read_anatomy(pile: Pile, records: Records | None = None) -> Anatomy:
    """Find the dimensions of a network that uses every piece of a pile and fits the record.

    A PileError names the pieces in the way. A RecordError says that the widths differ.
    """
    counts = Counter(piece.shape for piece in pile)
    dimensions = _dimensions(counts)
    if dimensions is None:
        raise PileError(_what_is_wrong(pile, counts, records))
    width, hidden, outputs = dimensions
    shapes = (hidden, width), (width, hidden), (outputs, width)
    fitting = (tuple(i for i, piece in enumerate(pile) if piece.shape == one) for one in shapes)
    anatomy = Anatomy(width, hidden, outputs, *fitting)
    if records is not None:
        _check_record(anatomy, records)
    return anatomy


def _dimensions(counts: Counter[Shape]) -> tuple[int, int, int] | None:
    """Width, hidden width and outputs of the network that has so many matrices of these shapes."""
    pieces = counts.total()
    for hidden, width in counts if len(counts) <= 3 else ():
        for outputs, columns in counts:
            if columns == width and counts == _network_shapes(pieces, width, hidden, outputs):
                return width, hidden, outputs
    return None


def makes_network(shapes: Iterable[tuple[int, ...]]) -> bool:
    """Whether matrices of these shapes are as many as the layers of a network."""
    return _dimensions(Counter((rows, columns) for rows, columns in shapes)) is not None


def check_biases(pile: Pile) -> None:
    """Make sure that there is one loose bias for each weight without one, by their lengths."""
    shapes = [piece.shape for piece in pile]  # of all, since one that is no layer says more
    lengths = Counter(rows for piece, (rows, _) in zip(pile, shapes, strict=True) if piece.detached)
    found = Counter(len(bias.values) for bias in pile.biases)
    for length in sorted({*lengths, *found}):
        if lengths[length] != found[length]:
            raise PileError(
                f"{lengths[length]} weights with {length} rows have no bias, and {found[length]} "
                f"loose biases have {length} numbers: each of the weights needs one; add what is "
                "missing or take out what is too much"
            )


def _network_shapes(pieces: int, width: int, hidden: int, outputs: int) -> Counter[Shape]:
    """The shapes that a network of so many pieces has; empty if the number is even or below 3."""
    blocks, rest = divmod(pieces - 1, 2)
    if rest or blocks < 1:
        return Counter()
    shapes: Counter[Shape] = Counter()
    shapes[hidden, width] += blocks
    shapes[width, hidden] += blocks
    shapes[outputs, width] += 1
    return shapes


def _check_record(anatomy: Anatomy, records: Records) -> None:
    if records.width != anatomy.width:
        raise RecordError(
            f"{records.name} has {records.width} input columns, but the pieces make a network with "
            f"{anatomy.width} inputs; {_mend(records, anatomy)}"
        )
    y = records.predicted().predictions
    if records.outputs not in (0, anatomy.outputs):
        labels = records.outputs == 1 and np.isin(y, range(anatomy.outputs)).all()
        mend = "name the prediction columns if the defaults miss them"
        if labels:
            mend = "they are labels of classes; give the numbers of which they say the largest"
        raise RecordError(
            f"{records.name} has {records.outputs} prediction columns, but the last layer has "
            f"{anatomy.outputs} outputs; {mend}"
        )
    if records.outputs > 1 and (y >= 0).all() and np.allclose(y.sum(axis=1), 1, atol=SUM):
        raise RecordError(
            f"{records.name} has predictions of which none is negative and each row sums to 1, as "
            "behind a softmax; give the numbers before it, the logits"
        )


def _mend(records: Records, anatomy: Anatomy) -> str:
    """Which columns are odd where there are too many or too few inputs, and the option for them."""
    inputs, predictions, targets = records.columns
    extra = records.width - anatomy.width
    if extra < 0 and (taken := [*predictions, *targets]):
        return f"if {', '.join(taken)} are among them, name all with --inputs"
    if extra == anatomy.outputs and not predictions and inputs:
        return f"if the last hold the predictions: --predictions {','.join(inputs[-extra:])}"
    stems = Counter(re.sub("[0-9]+$", "", name) for name in inputs)
    odd = [name for name in inputs if stems[re.sub("[0-9]+$", "", name)] == 1]
    if extra > 0 and extra == len(odd):
        left_out = ",".join([*odd, *targets])
        return f"if {', '.join(odd)} is no input, leave it out: --targets {left_out}"
    return "name the input columns with --inputs if some of them are something else"


def _what_is_wrong(pile: Pile, counts: Counter[Shape], records: Records | None) -> str:
    """Explain why no network uses exactly these pieces."""
    expected = "a network of K blocks has K inp layers (h × d), K out layers (d × h) and one last"
    core = _core(counts, records)
    if core is None:
        listing = ", ".join(f"{n} of {_size(shape)}" for shape, n in sorted(counts.items()))
        return (
            f"no two shapes in the pile are transposes of each other ({listing}), so no inp layer "
            f"has an out layer: {expected}; are these the pieces of a residual network?"
        )
    hidden, width = core
    others = [piece for piece in pile if piece.shape not in (core, core[::-1])]
    candidates = [piece for piece in others if piece.shape[1] == width]
    if len(candidates) < len(others):
        strangers = [piece for piece in others if piece.shape[1] != width]
        square = f"whose layers are {_size(core)}"
        network = square if hidden == width else f"of width {width} with {hidden} hidden units"
        return _fit_nowhere(strangers, network)
    if len(candidates) > 1:
        return (
            f"{_names(p.id for p in candidates)} could each be the last layer, but a network has "
            "one; take the others out of the pile"
        )
    if hidden == width:
        return f"{_wrong_squares(counts[core], core, candidates)}; {expected}"
    inps, outs = counts[core], counts[core[::-1]]
    if not candidates and inps == outs:
        return (
            f"no last layer: all {len(pile)} pieces are inp or out layers of shapes "
            f"{_size(core)} and {_size(core[::-1])}, and none has {width} columns and another "
            "number of rows; is a piece missing?"
        )
    fewer, more = ("inp", "out") if inps < outs else ("out", "inp")
    surplus = core if inps > outs else core[::-1]
    return (
        f"{inps} pieces can be inp ({_size(core)}) and {outs} can be out ({_size(core[::-1])}): "
        f"{abs(inps - outs)} {fewer} missing or {more} too many among "
        f"{_names(p.id for p in pile if p.shape == surplus)}; {expected}"
    )


def _wrong_squares(squares: int, core: Shape, candidates: Sequence[Piece]) -> str:
    """Explain what is wrong with a pile whose inp and out layers are square."""
    if not candidates:
        return (
            f"{squares} pieces are {_size(core)} and there is no other piece: the last layer, or "
            "one inp or out layer, is missing"
        )
    return (
        f"{squares} pieces are {_size(core)} and {_names(p.id for p in candidates)} can be the "
        "last layer: with inp and out of one shape that leaves one piece without a partner"
    )


def _fit_nowhere(strangers: Sequence[Piece], network: str) -> str:
    sizes = ", ".join(_size(shape) for shape in sorted({piece.shape for piece in strangers}))
    one = len(strangers) == 1
    return (
        f"{_names(piece.id for piece in strangers)} ({sizes}) {'fits' if one else 'fit'} nowhere "
        f"in a network {network}; take {'it' if one else 'them'} out of the pile"
    )


def _core(counts: Counter[Shape], records: Records | None) -> Shape | None:
    """The likeliest shape (hidden, width) of the inp layers, or None if nothing has a partner."""
    partnered = {
        shape: min(counts[shape], counts[shape[::-1]])
        for shape in counts
        if shape[::-1] in counts and (shape[0] != shape[1] or counts[shape] > 1)
    }
    if not partnered:
        return None

    def evidence(shape: Shape) -> tuple[int, bool, bool, Shape]:
        hidden, width = shape
        in_record = records is not None and records.width == width
        has_last = any(c == width and (r, c) not in (shape, shape[::-1]) for r, c in counts)
        return partnered[shape], in_record, has_last, (hidden, -width)

    return max(partnered, key=evidence)


def _size(shape: Shape) -> str:
    return f"{shape[0]} × {shape[1]}"


def _names(ids: Iterable[int | str]) -> str:
    """`pieces 1, 2 and 3`, shortened where there are many."""
    names = sorted(ids, key=lambda name: (isinstance(name, str), name))
    shown = [str(name) for name in names[:8]]
    if len(names) > len(shown):
        return f"pieces {', '.join(shown)} and {len(names) - len(shown)} more"
    if len(shown) == 1:
        return f"piece {shown[0]}"
    return f"pieces {', '.join(shown[:-1])} and {shown[-1]}"
