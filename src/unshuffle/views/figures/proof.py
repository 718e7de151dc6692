"""The certificate: how much worse the record fits whatever else the arrangement could be."""

from typing import TYPE_CHECKING

from unshuffle.proof.certificate import Certificate
from unshuffle.views.figures.style import BLUE, GREY, INK, ORANGE, axis, count_across, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def certificate(proof: Certificate, ax: "Axes | None" = None) -> "Axes":
    """Errors of the arrangement's nearest rivals, place by place, above what noise explains.

    What the record does not decide is drawn hollow.
    """
    ax = axis(ax)
    for contests, shift, colour, marker, name in (
        (proof.neighbours, 0.5, BLUE, "o", "two neighbouring blocks exchanged"),
        (proof.pairs, 0.0, ORANGE, "s", "a layer of the block exchanged, best rival"),
    ):
        for decided in (True, False):
            some = [contest for contest in contests if contest.decided is decided]
            if some:
                ax.plot(
                    [contest.places[0] + 1 + shift for contest in some],
                    [contest.mse for contest in some],
                    marker,
                    color=colour,
                    markersize=4,
                    fillstyle="full" if decided else "none",
                    label=name if decided else f"{name}: undecided",
                )
    ax.axhline(proof.floor, color=INK, lw=1, ls="--", label="explained by noise or rounding")
    ax.axhline(proof.mse, color=GREY, lw=1.5, label="this arrangement")
    ax.set_yscale("log")
    count_across(ax)
    unit = "mean squared error, to first order\n(squared units of the prediction)"
    ax.set(xlabel="place in the network", ylabel=unit)
    legend(ax)
    return ax
