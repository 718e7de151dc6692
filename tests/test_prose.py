"""Sentences of documents, help, messages and docstrings are short enough to read at once."""

import ast
import inspect
import re
from argparse import SUPPRESS, _SubParsersAction
from pathlib import Path

import pytest

from unshuffle.commands import build_parser

PROJECT = Path(__file__).parent.parent
SOURCE = PROJECT / "src" / "unshuffle"
DOCUMENTS = [
    path.relative_to(PROJECT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docs/tutorials/*.md", "*/README.md")
    for path in sorted(PROJECT.glob(pattern))
]
MOST_WORDS = 25
MOST_ON_AVERAGE = 11
NOT_PROSE = re.compile(
    r"```.*?```|\$\$.*?\$\$|^[ \t]*(?:\||#|!\[|<|>>>)[^\n]*$", re.DOTALL | re.MULTILINE
)
ENDS = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z*`\[(\"“])|\n\s*\n|\n\s*(?:[-*]|\d+\.)\s")
ATTRIBUTE = re.compile(r"^\S.*\n(?=    \S)", re.MULTILINE)
"""The name of a parameter, or of a type, above its indented explanation."""
LISTING = re.compile(r"^.*\S {2,}\S.*$|(?<=::)\n(?:\n|    .*\n)+", re.MULTILINE)
"""A line in columns, such as a file with what is in it; code behind two colons."""


def sentences(text):
    """The words of each sentence; what is quoted as code is one word."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub("`+[^`]*`+", "X", text))
    return [words for sentence in ENDS.split(plain) if (words := sentence.split())]


def long_sentences(text):
    """Return the sentences of more than `MOST_WORDS` words."""
    return [" ".join(words) for words in sentences(text) if len(words) > MOST_WORDS]


def too_long(texts):
    """The long sentences, by the name of their text."""
    found = {name: long_sentences(text) for name, text in texts.items()}
    return {name: long for name, long in found.items() if long}


def average(texts):
    """Words a sentence."""
    lengths = [len(words) for text in texts for words in sentences(text)]
    return sum(lengths) / len(lengths)


def public_docstrings(node, name):
    """Docstrings of a module and of what is public in it, by name; those of attributes too."""
    for number, one in enumerate(node.body):
        match one:
            case ast.FunctionDef(under) | ast.ClassDef(under) if not under.startswith("_"):
                yield from public_docstrings(one, f"{name}.{under}")
            case ast.Expr(ast.Constant(str(text))):
                yield f"{name} {number}", inspect.cleandoc(text)


def messages(tree):
    """Strings that are no docstrings, by line; what is put into them is one word."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.JoinedStr(parts):
                    words = (p.value if isinstance(p, ast.Constant) else "X" for p in parts)
                    yield child.lineno, "".join(words)
                case ast.Constant(str(text)) if not isinstance(node, ast.JoinedStr | ast.Expr):
                    yield child.lineno, text


def helps(parser):
    yield parser.prog, f"{parser.description}.\n\n{parser.epilog or ''}"
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for under in action.choices.values():
                yield from helps(under)
        elif action.help and action.help != SUPPRESS:
            yield f"{parser.prog} {action.dest}", action.help


def prose(document):
    return NOT_PROSE.sub("", (PROJECT / document).read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_sentences_of_documents_are_short(document):
    text = prose(document)
    assert len(text) > 100
    assert long_sentences(text) == []


def test_sentences_of_documents_are_short_on_average():
    assert average(map(prose, DOCUMENTS)) <= MOST_ON_AVERAGE


def test_sentences_of_public_docstrings_are_short():
    texts = {
        name: LISTING.sub("", ATTRIBUTE.sub("\n", text))
        for path in SOURCE.rglob("*.py")
        for name, text in public_docstrings(ast.parse(path.read_text("utf-8")), path.stem)
    }
    assert len(texts) > 1000
    assert too_long(texts) == {}
    assert average(texts.values()) <= MOST_ON_AVERAGE


def test_sentences_of_help_are_short():
    texts = dict(helps(build_parser()))
    assert len(texts) > 60
    # Help begins in small letters, so any mark ends a sentence.
    assert too_long({name: re.sub(r"[.:;] ", "\n\n", text) for name, text in texts.items()}) == {}


def test_sentences_of_messages_are_short():
    texts = {
        f"{path.stem} {line}: {text}": re.sub(r"[.:;] |\n", "\n\n", text)
        for path in SOURCE.rglob("*.py")
        for line, text in messages(ast.parse(path.read_text("utf-8")))
    }
    assert len(texts) > 1000
    assert too_long(texts) == {}


def test_a_long_sentence_is_noticed():
    assert long_sentences("Short one. " + "word " * (MOST_WORDS + 1)) != []
