"""What a solve hands back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from unshuffle.blocks.network import Network
from unshuffle.grouping import Pairing
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.answer import answer_text, with_biases
from unshuffle.pieces.pile import PieceId
from unshuffle.proof.certificate import Certificate
from unshuffle.proof.outcome import Outcome
from unshuffle.solution.findings import Findings

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Solution:
    """An arrangement of the pieces, with its proof.

    Parameters
    ----------
    outcome
        How the solve ended.
    pairs
        Ids of the inp and the out layer of each block, sorted by the inp layer.
    order
        Indices into `pairs`, in the order in which the blocks run.
    last
        Id of the last layer.
    mse, max_abs_error
        Mean squared and maximum absolute error over all rows with predictions.
    rows
        Number of those rows.
    sha256
        SHA-256 of `answer`, in hexadecimal.
    activation
        Name of the activation in the hidden layers.
    pairing
        The evidence for the pairs, with margins.
    certificate
        How sure the arrangement is; None where it does not reproduce the record.
    seconds
        Wall time by phase: `pair`, `order`, `verify` and `total`.
    trace
        Every step of the search.
    network
        The assembled network, which predicts with NumPy.
    biases
        Of each weight whose bias was a piece of its own, by id, the id of that bias.
    findings
        What was wrong with the pile: pieces left over, layers missing; None where nothing was.
    units
        Of each out layer whose columns are in another sequence than the rows of its inp layer, by
        id, the column of each row; the network's columns are in the sequence of the rows.
    """

    outcome: Outcome
    pairs: tuple[tuple[PieceId, PieceId], ...]
    order: tuple[int, ...]
    last: PieceId
    mse: float
    max_abs_error: float
    rows: int
    sha256: str
    activation: str
    pairing: Pairing
    certificate: Certificate | None
    seconds: Mapping[str, float]
    trace: Trace
    network: Network
    biases: Mapping[PieceId, PieceId] = field(default_factory=dict)
    findings: Findings | None = None
    units: Mapping[PieceId, tuple[int, ...]] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether the record is reproduced to rounding."""
        return self.outcome is Outcome.EXACT

    @property
    def layers(self) -> tuple[PieceId, ...]:
        """Ids of the layers in the order in which they are applied: inp, out, inp, out, …, last."""
        return (*(name for block in self.order for name in self.pairs[block]), self.last)

    @property
    def permutation(self) -> tuple[PieceId, ...]:
        """Ids of all pieces: the layers, each followed by its bias where that is one of its own."""
        return with_biases(self.layers, self.biases)

    @property
    def answer(self) -> str:
        """The permutation as text, ids joined by commas; `?` for a layer that was estimated."""
        names = self.permutation
        return answer_text(names if self.findings is None else self.findings.answer_names(names))

    @property
    def margins(self) -> dict[tuple[PieceId, PieceId], float]:
        """By pair: how far ahead of its best rival it is, in spreads of the unmatched scores.

        NaN for a pair that the search formed against the pairing by weights.
        """
        by_pair = {(match.inp, match.out): match.margin for match in self.pairing.matches}
        return {pair: by_pair.get(pair, float("nan")) for pair in self.pairs}

    def noted(self, *notes: str) -> "Solution":
        """The solution with more notes among its findings."""
        findings = self.findings or Findings()
        return replace(self, findings=replace(findings, notes=(*findings.notes, *notes)))

    def to_torch(self) -> "torch.nn.Module":
        """The network as a PyTorch module built like the lost one.

        Raises
        ------
        MissingExtraError
            If PyTorch is not installed.
        """
        from unshuffle.blocks.torch_module import to_torch

        return to_torch(self.network)

    def summary(self) -> dict[str, Any]:
        """The solution as plain values, ready for JSON."""
        return {
            "outcome": str(self.outcome),
            "exact": self.exact,
            "advice": self.outcome.advice,
            "permutation": list(self.permutation),
            "pairs": [list(pair) for pair in self.pairs],
            "order": list(self.order),
            "last": self.last,
            "biases": [list(each) for each in self.biases.items()],
            "units": [[out, list(columns)] for out, columns in self.units.items()],
            "mse": self.mse if isfinite(self.mse) else None,
            "max_abs_error": self.max_abs_error if isfinite(self.max_abs_error) else None,
            "rows": self.rows,
            "sha256": self.sha256,
            "activation": self.activation,
            "signal": self.pairing.signal,
            "matching": self.pairing.matching,
            "findings": None if self.findings is None else self.findings.summary(),
            "certificate": None if self.certificate is None else self.certificate.summary(),
            "margins": [m if isfinite(m) else None for m in self.margins.values()],
            "candidates_tested": self.trace.tested,
            "moves_kept": self.trace.kept,
            "rows_searched": self.trace.rows,
            "seconds": {phase: round(value, 6) for phase, value in self.seconds.items()},
        }

    def __repr__(self) -> str:
        answer = self.answer if len(self.answer) <= 72 else f"{self.answer[:69]}..."
        return (
            f"Solution({self.outcome}: {len(self.pairs)} blocks, mse {self.mse:.3g}, max abs error "
            f"{self.max_abs_error:.3g} over {self.rows} rows, {self.seconds['total']:.2f} s)\n"
            f"  answer  {answer}\n"
            f"  sha256  {self.sha256}"
        )
