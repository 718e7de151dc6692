"""A solution as one page for a browser: self-contained, interactive, without any network access.

A policy in the page forbids every request. It also forbids every script and style but its own,
known by their hashes (Content Security Policy Level 3, W3C).
"""

import base64
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template

import unshuffle
from unshuffle.pieces.records import Records
from unshuffle.solution.solution import Solution
from unshuffle.views.report.content import content_of

STYLES = ("vendor/uPlot.min.css", "style.css")
LIBRARY = ("vendor/uPlot.iife.min.js",)
# In the sequence in which they run: each uses only what those before it define.
NAMES = "elements colours content verdict plots chain products scores replay start"
SCRIPTS = tuple(f"{name}.js" for name in NAMES.split())


def report_page(solution: Solution, records: Records | None = None) -> str:
    """Make the report of a solution: HTML that needs nothing beside it, and is always the same.

    With its record, the page shows that, and the norms of its rows along the depth.
    """
    content = content_of(solution, records)
    style, library, script = (_joined(names) for names in (STYLES, LIBRARY, SCRIPTS))
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; "
        f"style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    return Template(_joined(["page.html"])).substitute(
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
    folder = files("unshuffle.views.report")
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _hash(text: str) -> str:
    """How a policy names an element by its text."""
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"
