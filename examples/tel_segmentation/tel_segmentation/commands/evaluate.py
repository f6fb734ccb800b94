"""The command ``tel evaluate``: metrics of a trained network on a split of a data set."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from tel_segmentation.config import Data
from tel_segmentation.data.folder import Folder
from tel_segmentation.data.image_files import some
from tel_segmentation.data.loading import check_place, dense, open_source
from tel_segmentation.data.reach import (
    absent_classes,
    check_training,
    check_truth,
    ignored_hint,
)
from tel_segmentation.data.sample import Sample, Source
from tel_segmentation.evaluation.evaluate_model import Postprocess, evaluate_model
from tel_segmentation.evaluation.postprocess import DenseCrf, LowTree
from tel_segmentation.evaluation.protocols import ProtocolOptions
from tel_segmentation.evaluation.trained import Trained, Which, load_trained
from tel_segmentation.runtime.checkpoint import write_text
from tel_segmentation.runtime.distributed import pick_device


@dataclass(frozen=True)
class DataOverride:
    """A data set other than the one that the network was trained on."""

    source: str | None = None
    """As in ``tel train``; it must have the classes of the checkpoint."""
    size: tuple[int, int] | None = None
    """Height and width to which images are resized for the network; by default as in training.
    They keep their aspect ratio if they did in training (--data.keep-aspect)."""


@dataclass(frozen=True)
class Evaluate(ProtocolOptions):
    """Evaluate a trained network on every image of a split."""

    run: Positional[Path]
    """A run's folder, or a checkpoint file."""
    data: DataOverride = field(default_factory=DataOverride)
    split: str = "val"
    """``train``, ``val``, ``test``, or any split that the data set has."""
    which: Which = "last"
    """The last iterate, or the best on the validation set (both with averaged weights if the run
    averages them); the last without averaging (raw), or the mean teacher (teacher)."""
    native: bool = False
    """Compare at the labels' original size instead of the network's input size."""
    crf: bool = False
    """Refine the prediction with a dense CRF (needs pydensecrf2)."""
    tree_sigma: float | None = None
    """Filter the prediction along the image's tree with this σ, as the tree energy loss does. If
    this worsens the prediction of a network trained without the loss, σ does not fit the images."""
    boundary: int | None = None
    """Half the width of the boundary band in pixels; by default as in training."""
    batch: int = 8
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``."""
    output: Path | None = None
    """JSON file; by default evaluation-SPLIT-WHICH.json beside the checkpoint."""


class NativeTruth:
    """A resized source whose truth keeps the original size of the labels."""

    def __init__(self, resized: Source, native: Source) -> None:
        self.classes, self.colors = resized.classes, resized.colors
        self.resized, self._native = resized, native

    def __len__(self) -> int:
        return len(self.resized)

    def __getitem__(self, index: int) -> Sample:
        return self.resized[index]._replace(truth=self._native[index].truth)


def run(options: Evaluate) -> dict[str, Any]:
    """The command ``tel evaluate``: prints a table, writes and returns the result.

    Raises:
        ValueError: the checkpoint cannot be used, or the data set has other classes.
    """
    trained = load_trained(options.run, options.which, options.device)
    source = _open(trained, options)
    _check_classes(trained, source, options)
    check_truth(source, options.split)
    if note := _check_labels(trained, source, options):
        print(note)
    postprocess: Postprocess | None = None
    if options.crf:
        postprocess = DenseCrf()
    elif options.tree_sigma is not None:
        postprocess = LowTree(options.tree_sigma)
    boundary = trained.config.boundary if options.boundary is None else options.boundary
    metrics = evaluate_model(
        trained.model,
        source,
        device=pick_device(options.device),
        batch=options.batch,
        boundary=boundary,
        evaluation=options.evaluation(trained.config),
        postprocess=postprocess,
    )
    size = options.data.size or trained.config.data.size
    metrics["protocol"] |= {"input": list(size) if size else None, "native": options.native}
    if size and trained.config.data.keep_aspect:
        metrics["protocol"]["keep_aspect"] = True
    result = {
        "checkpoint": trained.path.name,
        "which": options.which,
        "iteration": trained.iteration,
        "source": options.data.source or trained.config.data.source,
        "split": options.split,
        "classes": list(trained.classes),
        **metrics,
    }
    print(table(trained.classes, metrics))
    name = f"evaluation-{options.split}-{options.which}.json"
    output = options.output or trained.path.parent / name
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, json.dumps(result, indent=1) + "\n")
    print(f"written: {output}")
    return result


def _data(trained: Trained, options: Evaluate) -> Data:
    given = {name: value for name, value in vars(options.data).items() if value is not None}
    data = dataclasses.replace(trained.config.data, **given)
    if "source" in given:
        data = dataclasses.replace(data, holdout=0.0)  # of the training's data set
    check_place(data)
    if not (data.holdout and options.split == "val"):  # held out images may have no dense labels
        data = dense(data)
    return data


def _open(trained: Trained, options: Evaluate) -> Source:
    data = _data(trained, options)
    source = open_source(data, options.split, trained.config.seed)
    if not options.native:
        return source
    unresized = dataclasses.replace(data, size=None)
    return NativeTruth(source, open_source(unresized, options.split, trained.config.seed))


def _check_labels(trained: Trained, source: Source, options: Evaluate) -> str:
    """A line on classes that the split lacks, of a user's own data set; empty if there are none.

    Raises:
        ValueError: a class has no label in the training set, or the split has fewer than two
            classes, so that every result would look good.
    """
    source = source.resized if isinstance(source, NativeTruth) else source
    if not isinstance(source, Folder):
        return ""
    training: Source | None = None
    own = dataclasses.replace(trained.config.data, source=str(source.info.path))
    with contextlib.suppress(ValueError, OSError):  # the training images may be elsewhere now
        training = open_source(own, "train", trained.config.seed)
    if training is not None:
        check_training(training, own)
    absent = absent_classes(source)
    if len(absent) > len(source.classes) - 2:
        raise ValueError(
            f"{options.split} must have pixels of at least two classes, has none of"
            f" {some(absent)}{ignored_hint(source, [source.classes.index(x) for x in absent])}"
        )
    return f"{options.split} has no pixel of {some(absent)}" if absent else ""


def _check_classes(trained: Trained, source: Source, options: Evaluate) -> None:
    if tuple(source.classes) != trained.classes:
        raise ValueError(
            f"the data set must have the classes of {trained.path} in its order,"
            f" {', '.join(trained.classes)}; got {', '.join(source.classes)}"
        )
    if not len(source):
        raise ValueError(f"split must have images, got none in {options.split!r}")


def table(classes: Sequence[str], metrics: dict[str, Any]) -> str:
    """The metrics in percent, a line per class."""
    width = max(map(len, [*classes, "boundary mIoU"]))
    lines = [*zip(classes, metrics["iou"], strict=True), ("", None)]
    lines += [
        ("mIoU", metrics["miou"]),
        ("boundary mIoU", metrics["boundary_miou"]),
        ("accuracy", metrics["accuracy"]),
    ]
    return "\n".join(
        "" if not name else f"{name:<{width}}  {'–' if value is None else f'{100 * value:.2f}':>6}"
        for name, value in lines
    )
