"""Numbers and pictures that show how a run trains.

Losses, speed, and the accuracy of the prediction P and the pseudo label Ỹ on unlabelled pixels
(paper, Fig. 7). This is the only use of the dense truth in training.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tel_segmentation import config
from tel_segmentation.data.augment import normalize
from tel_segmentation.data.sample import Batch, Source, size_of
from tel_segmentation.evaluation.metrics import ConfusionMatrix
from tel_segmentation.evaluation.pictures import panel
from tel_segmentation.losses.inputs import LossInputs, unlabelled_region
from tel_segmentation.networks.segmenter import SMALLEST
from tel_segmentation.runtime import distributed
from tel_segmentation.training.objective import Objective, StepOutput

LARGEST = 640  # side of a picture that is drawn while training


class Window:
    """Means over the iterations since the last line of the history."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes, self.device = num_classes, device
        self.reset()

    def reset(self) -> None:
        """Forgets all numbers and restarts the clock."""
        self.sums: dict[str, float] = {}
        self.batches = 0
        self.images = 0
        self.started = time.perf_counter()
        self.prediction = ConfusionMatrix(self.num_classes, self.device)
        self.pseudo = ConfusionMatrix(self.num_classes, self.device)

    def add(self, batch: Batch, output: StepOutput) -> None:
        """Adds the numbers of one batch."""
        values = {"loss": output.loss.detach(), **output.parts}
        if output.term is not None:
            values |= output.term.logs
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.batches += 1
        self.images += len(batch.names)
        self._compare(batch, output)

    def _compare(self, batch: Batch, output: StepOutput) -> None:
        logits = output.prediction.logits.detach()
        size = size_of(logits)
        region = unlabelled_region(batch.label, size)[:, 0]
        truth = F.interpolate(batch.truth[:, None].float(), size=size, mode="nearest")[:, 0].long()
        truth = truth.masked_fill(~region, -1)
        self.prediction.update(logits.argmax(1), truth)
        if output.term is not None and "final" in output.term.pseudo:
            self.pseudo.update(output.term.pseudo["final"].argmax(1), truth)

    def line(self) -> dict[str, float]:
        """The window's means, over all processes."""
        seconds = time.perf_counter() - self.started
        world = distributed.world()[1]
        sums = distributed.summed(torch.tensor(list(self.sums.values()), device=self.device))
        means = (sums / (self.batches * world)).tolist()
        result = dict(zip(self.sums, means, strict=True))
        result["images_per_second"] = self.images * world / seconds
        for matrix in (self.prediction, self.pseudo):
            matrix.all_reduce()
        for name, matrix in (("prediction", self.prediction), ("pseudo", self.pseudo)):
            accuracy, miou = matrix.accuracy(), matrix.miou()
            if accuracy is not None and miou is not None:
                result |= {f"accuracy_{name}": accuracy, f"miou_{name}": miou}
        return result


class Labels:
    """Whether any label reaches the network; without one, nothing is learnt.

    Args:
        options: of the run.
        epoch: iterations in which every image is used.
    """

    def __init__(self, options: config.Train, epoch: float) -> None:
        self.options, self.epoch = options, epoch
        self.seen = self.checked = False

    def check(self, batches: list[Batch], done: int, device: torch.device) -> None:
        """Looks at the labels of an iteration.

        Args:
            batches: of the iteration.
            done: iterations since the training was started or resumed.
            device: of this process.

        Raises:
            ValueError: all images were used, and no pixel had a label.
        """
        self.seen = self.seen or any(bool((batch.label >= 0).any()) for batch in batches)
        if self.checked or done < min(self.epoch, self.options.iterations):
            return
        self.checked = True
        if not distributed.anyone(self.seen, device):
            raise ValueError(
                f"{self.options.data.source} must have labels, got none that reaches the network"
                f" in {done} iterations: is every value ignored, or are labels lost when images"
                " are made smaller?"
            )


def panels(
    objective: Objective, source: Source, count: int, device: torch.device
) -> list[tuple[str, Any]]:
    """Pictures of ``count`` training images, evenly spaced: (name, picture of ``pictures.panel``).

    Image, annotation, prediction, pseudo labels after the first and after both filters, truth
    (paper, Fig. 5). Batch statistics are the running ones.
    """
    count = min(count, len(source))
    chosen = [int(i) for i in np.linspace(0, len(source) - 1, count)] if count else []
    result = []
    with _evaluated(objective):
        for index in chosen:
            sample = source[index]
            guide = _presentable(sample.image[None].to(device).float() / 255)
            prediction = objective.model(normalize(guide))
            pseudo = {}
            # The control uses the trees of another image of the batch; here a batch is one image.
            if objective.term is not None and not objective.options.loss.tel.shuffle_guide:
                label = torch.full(guide[:, 0].shape, -1, device=device)  # every pixel is shown
                logits = prediction.logits  # stand in for teachers, whose predictions are not drawn
                inputs = LossInputs(logits, prediction.embed, guide, label, 0, (logits,))
                pseudo = objective.term(inputs).pseudo
            result.append((sample.name, _panel(sample, prediction.full, pseudo, source)))
    return result


def gives_finite_output(objective: Objective, batch: Batch, device: torch.device) -> bool:
    """Whether the network's output for a batch is finite, in evaluation."""
    with _evaluated(objective):
        prediction = objective.model(batch.image.to(device))
    outputs = [x for x in (prediction.full, prediction.embed) if x is not None]
    return all(bool(x.isfinite().all()) for x in outputs)


@contextlib.contextmanager
def _evaluated(objective: Objective) -> Iterator[None]:
    """As in evaluation, without gradients, but with the embedding branch."""
    was_training = objective.training
    objective.train()
    for module in objective.modules():
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
            module.eval()
    with torch.no_grad():
        yield
    objective.train(was_training)


def _presentable(guide: Tensor) -> Tensor:
    """An image at a size that the network takes and the losses can afford."""
    height, width = size_of(guide)
    factor = max(1.0, SMALLEST / min(height, width)) * min(1.0, LARGEST / max(height, width))
    if factor == 1:
        return guide
    size = (max(SMALLEST, round(height * factor)), max(SMALLEST, round(width * factor)))
    return F.interpolate(guide, size=size, mode="bilinear", align_corners=False)


def _panel(sample: Any, logits: Tensor, pseudo: dict[str, Tensor], source: Source) -> Any:
    size = sample.image.shape[-2:]

    def classes(name: str) -> Tensor | None:
        if name not in pseudo:
            return None
        full = F.interpolate(pseudo[name], size=size, mode="bilinear", align_corners=True)
        return full.argmax(1)[0].cpu()

    return panel(
        sample.image,
        sample.label,
        logits.argmax(1)[0].cpu(),
        classes("low"),
        classes("final"),
        sample.truth,
        source.colors,
    )
