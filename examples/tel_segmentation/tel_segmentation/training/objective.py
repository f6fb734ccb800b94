"""The network and its loss as one module, which DistributedDataParallel can wrap."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tel_segmentation import config
from tel_segmentation.data.sample import size_of
from tel_segmentation.data.sparse_labels import resize_labels
from tel_segmentation.losses import methods
from tel_segmentation.losses.cross_entropy import PartialCrossEntropy
from tel_segmentation.losses.inputs import LossInputs, LossOutput, nearest_label
from tel_segmentation.networks.segmenter import Prediction, build_model


class StepOutput(NamedTuple):
    """The loss of a batch with its terms, the prediction, and the output of the method's term."""

    loss: Tensor
    parts: dict[str, Tensor]  # the terms, detached, not weighted
    prediction: Prediction
    term: LossOutput | None


class Objective(nn.Module):
    """``loss_seg + λ(t) · term`` of a network on a batch."""

    def __init__(self, options: config.Train, num_classes: int) -> None:
        super().__init__()
        self.options = options
        self.model = build_model(options.model, num_classes, embed=needs_embedding(options.loss))
        self.cross_entropy = PartialCrossEntropy(options.loss.reduction)
        loss = dataclasses.replace(options.loss, teacher_ramp=teacher_ramp(options))
        self.term, self.weight = methods.term(loss)

    def forward(
        self,
        image: Tensor,
        guide: Tensor,
        label: Tensor,
        iteration: int,
        teachers: tuple[Tensor, ...] = (),
    ) -> StepOutput:
        """The loss of a batch; ``data.sample.Batch`` has the shapes."""
        prediction: Prediction = self.model(image)
        seg: Tensor
        if self.options.loss.resolution == "full":
            seg = self.cross_entropy(prediction.full, label)
        else:
            logits = prediction.logits
            kept = self.options.data.labels == "kept"
            smaller = (resize_labels if kept else nearest_label)(label, size_of(logits))
            seg = self.cross_entropy(logits, smaller)
        parts = {"loss_seg": seg.detach()}
        # If this loss is not finite, the step's own check reports it; the term would raise first.
        if self.term is None or (not seg.is_cuda and not torch.isfinite(seg)):
            return StepOutput(seg, parts, prediction, None)
        output: LossOutput = self.term(
            LossInputs(prediction.logits, prediction.embed, guide, label, iteration, teachers)
        )
        parts[f"loss_{self.options.loss.method}"] = output.loss.detach()
        factor = self.weight * schedule(self.options, iteration)
        loss = seg + factor * output.loss if factor else seg
        return StepOutput(loss, parts, prediction, output)


def needs_embedding(options: config.Loss) -> bool:
    """Whether the method uses the embedding F; the branch is not built otherwise."""
    return options.method == "non_local" or (
        options.method in ("tel", "seminar_lite") and "high" in options.tel.level
    )


def schedule(options: config.Train, iteration: int) -> float:
    """The term's factor over time: 0 in the warm-up, then a linear ramp, then 1."""
    since = iteration / options.iterations - options.loss.warmup
    if since < 0:
        return 0.0
    return min(1.0, since / options.loss.ramp) if options.loss.ramp else 1.0


def teacher_ramp(options: config.Train) -> int:
    """Iterations until the consistency with the mean teacher has its full weight."""
    part = options.loss.teacher_ramp_part
    return options.loss.teacher_ramp if part is None else round(part * options.iterations)
