import subprocess
import sys

import pytest

import unshuffle


def test_public_names():
    assert sorted(unshuffle.__all__) == [
        "Anatomy",
        "MlpNetwork",
        "Network",
        "Outcome",
        "Pairing",
        "Piece",
        "Pile",
        "Records",
        "Solution",
        "Trace",
        "UnshuffleError",
        "__version__",
        "blueprint",
        "checkpoint",
        "pair",
        "read_pile",
        "read_records",
        "read_solution",
        "solve",
        "verify",
        "write_solution",
    ]
    for name in unshuffle.__all__:
        assert getattr(unshuffle, name) is not None
    assert set(unshuffle.__all__) <= set(dir(unshuffle))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'unsolve'"):
        _ = unshuffle.unsolve


def test_names_are_the_same_whichever_module_is_imported_first():
    code = """
import unshuffle.solver, unshuffle.proof.verification, unshuffle.grouping
from unshuffle import pair, solve, verify
assert callable(solve) and callable(pair) and callable(verify)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
