"""The findings of a data set's check: counts of its labels, problems, warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tel_segmentation.data.image_files import some
from tel_segmentation.data.reach import Reach

TRAIN = "train"
LIMIT = 10  # files listed for each kind of problem
FEW_IMAGES = 3
FEW_PART = 0.01  # fraction of the images
FEWER = 0.5  # fraction of the images whose dense label has the class


@dataclass
class Report:
    """Findings. Problems are grouped by kind, each with the files that have it."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, kind: str, *things: object) -> None:
        """Adds things that have this kind of problem."""
        self.problems.setdefault(kind, []).extend(map(str, things))

    def reach(self, title: str, reach: Reach) -> None:
        """Notes how many labels reach the network; none at all is a problem."""
        try:
            self.notes.append(f"{title}: {reach.text()}")
        except ValueError as error:
            self.problem(f"{title}: {error}")

    def lines(self) -> Iterator[str]:
        """The report as lines of text."""
        yield from (f"note: {note}" for note in self.notes)
        yield from (f"WARNING: {warning}" for warning in self.warnings)
        for kind, things in self.problems.items():
            yield f"PROBLEM: {kind}" + (f": {len(things)}" if things else "")
            yield from (f"    {thing}" for thing in things[:LIMIT])
            if len(things) > LIMIT:
                yield f"    … and {len(things) - LIMIT} more"
        yield f"Kinds of problems: {len(self.problems)}; warnings: {len(self.warnings)}"


class Counts:
    """How many pixels and images of a split are labelled, in total and by class."""

    def __init__(self, classes: int) -> None:
        self.pixels = np.zeros(classes, np.int64)
        self.images = np.zeros(classes, np.int64)
        self.all_pixels = 0
        self.labelled = 0  # images with at least one labelled pixel
        self.empty = 0  # images without a labelled pixel

    def add(self, pixels: NDArray[np.int64], size: int) -> None:
        """Adds an image of ``size`` pixels, of which ``pixels`` are labelled with each class."""
        self.pixels += pixels
        self.images += pixels > 0
        self.all_pixels += size
        self.labelled += bool(pixels.any())
        self.empty += not pixels.any()


def pixels_of(label: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """The number of pixels of each class in a label map; negative values are no class."""
    return np.bincount(label[label >= 0], minlength=classes)


def contradiction(dense: NDArray[np.int64], sparse: NDArray[np.int64]) -> str:
    """Of the pixels labelled in both maps, the part with different classes; empty if none."""
    if dense.shape != sparse.shape:  # reported elsewhere
        return ""
    both = (dense >= 0) & (sparse >= 0)
    wrong = np.count_nonzero(dense[both] != sparse[both])
    return f"{100 * wrong / np.count_nonzero(both):.2g} % of the pixels" if wrong else ""


def check_classes(
    report: Report,
    title: str,
    classes: tuple[str, ...],
    counts: Counts,
    dense: Counts,
    images: int,
    training: bool,
) -> None:
    """Warns of classes with labels in hardly any image, and of images without labels."""
    rows = list(zip(classes, counts.images, dense.images, strict=True))
    few = max(min(FEW_IMAGES, images), FEW_PART * images) if training else 0
    if counts.empty:
        report.warnings.append(f"{title}: no pixel has a class in {counts.empty} images")
    if absent := [name for name, have, exist in rows if have == exist == 0]:
        report.warnings.append(f"{title}: no image has {some(absent)}")
    if rare := [f"{name} ({have})" for name, have, _ in rows if 0 < have < few]:
        report.warnings.append(f"{title}: hardly any of {images} images have {some(rare)}")
    if lost := [f"{name} ({h} of {e})" for name, h, e in rows if h < FEWER * e]:
        report.warnings.append(
            f"{title}: labelled in few of the images that have them: {some(lost, LIMIT)}. Where a"
            " class has no label, losses on unlabelled pixels fill in another one. Blocks of every"
            " component (tel annotate --kind block --scope component) keep a part of every object"
        )


def table(
    split: str,
    images: int,
    sizes: Counter[tuple[int, int]],
    classes: tuple[str, ...],
    counts: Mapping[str, Counts],
) -> str:
    """A table: the images and their sizes; by kind of label, each class's pixels and images."""
    (size, most), *others = sizes.most_common() or [((0, 0), 0)]
    described = f"{size[0]} × {size[1]}" if most else "none of which can be read"
    if others:
        described += f", and {sizes.total() - most} in {len(others)} other sizes"
    rows = ["", "", *classes, "labelled"]
    width = max(map(len, rows))
    lines = [f"  {row:{width}}" for row in rows]
    for kind, found in counts.items():
        total = int(found.pixels.sum())
        cells = [f"{Path(kind).name[:18]:>18}", f"{'share':>10}{'images':>8}"]
        for pixels, having in zip(found.pixels, found.images, strict=True):
            cells.append(f"{100 * pixels / max(1, total):8.2f} %{having:8}")
        cells.append(f"{100 * total / max(1, found.all_pixels):8.2f} %{found.labelled:8}")
        lines = [f"{line}  {cell}" for line, cell in zip(lines, cells, strict=True)]
    return "\n".join([f"{split}: {images} images, {described}", *lines])
