"""Searches that end near the record and wrong: which stages lead on from there."""

from dataclasses import replace

import numpy as np
import pytest

from unshuffle import blueprint
from unshuffle.oracle.module_dropping import drop_module, emptied
from unshuffle.ordering.stages import STAGES
from unshuffle.solution.arranging import Searching
from unshuffle.solution.options import Options

NEAR = ("mean field", "restarts")
STUDY = [pytest.mark.slow, pytest.mark.study]


def searched(pile, records, *kept, activation=None, form=None):
    """Whether a search with no other stages near the record solves it and ends near; its work."""
    search = Searching.of(pile, records, Options(activation=activation), blueprint=form)
    stages = [stage for stage in STAGES if stage.name not in NEAR or stage.name in kept]
    search = replace(search, stages=stages)
    search.go_on()
    bench, best = search._bench, search.state.best
    return bench.done(best, len(records)), bench.near(best.error), search.trace.work


@pytest.mark.parametrize("seeds", [[37], pytest.param([*range(70)], marks=STUDY)], ids=len)
def test_mean_fields_solve_what_is_near_and_wrong_and_so_do_restarts_with_more_work(
    make_dropped, seeds
):
    wrong, works = 0, []
    for seed in seeds:
        case = make_dropped(
            np.random.default_rng(seed), 256, blocks=8, width=8, hidden=12, activation="softplus"
        )
        tried = [
            searched(case.pile, case.records, *kept, activation="softplus")
            for kept in ([], *([name] for name in NEAR))
        ]
        if tried[0][0] or not tried[0][1]:
            continue
        wrong += 1
        assert tried[1][0]
        assert tried[2][0]
        works.append([work - tried[0][2] for _, _, work in tried[1:]])
    assert wrong >= max(1, len(seeds) // 7)
    by_mean_fields, by_restarts = np.median(works, axis=0)
    assert 3 * by_mean_fields < by_restarts


def of_two_forms(torch, seed):
    """Eight random blocks, of two forms in any sequence."""

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inp, self.out = torch.nn.Linear(8, 16), torch.nn.Linear(16, 8)

        def forward(self, x):
            return x + self.out(torch.nn.functional.softplus(self.inp(x)))

    class Gated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.up = torch.nn.Linear(8, 16), torch.nn.Linear(8, 16)
            self.down = torch.nn.Linear(16, 8)

        def forward(self, x):
            return x + self.down(torch.sigmoid(self.gate(x)) * self.up(x))

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    forms = {"plain": Plain, "gated": Gated}
    names = rng.permutation(["plain"] * 5 + ["gated"] * 3).tolist()
    module = torch.nn.Sequential(
        torch.nn.Sequential(*(forms[name]() for name in names)), torch.nn.Linear(8, 1)
    ).eval()
    inputs = rng.normal(size=(128, 8)).astype(np.float32)
    dropped = drop_module(module, {"input": inputs}, level="blocks", rng=rng)
    return dropped, blueprint(emptied(module, np.random.default_rng(1)))


@pytest.mark.parametrize("seeds", [pytest.param([*range(12)], marks=STUDY)], ids=len)
def test_restarts_alone_lead_on_where_blocks_have_several_forms(seeds):
    torch = pytest.importorskip("torch")
    wrong = right = 0
    for seed in seeds:
        dropped, form = of_two_forms(torch, seed)
        pile = form.fitted(dropped.pile())
        without = searched(pile, dropped.records, "mean field", form=form)
        if without[0]:
            continue
        assert without[1]
        wrong += 1
        right += searched(pile, dropped.records, *NEAR, form=form)[0]
    assert right > wrong / 2
