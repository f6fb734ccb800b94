"""Metrics of a network on a split of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tel_segmentation.config import Evaluation
from tel_segmentation.data.sample import Sample, Source, size_of
from tel_segmentation.evaluation.metrics import ConfusionMatrix, boundary_band
from tel_segmentation.evaluation.protocols import predict_logits, resized
from tel_segmentation.runtime.distributed import summed
from tel_segmentation.runtime.progress import shown_progress

Postprocess = Callable[[Tensor, Tensor], Tensor]
"""Image (3, H, W) uint8 and probabilities (K, H, W) → probabilities (K, H, W)."""


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
    """Metrics over all images of a source; each image is evaluated whole, and once.

    With several processes, each evaluates every ``world``-th image, and the counts are summed. So
    no image is counted twice, and every process gets the same result. The model's train or eval
    mode is restored.

    Args:
        model: on ``device``.
        source: the images and their truth, which may have another size than its image.
        device: where the model runs and pixels are counted.
        batch: images at once; images of different sizes are never in one batch.
        boundary: half the width of the boundary band in pixels of the truth.
        evaluation: the protocol; by default each image at its own size.
        postprocess: applied to each image's probabilities (on the CPU).
        progress: show the progress (on rank 0).
        rank: the number of this process.
        world: number of processes.

    Returns:
        ``miou``, ``accuracy``, ``boundary_miou``, ``iou`` (per class; None where a class occurs
        nowhere), ``images``, ``protocol``, ``confusion`` (pixels, truth × prediction) and
        ``image_miou`` (of each image alone; None where no pixel has a class).
    """
    evaluation = evaluation or Evaluation()
    whole, band = (ConfusionMatrix(len(source.classes), device) for _ in range(2))
    alone = torch.zeros(len(source), dtype=torch.float64, device=device)
    was_training = model.training
    model.eval()
    mine = range(rank, len(source), world)
    done = 0
    try:
        with shown_progress(len(mine), "evaluate", "images", shown=progress and rank == 0) as bar:
            for samples in _batches(source, mine, batch):
                images = torch.stack([sample.image for sample in samples]).to(device)
                truth = torch.stack([sample.truth for sample in samples]).to(device)
                logits = predict_logits(model, images, evaluation, size_of(truth))
                prediction = _decide(logits, images, postprocess)
                for one, true in zip(prediction, truth, strict=True):
                    image = ConfusionMatrix(len(source.classes), device)
                    image.update(one, true)
                    whole.merge(image)
                    alone[mine[done]] = _or_nan(image.miou())
                    done += 1
                near = boundary_band(truth, boundary)
                band.update(prediction[near], truth[near])
                bar.update(len(samples))
    finally:
        model.train(was_training)
    if world > 1:
        whole.all_reduce()
        band.all_reduce()
        alone = summed(alone)
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
        "confusion": whole.counts.tolist(),
        "image_miou": [None if math.isnan(value) else value for value in alone.tolist()],
    }


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _described(evaluation: Evaluation) -> dict[str, Any]:
    """A protocol as it is written to records: only the options that have an effect in it."""
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
        return logits.max(1).indices  # a seventh of the time of argmax on a CPU
    size = size_of(logits)
    photographs = resized(images.float(), size).round().clamp(0, 255).to(torch.uint8).cpu()
    probabilities = logits.softmax(1).cpu()
    labels = [
        postprocess(photograph, each).argmax(0)
        for photograph, each in zip(photographs, probabilities, strict=True)
    ]
    return torch.stack(labels).to(logits.device)
