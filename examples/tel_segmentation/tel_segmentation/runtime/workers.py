"""A function applied to many items: in this process or in several, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tqdm import tqdm

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")

_shared: Any = None


def each(
    function: Callable[[Shared, Item], Result],
    shared: Shared,
    work: Sequence[Item],
    jobs: int,
    title: str,
) -> Iterator[Result]:
    """Yields ``function(shared, item)`` for every item, in order.

    Args:
        function: with several processes, it and its arguments must be picklable.
        shared: is sent to each process once.
        work: the items.
        jobs: number of processes; 1: this process only.
        title: of the progress bar.

    Raises:
        OSError: a process has died.
    """
    if jobs == 1:
        for item in tqdm(work, title):
            yield function(shared, item)
        return
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), _start, (function, shared)
    )
    try:
        yield from tqdm(pool.map(_call, work, chunksize=4), title, len(work))
    except BrokenProcessPool as error:
        raise OSError(
            f"{title}: a process was killed, perhaps because memory ran out; try fewer (--jobs)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(function: Any, shared: Any) -> None:
    global _shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _shared = function, shared


def _end_with_parent() -> None:
    """Exits when the parent is killed; otherwise this process would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(item: Any) -> Any:
    function, shared = _shared
    return function(shared, item)
