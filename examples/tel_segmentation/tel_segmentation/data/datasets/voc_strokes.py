"""The published points and scribbles of Pascal VOC, drawn into label maps.

Points: ``voc_whats_the_point.json`` (Bearman et al., What's the point, ECCV 2016) and, for the
background, ``voc_whats_the_point_bg_from_scribbles.json``: for every image a list of objects with
x, y (pixels, x to the right, y down) and cls (the class).

Scribbles: ScribbleSup (Lin et al., CVPR 2016), one XML file per image with polylines, in
``voc_scribbles.zip`` or in the folder ``voc_scribbles``.

Both are drawn as in the code of the Tree Energy Loss, which is based on that of the Gated CRF loss
(Obukhov et al., 2019).
"""

from __future__ import annotations

import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tel_segmentation.data.datasets.voc_classes import CLASSES, TAGS
from tel_segmentation.data.image_files import by_name, visible
from tel_segmentation.data.regions import VOID
from tel_segmentation.data.sample import UNLABELLED

Size = tuple[int, int]  # width, height
LARGEST = 2**24  # bytes of a file of scribbles; the published ones have some thousands


class Point(NamedTuple):
    """A click."""

    x: float
    y: float
    value: int

    def inside(self, size: Size) -> bool:
        """Whether the point is in an image of this width and height."""
        return 0 <= self.x < size[0] and 0 <= self.y < size[1]


class Points:
    """The points of two files, one for the foreground, one for the background.

    Args:
        foreground: JSON, name → objects with x, y and cls.
        background: the same for class 0; it is drawn over the foreground.
        stroke: width of a drawn point in pixels.

    Raises:
        ValueError: a file is missing or not as described; the message names it.
    """

    def __init__(self, foreground: Path, background: Path, stroke: int = 3) -> None:
        _check_stroke(stroke)
        self.files = foreground, background
        self.stroke = stroke
        self._points = [_read_points(file) for file in self.files]

    def __contains__(self, name: object) -> bool:
        return any(name in points for points in self._points)

    def names(self) -> Iterator[str]:
        """The names of all images that have points."""
        return iter({name: None for points in self._points for name in points})

    def of(self, name: str) -> list[Point]:
        """All points of an image, the background's last."""
        return [point for points in self._points for point in points.get(str(name), ())]

    def outside(self, name: str, size: Size) -> int:
        """The number of an image's points that are outside it; they are not drawn."""
        return sum(not point.inside(size) for point in self.of(name))

    def label(self, name: str, image: Image.Image) -> NDArray[np.int64]:
        """Discs at the points inside the image, (H, W) int64, -1 elsewhere."""
        strokes = [(p.value, [(p.x, p.y)]) for p in self.of(name) if p.inside(image.size)]
        return draw(strokes, image.size, self.stroke)

    def where(self, name: str) -> str:
        """The name and the file in which it is expected, for a message."""
        return f"{name} in {self.files[0]}"


class Scribbles:
    """The polylines of ScribbleSup.

    Args:
        source: a zip file with a NAME.xml for every image, or a folder of such files.
        stroke: width of a line in pixels.

    Raises:
        ValueError: there is no such folder or zip file.
    """

    def __init__(self, source: Path, stroke: int = 3) -> None:
        _check_stroke(stroke)
        self.source = source
        self.stroke = stroke
        self._members = _folder_members(source) if source.is_dir() else _zip_members(source)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def names(self) -> Iterator[str]:
        """The names of all images that have scribbles."""
        return iter(self._members)

    def label(self, name: str, image: Image.Image) -> NDArray[np.int64]:
        """Lines with a disc at every joint, later ones over earlier ones; -1 elsewhere.

        Raises:
            ValueError: the XML is not as described, or not for an image of this size.
        """
        where = f"{self.source}: {self._members[name]}"
        lines, size = _parse_scribbles(self._read(name), where)
        if size != image.size:
            raise ValueError(f"{where} must be for {image.size} pixels like its image, got {size}")
        return draw(lines, image.size, self.stroke)

    def where(self, name: str) -> str:
        """The file and the place in which it is expected, for a message."""
        return f"{name}.xml in {self.source}"

    def _read(self, name: str) -> bytes:
        member = self._members[name]
        try:
            if self.source.is_dir():
                return (self.source / member).read_bytes()
            stat = self.source.stat()
            archive = _zip(self.source, stat.st_mtime_ns, stat.st_size, os.getpid())
            if (size := archive.getinfo(member).file_size) > LARGEST:
                raise RuntimeError(f"{size:,} bytes, more than {LARGEST:,}")
            return archive.read(member)
        # KeyError: the file was replaced by one that has no such member
        except (OSError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise ValueError(f"{self.source}: {member} must be readable, got: {error}") from error


def draw(
    strokes: Iterable[tuple[int, list[tuple[float, float]]]], size: Size, width: int
) -> NDArray[np.int64]:
    """Draws polylines with round joints; one with a single joint is a disc.

    Args:
        strokes: class and joints (x, y) of each polyline; later ones are drawn over earlier ones.
        size: width and height of the map.
        width: of the lines and of the discs at the joints, in pixels.

    Returns:
        (height, width) int64, -1 where nothing is drawn.
    """
    picture = Image.new("L", size, VOID)
    pen = ImageDraw.Draw(picture)
    for value, joints in strokes:
        if len(joints) > 1:
            pen.line(joints, value, width, joint="curve")
        for x, y in joints:
            if width == 1:
                pen.point((x, y), value)
            else:
                pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), value)
    label = np.asarray(picture).astype(np.int64)
    label[label == VOID] = UNLABELLED
    return label


def _check_stroke(stroke: int) -> None:
    if stroke < 1:
        raise ValueError(f"stroke must be at least 1 pixel, got {stroke}")


def _read_points(file: Path) -> dict[str, list[Point]]:
    try:
        values: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} must be a JSON file of points, got: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(x, list) for x in values.values()):
        raise ValueError(f"{file} must have a list of points for every image's name")
    return {name: [_point(file, name, p) for p in points] for name, points in values.items()}


def _point(file: Path, name: str, values: Any) -> Point:
    try:
        point = Point(float(values["x"]), float(values["y"]), values["cls"])
    except (TypeError, ValueError, KeyError):
        point = Point(math.nan, math.nan, -1)
    known = type(point.value) is int and 0 <= point.value < len(CLASSES)
    if not known or not math.isfinite(point.x) or not math.isfinite(point.y):
        raise ValueError(
            f"{file}: {name} must have points with numbers x, y and a cls of 0 to"
            f" {len(CLASSES) - 1}, got {values!r}"
        )
    return point


def _parse_scribbles(
    text: bytes, where: str
) -> tuple[list[tuple[int, list[tuple[float, float]]]], Size]:
    """The polylines of an XML file, and the size of its image."""
    try:
        root = ElementTree.fromstring(text)
        width, height = (_whole(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        lines = []
        for polygon in root.iter("polygon"):
            tag = polygon.findtext("tag", "").strip()
            joints = [
                (_number(point.findtext("X", "")), _number(point.findtext("Y", "")))
                for point in polygon.iter("point")
            ]
            lines.append((TAGS[tag], joints))
    except KeyError as error:
        raise ValueError(f"{where} must have tags of Pascal VOC's classes, got {error}") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(
            f"{where} must have size/width, size/height and polygons with a tag and points X, Y,"
            f" got: {error}"
        ) from error
    return lines, (width, height)


def _whole(text: str) -> int:
    """A whole number; some programs write 500.0."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(f"width and height must be whole numbers, got {text}")
    return int(number)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"X and Y must be numbers, got {text}")
    return number


def _folder_members(folder: Path) -> dict[str, str]:
    files = by_name(file for file in visible(folder) if file.suffix == ".xml")
    return {name: file.name for name, file in files.items()}


def _zip_members(file: Path) -> dict[str, str]:
    """The XML files in a zip file: those in ``pascal_2012`` if there are some, else all."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = [Path(name) for name in archive.namelist() if name.endswith(".xml")]
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} must be a zip file of scribbles, got: {error}") from error
    members = [member for member in members if member.name[0] != "."]
    voc = [member for member in members if member.parent.name == "pascal_2012"]
    return {member.stem: member.as_posix() for member in voc or members}


@lru_cache(maxsize=4)
def _zip(file: Path, modified: int, size: int, process: int) -> zipfile.ZipFile:
    """An open zip file; each process opens its own, since a shared one has one read position.

    The time and the size distinguish it from a file that has replaced it.
    """
    return zipfile.ZipFile(file)
