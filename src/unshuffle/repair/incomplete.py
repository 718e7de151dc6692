"""Piles in which pieces are missing or do not belong: rebuild, verify, and say what is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from threadpoolctl import threadpool_limits

from unshuffle.blocks.activations import find_activation
from unshuffle.blocks.assembly import last_layer, stack_layers
from unshuffle.blocks.network import Network
from unshuffle.grouping import pair
from unshuffle.ordering.journal import Journal
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.search import Ending, run_search
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.anatomy import Anatomy
from unshuffle.pieces.answer import LOST, answer_hash
from unshuffle.pieces.pile import Piece, PieceId, Pile
from unshuffle.pieces.records import Records
from unshuffle.proof.outcome import FINAL, SETTLED, Outcome
from unshuffle.proof.tolerance import arithmetic_of
from unshuffle.repair.anatomy import SURE_PART, partial_anatomy
from unshuffle.repair.copies import near_copies
from unshuffle.repair.division import likely_networks
from unshuffle.repair.estimation import estimate_last
from unshuffle.repair.gaps import Traces, unexplained
from unshuffle.repair.rebuilding import HOPELESS, SLOTS, Workbench, rebuild
from unshuffle.solution.arranging import Options, arrange
from unshuffle.solution.findings import Findings, Gap, Leftover
from unshuffle.solution.solution import Solution

DOUBTFUL = -3.0
"""Log-odds below which a matched pair is taken for two layers that found no partner."""

EXPLAINED = 0.5
"""A whole block is said to be missing where one in some gap explains at least this part of what is
left,"""
NEAR = 0.1
"""and what is left is at most this part of the predictions' variance,"""
LEAST_SHARE = 1e-4
"""and at least this."""


@dataclass(frozen=True, eq=False)
class _Rebuilt:
    """What a search on loose layers came to: the workbench, and names for all its layers."""

    bench: Workbench
    pile: Pile
    inp: list[PieceId]
    out: list[PieceId]
    ending: Ending


def solve_incomplete(pile: Pile, records: Records, options: Options, anatomy: Anatomy) -> Solution:
    """Rebuild with each piece that can be the last layer in turn, until one reproduces the record.

    Where there are several, the pile may hold two networks, which the weights tell apart; that is
    tried first. Where pieces are missing or too many, an activation may fit better by accident;
    then the first is tried by itself too.

    Parameters
    ----------
    pile, records, options
        As for `arrange`; pieces may be missing, or of another network.
    anatomy
        As from `partial_anatomy`.

    Returns
    -------
    Solution
        The one that reproduces the record, or the one with the lowest error.
    """
    started = options.clock()
    found: list[Solution] = []
    if len(anatomy.last) > 1 and min(len(anatomy.inp), len(anatomy.out)) > 1:
        found.append(_of_two_networks(pile, records, options, anatomy))
        if found[-1].outcome in FINAL:
            return found[-1]
    likeliest = options.activations[0].name
    alone = replace(options, activation=likeliest)
    for decided in [anatomy.with_last(last) for last in anatomy.last] or [anatomy]:
        for chosen in (options, alone):
            if chosen is alone and found[-1].activation == likeliest:
                continue
            timed = chosen.with_time_left(started)
            found.append(solve_loose(pile, records, timed, decided))
            outcome = found[-1].outcome
            if outcome in SETTLED:
                return found[-1]
            if outcome in FINAL:
                return replace(min(found, key=lambda each: each.mse), outcome=outcome)
    return min(found, key=lambda each: each.mse)


def solve_loose(
    pile: Pile,
    records: Records,
    options: Options,
    anatomy: Anatomy,
    start: Solution | None = None,
) -> Solution:
    """Rebuild with layers that may be left out or estimated, and verify what came of it.

    Parameters
    ----------
    pile, records, options, anatomy
        As for `solve_incomplete`.
    start
        An arrangement of all pieces to begin with.

    Returns
    -------
    Solution
        With its leftovers and gaps among the findings.
    """
    return _conclude(_rebuild(pile, records, options, anatomy, start), records, options)


def _of_two_networks(pile: Pile, records: Records, options: Options, anatomy: Anatomy) -> Solution:
    """Take the blocks that seem to be of one network for all that it has."""
    started = options.clock()
    rebuilt = _rebuild(pile, records, options, anatomy, None, divided=True)
    solution = _conclude(rebuilt, records, options)
    findings = solution.findings
    assert findings is not None
    few = len(findings.leftovers) <= 2 * SLOTS  # a search with all pieces at hand does as well
    if solution.outcome in FINAL or few or findings.unexplained > HOPELESS:
        return solution
    # The blocks may all be right, and only their order be far.
    own = Pile(piece for piece in pile if piece.id in solution.permutation)
    arranged = arrange(own, records, options.with_time_left(started))
    if arranged.mse > solution.mse:
        cut_off = arranged.outcome in FINAL
        return replace(solution, outcome=arranged.outcome) if cut_off else solution
    unexplained_part = arranged.mse / records.variance
    findings = Findings(_leftovers(pile, own, arranged), unexplained=unexplained_part)
    stopped = arranged.outcome in FINAL
    outcome = arranged.outcome if stopped else Outcome.INCOMPLETE
    return replace(arranged, outcome=outcome, findings=findings)


def _rebuild(
    pile: Pile,
    records: Records,
    options: Options,
    anatomy: Anatomy,
    start: Solution | None,
    *,
    divided: bool = False,
) -> _Rebuilt:
    """Search with layers that may be left out, and slots for those that are missing.

    Parameters
    ----------
    start
        An arrangement to begin with.
    divided
        Whether to begin with the blocks that seem to be of one of two networks.
    """
    known = records.predicted()
    guessed_last = not anatomy.last
    if guessed_last:
        guess = estimate_last(known.inputs, known.predictions).astype(pile.dtype)
        pile = Pile([*pile, Piece(_new_name(pile, 0), guess.weight, guess.bias)])
        completed = partial_anatomy(pile, records)
        assert completed is not None
        anatomy = completed
    slots = [_new_name(pile, number) for number in range(1, 2 * SLOTS + 1)]
    inp: list[PieceId] = [*(pile[i].id for i in anatomy.inp), *slots[:SLOTS]]
    out: list[PieceId] = [*(pile[j].id for j in anatomy.out), *slots[SLOTS:]]
    found: list[Workbench] = []
    journal = options.journal or Journal()
    with threadpool_limits(1, "blas"):
        steps = rebuild(
            likely_networks(pile, records, anatomy, options.activations)
            if divided
            else _problems(pile, records, anatomy, options, start),
            found,
            np.random.default_rng(options.seed),
            arithmetic_of(pile.dtype, known.predictions),
            journal=journal,
            rows=options.rows,
            guessed_last=guessed_last,
            searched=start is not None,
            divided=divided,
        )
        ending = run_search(
            steps,
            Trace(inp, out),
            time_limit=options.time_limit,
            on_step=options.on_step,
            clock=options.clock,
        )
    return _Rebuilt(found[0], pile, inp, out, ending)


def _conclude(rebuilt: _Rebuilt, records: Records, options: Options) -> Solution:
    """Verify what was rebuilt, name what was left over, and measure the gaps."""
    bench, pile = rebuilt.bench, rebuilt.pile
    pairs = [
        (rebuilt.inp[i], rebuilt.out[j]) for i, j in (divmod(b, bench.outs) for b in bench.order)
    ]
    last = _last_of(rebuilt)
    network = bench.network()
    pieces = []
    for name, layer in zip((*chain.from_iterable(pairs), last), network.layers(), strict=True):
        known_piece = name in pile.index and not (bench.guessed_last and name == last)
        pieces.append(
            pile[pile.index[name]] if known_piece else Piece(name, layer.weight, layer.bias)
        )
    used = Pile(pieces)
    given = replace(
        options,
        activation=bench.layers.activation.name,
        signal=None,
        time_limit=None,
        on_step=None,
        journal=None,
    )
    solution = arrange(used, records, given, given=pairs)
    gaps = _gaps(bench, pairs, last, network, records.predicted())
    unexplained_part = solution.mse / records.variance
    if solution.outcome not in SETTLED and not gaps:
        gaps = _block_gaps(network, records.predicted(), unexplained_part)
    outcome = solution.outcome
    if gaps and outcome in SETTLED:
        # An estimated layer takes up whatever pattern there is, so only rounding is proof.
        exact = outcome is Outcome.EXACT
        outcome = Outcome.APPROXIMATE if exact else Outcome.INCOMPLETE
    elif outcome not in SETTLED:
        outcome = {
            Ending.OUT_OF_TIME: Outcome.BUDGET_SPENT,
            Ending.INTERRUPTED: Outcome.INTERRUPTED,
        }.get(rebuilt.ending, Outcome.INCOMPLETE)
    findings = Findings(_leftovers(pile, used, solution), gaps, unexplained_part)
    names = findings.answer_names(solution.permutation)
    return replace(solution, outcome=outcome, findings=findings, sha256=answer_hash(names))


def _last_of(rebuilt: _Rebuilt) -> PieceId:
    """Id of the last layer on the workbench."""
    pile, last = rebuilt.pile, rebuilt.bench.last
    if rebuilt.bench.guessed_last:
        return next(piece.id for piece in pile if str(piece.id).startswith(LOST))
    return next(
        piece.id
        for piece in pile
        if piece.shape == last.weight.shape
        and np.array_equal(piece.weight.astype(last.weight.dtype), last.weight)
        and np.array_equal(piece.bias.astype(last.bias.dtype), last.bias)
    )


def _gaps(
    bench: Workbench,
    pairs: list[tuple[PieceId, PieceId]],
    last: PieceId,
    network: Network,
    known: Records,
) -> tuple[Gap, ...]:
    """The layers that were estimated, in sequence, and what their blocks carry."""
    variance = known.variance
    whole = network.predict(known.inputs).astype(np.float64)
    gaps = []
    for place, block in enumerate(bench.order):
        role = next((one.role for one in bench.filled if one.block == block), None)
        if role is None:
            continue
        others = [other for other in range(len(pairs)) if other != place]
        without = Network(network.blocks.take(others), network.last).predict(known.inputs)
        share = float(np.mean(np.square(without - whole))) / variance
        gaps.append(Gap(place, role, pairs[place][role == "out"], share))
    if bench.guessed_last:
        gaps.append(Gap(len(pairs), "last", last, 1.0))
    return tuple(gaps)


def _block_gaps(network: Network, known: Records, left: float) -> tuple[Gap, ...]:
    """The gap in which a block that is missing whole would explain most of what is left."""
    if not LEAST_SHARE < left < NEAR:
        return ()
    rest = unexplained(Traces.of(network, known.inputs, known.predictions))
    if not rest.min() < 1 - EXPLAINED:
        return ()
    return (Gap(int(rest.argmin()), "block", None, left),)


def _leftovers(pile: Pile, used: Pile, solution: Solution) -> tuple[Leftover, ...]:
    """The pieces of a pile that are not used, with the reason."""
    twins: dict[int, list[tuple[int, float]]] = {}
    for first, second, difference in near_copies(pile):
        twins.setdefault(first, []).append((second, difference))
        twins.setdefault(second, []).append((first, difference))
    roles = {piece.shape for piece in used}
    leftovers = []
    for position, piece in enumerate(pile):
        if piece.id in used.index:
            continue
        twin = next((t for t in twins.get(position, ()) if pile[t[0]].id in used.index), None)
        if twin is not None:
            verb = "fits better" if solution.outcome in SETTLED else "stands in its place"
            reason = f"nearly piece {pile[twin[0]].id}, which {verb}"
        elif piece.shape not in roles:
            reason = f"fits nowhere with its shape {piece.shape[0]} × {piece.shape[1]}"
        elif solution.outcome in SETTLED:
            reason = "not needed: the record is reproduced without it"
        else:
            reason = "no place found"
        leftovers.append(Leftover(piece.id, reason))
    return tuple(leftovers)


def _problems(
    pile: Pile,
    records: Records,
    anatomy: Anatomy,
    options: Options,
    start: Solution | None,
) -> Iterator[Problem]:
    """One problem for each activation; its pairs are those that are not doubtful.

    With an arrangement to begin with there is one, whose pairs stand in their order.
    """
    activations = options.activations
    if start is not None:
        activations = [find_activation(start.activation)]
        anatomy = anatomy.with_last(pile.index[start.last])
    inp = {pile[i].id: k for k, i in enumerate(anatomy.inp)}
    out = {pile[j].id: k for k, j in enumerate(anatomy.out)}
    for activation in activations:
        pairing = pair(pile, records, anatomy=anatomy, activation=activation)
        ids = pairing.pairs if start is None else [start.pairs[block] for block in start.order]
        pairs = np.array([(inp[a], out[b]) for a, b in ids], np.intp)
        if start is None:
            odds = pairing.scores[tuple(pairs.T)]
            pairs = pairs[odds > (DOUBTFUL if (odds > 0).mean() > SURE_PART else -np.inf)]
        yield Problem(
            stack_layers(pile, anatomy, activation),
            last_layer(pile, pairing.last),
            pairs,
            pairing.scores,
            records,
            turns=False,
        )


def _new_name(pile: Pile, number: int) -> str:
    name = f"?{number}" if number else "?last"
    while name in pile.index:
        name = f"?{name}"
    return name
