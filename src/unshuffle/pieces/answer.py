"""Answers: ids in the order of application, as text, checked against a pile."""

import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from hashlib import sha256
from numbers import Integral

from unshuffle.errors import AnswerError, shown
from unshuffle.pieces.anatomy import Anatomy, check_biases
from unshuffle.pieces.pile import Floats, PieceId, Pile, some_ids, twice

LOST = "?"  # stands in an answer for a piece that is lost

# Under which JSON has an answer, or the blocks of one; the last layer follows these.
KEYS = ("permutation", "answer", "order", "solution", "blocks", "pairs")
_LAST = re.compile("(last|final|head).*", re.IGNORECASE)
_ROLES = tuple(  # what the two layers of a block are called
    re.compile(rf"((w|layer)[_ -]?)?({names})([_ -].*)?", re.IGNORECASE | re.DOTALL)
    for names in ("in|inp|input|up|a|1|first", "out|output|down|b|2|second")
)

_BETWEEN = r"[\s,;()\[\]{}`]+|[-=]>|→"
_JOINING = r"[:|&+>–—-]+|(?<=[0-9])_(?=[0-9])"  # stands between ids too, unless the whole is one
_HEADER = re.compile(r"\A\s*inp?(ut)?[\s,;]+out(put)?[ \t]*[\r\n]", re.IGNORECASE)
_LONGEST = 500  # characters of a name that are looked at
_FILE = re.compile(
    r"(.*[/\\])?(?P<stem>([^0-9.+-](.*[^0-9])?)?0*(?P<number>[0-9]+)|.*?)"
    r"(\.(pth|pt|safetensors|npz|npy|0+))?",
    re.DOTALL,
)


def answer_text(permutation: Sequence[PieceId]) -> str:
    """The answer as it is published and hashed: ids joined by commas."""
    return ",".join(map(str, permutation))


def answer_hash(permutation: Sequence[PieceId]) -> str:
    """SHA-256 of the answer text, in hexadecimal."""
    return sha256(answer_text(permutation).encode()).hexdigest()


def parse_answer(given: object, pile: Pile) -> tuple[PieceId, ...]:
    """Read an answer: text, or ids in sequences, such as pairs.

    Text is ids between commas or line breaks. If no piece is called so, what other solvers write is
    read: ids between blanks, brackets, colons or dashes, names of files, or JSON. JSON has a list
    or one of `KEYS`.
    """
    by_text = {str(name): name for name in (*pile.ids, *(bias.id for bias in pile.biases))}
    text = given if isinstance(given, str) else None
    names = _leaves(given) if text is None else re.split(r"[,\n]", text)
    names = [stripped for name in names if (stripped := name.strip())]
    if text is not None and not by_text.keys() >= {*names}:
        words = [_called(name, by_text) for name in _loosely(_HEADER.sub("", text, 1))]
        names = [name for word in words for name in _parts(word, by_text)]
    unknown = [name for name in names if name not in by_text]
    if lost := next((name for name in unknown if name.startswith(LOST)), None):
        raise AnswerError(
            f"the answer has {shown(lost)} in place {names.index(lost) + 1}: a layer that is no "
            "piece of the pile, so its pieces alone do not make that network; if solve estimated "
            "the layer, the network lies beside the answer, as network.safetensors"
        )
    if unknown:
        raise AnswerError(_no_such_piece(unknown[0], pile))
    return tuple(by_text[name] for name in names)


def _loosely(text: str) -> list[str]:
    """What may be names in a text of any of the usual forms."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if isinstance(value, dict):
        keys = [key for key in KEYS if isinstance(value.get(key), str | list)]
        if not keys:
            raise AnswerError(f"the answer's JSON has none of the keys {', '.join(KEYS)}; name one")
        last = [value[key] for key in value if _LAST.fullmatch(key)]
        value = [value[keys[0]], *(last if keys[0] in KEYS[-2:] else ())]
    words = [word for leaf in _leaves(value) for word in re.split(_BETWEEN, leaf)]
    return [stripped for word in words if (stripped := word.strip("'\""))]


def _leaves(value: object) -> list[str]:
    """The ids in sequences of sequences, from left to right."""
    found = []
    rest = [value]
    while rest:
        one = rest.pop()
        one = one.tolist() if hasattr(one, "tolist") else one  # an array, or a tensor of torch
        if isinstance(one, str | Integral) and not isinstance(one, bool):
            found.append(str(one))
        elif isinstance(one, dict) and (layers := _of_block(one)):
            rest.extend(reversed(layers))
        elif isinstance(one, Iterable) and not isinstance(one, bytes | Mapping):
            rest.extend(reversed([*one]))
        else:
            raise AnswerError(
                f"the answer holds {shown(repr(one))}, which is no id; expected the pieces' ids in "
                "the order in which they are applied"
            )
    return found


def _of_block(block: dict[object, object]) -> list[object]:
    """The two layers of a block in their sequence; nothing where keys do not tell."""
    layers = [
        [value for key, value in block.items() if isinstance(key, str) and role.fullmatch(key)]
        for role in _ROLES
    ]
    return [each for (each,) in layers] if all(len(found) == 1 for found in layers) else []


def _called(word: str, names: Container[str]) -> str:
    """The name that a word means: itself, or what a file of that name holds."""
    if word.startswith(LOST):  # the name of an estimated layer, such as ?1, is not that of piece 1
        return word
    file = _FILE.fullmatch(word) if len(word) <= _LONGEST else None
    for name in (word, file and file["stem"], file and file["number"]):
        if name and name in names:
            return name
    return word


def _parts(word: str, names: Container[str]) -> list[str]:
    """The names that are joined in a word, if each of them is one; else the word itself."""
    parts = [_called(part, names) for part in re.split(_JOINING, word) if part]
    joined = word not in names and all(part in names or part.startswith(LOST) for part in parts)
    return parts if joined else [word]


def _no_such_piece(name: PieceId, pile: Pile) -> str:
    return (
        f"the answer names a piece {shown(repr(str(name)))}, but the pile has none; expected "
        f"{len(pile) + len(pile.biases)} ids such as {pile.ids[0]}, separated by commas"
    )


def with_biases(
    permutation: Sequence[PieceId], bias_of: Mapping[PieceId, PieceId]
) -> tuple[PieceId, ...]:
    """The answer of detached pieces: each weight, followed by its loose bias, if any."""
    return tuple(
        part
        for name in permutation
        for part in ((name, bias_of[name]) if name in bias_of else (name,))
    )


def join_answer(pile: Pile, answer: Sequence[PieceId]) -> tuple[Pile, tuple[PieceId, ...]]:
    """Give each weight the bias that follows it in an answer, for lengths with loose ones.

    The pile of whole pieces and their part of the answer are returned. Both stay as they are where
    no piece is detached.
    """
    if not pile.detached:
        return pile, tuple(answer)
    check_biases(pile)
    loose = {bias.id: bias.values for bias in pile.biases}
    lengths = {len(values) for values in loose.values()}
    joined: dict[PieceId, Floats] = {}
    layers = []
    rest = iter(answer)
    for name in rest:
        layers.append(name)
        if name in loose:
            raise AnswerError(
                f"the answer names bias {name} where a weight belongs; each weight is followed by "
                "its bias: inp, its bias, out, its bias, …, last, its bias"
            )
        piece = pile[pile.index[name]] if name in pile.index else None
        if piece is not None and piece.detached and piece.shape[0] in lengths:
            bias = next(rest, None)
            rows = piece.shape[0]
            if bias is None or bias not in loose or len(loose[bias]) != rows:
                raise AnswerError(
                    f"the answer has {'nothing' if bias is None else f'piece {bias}'} after weight "
                    f"{name}, where a bias of {rows} numbers that no other weight has belongs"
                )
            joined[name] = loose.pop(bias)
    _check_complete(layers, pile, "weights")
    return pile.joined(joined), tuple(layers)


def _check_complete(named: Sequence[PieceId], pile: Pile, what: str) -> None:
    there = {*named}
    if missing := [name for name in pile.ids if name not in there]:
        raise AnswerError(
            f"the answer names {len(named)} of {len(pile)} {what}, without {some_ids(missing)}; "
            "name these too; if they do not belong, give the solution.json that says so, or a pile "
            "without them"
        )


def check_pieces(pile: Pile, permutation: Sequence[PieceId]) -> None:
    """Make sure that a permutation names each piece of a pile once, and nothing else."""
    if unknown := [name for name in permutation if name not in pile.index]:
        raise AnswerError(_no_such_piece(unknown[0], pile))
    if doubled := twice(permutation):
        raise AnswerError(f"the answer names piece {doubled[0]} twice; each piece is used once")
    _check_complete(permutation, pile, "pieces")


def check_answer(pile: Pile, anatomy: Anatomy, permutation: Sequence[PieceId]) -> None:
    """Make sure that a permutation names each piece once and puts none where it cannot go."""
    check_pieces(pile, permutation)
    roles = [("inp", anatomy.inp), ("out", anatomy.out)] * anatomy.blocks + [("last", anatomy.last)]
    for place, (name, (role, fitting)) in enumerate(zip(permutation, roles, strict=True), start=1):
        if pile.index[name] not in fitting:
            rows, columns = pile[pile.index[name]].shape
            wanted_rows, wanted_columns = pile[fitting[0]].shape
            raise AnswerError(
                f"the answer puts piece {name} ({rows} × {columns}) in place {place}, where an "
                f"{role} layer ({wanted_rows} × {wanted_columns}) belongs; the sequence is inp, "
                "out, inp, out, …, last"
            )
