"""Arguments in each other's place: what was found is said, and the line that was meant."""

import argparse
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from unshuffle.errors import UsageError, shown
from unshuffle.files.found import Found, found_at

FIGURE = "a figure"

# By metavar: what belongs in that place, and what may lie there, the likeliest first.
PLACES: dict[str, tuple[str, tuple[str, ...]]] = {
    "FIGURE": ("the name of a figure belongs", (FIGURE,)),
    "PIECES": ("the pieces belong", (Found.FOLDER, Found.ARRAYS)),
    "RECORDS": ("the record belongs, which is one file", (Found.TABLE, Found.ARRAYS)),
    "ANSWER": ("the answer belongs", (Found.KEPT, Found.ANSWER)),
    "RUN": ("a folder with solution.json belongs, as solve --out kept it", (Found.KEPT,)),
}


@dataclass(frozen=True)
class _Given:
    """A word, where it stands, and what it is, as far as that is sure."""

    word: str
    place: str
    found: str | None

    @property
    def fits(self) -> bool:
        """Whether it may stand there."""
        return self.found is None or self.found in PLACES[self.place][1]


def check_places(args: argparse.Namespace, words: Sequence[str]) -> None:
    """Refuse words that stand where others belong, and say the line that was meant."""
    actions = {one.metavar: one for one in args.parser._get_positional_actions()}
    if not PLACES.keys() >= actions.keys():
        return
    given = []
    for place, action in actions.items():
        value = getattr(args, action.dest) or []
        several = value if isinstance(value, list) else [value]
        given += [_Given(word, place, _found(word, place)) for word in several]
    for one in given:
        if not one.fits:
            meant = _meant(given, actions)
            options = _without(words[1:], [each.word for each in given])
            line = shlex.join(["unshuffle", words[0], *map(shown, [*meant, *options])])
            raise UsageError(
                f"{shown(one.word)}: is {one.found}, and stands where {PLACES[one.place][0]}; "
                f"write: {line}"
            )


def _found(word: str, place: str) -> str | None:
    if place == "FIGURE":
        from unshuffle.views.figures import FIGURES

        return FIGURE if word in (*FIGURES, "all") else found_at(word)
    return found_at(word)


def _meant(given: Sequence[_Given], actions: dict[str, argparse.Action]) -> list[str]:
    """For each place in turn the words that fit it, else its name if it needs one."""
    rest = [_around(one) for one in given]
    chosen: dict[str, list[str]] = {}
    kinds = [(place, kind) for place in actions for kind in (*PLACES[place][1], None)]
    for place, kind in sorted(kinds, key=lambda one: one[1] is None):  # what is sure comes first
        there = [one for one in rest if one.place == place and one.fits and one.found]
        fitting = there or [one for one in rest if one.found == kind]
        if fitting and place not in chosen:
            most = None if actions[place].nargs == "+" else 1
            chosen[place] = [one.word for one in fitting[:most]]
            rest = [one for one in rest if one not in fitting[:most]]
    return [
        word
        for place, action in actions.items()
        for word in chosen.get(place, [place] * action.required)
    ]


def _around(one: _Given) -> _Given:
    """The folder that solve --out kept instead of a file in it, where such a folder belongs."""
    folder = os.path.dirname(one.word)
    inside = not one.fits and Found.KEPT in PLACES[one.place][1]
    kept = inside and folder and found_at(folder) is Found.KEPT
    return _Given(folder, one.place, Found.KEPT) if kept else one


def _without(words: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Words but for those that were taken, each once; names may be written in any case."""
    rest = [*words]
    for word in taken:
        same = [place for place, one in enumerate(rest) if word in (one, one.lower())]
        if same:
            rest.pop(same[0])
    return rest
