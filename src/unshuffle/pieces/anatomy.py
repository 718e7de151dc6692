"""From shapes to roles: which pieces can be inp, out and last layers."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, permutations

import numpy as np

from unshuffle.errors import PileError, RecordError, listed
from unshuffle.pieces.fact_table import fact_table
from unshuffle.pieces.pile import GIVE_CODE, Piece, Pile, some_ids
from unshuffle.pieces.records import Records, as_option

Shape = tuple[int, int]

MOST_ENDS = 6  # Layers before and behind the blocks of another network, less than.


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
    widths
        The hidden width of each block where they differ, rising. `h` is the largest.
    """

    width: int
    hidden: int
    outputs: int
    inp: tuple[int, ...]
    out: tuple[int, ...]
    last: tuple[int, ...]
    widths: tuple[int, ...] = ()

    @property
    def blocks(self) -> int:
        """Number K of residual blocks."""
        return (len({*self.inp, *self.out, *self.last}) - 1) // 2

    @property
    def interchangeable(self) -> bool:
        """Whether some inp and out layers have one shape, so that shapes cannot tell them apart."""
        return not {*self.inp}.isdisjoint(self.out)

    def by_width(self, pile: Pile) -> "list[Anatomy]":
        """That of the blocks of each hidden width by themselves, where widths differ."""

        def part(hidden: int) -> Anatomy:
            inp = tuple(p for p in self.inp if pile[p].shape[0] == hidden)
            out = tuple(p for p in self.out if pile[p].shape[1] == hidden)
            return replace(self, hidden=hidden, inp=inp, out=out, widths=())

        return [part(hidden) for hidden in dict.fromkeys(self.widths)]

    def with_last(self, position: int) -> "Anatomy":
        """The same with the last layer decided, and thereby out of the other roles."""

        def others(fitting: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(other for other in fitting if other != position)

        return replace(self, inp=others(self.inp), out=others(self.out), last=(position,))

    def _repr_html_(self) -> str:
        """The network as a table for notebooks."""
        return fact_table({"network": self})

    def __str__(self) -> str:
        least = f"{self.widths[0]} … " if self.widths else ""
        return (
            f"{self.blocks} blocks {self.width} → {least}{self.hidden} → {self.width}, "
            f"last layer {self.width} → {self.outputs}"
        )


def read_anatomy(pile: Pile, records: Records | None = None) -> Anatomy:
    """Find the dimensions of a network that uses every piece of a pile and fits the record.

    A PileError names the pieces in the way. A RecordError says that the widths differ.
    """
    counts = Counter(piece.shape for piece in pile)
    dimensions = _dimensions(counts) or _uneven_dimensions(counts, records)
    if dimensions is None:
        raise PileError(other_network(pile, records) or _what_is_wrong(pile, counts, records))
    width, outputs, widths = dimensions
    hidden = {*widths}
    inp, out, last = (
        tuple(i for i, piece in enumerate(pile) if piece.shape in shapes)
        for shapes in (
            {(h, width) for h in hidden},
            {(width, h) for h in hidden},
            {(outputs, width)},
        )
    )
    differing = widths if len(hidden) > 1 else ()
    anatomy = Anatomy(width, max(hidden), outputs, inp, out, last, differing)
    if records is not None:
        _check_record(anatomy, records)
    return anatomy


# Width, outputs, and the hidden width of each block.
_Dimensions = tuple[int, int, tuple[int, ...]]


def _dimensions(counts: Counter[Shape]) -> _Dimensions | None:
    """Dimensions of the network of blocks of one form that has so many matrices of these shapes."""
    pieces = counts.total()
    for hidden, width in counts if len(counts) <= 3 else ():
        for outputs, columns in counts:
            if columns == width and counts == _network_shapes(pieces, width, hidden, outputs):
                return width, outputs, (hidden,) * (pieces // 2)
    return None


def _uneven_dimensions(counts: Counter[Shape], records: Records | None) -> _Dimensions | None:
    """The same of blocks of several hidden widths, one of which may be the stream's.

    Beside blocks of one width, two square layers are rather a stem or a head, and four for each
    block are rather attention.
    """
    found = []
    for outputs, width in counts:
        rest = counts - Counter([(outputs, width)])
        squares = rest.pop((width, width), 0)
        inp = Counter({shape[0]: count for shape, count in rest.items() if shape[1] == width})
        out = Counter({shape[1]: count for shape, count in rest.items() if shape[0] == width})
        whole = (inp + out).total() == rest.total()
        others = squares in (2, 4 * inp.total()) and len(inp) == 1
        blocks = squares % 2 == 0 and not others
        if inp == out and inp and whole and blocks:
            inp[width] = squares // 2
            found.append((width, outputs, tuple(sorted(inp.elements()))))
    wanted = None if records is None else records.width
    found.sort(key=lambda each: each[0] != wanted)
    return found[0] if found else None


def makes_network(shapes: Iterable[tuple[int, ...]]) -> bool:
    """Whether matrices of these shapes are as many as the layers of a network."""
    return _dimensions(Counter((rows, columns) for rows, columns in shapes)) is not None


def check_biases(pile: Pile) -> None:
    """Make sure that there are as many loose biases of a length as weights without one, or none.

    Weights of whose length there is none have no biases.
    """
    shapes = [piece.shape for piece in pile]  # of all, since one that is no layer says more
    lengths = Counter(rows for piece, (rows, _) in zip(pile, shapes, strict=True) if piece.detached)
    found = Counter(len(bias.values) for bias in pile.biases)
    for length in sorted({*lengths, *found}):
        if found[length] and lengths[length] != found[length]:
            raise PileError(
                f"{lengths[length]} weights with {length} rows have no bias, and {found[length]} "
                f"loose biases have {length} numbers: each of the weights needs one; add what is "
                f"missing or take out what is too much; where there are norms, {GIVE_CODE}"
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
    if records.outputs not in (0, anatomy.outputs):
        y = records.predicted().predictions
        labels = records.outputs == 1 and np.isin(y, range(anatomy.outputs)).all()
        mend = "name the prediction columns if the defaults miss them"
        if records.outputs > anatomy.outputs:
            names = listed(records.columns[1]) or "these"
            mend = f"of {names}, name the network's with --predictions, the others with --targets"
        if labels:
            mend = "they are labels of classes; give the numbers of which they say the largest"
        raise RecordError(
            f"{records.name} has {records.outputs} prediction columns, but the last layer has "
            f"{anatomy.outputs} outputs; {mend}"
        )
    if {*np.unique(records.predicted().predictions)} == {0.0, 1.0}:
        raise RecordError(
            f"{records.name} has no other predictions than 0 and 1, which are labels of classes; "
            "give the logits or probabilities that they come from"
        )


def _mend(records: Records, anatomy: Anatomy) -> str:
    """Which columns are odd where there are too many or too few inputs, and the option for them."""
    inputs, predictions, targets, left_out = records.columns
    extra = records.width - anatomy.width
    if extra < 0:
        taken = ", ".join([*targets, *left_out])
        or_named = f", or if {taken} are among them, name all with --inputs" if taken else ""
        return f"{-extra} missing: give a record that has all{or_named}"
    stems = Counter(re.sub("[0-9]+$", "", name) for name in inputs)
    odd = [name for name in inputs if stems[re.sub("[0-9]+$", "", name)] == 1]
    if option := _odd_predictions(records, odd, anatomy) or _last(records, anatomy):
        return option
    if extra > 0 and extra == len(odd):
        no_inputs = as_option([*odd, *targets])
        left = f"if {', '.join(odd)} is no input, leave it out: --targets {no_inputs}"
        sure = targets or any(re.search("pred|hat", name, re.IGNORECASE) for name in predictions)
        if sure or extra != anatomy.outputs or odd != [*inputs[-extra:]]:
            return left
        made, wanted = as_option(odd), as_option(predictions)
        return f"{left}; if it holds the predictions: --predictions {made} --targets {wanted}"
    return "name the input columns with --inputs if some of them are something else"


def _odd_predictions(records: Records, odd: list[str], anatomy: Anatomy) -> str | None:
    """The option for odd columns that hold predictions, which may stand behind others."""
    inputs, predictions, targets, _ = records.columns
    extra, outputs = records.width - anatomy.width, anatomy.outputs
    if predictions or not extra == len(odd) >= outputs:
        return None
    others, made = odd[:-outputs], odd[-outputs:]
    hold, option = f"if {', '.join(made)} holds the predictions", f"--predictions {as_option(made)}"
    if not others:
        return f"{hold}: {option}"
    if odd == [*inputs[-extra:]] or made != [*inputs[-outputs:]]:
        return None
    no_inputs = as_option([*others, *targets])
    return f"{hold}, and {', '.join(others)} is no input: {option} --targets {no_inputs}"


def _last(records: Records, anatomy: Anatomy) -> str | None:
    """The option for columns of which the last may be predictions, and targets behind them."""
    inputs, predictions, *_ = records.columns
    nameless = all(map(str.isdecimal, inputs + predictions))  # so that the role was only guessed
    names = inputs + predictions if nameless else () if predictions else inputs
    rest = names[anatomy.width :]
    if len(rest) == anatomy.outputs:
        return f"if the last hold the predictions: --predictions {as_option(rest)}"
    if rest and len(rest) == 2 * anatomy.outputs:
        made, wanted = as_option(rest[: anatomy.outputs]), as_option(rest[anatomy.outputs :])
        return f"if the last hold predictions and targets: --predictions {made} --targets {wanted}"
    return None


def other_network(pile: Pile, records: Records | None = None) -> str | None:
    """What network of another kind the shapes make, and how to go on. None where they make none.

    It has layers before the blocks, several behind them, gates, or attention.
    """
    counts: Counter[Shape] = Counter(piece.shape for piece in pile)
    for (hidden, width), count in sorted(counts.items(), reverse=True):
        outs = counts[width, hidden]
        others = counts - Counter({(hidden, width): count, (width, hidden): outs})
        if hidden != width and outs > 1 and count == 2 * outs and others.total() == 1:
            (last,) = others
            return (
                f"{count} pieces are {_size((hidden, width))} and {outs}, half as many, are "
                f"{_size((width, hidden))}, as in gated blocks x + down(a(gate(x)) * up(x)); "
                f"{_next_step(pile, [last])}"
            )
        both = counts[width, hidden // 2]
        if hidden % 2 == 0 and both == count > 1 and len(pile) == 2 * count + 1:
            (last,) = counts - Counter({(hidden, width): count, (width, hidden // 2): both})
            return (
                f"{count} pieces are {_size((hidden, width))} and {both}, which read half as many "
                f"units, are {_size((width, hidden // 2))}, as in gated blocks whose gate and up "
                f"are one matrix; {_next_step(pile, [last])}"
            )
        blocks = min(count, outs) if hidden != width else count // 2
        rest = counts - Counter({(hidden, width): blocks}) - Counter({(width, hidden): blocks})
        core = {(hidden, width), (width, hidden)}
        few = blocks and rest.total() < MOST_ENDS
        ends = _ends([*rest.elements()], core, width, records) if few else None
        if ends is not None:
            stem, head = ends
            parts = [f"{blocks} blocks {width} → {hidden} → {width}", f"a head {_path(head)}"]
            if stem:
                parts.insert(0, f"a stem {_path(stem)}")
            if rest[width, width] == 2 == rest.total() - 1:
                parts[-1] += (
                    f", or of one more block {_path([(width, width)] * 2)} and a last layer"
                )
            return f"the shapes are those of {', '.join(parts)}; {_next_step(pile, stem + head)}"
    return _attention(pile, counts)


def _attention(pile: Pile, counts: Counter[Shape]) -> str | None:
    """What is said where square matrices are as many as those of attention beside the blocks."""
    for (hidden, width), blocks in counts.items():
        square, joined = (width, width), (3 * width, width)
        own = Counter({shape: counts[shape] for shape in (square, joined, (width, hidden))})
        rest = counts - own - Counter({(hidden, width): blocks})
        found = counts[square], counts[joined]
        fits = found in ((4 * blocks, 0), (blocks, blocks)) and counts[width, hidden] == blocks
        if fits and hidden != width and rest.total() < MOST_ENDS:
            sizes = [f"{own[one]} are {_size(one)}" for one in own if own[one]]
            return (
                f"{blocks} pieces are {_size((hidden, width))}, {listed(sizes)}, as in "
                f"transformers with attention; {_next_step(pile, [*rest])}"
            )
    return None


def _next_step(pile: Pile, ends: Sequence[Shape]) -> str:
    """What to do with a network of another kind, of which some shapes are no blocks."""
    if not ends:
        return GIVE_CODE
    fitting = {shape: [piece.id for piece in pile if piece.shape == shape] for shape in ends}
    one = {shape for shape, ids in fitting.items() if ends.count(shape) < len(ids)}
    which = "; ".join(
        f"{'one of ' if shape in one else ''}{_names(ids)} ({_size(shape)})"
        for shape, ids in fitting.items()
    )
    return f"{GIVE_CODE}; the function puts into the module what is no block: {which}"


def _path(shapes: Sequence[Shape]) -> str:
    """The widths that layers lead through, such as `10 → 6 → 1`."""
    return " → ".join(str(width) for width in (shapes[0][1], *(rows for rows, _ in shapes)))


def _ends(
    rest: list[Shape], core: set[Shape], width: int, records: Records | None
) -> tuple[tuple[Shape, ...], tuple[Shape, ...]] | None:
    """Layers before and behind blocks of a width that use all that is left, if not just the last.

    They lead from the inputs of the record to its predictions, where these are known. A layer like
    those of the blocks may as well be one too many, unless ends of these widths need it.
    """
    for path in sorted({*permutations(rest)}) if len(rest) > 1 else ():
        if any(before[0] != after[1] for before, after in pairwise(path)):
            continue
        columns, outputs = path[0][1], path[-1][0]
        known = records is None or (columns == records.width and records.outputs in (0, outputs))
        needed = records is not None and (columns != width or path[-1][1] != width)
        places = [columns, *(rows for rows, _ in path)]
        if known and width in places[:-1] and (needed or not core & {*path}):
            place = places.index(width)
            return path[:place], path[place:]
    return None


def _what_is_wrong(pile: Pile, counts: Counter[Shape], records: Records | None) -> str:
    """Explain why no network uses exactly these pieces."""
    expected = "a network of K blocks has K inp layers (h × d), K out layers (d × h) and one last"
    core = _core(counts, records)
    if core is None:
        listing = ", ".join(f"{n} of {_size(shape)}" for shape, n in sorted(counts.items()))
        return (
            f"no two shapes in the pile are transposes of each other ({listing}), so no inp layer "
            f"has an out layer: {expected}; for a network of another kind, {GIVE_CODE}"
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
        f"in a network {network}; take {'it' if one else 'them'} out of the pile, or, where the "
        f"network has other parts, {GIVE_CODE}"
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
    names = [*ids]
    return f"piece{'s' * (len(names) > 1)} {some_ids(names)}"
