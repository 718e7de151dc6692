"""The evidence for the pairs of each edge: products, scores, rivals, margins."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from unshuffle.blocks.mlp import INP, OUT, MlpNetwork, as_mlp
from unshuffle.grouping import Match
from unshuffle.grouping.edges import EdgeScores, rival_scores
from unshuffle.grouping.signals import Scores
from unshuffle.grouping.spectra import all_traces, product
from unshuffle.pieces.pile import Floats, PieceId
from unshuffle.solution.solution import Solution
from unshuffle.views.figures import style
from unshuffle.views.figures.style import BLUE, GREY, INK, ORANGE, PALE, axis, count_across, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.image import AxesImage

PRODUCT = r"$W_\mathrm{out}W_\mathrm{in}$"

TRACE = f"trace of {PRODUCT} (dimensionless)"

# What scores measure, by signal; the others are called by their names.
UNITS = {
    "fused": "log-odds that they belong together (nats)",
    "trace": f"± trace of {PRODUCT} (dimensionless)",
}

# Share of the entries of products whose magnitudes the colours tell apart.
SHOWN = 0.995


def products(
    solution: Solution, matches: Sequence[Match] | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Heat maps of W_out W_in: pairs as matched above, each with its best rival below.

    Without `matches` those of the smallest, the middle and the largest margin are shown.
    """
    if matches is None:
        placed = {block[INP] for block in solution.blocks}
        as_mlp(solution.network)
        ranked = [match for match in solution.edges()[0].matches if match.inp in placed]
        ranked = sorted(ranked, key=lambda match: match.margin)
        matches = [ranked[k] for k in sorted({0, len(ranked) // 2, len(ranked) - 1})]
    ax = axis(ax, f"{PRODUCT} of pairs, and of their best rivals", 2.1 * len(matches) + 1, 5.2)
    width, height = 1.15, 1.25
    tiles = [
        (column * width, -row * height, values, name)
        for column, row, values, name in _tiles(solution, matches)
    ]
    _draw_tiles(ax, tiles)
    ax.set(xlim=(-0.02, (len(matches) - 1) * width + 1.02), ylim=(-height - 0.02, 1.2))
    ax.set_yticks([0.5, 0.5 - height], ["as matched", "best rival"], rotation=90, va="center")
    return ax


def contrast(solution: Solution, ax: "Axes | None" = None) -> "Axes":
    """W_out W_in of the block with the largest trace, beside its inp with its best wrong out.

    The trace is taken by its magnitude, here as for the other out layer.
    """
    ax = axis(ax, f"{PRODUCT} of a true pair and of a wrong one", 7.4, 3.9)
    blocks = as_mlp(solution.network).blocks
    traces = all_traces(blocks)
    at = int(np.abs(np.diag(traces)).argmax())
    others = np.abs(traces[at])
    others[at] = -1.0
    outs = [at, int(others.argmax())] if len(blocks) > 1 else [at]
    tiles = [
        (
            1.1 * column,
            0.0,
            product(blocks, at, out),
            f"{style.short(solution.blocks[at][INP])} with {style.short(solution.blocks[out][OUT])}"
            f"\ntrace {traces[at, out]:.2f}",
        )
        for column, out in enumerate(outs)
    ]
    _draw_tiles(ax, tiles)
    ax.set(xlim=(-0.02, 2.12), ylim=(-0.02, 1.25))
    ax.set_xticks([0.5, 1.6][: len(tiles)], ["one block", "layers of two blocks"][: len(tiles)])
    ax.set_yticks([])
    return ax


def _draw_tiles(ax: "Axes", tiles: "Sequence[tuple[float, float, Floats, str]]") -> None:
    """Draw products with their names, each in a square from its lower left corner on."""
    from matplotlib.colors import Normalize

    entries = np.concatenate([np.abs(values).ravel() for _, _, values, _ in tiles])
    bound = float(np.quantile(entries, SHOWN)) or 1.0
    for left, bottom, values, name in tiles:
        image = _heat_map(ax, values, (left, bottom), Normalize(-bound, bound), style.SIGNED)
        ax.text(left + 0.5, bottom + 1.03, name, ha="center", fontsize="small", parse_math=False)
    ax.set_xticks([])
    label = f"entry of {PRODUCT} (dimensionless)"
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8, extend="both")


def _tiles(solution: Solution, matches: Sequence[Match]) -> Iterator[tuple[int, int, Floats, str]]:
    """Column, row, product and name of each match, and of its best rival below it."""
    blocks = as_mlp(solution.network).blocks
    inp, out = ({ids[role]: at for at, ids in enumerate(solution.blocks)} for role in (INP, OUT))
    for column, match in enumerate(matches):
        pairs = [(match.inp, match.out)]
        if match.rival is not None and match.rival in out:
            pairs.append((match.inp, match.rival))
        elif match.rival is not None and match.rival in inp:
            pairs.append((match.rival, match.out))
        for row, (a, b) in enumerate(pairs):
            name = f"{style.short(a)} with {style.short(b)}"
            if row == 0:
                name += "\n" + (f"margin {match.margin:.1f}" if pairs[1:] else "no rival")
            yield column, row, product(blocks, inp[a], out[b]), name


def _heat_map(
    ax: "Axes",
    values: Floats,
    corner: tuple[float, float],
    norm: "Normalize",
    colours: str = style.COLOURS,
) -> "AxesImage":
    """Draw a matrix in a square of side 1 from its lower left corner; the axis loses its frame."""
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    left, bottom = corner
    return ax.imshow(
        values,
        cmap=colours,
        norm=norm,
        interpolation="nearest",
        extent=(left, left + 1, bottom, bottom + 1),
    )


def scores(solution: Solution, ax: "Axes | None" = None) -> "Axes":
    """The scores of all pairs of each edge: in the pile's sequence, and in that of the network.

    In the sequence of the network the pairs of its blocks lie along the diagonal.
    """
    edges, gap = solution.edges(), 1.1
    across = math.ceil(math.sqrt(len(edges) / 2))
    wide, high = gap * across, math.ceil(len(edges) / across)
    ax = axis(ax, "Scores of all pairs of pieces in two roles", 6.4 * across + 1, 3.3 * high + 0.5)
    from matplotlib.colors import Normalize

    low, most = (float(pick([pick(edge.scores) for edge in edges])) for pick in (np.min, np.max))
    norm = Normalize(low, most)
    for k, edge in enumerate(edges):
        left, bottom = 2 * gap * (k % across), -1.35 * (k // across)
        first, second = _roles(solution, edge)
        for title, values in _before_and_after(solution, edge):
            image = _heat_map(ax, values, (left, bottom), norm)
            ax.text(left + 0.5, bottom + 1.03, title, ha="center")
            below = f"{values.shape[1]} × {second}"
            ax.text(left + 0.5, bottom - 0.04, below, ha="center", va="top", parse_math=False)
            left += gap
        side = {"rotation": 90, "ha": "right", "va": "center", "parse_math": False}
        ax.text(left - 2 * gap - 0.03, bottom + 0.5, f"{values.shape[0]} × {first}", **side)
    ax.set(xlim=(-0.1, 2 * wide), ylim=(-1.35 * (high - 1) - 0.15, 1.12), xticks=[], yticks=[])
    ax.figure.colorbar(image, ax=ax, label=_unit(edges[0].signal), shrink=0.85)
    return ax


def _before_and_after(solution: Solution, edge: EdgeScores) -> Iterator[tuple[str, Scores]]:
    """The scores in the sequence of the pile, and with the network along the diagonal."""
    yield "before", edge.scores
    placed = zip(*edge.places(solution.arrangement).values(), strict=True)
    sequences = [
        [*used, *(k for k in range(size) if k not in {*used})]
        for used, size in zip(placed, edge.scores.shape, strict=True)
    ]
    yield "after matching", edge.scores[np.ix_(*sequences)]


def _roles(solution: Solution, edge: EdgeScores) -> tuple[str, str]:
    """What the two roles of an edge are called."""
    return style.role(solution.roles[edge.first]), style.role(solution.roles[edge.second])


def rivals(solution: Solution, ax: "Axes | None" = None) -> "Axes":
    """The score of each pair against those of all pairs that share a piece with it, sorted.

    The pairs of one edge stand side by side.
    """
    edges = solution.edges()
    ax = axis(ax, "Score of each pair against those of its rivals", 6.0 + len(edges))
    at = [[*edge.places(solution.arrangement).values()] for edge in edges]
    held = [_held(e.scores, own, square=e.square) for e, own in zip(edges, at, strict=True)]
    _against_rivals(ax, held, _unit(edges[0].signal))
    for (place, _, _), edge in zip(_placed(held), edges, strict=True):
        if len(edges) > 1:
            name, below = " with ".join(_roles(solution, edge)), ("data", "axes fraction")
            options = {"rotation": 90, "ha": "center", "fontsize": "small", "parse_math": False}
            ax.annotate(name, (place.mean(), 0.02), xycoords=below, **options)
    return ax


def traces(network: MlpNetwork, ax: "Axes | None" = None) -> "Axes":
    """The trace of each block's W_out W_in against those of wrong pairs, sorted by magnitude.

    Wrong pairs are made of layers of two blocks, as in the write-up "dropped" (gardberg.xyz).
    """
    at = [(block, block) for block in range(len(network.blocks))]
    ax = axis(ax, "Trace of each block against those of wrong pairs")
    return _against_rivals(ax, [_held(all_traces(network.blocks), at)], TRACE)


def ranks(network: MlpNetwork, ax: "Axes | None" = None) -> "Axes":
    """The mean trace of W_out W_in at each rank over all inp layers, true pairs on the right.

    Each inp layer ranks the out layers of other blocks by the trace, the largest first. The chart
    follows the write-up "dropped" (gardberg.xyz).
    """
    ax = axis(ax, "Mean trace at each rank, over all inp layers")
    traces = all_traces(network.blocks)
    count = len(traces)
    wrong = np.sort(traces[~np.eye(count, dtype=bool)].reshape(count, -1), axis=1)[:, ::-1]
    for place, values, colour, name in (
        (np.arange(1, count), wrong, BLUE, "layers of two blocks"),
        (np.array([count]), np.diag(traces)[:, None], ORANGE, "layers of one block"),
    ):
        ax.errorbar(
            place,
            values.mean(axis=0),
            values.std(axis=0),
            fmt="o",
            color=colour,
            markersize=4,
            capsize=2,
            elinewidth=1,
            label=f"{name}: mean ± standard deviation",
        )
    ax.axhline(0, color=GREY, lw=0.6, zorder=0)
    count_across(ax)
    ax.set(xlabel="rank of the out layer, the true one last", ylabel=TRACE)
    legend(ax, loc="lower left")
    return ax


# Scores of pairs, the largest first, and those of their rivals: shapes (K,) and (K, rivals).
Held = tuple[Scores, Scores]


def _held(scores: Scores, pairs: Sequence[tuple[int, int]], *, square: bool = False) -> Held:
    """Pairs against their rivals, by the magnitude of their scores."""
    own = np.array([scores[at] for at in pairs])
    ranked = np.argsort(-np.abs(own), kind="stable")
    return own[ranked], rival_scores(scores, pairs, square=square)[ranked]


def _placed(held: Sequence[Held]) -> Iterator[tuple[Scores, Scores, Scores]]:
    """The places of the pairs, with them and their rivals; a gap lies between two edges."""
    start = 1
    for own, others in held:
        yield np.arange(start, start + len(own), dtype=np.float64), own, others
        start += len(own) + 1


def _against_rivals(ax: "Axes", held: Sequence[Held], unit: str) -> "Axes":
    placed = [*_placed(held)]
    place, own = (np.concatenate([each[k] for each in placed]) for k in (0, 1))
    ax.plot(place, own, "o", color=BLUE, markersize=4, zorder=3, label="the pair itself")
    rivalled = [(at, others) for at, _, others in placed if not np.isnan(others).all()]
    if rivalled:
        place = np.concatenate([at for at, _ in rivalled])
        low, high, mean, spread = (
            np.concatenate([take(others, axis=1) for _, others in rivalled])
            for take in (np.nanmin, np.nanmax, np.nanmean, np.nanstd)
        )
        ax.vlines(place, low, high, GREY, lw=1, label="rivals: lowest to highest")
        ax.errorbar(
            place,
            mean,
            2 * spread,
            fmt="_",
            color=INK,
            elinewidth=3,
            markersize=5,
            ecolor=PALE,
            label="rivals: mean ± 2 standard deviations",
        )
    ax.axhline(0, color=GREY, lw=0.6, zorder=0)
    count_across(ax)
    ax.set(xlabel="pair, by the magnitude of its score", ylabel=unit)
    legend(ax)
    return ax


def _unit(signal: str) -> str:
    return UNITS.get(signal, f"score by {signal}")


def margins(solution: Solution, ax: "Axes | None" = None) -> "Axes":
    """Lead of each pair over its best rival, the weakest first. 0 if the search formed it."""
    ax = axis(ax, "Lead of each pair over its best rival", height=3.6)
    margins = [one for edge in solution.edges() for one in _leads(solution, edge)]
    formed = [pair for pair, margin in margins if math.isnan(margin)]
    sure = [(pair, margin) for pair, margin in margins if math.isfinite(margin)]
    ranked = sorted(sure, key=lambda item: item[1])
    place = np.arange(1, len(ranked) + 1) + len(formed)
    values = [margin for _, margin in ranked]
    ax.vlines(place, 0, values, PALE, lw=2)
    ax.plot(place, values, "o", color=BLUE, markersize=4)
    if formed:
        at = np.arange(1, len(formed) + 1)
        ax.plot(at, np.zeros(len(at)), "x", color=ORANGE, label="formed by the search")
        legend(ax)
    if ranked:
        pair, margin = ranked[0]
        ax.annotate(  # beside its line, where no other dot can be
            " with ".join(map(style.short, pair)),
            (place[0], margin),
            (-3, 0),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top" if margin > max(values) / 2 else "bottom",
            fontsize="small",
            parse_math=False,
        )
    ax.axhline(0, color=GREY, lw=0.6)
    count_across(ax)
    unit = "margin (standard deviations\nof the unmatched scores)"
    ax.set(xlabel="pair, the weakest first", ylabel=unit)
    return ax


def _leads(solution: Solution, edge: EdgeScores) -> Iterator[tuple[tuple[PieceId, PieceId], float]]:
    """The pair of each block, and its margin; NaN where the search formed it."""
    ids, margins = solution.trace.ids, {(m.inp, m.out): m.margin for m in edge.matches}
    for row, column in edge.places(solution.arrangement).values():
        pair = ids[edge.rows[row]], ids[edge.columns[column]]
        yield pair, margins.get(pair, math.nan)
