"""``tel check-data``: what is wrong with a data set in folders, before hours are spent on it.

Every file is read. Problems make the exit code 1. Warnings are what training survives, but its
result may not.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from tel_segmentation.folder import DatasetInfo, label_table, open_dataset, where, wrong_values
from tel_segmentation.image_files import check_size, read_image, read_label, some
from tel_segmentation.manifest import SHEET

TRAIN = "train"
LIMIT = 10  # files named for one kind of problem
FEW_IMAGES = 3
FEW_PART = 0.01  # of the images
FEWER = 0.5  # of the images that have the class in their dense label
T = TypeVar("T")


@dataclass(frozen=True)
class CheckData:
    """Check a data set in folders: every file, the labels' values, how much is labelled.

    Exit code: 0 fine (there may be warnings), 1 problems, 2 it could not be checked.
    """

    data: tyro.conf.Positional[str]
    """The data set's TOML file."""
    annotation: str = "dense"
    """What training is to see of the train split, as in --data.annotation: dense, the name of a
    folder that tel annotate made, or a folder's path. The other splits need dense labels."""
    splits: tuple[str, ...] = ()
    """By default all of them."""


@dataclass
class Report:
    """What was found. Problems of one kind are kept together, with the files they concern."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, kind: str, *things: object) -> None:
        """Adds things that have this problem."""
        self.problems.setdefault(kind, []).extend(map(str, things))

    def lines(self) -> Iterator[str]:
        """The report, for people."""
        yield from (f"note: {note}" for note in self.notes)
        yield from (f"WARNING: {warning}" for warning in self.warnings)
        for kind, things in self.problems.items():
            yield f"PROBLEM: {kind}" + (f": {len(things)}" if things else "")
            yield from (f"    {thing}" for thing in things[:LIMIT])
            if len(things) > LIMIT:
                yield f"    … and {len(things) - LIMIT} more"
        yield f"Kinds of problems: {len(self.problems)}; warnings: {len(self.warnings)}"


class Counts:
    """What the labels of a split have in them."""

    def __init__(self, classes: int) -> None:
        self.pixels = np.zeros(classes, np.int64)
        self.images = np.zeros(classes, np.int64)
        self.all_pixels = 0
        self.labelled = 0  # images with any label
        self.empty = 0

    def add(self, label: NDArray[np.int64]) -> None:
        """Counts one label map; negative values are no class."""
        pixels = np.bincount(label[label >= 0], minlength=len(self.pixels))
        self.pixels += pixels
        self.images += pixels > 0
        self.all_pixels += label.size
        self.labelled += bool(pixels.any())
        self.empty += not pixels.any()


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
            f"data must be the TOML file of a data set in folders, got {options.data}: scenes are"
            " generated, they have no files to check"
        )
    try:
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
        print(_table(split, sizes))
        _check_classes(split)
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
        if len(maps) == 2 and (text := _contradiction(*maps)):
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
    table = label_table(split.info, sparse=kind != "dense")
    for value in wrong_values(values, table):
        split.report.problem(
            f"{split.title(kind)}: value {value} is neither a class nor ignored", file
        )
    split.counts[kind].add(table[values])
    return table[values]


def _contradiction(dense: NDArray[np.int64], sparse: NDArray[np.int64]) -> str:
    """How much of what both label is labelled differently, in words; empty if nothing is."""
    if dense.shape != sparse.shape:  # reported already
        return ""
    both = (dense >= 0) & (sparse >= 0)
    wrong = np.count_nonzero(dense[both] != sparse[both])
    return f"{100 * wrong / np.count_nonzero(both):.2g} % of the pixels" if wrong else ""


def _check_classes(split: Split) -> None:
    """Classes that have labels in hardly any image, and images without any."""
    if split.needed not in split.counts:
        return
    counts, count = split.counts[split.needed], len(split.images)
    dense = split.counts.get("dense", counts)
    title = split.title(split.needed)
    classes = list(zip(split.info.classes, counts.images, dense.images, strict=True))
    few = max(min(FEW_IMAGES, count), FEW_PART * count) if split.name == TRAIN else 0
    if counts.empty:
        split.report.warnings.append(f"{title}: no pixel has a class in {counts.empty} images")
    if absent := [name for name, have, exist in classes if have == exist == 0]:
        split.report.warnings.append(f"{title}: no image has {some(absent)}")
    if rare := [f"{name} ({have})" for name, have, _ in classes if 0 < have < few]:
        split.report.warnings.append(f"{title}: hardly any of {count} images have {some(rare)}")
    if lost := [f"{name} ({h} of {e})" for name, h, e in classes if h < FEWER * e]:
        split.report.warnings.append(
            f"{title}: labelled in few of the images that have them: {some(lost, LIMIT)}. Where a"
            " class has no label, losses on unlabelled pixels fill in another one. Blocks of every"
            " component (tel annotate --kind block --scope component) keep a part of everything"
        )


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


def _table(split: Split, sizes: Counter[tuple[int, int]]) -> str:
    """Images and their sizes, then pixels and images of every class for each kind of label."""
    (size, most), *others = sizes.most_common() or [((0, 0), 0)]
    described = f"{size[0]} × {size[1]}" if most else "none of which can be read"
    if others:
        described += f", and {sizes.total() - most} in {len(others)} other sizes"
    rows = ["", "", *split.info.classes, "labelled"]
    width = max(map(len, rows))
    lines = [f"  {row:{width}}" for row in rows]
    for kind, counts in split.counts.items():
        total = int(counts.pixels.sum())
        cells = [f"{Path(kind).name[:18]:>18}", f"{'share':>10}{'images':>8}"]
        for pixels, images in zip(counts.pixels, counts.images, strict=True):
            cells.append(f"{100 * pixels / max(1, total):8.2f} %{images:8}")
        cells.append(f"{100 * total / max(1, counts.all_pixels):8.2f} %{counts.labelled:8}")
        lines = [f"{line}  {cell}" for line, cell in zip(lines, cells, strict=True)]
    return "\n".join([f"{split.name}: {len(split.images)} images, {described}", *lines])
