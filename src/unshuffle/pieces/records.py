"""The record: inputs, and what the lost network predicted for them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import RecordError
from unshuffle.pieces.pile import Floats, as_floats


@dataclass(frozen=True, eq=False)
class Records:
    """Rows of inputs with the predictions of the lost network.

    Arrays, PyTorch's tensors and lists are taken.

    Parameters
    ----------
    inputs
        Shape (rows, width), finite.
    predictions
        Shape (rows, outputs); NaN where an input has no prediction. `outputs` may be 0.
    targets
        Shape (rows, outputs) or None: what the network was trained towards; never used to solve.
    name
        What messages call it: the file it came from.
    columns
        Names of the columns of inputs, predictions and targets, where messages may name them.
    """

    inputs: Floats
    predictions: Floats
    targets: Floats | None = None
    name: str = "the record"
    columns: tuple[tuple[str, ...], ...] = ((), (), ())

    def __post_init__(self) -> None:
        for name in ("inputs", "predictions", "targets"):
            values = getattr(self, name)
            if values is not None or name != "targets":
                values = as_floats(values, f"{self.name}: what is given as {name}", RecordError)
            object.__setattr__(self, name, values)
        if self.inputs.ndim != 2 or self.inputs.shape[1] == 0:
            raise RecordError(
                f"the inputs have shape {self.inputs.shape}: expected (rows, width) with a width "
                "of at least one"
            )
        others = {"predictions": self.predictions, "targets": self.targets}
        for name, values in others.items():
            if values is not None and (values.ndim != 2 or len(values) != len(self.inputs)):
                raise RecordError(
                    f"the {name} have shape {values.shape}, but there are {len(self.inputs)} rows "
                    f"of inputs: expected ({len(self.inputs)}, outputs)"
                )
        bad = ~np.isfinite(self.inputs)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise RecordError(
                f"input column {column} of row {row} holds {self.inputs[row, column]}: inputs must "
                "be finite"
            )
        bad = np.isinf(self.predictions)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise RecordError(f"prediction {column} of row {row} is infinite")

    @property
    def width(self) -> int:
        """Number of input columns, the width d of the stream."""
        return int(self.inputs.shape[1])

    @property
    def outputs(self) -> int:
        """Number of prediction columns."""
        return int(self.predictions.shape[1])

    @property
    def variances(self) -> NDArray[np.float64]:
        """Of each column of predictions, over the rows that have them: shape (outputs,)."""
        known = self.predicted().predictions
        variances: NDArray[np.float64] = known.var(axis=0, dtype=np.float64)
        return variances

    @property
    def variance(self) -> float:
        """The mean of the variances over all outputs; positive."""
        return max(float(np.mean(self.variances)), np.finfo(float).tiny)

    def first(self, most: int) -> "Records":
        """The first rows, at most so many."""
        return self.take(np.arange(min(most, len(self))))

    def thinned(self, most: int) -> "Records":
        """Every n-th row from the first on, so that there are at most so many."""
        return self.take(np.arange(0, len(self), max(1, -(-len(self) // most))))

    def predicted(self) -> "Records":
        """Only the rows that have all their predictions; the record itself where all have."""
        has_all = ~np.isnan(self.predictions).any(axis=1) & (self.outputs > 0)
        return self if has_all.all() else self.take(np.flatnonzero(has_all))

    def distinct(self) -> "Records":
        """The record without rows that repeat an earlier one; itself where none does.

        A repeated row says nothing new, so it must not count as evidence twice.
        """
        # Rows are compared whole only where the sums of their inputs are equal.
        sums = self.inputs.sum(axis=1, dtype=np.float64)
        _, which, counts = np.unique(sums, return_inverse=True, return_counts=True)
        alike = np.flatnonzero(counts[which] > 1)
        if not len(alike):
            return self
        # No prediction is infinite, and NaN equals nothing.
        known = np.nan_to_num(self.predictions[alike], nan=np.inf)
        rows = np.column_stack([self.inputs[alike], known])
        _, first = np.unique(rows, axis=0, return_index=True)
        repeats = np.setdiff1d(alike, alike[first])
        return self.take(np.setdiff1d(np.arange(len(self)), repeats)) if len(repeats) else self

    def take(self, rows: np.typing.NDArray[np.intp]) -> "Records":
        """The given rows, in the given sequence."""
        targets = None if self.targets is None else self.targets[rows]
        return replace(
            self, inputs=self.inputs[rows], predictions=self.predictions[rows], targets=targets
        )

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        known = len(self.predicted())
        return (
            f"Records({len(self)} rows of {self.width} inputs, {known} with {self.outputs} "
            f"prediction{'s' if self.outputs != 1 else ''})"
        )
