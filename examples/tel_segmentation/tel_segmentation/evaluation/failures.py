"""The images on which a network is worst, as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import nn

from tel_segmentation.config import Evaluation
from tel_segmentation.data.sample import Source, size_of
from tel_segmentation.evaluation.pictures import failure
from tel_segmentation.evaluation.protocols import predict_logits


class Failure(NamedTuple):
    """An image with a low score."""

    name: str
    miou: float
    picture: Image.Image
    """See ``pictures.failure``."""


def worst(scores: Sequence[float | None], count: int) -> list[tuple[int, float]]:
    """Index and score of the lowest scores, the lowest first; at most ``count``.

    >>> worst([0.5, None, 0.2, 0.9], 2)
    [(2, 0.2), (0, 0.5)]
    """
    known = [(index, score) for index, score in enumerate(scores) if score is not None]
    return sorted(known, key=lambda each: each[1])[:count]


@torch.no_grad()
def pictures(
    model: nn.Module,
    source: Source,
    chosen: Iterable[tuple[int, float]],
    evaluation: Evaluation,
    device: torch.device,
) -> list[Failure]:
    """A picture of each chosen image, predicted as in the evaluation.

    Args:
        model: on ``device``; its mode is restored.
        source: the evaluated images.
        chosen: index and mIoU of the images.
        evaluation: the protocol.
        device: where the model runs.
    """
    was_training = model.training
    model.eval()
    shown = []
    for index, miou in chosen:
        sample = source[index]
        logits = predict_logits(
            model, sample.image[None].to(device), evaluation, size_of(sample.truth)
        )
        picture = failure(sample.image, sample.truth, logits[0].argmax(0), source.colors)
        shown.append(Failure(sample.name, miou, picture))
    model.train(was_training)
    return shown
