"""A lock on a folder, which only one process can hold, and which ends with that process.

It is a POSIX record lock (on Windows, a locked byte): a lock of ``flock`` would be inherited by
forked workers, and outlive a run that was killed.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOCK = ".lock"


class LockedError(OSError):
    """Another process has the lock."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Holds the lock of a folder that exists; its file is removed at the end.

    Yields:
        Whether there is a lock: some network file systems have none.

    Raises:
        LockedError: another process holds the lock.
        OSError: the folder cannot be written.
    """
    path = folder / LOCK
    file, held = _acquired(path)
    try:
        yield held
    finally:
        if os.name == "nt":  # a file that is open cannot be removed there
            file.close()
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()  # which releases the lock


def _acquired(path: Path) -> tuple[Any, bool]:
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        held = _lock(file, path.parent)
        if not held or os.name == "nt" or _is_at(file, path):
            break
        file.close()  # another process has removed the file since it was opened
    if held and os.name != "nt":
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}".encode())
    return file, held


def _is_at(file: Any, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: Any, folder: Path) -> bool:
    """Locks the file; false where the file system has no locks."""
    try:
        _lock_by_system(file)
    except (BlockingIOError, PermissionError) as error:
        holder = "its process is unknown" if os.name == "nt" else file.read(200).decode("utf-8")
        file.close()
        raise LockedError(
            f"{folder} must be used by one training at a time, got a second one: the first is"
            f" still running ({holder})"
        ) from error
    except OSError:
        return False
    return True


def _lock_by_system(file: Any) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
