"""Room in shared memory, through which workers send their batches; containers often have little."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from tel_segmentation import config
from tel_segmentation.data.sample import Batch

FOLDER = Path("/dev/shm")  # of Linux; elsewhere the room is not known
PREFETCH = 4
_BYTES = 2 * 3 * 4 + 2 * 8  # of a pixel: image and guide in float32, label and truth in int64
_SHARE = 0.9  # of what is free; the rest is left to others


class Workers(NamedTuple):
    """How many processes read images, and how many batches each prepares in advance."""

    number: int
    prefetch: int
    reason: str
    """Empty, or why there are fewer than ``data.workers``."""


def fitting_workers(options: config.Train, processes: int = 1) -> Workers:
    """``data.workers``, or as many as have room for their batches.

    Batches do not depend on the number of workers.

    Args:
        options: of the run.
        processes: that train on this machine; each has workers of its own.
    """
    wanted = options.data.workers
    if not wanted or not FOLDER.is_dir():
        return Workers(wanted, PREFETCH, "")
    height, width = options.data.crop
    size = options.batch * height * width * _BYTES
    free = shutil.disk_usage(FOLDER).free
    # One batch more: the one that is being used.
    batches = max(0, int(_SHARE * free / (size * processes)) - 1)
    count = min(wanted, batches)
    reason = (
        f"data.workers: {count} instead of {wanted}: {FOLDER} has {_mb(free)} free, and a batch"
        f" needs {_mb(size)}"
        if count < wanted
        else ""
    )
    return Workers(count, min(PREFETCH, batches // count) if count else PREFETCH, reason)


def local_processes(world: int) -> int:
    """How many of the processes that train are on this machine (torchrun says it)."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world))


def shared(batch: Batch) -> Batch | OSError:
    """The batch in shared memory, or an error that says that there is no room for it."""
    try:
        return Batch(batch.names, *(each.share_memory_() for each in batch[1:]))
    except RuntimeError as error:  # torch's, of the system's "No space left on device"
        reason = str(error).strip().split("\n")[0]
        return OSError(f"shared memory is full: use fewer --data.workers, or 0 ({reason})")


def _mb(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"
