"""What is to be ordered: the pieces of a pile as a bank, evidence on them, and the record."""

from dataclasses import dataclass, replace
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

# Outputs of a row up to which each is an equation of its own; of more, random projections are.
MOST_OUTPUTS = 32
# Projections of a row at least, and of all rows of a record together.
LEAST_PROJECTIONS, EQUATIONS = 16, 256


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be ordered: blocks that pieces can make, between two ends."""

    bank: Bank
    ends: Ends
    grouped: Arrangement  # which pieces share a block to begin with, in no order
    evidence: Evidence  # on which pieces share a block
    records: Records  # all rows; seeds look at those without predictions too
    start: Arrangement | None = None  # from an earlier search, to try before any other

    @cached_property
    def known(self) -> Records:
        """The rows with predictions."""
        return self.records.predicted()

    def network(self, arrangement: Arrangement) -> Network:
        """The network of an arrangement."""
        return Network(self.bank.take(arrangement), self.ends)

    def judge(self, records: Records, by: JudgeParameters | None = None) -> Judge:
        """A judge of arrangements on some rows."""
        return Judge(self.bank, self.ends, records, by or JudgeParameters())

    @cached_property
    def sketch(self) -> "Problem":
        """The same problem with few equations a row, and outputs of about one spread.

        It is the problem itself where rows have few outputs and their spreads are alike. A search
        works on the sketch, and so does what weighs its rivals; the final word is had by all
        outputs.
        """
        outputs, rows, units = self.known.outputs, len(self.known), self._units
        if outputs <= MOST_OUTPUTS and (units == 1).all():
            return self
        ends: Ends = in_units(self.ends, units)
        predictions = (units * self.records.predictions).astype(self.records.predictions.dtype)
        if outputs > MOST_OUTPUTS:
            count = min(outputs, max(LEAST_PROJECTIONS, -(-EQUATIONS // max(rows, 1))))
            probes = np.random.default_rng(0).normal(size=(count, outputs)) / np.sqrt(outputs)
            ends, predictions = Projected(ends, probes), predictions.astype(np.float64) @ probes.T
        records = replace(self.records, predictions=predictions, targets=None)
        return replace(self, ends=ends, records=records)

    @cached_property
    def _units(self) -> NDArray[np.float64]:
        """What brings each output to about the root mean square of all spreads.

        An output has a say by its spread, not by its unit. Powers of two round nothing.
        """
        spreads = np.sqrt(self.known.variances)
        typical = np.sqrt(np.mean(np.square(spreads)))
        ratios = np.divide(typical, spreads, where=spreads > 0, out=np.ones_like(spreads))
        units: NDArray[np.float64] = 2.0 ** np.round(np.log2(ratios))
        return units

    def projected(self, rms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Root mean squares of independent errors of the outputs, as the sketch sees them."""
        rms, ends = rms * self._units, self.sketch.ends
        if not isinstance(ends, Projected):
            return rms
        projected: NDArray[np.float64] = np.sqrt(np.square(ends.probes) @ np.square(rms))
        return projected
