"""The record: inputs, and what the lost network predicted for them."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unshuffle.errors import RecordError
from unshuffle.pieces.fact_table import fact_table
from unshuffle.pieces.pile import Floats, as_array, as_floats


def as_option(columns: Iterable[str]) -> str:
    """Names of columns as an option takes them, for a line that a shell reads."""
    return shlex.quote(",".join(columns))


@dataclass(frozen=True)
class Field:
    """One of the arrays of a row of inputs: its shape without rows, and its dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return int(np.prod(self.shape, dtype=int))


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
        Shape (rows, outputs) or None: the aims of the training. They are never used to solve.
    name
        What messages call it: the file it came from.
    columns
        Names of the columns of inputs, predictions and targets, and of those that were left out,
        where messages may name them.
    fields
        The arrays of a row of inputs, one behind the other; empty for one vector.
    output
        Which part of the output was predicted: a key, an attribute, or the number of an element. It
        is empty for the first tensor that has as many numbers.
    """

    inputs: Floats
    predictions: Floats
    targets: Floats | None = None
    name: str = "the record"
    columns: tuple[tuple[str, ...], ...] = ((), (), (), ())
    fields: tuple[Field, ...] = ()
    output: str = ""

    @classmethod
    def named(
        cls,
        inputs: Mapping[str, ArrayLike],
        prediction: ArrayLike | None = None,
        name: str = "the record",
        output: str = "",
    ) -> "Records":
        """A record of a network that reads several arrays, or arrays of any shape.

        Parameters
        ----------
        inputs
            Arrays or tensors by parameter of the module's `forward`, of shape (rows, …). They hold
            numbers, such as ids of tokens, or truth values.
        prediction
            What the network gave: shape (rows, …); None where it is not known.
        name
            What messages call it.
        output
            Which part of what the network gives `prediction` is, as of a record.

        Raises
        ------
        RecordError
            If there is no input, an array has no rows, or their numbers of rows differ.
        """
        if not isinstance(inputs, Mapping):
            raise RecordError(
                f"{name}: its inputs are given as {type(inputs).__name__}; give a dict of arrays "
                "by the parameters of forward"
            )

        def array(key: str, values: ArrayLike) -> NDArray[Any]:
            return as_array(values, f"{name}: {key}", RecordError)

        arrays = {key: array(key, values) for key, values in inputs.items()}
        given = {**arrays}
        if prediction is not None:
            given["prediction"] = array("prediction", prediction)
        rows = {key: len(values) if values.ndim else 0 for key, values in given.items()}
        if not arrays or 0 in rows.values() or len({*rows.values()}) > 1:
            found = ", ".join(f"{key} ({each} rows)" for key, each in rows.items()) or "no array"
            raise RecordError(
                f"{name}: holds {found}, but arrays called like the parameters of forward are "
                "needed, with one entry a row on the first axis of each; correct it"
            )
        count = next(iter(rows.values()))
        for key, values in arrays.items():
            if not np.isfinite(values).all():
                raise RecordError(
                    f"{name}: {key} holds NaN or an infinity, but all inputs are finite; leave "
                    "those rows out"
                )
        fields = tuple(Field(key, one.shape[1:], one.dtype.name) for key, one in arrays.items())
        flat = [one.reshape(count, -1).astype(np.float64) for one in arrays.values()]
        out = np.empty((count, 0)) if prediction is None else given["prediction"]
        out = out.reshape(count, -1)
        out = as_floats(out, f"{name}: the prediction", RecordError)
        return cls(np.hstack(flat), out, name=name, fields=fields, output=output)

    def arrays(self, inputs: Floats) -> dict[str, NDArray[Any]]:
        """The arrays that rows of inputs, shape (rows, width), stand for, by field."""
        found, start = {}, 0
        for field in self.fields:
            part = inputs[:, start : start + field.width]
            found[field.name] = part.reshape(len(inputs), *field.shape).astype(field.dtype)
            start += field.width
        return found

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
        """Of each column of predictions, over its known rows; 0 where these do not differ.

        The shape is (outputs,).
        """
        known = self.predicted().predictions
        if not len(known):
            return np.zeros(self.outputs)
        varies = np.ptp(known, axis=0) > 0  # a sum of equal numbers is rounded
        return np.where(varies, known.var(axis=0, dtype=np.float64), 0.0)

    @property
    def variance(self) -> float:
        """The mean of the variances over all outputs; of one row, that of its outputs. Positive."""
        known = self.predicted().predictions
        # A record of inputs alone has no outputs.
        one = len(known) == 1
        mean = known.var(dtype=np.float64) if one else self.variances.sum() / max(self.outputs, 1)
        return max(float(mean), np.finfo(float).tiny)

    def rows_for(self, equations: int) -> int:
        """Rows that make so many predictions (rows times outputs), as far as there are any."""
        return min(-(-equations // max(self.outputs, 1)), len(self))

    def first(self, most: int) -> "Records":
        """The first rows, at most so many."""
        return self.take(np.arange(min(most, len(self))))

    def thinned(self, most: int) -> "Records":
        """Every n-th row from the first on, so that there are at most so many."""
        return self.take(np.arange(0, len(self), max(1, -(-len(self) // most))))

    def predicted(self) -> "Records":
        """Only the rows that have all their predictions. The record itself where all have."""
        has_all = ~np.isnan(self.predictions).any(axis=1) & (self.outputs > 0)
        return self if has_all.all() else self.take(np.flatnonzero(has_all))

    def distinct(self) -> "Records":
        """The record without rows that repeat an earlier one; itself where none does.

        A repeated row says nothing new. So it must not count as evidence twice.
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
        inputs, predictions = self.inputs[rows], self.predictions[rows]
        return replace(self, inputs=inputs, predictions=predictions, targets=targets)

    def __len__(self) -> int:
        return len(self.inputs)

    def _repr_html_(self) -> str:
        """What it holds as a table for notebooks."""
        counts = {"rows": len(self), "with predictions": len(self.predicted())}
        return fact_table(
            {"record": self.name, **counts, "inputs": self.width, "predictions": self.outputs}
        )

    def __repr__(self) -> str:
        known = len(self.predicted())
        return (
            f"Records({len(self)} rows of {self.width} inputs, {known} with {self.outputs} "
            f"prediction{'s' if self.outputs != 1 else ''})"
        )
