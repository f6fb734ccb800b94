"""From a network and a split to numbers: ``evaluate_model``, and the command ``tel evaluate``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm
from tyro.conf import Positional

from tel_segmentation.checkpoint import write_text
from tel_segmentation.config import Evaluation
from tel_segmentation.data import Sample, Source, open_source
from tel_segmentation.distributed import pick_device
from tel_segmentation.metrics import ConfusionMatrix, boundary_band
from tel_segmentation.protocols import ProtocolOptions, predict_logits, resized, sides
from tel_segmentation.trained import Trained, Which, load_trained

Postprocess = Callable[[Tensor, Tensor], Tensor]
"""Image (3, H, W) uint8 and probabilities (K, H, W) → probabilities (K, H, W)."""


@dataclass(frozen=True)
class DataOverride:
    """Another data set than the one the checkpoint was trained on."""

    source: str | None = None
    """As in ``tel train``; its classes must be the checkpoint's."""
    size: tuple[int, int] | None = None
    """Height and width to which images are resized for the network; by default as in training."""


@dataclass(frozen=True)
class Evaluate(ProtocolOptions):
    """Evaluate a trained network on every image of a split."""

    run: Positional[Path]
    """A run's folder, or a checkpoint file."""
    data: DataOverride = field(default_factory=DataOverride)
    split: str = "val"
    """``train``, ``val``, ``test``, or any split that the data set has."""
    which: Which = "last"
    """The last iterate or the best on the validation set (the average of the weights where the run
    keeps one), the last without averaging (raw), or the mean teacher (teacher)."""
    native: bool = False
    """Compare at the labels' original size, not at the network's input size."""
    crf: bool = False
    """Sharpen with a dense CRF (needs pydensecrf2)."""
    tree_sigma: float | None = None
    """Filter the prediction along the image's tree with this σ, as the tree energy loss does. A σ
    that makes the prediction of a network without the loss worse does not fit the images."""
    boundary: int | None = None
    """Half the width of the boundary band in pixels; by default as in training."""
    batch: int = 8
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``."""
    output: Path | None = None
    """JSON file; by default evaluation-SPLIT-WHICH.json beside the checkpoint."""


@torch.no_grad()
def evaluate_model(
    model: nn.Module,
    source: Source,
    *,
    device: torch.device | str,
    batch: int = 8,
    boundary: int = 3,
    evaluation: Evaluation | None = None,
    postprocess: Postprocess | None = None,
    progress: bool = True,
    rank: int = 0,
    world: int = 1,
) -> dict[str, Any]:
    """Metrics over every image of a source, each whole and counted once.

    With several processes each takes every ``world``-th image and the counts are summed, so that
    no image is counted twice; every process gets the same result. The model's train or eval mode
    is restored.

    Args:
        model: on ``device``.
        source: whose truth is compared with; it may be of another size than the image.
        device: where the model runs and pixels are counted.
        batch: images at once; images of different sizes are never in one batch.
        boundary: half the width of the boundary band in pixels of the truth.
        evaluation: the protocol; by default the images as they are.
        postprocess: applied to each image's probabilities (on the CPU).
        progress: show a bar (on rank 0).
        rank: of this process.
        world: number of processes.

    Returns:
        ``miou``, ``accuracy``, ``boundary_miou``, ``iou`` (per class; None where a class occurs
        nowhere), ``images`` and ``protocol``. The caller knows the iteration.
    """
    evaluation = evaluation or Evaluation()
    whole, band = (ConfusionMatrix(len(source.classes), device) for _ in range(2))
    was_training = model.training
    model.eval()
    mine = range(rank, len(source), world)
    try:
        with tqdm(total=len(mine), unit="img", desc="evaluate", leave=False,
                  disable=not progress or rank > 0) as bar:  # fmt: skip
            for samples in _batches(source, mine, batch):
                images = torch.stack([sample.image for sample in samples]).to(device)
                truth = torch.stack([sample.truth for sample in samples]).to(device)
                logits = predict_logits(model, images, evaluation, sides(truth))
                prediction = _decide(logits, images, postprocess)
                whole.update(prediction, truth)
                near = boundary_band(truth, boundary)
                band.update(prediction[near], truth[near])
                bar.update(len(samples))
    finally:
        model.train(was_training)
    if world > 1:
        whole.all_reduce()
        band.all_reduce()
    return {
        "miou": whole.miou(),
        "accuracy": whole.accuracy(),
        "boundary_miou": band.miou(),
        "iou": whole.iou(),
        "images": len(source),
        "protocol": {
            **_described(evaluation),
            "postprocess": getattr(postprocess, "name", None) if postprocess else None,
            "boundary": boundary,
        },
    }


def _described(evaluation: Evaluation) -> dict[str, Any]:
    """A protocol as records have it: only what counts for it."""
    described: dict[str, Any] = {"protocol": evaluation.protocol}
    if evaluation.multiple > 1:
        described["multiple"] = evaluation.multiple
    if evaluation.protocol != "native":
        described["size"] = list(evaluation.size or ())
    if evaluation.protocol == "sliding":
        described["overlap"] = evaluation.overlap
    return {**described, "scales": list(evaluation.scales), "flip": evaluation.flip}


def _batches(source: Source, indices: range, batch: int) -> Iterator[list[Sample]]:
    """Consecutive samples whose images and truths have the same sizes, at most ``batch``."""
    samples: list[Sample] = []
    for index in indices:
        sample = source[index]
        same = not samples or all(
            old.shape == new.shape
            for old, new in ((samples[0].image, sample.image), (samples[0].truth, sample.truth))
        )
        if samples and (len(samples) == batch or not same):
            yield samples
            samples = []
        samples.append(sample)
    if samples:
        yield samples


def _decide(logits: Tensor, images: Tensor, postprocess: Postprocess | None) -> Tensor:
    if postprocess is None:
        return logits.argmax(1)
    size = sides(logits)
    guides = resized(images.float(), size).round().clamp(0, 255).to(torch.uint8).cpu()
    probabilities = logits.softmax(1).cpu()
    labels = [
        postprocess(guide, each).argmax(0)
        for guide, each in zip(guides, probabilities, strict=True)
    ]
    return torch.stack(labels).to(logits.device)


class NativeTruth:
    """A resized source whose truth has the labels' original size."""

    def __init__(self, resized: Source, native: Source) -> None:
        self.classes, self.colors = resized.classes, resized.colors
        self._resized, self._native = resized, native

    def __len__(self) -> int:
        return len(self._resized)

    def __getitem__(self, index: int) -> Sample:
        return self._resized[index]._replace(truth=self._native[index].truth)


def run(options: Evaluate) -> dict[str, Any]:
    """The command ``tel evaluate``: prints a table, writes and returns the result.

    Raises:
        ValueError: the checkpoint cannot be used, or the data set has other classes than it.
    """
    trained = load_trained(options.run, options.which, options.device)
    source = _open(trained, options)
    _check_classes(trained, source, options)
    postprocess: Postprocess | None = None
    if options.crf:
        from tel_segmentation.postprocess import DenseCrf

        postprocess = DenseCrf()
    elif options.tree_sigma is not None:
        from tel_segmentation.postprocess import LowTree

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


def _open(trained: Trained, options: Evaluate) -> Source:
    given = {name: value for name, value in vars(options.data).items() if value is not None}
    data = dataclasses.replace(trained.config.data, annotation="dense", **given)
    source = open_source(data, options.split, trained.config.seed)
    if not options.native:
        return source
    unresized = dataclasses.replace(data, size=None)
    return NativeTruth(source, open_source(unresized, options.split, trained.config.seed))


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
