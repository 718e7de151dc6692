"""Networks that are PyTorch modules: no family of them has any code of its own in `unshuffle`."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unshuffle import Outcome, blueprint, solve  # noqa: E402

_spec = spec_from_file_location("modules", Path(__file__).parent / "blocks" / "modules.py")
modules = module_from_spec(_spec)
_spec.loader.exec_module(modules)

FAMILIES = (modules.Transformer, modules.Llama, modules.ResNet, modules.GatedNetwork)


def trained_like(family, seed=0):
    """A module with weights that differ from block to block, and statistics of its own data."""
    torch.manual_seed(seed)
    module = family()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    rng = np.random.default_rng(seed)
    module.train()
    with torch.no_grad():
        for _ in range(20):
            inputs = modules.inputs_of(module, 64, rng)
            module(**{name: torch.from_numpy(one) for name, one in inputs.items()})
    return module.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_blocks_are_put_in_order(family, rng):
    module = trained_like(family)
    pile, blocks = modules.dropped(module, rng, whole=True)
    records = modules.recorded(module, 24, rng)
    given = modules.emptied(module)
    before = {name: one.clone() for name, one in given.state_dict().items()}
    solution = solve(pile, records, blueprint=blueprint(given))
    assert solution.outcome is Outcome.EXACT
    assert solution.blocks == blocks
    assert solution.rows == 24
    found, right = solution.state_dict(), module.state_dict()
    assert {*found} == {*right}
    for name, values in right.items():
        if values.is_floating_point():
            assert torch.equal(found[name], values), name
    for name, values in before.items():
        assert torch.equal(given.state_dict()[name], values), name
