"""What oracles learn from: generators whose every parameter is stated, and the user's own table.

Each kind of data is a frozen dataclass whose fields are the keys of a recipe's `[data]` table.
"""

from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Annotated, ClassVar, Protocol

import numpy as np

from unshuffle.errors import UsageError, shown
from unshuffle.files import read_records
from unshuffle.files.schema import at_least, more_than, share
from unshuffle.pieces.pile import Floats

Count = Annotated[int, at_least(1)]
Spread = Annotated[float, at_least(0)]
Share = Annotated[float, share()]


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows to learn from, float32.

    Inputs have the shape (rows, width). Targets have the shape (rows, outputs). They have shape
    (rows, 1) for the number of the row's class, and (rows, width) for ids of tokens.
    """

    inputs: Floats
    targets: Floats


class Data(Protocol):
    """A kind of data."""

    kind: ClassVar[str]  # what a recipe calls it
    loss: ClassVar[str]  # which one suits it, a name in `unshuffle.oracle.training.LOSSES`

    def draw(self, width: int, outputs: int, rng: np.random.Generator) -> Examples:
        """Draw examples for a network of so many inputs and outputs."""


@dataclass(frozen=True)
class Bits:
    """Noisy readings of bits, and targets on noisy levels that depend on sums of bits.

    It imitates the published puzzle: inputs with two modes each, targets with about ten. The level
    is |a − b| + |c − d|, at most `levels` − 1. Here a, b, c, d count the set bits in the four
    quarters of the columns. No linear layer could learn it. Further outputs take their quarters
    from shuffled columns.

    Parameters
    ----------
    rows
        How many.
    on_rate_low, on_rate_high
        Every column has a chance of its own to be set, uniform between these.
    off, on
        The readings of a bit without noise.
    off_noise, on_noise
        Standard deviation of the reading around them.
    smeared, smeared_noise
        This share of all readings has another standard deviation.
    levels, level_step, level_noise
        Number of levels, the distance between two, and the noise around each.
    """

    kind: ClassVar[str] = "bits"
    loss: ClassVar[str] = "squared"

    rows: Count
    on_rate_low: Share = 0.2
    on_rate_high: Share = 0.55
    off: float = -0.8
    on: float = 1.0
    off_noise: Spread = 0.12
    on_noise: Spread = 0.35
    smeared: Share = 0.15
    smeared_noise: Spread = 0.6
    levels: Count = 10
    level_step: Spread = 0.35
    level_noise: Spread = 0.05

    def draw(self, width: int, outputs: int, rng: np.random.Generator) -> Examples:
        """Draw bits, readings of them, and levels."""
        shape = (self.rows, width)
        low, high = sorted([self.on_rate_low, self.on_rate_high])
        bits = rng.random(shape) < rng.uniform(low, high, width)
        noise = np.where(bits, self.on_noise, self.off_noise)
        noise[rng.random(shape) < self.smeared] = self.smeared_noise
        inputs = np.where(bits, self.on, self.off) + noise * rng.standard_normal(shape)

        targets = np.empty((self.rows, outputs))
        columns = np.arange(width)
        for output in range(outputs):
            a, b, c, d = (bits[:, part].sum(axis=1) for part in np.array_split(columns, 4))
            level = np.minimum(abs(a - b) + abs(c - d), self.levels - 1)
            targets[:, output] = self.level_step * (level - (self.levels - 1) / 2)
            columns = rng.permutation(width)
        targets += self.level_noise * rng.standard_normal(targets.shape)
        return Examples(inputs.astype(np.float32), targets.astype(np.float32))


@dataclass(frozen=True)
class Smooth:
    """Standard normal inputs, and targets that are sums of a few sine waves of them.

    Parameters
    ----------
    rows
        How many.
    waves
        How many waves add up in an output, with a variance of about one.
    frequency
        Standard deviation of a wave's phase over the inputs, in radians: above 1 it bends.
    noise
        Standard deviation of what is added to each target.
    """

    kind: ClassVar[str] = "smooth"
    loss: ClassVar[str] = "squared"

    rows: Count
    waves: Count = 6
    frequency: Annotated[float, more_than(0)] = 1.0
    noise: Spread = 0.05

    def draw(self, width: int, outputs: int, rng: np.random.Generator) -> Examples:
        """Draw inputs, waves and targets."""
        inputs = rng.standard_normal((self.rows, width))
        directions = rng.standard_normal((width, self.waves * outputs))
        directions *= self.frequency / np.linalg.norm(directions, axis=0)
        phases = rng.uniform(0, 2 * np.pi, self.waves * outputs)
        waves = np.sin(inputs @ directions + phases).reshape(self.rows, outputs, self.waves)
        targets = waves.sum(axis=2) * np.sqrt(2 / self.waves)
        targets += self.noise * rng.standard_normal(targets.shape)
        return Examples(inputs.astype(np.float32), targets.astype(np.float32))


@dataclass(frozen=True)
class Classes:
    """As many classes as the network has outputs, each a few Gaussian clouds.

    Parameters
    ----------
    rows
        How many.
    clouds
        How many clouds make a class.
    spread
        Standard deviation around a cloud's centre. The centres are standard normal.
    """

    kind: ClassVar[str] = "classes"
    loss: ClassVar[str] = "cross-entropy"

    rows: Count
    clouds: Count = 3
    spread: Spread = 1.0

    def draw(self, width: int, outputs: int, rng: np.random.Generator) -> Examples:
        """Draw the clouds, a class and a cloud for each row, and the row around its centre."""
        centres = rng.standard_normal((outputs, self.clouds, width))
        classes = rng.integers(outputs, size=self.rows)
        inputs = centres[classes, rng.integers(self.clouds, size=self.rows)]
        inputs = inputs + self.spread * rng.standard_normal(inputs.shape)
        return Examples(inputs.astype(np.float32), classes[:, None].astype(np.float32))


NO_TOKEN = -100  # where nothing is to be learned: what PyTorch's cross-entropy leaves out


@dataclass(frozen=True)
class Tokens:
    """Sequences of tokens: each follows from the one before, or repeats one some places before.

    The ids are from 0 to `outputs` − 1, and 0 is the mask.

    Parameters
    ----------
    rows
        How many sequences.
    followers
        How many tokens may follow a token.
    repeated
        Chance that a token repeats that `distance` places before it.
    distance
        In places.
    masked
        Share of masked tokens, which have to be told. 0: each next token has to be told.
    """

    kind: ClassVar[str] = "tokens"
    loss: ClassVar[str] = "tokens"

    rows: Count
    followers: Count = 3
    repeated: Share = 0.4
    distance: Count = 3
    masked: Share = 0.0

    def draw(self, width: int, outputs: int, rng: np.random.Generator) -> Examples:
        """Draw who may follow whom, and sequences of so many tokens."""
        follows = rng.integers(1, outputs, size=(outputs, self.followers))
        ids = rng.integers(1, outputs, size=(self.rows, width + 1))
        for place in range(1, width + 1):
            which = rng.integers(self.followers, size=self.rows)
            ids[:, place] = follows[ids[:, place - 1], which]
            if place >= self.distance:
                again = rng.random(self.rows) < self.repeated
                ids[again, place] = ids[again, place - self.distance]
        inputs, targets = ids[:, :-1].copy(), ids[:, 1:].copy()
        if self.masked:
            hidden = rng.random(inputs.shape) < self.masked
            targets = np.where(hidden, inputs, NO_TOKEN)
            inputs[hidden] = 0
        return Examples(inputs.astype(np.float32), targets.astype(np.float32))


@dataclass(frozen=True)
class Images:
    """Square images of as many classes as the network has outputs.

    Each class is a smooth random pattern. An image is a part of it at a random place, with noise.

    Parameters
    ----------
    rows
        How many.
    reach
        Most pixels, along each side, that the place of a part differs.
    smoothness
        Pixels over which a pattern changes, about.
    noise
        Standard deviation of what is added to each pixel. A pattern has one of 1.
    """

    kind: ClassVar[str] = "images"
    loss: ClassVar[str] = "cross-entropy"

    rows: Count
    reach: Annotated[int, at_least(0)] = 3
    smoothness: Annotated[float, more_than(0)] = 1.5
    noise: Spread = 0.5

    def draw(self, width: int, outputs: int, rng: np.random.Generator) -> Examples:
        """Draw patterns, classes, places and noise, for images of so many pixels."""
        side = isqrt(width)
        size = side + self.reach
        waves = np.fft.fftfreq(size)
        damping = np.exp(-2 * (np.pi * self.smoothness) ** 2 * np.add.outer(waves**2, waves**2))
        noise = rng.standard_normal((outputs, size, size))
        patterns = np.fft.ifft2(np.fft.fft2(noise) * damping).real
        patterns /= patterns.std(axis=(1, 2), keepdims=True)
        classes = rng.integers(outputs, size=self.rows)
        rows, columns = rng.integers(self.reach + 1, size=(2, self.rows, 1))
        pixels = np.arange(side)
        images = patterns[
            classes[:, None, None], (rows + pixels)[:, :, None], (columns + pixels)[:, None]
        ]
        inputs = images + self.noise * rng.standard_normal(images.shape)
        inputs = inputs.reshape(self.rows, width).astype(np.float32)
        return Examples(inputs, classes[:, None].astype(np.float32))


@dataclass(frozen=True)
class OwnTable:
    """A table of the user's own.

    Parameters
    ----------
    file
        A .csv, .csv.gz, .parquet or .npz file. A relative path starts at the recipe's folder.
    inputs, targets
        Names of columns. By default columns called `true…` or `target…` are targets, `pred…` are
        left out, and the others are inputs.
    """

    kind: ClassVar[str] = "table"
    loss: ClassVar[str] = "squared"

    file: str
    inputs: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def draw(self, width: int, outputs: int, rng: np.random.Generator) -> Examples:
        """Read the table; nothing is drawn.

        Raises `FileError` or `RecordError` if the table cannot be read or has no such columns.
        Raises `UsageError` if it does not fit the network or has an empty target.
        """
        table = read_records(
            Path(self.file), inputs=self.inputs or None, targets=self.targets or None
        )
        columns = 0 if table.targets is None else table.targets.shape[1]
        fits = (("input", table.width, width), ("target", columns, outputs))
        for what, found, expected in fits:
            if found != expected:
                raise UsageError(
                    f"{shown(self.file)}: has {found} {what} columns, but the recipe's network "
                    f"has {expected} {what.replace('target', 'output')}s; change the network, or "
                    f"name the {what} columns under [data]"
                )
        assert table.targets is not None  # a network has at least one output
        if np.isnan(table.targets).any():
            row = int(np.argwhere(np.isnan(table.targets))[0, 0])
            raise UsageError(
                f"{shown(self.file)}: row {row + 1} has an empty target, but a network learns from "
                "complete rows; fill it or leave the row out"
            )
        return Examples(table.inputs.astype(np.float32), table.targets.astype(np.float32))


DATA = {data.kind: data for data in (Bits, Smooth, Classes, Tokens, Images, OwnTable)}
