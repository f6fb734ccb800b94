"""Fields of files that other programs wrote, checked: one line says what is wrong, and where."""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tel_segmentation.data.formats.shapes import LARGEST, Corners, Size


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: it is not JSON, has NaN or infinity, or is nested too deep.
    """
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse)
    except RecursionError:
        reason = "values nested too deep"
    except (ValueError, OSError) as error:
        reason = str(error).split("\n")[0]
    raise ValueError(f"{path} must be a JSON file, got: {reason}")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"the number {constant}")


def wrong(where: str, wanted: str, value: Any) -> ValueError:
    """The error for a value that is not what was wanted; long values are cut."""
    return ValueError(f"{where} must be {wanted}, got {reprlib.repr(value)}")


def table(value: Any, where: str) -> dict[str, Any]:
    """The value, if it is a table (a JSON object)."""
    if not isinstance(value, dict):
        raise wrong(where, "a table", value)
    return value


def entries(value: Any, where: str) -> list[Any]:
    """The value, if it is a list."""
    if not isinstance(value, list):
        raise wrong(where, "a list", value)
    return value


def text(value: Any, where: str) -> str:
    """The value, if it is a text that is not empty and can be printed on a line."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise wrong(where, "a name", value)
    return value.strip()


def number(value: Any, where: str) -> float:
    """The value, if it is a finite number that a coordinate can have; text is read as a number."""
    try:
        found = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not abs(found) <= LARGEST:
        raise wrong(where, f"a number, at most {LARGEST}", value)
    return found


def whole(value: Any, where: str, least: int = 0) -> int:
    """The value, if it is a whole number from ``least`` on."""
    found = number(value, where)
    if found < least or found != int(found):
        raise wrong(where, f"a whole number, at least {least}", value)
    return int(found)


def size(width: Any, height: Any, where: str) -> Size | None:
    """The two sides of an image; None if neither is known."""
    if width is None and height is None:
        return None
    return whole(width, f"{where} width", 1), whole(height, f"{where} height", 1)


def points(value: Any, where: str, least: int = 1) -> Corners:
    """Points as (N, 2): from a list of pairs, or from x and y one after another.

    Raises:
        ValueError: it is no such list, has fewer points than ``least``, or a coordinate is not
            finite or beyond any image.
    """
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise wrong(where, "points with two numbers", value) from error
    if found.ndim == 1 and found.size % 2 == 0:
        found = found.reshape(-1, 2)
    if found.ndim != 2 or found.shape[1] != 2 or len(found) < least:
        raise wrong(where, f"at least {least} points with two numbers", value)
    if not (np.abs(found) <= LARGEST).all():
        raise wrong(where, f"points with coordinates of at most {LARGEST}", value)
    return found


def pairs(value: str, where: str, least: int = 1) -> Corners:
    """Points from text: ``x,y;x,y``."""
    try:
        found = [[float(part) for part in pair.split(",")] for pair in value.split(";")]
    except ValueError as error:
        raise wrong(where, "points x,y;x,y", value) from error
    return points(found, where, least)


def json_tables(
    source: Path, key: str, tool: str, skipped: Counter[str]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A tool's JSON files, each an object. In a folder, objects without ``key`` are others' files.

    Args:
        source: a file or a folder.
        key: what the tool's objects have.
        tool: its name.
        skipped: counts the files of others.

    Raises:
        ValueError: there is none, or one is not a JSON object.
    """
    for file in files_of(source, [".json"]):
        content = table(read_json(file), str(file))
        if key not in content and source.is_dir():
            skipped[f"JSON files that are not {tool}'s"] += 1
        else:
            yield file, content


def files_of(source: Path, suffixes: Sequence[str]) -> list[Path]:
    """The file itself, or the files with these suffixes in a folder and the folders inside.

    Raises:
        ValueError: there is none.
    """
    if source.suffix.lower() in (".zip", ".tar", ".gz"):
        raise ValueError(f"{source} must be unpacked first: an archive is not read")
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise ValueError(f"{source} must be a file or a folder, there is none")
    found = sorted(
        path
        for path in source.rglob("*")
        if path.suffix.lower() in suffixes and path.name[0] != "." and path.is_file()
    )
    if not found:
        raise ValueError(f"{source} must have files {', '.join(suffixes)}, has none")
    return found
