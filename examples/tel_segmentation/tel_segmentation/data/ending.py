"""The end of a loader's workers, also of those that do not react any more."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Collection, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

MOMENT = 1.0
"""Seconds in which a worker may end by itself."""


def end_workers(batches: Any, workers: Collection[BaseProcess]) -> None:
    """Ends a loader's workers; those that are stuck are killed. They have nothing to lose.

    torch waits many seconds for a worker, and then sends SIGTERM, which ours ignore.

    Args:
        batches: the loader's iterator.
        workers: its processes.
    """
    if not workers:
        return
    timer = threading.Timer(MOMENT, _kill, (workers,))
    timer.start()
    try:
        with _child_signals_ignored():
            batches._shutdown_workers()
    finally:
        timer.cancel()


def _kill(workers: Collection[BaseProcess]) -> None:
    for each in workers:
        each.kill()


@contextlib.contextmanager
def _child_signals_ignored() -> Iterator[None]:
    """Without torch's handler of SIGCHLD, which raises an error when a worker was killed."""
    child = getattr(signal, "SIGCHLD", None)  # Windows has none
    if child is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(child, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(child, before)
