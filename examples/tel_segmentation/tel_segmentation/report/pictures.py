"""Pictures in the report: the same image side by side for all methods, from panels."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from tel_segmentation.evaluation.pictures import COLUMNS, FAILURE, VOID, tiles
from tel_segmentation.report.records import Record
from tel_segmentation.report.table import Experiment, Row

SHOWN = 4  # images of an experiment on the page, by default
_SIDE = 360  # longest side of a tile, in pixels
_SHARED = ("image", "annotation", "truth")


class Tile(NamedTuple):
    """A picture with its caption."""

    caption: str
    uri: str
    row: Row | None = None
    """The method, if the picture shows its result."""


class Strip(NamedTuple):
    """Pictures of one image."""

    name: str
    compared: list[Tile]
    """Image, annotation, the prediction of every method, and the truth if there is one."""
    steps: list[Tile]
    """For the tree energy loss: the same with its prediction and its pseudo labels alone."""


def strips(experiment: Experiment, most: int) -> list[Strip]:
    """The images for which the most methods have a panel, from runs with the same seed.

    Raises:
        ValueError: a panel is no picture or has another layout; the message names the file.
    """
    own = [row for row in experiment.rows if not row.borrowed]
    seeds = Counter(run.seed for row in own for run in row.runs if run.panels)
    if not seeds:
        return []
    seed = max(sorted(seeds), key=seeds.__getitem__)
    runs = [(row, run) for row in experiment.rows for run in row.runs if run.seed == seed]
    names = Counter(name for _, run in runs for name in run.panels)
    chosen = sorted(names, key=lambda name: (-names[name], name))[:most]
    return [_strip(name, runs, experiment.headline) for name in sorted(chosen)]


def _strip(name: str, runs: list[tuple[Row, Record]], headline: Row | None) -> Strip:
    compared: list[Tile] = []
    steps: list[Tile] = []
    shared: dict[str, Tile] = {}
    sparse = [pair for pair in runs if pair[0].kind != "full"]
    for row, run in [*sparse, *(pair for pair in runs if pair[0].kind == "full")]:
        if name not in run.panels:
            continue
        parts = _open(run.panels[name])
        shared = shared or {
            key: Tile(key, uri(parts[key])) for key in _SHARED if not _is_empty(parts[key])
        }
        prediction = Tile(row.method, uri(parts["prediction"]), row)
        compared.append(prediction)
        if row is headline:
            pseudo = [
                Tile(key, uri(part)) for key, part in parts.items() if key.startswith("pseudo")
            ]
            steps = [prediction._replace(caption="prediction"), *pseudo]
    before = [tile for key, tile in shared.items() if key != "truth"]
    truth = [tile for key, tile in shared.items() if key == "truth"]
    steps = [*before, *steps, *truth] if steps else []
    return Strip(name, [*before, *compared, *truth], steps)


def _is_empty(picture: Image.Image) -> bool:
    """Whether no pixel has a class, as in the truth of photographs without dense labels."""
    colors = picture.getcolors(1)
    return colors is not None and colors[0][1] == VOID


def worst(run: Record, most: int) -> list[tuple[str, float, list[Tile]]]:
    """Name, mIoU and pictures of the images with a run's lowest mIoU, the lowest first.

    Raises:
        ValueError: as ``strips``.
    """
    return [
        (name, miou, [Tile(key, uri(part)) for key, part in _open(path, FAILURE).items()])
        for name, miou, path in run.failures[:most]
    ]


def _open(path: Path, columns: Sequence[str] = COLUMNS) -> dict[str, Image.Image]:
    try:
        with Image.open(path, formats=("PNG",)) as file:
            return tiles(file.convert("RGB"), columns)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} must be a panel, got: {error}") from error


def uri(picture: Image.Image, side: int = _SIDE) -> str:
    """A PNG as a data URI, reduced so that no side has more than ``side`` pixels."""
    factor = max(picture.size) / side
    if factor > 1:
        size = (round(picture.width / factor), round(picture.height / factor))
        picture = picture.resize(size, Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
