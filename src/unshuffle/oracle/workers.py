"""One function over many items: in parallel processes here, or on a Dask cluster.

Both yield the position of an item, with its result or its exception, as soon as that is there. One
failure costs one item. An interruption costs only what was under way.
"""

import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import TypeVar

from unshuffle.errors import MissingExtraError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")
Results = Generator[tuple[int, Result | BaseException], None, None]

SECONDS_TO_CONNECT = 10

_stop: Event | None = None  # set by the parent when its workers are to stop; None outside them


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Results[Result]:
    """Apply a function in worker processes of this machine, so many at a time.

    It must be importable by its name. Where it takes long it calls `stop_if_asked` now and then.
    """
    context = get_context("spawn")  # a fork would copy the locks of PyTorch's threads
    stop = context.Event()
    pool = ProcessPoolExecutor(
        min(processes, len(items)), context, initializer=_begin, initargs=(stop,)
    )
    try:
        positions = {pool.submit(function, item): at for at, item in enumerate(items)}
        for future in as_completed(positions):
            yield positions[future], future.exception() or future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def on_cluster(
    function: Callable[[Item], Result], items: Sequence[Item], scheduler: str
) -> Results[Result]:
    """Apply a function on an existing Dask cluster, whose workers have this package installed.

    Raises `MissingExtraError` if Dask is not installed, and `UsageError` if no scheduler answers.
    """
    try:
        from distributed import Client
        from distributed import as_completed as as_completed_there
    except ImportError as error:
        raise MissingExtraError("Dask", "dask", "working on a cluster") from error
    try:
        client = Client(scheduler, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {scheduler!r}; give the address that `dask scheduler` "
            "prints, such as tcp://10.0.0.5:8786"
        ) from error
    with client:
        futures = client.map(function, items, pure=False)
        positions = {future.key: at for at, future in enumerate(futures)}
        try:
            for future in as_completed_there(futures):
                result = future.exception() if future.status == "error" else future.result()
                yield positions[future.key], result
        finally:
            client.cancel(futures)


def stop_if_asked() -> None:
    """Raise `KeyboardInterrupt` in a worker process whose parent wants it to stop."""
    if _stop is not None and _stop.is_set():
        raise KeyboardInterrupt


def _begin(stop: Event) -> None:
    """Leave Ctrl-C to the parent, which asks to stop where that does no harm."""
    global _stop  # noqa: PLW0603
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _stop = stop
