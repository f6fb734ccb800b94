"""``tel annotate``: points, scribbles or blocks from the dense labels of a data set.

Beside the annotations, a ``manifest.json`` says how they were made and how much they label, and
``contact_sheet.png`` shows some of them. A file depends on the options and the image's name alone,
whatever the order and the number of processes; what an interrupted run has written is kept.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from tel_segmentation.annotations import (
    blocks,
    blocks_above,
    interior_distance,
    points,
    scribbles,
)
from tel_segmentation.contact_sheet import VOID_COLOR, contact_sheet
from tel_segmentation.folder import DatasetInfo, label_table, open_dataset, to_classes
from tel_segmentation.image_files import read_label, some, visible
from tel_segmentation.manifest import (
    MANIFEST,
    Count,
    Manifest,
    difference,
    measured,
    read_manifest,
    summary,
)
from tel_segmentation.regions import VOID, Metric

Kind = Literal["point", "scribble", "block"]
Scope = Literal["component", "class", "image", "dataset"]
Label = NDArray[np.uint8]
T = TypeVar("T")
SHEET = "contact_sheet"


@dataclass(frozen=True)
class Annotate:
    """Make sparse annotations from the dense labels of a data set."""

    data: tyro.conf.Positional[Path]
    """The data set's TOML file."""
    kind: Kind = "point"
    """One point or one scribble in every object (connected pixels of a class), or blocks: what is
    left when labels are taken away from the objects' edges inwards."""
    split: str = "train"
    ratio: float = 0.2
    """Part of the pixels that stay labelled (blocks)."""
    scope: Scope = "component"
    """What keeps that part (blocks): every connected object, every class of an image, every image,
    or the data set by one distance from the edge for all. With the last two, small and thin things
    lose all of their labels, and learning from unlabelled pixels then fills them in wrongly."""
    metric: Metric = "edt"
    """How the distance to the edge is measured (blocks)."""
    border: bool = False
    """Whether the border of the image is an edge too (blocks)."""
    width: int = 3
    """Of a scribble, in pixels."""
    seed: int = 0
    output: Path | None = None
    """Folder for the annotations; by default annotations/NAME/SPLIT beside the TOML file, where
    NAME is point, scribble, block20 (20 % of every object) or, with another scope, block20-image.
    Training takes a NAME or any folder as --data.annotation."""
    jobs: int = 1
    """Processes."""
    overwrite: bool = False
    """Replace annotations that were made with other options."""


class _Work(NamedTuple):
    """One file to make, with all that a process needs for it."""

    name: str
    label: Path
    output: Path
    info: DatasetInfo
    options: Annotate
    threshold: float | None = None  # of the distance to the edge, for the whole data set


def run(options: Annotate) -> None:
    """Makes the annotations, their manifest and the contact sheet; says what was labelled.

    Raises:
        ValueError: options, the TOML file or a label are not as they must be; or the output folder
            has other files in it, or annotations made with other options.
        OSError: a file cannot be written.
    """
    _check(options)
    info = open_dataset(options.data)
    work = _plan(info, options)
    output = work[0].output.parent
    recipe = _recipe(info, options)
    _prepare(output, recipe, work, options.overwrite)
    if options.kind == "block" and options.scope == "dataset":
        threshold = _threshold(_each(_distances, work, options.jobs, "distances"), options.ratio)
        work = [item._replace(threshold=threshold) for item in work]
    counts = list(_each(_make, work, options.jobs, "annotations"))
    result = measured(info.classes, [item.name for item in work], counts)
    _write(output / MANIFEST, {**recipe, "threshold": work[0].threshold, **result})
    images = info.images(options.split)
    shown = [work[i] for i in sorted({int(i) for i in np.linspace(0, len(work) - 1, 12)})]
    sheet = contact_sheet(
        info,
        [
            (images[item.name], _dense(item), read_label(item.output).astype(np.uint8))
            for item in shown
        ],
        grow={"point": 4, "scribble": 1, "block": 0}[options.kind],
    )
    _save(output / f"{SHEET}.png", sheet)
    print(f"{output}: {summary(result)}")


def name_of(options: Annotate) -> str:
    """The annotation's name: point, scribble, block20, block20-image, …."""
    if options.kind != "block":
        return options.kind
    scope = "" if options.scope == "component" else f"-{options.scope}"
    return f"block{100 * options.ratio:g}{scope}"


def _check(options: Annotate) -> None:
    for name, allowed in (("kind", Kind), ("scope", Scope), ("metric", Metric)):
        if getattr(options, name) not in get_args(allowed):
            raise ValueError(
                f"annotate: {name} must be one of {', '.join(get_args(allowed))}, got"
                f" {getattr(options, name)!r}"
            )
    if not 0 < options.ratio <= 1:
        raise ValueError(f"annotate: ratio must be above 0 and at most 1, got {options.ratio}")
    for name, least in (("width", 1), ("jobs", 1), ("seed", 0)):
        if getattr(options, name) < least:
            raise ValueError(
                f"annotate: {name} must be at least {least}, got {getattr(options, name)}"
            )


def _plan(info: DatasetInfo, options: Annotate) -> list[_Work]:
    images, labels = info.images(options.split), info.labels(options.split)
    if missing := [images[name].name for name in images if name not in labels]:
        raise ValueError(
            f"annotate: every image of {options.split} must have a dense label in"
            f" {info.folder(options.split) / 'labels'}; {len(missing)} have none: {some(missing)}"
        )
    if SHEET in images:
        raise ValueError(f"{images[SHEET]} must have another name: the contact sheet is called so")
    folder = options.output or (info.path.parent / "annotations" / name_of(options) / options.split)
    return [
        _Work(name, labels[name], folder.expanduser() / f"{name}.png", info, options)
        for name in images
    ]


def _recipe(info: DatasetInfo, options: Annotate) -> Manifest:
    """What the annotations depend on, beside the labels."""
    used = {
        "point": (),
        "scribble": ("width",),
        "block": ("ratio", "scope", "metric", "border"),
    }[options.kind]
    names = ("kind", "split", *used, "seed")
    values = dataclasses.asdict(options)
    return {
        "options": {name: values[name] for name in names},
        "classes": list(info.classes),
        "ignore": list(info.ignore),
    }


def _prepare(output: Path, recipe: Manifest, work: list[_Work], overwrite: bool) -> None:
    """The folder, with its manifest and without annotations made in another way."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        made = read_manifest(output / MANIFEST)
        if made is None and (others := sorted(path.name for path in visible(output))):
            raise ValueError(
                f"{output} must be empty or have annotations with their {MANIFEST}, has"
                f" {some(others)}"
            )
        if made and not overwrite and (other := difference(made, recipe)):
            raise ValueError(
                f"{output} has annotations made with other options ({other}); replace them with"
                " --overwrite, or choose another --output"
            )
        if overwrite:
            for item in work:
                item.output.unlink(missing_ok=True)
        _write(output / MANIFEST, recipe)
    except OSError as error:
        raise OSError(f"{output} cannot be written ({error}); choose another --output") from error


def _dense(item: _Work) -> Label:
    classes = to_classes(item.label, read_label(item.label), label_table(item.info))
    return np.where(classes < 0, VOID, classes).astype(np.uint8)


def _make(item: _Work) -> Count:
    """Writes one annotation, unless it is there, and counts its labels."""
    label = _dense(item)
    if item.output.exists():
        annotation = read_label(item.output).astype(np.uint8)
        if annotation.shape != label.shape:
            raise ValueError(f"{item.output} must be as large as {item.label}, is of another size")
    else:
        annotation = _annotation(item, label)
        image = Image.fromarray(annotation)
        colors = [*item.info.colors, *[VOID_COLOR] * (256 - len(item.info.colors))]
        image.putpalette([value for color in colors for value in color])
        _save(item.output, image)
    count = len(item.info.classes)
    return Count(
        *(
            np.bincount(values.ravel(), minlength=count)[:count].tolist()
            for values in (label, annotation)
        )
    )


def _annotation(item: _Work, label: Label) -> Label:
    options = item.options
    rng = np.random.default_rng([options.seed, zlib.crc32(item.name.encode())])
    if options.kind == "point":
        return points(label, None, rng)
    if options.kind == "scribble":
        return scribbles(label, None, rng, options.width)
    if options.scope != "dataset":
        ratio, metric, border = options.ratio, options.metric, options.border
        return blocks(label, ratio, options.scope, metric, border, options.seed)
    assert item.threshold is not None
    distance = interior_distance(label, options.metric, options.border)
    return np.where(blocks_above(distance, item.threshold), label, VOID).astype(np.uint8)


def _distances(item: _Work) -> Counter[float]:
    """How many pixels of an image are at each distance from the edge."""
    label = _dense(item)
    distance = interior_distance(label, item.options.metric, item.options.border)
    values, counts = np.unique(distance[label != VOID], return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def _threshold(histograms: Iterable[Counter[float]], ratio: float) -> float:
    """The distance from which on the kept part of all pixels is closest to the ratio."""
    pixels: Counter[float] = Counter()
    for histogram in histograms:
        pixels.update(histogram)
    if not pixels:
        raise ValueError("annotate: the data set must have labelled pixels, has none")
    distance = np.array(sorted(pixels, reverse=True))
    kept = np.cumsum([pixels[d] for d in distance])
    return float(distance[np.abs(kept / kept[-1] - ratio).argmin()])


def _each(function: Callable[[_Work], T], work: list[_Work], jobs: int, title: str) -> Iterable[T]:
    """The function's results in the order of the work, in processes if there are to be several."""
    if jobs == 1:
        yield from tqdm(map(function, work), title, len(work))
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from tqdm(pool.map(function, work, chunksize=4), title, len(work))


def _save(file: Path, image: Image.Image) -> None:
    temporary = file.with_name(f".{file.name}.tmp")
    image.save(temporary, format="PNG")
    temporary.replace(file)


def _write(file: Path, manifest: Manifest) -> None:
    temporary = file.with_name(f".{file.name}.tmp")
    temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    temporary.replace(file)
