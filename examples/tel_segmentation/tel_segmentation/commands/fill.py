"""``tel fill``: dense labels from clicks along the trees of the images, without any training.

The result is an annotation of its own: look at it, train with it, or use it as the number that a
network has to beat. Where a split has dense labels, the command says how good the result is, and
writes a record: ``tel report RUNS annotations/NAME-filled`` shows it beside the networks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tyro.conf import Positional

from tel_segmentation import config
from tel_segmentation.data.folder import Folder
from tel_segmentation.data.image_files import some
from tel_segmentation.data.manifest import MANIFEST, read_manifest
from tel_segmentation.data.regions import VOID
from tel_segmentation.data.sample import UNLABELLED
from tel_segmentation.data.sparse_labels import resize_label
from tel_segmentation.evaluation.fill import fill
from tel_segmentation.evaluation.metrics import ConfusionMatrix, boundary_band
from tel_segmentation.runtime.checkpoint import temporary_for
from tel_segmentation.runtime.run_folder import RESULT
from tel_segmentation.runtime.workers import each
from tel_segmentation.training import record

BOUNDARY = config.Train.boundary
CONFIDENCE = "confidence"  # the folder of the maps of confidence


@dataclass(frozen=True)
class Fill:
    """Spread sparse labels along the trees of the images: dense labels in a second an image."""

    data: Positional[Path]
    """The data set's TOML file."""
    annotation: str = "point"
    """The sparse labels, as --data.annotation."""
    split: str = "train"
    sigma: float | None = None
    """Width σ of the trees, as --loss.tel.sigma. By default chosen for each image: the σ at which
    half of its pixels average over --mass of the image or more."""
    mass: float = 0.005
    """A share of an image, see --sigma."""
    side: int = 1024
    """Longer side, in pixels, at which larger images are filled; the result has the image's size
    again. 0: never smaller."""
    least: float = 0.0
    """Pixels that are less confident stay unlabelled; in [0, 1]. The confidence is the part of the
    labels' votes that the class has got: how much they agree, not how near they are."""
    output: Path | None = None
    """Folder for the labels; by default annotations/NAME-filled/SPLIT beside the TOML file. Its
    folder confidence has the confidence of each image, 0 to 255."""
    jobs: int = 1
    """Number of processes."""
    overwrite: bool = False
    """Replace files that exist."""


class _Work(NamedTuple):
    source: Folder
    options: Fill
    output: Path


def run(options: Fill) -> None:
    """Fills all images of a split; prints how much is labelled, and how well where that is known.

    Raises:
        ValueError: an option, the data set or a label is invalid, or files exist.
        OSError: a file cannot be written.
    """
    _check(options)
    source = Folder(options.data.expanduser(), options.split, options.annotation)
    name = f"{Path(options.annotation).name}-filled"
    beside = source.info.path.parent / "annotations" / name / options.split
    output = (options.output or beside).expanduser()
    if output == source.annotation_folder:
        raise ValueError(f"output must be another folder than that of the annotation, got {output}")
    there = [n for n in source.names if (output / f"{n}.png").exists()]
    if there and not options.overwrite:
        raise ValueError(
            f"{output} must not have labels yet, or give --overwrite; has {some(there)}"
        )
    try:
        (output / CONFIDENCE).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{output} cannot be written ({error}); choose another --output") from error
    whole, band = (ConfusionMatrix(len(source.classes)) for _ in range(2))
    filled = pixels = 0
    empty = []
    work = list(range(len(source)))
    parts = each(_make, _Work(source, options, output), work, options.jobs, "fill")
    for sample_name, (labelled, total, found, near) in zip(source.names, parts, strict=True):
        filled, pixels = filled + labelled, pixels + total
        whole.counts += found
        band.counts += near
        empty += [] if labelled else [sample_name]
    miou, accuracy = whole.miou(), whole.accuracy()
    made = {
        "options": {
            "kind": "fill",
            "annotation": options.annotation,
            **{key: getattr(options, key) for key in ("split", "sigma", "mass", "side", "least")},
        },
        "classes": list(source.classes),
        "ratio": round(filled / max(1, pixels), 6),
        "miou": miou,
        "accuracy": accuracy,
        "iou": dict(zip(source.classes, whole.iou(), strict=True)),
        "from": _provenance(source),
    }
    (output / MANIFEST).write_text(json.dumps(made, indent=1), encoding="utf-8")
    print(f"{output}: {100 * filled / max(1, pixels):.1f} % of the pixels of {len(work)} images")
    if empty:
        print(f"note: no label to spread in {some(empty)}")
    (output / RESULT).unlink(missing_ok=True)
    if miou is not None and accuracy is not None:
        print(f"against the dense labels: mIoU {100 * miou:.1f}, accuracy {100 * accuracy:.1f}")
        record.write(output, _record(source, options, name, whole, band))
    print(f"Next: tel train photos --data.source {options.data} --data.annotation {name}")


def _record(
    source: Folder, options: Fill, name: str, whole: ConfusionMatrix, band: ConfusionMatrix
) -> dict[str, Any]:
    """The result in the form of a run's record, for reports.

    Networks are evaluated on the split val. Another split is an experiment of its own.
    """
    like = config.Train(data=config.Data(str(source.info.path), options.annotation))
    experiment = record.default_experiment(like)
    metrics = {
        "miou": whole.miou(),
        "accuracy": whole.accuracy(),
        "boundary_miou": band.miou(),
        "iou": whole.iou(),
    }
    evaluation = {"split": options.split, "last": metrics, "confusion": whole.counts.tolist()}
    return {
        "name": name,
        "experiment": experiment if options.split == "val" else f"{experiment}/{options.split}",
        "method": "tel fill, no training",
        "seed": 0,
        "finished": True,
        "iterations": 0,
        "classes": list(source.classes),
        "colors": [list(color) for color in source.colors],
        "evaluation": evaluation,
        "config": {"loss": {"method": "fill"}, "data": {"source": source.info.path.name}},
    }


def _provenance(source: Folder) -> object:
    """How the sparse labels were made, if they have a manifest."""
    folder = source.annotation_folder
    manifest = read_manifest(folder / MANIFEST) if folder else None
    return manifest["options"] if manifest else None


def _check(options: Fill) -> None:
    if options.sigma is not None and not options.sigma > 0:
        raise ValueError(f"sigma must be above 0, got {options.sigma}")
    if not 0 < options.mass <= 1 or not 0 <= options.least <= 1:
        raise ValueError(
            f"mass must be in (0, 1] and least in [0, 1], got {options.mass} and {options.least}"
        )
    for name, least in (("side", 0), ("jobs", 1)):
        if getattr(options, name) < least:
            raise ValueError(f"{name} must be at least {least}, got {getattr(options, name)}")


def _make(work: _Work, index: int) -> tuple[int, int, Tensor, Tensor]:
    """Fills an image; returns its labelled pixels, all pixels, and truth × result where known.

    The last one is of the pixels near a border alone.
    """
    if work.options.jobs > 1:
        torch.set_num_threads(1)  # the processes share the cores
    sample = work.source[index]
    options, size = work.options, tuple(sample.label.shape)
    scale = min(1.0, options.side / max(size)) if options.side else 1.0
    height, width = (max(1, round(scale * side)) for side in size)
    image, label = sample.image, sample.label
    if scale < 1:
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        smaller = np.array(picture.resize((width, height), Image.Resampling.BICUBIC))
        image = torch.from_numpy(smaller).permute(2, 0, 1)
        label = torch.from_numpy(resize_label(label.numpy(), (height, width), True))
    filled = fill(image, label, options.sigma, options.mass)
    result = filled.label.masked_fill(filled.confidence < options.least, UNLABELLED)
    grey = (255 * filled.confidence).round()
    maps = torch.stack([torch.where(result < 0, VOID, result), grey]).to(torch.uint8)
    full, grey = F.interpolate(maps[None], size=size, mode="nearest-exact")[0]
    full = torch.where(sample.label >= 0, sample.label.to(torch.uint8), full)
    _save(work, sample.name, full, grey)
    whole, band = (ConfusionMatrix(len(work.source.classes)) for _ in range(2))
    different = work.source.annotation_folder is not None  # otherwise truth is what was given
    if different and bool((sample.truth >= 0).any()):
        truth = torch.where(full == VOID, UNLABELLED, sample.truth)
        near = boundary_band(truth, BOUNDARY)
        whole.update(full, truth)
        band.update(full[near], truth[near])
    return int((full != VOID).sum()), full.numel(), whole.counts, band.counts


def _save(work: _Work, name: str, result: Tensor, confidence: Tensor) -> None:
    label, grey = Image.fromarray(result.numpy()), Image.fromarray(confidence.numpy())
    colors = [channel for color in work.source.colors for channel in color]
    label.putpalette(colors + [255] * (768 - len(colors)))
    for folder, picture in ((work.output / CONFIDENCE, grey), (work.output, label)):
        file = folder / f"{name}.png"
        temporary = temporary_for(file)
        picture.save(temporary, format="PNG")
        temporary.replace(file)
