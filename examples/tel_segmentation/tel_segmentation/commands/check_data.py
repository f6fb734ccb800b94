"""``tel check-data``: finds faults of a data set before hours of training are spent on it.

Every file is read. If there are problems, the exit code is 1. Warnings are about faults with which
training runs, but which may spoil its result. ``check_public`` checks the public data sets.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from tel_segmentation.commands.check_photos import Photos
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
from tel_segmentation.data.aspect import size_for
from tel_segmentation.data.dataset_file import DatasetInfo, open_dataset, where
from tel_segmentation.data.datasets.public import public_dataset
from tel_segmentation.data.folder import label_table, wrong_values
from tel_segmentation.data.image_files import (
    check_size,
    labels_of_other_formats,
    read_image,
    read_label,
    some,
)
from tel_segmentation.data.manifest import SHEET
from tel_segmentation.data.reach import Reach
from tel_segmentation.data.sample import UNLABELLED
from tel_segmentation.presets import PRESETS

T = TypeVar("T")
RECIPES = {"voc": "voc-deeplab", "cityscapes": "cityscapes-hrnet", "ade20k": "ade20k-hrnet"}
"""The preset that public data sets are checked for."""


@dataclass(frozen=True)
class CheckData:
    """Check a data set: every file, the labels' values, how much is labelled.

    Exit code: 0 no problem (there may be warnings), 1 problems, 2 it could not be checked.
    """

    data: tyro.conf.Positional[str]
    """The data set's TOML file, or voc:FOLDER, cityscapes:FOLDER, ade20k:FOLDER."""
    annotation: str = "dense"
    """The labels of the train split that training uses, as in --data.annotation: dense, the name of
    an annotation, or a folder's path. The other splits need dense labels."""
    splits: tuple[str, ...] = ()
    """Splits to check. By default all; for public data sets, train and val."""
    ignore: tuple[int, ...] = ()
    """As --data.ignore (public data sets)."""
    encoding: Literal["auto", "labelIds", "trainIds"] = "auto"
    """As --data.encoding (Cityscapes)."""
    stroke: int = 3
    """As --data.stroke (Pascal VOC)."""
    jobs: int = 1
    """Number of processes (public data sets)."""
    preset: str = ""
    """The preset of ``tel train`` for which it is counted how many labels reach the network; by
    default photos, and for public data sets the official recipe."""
    size: tuple[int, int] | None = None
    """As --data.size, instead of the preset's."""


@dataclass
class Split:
    """A split while it is checked. A kind of label is ``dense`` or the annotation's name."""

    info: DatasetInfo
    name: str
    needed: str  # the kind of label that the split must have
    images: dict[str, Path]
    labels: dict[str, dict[str, Path]]  # for each kind that exists: image name → file
    counts: dict[str, Counts]
    report: Report
    reach: Reach
    planned: Data  # how images are resized in training
    photos: Photos = field(default_factory=Photos)
    ignored: dict[str, Counter[int]] = field(default_factory=dict)  # pixels of values without class

    def title(self, kind: str) -> str:
        """How messages name the split's labels of this kind."""
        return f"{self.name}, {'dense labels' if kind == 'dense' else kind}"


def run(options: CheckData) -> int:
    """Prints what the data set contains and what is wrong with it.

    Returns:
        0 if there is no problem, 1 if there are problems, 2 if the data set could not be checked:
        the file or a split does not exist, or the TOML file does not describe a data set.
    """
    if options.data.startswith("scenes:"):
        return _usage(
            f"data must be a data set's TOML file or a public data set, got {options.data}: scenes"
            " are generated, they have no files to check"
        )
    public = public_dataset(options.data)
    preset = options.preset or (RECIPES[public[0]] if public else "photos")
    if preset not in PRESETS:
        return _usage(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    planned = PRESETS[preset][1].data
    if options.size:
        planned = replace(planned, size=options.size, short_side=None)
    try:
        if public:
            data = replace(
                planned,
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
            split = _open(info, name, options.annotation, planned, report)
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
            _check_labels(split, counts)
    _check_overlap(info, folders, images, report)
    print("\n".join(report.lines()))
    return 1 if report.problems else 0


def _usage(message: str) -> int:
    print(f"check-data: {message}", file=sys.stderr)
    return 2


def _open(info: DatasetInfo, name: str, annotation: str, planned: Data, report: Report) -> Split:
    needed = annotation if name == TRAIN else "dense"
    labels = {kind: info.labels(name, kind) for kind in dict.fromkeys(("dense", needed))}
    labels = {kind: files for kind, files in labels.items() if files}
    counts = {kind: Counts(len(info.classes)) for kind in labels}
    reach = Reach(planned.labels, needed != "dense")
    return Split(info, name, needed, info.images(name), labels, counts, report, reach, planned)


def _check_labels(split: Split, counts: Counts) -> None:
    """What values without a class are taken for, and how many labels reach the network."""
    title = split.title(split.needed)
    total = max(1, counts.all_pixels)
    for value, pixels in sorted(split.ignored.get(split.needed, Counter()).items()):
        meaning = "no class here (ignore)" if split.needed == "dense" else "unlabelled here"
        split.report.notes.append(
            f"{title}: {value} means {meaning}: {100 * pixels / total:.3g} % of the pixels"
        )
    if split.name != TRAIN:
        if not counts.labelled:
            split.report.problem(f"{title}: no pixel has a class, so that nothing can be compared")
        return
    absent = [f"{k} ({name})" for k, name in enumerate(split.info.classes) if not counts.images[k]]
    if absent and counts.labelled:
        values = ", ".join(map(str, split.ignored.get(split.needed, ())))
        hint = f". Is {values} one of them? Then write the class's number instead" if values else ""
        split.report.problem(
            f"{title}: classes without a label in any image, without --data.absent they end a"
            f" training at its start{hint}",
            *absent,
        )
    split.report.reach(title, split.reach)


def _check_pairs(split: Split) -> None:
    """Images without their label are a problem; labels without an image are noted."""
    if split.needed not in split.labels:
        place = where(split.info, split.name, split.needed)
        folders = split.info.label_folders(split.name, split.needed)
        hints = (labels_of_other_formats(folder, split.images) for folder in folders)
        hint = next(filter(None, hints), "")
        split.report.problem(f"{split.title(split.needed)}: no files in {place}{hint}")
    for kind, files in split.labels.items():
        missing = [image.name for name, image in split.images.items() if name not in files]
        if missing and kind == split.needed:
            split.report.problem(f"{split.title(kind)}: images without a label", *missing)
        elif missing:
            split.report.notes.append(f"{split.title(kind)}: missing for {some(missing)}")
        extra = [file.name for name, file in files.items() if name not in (*split.images, SHEET)]
        if extra:
            split.report.notes.append(f"{split.title(kind)}: no image for {some(extra)}")


def _check_files(split: Split) -> Counter[tuple[int, int]]:
    """Reads all files, counts the labels; returns the number of images per (width, height)."""
    sizes: Counter[tuple[int, int]] = Counter()
    contradictions = []
    for name, file in tqdm(split.images.items(), split.name, leave=False):
        image = _try(split, read_image, file)
        if image:
            sizes[image.size] += 1
            split.photos.add(file.name, image)
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
    split.photos.report(split.name, split.report)
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
    """Counts a label map, and returns its classes, negative where a pixel has none."""
    classes = label_table(split.info, sparse=kind != "dense")
    for value in wrong_values(values, classes):
        split.report.problem(
            f"{split.title(kind)}: value {value} is neither a class nor ignored", file
        )
    label = classes[values]
    ignored, pixels = np.unique(values[label == UNLABELLED], return_counts=True)
    found = dict(zip(ignored.tolist(), pixels.tolist(), strict=True))
    split.ignored.setdefault(kind, Counter()).update(found)
    if split.name == TRAIN and kind == split.needed:
        planned = split.planned
        size = size_for(label.shape, planned.size, planned.keep_aspect)
        split.reach.add(file.stem, label, size)
    split.counts[kind].add(pixels_of(label, len(split.info.classes)), label.size)
    return label


def _check_overlap(
    info: DatasetInfo, folders: dict[str, Path], images: dict[str, set[str]], report: Report
) -> None:
    """Reports images that are in more than one split."""
    if not info.splits:
        report.notes.append(
            f"{info.root} is used for every split: training and evaluation see the same images"
        )
    elif "val" not in info.splits:
        report.warnings.append(
            f"{info.path}: no val split: nothing is evaluated during a training, and its result is"
            " on the training images, unless some are held out (--data.holdout 0.1)"
        )
    for one, other in itertools.combinations(images, 2):
        if folders[one] == folders[other]:
            report.notes.append(f"{one} and {other} are the same folder")
        elif both := sorted(images[one] & images[other]):
            report.warnings.append(f"{one} and {other} both have images called {some(both)}")
