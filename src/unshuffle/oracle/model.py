"""A trained network, and all that is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unshuffle.blocks.mlp import MlpNetwork
from unshuffle.oracle.data import Examples
from unshuffle.oracle.recipe import TRAINER, Recipe


@dataclass(frozen=True, eq=False)
class Oracle:
    """A trained network, and all that is known of it.

    Parameters
    ----------
    recipe
        What it was trained from.
    network
        float32.
    examples
        What it learned from.
    losses
        Mean loss of each epoch.
    seconds
        Wall time of the epochs, those before an interruption included.
    made_with
        Versions of the libraries that trained it.
    """

    recipe: Recipe
    network: MlpNetwork
    examples: Examples
    losses: tuple[float, ...]
    seconds: float
    made_with: Mapping[str, str]

    def story(self) -> dict[str, Any]:
        """How it came about, as plain values, ready for JSON."""
        return {
            "recipe": self.recipe.name,
            "summary": self.recipe.summary,
            "activation": self.network.blocks.activation.name,
            "trainer": TRAINER,
            "key": self.recipe.key(),
            "content": self.recipe.content(),
            "losses": list(self.losses),
            "seconds": self.seconds,
            "made_with": dict(self.made_with),
        }
