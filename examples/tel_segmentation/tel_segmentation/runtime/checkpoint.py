"""Checkpoints: files that are written atomically, and read without executing anything.

A file is written under a temporary name, flushed to the disk, then renamed. So ``last.pt`` is
complete whenever a run is killed; the checkpoint before it is kept as ``previous.pt``. Files are
read with ``weights_only=True``.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from tel_segmentation.runtime.run_folder import LAST, PREVIOUS

LONGEST = 255  # bytes of a file's name


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Creates or replaces a file in one step: it has its old content or all of the new.

    Raises:
        OSError: the file could not be written (for example, the disk is full); a file that existed
            before is unchanged.
    """
    temporary = _temporary(path)
    try:
        with _Writer(temporary.open("wb", buffering=0)) as file:
            write(file)
            if file.error is not None:
                raise file.error
            file.flush()
            _flush(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # of a file system that cannot be written at all
            temporary.unlink(missing_ok=True)
        if isinstance(error, (OSError, RuntimeError)):  # torch's writer raises RuntimeError
            reason = error.strerror if isinstance(error, OSError) else str(error).split("\n")[0]
            raise OSError(f"{path} could not be written ({reason}); it is unchanged") from error
        raise
    _flush_folder(path.parent)


class _Writer(io.BufferedWriter):
    """A file that keeps its first error for the end: torch's writers cannot have one in between.

    An exception there loses its reason, or ends the process in a C++ destructor.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes, or says that it has."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = self.error or error
            return memoryview(data).nbytes


def _temporary(path: Path) -> Path:
    """A name beside the file; as short as possible, since the file's own may be of full length."""
    return path.with_name(f".{zlib.crc32(os.fsencode(path.name)):08x}.{os.getpid()}.tmp")


def temporary_for(path: Path) -> Path:
    """A name beside a file for its beginnings; a command that goes on replaces what it has left."""
    name = f".{path.name}.tmp"
    return path.with_name(name) if len(os.fsencode(name)) <= LONGEST else _temporary(path)


def _flush_folder(folder: Path) -> None:
    """Flushes a folder to the disk, so that a rename in it is permanent; not on Windows."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder in which one may write but not list
        return
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    """Flushes a file or folder to the disk, on file systems that can do so."""
    try:
        os.fsync(descriptor)
    except OSError as error:  # shared folders of virtual machines, SMB
        if error.errno not in _CANNOT_FLUSH:
            raise


_CANNOT_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF)


def write_text(path: Path, text: str) -> None:
    """``write_atomically`` for text."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint; an existing ``last.pt`` that it replaces is kept as ``previous.pt``.

    Raises:
        OSError: it could not be written; a checkpoint that existed before is unchanged.
    """
    if path.name == LAST and path.exists():
        previous = path.with_name(PREVIOUS)
        spare = _temporary(previous)
        spare.unlink(missing_ok=True)
        try:
            os.link(path, spare)
        except OSError:  # a file system without hard links
            with path.open("rb") as last:
                write_atomically(previous, lambda file: shutil.copyfileobj(last, file))
        else:
            spare.replace(previous)
    write_atomically(path, lambda file: torch.save(state, file))


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads a checkpoint; nothing in it is executed.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is corrupt, or not a checkpoint of this package.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not verify the checksums
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # zip, pickle and tensor errors have no common type
        reason = str(error).strip().split("\n")[0][:200]
        raise ValueError(f"{path} is corrupt or no checkpoint ({reason}){_older(path)}") from error
    if not isinstance(state, dict) or not {"model", "config", "iteration"} <= set(state):
        raise ValueError(f"{path} is not a checkpoint of this package{_older(path)}")
    for name, value in state.items():
        if not _FIELDS.get(name, _anything)(value):
            raise ValueError(
                f"{path} must be a checkpoint of a run, got {name} with other content"
                f" ({type(value).__name__}){_older(path)}"
            )
    return state


def require_all(state: dict[str, Any]) -> None:
    """Checks that a checkpoint has all fields of a run's.

    Raises:
        ValueError: one is missing.
    """
    if missing := sorted(_FIELDS.keys() - state.keys()):
        raise ValueError(f"the checkpoint must have all fields of a run's, lacks {missing}")


def _anything(_: Any) -> bool:
    return True


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_weights(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def _is_best(value: Any) -> bool:
    return isinstance(value, dict) and (
        not value
        or (
            isinstance(value.get("miou", ""), (float, type(None)))
            and isinstance(value.get("iteration"), int)
        )
    )


def _are_colors(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(color, list)
        and len(color) == 3
        and all(isinstance(x, int) and 0 <= x < 256 for x in color)
        for color in value
    )


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "config": lambda value: isinstance(value, str),
    "classes": lambda value: (
        isinstance(value, list) and all(isinstance(name, str) for name in value)
    ),
    "colors": _are_colors,
    "iteration": lambda value: type(value) is int and value >= 0,
    "seconds": lambda value: isinstance(value, float) and 0 <= value < float("inf"),
    "best": _is_best,
    "model": _is_weights,
    "term": _is_weights,
    "ema": lambda value: value is None or _is_weights(value),
    "optimizer": _is_mapping,
    "scaler": _is_mapping,
}
"""What the fields of a run's checkpoint must be."""


def _older(path: Path) -> str:
    previous = path.with_name(PREVIOUS)
    if path.name != LAST or not previous.exists():
        return ""
    return f"; the checkpoint before it is {previous}: rename it to {LAST} to continue from it"
