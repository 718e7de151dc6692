"""Networks that are PyTorch modules: no family of them has any code of its own in `unshuffle`."""

from dataclasses import replace
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unshuffle import Outcome, Piece, Pile, Records, blueprint, solve, verify  # noqa: E402
from unshuffle.blocks.asking import hidden_axes  # noqa: E402
from unshuffle.blocks.fitting import in_turn  # noqa: E402
from unshuffle.blocks.module_blueprint import find_stacks  # noqa: E402
from unshuffle.blocks.network import Network  # noqa: E402
from unshuffle.blocks.torch_module import to_torch  # noqa: E402
from unshuffle.errors import PileError, RecordError, UsageError  # noqa: E402
from unshuffle.grouping.groups import group  # noqa: E402
from unshuffle.ordering.judge import Judge  # noqa: E402
from unshuffle.ordering.local_record import recorded_arrangements  # noqa: E402
from unshuffle.ordering.paths import path_arrangements  # noqa: E402
from unshuffle.ordering.problem import Problem  # noqa: E402
from unshuffle.pieces.blueprint import names  # noqa: E402
from unshuffle.pieces.clock import Clock  # noqa: E402
from unshuffle.solution.checking import problem_for  # noqa: E402
from unshuffle.views.module_inspection import grouping  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

_spec = spec_from_file_location("modules", Path(__file__).parent / "blocks" / "modules.py")
modules = module_from_spec(_spec)
_spec.loader.exec_module(modules)

FAMILIES = (modules.Transformer, modules.Llama, modules.ResNet, modules.GatedNetwork)
# Of several stacks, of kinds that take turns, and with a first block of another form.
SEVERAL = (
    modules.Stages,
    modules.Turns,
    modules.Translator,
    modules.Handing,
    modules.Recurrent,
    modules.Relative,
    modules.Returning,
)
QUICK = (modules.ResNet, modules.GatedNetwork)


def trained(family, rng, steps):
    """A module that was trained for some steps to do what another one of its family does."""
    torch.manual_seed(0)
    teacher, module = family(), family().train()
    for parameter in teacher.parameters():
        parameter.data *= 2 if parameter.ndim > 1 else 1
    optimizer = torch.optim.AdamW(module.parameters(), 5e-3, weight_decay=0.05)
    for _ in range(steps):
        inputs = modules.inputs_of(module, 32, rng)
        with torch.no_grad():
            wanted = modules.output_of(teacher, inputs)
        loss = (modules.output_of(module, inputs) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


@pytest.fixture
def gated(rng):
    return trained(modules.GatedNetwork, rng, 3)


@pytest.mark.parametrize("family", [*FAMILIES, *SEVERAL])
def test_whole_blocks_are_put_in_order(family, rng):
    module = trained(family, rng, 10 if family in FAMILIES else 60)
    pile, blocks = modules.dropped(module, rng, whole=True)
    records = modules.recorded(module, 24, rng)
    given = modules.emptied(module)
    before = {name: one.clone() for name, one in given.state_dict().items()}
    solution = solve(pile, records, blueprint=blueprint(given))
    assert solution.outcome is Outcome.EXACT
    assert solution.permutation == tuple(name for block in blocks for name in block)
    assert solution.rows == 24
    found, right = solution.state_dict(), module.state_dict()
    assert {*found} == {*right}
    for name, values in right.items():
        if values.is_floating_point():
            assert torch.equal(found[name], values), name
    for name, values in before.items():
        assert torch.equal(given.state_dict()[name], values), name


@pytest.mark.parametrize("own", [False, True])
def test_blocks_that_are_one_module_can_change_places(own, rng):
    module = trained(modules.Shared, rng, 20)
    if own:  # the network had one for each place, and the module that is given has not
        module.blocks[2] = modules.ScaledBlock(16, 40)
    pile, blocks = modules.dropped(module, rng, whole=True)
    records = modules.recorded(module, 24, rng)
    given = modules.emptied(module)
    assert given.blocks[0] is given.blocks[2]
    solution = solve(pile, records, blueprint=blueprint(given))
    first, _, third, _ = (name for block in blocks for name in block)
    assert solution.outcome is Outcome.EXACT
    alike = [{*group} for group in solution.interchangeable]
    assert alike == ([] if own else [{(first,), (third,)}])
    made = solution.to_torch()
    assert (made.blocks[0] is made.blocks[2]) != own
    for name, values in module.state_dict().items():
        assert torch.equal(made.state_dict()[name], values), name


@pytest.mark.parametrize("family", [modules.Stages, modules.Widths])
def test_stages_of_two_widths_are_searched_where_wrong_orders_explode(family, rng):
    """No block is run at the width of another stage, and states that overflow tell nothing."""
    module = family().eval()
    for stage in (module.stage1, module.stage2):
        for parameter in stage.parameters():
            parameter.data *= 3
    pile, _ = modules.dropped(module, rng)
    records = modules.recorded(module, 8, rng)
    solution = solve(pile, records, blueprint=blueprint(modules.emptied(module)), time_limit=2)
    assert len(solution.blocks) == len(modules.blocks_of(module))


@pytest.mark.parametrize("family", QUICK)  # tests/oracle/test_families.py has the slow ones
def test_loose_layers_are_put_together(family, rng):
    module = trained(family, rng, 200)
    pile, blocks = modules.dropped(module, rng)
    records = modules.recorded(module, 100, rng)
    solution = solve(pile, records, blueprint=blueprint(modules.emptied(module)))
    assert solution.outcome is Outcome.EXACT
    assert solution.blocks == blocks


@pytest.mark.parametrize(
    ("family", "hidden"),
    [
        (
            modules.Transformer,
            [
                {"attention.key 0", "attention.query 0"},
                {"attention.output 1", "attention.value 0"},
                {"down 1", "up 0"},
            ],
        ),
        (
            modules.Llama,
            [
                {"attention.key 0", "attention.query 0"},
                {"attention.output 1", "attention.value 0"},
                {"mlp.down 1", "mlp.gate 0", "mlp.up 0"},
            ],
        ),
        (modules.ResNet, [{"conv1 0", "conv2 1", "norm2 0"}]),
        (modules.GatedNetwork, [{"mlp.down 1", "mlp.gate 0", "mlp.up 0"}]),
    ],
)
def test_a_block_says_which_axes_are_the_same_hidden_units(family, hidden, rng):
    torch.manual_seed(0)
    module = family().eval()
    pile, _ = modules.dropped(module, rng)
    bank, _ = blueprint(module).parts(pile, modules.recorded(module, 3, rng))
    found = [
        {f"{bank.kind.roles[one.role].name} {one.axis}" for one in units}
        for units in bank.kind.hidden
    ]
    assert sorted(map(sorted, found)) == sorted(map(sorted, hidden))


def test_heads_that_several_others_share_are_found(rng):
    """Two keys serve four queries: half of the keys change sign with half of the queries."""
    shapes = {"query": (8, 5), "key": (4, 5), "value": (4, 5), "output": (5, 8)}
    own = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    x = rng.normal(size=(6, 5))

    def run(tensors):
        query, key, value = (x @ tensors[name].T for name in ("query", "key", "value"))
        mixed = []
        for head in range(4):
            shared = slice(2 * (head // 2), 2 * (head // 2) + 2)
            scores = np.exp(query[:, 2 * head : 2 * head + 2] @ key[:, shared].T)
            mixed.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, shared])
        return x + np.hstack(mixed) @ tensors["output"].T

    found = hidden_axes(run, own)
    whole = 0, 1
    assert found == [
        [("key", 0, *whole), ("query", 0, *whole)],
        [("output", 1, *whole), ("value", 0, *whole)],
    ]


def test_pieces_are_shown_together_where_a_link_ties_their_roles(rng):
    module = trained(modules.Transformer, rng, 200)
    pile, blocks = modules.dropped(module, rng)
    given, records = blueprint(module), modules.recorded(module, 8, rng)
    found = grouping(problem_for(given, given.fitted(pile), records), pile)
    tied = {tuple(each["pieces"]) for each in found["groups"]}
    assert {("attention.value", "attention.output"), ("up", "down")} <= tied
    assert not {role for roles in tied for role in roles} & {*found["without_link"]}
    assert {"norm1"} <= {*found["without_link"]}
    together = [{*each["pieces"].values()} for each in found["groups"] if "up" in each["pieces"]]
    assert len(together) == 4
    assert all(any(some <= {*block} for block in blocks) for some in together)


@pytest.mark.parametrize("turned", [False, True])
def test_layers_in_one_tensor_are_found(turned, rng):
    """Queries, keys and values are chunks of one tensor; so are a gate and what it multiplies."""
    shapes = {"attention.fused": (12, 5), "attention.out": (5, 4), "mlp.up": (12, 5)}
    own = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    own |= {"attention.bias": rng.normal(size=12), "mlp.down": rng.normal(size=(5, 6))}
    x = rng.normal(size=(6, 5))

    def run(tensors):
        tensors = {name: one.T if one.ndim > 1 and turned else one for name, one in tensors.items()}
        fused = x @ tensors["attention.fused"].T + tensors["attention.bias"]
        query, key, value = np.split(fused, 3, axis=1)
        scores = np.exp(query @ key.T)
        y = x + scores / scores.sum(axis=1, keepdims=True) @ value @ tensors["attention.out"].T
        gate, up = np.split(y @ tensors["mlp.up"].T, 2, axis=1)
        return y + (np.tanh(gate) * up) @ tensors["mlp.down"].T

    rows, columns = (1, 0) if turned else (0, 1)
    assert hidden_axes(run, {name: one.T if turned else one for name, one in own.items()}) == [
        [("attention.bias", 0, k, 3) for k in (0, 1)]
        + [("attention.fused", rows, k, 3) for k in (0, 1)],
        [
            ("attention.bias", 0, 2, 3),
            ("attention.fused", rows, 2, 3),
            ("attention.out", columns, 0, 1),
        ],
        [("mlp.down", columns, 0, 1), ("mlp.up", rows, 0, 2), ("mlp.up", rows, 1, 2)],
    ]


@pytest.mark.slow
def test_roles_of_one_shape_are_told_by_the_record(rng):
    """Gates and ups have one shape, and the pieces do not say which they are."""
    module = trained(modules.GatedNetwork, rng, 200)
    pile, blocks = modules.dropped(module, rng, told=False)
    records = modules.recorded(module, 100, rng)
    solution = solve(pile, records, blueprint=blueprint(modules.emptied(module)))
    assert solution.outcome is Outcome.EXACT
    assert solution.blocks == blocks


def test_pieces_that_the_module_holds_beside_its_blocks_are_left_aside(rng):
    module = trained(modules.GatedNetwork, rng, 3)
    pile, _ = modules.dropped(module, rng)
    head = Piece("head", module.head.state_dict())
    network = blueprint(module)
    assert [*network.loose(Pile([*pile, head]))] == [*pile]
    assert network.fitted(Pile([*pile, head])).ids == pile.ids
    assert network.loose(pile) is pile
    other = Piece("head", {name: 2 * one for name, one in head.tensors.items()})
    with pytest.raises(PileError, match=r"piece head .* put its weights into the module"):
        network.fitted(Pile([*pile, other]))
    only = Pile([head])
    with pytest.raises(PileError, match=r"piece head .* fits no slot"):
        network.fitted(only)


def test_the_module_comes_back_in_its_own_dtypes(rng):
    module = modules.GatedNetwork(2).eval()
    pile, _ = modules.dropped(module, rng, whole=True)
    given = modules.GatedNetwork(2).eval()
    given.blocks.half()
    given.stem.load_state_dict(module.stem.state_dict())
    given.head.load_state_dict(module.head.state_dict())
    bank, ends = blueprint(given, device="cpu").parts(pile, modules.recorded(module, 4, rng))
    network = Network(bank.take(np.array([[0], [1]])), ends)
    made = to_torch(network)
    assert made.blocks[0].scale.dtype == torch.float16
    assert made.head.weight.dtype == torch.float32
    np.testing.assert_array_equal(
        made.blocks[1].mlp.up.weight, pile[1].tensors["mlp.up.weight"].astype(np.float16)
    )


def test_its_pullback_agrees_with_finite_differences(rng):
    module = trained(modules.Llama, rng, 2).double()
    pile, _ = modules.dropped(module, rng)
    bank, ends = blueprint(module).parts(pile, modules.recorded(module, 4, rng))
    parts = np.array([bank.positions(role)[0] for role in range(len(bank.kind.roles))])
    x = ends.enter(modules.recorded(module, 4, rng).inputs)
    tokens = 6 * 18
    direction, step = np.zeros_like(x), 1e-5
    direction[:, :tokens] = rng.normal(size=(4, tokens))
    g = np.zeros((2, *x.shape))
    g[..., :tokens] = rng.normal(size=(2, 4, tokens))
    ahead, behind = (bank.apply(parts, x + side * step * direction) for side in (1, -1))
    expected = np.sum(g * (ahead - behind), axis=2) / (2 * step)
    np.testing.assert_allclose(
        np.sum(bank.pullback(parts, x, g) * direction, axis=2), expected, rtol=1e-6, atol=1e-8
    )
    probes = rng.normal(size=(3, ends.leave(x).shape[1]))
    ahead, behind = (ends.leave(x + side * step * direction) for side in (1, -1))
    np.testing.assert_allclose(
        np.sum(ends.pull(x, probes) * direction, axis=2),
        probes @ (ahead - behind).T / (2 * step),
        rtol=1e-6,
        atol=1e-8,
    )


@pytest.mark.parametrize("whole", [True, False])
def test_statistics_that_blocks_have_kept_need_no_predictions(whole, rng):
    """Running means and variances are those of the states before their block alone."""
    module = trained(modules.Stages, rng, 150)
    pile, blocks = modules.dropped(module, rng, whole=whole)
    records = Records.named(modules.inputs_of(module, 64, rng))
    solution = solve(pile, records, blueprint=blueprint(modules.emptied(module)))
    assert solution.outcome is Outcome.ESTIMATE
    assert [*map(set, solution.blocks)] == [*map(set, blocks)]


def test_the_order_of_files_does_not_matter_to_several_stacks(rng):
    module = trained(modules.Stages, rng, 5)
    pile, _ = modules.dropped(module, rng)
    records, given = modules.recorded(module, 16, rng), blueprint(modules.emptied(module))
    found = []
    for pieces in (pile.pieces, pile.pieces[::-1]):
        mixed = Pile(pieces)
        bank, ends = given.parts(mixed, records)
        problem = Problem(bank, ends, *group(mixed, bank.kind), records)
        seeds = [*recorded_arrangements(problem, Clock()), *path_arrangements(problem, Clock())]
        found.append([names(each, mixed.ids) for each in seeds])
    assert len(found[0]) > 2
    assert found[0] == found[1]


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_what_is_left_of_a_coarse_record_is_weighed_where_stages_differ(noise, rng):
    module = modules.Stages().eval()
    pile, blocks = modules.dropped(module, rng, whole=True)
    records = modules.recorded(module, 48, rng)
    coarse = np.round(records.predictions, 3) + noise * rng.normal(size=records.predictions.shape)
    found = verify(
        pile,
        replace(records, predictions=coarse.astype(np.float32)),
        [one for block in blocks for one in block],
        blueprint=blueprint(modules.emptied(module)),
    )
    assert found.outcome in (Outcome.APPROXIMATE, Outcome.UNDECIDED)
    assert found.mse < 1e-4


def test_what_is_not_in_the_pile_keeps_the_weights_of_the_module(rng):
    module = trained(modules.Translator, rng, 2)
    decoder = {f"decoder.{k}": [*block.state_dict()] for k, block in enumerate(module.decoder)}
    pile = Pile(
        modules.Piece(k, {n: t.numpy() for n, t in block.state_dict().items()})
        for k, block in enumerate(module.decoder)
    )
    records = modules.recorded(module, 4, rng)
    bank, ends = blueprint(module).parts(pile, records)
    held = {f"{block}.{name}" for block, names in decoder.items() for name in names}
    assert {*ends.own} == {*module.state_dict()} - held
    arrangement = np.array([[pile.index[k]] for k in range(3)])
    state = ends.enter(records.inputs)
    for parts in arrangement:
        state = bank.apply(parts, state)
    np.testing.assert_allclose(ends.leave(state), records.predictions, atol=1e-5)


@pytest.mark.parametrize(
    ("forms", "places"),
    [
        ("AAAA", [1, 1, 1, 1]),
        ("AAAABB", [1, 1, 1, 1, 1, 1]),
        ("ABABAB", [2, 2, 2]),
        ("XABABAB", [1, 2, 2, 2]),
        ("AABAABAAB", [3, 3, 3]),
        ("ABC", [1, 1, 1]),
    ],
)
def test_kinds_that_take_turns_share_a_place(forms, places):
    found = in_turn(forms)
    assert [len(place) for place in found] == places
    assert [step for place in found for step in place] == [*range(len(forms))]


@pytest.mark.parametrize(
    ("tensors", "prefixes"),
    [
        (["a.0.w", "a.1.w", "b.x.0.w", "b.x.1.w"], ["a.", "b.x."]),
        (["a.0.f.0.w", "a.0.f.1.w", "a.1.f.0.w", "a.1.f.1.w"], ["a."]),
        (["0.w", "1.e.0.u", "1.e.1.u", "2.v"], ["1.e."]),
        (["a.0.first", "a.0.w", "a.1.w"], ["a."]),
        (["a.0.w", "a.1.v"], []),
    ],
)
def test_stacks_are_the_outermost_names_that_differ_in_a_number(tensors, prefixes):
    found = find_stacks(dict.fromkeys(tensors, (2, 3)))
    assert [stack.prefix for stack in found] == prefixes


def test_pieces_that_do_not_fit_are_named(gated, rng):
    pile, _ = modules.dropped(gated, rng)
    records = modules.recorded(gated, 8, rng)
    fewer = Pile(pile.pieces[1:])
    with pytest.raises(
        PileError, match=r"3 pieces fit .* the 4 blocks blocks\.\* of the module have"
    ):
        solve(fewer, records, blueprint=blueprint(gated))
    other = modules.Piece("other", {"mlp.up.weight": np.ones((3, 3))})
    strange = Pile([*(replace(piece, id=str(piece.id)) for piece in fewer), other])
    with pytest.raises(PileError, match=r"piece other .* fits no slot of the 4 blocks"):
        solve(strange, records, blueprint=blueprint(gated))


def test_modules_without_a_stack_are_refused():
    with pytest.raises(
        UsageError, match=r"Linear has no stack: .*; put its blocks into one torch\.nn\.ModuleList"
    ):
        blueprint(torch.nn.Linear(3, 3))
    with pytest.raises(UsageError, match=r"made from a torch.nn.Module, but this is a str"):
        blueprint("gated.py")


class Remembering(torch.nn.Linear):
    def forward(self, x):
        self.last = getattr(self, "last", 0) + 1
        return x + super().forward(x) / self.last


class Handing(torch.nn.Linear):
    def forward(self, x, beside=0):
        return x + super().forward(x) + beside, super().forward(x)


class Passing(torch.nn.Module):
    """Makes something of the second thing that a block gives for the next one."""

    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList(Handing(6, 6) for _ in range(3))

    def forward(self, rows):
        beside = torch.zeros_like(rows)
        for block in self.blocks:
            rows, beside = block(rows, 2 * beside)
        return rows


class Looping(modules.GatedNetwork):
    """Runs all of its blocks again and again."""

    def forward(self, rows):
        rows = self.stem(rows)
        for block in [*self.blocks, *self.blocks]:
            rows = block(rows)
        return self.head(rows)


class Idle(modules.GatedNetwork):
    """Does not run its last block."""

    def forward(self, rows):
        rows = self.stem(rows)
        for block in self.blocks[:-1]:
            rows = block(rows)
        return self.head(rows)


class Single(modules.GatedNetwork):
    """Runs in single precision alone."""

    def forward(self, rows):
        if rows.dtype == torch.float64:
            raise RuntimeError("expected Float")
        return super().forward(rows)


class Written(torch.nn.Module):
    """Linear layers, run by a given function of rows and blocks."""

    def __init__(self, run, block=lambda: torch.nn.Linear(6, 6)):
        super().__init__()
        self.blocks, self.run = torch.nn.ModuleList(block() for _ in range(3)), run

    def forward(self, rows):
        return self.run(rows, self.blocks)


def behind(x, blocks):
    """Blocks in a row."""
    for block in blocks:
        x = block(x)
    return x


def beside(x, blocks):
    """Blocks whose skip connections are outside of them."""
    for block in blocks:
        x = x + block(x)
    return x


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    ("module", "what"),
    [
        (Written(beside), "put its skip connection into it"),
        (
            Written(
                lambda x, blocks: beside(x, (block[0] for block in blocks)),
                lambda: torch.nn.ModuleList([torch.nn.Linear(6, 6)]),
            ),
            "block blocks.0 does not run in a forward pass, .*; write it as a module whose forward",
        ),
        (
            Written(lambda x, blocks: behind(x[None], blocks)[0]),
            r"a state of shape \(1, 3, 6\), whose first axis does not follow the number of rows",
        ),
        (
            Written(
                lambda x, blocks: torch.nested.to_padded_tensor(
                    behind(torch.nested.nested_tensor([one[None] for one in x]), blocks), 0.0
                )[:, 0]
            ),
            "block blocks.0 is given a nested tensor, .* with enable_nested_tensor=False",
        ),
        (Single(), r"Single cannot run in float64 \(expected Float\); rounding is measured in"),
        (Looping(), "block blocks.0 runs again after others have run"),
        (Idle(), "block blocks.3 does not run in a forward pass"),
        (
            torch.nn.Sequential(*(Remembering(6, 6) for _ in range(3))),
            r"does not do the same again .*; put rows on the first axis .* switch off what",
        ),
        (Passing(), r"block blocks.1 is given more than the state"),
        (torch.nn.Sequential(*(torch.nn.Linear(6, 6) for _ in range(3)), torch.nn.ReLU()), None),
    ],
)
def test_what_cannot_be_run_block_by_block_is_said(module, what, rng):
    stack = getattr(module, "blocks", [*module.children()][:3])
    tensors = ({n: t.numpy() for n, t in block.state_dict().items()} for block in stack)
    pile = Pile(modules.Piece(k, each) for k, each in enumerate(tensors))
    inputs = rng.normal(size=(9, 6)).astype(np.float32)
    with torch.no_grad():
        records = Records(inputs, module(torch.from_numpy(inputs)).numpy())
    if what is None:
        assert len(blueprint(module).parts(pile, records)) == 2
        return
    with pytest.raises(UsageError, match=what):
        blueprint(module).parts(pile, records)


def test_a_record_of_another_module_is_refused(gated, rng):
    pile, _ = modules.dropped(gated, rng)
    right = modules.recorded(gated, 8, rng)
    wrong = Records.named({"rows": right.inputs}, np.zeros((8, 3)))
    with pytest.raises(RecordError, match="3 numbers of prediction a row, but"):
        solve(pile, wrong, blueprint=blueprint(gated))
    unknown = Records.named({"columns": right.inputs}, right.predictions)
    with pytest.raises(
        RecordError, match="has no parameter 'columns', only rows; rename the array as one of: rows"
    ):
        solve(pile, unknown, blueprint=blueprint(gated))


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        (lambda x: x[:, :5], r"given rows of shape \(rows, 5\) and torch.float32, .* \(mat1 and"),
        (lambda x: x.astype(int), r"torch.int64, and cannot read .* its parameters need \(rows\)"),
    ],
)
def test_inputs_that_forward_cannot_read_are_named(gated, rng, inputs, what):
    pile, _ = modules.dropped(gated, rng)
    right = modules.recorded(gated, 8, rng)
    records = Records.named({"rows": inputs(right.inputs)}, right.predictions)
    with pytest.raises(RecordError, match=what) as found:
        solve(pile, records, blueprint=blueprint(gated))
    assert "\n" not in str(found.value)


def test_a_forward_that_takes_any_argument_takes_any_name(gated, rng):
    def forward(**arguments):
        return type(gated).forward(gated, **arguments)

    right = modules.recorded(gated, 8, rng)
    gated.forward = forward
    records = Records.named({"rows": right.inputs}, right.predictions)
    blueprint(gated).check_record(records)
    without = Records.named({"rows": right.inputs, "logits": right.predictions})
    with pytest.raises(RecordError, match="call it prediction if it is the output"):
        blueprint(gated).check_record(without)


def test_arguments_that_a_record_lacks_are_named(rng):
    module = modules.Llama().eval()
    pile, _ = modules.dropped(module, rng)
    ids = modules.inputs_of(module, 4, rng)["ids"]
    records = Records.named({"ids": ids}, modules.recorded(module, 4, rng).predictions)
    with pytest.raises(
        RecordError, match=r"'seen'\); give arrays .* \(ids, seen\), as \.npz or by Records"
    ):
        solve(pile, records, blueprint=blueprint(module))


def test_a_module_in_place_of_its_blueprint_is_told_how_to_make_one(gated, rng):
    pile, _ = modules.dropped(gated, rng)
    records = modules.recorded(gated, 8, rng)
    for call in (solve, partial(verify, answer="0 1")):
        with pytest.raises(UsageError, match=r"is a GatedNetwork; give blueprint\(module\)"):
            call(pile, records, blueprint=gated)


def test_what_only_a_later_row_shows_is_a_mistake_of_the_record_too(rng):
    module = modules.Transformer().eval()
    pile, _ = modules.dropped(module, rng)
    right = modules.recorded(module, 8, rng)
    ids = right.inputs.astype(int)
    ids[-1] = modules.VOCABULARY
    with pytest.raises(RecordError, match="index out of range"):
        solve(pile, Records.named({"ids": ids}, right.predictions), blueprint=blueprint(module))


def test_many_states_are_run_a_part_at_a_time(gated, rng):
    pile, _ = modules.dropped(gated, rng, whole=True)
    records = modules.recorded(gated, 3, rng)
    bank, ends = blueprint(gated).parts(pile, records)
    states, first = ends.enter(records.inputs), np.zeros(1, np.intp)
    many = bank.apply(first, np.tile(states, (8000, 1)))
    expected = np.tile(bank.apply(first, states), (8000, 1))
    np.testing.assert_allclose(many, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_modules_without_numbers_or_code_are_refused(gated):
    with pytest.raises(
        UsageError, match=r"tensor stem\.weight of the module is on the device meta"
    ):
        blueprint(modules.GatedNetwork().to("meta"))
    with pytest.raises(UsageError, match="a compiled TopLevelTracedModule; give the module"):
        blueprint(torch.jit.trace(gated, torch.zeros(3, 6)))
    with pytest.raises(UsageError, match="a compiled OptimizedModule; give the module"):
        blueprint(torch.compile(gated))


@pytest.mark.parametrize("name", ["stem.weight", "blocks.2.mlp.up.weight", "head.bias"])
def test_a_tensor_that_is_not_finite_is_named(gated, rng, name):
    pile, _ = modules.dropped(gated, rng)
    records = modules.recorded(gated, 8, rng)
    gated.get_parameter(name).data[0] = torch.nan
    with pytest.raises(UsageError, match=f"tensor {name} of the module holds NaN"):
        blueprint(gated).parts(pile, records)


def test_a_record_may_have_one_row_but_not_none(gated, rng):
    pile, _ = modules.dropped(gated, rng)
    right = modules.recorded(gated, 1, rng)
    bank, ends = blueprint(gated).parts(pile, right)
    judge = Judge(bank, ends, right)
    arrangement = np.array([bank.positions(role) for role in range(len(bank.kind.roles))]).T
    x, pulled = judge.inputs, []
    g = np.ones((2, *x.shape), x.dtype)
    judge.by_rows(lambda part: pulled.append(bank.pullback(arrangement[0], x[part], g[:, part])))
    assert [one.shape for one in pulled] == [g.shape]
    none = Records(right.inputs[:0], right.predictions[:0])
    with pytest.raises(RecordError, match="has no rows"):
        solve(pile, none, blueprint=blueprint(gated))


def test_a_damaged_pile_is_not_mended(gated, rng):
    pile, _ = modules.dropped(gated, rng, whole=True)
    right = modules.recorded(gated, 30, rng)
    wrong = Records.named({"rows": right.inputs}, rng.permutation(right.predictions))
    solution = solve(pile, wrong, blueprint=blueprint(modules.emptied(gated)), time_limit=2)
    assert not solution.exact
    assert {*solution.repairs.values()} == {"not tried: it serves blocks x + out(a(inp(x))) alone"}
