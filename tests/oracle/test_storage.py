"""An oracle's folder comes back as it was, and what is wrong with one is said."""

import json

import numpy as np
import pytest

from unshuffle.errors import FileError
from unshuffle.files import write_npz
from unshuffle.oracle.data import Examples
from unshuffle.oracle.recipe import find_recipe
from unshuffle.oracle.storage import Oracle, clear, is_oracle, read_oracle, write_oracle


@pytest.fixture
def oracle(dropped, rng):
    network = dropped(blocks=3, width=5, hidden=7, outputs=2).network
    examples = Examples(
        rng.normal(size=(9, 5)).astype(np.float32), rng.normal(size=(9, 2)).astype(np.float32)
    )
    return Oracle(find_recipe("tiny-adam"), network, examples, (2.0, 1.0), 3.5, {"torch": "x"})


def test_round_trip(oracle, tmp_path):
    assert not is_oracle(tmp_path)
    write_oracle(tmp_path, oracle)
    assert is_oracle(tmp_path)
    network, data = read_oracle(tmp_path)
    for one, other in zip(network.layers(), oracle.network.layers(), strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
    np.testing.assert_array_equal(data.inputs, oracle.examples.inputs)
    np.testing.assert_array_equal(data.targets, oracle.examples.targets)
    assert data.outputs == 0
    with pytest.raises(FileError, match="exists already"):
        write_oracle(tmp_path, oracle)
    clear(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("oracle.json", "{", "is JSON that ends too early"),
        ("oracle.json", "[]", "is no JSON object"),
        ("oracle.json", "{}", "the activation is None"),
        ("oracle.json", json.dumps({"activation": ["relu"]}), "the activation is"),
        ("data.npz", {"input": np.ones((2, 4)), "target": np.ones(2)}, "has 4 inputs with targets"),
        ("data.npz", {"input": np.ones((2, 5))}, "has 5 inputs without targets"),
    ],
)
def test_a_folder_that_does_not_fit_together_is_a_mistake(oracle, tmp_path, file, content, part):
    write_oracle(tmp_path, oracle)
    if isinstance(content, str):
        (tmp_path / file).write_text(content)
    else:
        write_npz(tmp_path / file, content, force=True)
    with pytest.raises(FileError, match=part) as caught:
        read_oracle(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / file))
