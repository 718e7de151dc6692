"""The page itself: styles, scripts and content put into one HTML file.

A policy in the page forbids every request, and every script and style but its own, which it knows
by their hashes (Content Security Policy Level 3, W3C).
"""

import base64
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template

import unshuffle
from unshuffle.solution.solution import Solution
from unshuffle.views.report.content import content_of

STYLES = ("vendor/uPlot.min.css", "style.css")
LIBRARY = ("vendor/uPlot.iife.min.js",)
SCRIPTS = (
    "elements.js",
    "colours.js",
    "content.js",
    "verdict.js",
    "plots.js",
    "chain.js",
    "products.js",
    "scores.js",
    "replay.js",
    "start.js",
)
"""In the sequence in which they run: each uses only what those before it define."""


def report_page(solution: Solution) -> str:
    """Make the report of a solution.

    Parameters
    ----------
    solution
        As from `solve`, or read back.

    Returns
    -------
    str
        HTML that needs nothing beside it. The same solution gives the same text.
    """
    content = content_of(solution)
    style, library, script = (_joined(names) for names in (STYLES, LIBRARY, SCRIPTS))
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; "
        f"style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_asset("page.html")).substitute(
        policy=escape(policy),
        title=escape(f"unshuffle: {solution.outcome}, {len(solution.blocks)} blocks"),
        version=escape(unshuffle.__version__),
        style=style,
        library=library,
        script=script,
        values=content.as_json(),
        arrays=content.packed(),
    )


def _joined(names: Iterable[str]) -> str:
    return "\n".join(_asset(name) for name in names)


def _asset(name: str) -> str:
    return (files("unshuffle.views.report") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """How a policy names an element by its text."""
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"
