"""What people annotate, in one form for all tools: shapes on an image, each with its class's name.

Coordinates are in pixels of the image as the tool showed it, x to the right and y down, from the
image's top left corner: the pixel of column c and row r covers [c, c + 1) × [r, r + 1).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Corners = NDArray[np.float64]  # (N, 2): x, y
Size = tuple[int, int]  # width, height

LARGEST = 10**6
"""Coordinates beyond this are refused; no image has so many rows or columns."""


@dataclass(frozen=True)
class Polygon:
    """What an odd number of rings encloses: a second ring inside of the first one is a hole."""

    rings: tuple[Corners, ...]


@dataclass(frozen=True)
class Stroke:
    """A line along these points; its width is chosen when it is drawn."""

    points: Corners


@dataclass(frozen=True)
class Points:
    """Single points; their radius is chosen when they are drawn."""

    points: Corners


@dataclass(frozen=True)
class Mask:
    """A rectangle of pixels, some of which are marked."""

    left: int
    top: int
    size: Size
    read: Callable[[], NDArray[np.bool_]]
    """Decodes the mask, (height, width). It is called after ``size`` was found to be plausible, so
    that a few bytes cannot claim all memory."""


Geometry = Polygon | Stroke | Points | Mask


class Shape(NamedTuple):
    """One annotated object."""

    label: str
    geometry: Geometry


@dataclass(frozen=True)
class Drawn:
    """The shapes of an image in the order in which they are drawn."""

    image: str
    """The image's file as the tool names it: a path of any system, or an address."""
    file: Path
    """The annotation's file, for messages."""
    shapes: tuple[Shape, ...]
    size: Size | None = None
    """The image's size as the tool knows it."""


@dataclass(frozen=True)
class LabelMap:
    """An image's labels as one number for each pixel."""

    image: str
    file: Path
    read: Callable[[], NDArray[np.integer[Any]]]
    """Reads the numbers, (height, width); may raise a ValueError that names the file."""


Annotation = Drawn | LabelMap


@dataclass
class Export:
    """Everything that a tool wrote."""

    names: tuple[str, ...] = ()
    """The classes that the tool declares, in its order; empty if it declares none."""
    annotations: list[Annotation] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """What is not imported, and how many there are of it."""


def rectangle(left: float, top: float, right: float, bottom: float, turn: float = 0) -> Polygon:
    """A rectangle between two opposite corners, turned clockwise by ``turn`` degrees."""
    center = np.array([(left + right) / 2, (top + bottom) / 2])
    half = np.array([(right - left) / 2, (bottom - top) / 2])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    return Polygon((center + _turned(corners, turn),))


def ellipse(x: float, y: float, across: float, down: float, turn: float = 0) -> Polygon:
    """An ellipse around (x, y) with these two radii, turned clockwise by ``turn`` degrees.

    It is a polygon with a corner every two pixels or closer, at most 720 of them.
    """
    count = int(min(720, max(24, math.pi * max(abs(across), abs(down)))))
    angle = np.arange(count) * (2 * math.pi / count)
    corners = np.stack([across * np.cos(angle), down * np.sin(angle)], 1)
    return Polygon((np.array([x, y]) + _turned(corners, turn),))


def _turned(corners: Corners, degrees: float) -> Corners:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return corners @ np.array([[cosine, sine], [-sine, cosine]])
