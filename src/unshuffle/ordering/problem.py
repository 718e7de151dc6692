"""What is to be ordered: the pieces as a bank, evidence on them, and the record."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.bank import Bank
from unshuffle.blocks.ends import Ends, Projected, in_units
from unshuffle.blocks.network import Network
from unshuffle.grouping.evidence import Evidence
from unshuffle.ordering.judge import Judge, JudgeParameters
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.records import Records


@dataclass(frozen=True)
class SketchParameters:
    """Numbers that steer how many equations a row is.

    Parameters
    ----------
    most_outputs
        Outputs of a row up to which each is an equation. Of more, random projections are.
    projections
        Projections of a row, at least.
    equations
        Projections of all rows together, at least.
    least_spread
        Spread of an output, beside the typical one, below which it counts as it is. It is of a dead
        unit. In its own units it would drown all others in most wrong arrangements.
    """

    most_outputs: int = 32
    projections: int = 16
    equations: int = 256
    least_spread: float = 1e-6


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be ordered: blocks that pieces can make, between two ends."""

    bank: Bank
    ends: Ends
    grouped: Arrangement  # which pieces share a block to begin with, in no order
    evidence: Evidence  # on which pieces share a block
    records: Records  # all rows; seeds look at those without predictions too
    start: Arrangement | None = None  # from an earlier search, to try before any other
    regrouped: tuple[Arrangement, ...] = ()  # how single signals group the pieces otherwise
    whole: "Problem | None" = None  # what this is a sketch of, if it is one
    sketching: SketchParameters = field(default_factory=SketchParameters)

    @cached_property
    def known(self) -> Records:
        """The rows with predictions."""
        return self.records.predicted()

    def network(self, arrangement: Arrangement) -> Network:
        """The network of an arrangement."""
        return Network(self.bank.take(arrangement), self.ends)

    def drawn(self, equations: int, rng: np.random.Generator) -> Records:
        """Rows with predictions, drawn anew, that make so many equations."""
        return self.known.take(self.drawn_rows(equations, rng))

    def drawn_rows(self, equations: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """The numbers of such rows among those with predictions, in rising sequence."""
        known = self.known
        rows = rng.choice(len(known), size=known.rows_for(equations), replace=False)
        return np.sort(rows).astype(np.intp)

    def judge(self, records: Records, by: JudgeParameters | None = None) -> Judge:
        """A judge of arrangements on some rows."""
        return Judge(self.bank, self.ends, records, by or JudgeParameters())

    @cached_property
    def sketch(self) -> "Problem":
        """The same problem with few equations a row, and outputs of about one spread.

        It is the problem itself where rows have few outputs of like spreads. A search works on the
        sketch, and so does what weighs its rivals. The final verdict uses all outputs.
        """
        outputs, rows, by, units = self.known.outputs, len(self.known), self.sketching, self._units
        if outputs <= by.most_outputs and (units == 1).all():
            return self
        predictions = self.records.predictions
        if outputs > by.most_outputs:
            count = min(outputs, max(by.projections, -(-by.equations // max(rows, 1))))
            probes = np.random.default_rng(0).normal(size=(count, outputs)) / np.sqrt(outputs)
            ends: Ends = Projected(self.ends, units * probes)
            predictions = predictions.astype(np.float64) @ (units * probes).T
        else:
            ends = in_units(self.ends, units)
            predictions = (units * predictions).astype(predictions.dtype)
        records = replace(self.records, predictions=predictions, targets=None)
        return replace(self, ends=ends, records=records, whole=self)

    @cached_property
    def _units(self) -> NDArray[np.float64]:
        """What brings each output to about the root mean square of all spreads.

        An output has a say by its spread, not by its unit. Powers of two round nothing.
        """
        spreads = np.sqrt(self.known.variances)
        typical = np.sqrt(self.known.variance)
        alive = spreads > self.sketching.least_spread * typical
        ratios = np.divide(typical, spreads, where=alive, out=np.ones_like(spreads))
        units = 2.0 ** np.round(np.log2(ratios))
        return units.astype(np.float64)

    def projected(self, rms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Root mean squares of independent errors of the outputs, as the sketch sees them."""
        if self.known.outputs <= self.sketching.most_outputs:
            return rms * self._units
        ends = self.sketch.ends
        assert isinstance(ends, Projected)
        projected: NDArray[np.float64] = np.sqrt(np.square(ends.probes) @ np.square(rms))
        return projected
