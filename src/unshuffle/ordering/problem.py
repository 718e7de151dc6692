"""What is to be ordered: the pieces of a pile as a bank, evidence on them, and the record."""

from dataclasses import dataclass
from functools import cached_property

from unshuffle.blocks.bank import Bank
from unshuffle.blocks.ends import Ends
from unshuffle.blocks.network import Network
from unshuffle.grouping.evidence import Evidence
from unshuffle.ordering.judge import Judge, JudgeParameters
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.records import Records


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
