"""What can be rebuilt of a network: an arrangement of pieces and of stand-ins for lost ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from unshuffle.blocks.ends import Linear
from unshuffle.blocks.mlp import INP, OUT, MlpBank, MlpNetwork, as_mlp_bank
from unshuffle.grouping.evidence import EdgeOdds, Evidence
from unshuffle.ordering.judge import Judge
from unshuffle.ordering.problem import Problem
from unshuffle.pieces.blueprint import Arrangement
from unshuffle.pieces.pile import Floats
from unshuffle.pieces.records import Records
from unshuffle.repair.estimation import Unknown
from unshuffle.repair.gaps import Orphan

# Log-odds of a block with a layer that was made to fit it.
SURE = 50.0


@dataclass(frozen=True, eq=False)
class StandIn:
    """An estimated layer, with a position behind those of the pile, and that of its partner."""

    role: int
    position: int
    partner: int
    layer: Linear

    @property
    def block(self) -> tuple[int, int]:
        """Positions of the block's inp and out layer."""
        both = self.position, self.partner
        return both if self.role == INP else both[::-1]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An arrangement of pieces and of stand-ins at positions in `slots`, the newest last.

    `error` is the mean squared error on the rows that arrangements are judged on, and `complete`
    says whether these are reproduced to rounding.
    """

    problem: Problem
    last: Linear
    arrangement: Arrangement
    slots: range
    stand_ins: tuple[StandIn, ...] = ()
    error: float = np.inf
    complete: bool = False

    @cached_property
    def bank(self) -> MlpBank:
        """All layers, stand-ins behind the pieces."""
        bank = as_mlp_bank(self.problem.bank)
        inp, out = ([one for one in self.stand_ins if one.role == role] for role in (INP, OUT))

        def joined(values: Floats, more: list[Floats]) -> Floats:
            return np.concatenate([values, *(each[None] for each in more)], dtype=values.dtype)

        return MlpBank(
            joined(bank.inp_weight, [one.layer.weight for one in inp]),
            joined(bank.inp_bias, [one.layer.bias for one in inp]),
            joined(bank.out_weight, [one.layer.weight for one in out]),
            joined(bank.out_bias, [one.layer.bias for one in out]),
            bank.activation,
            (*bank.inp_positions, *(one.position for one in inp)),
            (*bank.out_positions, *(one.position for one in out)),
        )

    @cached_property
    def evidence(self) -> Evidence:
        """On which layers share a block: a stand-in with none but its partner."""
        bank, (edge,) = self.bank, self.problem.evidence.edges
        odds = np.full((len(bank.inp_positions), len(bank.out_positions)), -np.inf)
        odds[: edge.log_odds.shape[0], : edge.log_odds.shape[1]] = edge.log_odds
        for one in self.stand_ins:
            odds[bank.rows[one.block[INP]], bank.columns[one.block[OUT]]] = SURE
        return Evidence((EdgeOdds(INP, OUT, odds, bank.rows, bank.columns),))

    def network(self) -> MlpNetwork:
        """The network of the arrangement."""
        return MlpNetwork(self.bank.take(self.arrangement), self.last)

    def judge(self, records: Records) -> Judge:
        """A judge of arrangements on rows."""
        return Judge(self.bank, self.last, records)

    def orphans(self) -> list[Orphan]:
        """The pieces that do not stand in the arrangement, as layers whose partners are missing."""
        bank, used = as_mlp_bank(self.problem.bank), {*self.arrangement.ravel().tolist()}
        inp, out = (
            [position for position in positions if position not in used]
            for positions in (bank.inp_positions, bank.out_positions)
        )
        return [
            *(Orphan(OUT, bank.inp_layer(each).astype(np.float64), each) for each in inp),
            *(Orphan(INP, bank.out_layer(each).astype(np.float64), each) for each in out),
        ]

    def unknowns(self) -> list[Unknown]:
        """The places of all stand-ins in the arrangement, the newest last."""
        found = [np.argwhere(self.arrangement == one.position).tolist() for one in self.stand_ins]
        return [Unknown(*where[0]) for where in found if where]

    @property
    def free(self) -> int | None:
        """A position that no stand-in in the arrangement has; None where all are taken."""
        return next((slot for slot in self.slots if slot not in self.arrangement), None)

    def with_block(self, gap: int, one: StandIn) -> "Reconstruction":
        """The same with one more block, of a stand-in and its partner."""
        others = (other for other in self.stand_ins if other.position != one.position)
        arrangement = np.insert(self.arrangement, gap, one.block, axis=0)
        return replace(self, arrangement=arrangement, stand_ins=(*others, one))

    def refitted(self, network: MlpNetwork, unknowns: Sequence[Unknown]) -> "Reconstruction":
        """The same with those layers of a network that is arranged in the same way."""
        blocks, layers = network.blocks, {}
        for unknown in unknowns:
            weight, bias = (blocks.inp, blocks.out)[unknown.role]
            position = int(self.arrangement[unknown.place, unknown.role])
            layers[position] = Linear(weight[unknown.place], bias[unknown.place])
        refitted = (
            replace(one, layer=layers.get(one.position, one.layer)) for one in self.stand_ins
        )
        return replace(self, stand_ins=tuple(refitted))
