"""``tel import``: labels of a data set from the files of annotation tools.

All is written into a hidden folder first, and moved where it belongs when every file is complete:
an import that fails or is stopped leaves the data set as it was. ``manifest.json`` beside the
labels records where they come from and how they were drawn; ``contact_sheet.png`` shows some.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tel_segmentation.commands.contact_sheet import VOID_COLOR
from tel_segmentation.commands.import_options import Import
from tel_segmentation.commands.import_plan import Job, Plan, plan, toml_text
from tel_segmentation.commands.import_report import Done, record, summary
from tel_segmentation.data.formats.draw import draw
from tel_segmentation.data.formats.photographs import TOML, Photograph
from tel_segmentation.data.formats.shapes import Drawn, LabelMap, Size
from tel_segmentation.data.image_files import some
from tel_segmentation.data.regions import VOID
from tel_segmentation.data.sample import UNLABELLED
from tel_segmentation.data.sparse_labels import resize_label
from tel_segmentation.runtime.workers import each

Label = NDArray[np.uint8]


class _Work(NamedTuple):
    """What all label files of an import share."""

    plan: Plan
    values: dict[int, int]
    options: Import
    folder: Path
    """The hidden folder in which files are made."""


def run(options: Import) -> None:
    """The command ``tel import``; errors as for ``import_labels``."""
    print("\n".join(import_labels(options)))
    dataset = options.dataset if options.dataset.suffix == ".toml" else options.dataset / TOML
    print(f"Next: tel init {dataset}, for what suits these photographs")


def import_labels(options: Import) -> list[str]:
    """Imports the labels.

    Returns:
        What came in and what did not, as lines of text.

    Raises:
        ValueError: an option or a file is invalid, or something is refused by a rule.
        OSError: a file could not be written.
    """
    options.check()
    made, export = plan(options)
    _refuse_existing(made, options)
    staging = made.root / ".tel-import"
    fresh = not made.root.exists()
    try:
        shutil.rmtree(staging, ignore_errors=True)  # of an import that was killed
        staging.mkdir(parents=True)
        values = made.values(export, options)
        work = _Work(made, values, options, staging)
        done = list(each(_make, work, list(enumerate(made.jobs)), 1, "import"))
        kept = [(i, result) for i, result in enumerate(done) if result.pixels]
        if not any(sum(result.pixels) for _, result in kept):
            raise ValueError(f"{options.source} must label at least one pixel, labels none")
        _move(made, staging, kept)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if fresh and made.root.is_dir() and not any(made.root.iterdir()):
            made.root.rmdir()
    for folder in sorted({result.job.label.parent for _, result in kept}):
        here = [result for _, result in kept if result.job.label.parent == folder]
        record(folder, made, here, options)
    return summary(made, done, options)


def _refuse_existing(made: Plan, options: Import) -> None:
    files = [file for job in made.jobs for file in (job.label, job.copied) if file]
    if (there := [file for file in files if file.exists()]) and not options.overwrite:
        raise ValueError(f"files must not exist yet, or give --overwrite; there are {some(there)}")


def _make(work: _Work, item: tuple[int, Job]) -> Done:
    number, job = item
    made, classes = work.plan, len(work.plan.classes)
    size, turned, note = job.photograph.size, False, ""
    if isinstance(job.annotation, LabelMap):
        numbers = job.annotation.read()
        own: Size | None = (numbers.shape[1], numbers.shape[0])
    else:
        own = job.annotation.size if job.annotation else None
    fit = _fit(own, job.photograph, work.options)
    if fit is None:
        raise ValueError(
            f"{job.annotation.file if job.annotation else job.name} must be for an image of"
            f" {size[0]} × {size[1]} pixels like {job.photograph.file}, is for"
            f" {own[0] if own else 0} × {own[1] if own else 0}: --sizes scale or skip"
        )
    size, turned, note = fit
    if note == "skipped":
        return Done(job, (), (), size=note)
    shapes = np.zeros(classes, np.int64)
    overlap = hidden = outside = 0
    void: tuple[int, ...] = ()
    if isinstance(job.annotation, Drawn):
        label, overlap, hidden, outside = draw(
            job.annotation, made.numbers, size, work.options.brush
        )
        known = [made.numbers[s.label] for s in job.annotation.shapes if s.label in made.numbers]
        shapes = np.bincount(np.array(known, int), minlength=classes)
    elif isinstance(job.annotation, LabelMap):
        label, void = _looked_up(numbers, work, job.annotation.file, size)
        shapes[[k for k in np.unique(label) if k != VOID]] = 1
    else:
        label = np.full((size[1], size[0]), VOID, np.uint8)
    if work.options.background and job.annotation:
        label[label == VOID] = made.numbers[work.options.background]
    if turned:
        label = job.photograph.upright(label)
    _save(work.folder / f"{number}.png", label, made)
    if job.copied:
        shutil.copy2(job.photograph.file, work.folder / f"{number}.image")
    pixels = np.bincount(label[label != VOID], minlength=classes)
    counts = tuple(pixels.tolist()), tuple(shapes.tolist())
    return Done(job, *counts, overlap, hidden, outside, note, void)


def _fit(
    own: Size | None, photograph: Photograph, options: Import
) -> tuple[Size, bool, str] | None:
    """In which size to draw, whether to turn the result, and what to tell; None: refused."""
    upright, stored = photograph.size, photograph.stored
    as_stored = options.orientation == "stored"
    if options.orientation == "auto":
        as_stored = own == stored and own != upright
    size = stored if as_stored else upright
    if own in (None, size):
        return size, as_stored, "turned" if as_stored and upright != stored else ""
    if options.sizes == "refuse":
        return None
    return size, as_stored, "scaled" if options.sizes == "scale" else "skipped"


def _looked_up(
    numbers: NDArray[Any], work: _Work, file: Path, size: Size
) -> tuple[Label, tuple[int, ...]]:
    """A label map's numbers as classes, in the photograph's size, and those that mean no label."""
    found = np.unique(numbers)
    if wrong := [int(value) for value in found if int(value) not in work.values]:
        classes = sorted(v for v, c in work.values.items() if c != VOID)
        raise ValueError(
            f"{file} must have the numbers {classes[0]} to {classes[-1]} for the classes and"
            f" {work.options.no_label} for no label, has also {some(wrong)}: see --first and"
            " --unlabelled"
        )
    table = np.array([work.values[int(value)] for value in found], np.uint8)
    label = table[np.searchsorted(found, numbers)]
    if label.shape != size[::-1]:
        marks = np.where(label == VOID, UNLABELLED, label.astype(np.int64))
        marks = resize_label(marks, size[::-1])
        label = np.where(marks < 0, VOID, marks).astype(np.uint8)
    return label, tuple(found[table == VOID].tolist())


def _save(file: Path, label: Label, made: Plan) -> None:
    image = Image.fromarray(label)
    palette = np.full((256, 3), VOID_COLOR, np.uint8)
    palette[: len(made.classes)] = made.colors
    image.putpalette(palette.ravel().tolist())
    image.save(file)


def _move(made: Plan, staging: Path, kept: list[tuple[int, Done]]) -> None:
    """Moves the complete files where they belong; photographs first, the TOML file last."""
    for suffix in ("image", "png"):
        for number, result in kept:
            target = result.job.copied if suffix == "image" else result.job.label
            if target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                (staging / f"{number}.{suffix}").replace(target)
    if made.new:
        (staging / TOML).write_text(toml_text(made.classes), encoding="utf-8")
        (staging / TOML).replace(made.toml)
