"""Checkpoints: files that are written atomically, and read without executing anything.

A file is written under a temporary name, flushed to the disk, then renamed. So ``last.pt`` is
complete whenever a run is killed; the checkpoint before it is kept as ``previous.pt``. Files are
read with ``weights_only=True``.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from tel_segmentation.runtime.run_folder import LAST, PREVIOUS


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Creates or replaces a file in one step: it has its old content or all of the new.

    Raises:
        OSError: the file could not be written (for example, the disk is full); a file that existed
            before is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, (OSError, RuntimeError)):  # torch's writer raises RuntimeError
            reason = error.strerror if isinstance(error, OSError) else str(error).split("\n")[0]
            raise OSError(f"{path} could not be written ({reason}); it is unchanged") from error
        raise
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Flushes a folder to the disk, so that a rename in it is permanent; not on Windows."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        spare = path.with_name(f".{PREVIOUS}.{os.getpid()}.tmp")
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
    return state


def _older(path: Path) -> str:
    previous = path.with_name(PREVIOUS)
    if path.name != LAST or not previous.exists():
        return ""
    return f"; the checkpoint before it is {previous}: rename it to {LAST} to continue from it"
