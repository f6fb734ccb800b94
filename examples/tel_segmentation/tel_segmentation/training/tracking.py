"""What a run leaves to look at: the history as JSON lines, and TensorBoard events."""

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
        """Opens the history of a run that goes on from ``iteration``; later lines are dropped."""
        self.path = folder / HISTORY
        kept = [line for line in read_history(self.path) if line["iteration"] <= iteration]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def add(self, line: dict[str, Any]) -> None:
        """Appends a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of a history; an unfinished last line, of a run that was killed, is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    result = []
    for number, line in enumerate(lines):
        try:
            if line:
                result.append(json.loads(line))
        except ValueError:
            if number < len(lines) - 1:
                raise ValueError(f"{path}, line {number + 1}: not JSON") from None
    return result


class Board:
    """TensorBoard, or nothing."""

    def __init__(self, folder: Path, enabled: bool, iteration: int) -> None:
        self.writer: Any = None
        if enabled:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(
                str(folder), purge_step=iteration + 1 if iteration else None
            )

    def scalars(self, values: dict[str, Any], iteration: int) -> None:
        """Every number of a history's line."""
        if self.writer:
            for name, value in values.items():
                if isinstance(value, (int, float)) and name != "iteration":
                    self.writer.add_scalar(name, value, iteration)

    def picture(self, name: str, picture: np.ndarray[Any, Any], iteration: int) -> None:
        """An (H, W, 3) uint8 picture."""
        if self.writer:
            self.writer.add_image(name, picture, iteration, dataformats="HWC")

    def close(self) -> None:
        """Writes what is left."""
        if self.writer:
            self.writer.close()
