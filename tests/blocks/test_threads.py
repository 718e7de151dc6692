"""One pool of threads, beside a BLAS that uses none."""

import os
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from unshuffle.blocks.threads import cores, pool, single_threaded_blas


def blas_threads():
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_there_is_one_pool_with_a_thread_for_each_core():
    assert pool() is pool()
    assert pool()._max_workers == cores() >= 1


def test_the_blas_has_one_thread_meanwhile_and_then_as_many_as_before():
    with threadpool_limits(3, "blas"):
        before = blas_threads()
        with single_threaded_blas():
            assert blas_threads() == {1}
            with single_threaded_blas():
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == before


def test_a_blas_that_was_loaded_later_has_one_thread_too():
    """SciPy, which brings its own, is imported only where it is needed."""
    pytest.importorskip("scipy")
    code = """
import numpy
from threadpoolctl import threadpool_info, threadpool_limits
from unshuffle.blocks.threads import single_threaded_blas
with single_threaded_blas():
    pass
import scipy.linalg
threadpool_limits(3, "blas")
with single_threaded_blas():
    found = [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]
assert set(found) == {1}, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked on this system")
def test_a_child_process_has_a_pool_of_its_own():
    code = """
import os
from unshuffle.blocks.threads import pool
assert pool().submit(lambda: 1).result() == 1
child = os.fork()
if not child:
    os._exit(0 if pool().submit(lambda: 2).result(timeout=20) == 2 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
