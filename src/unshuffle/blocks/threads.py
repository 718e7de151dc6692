"""The threads that numerics use: one pool for the whole process, beside a single-threaded BLAS."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(1)
def pool() -> ThreadPoolExecutor:
    """The one pool; its threads must not wait for work that they hand to it."""
    return ThreadPoolExecutor(cores())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # a child has none of the threads


@lru_cache(4)
def _libraries(loaded: tuple[bool, ...]) -> ThreadpoolController:
    """The thread pools of the libraries that are loaded; to find them takes longest."""
    return ThreadpoolController()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Run the BLAS, and PyTorch if it is loaded, in one thread meanwhile.

    For many small products, whole batches in parallel are faster than a parallel BLAS. Their
    rounding does not depend on the number of cores. A library that is loaded meanwhile is not
    limited: SciPy has a BLAS of its own.
    """
    loaded = tuple(name in sys.modules for name in ("numpy", "scipy.linalg", "torch"))
    torch: Any = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 1
    with _libraries(loaded).limit(limits=1, user_api="blas"):
        if before > 1:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if before > 1:
                torch.set_num_threads(before)
