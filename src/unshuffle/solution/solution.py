"""What a solve hands back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from unshuffle.blocks.activations import EXPECTED, is_activation
from unshuffle.blocks.forms import FORMULAS, RESIDUAL
from unshuffle.blocks.network import Network
from unshuffle.blocks.work import passes
from unshuffle.errors import UsageError
from unshuffle.files.schema import BESIDE, Derived, Expected, OrNaN, Word, encode
from unshuffle.grouping import Pairing
from unshuffle.grouping.edges import EdgeScores, least_margins
from unshuffle.ordering.paths import Similarity, path_similarity
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.answer import answer_text, with_biases
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.fact_table import fact_table
from unshuffle.pieces.pile import PieceId
from unshuffle.proof.certificate import Certificate
from unshuffle.proof.decimals import Cut
from unshuffle.proof.outcome import Outcome
from unshuffle.proof.verification import Explanation
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
    arrangement
        Shape (blocks, roles): the position in the pile of the piece in each slot. Blocks are in
        the order in which they run. `trace.ids` names the positions.
    last
        Id of the last layer. None where what stands behind the blocks is no piece of the pile.
    mse, max_abs_error
        Mean squared and maximum absolute error over all rows with predictions.
    rows
        Number of those rows.
    sha256
        SHA-256 of `answer`, in hexadecimal.
    activation
        Name of the activation in the hidden layers; "" for kinds of blocks without one.
    pairing
        The pairs by weights, with margins; None for another kind of block than the puzzle's.
    certificate
        How sure the arrangement is. None where it does not reproduce the record.
    seconds
        Wall time by phase, such as `pair`, `order` and `verify`. The phases add up to `total`.
    trace
        Every step of the search.
    network
        The assembled network, which predicts with NumPy.
    roles
        Names of the roles in a block.
    links
        Of blocks of another kind than the puzzle's, what weights say of each edge.
    kinship
        What `similarity` is, where the network does not know its roles.
    form
        What a block computes with its two layers. It says nothing of a blueprint's blocks.
    biases
        The id of the bias of each detached weight, by the weight's id.
    explanation
        What explains the errors, such as noise. None where nothing does.
    cut
        How predictions were cut to decimals, where that explains the errors.
    findings
        What was wrong with the pile: pieces left over, layers missing; None where nothing was.
    units
        By id of each out layer with permuted units, the column of each row of its inp layer. In
        `network` they are in the sequence of the rows.
    repairs
        What came of each repair, by name, and why others were not tried.
    parameters
        The numbers that steered pairing, search and goal, as plain values: fields of their
        parameter dataclasses.
    """

    derived: ClassVar[Derived] = {
        "exact": attrgetter("exact"),
        "advice": attrgetter("outcome.advice"),
        "permutation": attrgetter("permutation"),
        "blocks": attrgetter("blocks"),
        "slots": attrgetter("slots"),
        "as_given": attrgetter("as_given"),
        "interchangeable": attrgetter("interchangeable"),
        "signal": lambda solution: solution.pairing and solution.pairing.signal,
        "matching": lambda solution: solution.pairing and solution.pairing.matching,
        "margins": lambda solution: tuple(solution.margins.values()),
        "candidates_tested": attrgetter("trace.tested"),
        "moves_kept": attrgetter("trace.kept"),
        "rows_searched": attrgetter("trace.rows"),
        "passes": attrgetter("passes"),
    }

    outcome: Outcome
    arrangement: Annotated[Arrangement, BESIDE]
    last: PieceId | None
    mse: OrNaN
    max_abs_error: OrNaN
    rows: int
    sha256: Word
    activation: Annotated[str, Expected(EXPECTED, lambda name: not name or is_activation(name))]
    pairing: Annotated[Pairing | None, BESIDE]
    certificate: Certificate | None
    seconds: Annotated[Mapping[Word, float], Expected("with total", lambda held: "total" in held)]
    trace: Annotated[Trace, BESIDE]
    network: Annotated[Network, BESIDE]
    roles: tuple[Word, ...] = ("inp", "out")
    links: Annotated[tuple[EdgeScores, ...], BESIDE] = ()
    kinship: Annotated[Similarity | None, BESIDE] = None
    form: Annotated[str, Expected("one of " + ", ".join(FORMULAS), FORMULAS.__contains__)] = (
        RESIDUAL.formula
    )
    biases: Mapping[PieceId, PieceId] = field(default_factory=dict)
    explanation: Explanation | None = None
    cut: Cut | None = None
    findings: Findings | None = None
    units: Mapping[PieceId, tuple[int, ...]] = field(default_factory=dict)
    repairs: Mapping[Word, Word] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether the record is reproduced to rounding."""
        return self.outcome is Outcome.EXACT

    @property
    def passes(self) -> float:
        """The work of the search, in forward passes of all rows through the whole network."""
        return passes(self.trace.work, len(self.arrangement), self.rows)

    @property
    def blocks(self) -> tuple[tuple[PieceId, ...], ...]:
        """Ids of the pieces of each block, the blocks in the order in which they run."""
        return self.trace.names(self.arrangement)

    @property
    def slots(self) -> dict[str, PieceId]:
        """The piece in each slot, by the name of the slot, in the order in which blocks run.

        A slot of a module is called by the path that the names of its tensors begin with. Other
        slots are `blocks.0.inp`, `blocks.0.out`, … and `last`.
        """
        names = [[name for name in block if name] for block in self.network.blocks.slots()]
        found = {
            name: piece
            for some, pieces in zip(names, self.blocks, strict=True)
            for name, piece in zip(some, pieces, strict=True)
        }
        return found if self.last is None else found | {"last": self.last}

    @property
    def as_given(self) -> tuple[str, ...]:
        """Names of the tensors that are no piece's: they have the weights that were given."""
        if self.last is not None:
            return ()
        placed = self.network.blocks.tensors()
        tensors = self.network.ends.tensors().items()
        return tuple(n for n, one in tensors if n not in placed and one.dtype.kind == "f")

    @property
    def interchangeable(self) -> tuple[tuple[tuple[PieceId, ...], ...], ...]:
        """What can change places, and the network computes the same: groups of pieces.

        A piece that can do so alone is ``(3,)``, and the pieces of a block that can ``(3, 4)``.
        """
        certificate = self.certificate
        return () if certificate is None else certificate.interchangeable(self.blocks)

    @property
    def layers(self) -> tuple[PieceId, ...]:
        """Ids of the pieces in the order in which they are applied: inp, out, inp, out, …, last."""
        last = () if self.last is None else (self.last,)
        return (*(name for block in self.blocks for name in block), *last)

    @property
    def permutation(self) -> tuple[PieceId, ...]:
        """Ids of all pieces: the layers, each followed by its detached bias."""
        return with_biases(self.layers, self.biases)

    @property
    def answer(self) -> str:
        """The permutation as text, ids joined by commas; `?` for a layer that was estimated."""
        names = self.permutation
        return answer_text(names if self.findings is None else self.findings.answer_names(names))

    @property
    def evidence(self) -> tuple[EdgeScores, ...]:
        """What weights say of each two roles that share an axis: the scores of all pairs.

        Blocks of the puzzle have one such edge. Of other kinds, the pairs are those of the blocks.
        """
        return self.links if self.pairing is None else (self.pairing.edge,)

    @property
    def similarity(self) -> Similarity:
        """How alike blocks are in what they do with the stream, shape (blocks, blocks)."""
        return path_similarity(self.network.blocks) if self.kinship is None else self.kinship

    def edges(self) -> tuple[EdgeScores, ...]:
        """The evidence, if there is any.

        Raises
        ------
        UsageError
            If weights say nothing of which pieces share a block.
        """
        if not self.evidence:
            raise UsageError(
                "weights say nothing here of which pieces share a block: no two roles of a block "
                "share an axis along which its pieces stand out"
            )
        return self.evidence

    @property
    def margins(self) -> dict[tuple[PieceId, ...], float]:
        """Each block's lead over its best rival, in spreads of unmatched scores.

        The least of several pairs. NaN where the search formed one against the pairing by weights,
        or where weights say nothing.
        """
        least = least_margins(self.evidence, self.arrangement, self.trace.ids)
        return dict(zip(self.blocks, least.min(axis=1).tolist(), strict=True))

    def ended(self, outcome: Outcome, findings: Findings | None = None) -> "Solution":
        """The same solution with another outcome, and with these findings if there are any."""
        return replace(self, outcome=outcome, findings=findings or self.findings)

    def noted(self, *notes: str) -> "Solution":
        """The solution with more notes among its findings, if there are any."""
        if not notes:
            return self
        findings = self.findings or Findings()
        return replace(self, findings=replace(findings, notes=(*findings.notes, *notes)))

    def state_dict(self) -> "dict[str, torch.Tensor]":
        """Every tensor of the network by name. A module keeps its own names.

        Raises
        ------
        MissingExtraError
            If PyTorch is not installed.
        """
        from unshuffle.blocks.torch_module import tensors_of

        return tensors_of(self.network)

    def to_torch(self) -> "torch.nn.Module":
        """The network as a PyTorch module: like the lost one, or a copy of the given one.

        Raises
        ------
        MissingExtraError
            If PyTorch is not installed.
        """
        from unshuffle.blocks.torch_module import to_torch

        return to_torch(self.network)

    def summary(self) -> dict[str, Any]:
        """The solution as plain values, ready for JSON."""
        return encode(self)

    def _repr_html_(self) -> str:
        """The result as a table for notebooks."""
        facts = {
            "outcome": f"{self.outcome}. {self.outcome.advice}",
            "network": f"{self.network!r}",
            "mean squared error": f"{self.mse:.3g} over {self.rows} rows",
            "max absolute error": f"{self.max_abs_error:.3g}",
            "seconds": f"{self.seconds['total']:.2f}",
            "answer": self.answer,
            "sha256": self.sha256,
        }
        return fact_table(facts)

    def __repr__(self) -> str:
        answer = self.answer if len(self.answer) <= 72 else f"{self.answer[:69]}..."
        return (
            f"Solution({self.outcome}: {len(self.arrangement)} blocks, mse {self.mse:.3g}, "
            f"max abs error {self.max_abs_error:.3g} over {self.rows} rows, "
            f"{self.seconds['total']:.2f} s)\n"
            f"  answer  {answer}\n"
            f"  sha256  {self.sha256}"
        )


def check_solution(given: object) -> None:
    """Refuse what is no solution."""
    if not isinstance(given, Solution):
        raise UsageError(f"a solution is needed, but {given!r} is given; give what solve returns")
