"""Work: what passed through blocks, so that searches are compared by their cost."""

from dataclasses import dataclass, field
from threading import Lock


@dataclass(eq=False)
class Work:
    """Counts the rows that pass through blocks, in any thread, in halves of a block.

    Running a block on a row is two halves, a matrix product each in ``x + out(a(inp(x)))``. A
    backward pass counts as many as it costs.
    """

    halves: int = 0
    _lock: Lock = field(default_factory=Lock)

    def add(self, halves: int) -> None:
        """Count what is done."""
        with self._lock:
            self.halves += halves

    def __reduce__(self) -> tuple[type["Work"], tuple[int]]:
        """A copy, in this process or another, counts on for itself."""
        return Work, (self.halves,)

    def forward(self, rows: int) -> None:
        """Count rows that each pass through one block."""
        self.add(2 * rows)


def passes(halves: int, blocks: int, rows: int) -> float:
    """Work in forward passes of so many rows through so many blocks; 0 without any."""
    return halves / (2 * blocks * rows) if blocks and rows else 0.0
