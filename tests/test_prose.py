"""Sentences of documents, of help and of public docstrings are short enough to read at once."""

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
MOST_WORDS = 28
NOT_PROSE = re.compile(r"```.*?```|\$\$.*?\$\$|^\s*(\||#|!\[|<|>>>).*$", re.DOTALL | re.MULTILINE)
ENDS = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z*`\[(\"“])|\n\s*\n|\n\s*(?:[-*]|\d+\.)\s")
ATTRIBUTE = re.compile(r"^\S.*\n(?=    \S)", re.MULTILINE)
"""The name of a parameter, or of a type, above its indented explanation."""
LISTING = re.compile(r"^.*\S {2,}\S.*$", re.MULTILINE)
"""A line in columns, such as a file with what is in it."""


def long_sentences(text):
    """Return the sentences of more than `MOST_WORDS` words; what is quoted as code is one word."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub("`+[^`]*`+", "X", text))
    sentences = (sentence.split() for sentence in ENDS.split(plain))
    return [" ".join(words) for words in sentences if len(words) > MOST_WORDS]


def public_docstrings(node, name):
    """Docstrings of a module and of what is public in it, by name; those of attributes too."""
    for number, one in enumerate(node.body):
        match one:
            case ast.FunctionDef(under) | ast.ClassDef(under) if not under.startswith("_"):
                yield from public_docstrings(one, f"{name}.{under}")
            case ast.Expr(ast.Constant(str(text))):
                yield f"{name} {number}", inspect.cleandoc(text)


def helps(parser):
    yield parser.prog, f"{parser.description}.\n\n{parser.epilog or ''}"
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for under in action.choices.values():
                yield from helps(under)
        elif action.help and action.help != SUPPRESS:
            yield f"{parser.prog} {action.dest}", action.help


@pytest.mark.parametrize("document", DOCUMENTS)
def test_sentences_of_documents_are_short(document):
    text = (PROJECT / document).read_text(encoding="utf-8")
    assert len(text) > 100
    assert long_sentences(NOT_PROSE.sub("", text)) == []


def test_sentences_of_public_docstrings_are_short():
    texts = {
        name: LISTING.sub("", ATTRIBUTE.sub("\n", text))
        for path in SOURCE.rglob("*.py")
        for name, text in public_docstrings(ast.parse(path.read_text("utf-8")), path.stem)
    }
    assert len(texts) > 1000
    found = {name: long_sentences(text) for name, text in texts.items()}
    assert {name: sentences for name, sentences in found.items() if sentences} == {}


def test_sentences_of_help_are_short():
    texts = dict(helps(build_parser()))
    assert len(texts) > 60
    # Help begins in small letters, so any mark ends a sentence.
    found = {name: long_sentences(re.sub(r"[.:;] ", "\n\n", text)) for name, text in texts.items()}
    assert {name: sentences for name, sentences in found.items() if sentences} == {}


def test_a_long_sentence_is_noticed():
    assert long_sentences("Short one. " + "word " * (MOST_WORDS + 1)) != []
