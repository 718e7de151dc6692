"""A second kind of block costs one file: `tests/blocks/gated.py`. The search does the rest."""

from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from unshuffle import Outcome, Piece, Pile, Records, UnshuffleError, checkpoint, solve
from unshuffle.blocks.bank import LoopStack
from unshuffle.blocks.blueprints import LoopBlueprint
from unshuffle.blocks.ends import Linear
from unshuffle.blocks.network import Network
from unshuffle.errors import FileError, PileError, UsageError
from unshuffle.grouping.evidence import Evidence
from unshuffle.grouping.groups import group
from unshuffle.ordering.linearization import linearize, replacement_effects
from unshuffle.ordering.moves import all_swaps, with_swap_effects
from unshuffle.ordering.problem import Problem
from unshuffle.ordering.restarts import RestartParameters, disturbed
from unshuffle.ordering.search import Steps
from unshuffle.pieces.blueprint import Edge, Kind, Role, same_pieces
from unshuffle.solution.alternatives import Problems
from unshuffle.solution.arranging import arrange
from unshuffle.solution.options import Options

_spec = spec_from_file_location("gated", Path(__file__).parent / "blocks" / "gated.py")
gated = module_from_spec(_spec)
_spec.loader.exec_module(gated)

WIDTH, HIDDEN, BLOCKS = 12, 24, 8


@dataclass(frozen=True)
class Dropped:
    """A network of gated blocks that was dropped, with its answer."""

    network: Network
    pile: Pile
    records: Records
    blocks: tuple[tuple[int, ...], ...]

    @property
    def blueprint(self):
        return gated.gated_blueprint(WIDTH, HIDDEN, self.network.ends)

    @property
    def arrangement(self):
        return np.array([[self.pile.index[name] for name in block] for block in self.blocks])


def make_network(rng, *, blocks=BLOCKS, outputs=1, likeness=0.5):
    """A random network whose blocks couple their parts the way that training does.

    Downs undo ups, gates lean towards ups as far as `likeness` says, the norms of the weights of a
    hidden unit agree in all three, and each block takes steps of a third of the state.
    """
    states, made = rng.normal(size=(500, WIDTH)), []
    for _ in range(blocks):
        strength = np.exp(0.5 * rng.normal(size=(HIDDEN, 1))) / np.sqrt(WIDTH)
        up, other = (strength * rng.normal(size=(HIDDEN, WIDTH)) for _ in range(2))
        gain = rng.uniform(0.6, 1.2) * np.exp(0.15 * rng.normal(size=WIDTH))
        down = 0.5 * strength.T * rng.normal(size=(WIDTH, HIDDEN)) - 0.6 * up.T
        block = {
            "norm": {"weight": gain, "bias": 0.15 * rng.normal(size=WIDTH)},
            "gate": {"weight": likeness * up + np.sqrt(1 - likeness**2) * other},
            "up": {"weight": up},
            "down": {"weight": down},
        }
        step = np.linalg.norm(gated.apply(block, states) - states)
        block["down"]["weight"] = 0.35 * np.linalg.norm(states) / step * down
        states = gated.apply(block, states)
        made.append(block)
    ends = Linear(rng.normal(size=(outputs, WIDTH)) / np.sqrt(WIDTH), rng.normal(size=outputs))
    kind = gated.gated_kind(WIDTH, HIDDEN)
    return Network(LoopStack(kind, gated.apply, gated.pullback, made), ends).astype(np.float32)


def drop(rng, network, rows=2000):
    """Shuffle the parts of all blocks into numbered pieces, and record predictions."""
    count = len(network.blocks)
    ids = rng.permutation(4 * count).reshape(count, 4).tolist()
    pieces = [
        Piece(name, network.blocks.weights(place)[role])
        for place, names in enumerate(ids)
        for name, role in zip(names, gated.ROLES, strict=True)
    ]
    inputs = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    records = Records(inputs, network.predict(inputs))
    return Dropped(network, Pile(pieces), records, tuple(map(tuple, ids)))


@pytest.fixture(scope="module")
def network():
    return make_network(np.random.default_rng(100))


@pytest.fixture(scope="module")
def case(network):
    return drop(np.random.default_rng(0), network)


@pytest.fixture(scope="module")
def solution(case):
    return solve(case.pile, case.records, blueprint=case.blueprint)


@pytest.mark.parametrize("outputs", [1, 3])
def test_its_pullback_agrees_with_finite_differences(rng, outputs):
    weights = make_network(rng, blocks=1).astype(np.float64).blocks.weights(0)
    x, direction = rng.normal(size=(2, 9, WIDTH))
    g, step = rng.normal(size=(outputs, 9, WIDTH)), 1e-6
    ahead, behind = (gated.apply(weights, x + side * direction) for side in (step, -step))
    expected = np.sum(g * (ahead - behind), axis=2) / (2 * step)
    actual = gated.pullback(weights, x, g)
    assert actual.shape == g.shape
    np.testing.assert_allclose(np.sum(actual * direction, axis=2), expected, rtol=1e-6, atol=1e-8)


def test_roles_that_are_tied_together_are_exchanged_together(case, rng):
    """Ups with their downs: the gates and norms stay, and effects are those of both blocks."""
    unit = (gated.UP, gated.DOWN)
    evidence = Evidence((), units=(unit,))
    problem = Problem(case.blueprint.bank(case.pile), case.network.ends, None, evidence, None)
    judge = problem.judge(case.records.first(20))
    at = linearize(judge, judge.run(rng.permutation(case.arrangement)))
    swaps = all_swaps(judge, at, evidence)
    tied = swaps.take(np.flatnonzero(swaps.first_role >= 4))
    pairs = BLOCKS * (BLOCKS - 1) // 2
    assert len(swaps) == pairs * len(evidence.tied(4)) + 2 * pairs  # gates for ups both ways
    for move, roles in enumerate(evidence.tied(4)[role] for role in tied.first_role.tolist()):
        made = tied.apply(np.array([move]), at.run.arrangement)
        others = [role for role in range(4) if role not in roles]
        places = [tied.first[move], tied.second[move]]
        np.testing.assert_array_equal(made[:, others], at.run.arrangement[:, others])
        np.testing.assert_array_equal(
            made[places][:, roles], at.run.arrangement[places[::-1]][:, roles]
        )
        effects = replacement_effects(judge, at, places, made[places])
        np.testing.assert_allclose(tied.effects[move], effects.sum(axis=0), rtol=1e-3, atol=1e-5)
    again = with_swap_effects(judge, at, tied)
    np.testing.assert_allclose(again.effects, tied.effects, rtol=1e-3, atol=1e-5)
    kind = case.blueprint.kind
    for _ in range(50):
        restarted = disturbed(case.arrangement, evidence, kind, rng, RestartParameters())
        assert same_pieces(restarted, case.arrangement, kind)


def test_shapes_alone_do_not_tell_its_gates_from_its_ups():
    kind = gated.gated_kind(WIDTH, HIDDEN)
    assert kind.classes == ((gated.NORM,), (gated.GATE, gated.UP), (gated.DOWN,))
    assert kind.turns() == [(gated.GATE, gated.UP)]


def test_the_weights_alone_leave_much_to_be_found(case):
    """Nothing is known of norms, and next to nothing of which is the gate."""
    grouped, evidence = group(case.pile, case.blueprint.kind)
    right = {*map(tuple, case.arrangement.tolist())}
    assert len(right & {*map(tuple, grouped.tolist())}) <= BLOCKS // 2
    turned = case.arrangement
    turned[:, [gated.GATE, gated.UP]] = turned[:, [gated.UP, gated.GATE]]
    assert evidence.value(turned) == pytest.approx(evidence.value(case.arrangement))
    assert all(gated.NORM not in (edge.first, edge.second) for edge in evidence.edges)


def test_it_is_put_back_together(case, solution):
    assert solution.outcome is Outcome.EXACT
    assert solution.blocks == case.blocks
    np.testing.assert_array_equal(solution.arrangement, case.arrangement)
    assert solution.permutation == tuple(name for block in case.blocks for name in block)
    assert solution.rows == 2000
    assert solution.certificate.decided
    np.testing.assert_array_equal(
        solution.network.predict(case.records.inputs), case.records.predictions
    )


def test_what_only_the_puzzles_kind_has_is_not_there(solution):
    assert solution.last is None
    assert solution.activation == ""
    assert solution.pairing is None
    assert solution.roles == ("norm", "gate", "up", "down")
    assert solution.summary()["blocks"] == [list(block) for block in solution.blocks]
    assert solution.summary()["last"] is None
    assert f"{BLOCKS} blocks" in repr(solution)


def arranged(case, *stops):
    """Search for the arrangement of all pieces, and for nothing else."""
    options = Options()
    alternatives = Problems(case.pile, case.records, options, blueprint=case.blueprint)
    return arrange(case.pile, case.records, options, alternatives=alternatives, stops=stops)


@pytest.mark.parametrize(("seed", "outputs"), [(1, 2), (2, 1), (3, 1)])
def test_others_are_put_back_from_other_shuffles(seed, outputs):
    rng = np.random.default_rng(seed)
    case = drop(rng, make_network(rng, outputs=outputs))
    solution = arranged(case)
    assert solution.exact
    assert solution.blocks == case.blocks


@pytest.mark.slow
@pytest.mark.study
def test_gates_of_which_the_weights_say_little_are_found_by_the_record():
    """Populations have to draw which piece is the gate, and which the up, of which block."""
    rng = np.random.default_rng(0)
    case = drop(rng, make_network(rng, likeness=0.0))
    solution = arranged(case, Steps(2000))
    assert "population" in {step.phase for step in solution.trace.steps}
    assert solution.exact
    assert solution.blocks == case.blocks


def test_names_and_file_order_do_not_matter(case, solution, rng):
    mix = rng.permutation(len(case.pile)).tolist()
    renamed = Pile(Piece(f"x{mix[p.id]}", p.tensors) for p in reversed(case.pile.pieces))
    again = solve(renamed, case.records, blueprint=case.blueprint)
    assert again.blocks == tuple(tuple(f"x{mix[name]}" for name in block) for block in case.blocks)
    for one, other in zip(solution.trace.steps, again.trace.steps, strict=True):
        np.testing.assert_array_equal(one.arrangement, other.arrangement)
        np.testing.assert_array_equal(one.tested, other.tested)


@pytest.mark.parametrize("steps", [1, 5, 30])
def test_wherever_it_is_cut_off_each_piece_lies_where_its_shape_fits(case, steps):
    solution = arranged(case, Steps(steps))
    assert len(solution.trace) == steps
    assert same_pieces(solution.arrangement, case.arrangement, case.blueprint.kind)
    for before, after in pairwise(solution.trace.steps):
        if after.phase not in ("seeds", "more rows"):
            assert after.error <= before.error


def test_a_wrong_record_is_not_reproduced(case, rng):
    wrong = Records(case.records.inputs[:60], rng.normal(size=(60, 1)))
    solution = solve(case.pile, wrong, blueprint=case.blueprint, time_limit=3)
    assert not solution.exact
    assert same_pieces(solution.arrangement, case.arrangement, case.blueprint.kind)


def test_a_piece_too_few_or_too_many_is_said(case):
    *most, last = case.pile.pieces
    fewer, more = Pile(most), Pile([*case.pile.pieces, Piece(99, {"weight": np.ones((3, 3))})])
    for pile in (fewer, more):
        with pytest.raises(PileError, match="make no whole number of gated blocks: 8 pieces fit"):
            solve(pile, case.records, blueprint=case.blueprint)
    assert issubclass(PileError, UnshuffleError)
    assert last.id not in fewer.index


def whole_block(weights, x):
    """A block that is one piece."""
    tensors = weights["all"]
    return x + np.tanh(x @ tensors["read"].T) @ tensors["write"].T


def whole_pullback(weights, x, g):
    tensors = weights["all"]
    hidden = np.tanh(x @ tensors["read"].T)
    return g + ((g @ tensors["write"]) * (1 - hidden**2)) @ tensors["read"]


@pytest.mark.parametrize("right", [True, False])
def test_blocks_that_are_whole_are_put_in_order(rng, right):
    """The simplest kind has one role and no edge."""
    kind = Kind("whole", (Role("all", {"read": (6, 6), "write": (6, 6)}),))
    pieces = [
        Piece(name, {part: rng.normal(size=(6, 6)) / 4 for part in ("read", "write")})
        for name in rng.permutation(9).tolist()
    ]
    blueprint = LoopBlueprint(
        kind, whole_block, whole_pullback, Linear(rng.normal(size=(1, 6)), np.zeros(1))
    )
    pile, inputs = Pile(pieces), rng.normal(size=(400, 6))
    blocks = blueprint.bank(pile).take(np.array([[pile.index[piece.id]] for piece in pieces]))
    predictions = Network(blocks, blueprint.ends(pile)).predict(inputs)
    noise = 0 if right else rng.normal(size=predictions.shape) * predictions.std()
    limit = None if right else 5.0
    solution = solve(
        pile, Records(inputs, predictions + noise), blueprint=blueprint, time_limit=limit
    )
    assert solution.exact == right
    assert sorted(solution.permutation) == list(range(9))
    if right:
        assert solution.permutation == tuple(piece.id for piece in pieces)


def couple(rng, blocks=8, width=8):
    """Blocks x + out(tanh(inp x)) without biases, whose two roles have one shape."""

    def apply(weights, x):
        return x + np.tanh(x @ weights["inp"]["weight"].T) @ weights["out"]["weight"].T

    def pullback(weights, x, g):
        inp, out = weights["inp"]["weight"], weights["out"]["weight"]
        return g + ((g @ out) * (1 - np.tanh(x @ inp.T) ** 2)) @ inp

    roles = tuple(Role(name, {"weight": (width, width)}) for name in ("inp", "out"))
    kind = Kind("couple", roles, (Edge(0, 1, 0, 1),))
    names, pieces = [], []
    for k in range(blocks):
        strength = np.exp(0.5 * rng.normal(size=(width, 1)))
        inp = strength * rng.normal(size=(width, width)) / np.sqrt(width)
        out = -0.3 * inp.T + 0.1 * strength.T * rng.normal(size=(width, width)) / np.sqrt(width)
        pieces += [Piece(2 * k, {"weight": inp}), Piece(2 * k + 1, {"weight": out})]
        names.append((2 * k, 2 * k + 1))
    ends = Linear(rng.normal(size=(1, width)), np.zeros(1))
    blueprint = LoopBlueprint(kind, apply, pullback, ends)
    pile, inputs = Pile(pieces), rng.normal(size=(300, width))
    state = ends.enter(inputs)
    for pair in names:
        tensors = [pile[pile.index[name]].tensors for name in pair]
        state = apply({"inp": tensors[0], "out": tensors[1]}, state)
    return pile, Records(inputs, ends.leave(state)), blueprint, tuple(names)


def test_roles_of_one_shape_that_share_an_axis_are_coupled(rng):
    pile, records, blueprint, names = couple(rng)
    blocks, evidence = group(pile, blueprint.kind)
    found = {tuple(pile.ids[position] for position in block) for block in blocks.tolist()}
    assert len(found & {*names}) >= 6
    assert any(0 in (edge.first, edge.second) for edge in evidence.edges)
    solution = solve(pile, records, blueprint=blueprint)
    assert solution.exact
    assert solution.blocks == names


def test_the_tensors_of_an_edge_have_any_names(rng):
    pile, records, blueprint, names = couple(rng, blocks=4)
    renamed = Pile(Piece(piece.id, {"w": piece.weight}) for piece in pile)
    roles = tuple(Role(name, {"w": (8, 8)}) for name in ("inp", "out"))

    def called(block):
        return {role: {"weight": tensors["w"]} for role, tensors in block.items()}

    solution = solve(
        renamed,
        records,
        blueprint=LoopBlueprint(
            Kind("couple", roles, (Edge(0, 1, 0, 1, "w", "w"),)),
            lambda block, x: blueprint.apply(called(block), x),
            lambda block, x, g: blueprint.pullback(called(block), x, g),
            blueprint.given_ends,
        ),
    )
    assert solution.exact
    assert solution.blocks == names


@pytest.mark.parametrize(
    "options",
    [{"signal": "trace"}, {"activation": "relu"}, {"permuted_units": True}, {"matching": "greedy"}],
)
def test_what_says_nothing_of_its_blocks_is_refused(rng, options):
    pile, records, blueprint, _ = couple(rng, blocks=2)
    (name,) = options
    with pytest.raises(UsageError, match=f"{name}= cannot be used with blueprint="):
        solve(pile, records, blueprint=blueprint, **options)


def test_functions_of_the_wrong_shape_are_refused(rng):
    pile, records, blueprint, _ = couple(rng, blocks=2)
    two = Records(records.inputs, np.repeat(records.predictions, 2, axis=1))
    for wrong, record, what in (
        (replace(blueprint, apply=lambda weights, x: x[:, :3]), records, "apply of the block"),
        (replace(blueprint, pullback=lambda weights, x, g: g[0]), records, "pullback of the block"),
        (replace(blueprint, apply=lambda weights, x: weights["up"]), records, "KeyError"),
        (blueprint, two, "leave of the ends"),
    ):
        with pytest.raises(UsageError, match=what):
            solve(pile, record, blueprint=wrong)


def test_what_does_not_serve_another_kind_is_said(rng):
    pile, records, blueprint, _ = couple(rng, blocks=2)
    wrong = Records(records.inputs, rng.permutation(records.predictions))
    solution = solve(pile, wrong, blueprint=blueprint)
    assert not solution.exact
    assert {*solution.repairs.values()} == {"not tried: it serves blocks x + out(a(inp(x))) alone"}


def test_a_checkpoint_of_other_functions_is_refused(rng, tmp_path):
    pile, records, blueprint, _ = couple(rng, blocks=3)
    with checkpoint(tmp_path / "a") as kept:
        solve(pile, records, blueprint=blueprint, checkpoint=kept)
    other = replace(blueprint, apply=lambda weights, x: x)
    with (
        pytest.raises(FileError, match="another kind of block"),
        checkpoint(tmp_path / "a") as kept,
    ):
        solve(pile, records, blueprint=other, checkpoint=kept)
