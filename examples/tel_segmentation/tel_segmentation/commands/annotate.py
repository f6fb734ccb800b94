"""``tel annotate``: points, scribbles or blocks from the dense labels of a data set.

In the same folder, ``manifest.json`` records how the annotations were made and how many pixels they
label, and ``contact_sheet.png`` shows some of them. A file depends only on the options and on the
image's name, not on the order or the number of processes. An interrupted run continues: existing
files are kept, but a file that contradicts the dense labels, which may have changed, is an error.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image

from tel_segmentation.commands.contact_sheet import VOID_COLOR, contact_sheet
from tel_segmentation.commands.dense_labels import DenseLabels, open_dense
from tel_segmentation.data.annotations import points, scribbles
from tel_segmentation.data.blocks import Ties, blocks, blocks_above, interior_distance
from tel_segmentation.data.image_files import expanded, some, visible
from tel_segmentation.data.manifest import (
    MANIFEST,
    SHEET,
    Count,
    Manifest,
    difference,
    measured,
    read_manifest,
    summary,
)
from tel_segmentation.data.regions import VOID, Metric
from tel_segmentation.runtime.checkpoint import temporary_for
from tel_segmentation.runtime.workers import each

Kind = Literal["point", "scribble", "block"]
Scope = Literal["component", "class", "image", "dataset"]
Label = NDArray[np.uint8]


@dataclass(frozen=True)
class Annotate:
    """Make sparse annotations from the dense labels of a data set."""

    data: tyro.conf.Positional[str]
    """The data set's TOML file, or voc:FOLDER, cityscapes:FOLDER, ade20k:FOLDER."""
    kind: Kind = "point"
    """One point or one scribble in every object (connected pixels of a class), or blocks: the
    pixels that remain when labels are removed from the edges of the objects inwards."""
    split: str = "train"
    ratio: float = 0.2
    """Fraction of the pixels that keep their label (blocks)."""
    scope: Scope = "component"
    """Where this fraction is kept (blocks): in every connected object, in every class of an image,
    in every image, or in the whole data set, with one threshold on the distance from the edge. With
    image and dataset, small and thin objects lose all of their labels; losses on unlabelled pixels
    then give them wrong classes."""
    metric: Metric = "edt"
    """How the distance to the edge is measured (blocks)."""
    border: bool = False
    """Whether the border of the image counts as an edge (blocks)."""
    ties: Ties = "hash"
    """Which pixels at the same distance from the edge keep their labels (blocks of any scope except
    dataset): those chosen by a hash of their position and the seed, or those in the upper rows."""
    width: int = 3
    """Width of a scribble, in pixels."""
    seed: int = 0
    encoding: Literal["auto", "labelIds", "trainIds"] = "auto"
    """Which label files of Cityscapes are read. Annotations use the same numbers as the labels that
    they are made from."""
    output: Path | None = None
    """Folder for the annotations. By default annotations/NAME/SPLIT beside the TOML file or in the
    data set's folder; NAME is point, scribble, block20 (20 % of every object) or, with another
    scope, block20-image. Training accepts a NAME or any folder as --data.annotation (for Pascal
    VOC, point and scribble name the published annotations: give the folder of yours)."""
    jobs: int = 1
    """Number of processes."""
    overwrite: bool = False
    """Replace annotations that were made with other options."""


class _Work(NamedTuple):
    """One file to make, with everything that a process needs for it except the labels."""

    name: str
    number: int
    output: Path
    options: Annotate
    threshold: float | None = None  # on the distance to the edge, for the whole data set


def run(options: Annotate) -> None:
    """Makes the annotations, their manifest and the contact sheet; prints how much is labelled.

    Raises:
        ValueError: an option, the data set or a label is invalid; or the output folder contains
            other files, or annotations made with other options or from other labels.
        OSError: a file cannot be written.
    """
    _check(options)
    dense = open_dense(str(options.data), options.split, options.encoding)
    work = _plan(dense, options)
    output = work[0].output.parent
    recipe = {**_recipe(options), **dense.recipe}
    _prepare(output, recipe, work, options.overwrite)
    if options.kind == "block" and options.scope == "dataset":
        distances = each(_distances, dense, work, options.jobs, "distances")
        threshold = _threshold(distances, options.ratio)
        work = [item._replace(threshold=threshold) for item in work]
    counts = list(each(_make, dense, work, options.jobs, "annotations"))
    result = measured(dense.source.classes, [item.name for item in work], counts)
    _write(output / MANIFEST, {**recipe, "threshold": work[0].threshold, **result})
    shown = [work[i] for i in sorted({int(i) for i in np.linspace(0, len(work) - 1, 12)})]
    sheet = contact_sheet(
        dense.source,
        [
            (item.name, *dense.read(item.number), dense.read_annotation(item.output))
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


def _plan(dense: DenseLabels, options: Annotate) -> list[_Work]:
    names = dense.source.names
    if SHEET in names:
        raise ValueError(f"image {SHEET} must have another name: this is the contact sheet's name")
    folder = options.output or dense.base / "annotations" / name_of(options) / options.split
    folder = expanded(folder)
    return [_Work(name, i, folder / f"{name}.png", options) for i, name in enumerate(names)]


def _recipe(options: Annotate) -> Manifest:
    """The options that the annotations depend on."""
    used = {
        "point": (),
        "scribble": ("width",),
        "block": ("ratio", "scope", "metric", "border", "ties"),
    }[options.kind]
    names = ("kind", "split", *used, "seed")
    values = dataclasses.asdict(options)
    return {"options": {name: values[name] for name in names}}


def _prepare(output: Path, recipe: Manifest, work: list[_Work], overwrite: bool) -> None:
    """Makes the folder and its manifest; with ``overwrite``, removes existing annotations."""
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


def _make(dense: DenseLabels, item: _Work) -> Count:
    """Writes one annotation, unless it exists, and counts its labels."""
    label = dense.read(item.number)[1]
    if item.output.exists():
        annotation = dense.read_annotation(item.output)
        if annotation.shape != label.shape:
            raise ValueError(f"{item.output} must have the size of its image, got another size")
        wrong = np.count_nonzero((annotation != VOID) & (annotation != label))
        if wrong:
            raise ValueError(
                f"{item.output} must agree with the current dense labels, got {wrong} pixels of"
                " another class: replace all annotations with --overwrite, or delete this one"
            )
    else:
        annotation = _annotation(item, label)
        image = Image.fromarray(dense.encoding.encode(annotation))
        image.putpalette(dense.encoding.palette(dense.source.colors, VOID_COLOR))
        _save(item.output, image)
    count = len(dense.source.classes)
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
        return blocks(label, ratio, options.scope, metric, border, options.seed, options.ties)
    assert item.threshold is not None
    distance = interior_distance(label, options.metric, options.border)
    return np.where(blocks_above(distance, item.threshold), label, VOID).astype(np.uint8)


def _distances(dense: DenseLabels, item: _Work) -> Counter[float]:
    """The number of pixels of an image at each distance from the edge."""
    label = dense.read(item.number)[1]
    distance = interior_distance(label, item.options.metric, item.options.border)
    values, counts = np.unique(distance[label != VOID], return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def _threshold(histograms: Iterable[Counter[float]], ratio: float) -> float:
    """The smallest distance to keep, so that the kept part of all pixels is closest to ratio."""
    pixels: Counter[float] = Counter()
    for histogram in histograms:
        pixels.update(histogram)
    if not pixels:
        raise ValueError("annotate: the data set must have labelled pixels, has none")
    distance = np.array(sorted(pixels, reverse=True))
    kept = np.cumsum([pixels[d] for d in distance])
    return float(distance[np.abs(kept / kept[-1] - ratio).argmin()])


def _save(file: Path, image: Image.Image) -> None:
    temporary = temporary_for(file)
    image.save(temporary, format="PNG")
    temporary.replace(file)


def _write(file: Path, manifest: Manifest) -> None:
    temporary = temporary_for(file)
    temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    temporary.replace(file)
