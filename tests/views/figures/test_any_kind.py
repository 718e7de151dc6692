"""Solutions of modules are drawn as those of the puzzle, with one matrix an edge."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle import read_solution, write_solution
from unshuffle.blocks.mlp import as_mlp
from unshuffle.errors import UsageError
from unshuffle.ordering.paths import path_similarity
from unshuffle.views import figures
from unshuffle.views.report import report_page
from unshuffle.views.report.content import content_of

pytest.importorskip("matplotlib")


def test_each_edge_has_its_scores_with_the_blocks_along_the_diagonal(solved_module):
    images = [image.get_array() for image in figures.scores(solved_module).images]
    edges = solved_module.evidence
    assert len(edges) > 1
    assert len(images) == 2 * len(edges)
    row = {name: k for k, name in enumerate(solved_module.trace.ids)}
    for edge, before, after in zip(edges, images[::2], images[1::2], strict=True):
        np.testing.assert_array_equal(before, edge.scores)
        true = [
            edge.scores[
                edge.rows.index(row[block[edge.first]]), edge.columns.index(row[block[edge.second]])
            ]
            for block in solved_module.blocks
        ]
        np.testing.assert_array_equal(np.diag(after), true)
        assert [match.score for match in edge.matches] == true


def test_rivals_and_margins_have_the_pairs_of_all_edges(solved_module):
    edges, blocks = solved_module.evidence, len(solved_module.blocks)
    drawn = figures.rivals(solved_module).lines[0].get_xydata()
    assert len({*drawn[:, 0]}) == len(drawn) == len(edges) * blocks
    margins = [match.margin for edge in edges for match in edge.matches]
    np.testing.assert_array_equal(
        figures.margins(solved_module).lines[0].get_ydata(), np.sort(margins)
    )
    by_block = np.reshape(margins, (len(edges), blocks)).min(axis=0)
    np.testing.assert_array_equal([*solved_module.margins.values()], by_block)


def test_the_chain_names_the_piece_in_each_role(solved_module):
    ax = figures.chain(solved_module)
    found = {one.get_position(): one.get_text() for one in ax.texts}
    assert found == {
        (place + 1, role): str(name)
        for place, block in enumerate(solved_module.blocks)
        for role, name in enumerate(block)
    }
    assert [one.get_text() for one in ax.get_yticklabels()][1:] == [*solved_module.roles[1:]]


def test_the_path_is_the_similarity_along_the_order(solved_module):
    shown = figures.path(solved_module).images[0].get_array()
    np.testing.assert_array_equal(shown.mask, np.eye(4, dtype=bool))
    np.testing.assert_array_equal(shown.filled(0), solved_module.similarity)


def test_similarity_knows_hidden_units_from_the_stream(solved):
    """Neither the sequence of hidden units nor their signs may count, but that of channels does."""
    blocks, rng = as_mlp(solved[1].network).blocks, np.random.default_rng(0)
    expected = path_similarity(blocks)
    permuted = blocks.copy()
    order = rng.permutation(blocks.hidden)
    for values in (permuted.inp_weight, permuted.inp_bias):
        values[2] = -values[2][order]
    permuted.out_weight[2] = -permuted.out_weight[2][:, order]
    np.testing.assert_allclose(path_similarity(permuted), expected, atol=1e-6)
    permuted.out_weight[2] = permuted.out_weight[2][::-1]
    assert np.abs(path_similarity(permuted) - expected).max() > 0.1


def test_what_was_kept_is_shown_the_same(solved_module, tmp_path):
    write_solution(solved_module, tmp_path)
    kept = read_solution(tmp_path)
    for one, other in zip(solved_module.evidence, kept.evidence, strict=True):
        assert (one.first, one.second, one.rows, one.columns, one.matches) == (
            (other.first, other.second, other.rows, other.columns, other.matches)
        )
    assert kept.roles == solved_module.roles
    assert report_page(kept) == report_page(solved_module)


def test_what_does_not_serve_the_kind_says_so(solved_module):
    for name in ("products", "contrast", "traces", "ranks", "spectrum"):
        with pytest.raises(UsageError, match="blocks x \\+ out"):
            figures.find_figure(name).draw(solved_module, None)
    bare = replace(solved_module, links=())
    for name in ("scores", "rivals", "margins"):
        with pytest.raises(UsageError, match="weights say nothing"):
            figures.find_figure(name).draw(bare, None)
    figures.chain(bare)


def test_the_report_has_every_edge(solved_module):
    made = content_of(solved_module)
    values, edges = made.values, solved_module.evidence
    assert len(values["edges"]) == len(edges)
    for k, edge in enumerate(values["edges"]):
        at = [[values["blocks"][block][role] for block in range(4)] for role in edge["roles"]]
        pairs = [(edge["rows"][m["row"]], edge["columns"][m["column"]]) for m in edge["matches"]]
        assert pairs == [*zip(*at, strict=True)]
        np.testing.assert_array_equal(made.arrays[f"scores{k}"], edges[k].scores.astype("f4"))
    named = [[values["ids"][piece] for piece in block] for block in values["blocks"]]
    assert named == [list(block) for block in solved_module.blocks]
    last = made.arrays["frameBlocks"][made.arrays["frameStart"][-2] :]
    assert last.tolist() == values["blocks"]
    assert values["last"] is None
    shades, own = made.arrays["similarity"], np.eye(4, dtype=bool)
    assert (shades[own] == 127).all()
    ranked = np.argsort(solved_module.similarity[~own], kind="stable")
    assert (np.diff(shades[~own][ranked].astype(int)) >= 0).all()
    assert (shades[~own].min(), shades[~own].max()) == (-127, 127)
    assert "weights" not in made.arrays
