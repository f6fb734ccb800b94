"""``tel check-data`` for Pascal VOC, Cityscapes and ADE20K: which files exist, which do not."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
from tel_segmentation.data.datasets import ade20k, cityscapes, voc
from tel_segmentation.data.datasets.encoding import check_ignore
from tel_segmentation.data.datasets.pairs import Pairs
from tel_segmentation.data.datasets.public import published_counts
from tel_segmentation.data.datasets.samples import size_of_sample
from tel_segmentation.data.image_files import some
from tel_segmentation.data.reach import Counted, Reach, count
from tel_segmentation.data.sample import Source
from tel_segmentation.runtime.workers import each

SETS: dict[str, Any] = {
    "voc": voc.Voc,
    "cityscapes": cityscapes.Cityscapes,
    "ade20k": ade20k.Ade20k,
}
SPLITS = (TRAIN, "val")


class Seen(NamedTuple):
    """What was read of one sample."""

    name: str
    size: tuple[int, int]  # width, height
    label: NDArray[np.int64]  # pixels of each class
    truth: NDArray[np.int64]
    contradiction: str
    counted: Counted | None  # of the train split: what reaches the network


class _Work(NamedTuple):
    source: Source
    options: Data
    training: bool


def check_public(
    kind: str, folder: Path, options: Data, splits: Sequence[str] = (), jobs: int = 1
) -> int:
    """Prints what a public data set contains, where its files are, and what is wrong with it.

    Args:
        kind: ``voc``, ``cityscapes``, ``ade20k``.
        folder: the data set's folder.
        options: annotation, ignore, encoding, stroke; size, short_side and labels of a training,
            for which it is counted how many labels reach the network.
        splits: the splits to check; by default ``train`` and ``val``.
        jobs: number of processes.

    Returns:
        0 if there is no problem, 1 if there are problems.

    Raises:
        ValueError: the folder or a split does not exist, or a number to ignore is invalid.
    """
    published = published_counts(kind)
    if not folder.is_dir():
        raise ValueError(f"{folder} must be a folder with {kind}, got no such folder")
    splits = splits or SPLITS
    if wrong := [split for split in splits if split not in published]:
        raise ValueError(f"split must be one of {', '.join(published)}, got {wrong[0]!r}")
    check_ignore(options.ignore)
    report = Report()
    names = {}
    for split in splits:
        data = replace(options, annotation=options.annotation if split == TRAIN else "dense")
        native = replace(data, size=None, short_side=None)
        try:
            source = SETS[kind](folder, split, native, skip_missing=True)
        except (ValueError, OSError) as error:
            report.problem(f"{split}: cannot be used", error)
            continue
        names[split] = set(source.names)
        _check_count(source, split, published[split], report)
        print("\n".join(_places(source, published[split])))
        _check_samples(_Work(source, data, split == TRAIN), split, jobs, report)
    for one, other in itertools.combinations(names, 2):
        if both := sorted(names[one] & names[other]):
            report.warnings.append(f"{one} and {other} both have images called {some(both)}")
    print("\n".join(report.lines()))
    return 1 if report.problems else 0


def _check_count(source: Any, split: str, published: int, report: Report) -> None:
    if source.missing:
        report.problem(f"{split}: files that are missing", *source.missing)
    if isinstance(source, Pairs) and source.without_annotation:
        report.problem(
            f"{split}: images without an annotation, which training would not use",
            *source.without_annotation,
        )
    if len(source) < published:
        report.warnings.append(
            f"{split}: {len(source):,} of the {published:,} published images can be used; results"
            " with fewer images are not comparable"
        )
    elif len(source) > published:
        report.warnings.append(
            f"{split}: {len(source):,} images are more than the {published:,} published ones"
        )


def _places(source: Any, published: int) -> list[str]:
    """Lines that say in which folders a split's files are, and how many."""
    found: dict[str, list[Path | None]]
    if isinstance(source, Pairs):
        found = {
            "images": [entry.image for entry in source.entries],
            f"labels ({source.label_encoding.name})": [x.label for x in source.entries],
        }
        if any(entry.label != entry.truth for entry in source.entries):
            found[f"dense labels ({source.encoding.name})"] = [x.truth for x in source.entries]
    else:
        found = {"images": [*source.images.values()], "dense labels": [*source.masks.values()]}
    lines = []
    for role, files in found.items():
        there = [file for file in files if file is not None]
        for folder, number in _folders(there).items():
            lines.append(f"{source.split}, {role}: {number:,} of {published:,} in {folder}")
    if (annotation := getattr(source, "annotation", None)) and len(source):
        lines.append(f"{source.split}, annotation: for example {annotation.where(source.names[0])}")
    return lines


def _folders(files: list[Path]) -> dict[str, int]:
    """The number of files per folder; more than four folders, as of cities, become one entry."""
    parents = Counter(file.parent for file in files)
    if len(parents) > 4:
        return {os.path.commonpath(parents) + f" ({len(parents)} folders)": parents.total()}
    return {str(folder): count for folder, count in parents.items()}


def _check_samples(work: _Work, split: str, jobs: int, report: Report) -> None:
    """Reads all samples, counts their labels, prints the table and reports what is wrong."""
    source: Any = work.source
    annotation = work.options.annotation
    reach = Reach(work.options.labels, annotation != "dense")
    kinds = dict.fromkeys(("dense", annotation))
    counts = {kind: Counts(len(source.classes)) for kind in kinds}
    sizes: Counter[tuple[int, int]] = Counter()
    contradictions = []
    for seen in each(_look, work, range(len(source)), jobs, split):
        if isinstance(seen, str):
            report.problem(f"{split}: files that cannot be used", seen)
            continue
        sizes[seen.size] += 1
        size = seen.size[0] * seen.size[1]
        counts["dense"].add(seen.truth, size)
        if annotation != "dense":
            counts[annotation].add(seen.label, size)
        if seen.counted is not None:
            width, height = seen.size
            resized = size_of_sample(height, width, work.options, split) or (height, width)
            reach.add_counted(seen.name, seen.counted, resized)
        if seen.contradiction:
            contradictions.append(f"{seen.name} ({seen.contradiction})")
    title = f"{split}, {'dense labels' if annotation == 'dense' else annotation}"
    if contradictions:
        report.warnings.append(f"{title}: contradicts the dense labels of {some(contradictions)}")
    if annotation != "dense" and counts["dense"].empty:
        report.notes.append(f"{split}: {counts['dense'].empty:,} images have no dense label")
        if not counts["dense"].labelled:
            del counts["dense"]
    print(table(split, len(source), sizes, source.classes, counts))
    if split != "test" and len(source):
        labels = counts[annotation]
        dense = counts.get("dense", labels)
        number = len(source)
        check_classes(report, title, source.classes, labels, dense, number, work.training)
    if work.training and reach.images:
        report.reach(title, reach)
    _check_encoding(source, split, report)
    _check_unused(source, split, report)


def _look(work: _Work, index: int) -> Seen | str:
    """One sample, or why it cannot be read."""
    source, options = work.source, work.options
    try:
        sample = source[index]
    except (ValueError, OSError) as error:
        return str(error)
    label, truth = sample.label.numpy(), sample.truth.numpy()
    number = len(source.classes)
    counted = None
    if work.training:
        size = size_of_sample(label.shape[0], label.shape[1], options, TRAIN)
        counted = count(label, size, options.labels, options.annotation != "dense")
    return Seen(
        sample.name,
        (label.shape[1], label.shape[0]),
        pixels_of(label, number),
        pixels_of(truth, number),
        contradiction(truth, label),
        counted,
    )


def _check_encoding(source: Any, split: str, report: Report) -> None:
    """Warns of trainIds that are read as labelIds: no number is invalid, so nothing else fails."""
    if not isinstance(source, cityscapes.Cityscapes):
        return
    for folder in source.like_train_ids():
        report.warnings.append(
            f"{split}: the numbers in {folder} are read as labelIds, but look like trainIds, since"
            " none is above 19: is --encoding trainIds right?"
        )


def _check_unused(source: Any, split: str, report: Report) -> None:
    """Reports unused parts of annotations: missing images, and points outside their image."""
    if not isinstance(source, voc.Voc):
        return
    if without := source.without_image():
        report.warnings.append(
            f"{split}: the annotation has {len(without):,} images that do not exist: "
            f"{some(without)}"
        )
    if outside := source.points_outside(progress=True):
        report.notes.append(
            f"{split}: {sum(outside.values())} points lie outside their images and are not used, in"
            f" {some(outside)}"
        )
