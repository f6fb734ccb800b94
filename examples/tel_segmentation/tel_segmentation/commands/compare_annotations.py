"""``tel compare-annotations``: how well two folders of sparse annotations agree.

``tel annotate`` can make blocks in several ways (``--scope``, ``--metric``). Of the paper's blocks
only the files are public, not how they were made: this command shows which way comes closest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tyro
from numpy.typing import NDArray

from tel_segmentation.data.datasets import ade20k, cityscapes
from tel_segmentation.data.datasets.encoding import Encoding, check_ignore, plain
from tel_segmentation.data.image_files import by_name, read_label, some
from tel_segmentation.data.manifest import MANIFEST, SHEET, read_manifest
from tel_segmentation.data.regions import VOID
from tel_segmentation.runtime.workers import each

Name = Literal["auto", "classes", "labelIds", "trainIds", "ade20k"]
KNOWN = {**cityscapes.ENCODINGS, "ade20k": ade20k.ADE20K}
CLASSES = {
    "labelIds": cityscapes.CLASSES,
    "trainIds": cityscapes.CLASSES,
    "ade20k": ade20k.CLASSES,
}


@dataclass(frozen=True)
class CompareAnnotations:
    """Compare two folders of annotations; files of the same name are compared.

    Exit code: 0 compared, 1 some files cannot be compared, or the agreement is below --least,
    2 nothing could be compared.
    """

    ours: tyro.conf.Positional[Path]
    """Folder of PNG files, for example one made by tel annotate."""
    theirs: tyro.conf.Positional[Path]
    """Folder of PNG files, with or without sub-folders for cities."""
    encoding: Name = "auto"
    """What the numbers in OURS mean. By default, what its manifest or, for Cityscapes, the files'
    names say; otherwise class numbers, with 255 for no class."""
    theirs_encoding: Name = "auto"
    """The same for THEIRS. By default, what its manifest or the files' names say; otherwise as in
    OURS."""
    ignore: tuple[int, ...] = ()
    """Further numbers that mean no class in THEIRS."""
    least: float = 0.0
    """Intersection over union of the labelled pixels, in [0, 1], below which the exit code is 1."""
    worst: int = 10
    """Number of images to list; the smallest intersection over union comes first."""
    output: Path | None = None
    """JSON file for the complete result."""
    jobs: int = 1
    """Number of processes."""


class Overlap(NamedTuple):
    """Numbers of pixels of each class, in one image or in many: (K,) int64 each."""

    ours: NDArray[np.int64]
    theirs: NDArray[np.int64]
    shared: NDArray[np.int64]  # labelled in ours, and with any class in theirs
    same: NDArray[np.int64]  # labelled with the same class in both

    @property
    def iou(self) -> float | None:
        """IoU of the labelled pixels, whatever their class; None if there are none."""
        both = self.shared.sum()
        return _ratio(both, self.ours.sum() + self.theirs.sum() - both)

    @property
    def agreement(self) -> float | None:
        """Of the pixels labelled in both, the fraction with the same class; None without such."""
        return _ratio(self.same.sum(), self.shared.sum())


class _Side(NamedTuple):
    """A folder of annotations and what its numbers mean."""

    encoding: Encoding
    classes: tuple[str, ...]
    ignore: tuple[int, ...] = ()

    def read(self, file: Path) -> NDArray[np.int64]:
        return self.encoding.classes(file, read_label(file), self.ignore)


def run(options: CompareAnnotations) -> int:
    """Prints how well the annotations agree: in total, by class, and in the worst images.

    Returns:
        0 if all files that are in both folders could be compared and agree well enough; else 1.

    Raises:
        ValueError: an option or a folder is invalid, or no file name is in both folders.
    """
    if not 0 <= options.least <= 1:
        raise ValueError(f"compare-annotations: least must be in [0, 1], got {options.least}")
    check_ignore(options.ignore)
    ours = _side(options.ours, options.encoding, None)
    theirs = _side(options.theirs, options.theirs_encoding, ours)._replace(ignore=options.ignore)
    if len(ours.classes) != len(theirs.classes):
        raise ValueError(
            f"{options.theirs} must have as many classes as {options.ours}, got"
            f" {len(theirs.classes)} and {len(ours.classes)}"
        )
    one, other = _files(options.ours), _files(options.theirs)
    names = sorted(one.keys() & other.keys())
    if not names:
        raise ValueError(
            f"{options.theirs} must have files named like those of {options.ours}, got"
            f" {some(sorted(other), 2)} and {some(sorted(one), 2)}"
        )
    work = [(one[name], other[name]) for name in names]
    found = list(each(_compare, (ours, theirs), work, options.jobs, "images"))
    images = {n: x for n, x in zip(names, found, strict=True) if isinstance(x, Overlap)}
    problems = [x for x in found if isinstance(x, str)]
    classes = len(ours.classes)
    total = Overlap(*(_sum([x[i] for x in images.values()], classes) for i in range(4)))
    for side, files, others in (("ours", one, other), ("theirs", other, one)):
        if alone := sorted(files.keys() - others.keys()):
            print(f"note: {len(alone)} files are only in {side}: {some(alone)}")
    print("\n".join(_lines(options, ours.classes, images, total)))
    for problem in problems:
        print(f"PROBLEM: {problem}")
    if options.output is not None:
        record = _record(options, ours.classes, images, total, problems)
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 1 if problems or (total.iou or 0.0) < options.least else 0


def _side(folder: Path, name: Name, other: _Side | None) -> _Side:
    if not folder.is_dir():
        raise ValueError(f"{folder} must be a folder of annotations, got no such folder")
    manifest = read_manifest(folder / MANIFEST) or {}
    named = cityscapes.named_encoding(_files(folder, short=False))
    noted = str(manifest.get("encoding", named.name if named else ""))
    if name == "auto" and noted in KNOWN:
        return _Side(KNOWN[noted], CLASSES[noted])
    if name in KNOWN:
        return _Side(KNOWN[name], CLASSES[name])
    if "classes" in manifest:
        classes = tuple(map(str, manifest["classes"]))
        return _Side(plain(len(classes), tuple(manifest.get("ignore", ()))), classes)
    if other is not None and name == "auto":
        return other
    names = other.classes if other else tuple(map(str, range(VOID)))
    return _Side(plain(len(names)), names)


def _files(folder: Path, short: bool = True) -> dict[str, Path]:
    """The annotations by name; ``short`` removes the ending of Cityscapes' names."""
    stems = [file for file in folder.rglob("*.png") if file.name[0] != "." and file.stem != SHEET]
    name_of = cityscapes.short if short else str
    files = {name_of(name): file for name, file in by_name(stems).items()}
    if len(files) != len(stems):
        raise ValueError(
            f"{folder} must have one file of a name, has {len(stems)} with {len(files)} names"
        )
    return files


def _compare(sides: tuple[_Side, _Side], files: tuple[Path, Path]) -> Overlap | str:
    """The overlap in one image, or why the files cannot be compared."""
    try:
        ours, theirs = (side.read(file) for side, file in zip(sides, files, strict=True))
    except ValueError as error:
        return str(error)
    if ours.shape != theirs.shape:
        return (
            f"{files[1]} must be {ours.shape[1]} × {ours.shape[0]} pixels like {files[0]}, got"
            f" {theirs.shape[1]} × {theirs.shape[0]}"
        )
    masks = (ours >= 0, theirs >= 0, (ours >= 0) & (theirs >= 0), (ours == theirs) & (ours >= 0))
    maps = (ours, theirs, ours, ours)
    number = len(sides[0].classes)
    pairs = zip(maps, masks, strict=True)
    return Overlap(*(np.bincount(values[mask], minlength=number) for values, mask in pairs))


def _lines(
    options: CompareAnnotations,
    classes: Sequence[str],
    images: dict[str, Overlap],
    total: Overlap,
) -> Iterator[str]:
    labelled = f"{total.ours.sum():,} pixels labelled in ours, {total.theirs.sum():,} in theirs"
    yield f"{len(images)} images, {labelled}"
    yield f"IoU of the labelled pixels {_percent(total.iou)}, mean of the images {_mean(images)}"
    yield f"same class where both have one {_percent(total.agreement)}"
    rows = _class_rows(classes, total)
    width = max([len(row["class"]) for row in rows] + [5])
    yield f"  {'class':{width}}{'ours':>14}{'theirs':>14}{'IoU':>10}{'same class':>12}"
    for row in rows:
        cells = f"{row['ours']:14,}{row['theirs']:14,}"
        cells += f"{_percent(row['iou']):>10}{_percent(row['agreement']):>12}"
        yield f"  {row['class']:{width}}{cells}"
    worst = sorted(images, key=lambda name: (_or_one(images[name].iou), name))[: options.worst]
    if worst:
        yield f"the {len(worst)} images that agree least (IoU of labelled pixels, same class)"
    for name in worst:
        yield f"  {_percent(images[name].iou):>8}{_percent(images[name].agreement):>9}  {name}"


def _class_rows(classes: Sequence[str], total: Overlap) -> list[dict[str, Any]]:
    """A row for each class that either side has; its IoU is of the pixels labelled with it."""
    rows = []
    for k in map(int, np.flatnonzero(total.ours + total.theirs)):
        ours, theirs, shared, same = (int(values[k]) for values in total)
        rows.append(
            {
                "class": classes[k],
                "ours": ours,
                "theirs": theirs,
                "iou": _ratio(same, ours + theirs - same),
                "agreement": _ratio(same, shared),
            }
        )
    return rows


def _record(
    options: CompareAnnotations,
    classes: Sequence[str],
    images: dict[str, Overlap],
    total: Overlap,
    problems: list[str],
) -> dict[str, Any]:
    return {
        "options": {name: str(value) for name, value in asdict(options).items()},
        "iou": total.iou,
        "agreement": total.agreement,
        "per_class": _class_rows(classes, total),
        "per_image": {n: {"iou": x.iou, "agreement": x.agreement} for n, x in images.items()},
        "problems": problems,
    }


def _sum(rows: list[NDArray[np.int64]], classes: int) -> NDArray[np.int64]:
    return np.sum(rows, axis=0, dtype=np.int64) if rows else np.zeros(classes, np.int64)


def _ratio(part: Any, whole: Any) -> float | None:
    return round(float(part) / float(whole), 6) if whole else None


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value


def _mean(images: dict[str, Overlap]) -> str:
    values = [x.iou for x in images.values() if x.iou is not None]
    return _percent(sum(values) / len(values) if values else None)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
