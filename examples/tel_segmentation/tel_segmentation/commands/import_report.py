"""What ``tel import`` leaves beside the labels, and what it prints."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tel_segmentation.commands.contact_sheet import contact_sheet
from tel_segmentation.commands.import_options import Import
from tel_segmentation.commands.import_plan import TRAIN, Job, Plan
from tel_segmentation.data.formats.shapes import Drawn
from tel_segmentation.data.image_files import read_image, some
from tel_segmentation.data.manifest import MANIFEST, SHEET, read_manifest
from tel_segmentation.data.regions import VOID

Label = NDArray[np.uint8]
Color = tuple[int, int, int]

SHOWN = 12  # images of a contact sheet
SIDE = 320  # their longer side


@dataclass
class _Coloured:
    classes: tuple[str, ...]
    colors: tuple[Color, ...]


class Done(NamedTuple):
    """A label file that was made; no pixels if it was left out."""

    job: Job
    pixels: tuple[int, ...]
    shapes: tuple[int, ...]
    overlap: int = 0
    hidden: int = 0
    outside: int = 0
    size: str = ""  # "scaled", "turned", "skipped"
    void: tuple[int, ...] = ()  # the numbers of a label map that were taken for no label


def record(folder: Path, made: Plan, results: list[Done], options: Import) -> None:
    """Writes the manifest and the contact sheet of a folder of labels."""
    radius, width = options.brush
    entry = {
        "format": options.format,
        "source": str(options.source.expanduser().resolve()),
        "images": {r.job.name: str(r.job.annotation.file) for r in results if r.job.annotation},
        "rename": list(options.rename),
        "background": options.background,
        "per_class": {
            name: {
                "shapes": sum(r.shapes[k] for r in results),
                "labelled": sum(r.pixels[k] for r in results),
                "labelled_images": sum(r.pixels[k] > 0 for r in results),
            }
            for k, name in enumerate(made.classes)
        },
    }
    before = read_manifest(folder / MANIFEST) or {}
    manifest = {
        "options": {"kind": "import", "format": options.format, "radius": radius, "width": width},
        "classes": list(made.classes),
        "imports": [*before.get("imports", []), entry],
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    chosen = sorted({int(i) for i in np.linspace(0, len(results) - 1, SHOWN)})
    entries = [(results[i].job.name, *_small(results[i].job)) for i in chosen]
    coloured = _Coloured(made.classes, made.colors)
    sheet = contact_sheet(coloured, [(n, a, b, b) for n, a, b in entries], grow=1)
    sheet.save(folder / f"{SHEET}.png")


def _small(job: Job) -> tuple[Label, Label]:
    """The image and its label, made small; every label keeps a pixel."""
    image = read_image(job.copied or job.photograph.file)
    with Image.open(job.label) as opened:
        label = np.asarray(opened)
    scale = min(1, SIDE / max(image.size))
    width, height = (max(1, round(scale * side)) for side in image.size)
    small = np.full((height, width), VOID, np.uint8)
    y, x = np.nonzero(label != VOID)
    small[y * height // label.shape[0], x * width // label.shape[1]] = label[y, x]
    return np.asarray(image.resize((width, height), Image.Resampling.BOX)), small


def summary(made: Plan, done: list[Done], options: Import) -> list[str]:
    """What came in, class by class, and what did not."""
    kept = [result for result in done if result.pixels]
    splits = {
        split: sum(r.job.split == split for r in kept) for split in dict.fromkeys(_splits(kept))
    }
    listed = ", ".join(f"{count} {split}" for split, count in splits.items())
    width = max(map(len, made.classes))
    lines = [f"{made.toml}: {len(kept)} images ({listed}) from {options.format}"]
    total = max(1, sum(sum(r.pixels) for r in kept))
    for k, name in enumerate(made.classes):
        shapes, pixels = sum(r.shapes[k] for r in kept), sum(r.pixels[k] for r in kept)
        images = sum(r.pixels[k] > 0 for r in kept)
        lines.append(
            f"  {name:{width}}  {shapes:6} shapes in {images} images, {100 * pixels / total:6.2f} %"
            " of the labelled pixels"
        )
    notes = [*made.notes, *_without_label(made, kept)]
    overlaps = [r for r in kept if r.overlap]
    if overlaps:
        pixels = sum(r.overlap for r in overlaps)
        notes.append(f"{pixels} pixels in {len(overlaps)} images are of two classes: the later won")
    for what, text in (
        ("hidden", "shapes are covered completely by later ones"),
        ("outside", "shapes are outside of their image"),
    ):
        if found := [r for r in kept if getattr(r, what)]:
            count = sum(getattr(r, what) for r in found)
            notes.append(f"{count} {text}: {some(r.job.name for r in found)}")
    for what, text in (
        ("turned", "annotations fit the stored pixels, and were turned with their image"),
        ("scaled", "annotations of another size were scaled"),
        ("skipped", "annotations of another size were left out"),
    ):
        if names := [r.job.name for r in done if r.size == what]:
            notes.append(f"{len(names)} {text}: {some(names)}")
    if options.orientation == "auto" and (unclear := [r.job.name for r in kept if _unclear(r.job)]):
        notes.append(
            f"{len(unclear)} images are turned by their Exif orientation, and nothing says whether"
            f" the tool did that, which is assumed: {some(unclear)}; see the contact sheet, and"
            " --orientation stored"
        )
    return [*lines, *(f"note: {note}" for note in notes)]


def _without_label(made: Plan, kept: list[Done]) -> list[str]:
    """A note on the classes that have no label; for label maps, on what is no class there."""
    counts = np.sum([r.pixels for r in kept], axis=0)
    if not (empty := [name for name, count in zip(made.classes, counts, strict=True) if not count]):
        return []
    note = f"no pixel has the class {some(empty)}"
    if void := sorted({value for r in kept for value in r.void}):
        note += f"; {some(void)} was taken for no label"
        if len(void) == 1:
            note += f": --background {shlex.quote(empty[0])} if it is this class, with --overwrite"
    return [note]


def _unclear(job: Job) -> bool:
    """Whether an image is turned, and its annotation fits it before and after."""
    unsized = isinstance(job.annotation, Drawn) and job.annotation.size is None
    turned = job.photograph.orientation > 1 and job.annotation is not None
    return turned and (unsized or job.photograph.size == job.photograph.stored)


def _splits(results: list[Done]) -> list[str]:
    return sorted((r.job.split for r in results), key=lambda split: (split != TRAIN, split))
