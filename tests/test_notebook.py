"""The notebook runs from its top to its end, and shows what is kept in it."""

import ast
import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "story.ipynb"


def run(source, names):
    """Run a cell as a notebook does, and return what its last expression gives."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None


def test_the_notebook_shows_what_its_cells_give(monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    monkeypatch.chdir(NOTEBOOK.parent)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names = {}
    pictures = texts = 0
    for cell in cells:
        if cell["cell_type"] == "code":
            given = run("".join(cell["source"]), names)
            (kept,) = [output["data"] for output in cell["outputs"]]
            pictures += "image/png" in kept
            if "image/png" not in kept:
                texts += 1
                assert repr(given) == "".join(kept["text/plain"])
    assert (pictures, texts) == (4, 9)
    assert len(pyplot.get_fignums()) == pictures
    pyplot.close("all")


def test_links_of_the_notebook_lead_somewhere():
    links = re.findall(r"\]\(([^)]*)\)", NOTEBOOK.read_text(encoding="utf-8"))
    assert len(links) > 1
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []
