"""What the laboratory asks of modules, on what theory knows."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from unshuffle.errors import UsageError
from unshuffle.grouping.units import Face
from unshuffle.lab import families
from unshuffle.lab.subjects import load_module, oracle_subject
from unshuffle.oracle.recipe import find_recipe


@pytest.fixture(scope="module")
def subject():
    """A network of four gated blocks that has hardly learned."""
    recipe = find_recipe("module-tiny-gated")
    small = replace(recipe, data=replace(recipe.data, rows=64))
    return oracle_subject(small, 24, None)


def test_traces_are_those_of_products(rng):
    reads, writes = rng.normal(size=(3, 5, 4)), rng.normal(size=(3, 4, 5))
    found = families.traces(Face(reads, 0), Face(writes.transpose(0, 2, 1), 0))
    expected = [[np.trace(write @ read) for write in writes] for read in reads]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(("sign", "negative"), [(1.0, 0.0), (-1.0, 1.0)])
def test_pairs_of_one_sign_are_found_whichever_it_is(rng, sign, negative):
    units = rng.normal(size=(6, 20, 8))
    near = sign * units + rng.normal(size=units.shape) / 4
    one, other = Face(units, 0), Face(near, 0)
    assert families._best("trace", [one], [other]) == (1.0, negative)
    turned = Face(np.roll(near, 1, axis=0), 0)
    assert families._best("trace", [one], [turned])[0] == 0.0
    assert families._best("trace", [one], [Face(near, 1)]) is None
    assert families._best("trace", [one], [Face(near[:, :, :3], 0)]) is None


def test_the_truth_of_a_module_has_no_error(subject):
    task = families.task_of_module(subject)
    judge = task.judge(24)
    assert judge.run(task.arranged(np.arange(4))).error < 1e-12
    assert judge.run(task.arranged(np.array([1, 0, 2, 3]))).error > 1e-9


def test_every_question_has_an_answer(subject):
    task = families.task_of_module(subject)
    for signal in families.EDGE_SIGNALS:
        found = families.measure_edges(signal, task)
        assert 0 <= found["edge_first_least"] <= found["edge_first"] <= 1
        assert found["edges"] == 3  # gate, up and down share hidden units
        assert ("edge_negative" in found) == (signal == "trace")
    assert 0 <= families.measure_path(task, subject.rng())["path_depth"] <= 1 + 1e-9
    assert -1 <= families.measure_landscape(task)["funnel"] <= 1


def test_other_networks_are_refused():
    subject = oracle_subject(find_recipe("tiny-adam"), 24, None)
    with pytest.raises(UsageError, match="no oracle of a module"):
        load_module(subject)
