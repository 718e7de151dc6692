"""How the site of the documents is built: `make docs`.

The sources are the Markdown files of the repository, so the source directory is its root. One link
serves the site and whoever reads the files. Nothing is loaded from elsewhere:
the theme brings its own styles and scripts, and formulas are MathML. The README alone has absolute
links, since package indexes show it. On the site they are links to its own pages.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import get_origin

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

project = "unshuffle"
author = "The unshuffle developers"
html_title = "unshuffle"
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]

root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "examples/*.md", "benchmarks/*.md"]
exclude_patterns = [".*", "build", "src", "tests"]
html_extra_path = ["site"]

html_theme = "furo"
html_static_path: list[str] = []
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

default_role = "py:obj"  # docstrings name things in single backticks
autodoc_member_order = "bysource"
autodoc_use_type_comments = False
# PyTorch is imported for its names only, and slowly; so is what needs more of it than names.
autodoc_mock_imports = ["torch", "unshuffle.blocks.torch_module"]
numpydoc_show_class_members = False
python_maximum_signature_line_length = 88

WIDE = "overflow: auto hidden; padding: 0.3em 0"  # on a phone, formulas are wider than the page


def mathml(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula as MathML, which every browser sets by itself."""
    block = isinstance(node, nodes.math_block)
    try:
        formula = tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        logging.getLogger(__name__).warning(str(error), location=node)
        raise nodes.SkipNode from error
    translator.body.append(f"<div style='{WIDE}'>{formula}</div>" if block else formula)
    raise nodes.SkipNode


SHORTER = {
    r"~numpy\.ndarray\[tuple\[.*?\], ~numpy\.dtype\[([^]]*)\]\]": r"~numpy.typing.NDArray[\1]",
    r"Activation\(name='relu', apply=<[^>]*>, derivative=<[^>]*>\)": "RELU",
}
"""Types and defaults as the code writes them, by what Sphinx makes of them."""


def shorten(
    app: Sphinx, what: str, name: str, obj: object, options: object, *signature: str | None
) -> tuple[str | None, ...]:
    """Keep arguments and result readable."""
    texts = list(signature)
    for long, short in SHORTER.items():
        texts = [text and re.sub(long, short, text) for text in texts]
    return tuple(texts)


def skip_plain(app: Sphinx, what: str, name: str, obj: object, *event: object) -> bool | None:
    """Leave constants and names of types out: the code explains them where it uses them."""
    return True if what == "module" and (name.isupper() or get_origin(obj)) else None


def make_relative(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn absolute links into this repository to relative ones."""
    if docname == "README":
        project = tomllib.loads((Path(app.srcdir) / "pyproject.toml").read_text("utf-8"))["project"]
        name = project["urls"]["Source"].removeprefix("https://github.com/")
        for base in (f"github.com/{name}/blob/main/", f"raw.githubusercontent.com/{name}/main/"):
            source[0] = source[0].replace(f"https://{base}", "")


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the renderer of formulas that docutils brings, and keep signatures short."""
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))
    app.connect("source-read", make_relative)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-skip-member", skip_plain)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
