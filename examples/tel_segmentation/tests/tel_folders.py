"""Tiny data sets in folders, for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEAD = 'classes = ["sky", "road", "car"]\n'


def write_image(path: Path, height: int = 12, width: int = 16, seed: int = 0) -> None:
    """Writes an image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


def write_label(path: Path, values: object) -> None:
    """Writes a label map in grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype=np.uint8)).save(path)


def bands(height: int = 12, width: int = 16) -> NDArray[np.int64]:
    """A label map with three horizontal bands, of the classes 0, 1, 2."""
    return np.repeat(np.arange(height) * 3 // height, width).reshape(height, width)
