"""The start of a run: its folder and lock, and the checkpoint that it goes on from."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tel_segmentation import config
from tel_segmentation.runtime import checkpoint, distributed
from tel_segmentation.runtime.lock import locked
from tel_segmentation.runtime.run_folder import CONFIG, HISTORY, LAST, RESULT
from tel_segmentation.training.same_run import check_resumable


@contextlib.contextmanager
def opened(
    options: config.Train, resume: bool, device: torch.device
) -> Iterator[dict[str, Any] | None]:
    """The run's folder, for this training alone, and the checkpoint to resume from, or None.

    A training that fails before it has written a checkpoint or a line of history leaves no run.

    Args:
        options: of the run.
        resume: whether the run may have begun.
        device: of this process.

    Raises:
        FileExistsError: the folder has a run already, and ``resume`` is false.
        LockedError: another training runs in the folder.
    """
    folder = options.output
    with contextlib.ExitStack() as stack:
        if distributed.world()[0] == 0:
            stack.enter_context(_own(folder))
        # All processes look before one of them writes anything.
        begun = any((folder / name).exists() for name in (LAST, RESULT))
        if distributed.anyone(begun, device) and not resume:
            raise FileExistsError(
                f"{folder} has a run already: go on with --resume {folder},"
                " or choose another --output"
            )
        if begun and not (folder / LAST).exists():
            raise FileNotFoundError(
                f"{folder} has a result, but no checkpoint {LAST} to resume from"
            )
        yield checkpoint.load(folder / LAST) if begun else None


@contextlib.contextmanager
def _own(folder: Path) -> Iterator[None]:
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    before = {path.name for path in folder.iterdir()}
    try:
        with locked(folder) as held:
            if not held:
                print(
                    f"{folder}: its file system has no locks: start no other training in it",
                    file=sys.stderr,
                )
            try:
                yield
            except BaseException:
                _remove_beginnings(folder, before)
                raise
    finally:
        if new:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def _remove_beginnings(folder: Path, before: set[str]) -> None:
    """Removes the files that this training has written, if nothing has been trained."""
    history = folder / HISTORY
    if (folder / LAST).exists() or (history.exists() and history.stat().st_size):
        return
    for path in [folder / CONFIG, history, *folder.glob("events.out.tfevents.*")]:
        if path.name not in before:
            path.unlink(missing_ok=True)


def same_settings(options: config.Train, saved: dict[str, Any], extend: bool) -> list[str]:
    """Checks that a checkpoint's run can go on with these options.

    Returns:
        The settings that differ, and may.

    Raises:
        ValueError: a setting differs that would make it another run.
    """
    found = config.parse(saved["config"], f"{options.output / LAST}")
    try:
        changes = check_resumable(found, options, saved.get("total"), extend)
    except ValueError as error:
        raise ValueError(f"{options.output}: {error}") from error
    if options.iterations < saved["iteration"]:
        raise ValueError(
            f"{options.output}: iterations must be at least {saved['iteration']}, which are done,"
            f" got {options.iterations}"
        )
    return changes


def write_config(options: config.Train) -> None:
    """Writes the configuration, and removes unfinished files."""
    for unfinished in options.output.glob(".*.tmp"):
        unfinished.unlink()
    checkpoint.write_text(options.output / CONFIG, config.to_json(options) + "\n")
