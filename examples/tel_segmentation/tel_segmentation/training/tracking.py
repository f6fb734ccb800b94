"""The logs of a run: the history as JSON lines, and TensorBoard events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tel_segmentation.runtime.checkpoint import write_text
from tel_segmentation.runtime.run_folder import HISTORY


class History:
    """``history.jsonl``: one line per log or evaluation, in order of iterations."""

    def __init__(self, folder: Path, iteration: int) -> None:
        """Opens the history of a run that continues at ``iteration``; later lines are dropped."""
        self.path = folder / HISTORY
        kept = [line for line in read_history(self.path) if line["iteration"] <= iteration]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def add(self, line: dict[str, Any]) -> None:
        """Appends a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of a history; an incomplete last line, of a killed run, is left out.

    Raises:
        ValueError: another line is not JSON; the message has its number.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    result = []
    for number, line in enumerate(lines):
        try:
            if line:
                result.append(_checked(json.loads(line)))
        except (ValueError, RecursionError):
            if number < len(lines) - 1:
                raise ValueError(
                    f"{path}, line {number + 1}: must be a JSON object with an iteration"
                ) from None
    return result


def _checked(line: Any) -> dict[str, Any]:
    if not isinstance(line, dict) or type(line.get("iteration")) is not int:
        raise ValueError(line)
    return line


class Board:
    """Writes TensorBoard events; does nothing unless enabled."""

    def __init__(self, folder: Path, enabled: bool, iteration: int) -> None:
        self.writer: Any = None
        if enabled:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(
                str(folder), purge_step=iteration + 1 if iteration else None
            )

    def scalars(self, values: dict[str, Any], iteration: int) -> None:
        """Writes every number of a line of the history."""
        if self.writer:
            for name, value in values.items():
                if isinstance(value, (int, float)) and name != "iteration":
                    self.writer.add_scalar(name, value, iteration)

    def picture(self, name: str, picture: np.ndarray[Any, Any], iteration: int) -> None:
        """Writes an (H, W, 3) uint8 picture."""
        if self.writer:
            self.writer.add_image(name, picture, iteration, dataformats="HWC")

    def close(self) -> None:
        """Writes all pending events and closes the file."""
        if self.writer:
            self.writer.close()
