"""What the page is given is the solution, and nothing in it can become markup."""

import base64
import gzip
import json
import re
from hashlib import sha256
from importlib.resources import files

import numpy as np
import pytest

from unshuffle import Pile, read_solution, solve, write_solution
from unshuffle.blocks.mlp import as_mlp
from unshuffle.pieces.pile import Piece
from unshuffle.views.report import report_page
from unshuffle.views.report.content import PageParameters, content_of

VENDOR = files("unshuffle.views.report") / "vendor"


@pytest.fixture(scope="module")
def solution(make_dropped):
    case = make_dropped(np.random.default_rng(8), blocks=6, width=16, hidden=24)
    return solve(case.pile, case.records, strategy="classic", signal="fused")


def unpacked(made):
    """The arrays, as a browser finds them."""
    raw = gzip.decompress(base64.b64decode(made.packed()))
    return {
        name: np.frombuffer(
            raw, where["type"], count=int(np.prod(where["shape"])), offset=where["start"]
        ).reshape(where["shape"])
        for name, where in json.loads(made.as_json())["arrays"].items()
    }


def test_arrays_arrive_as_they_are(solution):
    made = content_of(solution)
    arrays = unpacked(made)
    assert arrays.keys() == made.arrays.keys()
    for name, values in made.arrays.items():
        np.testing.assert_array_equal(arrays[name], values)
    np.testing.assert_array_equal(arrays["scores0"], solution.pairing.scores.astype(np.float32))
    assert len(arrays["tested"]) == solution.trace.tested


def test_weights_are_off_by_half_a_step_at_most(solution):
    made = content_of(solution)
    layers = dict(zip(solution.permutation, as_mlp(solution.network).layers(), strict=True))
    for piece, name in enumerate(made.values["ids"][:-1]):
        scale = made.arrays["scales"][piece]
        weight = layers[name].weight
        held = made.arrays["weights"][piece].reshape(weight.shape) * scale
        assert np.abs(held - weight).max() <= 0.51 * scale
        assert np.abs(made.arrays["weights"][piece]).max() == 127


def test_the_last_frame_is_the_answer(solution):
    made = content_of(solution)
    values, arrays = made.values, made.arrays
    last = arrays["frameBlocks"][arrays["frameStart"][-2] : arrays["frameStart"][-1]]
    ids = [values["ids"][piece] for piece in last.ravel()]
    assert (*ids, values["ids"][values["last"]]) == solution.permutation
    assert arrays["frameStart"][-1] == len(arrays["frameBlocks"])


def test_a_search_cut_short_ends_with_the_answer_too(dropped):
    case = dropped(blocks=6, width=16, hidden=24)
    short = solve(case.pile, case.records, strategy="classic", time_limit=1e-9)
    assert len(short.trace.steps[-1].arrangement) < 6
    made = content_of(short)
    starts = made.arrays["frameStart"]
    assert made.arrays["frameBlocks"][starts[-2] :].tolist() == made.values["blocks"]


def test_much_is_thinned(solution):
    whole = content_of(solution)
    made = content_of(solution, by=PageParameters(weights=100, dots=10, frames=4))
    assert 5 <= len(made.arrays["tested"]) <= 10
    every = made.values["every"]
    np.testing.assert_array_equal(made.arrays["tested"], whole.arrays["tested"][::every])
    np.testing.assert_array_equal(
        made.arrays["testedNumber"], whole.arrays["testedNumber"][::every]
    )
    assert len(made.arrays["frameStep"]) <= 5
    starts = made.arrays["frameStart"]
    assert made.arrays["frameBlocks"][starts[-2] :].tolist() == made.values["blocks"]
    assert "weights" not in made.arrays


def test_names_cannot_become_markup(dropped):
    case = dropped(blocks=2, width=16, hidden=24)
    names = ["</script><script>alert(1)</script>", "<!--", "<img src=x onerror=alert(1)>", "&amp;"]
    names.append("ü$title")
    pile = Pile(
        Piece.linear(name, piece.weight, piece.bias)
        for name, piece in zip(names, case.pile, strict=True)
    )
    solution = solve(pile, case.records)
    text = content_of(solution).as_json()
    assert text.isascii()
    assert not set(text) & set("<>&")
    assert {*json.loads(text)["ids"]} == {*names}
    page = report_page(solution)
    assert page.count("<script") == page.count("</script>") == 4
    assert "<img" not in page
    assert "alert(1)\\u003c" in page


def test_what_was_kept_gives_the_same_page(solution, tmp_path):
    write_solution(solution, tmp_path)
    page = report_page(read_solution(tmp_path))
    assert page == report_page(solution)
    assert page == report_page(read_solution(tmp_path))


def test_the_page_names_no_address_to_load(solution):
    page = report_page(solution)
    page = page.replace(re.search(r"/\*! (https://\S+) ", page)[1], "")  # in a comment of uPlot
    assert not re.findall(r"(?:src|href)=\"(?!#)|url\(|@import|https?://", page)


def test_the_library_is_the_one_that_is_recorded():
    record = (VENDOR / "README.md").read_text(encoding="utf-8")
    hashes = dict(re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", record))
    assert hashes.keys() == {"uPlot.iife.min.js", "uPlot.min.css", "LICENSE"}
    for name, stated in hashes.items():
        assert sha256((VENDOR / name).read_bytes()).hexdigest() == stated
