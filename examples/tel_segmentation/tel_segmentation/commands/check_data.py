"""``tel check-data``: what is wrong with a data set, before hours are spent on it.

Every file is read. Problems make the exit code 1. Warnings are what training survives, but its
result may not. Public data sets are checked by ``check_public``.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from tel_segmentation.commands.check_public import check_public
from tel_segmentation.commands.check_report import (
    TRAIN,
    Counts,
    Report,
    check_classes,
    contradiction,
    pixels_of,
    table,
)
from tel_segmentation.config import Data
from tel_segmentation.data.dataset_file import DatasetInfo, open_dataset, where
from tel_segmentation.data.datasets.public import public_dataset
from tel_segmentation.data.folder import label_table, wrong_values
from tel_segmentation.data.image_files import check_size, read_image, read_label, some
from tel_segmentation.data.manifest import SHEET

T = TypeVar("T")


@dataclass(frozen=True)
class CheckData:
    """Check a data set: every file, the labels' values, how much is labelled.

    Exit code: 0 fine (there may be warnings), 1 problems, 2 it could not be checked.
    """

    data: tyro.conf.Positional[str]
    """The data set's TOML file, or voc:FOLDER, cityscapes:FOLDER, ade20k:FOLDER."""
    annotation: str = "dense"
    """What training is to see of the train split, as in --data.annotation: dense, the name of an
    annotation, or a folder's path. The other splits need dense labels."""
    splits: tuple[str, ...] = ()
    """By default all of them; of public data sets train and val."""
    ignore: tuple[int, ...] = ()
    """As --data.ignore (public data sets)."""
    encoding: Literal["auto", "labelIds", "trainIds"] = "auto"
    """As --data.encoding (Cityscapes)."""
    stroke: int = 3
    """As --data.stroke (Pascal VOC)."""
    jobs: int = 1
    """Processes (public data sets)."""


@dataclass
class Split:
    """A split while it is checked. A kind of labels is ``dense`` or the annotation."""

    info: DatasetInfo
    name: str
    needed: str  # the kind without which the split is of no use
    images: dict[str, Path]
    labels: dict[str, dict[str, Path]]  # of each kind that there is, by image
    counts: dict[str, Counts]
    report: Report

    def title(self, kind: str) -> str:
        """Of messages about labels of this kind."""
        return f"{self.name}, {'dense labels' if kind == 'dense' else kind}"


def run(options: CheckData) -> int:
    """Prints what is in the data set and what is wrong with it.

    Returns:
        0 if there is no problem, 1 if there are some, 2 if the data set could not be checked: no
        such file or split, or a TOML file that does not describe one.
    """
    if options.data.startswith("scenes:"):
        return _usage(
            f"data must be a data set's TOML file or a public data set, got {options.data}: scenes"
            " are generated, they have no files to check"
        )
    try:
        if public := public_dataset(options.data):
            data = Data(
                source=options.data,
                annotation=options.annotation,
                ignore=options.ignore,
                encoding=options.encoding,
                stroke=options.stroke,
            )
            return check_public(*public, data, options.splits, options.jobs)
        info = open_dataset(options.data)
        names = options.splits or tuple(info.splits) or (TRAIN,)
        folders = {name: info.folder(name).resolve() for name in names}
    except (OSError, ValueError) as error:
        return _usage(str(error))
    report = Report()
    images = {}
    for name in folders:
        try:
            split = _open(info, name, options.annotation, report)
        except ValueError as error:
            report.problem(str(error))
            continue
        images[name] = set(split.images)
        _check_pairs(split)
        sizes = _check_files(split)
        print(table(name, len(split.images), sizes, info.classes, split.counts))
        if counts := split.counts.get(split.needed):
            dense = split.counts.get("dense", counts)
            title, count = split.title(split.needed), len(split.images)
            check_classes(report, title, info.classes, counts, dense, count, name == TRAIN)
    _check_overlap(info, folders, images, report)
    print("\n".join(report.lines()))
    return 1 if report.problems else 0


def _usage(message: str) -> int:
    print(f"check-data: {message}", file=sys.stderr)
    return 2


def _open(info: DatasetInfo, name: str, annotation: str, report: Report) -> Split:
    needed = annotation if name == TRAIN else "dense"
    labels = {kind: info.labels(name, kind) for kind in dict.fromkeys(("dense", needed))}
    labels = {kind: files for kind, files in labels.items() if files}
    counts = {kind: Counts(len(info.classes)) for kind in labels}
    return Split(info, name, needed, info.images(name), labels, counts, report)


def _check_pairs(split: Split) -> None:
    """Every image needs its label; other files are worth a word."""
    if split.needed not in split.labels:
        place = where(split.info, split.name, split.needed)
        split.report.problem(f"{split.title(split.needed)}: there are none in {place}")
    for kind, files in split.labels.items():
        missing = [image.name for name, image in split.images.items() if name not in files]
        if missing and kind == split.needed:
            split.report.problem(f"{split.title(kind)}: images that have none", *missing)
        elif missing:
            split.report.notes.append(f"{split.title(kind)}: missing for {some(missing)}")
        extra = [file.name for name, file in files.items() if name not in (*split.images, SHEET)]
        if extra:
            split.report.notes.append(f"{split.title(kind)}: no image for {some(extra)}")


def _check_files(split: Split) -> Counter[tuple[int, int]]:
    """Reads and counts everything; returns how many images there are of each width and height."""
    sizes: Counter[tuple[int, int]] = Counter()
    contradictions = []
    for name, file in tqdm(split.images.items(), split.name, leave=False):
        image = _try(split, read_image, file)
        sizes.update([image.size] if image else [])
        maps = []
        for kind, files in split.labels.items():
            if name in files:
                values = _try(split, _read_label, files[name], image)
                maps += [] if values is None else [_count(split, kind, files[name], values)]
        if len(maps) == 2 and (text := contradiction(*maps)):
            contradictions.append(f"{name} ({text})")
    if contradictions:
        split.report.warnings.append(
            f"{split.title(split.needed)}: contradicts the dense labels of {some(contradictions)}"
        )
    return sizes


def _try(split: Split, read: Callable[..., T], *arguments: object) -> T | None:
    try:
        return read(*arguments)
    except ValueError as error:
        split.report.problem(f"{split.name}: files that cannot be used", error)
        return None


def _read_label(file: Path, image: Image.Image | None) -> NDArray[np.uint16]:
    values = read_label(file)
    if image is not None:
        check_size(file, values, image)
    return values


def _count(split: Split, kind: str, file: Path, values: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Counts a label map, and returns its classes, negative where there is none."""
    classes = label_table(split.info, sparse=kind != "dense")
    for value in wrong_values(values, classes):
        split.report.problem(
            f"{split.title(kind)}: value {value} is neither a class nor ignored", file
        )
    label = classes[values]
    split.counts[kind].add(pixels_of(label, len(split.info.classes)), label.size)
    return label


def _check_overlap(
    info: DatasetInfo, folders: dict[str, Path], images: dict[str, set[str]], report: Report
) -> None:
    """Images that are in several splits."""
    if not info.splits:
        report.notes.append(f"{info.root} serves as every split: training and evaluation see one")
    for one, other in itertools.combinations(images, 2):
        if folders[one] == folders[other]:
            report.notes.append(f"{one} and {other} are the same folder")
        elif both := sorted(images[one] & images[other]):
            report.warnings.append(f"{one} and {other} both have images called {some(both)}")
