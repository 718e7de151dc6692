"""The pictures of docs/method.md, from the shipped example."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from numpy.typing import NDArray

from unshuffle import Pairing, Pile, Records, Solution, pair, read_pile, read_records, solve
from unshuffle.blocks.mlp import INP
from unshuffle.grouping import SIGNALS
from unshuffle.grouping.parameters import WORTH
from unshuffle.ordering.judge import Judge, Run
from unshuffle.ordering.linearization import Linearization, linearize, shift_effects, shifts
from unshuffle.ordering.moves import shifted
from unshuffle.ordering.selection import STANDARD
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.solution.alternatives import Problems
from unshuffle.solution.options import Options
from unshuffle.views.figures.style import BLUE, GREY, INK, ORANGE, PALE, axis, legend, picture

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "dropped"
ROWS = 500


def draw(folder: Path) -> None:
    """Solve the example, and draw every picture into a folder."""
    pile = read_pile(EXAMPLE / "pieces")
    records = read_records(EXAMPLE / "record.csv")
    solution = solve(pile, records)
    judge, truth = judge_of(pile, records), solution.arrangement
    pictures = {
        "network": network(),
        "signals": signals(pile, records, solution),
        "fusion": fusion(pair(pile, records)),
        "adjoint": adjoint(judge, truth),
        "regression": regression(judge, truth),
    }
    for name, ax in pictures.items():
        (folder / f"{name}.svg").write_bytes(picture(ax, "svg"))


def network() -> Axes:
    """A stream of states that blocks add to, and the last layer that reads it."""
    ax = axis(None, "The network", 9, 2.8)
    ax.set(xlim=(-0.4, 12.6), ylim=(-0.6, 2.6))
    ax.axis("off")
    for start, end in ((0, 11.2), (11.9, 12.5)):
        ax.add_patch(FancyArrowPatch((start, 0), (end, 0), arrowstyle="->", mutation_scale=14))
    for x, label in ((0, "$x_0$"), (4.1, "$x_1$"), (8.2, "$x_2$"), (10.4, "$x_K$")):
        ax.text(x + 0.1, -0.42, label, ha="center")
    for left in (0.6, 4.7):
        ax.plot([left, left], [0, 1.5], INK)
        for x, name, colour in ((left + 0.3, "inp", BLUE), (left + 2.05, "out", ORANGE)):
            box(ax, x, 1.2, name, colour)
        ax.plot([left, left + 0.3], [1.5, 1.5], INK)
        ax.plot([left + 1.2, left + 2.05], [1.5, 1.5], INK)
        ax.text(left + 1.62, 1.62, "relu", ha="center", fontsize="small")
        ax.plot([left + 2.95, left + 3.2, left + 3.2], [1.5, 1.5, 0.14], INK)
        ax.text(left + 3.2, 0, "+", ha="center", va="center", bbox=PLUS)
    ax.text(9.3, 0.3, "…", ha="center", fontsize="x-large")
    box(ax, 11.0, -0.3, "last", GREY)
    ax.text(12.55, -0.42, r"$\hat y$", ha="center")
    return ax


PLUS = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": INK}


def box(ax: Axes, x: float, y: float, name: str, colour: str) -> None:
    """A layer."""
    style = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch((x, y), 0.9, 0.6, style, facecolor=colour, edgecolor=INK))
    ax.text(x + 0.45, y + 0.3, name, ha="center", va="center", color="white", weight="bold")


def signals(pile: Pile, records: Records, solution: Solution) -> Axes:
    """For each signal the scores of wrong pairs as a histogram, those of true pairs as lines."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    figure.suptitle("Scores of wrong pairs (grey) and of true ones (blue), by signal")
    axes = figure.subplots(2, 5)
    for ax, name in zip(axes.flat, SIGNALS, strict=True):
        pairing = pair(pile, records, signal=name)
        true = true_pairs(pairing, solution)
        spread = pairing.scores[~true].std()
        scores = (pairing.scores - pairing.scores[~true].mean()) / spread
        axis(ax, "").hist(scores[~true], bins=20, color=PALE)
        ax.vlines(scores[true], 0, 0.35, BLUE, transform=ax.get_xaxis_transform())
        found = len(set(pairing.pairs).intersection(solution.blocks))
        ax.set_title(f"{name}: {found} of {len(pairing.pairs)}", fontsize="x-small")
        ax.set_yticks([])
    figure.supxlabel("score, in standard deviations of the wrong pairs", fontsize="small")
    return ax


def fusion(pairing: Pairing) -> Axes:
    """What each signal was thought to be worth, and what this pile taught."""
    assert pairing.fusion is not None
    weights = pairing.fusion.weights
    names = sorted(weights, key=lambda name: weights[name])
    ax = axis(None, "What each signal is worth", 7, 3.8)
    places = np.arange(len(names))
    ax.barh(places + 0.2, [weights[name] for name in names], 0.4, color=BLUE, label="this pile")
    ax.barh(places - 0.2, [WORTH[name] for name in names], 0.4, color=PALE, label="prior: the zoo")
    ax.set_yticks(places, names)
    ax.set_xlabel("separation of matched pairs, in standard deviations")
    legend(ax, loc="lower right")
    return ax


def adjoint(judge: Judge, truth: Arrangement) -> Axes:
    """Error after every move by up to four places, expected to first order and exactly."""
    run, at = disturbed(judge, truth)
    moves = shifts(len(truth), 4)
    after = shift_effects(judge, at, 4) + at.residual
    expected = np.mean(np.square(after, dtype=np.float64), axis=1)
    candidates = np.array([shifted(run.arrangement, *move) for move in moves.tolist()])
    exact = judge.errors(run, candidates)
    distance = np.abs(moves[:, 1] - moves[:, 0])
    ax = axis(None, "Errors after moves, expected and exact", 5, 4.2)
    for by, colour in ((4, PALE), (3, GREY), (2, ORANGE), (1, BLUE)):
        chosen = distance == by
        label = f"by {by} place{'s' * (by > 1)}"
        ax.scatter(exact[chosen], expected[chosen], 14, colour, label=label)
    ax.axline((run.error, run.error), slope=1, color=INK, linewidth=0.8)
    ax.axvline(run.error, color=INK, linewidth=0.8, linestyle=":")
    ax.set(xscale="log", yscale="log", xlabel="exact error after the move")
    ax.set_ylabel("error expected to first order")
    legend(ax, loc="upper left")
    return ax


def regression(judge: Judge, truth: Arrangement) -> Axes:
    """Coefficients of the swaps of neighbours in one regression; the needed ones stand out."""
    run, at = disturbed(judge, truth)
    effects = shift_effects(judge, at, 1).astype(np.float64)
    gram = effects @ effects.T
    gram += STANDARD.ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    wanted = np.linalg.solve(gram, -effects @ at.residual)
    place = {inp: place for place, inp in enumerate(truth[:, INP].tolist())}
    stands = [place[inp] for inp in run.arrangement[:, INP].tolist()]
    needed = np.array([a > b for a, b in pairwise(stands)])
    ax = axis(None, "Coefficients of swaps in one regression", 7, 3.2)
    places = np.arange(len(wanted))
    for chosen, colour, label in ((needed, BLUE, "wrong way round"), (~needed, PALE, "right")):
        ax.bar(places[chosen], wanted[chosen], color=colour, label=label)
    ax.axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set_xticks(places, [f"{place},{place + 1}" for place in places], fontsize="small")
    ax.set(xlabel="neighbouring places", ylabel="coefficient of their swap", ylim=(-0.2, 1.3))
    legend(ax, loc="upper left", ncols=2)
    return ax


def true_pairs(pairing: Pairing, solution: Solution) -> NDArray[np.bool_]:
    """Which scores are those of true pairs."""
    true = np.zeros(pairing.scores.shape, bool)
    for inp, out in solution.arrangement.tolist():
        true[pairing.anatomy.inp.index(inp), pairing.anatomy.out.index(out)] = True
    return true


def judge_of(pile: Pile, records: Records) -> Judge:
    """A judge on some rows."""
    rows = records.take(np.arange(ROWS))
    return Problems(pile, rows, Options()).problems[0].judge(rows)


def disturbed(judge: Judge, truth: Arrangement) -> tuple[Run, Linearization]:
    """The true arrangement with four couples of neighbours exchanged."""
    wrong = truth
    for place in (1, 4, 7, 11):
        wrong = shifted(wrong, place, place + 1)
    run = judge.run(wrong)
    return run, linearize(judge, run)
